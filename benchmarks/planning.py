"""Hours, memory, disk and network of training in full, by a formula, for docs/planning.md.

Compute, parameters and activations are counted on the recipe's own network; what a device sustains is an assumption,
given by options. Nothing is trained.

    python benchmarks/planning.py --output benchmarks/results/planning.json
"""

import argparse
from dataclasses import dataclass

import torch

from dld.bin import options
from dld.checks import POSITIVE
from dld.config import load_config
from dld.ctc import ctc_loss
from dld.encoders import kernels
from dld.files import write_json
from dld.macs import gmacs_per_second
from dld.provenance import git_hash, processor, versions

SECONDS = 10


@dataclass(frozen=True)
class Corpus:
    """A recipe in full: hours of audio, epochs, and seconds of audio that an update sees."""

    base: str
    hours: float
    epochs: int
    update_seconds: float = 1200.0


CORPORA = {
    "TED-LIUM 3": Corpus("recipes/tedlium3/hparams/base.yaml", 452, 70),
    "LibriSpeech 960 h": Corpus("recipes/librispeech/hparams/base.yaml", 960, 50),
}
#: Passes of student and teacher over the network for each batch, in units of a forward pass at full depth: forward and
#: backward count three. An LD student has half of its blocks open; dld_plus runs 12 blocks and 2 more.
SYSTEMS = {
    "static": (3.0, 0.0),
    "LD": (1.5, 0.0),
    "DLD, cached": (1.5, 0.0),
    "DLD, on the fly": (1.5, 1.0),
    "dld_plus, cached": (3 * (12 + 2) / 12, 0.0),
}


def activation_bytes(network: torch.nn.Module, seconds: int = SECONDS) -> float:
    """Return the bytes that a training step keeps for its gradient, for each second of audio, at full depth in fp32.

    Without the kernels for CPUs, which keep less, so as on a GPU. Parameters are left out, and a tensor that several
    operations keep counts once.
    """
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network.train()
    samples = seconds * 16000
    features, frames = network.frontend(0.1 * torch.randn(1, samples), torch.tensor([samples]))
    with kernels.use(False), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(features, frames, [(True,) * network.num_blocks])
        tokens = torch.randint(1, network.vocab_size, (1, 3 * seconds))
        loss = ctc_loss(output.logits[0], output.lengths, tokens, torch.tensor([tokens.shape[1]]), 0)
    del loss
    return sum(kept.values()) / seconds


def main() -> None:
    """Count, compute and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    number = options.of(POSITIVE)
    parser.add_argument("--tflops", type=number, default=20.0, help="what a GPU sustains in bf16, 10¹² operations/s")
    parser.add_argument(
        "--cpu-gflops", type=number, default=110.0, help="what a core sustains in fp32, 10⁹ operations/s"
    )
    parser.add_argument(
        "--fixed", type=number, default=0.1, help="seconds of an update that do not shrink with more GPUs"
    )
    parser.add_argument(
        "--gbytes", default="1:0,8:100,64:10", help="GPUs: GB/s that gradients travel at, from and to each"
    )
    parser.add_argument("--output", help="JSON file to write")
    arguments = parser.parse_args()
    speeds = {int(n): float(s) for n, s in (part.split(":") for part in arguments.gbytes.split(","))}
    rows = []
    for name, corpus in CORPORA.items():
        network = load_config([corpus.base, "recipes/common/hparams/systems/static.yaml"]).values["network"]
        macs = gmacs_per_second(network, (True,) * network.num_blocks, 16000) * 1e9
        parameters = sum(p.numel() for p in network.parameters())
        updates = corpus.hours * 3600 * corpus.epochs / corpus.update_seconds
        print(f"\n{name}: {parameters / 1e6:.1f} M parameters, {macs / 1e9:.2f} GMAC and", end=" ")
        print(f"{activation_bytes(network) / 2**20:.1f} MiB of activations (fp32) for a second of audio,")
        print(f"{updates:.0f} updates of {corpus.update_seconds:.0f} s of audio\n")
        print("| system | " + " | ".join(f"{n} GPU{'s' * (n > 1)}" for n in speeds) + " | 32 CPU cores |")
        print("|---|" + "--:|" * (len(speeds) + 1))
        for system, passes in SYSTEMS.items():
            flops = 2 * macs * sum(passes) * corpus.update_seconds
            hours = {}
            for gpus, speed in speeds.items():
                travel = 2 * (gpus - 1) / gpus * 4 * parameters / (speed * 1e9) if speed else 0.0
                hours[gpus] = updates * (flops / (gpus * arguments.tflops * 1e12) + arguments.fixed + travel) / 3600
            cores = updates * flops / (32 * arguments.cpu_gflops * 1e9) / 3600
            print(f"| {system} | " + " | ".join(f"{value:.1f} h" for value in hours.values()) + f" | {cores:.0f} h |")
            rows.append({"corpus": name, "system": system, "flops": flops, "gpu_hours": hours, "hours_32_cores": cores})
    if arguments.output:
        about = {"git": git_hash(), "processor": processor(), "versions": versions(), "arguments": vars(arguments)}
        write_json(arguments.output, {**about, "rows": rows})


if __name__ == "__main__":
    main()
