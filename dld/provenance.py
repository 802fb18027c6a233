"""Record what produced a result: code, command, libraries, machine."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

LIBRARIES = ("torch", "torchaudio", "speechbrain", "hyperpyyaml", "sentencepiece", "kaldiio", "jiwer", "numpy")


def git_hash() -> str:
    """Return the commit of this checkout, with `-dirty` if files differ from it; "unknown" outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        return commit + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    # It takes as long to import as all else that --help needs.
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def processor() -> str:
    """Return the operating system's name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


#: Modules of `dld.bin` that have another name than their sub-command.
_SUBCOMMANDS = {"gate_table": ["gates"], "main": []}


def command_line() -> str:
    """Return the command that is running, quoted for a shell, so that it can be pasted into one."""
    program = Path(sys.argv[0])
    words = [program.name]
    if program.name == "__main__.py":  # python -m dld
        words = [program.parent.name]
    elif program.parent == Path(__file__).resolve().parent / "bin":  # python -m dld.bin.train
        words = ["dld", *_SUBCOMMANDS.get(program.stem, [program.stem.replace("_", "-")])]
        if "RANK" in os.environ:
            size = os.environ.get("LOCAL_WORLD_SIZE", "1")
            words = ["torchrun", "--standalone", f"--nproc-per-node={size}", "-m", f"dld.bin.{program.stem}"]
    return shlex.join([*words, *sys.argv[1:]])
