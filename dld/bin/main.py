"""The command `dld`: find the module of a sub-command and run it.

Only the module of the chosen sub-command is imported, and such a module imports at its top nothing that takes long, so
that `--help` and wrong options are answered at once.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import dld
from dld.bin import command
from dld.errors import UsageError


class Command(NamedTuple):
    """A sub-command: the module whose `main(argv)` runs it, and what it does in one line."""

    module: str
    help: str


#: By name, in the order in which they are used.
COMMANDS = {
    "prepare": Command("dld.bin.prepare", "write the Kaldi data directories of a corpus"),
    "data": Command("dld.bin.data", "check, repair, count, cut and join Kaldi data directories"),
    "tokenizer": Command("dld.bin.tokenizer", "train the SentencePiece tokens of a language"),
    "train": Command("dld.bin.train", "train the network that an experiment file describes"),
    "gates": Command("dld.bin.gate_table", "search the gate table of a trained network on its dev set"),
    "calibrate": Command("dld.bin.calibrate", "calibrate the confidences of words on a dev set"),
    "decode": Command("dld.bin.decode", "decode a test set at several depths"),
    "transcribe": Command("dld.bin.transcribe", "print the text of audio files"),
    "export": Command("dld.bin.export", "write a model that runs without torch, or in sherpa-onnx or onnx-asr"),
    "tune-lm": Command("dld.bin.tune_lm", "choose the weights of a language model on a dev set"),
    "score": Command("dld.bin.score", "compute the error rates of decoded test sets"),
    "latency": Command("dld.bin.latency", "measure the time of an utterance, models and depths taking turns"),
    "bench": Command("dld.bin.bench", "measure packs and networks: time, memory, size, start, at each depth"),
    "compare": Command("dld.bin.compare", "train, decode, score and report the runs of a comparison"),
    "report": Command("dld.bin.report", "write the tables and pictures of scored experiments"),
    "config": Command("dld.bin.config", "show an experiment file with its layers and overrides merged"),
    "lm": Command("dld.bin.lm", "estimate an n-gram language model and measure its perplexity"),
    "doctor": Command("dld.bin.doctor", "show versions, devices, and optional parts that are missing"),
}

#: The commands as `dld` alone shows them.
GROUPS = {
    "data": ("prepare", "data", "tokenizer", "lm"),
    "training": ("train", "compare", "config"),
    "running a model": ("transcribe", "decode", "gates", "calibrate", "tune-lm", "export"),
    "results": ("score", "latency", "bench", "report"),
    "this installation": ("doctor",),
}

#: Commands of earlier versions, `dld-NAME`, which this version still installs, and what each of them runs.
OLD_NAMES = {
    "config": ["config"],
    "data": ["data"],
    "decode": ["decode"],
    "gate-table": ["gates"],
    "librispeech": ["prepare", "librispeech"],
    "lm": ["lm"],
    "mini-corpus": ["prepare", "mini"],
    "queen": ["prepare", "queen"],
    "report": ["report"],
    "score": ["score"],
    "tedlium3": ["prepare", "tedlium3"],
    "tokenizer": ["tokenizer"],
    "train": ["train"],
    "tune-lm": ["tune-lm"],
}


def program(module: str) -> str:
    """Return the name under which the user runs a module of `dld.bin`.

    Examples
    --------
    >>> program("dld.bin.gate_table"), program("dld.bin.main")
    ('dld gates', 'dld')
    """
    names = {entry.module: name for name, entry in COMMANDS.items()}
    return f"dld {names[module]}" if module in names else "dld"


def overview() -> str:
    """Return the text of `dld --help`."""
    width = max(map(len, COMMANDS))
    lines = []
    for title, names in GROUPS.items():
        lines += [f"{title}:", *(f"  {name:{width}}  {COMMANDS[name].help}" for name in names), ""]
    return "\n".join(
        [
            "usage: dld COMMAND [options]",
            "",
            "Dynamic speech networks: one speech recogniser that runs at any depth.",
            "",
            *lines,
            "example: dld transcribe recipes/mini/exp/dld speech.flac --depth 4",
            "",
            "dld COMMAND --help or dld help COMMAND explains one of them; dld --version prints the version.",
        ]
    )


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the sub-command that the first argument names with the other arguments."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name == "help":
        name, rest = rest[0] if rest else "--help", [*rest[1:], "--help"]
    if name in ("--help", "-h"):
        print(overview())
        return 0
    if name == "--version":
        print(f"dld {dld.__version__}")
        return 0
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}{_advice(name)} (see dld --help)")
    return importlib.import_module(COMMANDS[name].module).main(rest)


def main_of_old_name() -> int | None:
    """Run what a command `dld-NAME` of an earlier version is now; the name is that of the running program."""
    old = Path(sys.argv[0]).stem.removeprefix("dld-")
    return main([*OLD_NAMES[old], *sys.argv[1:]])


def _advice(name: str) -> str:
    """Return the end of the message about an unknown command: what may have been meant, or ""."""
    if name in OLD_NAMES:
        return f"; it is now dld {' '.join(OLD_NAMES[name])}"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


if __name__ == "__main__":
    sys.exit(main())
