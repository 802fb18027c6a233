"""Show versions, processor, devices, and what optional parts are missing and how to get them."""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

import dld
from dld.bin import command
from dld.bin.options import Parser

#: Modules that every command may need.
REQUIRED = (
    *("torch", "torchaudio", "speechbrain", "hyperpyyaml", "huggingface_hub", "ruamel.yaml", "yaml", "sentencepiece"),
    *("kaldiio", "soundfile", "jiwer", "numpy", "scipy", "matplotlib", "safetensors", "tqdm"),
)


class Part(NamedTuple):
    """An optional part: a module or a program, what it is for, and how to get it."""

    name: str
    use: str
    get: str
    is_program: bool = False


OPTIONAL = (
    Part("kenlm", "beam search with a language model", "pip install kenlm (a C++ compiler and cmake)"),
    Part("espeakng_loader", "the speech of the mini corpus", "pip install espeakng-loader"),
    Part("tensorboard", "curves of a training (--logger tensorboard)", "pip install tensorboard"),
    Part("wandb", "curves of a training (--logger wandb)", "pip install wandb"),
    Part("submitit", "trainings as jobs of SLURM (--launcher slurm)", "pip install submitit"),
    Part("transformers", "tests that compare WavLM and Whisper with it", "pip install transformers"),
    Part("ffmpeg", "commands in wav.scp that decode other formats", "your system's package ffmpeg", True),
    Part("sclite", "scoring with NIST's rules (local/score_sclite.sh)", "SCTK, github.com/usnistgov/SCTK", True),
    Part("lmplz", "language models of texts larger than memory (dld lm --tool lmplz)", "KenLM, kheafield.com", True),
)


def version_of(module: str) -> tuple[bool, str]:
    """Return whether a module can be imported, and its version or in one line what is wrong with it."""
    try:
        found = importlib.import_module(module)
    # A broken installation fails in any way, with an exit, too.
    except (Exception, SystemExit) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "") in (module, module.partition(".")[0])
        return False, "missing" if missing else f"fails to import: {reason}"
    return True, str(getattr(found, "__version__", "present"))


def machine() -> list[tuple[str, str]]:
    """Return rows about processor, threads and devices."""
    from dld.provenance import processor

    rows = [("processor", processor()), ("processors to use", str(_processors()))]
    try:
        import torch

        rows.append(("vector instructions", torch.backends.cpu.get_cpu_capability()))
        rows.append(("threads", f"{torch.get_num_threads()} (OMP_NUM_THREADS changes it)"))
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        rows.append(("cuda", ", ".join(names) or "none"))
        rows.append(("mps", "yes" if torch.backends.mps.is_available() else "none"))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        rows.append(("devices", f"unknown, torch does not work: {reason}"))
    return rows


def _processors() -> int:
    # Only Linux knows how many a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def show(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under a title, their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(title)
    for row in rows:
        print("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print what is there; the status is 1 if a required module is missing or does not work."""
    Parser(prog="dld doctor", description=__doc__).parse_args(argv)
    required = {name: version_of(name) for name in REQUIRED}
    show("versions", [("dld", dld.__version__), ("python", platform.python_version())])
    show("required", [(name, text) for name, (_, text) in required.items()])
    show("machine", machine())
    rows = []
    for part in OPTIONAL:
        there, text = (bool(shutil.which(part.name)), "") if part.is_program else version_of(part.name)
        text = text or ("present" if there else "missing")
        rows.append((part.name, text, f"for {part.use}" + ("" if there else f"; get it: {part.get}")))
    show("optional", rows)
    broken = [name for name, (works, _) in required.items() if not works]
    if broken:
        print(f"dld doctor: error: {', '.join(broken)}: required and not usable; run tools/install.sh", file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
