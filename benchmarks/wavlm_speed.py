"""WavLM next to other implementations with the same weights: time of inference and of a training step, peak memory.

All take turns in every round, so that a drift of the machine's speed affects all of them equally; ratios of medians are
what other machines can be compared with. The weights are random: they change no time. A training step is forward and
backward with dropout, the convolutions over the waveform frozen, without an optimizer.

    python benchmarks/wavlm_speed.py --output benchmarks/results/wavlm_speed.json
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torchaudio.models.wav2vec2.utils import import_huggingface_model

from dld.encoders import GatedWavLM
from dld.files import write_json
from dld.gates import evenly_spaced
from dld.profiling.latency import threads
from dld.provenance import git_hash, processor, versions

SIZES = {
    "base": {},
    "large": {
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    },
}
OURS = {"float32": {}, "float32, bf16 extractor": {"low_precision": "extractor"}, "bf16": {"low_precision": "all"}}


class Implementation:
    """One model, called in the same way whoever wrote it.

    Parameters
    ----------
    model : Module
    call : callable
        (model, waveforms) → hidden.
    bfloat16 : bool
        Under autocast to bfloat16.
    """

    def __init__(self, model, call, bfloat16=False):
        self.model = model
        self.call = call
        self.bfloat16 = bfloat16

    def forward(self, waveforms):
        """Hidden frames of full-length waveforms (batch, samples)."""
        with torch.autocast(waveforms.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.call(self.model, waveforms)

    def infer(self, waveforms):
        """Forward in evaluation mode, without gradients."""
        self.model.eval()
        with torch.no_grad():
            return self.forward(waveforms)

    def step(self, waveforms):
        """Forward and backward in training mode."""
        self.model.train()
        self.forward(waveforms).float().square().mean().backward()
        self.model.zero_grad(set_to_none=True)


def ours(model, waveforms):
    """Our encoder at full depth."""
    lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
    return model(waveforms, lengths, (True,) * model.num_blocks)[0]


def build(size, device, names=None):
    """Implementations by name, all with the same random weights."""
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(0)
    settings = {"layerdrop": 0.0, "mask_time_prob": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.1}
    reference = WavLMModel(WavLMConfig(**SIZES[size], **settings))
    reference.freeze_feature_encoder()
    theirs = import_huggingface_model(reference)
    theirs.feature_extractor.requires_grad_(False)
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        for name, options in {**OURS, "float32, checkpointing": {"gradient_checkpointing": True}}.items():
            if names is None or f"dld {name}" in names:
                made[f"dld {name}"] = Implementation(GatedWavLM.from_pretrained(folder, **options).to(device), ours)
    for precision, low in (("float32", False), ("bf16", True)):
        made[f"huggingface {precision}"] = Implementation(
            reference.to(device), lambda model, waveforms: model(waveforms).last_hidden_state, low
        )
        made[f"torchaudio {precision}"] = Implementation(
            theirs.to(device), lambda model, waveforms: model(waveforms)[0], low
        )
    return {name: made[name] for name in names or made}


def synchronize(device):
    """Wait for a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(runs, arguments):
    """Median seconds of each of several functions by name, which take turns; a first round warms up."""
    clock = time.process_time if arguments.processor_time else time.perf_counter
    times = {name: [] for name in runs}
    for _ in range(arguments.rounds + 1):
        for name, run in runs.items():
            synchronize(arguments.device)
            began = clock()
            run()
            synchronize(arguments.device)
            times[name].append(clock() - began)
    return {name: statistics.median(row[1:]) for name, row in times.items()}


def compare(task, implementations, waveforms, arguments):
    """Rows of one task: seconds, and how many times faster than HuggingFace in float32."""
    runs = {name: lambda i=i: getattr(i, task)(waveforms) for name, i in implementations.items()}
    medians = timed(runs, arguments)
    rows = []
    for name, seconds in medians.items():
        speedup = medians["huggingface float32"] / seconds
        rows.append({"task": task, "implementation": name, "seconds": seconds, "speedup": speedup})
        print(f"{task:6} {name:30} {seconds:7.3f} s, {speedup:.2f} times huggingface float32", flush=True)
    return rows


@torch.no_grad()
def blocks(encoder, waveforms, arguments, depths=(3, 6, 9, 12)):
    """Rows of the parts: what is before the blocks, and the blocks at several depths, as a fraction of all of them."""
    encoder.eval()
    lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
    embedded = encoder.embed(waveforms, lengths)
    runs = {
        "convolutions over the waveform": lambda: encoder.extractor(waveforms, lengths),
        "all before the blocks": lambda: encoder.embed(waveforms, lengths),
    }
    for n in depths:
        gates = evenly_spaced(encoder.num_blocks, n)
        runs[n] = lambda gates=gates: encoder.encode(embedded, [gates])
    medians = timed(runs, arguments)
    rows = []
    for part, seconds in medians.items():
        rows.append({"part": part if isinstance(part, str) else f"{part} blocks", "seconds": seconds})
        if not isinstance(part, str):
            rows[-1].update(share=seconds / medians[max(depths)], limit=part / max(depths) + 0.05)
        print(" ".join(f"{key} {value:.3f}" if key != "part" else f"{value:32}" for key, value in rows[-1].items()))
    return rows


def peak_memory(arguments, size, name, task, seconds, batch):
    """MiB at the peak and before the run, in a process of its own."""
    child = [sys.executable, __file__, "--child", json.dumps([size, name, task, seconds, batch])]
    child += ["--threads", str(arguments.threads), "--device", arguments.device]
    found = subprocess.run(child, check=True, capture_output=True, text=True)
    row = {"size": size, "implementation": name, "task": task, "seconds": seconds, "batch": batch}
    row.update(json.loads(found.stdout.splitlines()[-1]))
    print(
        f"{size} {name} {task}, {batch} × {seconds} s: {row['peak_mib']} MiB, model {row['model_mib']} MiB", flush=True
    )
    return row


def child(arguments):
    """Run one case and print what memory it took."""
    size, name, task, seconds, batch = json.loads(arguments.child)
    implementation = build(size, arguments.device, [name])[name]
    if arguments.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        before = _resident("VmRSS")
    with threads(arguments.threads):
        getattr(implementation, task)(torch.randn(batch, int(seconds * 16000), device=arguments.device))
    peak = torch.cuda.max_memory_allocated() / 2**20 if arguments.device == "cuda" else _resident("VmHWM")
    print(json.dumps({"peak_mib": round(peak), "model_mib": round(before)}))


def _resident(field):
    """MiB now (VmRSS) or at the peak (VmHWM); `getrusage` lets a child begin with the peak of what started it."""
    with open("/proc/self/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith(f"{field}:")) / 1024


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an utterance (%(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="utterances (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument(
        "--processor-time", action="store_true", help="of this process; for a machine with other work, with --threads 1"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="(%(default)s)")
    parser.add_argument("--tasks", default="infer,step,blocks,memory", help="(%(default)s)")
    parser.add_argument("--output", help="JSON file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments)
    tasks = arguments.tasks.split(",")
    result = {"git": git_hash(), "processor": processor(), "versions": versions(), "arguments": vars(arguments)}
    if arguments.device == "cuda":
        result["gpu"] = torch.cuda.get_device_name()
    names = [f"{who} {precision}" for precision in ("float32", "bf16") for who in ("huggingface", "torchaudio", "dld")]
    names.append("dld float32, bf16 extractor")
    with threads(arguments.threads):
        if set(tasks) & {"infer", "step", "blocks"}:
            implementations = build("base", arguments.device, names)
            waveforms = torch.randn(arguments.batch, int(arguments.seconds * 16000), device=arguments.device)
            expected = implementations["huggingface float32"].infer(waveforms)
            result["largest_difference"] = {
                name: (i.infer(waveforms).float() - expected).abs().max().item() for name, i in implementations.items()
            }
            print(result["largest_difference"])
            for task in ("infer", "step"):
                if task in tasks:
                    result[task] = compare(task, implementations, waveforms, arguments)
            if "blocks" in tasks:
                for precision in ("float32", "bf16"):
                    print(precision)
                    encoder = implementations[f"dld {precision}"].model
                    result[f"parts {precision}"] = blocks(encoder, waveforms, arguments)
            del implementations, expected
    if "memory" in tasks:
        cases = [
            ("base", name, task, arguments.seconds, arguments.batch)
            for task in ("infer", "step")
            for name in ("huggingface float32", "torchaudio float32", "dld float32", "dld bf16")
        ]
        for size in SIZES:
            cases += [(size, name, "step", 30.0, 1) for name in ("huggingface float32", "dld float32")]
            cases += [(size, "dld float32, checkpointing", "step", 30.0, 1), (size, "dld float32", "infer", 30.0, 1)]
        result["memory"] = [peak_memory(arguments, *case) for case in cases]
    if arguments.output:
        write_json(arguments.output, result)
    return None


if __name__ == "__main__":
    main()
