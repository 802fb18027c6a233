"""dld's training loop next to SpeechBrain's, and what its parts take: processor time of one thread, in turns.

Both loops train on the same batches of LibriSpeech in float32, without augmentation: dld's as `dld train` runs it, from
a Kaldi data directory; SpeechBrain's as its recipes have it (`speechbrain_recipe.py`), from CSV. A turn is one batch,
from reading its audio to the update. Each loop is a process of its own, and one works at a time.

    python benchmarks/train_speed.py --corpus ../shared/corpora/LibriSpeech --output benchmarks/results/train_speed.json
    python benchmarks/train_speed.py --corpus ../shared/corpora/LibriSpeech --profile "dld rotary"
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from speechbrain_recipe import make_brain, make_front_end, write_csv
from speechbrain_recipe import make_loader as make_recipe_loader
from torch.utils._python_dispatch import TorchDispatchMode
from turns import Clock, Turns, summary

from dld.bin.main import COMMANDS
from dld.config import load_config
from dld.data import kaldi
from dld.data.corpora import librispeech
from dld.data.dataset import make_batch_sampler, make_dataset, make_loader, unpack
from dld.data.tokenizer import Tokenizer
from dld.data.tokenizer import train as train_tokenizer
from dld.files import read_json, write_json
from dld.frontends import KaldiFbank
from dld.gates import Draw, DropSchedule, Exits, gates_for_depth
from dld.memory import keep_freed_memory
from dld.padding import unpadded
from dld.provenance import git_hash, processor, versions
from dld.recognition.eager import EagerRecognizer
from dld.training.brain import DynamicBrain

ROOT = Path(__file__).resolve().parents[1]
SIZES = {
    "paper": {"d_model": 256, "d_ffn": 2048, "num_heads": 8, "kernel_size": 31, "num_blocks": 12},
    "mini": {"d_model": 64, "d_ffn": 256, "num_heads": 4, "kernel_size": 15, "num_blocks": 12},
}


class Step(NamedTuple):
    """A step of dld; with `exits` there is a loss at the exits of the depths, too, and a head for each."""

    attention: str
    depths: list[int]
    policy: str = "evenly-spaced"
    exits: bool = False


STEPS = {
    "dld relative": Step("relative", [12]),
    "dld rotary": Step("rotary", [12]),
    "dld rotary, LD 6 of 12": Step("rotary", [6]),
    "dld rotary, 12 2 6 of 12": Step("rotary", [12, 2, 6]),
    "dld rotary, 12 2 6 of 12, first-and-last": Step("rotary", [12, 2, 6], "first-and-last"),
    "dld_plus without teacher": Step("rotary", [2, 4, 6, 8, 10, 12], "shallow-last", exits=True),
}
BASELINE = "speechbrain"
DEPTHS = [2, 3, 4, 6, 8, 10, 12]
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "_linear_pointwise", "scaled_dot_product")

EXPERIMENT = """
extends: [{common}/conformer.yaml, {common}/systems/static.yaml]
frontend: !new:dld.frontends.KaldiFbank
    sample_rate: !ref <sample_rate>
    n_mels: !ref <n_mels>
    normalisation: !new:dld.frontends.GlobalCMVN
        n_features: !ref <n_mels>
encoder: !new:dld.encoders.GatedConformer
    attention: {attention}
network:
    exit_heads: {exits}
"""


class Depths(DropSchedule):
    """Draw the gate vectors of the same depths in every step; unless evenly spaced, they share their prefix."""

    def __init__(self, num_blocks, depths, policy="evenly-spaced"):
        super().__init__(num_blocks)
        self.depths, self.policy = depths, policy

    def draw(self):
        vectors = [gates_for_depth(self.policy, self.num_blocks, n) for n in self.depths]
        return Draw.even(vectors, share_prefix=self.policy != "evenly-spaced")


class Products(TorchDispatchMode):
    """Sum the processor time within matrix products and convolutions."""

    seconds = 0.0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not any(name in function.__name__ for name in PRODUCTS):
            return function(*args, **(kwargs or {}))
        began = time.process_time()
        result = function(*args, **(kwargs or {}))
        self.seconds += time.process_time() - began
        return result


# ---------------------------------------------------------------- data


def prepare(folder, arguments):
    """Write data directory, tokenizer, CSV file and the ids of the batches to a folder."""
    options = librispeech.Options(corpus=arguments.corpus, allow_partial=True, train_set="100", sets=("train",))
    librispeech.prepare(folder / "data", options)
    utterances = kaldi.load(folder / "data/train")
    train_tokenizer([u.text for u in utterances], folder / "lang", vocab_size=256)
    write_csv(folder / "train.csv", utterances)
    dataset = make_dataset(folder / "data/train")
    sampler = make_batch_sampler(dataset, arguments.batch_seconds, seed=0)
    batches = [[dataset.data_ids[i] for i in batch] for batch in sampler][: arguments.rounds + 1]
    write_json(folder / "batches.json", batches)
    by_id = {u.id: u for u in utterances}
    return [{"utterances": len(batch), "seconds": sum(by_id[name].duration for name in batch)} for batch in batches[1:]]


def own_loader(folder):
    """Return dld's loader of the batches."""
    dataset = make_dataset(folder / "data/train", Tokenizer.load(folder / "lang"))
    index = {name: number for number, name in enumerate(dataset.data_ids)}
    return make_loader(dataset, [[index[name] for name in batch] for batch in read_json(folder / "batches.json")])


def recipe_loader(folder):
    """Return SpeechBrain's loader of the batches."""
    processor_of_text = Tokenizer.load(folder / "lang")._processor
    return make_recipe_loader(folder / "train.csv", processor_of_text, read_json(folder / "batches.json"))


# ---------------------------------------------------------------- training steps


def own_brain(folder, size, name):
    """Return dld's Brain with a loader, as `dld train` makes it."""
    keep_freed_memory()
    attention, depths, policy, exits = STEPS[name]
    path = folder / f"{attention}_exits_{exits}.yaml"
    common = ROOT / "recipes/common/hparams"
    path.write_text(EXPERIMENT.format(common=common, attention=attention, exits=exits), encoding="utf-8")
    tokenizer = Tokenizer.load(folder / "lang")
    settings = {**SIZES[size], "data": folder / "data", "exp_dir": folder / "exp", "lang_dir": folder / "lang"}
    settings |= {"vocab_size": len(tokenizer), "precision": "fp32", "grad_accumulation_factor": 1}
    settings |= {"speed_perturb": None, "spec_augment": None}
    values = load_config([path], settings).values
    values["schedule"] = (Exits if exits else Depths)(values["num_blocks"], depths, policy)
    brain = DynamicBrain(values, tokenizer, {"device": "cpu", "noprogressbar": True})
    loader = own_loader(folder)
    brain.network.frontend.estimate_statistics([unpack(next(iter(loader)).signal)])
    brain.planned_updates = brain.progress.total_updates = 1000
    brain.progress.processes = 1
    brain.train_sampler, brain.epoch = range(1000), 1  # an epoch that does not end here
    return brain, loader


def make_trainer(folder, size, name, products=False):
    """Return a function that trains on the next batch; with `products` also how long its matrix products take."""
    if name == BASELINE:
        vocab_size = len(Tokenizer.load(folder / "lang"))
        brain, loader = make_brain(SIZES[size], vocab_size), recipe_loader(folder)
    else:
        brain, loader = own_brain(folder, size, name)
    brain.on_fit_start()
    brain.modules.train()
    brain.optimizer.zero_grad()
    batches = iter(loader)

    def step(batch):
        brain.step += 1
        loss = brain.fit_batch(batch)
        brain.avg_train_loss = brain.update_average(loss, brain.avg_train_loss)

    def run(_, clock):
        batch = clock.measure("data", lambda: next(batches))
        clock.measure("step", lambda: step(batch))
        if products:
            with Products() as counted:
                step(batch)
            clock.seconds = {"step": clock.seconds["step"], "products": counted.seconds}

    run.step, run.batches = step, batches
    return run


def compare_steps(folder, size, arguments):
    """Return rows of the training loops, which take turns."""
    turns = Turns({name: (make_trainer, (folder, size, name)) for name in [BASELINE, *STEPS]})
    rounds = [turns.round(index) for index in range(arguments.rounds + 1)]
    turns.end()
    return summary(rounds[1:], BASELINE)


def compare_products(folder, size, arguments):
    """Return rows of a step's time against its matrix products alone."""
    rows = []
    for name in (BASELINE, "dld relative", "dld rotary"):
        turns = Turns({name: (make_trainer, (folder, size, name, True))})
        rounds = [turns.round(index)[name].seconds for index in range(arguments.rounds + 1)][1:]
        turns.end()
        seconds = {part: statistics.median(one[part] for one in rounds) for part in ("step", "products")}
        ratio = statistics.median(one["step"] / one["products"] for one in rounds)
        rows.append({"name": name, **seconds, "step_over_products": ratio})
    return rows


# ---------------------------------------------------------------- parts


def make_data_path(folder, name):
    """Return a function that loads the next batch."""
    batches = iter(recipe_loader(folder) if name == BASELINE else own_loader(folder))
    return lambda _, clock: clock.measure("data", lambda: next(batches))


def make_features(folder, name):
    """Return a function that computes the features of the next batch."""
    batches = iter(own_loader(folder))
    front_end = make_front_end() if name == BASELINE else KaldiFbank()

    @torch.no_grad()
    def run(_, clock):
        waveforms, lengths = unpack(next(batches).signal)
        arguments = (waveforms,) if name == BASELINE else (waveforms, lengths)
        clock.measure("features", lambda: front_end(*arguments))

    return run


def compare_parts(make, folder, arguments):
    """Return rows of one part of both loops."""
    turns = Turns({name: (make, (folder, name)) for name in (BASELINE, "dld")})
    rounds = [turns.round(index) for index in range(arguments.rounds + 1)]
    turns.end()
    return summary(rounds[1:], BASELINE)


def compare_decoding(folder):
    """Return rows of decoding all depths at once against one by one, and whether the texts are the same."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    brain, loader = own_brain(folder, "paper", "dld rotary")
    network = brain.network
    # Residual branches of full size and no bias to blanks: random weights then write long texts that depend on depth.
    with torch.no_grad():
        network.head.bias.zero_()
        network.head.weight.normal_()
    recognizer = EagerRecognizer(network, Tokenizer.load(folder / "lang"), sample_rate=16000)
    rows = []
    for policy in ("evenly-spaced", "first-n", "first-and-last"):
        vectors = [gates_for_depth(policy, network.num_blocks, n) for n in DEPTHS]
        found = [decode_both(recognizer, vectors, unpack(batch.signal)) for batch in loader][1:]
        ratios = [seconds["alone"] / seconds["together"] for seconds, _, _ in found]
        row = {"policy": policy, "depths": DEPTHS, "times_alone": statistics.median(ratios)}
        same = all(alone == together for _, alone, together in found)
        characters = sum(len(text) for _, _, together in found for texts in together for text in texts)
        rows.append({**row, "identical": same, "characters": characters})
    return rows


def decode_both(recognizer, vectors, signal):
    """Return the seconds of decoding one by one and of all at once, and the texts of both."""
    clock = Clock()

    def decode(vectors):
        output = recognizer.run(*signal, vectors)
        return [recognizer.texts(unpadded(logits, output.lengths)) for logits in output.logits]

    alone = clock.measure("alone", lambda: [decode([gates])[0] for gates in vectors])
    together = clock.measure("together", lambda: decode(vectors))
    return clock.seconds, alone, together


def start_up(arguments):
    """Return rows of the processor seconds of each command's `--help`: the least of several runs."""
    rows = []
    for name in COMMANDS:
        least = float("inf")
        for _ in range(arguments.rounds):
            before = os.times()
            subprocess.run([sys.executable, "-m", "dld", name, "--help"], check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            least = min(least, after.children_user + after.children_system - before[2] - before[3])
        rows.append({"command": f"dld {name} --help", "seconds": round(least, 3)})
    return rows


def profile(folder, arguments):
    """Print the operators of one step of a loop, those first that take the most time."""
    torch.set_num_threads(1)
    run = make_trainer(folder, arguments.sizes.split(",")[0], arguments.profile)
    run(0, Clock())
    batch = next(run.batches)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        run.step(batch)
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=50))


# ---------------------------------------------------------------- all together


def show(title, rows):
    """Print rows as a table."""
    print(f"\n{title}")
    for row in rows:
        cells = [f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()]
        print("  " + ", ".join(cells), flush=True)


def measure(folder, arguments):
    """Measure task by task; what is done is in the output file, should a later one fail."""
    # Not where files are on this machine.
    settings = {**vars(arguments), "corpus": Path(arguments.corpus).name}
    del settings["output"]
    found = {"git": git_hash(), "processor": processor(), "versions": versions(), "arguments": settings}
    found["batches"] = prepare(folder, arguments)
    show("batches", found["batches"])
    sizes = arguments.sizes.split(",")
    tasks = {f"loop {size}": lambda size=size: compare_steps(folder, size, arguments) for size in sizes}
    tasks |= {f"products {size}": lambda size=size: compare_products(folder, size, arguments) for size in sizes}
    tasks["data path"] = lambda: compare_parts(make_data_path, folder, arguments)
    tasks["front end"] = lambda: compare_parts(make_features, folder, arguments)
    tasks["decoding"] = lambda: compare_decoding(folder)
    tasks["start-up"] = lambda: start_up(arguments)
    wanted = arguments.tasks.split(",") if arguments.tasks else list(tasks)
    for name, task in tasks.items():
        if name in wanted or name.split()[0] in wanted:
            found[name] = task()
            show(name, found[name])
            if arguments.output:
                write_json(arguments.output, found)


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="LibriSpeech as distributed, or a part with train-clean-100")
    parser.add_argument("--batch-seconds", type=float, default=40.0, help="of audio in a batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (%(default)s)")
    parser.add_argument("--sizes", default=",".join(SIZES), help="(%(default)s)")
    parser.add_argument("--tasks", help="loop, products, data path, front end, decoding, start-up (default: all)")
    parser.add_argument("--profile", choices=[BASELINE, *STEPS], help="print what a step of this loop is made of")
    parser.add_argument("--output", help="JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.profile:
            prepare(Path(name), arguments)
            return profile(Path(name), arguments)
        return measure(Path(name), arguments)


if __name__ == "__main__":
    main()
