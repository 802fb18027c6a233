"""What distillation adds to a training step: LD, DLD with the teacher on the fly, DLD with its posteriors from a cache.

Each does whole updates with dld's Brain (front end, SpecAugment, student, losses, backward, AdamW). They take turns on
the same batches and gate vectors, and what is reported is the median over the updates of the time relative to LD's.

    python benchmarks/distillation_speed.py --output benchmarks/results/distillation_speed.json
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from types import SimpleNamespace

import torch
from speechbrain.dataio.batch import PaddedData

from dld.data.kaldi import Utterance
from dld.encoders import GatedConformer
from dld.files import write_json
from dld.frontends import LogMel, SpecAugment, UtteranceCMVN
from dld.gates import Bernoulli
from dld.network import GatedCTC
from dld.profiling.latency import threads
from dld.provenance import git_hash, processor, versions
from dld.training.brain import DynamicBrain
from dld.training.objectives import CTC, MaskedKL, SoftTargets
from dld.training.posteriors import Contents, PosteriorCache
from dld.training.targets import FrozenTeacher

#: Encoder, vocabulary, and the batch: utterances and their seconds. Those of mini, and of LibriSpeech and TED-LIUM 3.
SIZES = {
    "d64": ({"d_model": 64, "d_ffn": 256, "num_heads": 4, "kernel_size": 15}, 32, 4, 3.0),
    "d256": (
        {"d_model": 256, "d_ffn": 2048, "num_heads": 8, "kernel_size": 31, "subsampling_channels": 64},
        *(256, 6, 10.0),
    ),
}
BATCHES = 4
TOP_K = 8


def network(settings, vocab_size):
    frontend = LogMel(n_mels=80, normalisation=UtteranceCMVN())
    return GatedCTC(frontend, GatedConformer(input_size=80, num_blocks=12, dropout=0.1, **settings), vocab_size)


def make_batches(vocab_size, utterances, seconds):
    batches = []
    for number in range(BATCHES):
        tokens = torch.randint(1, vocab_size, (utterances, int(3 * seconds)))
        signal = 0.1 * torch.randn(utterances, int(16000 * seconds))
        full = torch.ones(utterances)
        ids = [f"{number}-{row}" for row in range(utterances)]
        batches.append(SimpleNamespace(id=ids, signal=PaddedData(signal, full), tokens=PaddedData(tokens, full)))
    return batches


def make_brain(size, precision, teacher=None):
    settings, vocab_size, _, _ = SIZES[size]
    torch.manual_seed(0)
    distils = {"kd": SoftTargets(1.0, MaskedKL())} if teacher else {}
    hparams = {
        "network": network(settings, vocab_size),
        "optimizer": partial(torch.optim.AdamW, lr=1e-4, fused=True),
        "lr_schedule": lambda update, total: 1e-4,
        "schedule": Bernoulli(12, 0.5, seed=1),
        "objectives": {"ctc": CTC(), **distils},
        "soft_targets": teacher,
        "speed_perturb": None,
        "spec_augment": SpecAugment(),
        "augment_after": 0,
        "valid_depths": [12],
        "eval_policy": "first-n",
        "sample_rate": 16000,
        "channel": None,
        "num_epochs": 1,
        "max_grad_norm": 5.0,
    }
    brain = DynamicBrain(hparams, SimpleNamespace(blank=0), {"device": "cpu", "precision": precision})
    brain.train_sampler, brain.epoch, brain.step = range(10**6), 1, 0
    brain.init_optimizers()
    brain.modules.train()
    return brain


def make_teacher(size, cache):
    teacher = FrozenTeacher("none", "clean", cache, TOP_K)
    torch.manual_seed(1)
    teacher.network = network(*SIZES[size][:2]).requires_grad_(False)
    return teacher


def fill(brain, batches, folder, precision):
    """Fill the cache of a brain's teacher; return the bytes of a frame."""
    teacher = brain.soft_targets
    utterances = [Utterance(name, name, "", "", duration=1.0) for batch in batches for name in batch.id]
    vocab_size = teacher.network.vocab_size
    cache = PosteriorCache(folder, Contents("", "", "", 1.0, precision, vocab_size, TOP_K), utterances)
    cache.write(0, brain.teacher_outputs(batches, 1.0))
    cache.open()
    teacher.caches[1.0] = cache
    return cache.contents.record.itemsize


def update(brain, batch):
    brain.step += 1
    return brain.fit_batch(batch)


def measure(size, arguments):
    """Rows of one size."""
    _, vocab_size, utterances, seconds = SIZES[size]
    torch.manual_seed(2)
    batches = make_batches(vocab_size, utterances, seconds)
    with tempfile.TemporaryDirectory() as folder:
        brains = {"LD": make_brain(size, arguments.precision)}
        brains["DLD, on the fly"] = make_brain(size, arguments.precision, make_teacher(size, False))
        brains["DLD, cached"] = make_brain(size, arguments.precision, make_teacher(size, folder))
        record = fill(brains["DLD, cached"], batches, folder, arguments.precision)
        times = {name: [] for name in brains}
        for number in range(arguments.rounds + 1):
            for name, brain in brains.items():
                began = time.process_time()
                update(brain, batches[number % BATCHES])
                times[name].append(time.process_time() - began)
    rows = []
    for name, row in times.items():
        # The first round warms up.
        ratios = [ours / ld for ours, ld in zip(row[1:], times["LD"][1:], strict=True)]
        found = {"seconds": statistics.median(row[1:]), "ratio": statistics.median(ratios)}
        rows.append({"size": size, "system": name, **found, "bytes_per_frame": record, "times": row[1:]})
        print(f"{size:5} {name:16} {found['seconds']:7.3f} s, {found['ratio']:.3f} times LD", flush=True)
    return rows


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES), help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="updates of each that are timed (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"], help="(%(default)s)")
    parser.add_argument("--output", help="JSON file")
    arguments = parser.parse_args()
    with threads(arguments.threads):
        rows = [row for size in arguments.sizes.split(",") for row in measure(size, arguments)]
    about = {"git": git_hash(), "processor": processor(), "versions": versions()}
    if arguments.output:
        write_json(arguments.output, {**vars(arguments), **about, "rows": rows})


if __name__ == "__main__":
    main()
