"""Sub-commands of `dld`, one module each; `dld.bin.main` finds them.

A module of this package is quick to import: at its top it imports the standard library and modules of dld that do the
same (`dld.bin`, `dld.checks`, `dld.errors`, `dld.gates` …), and torch, NumPy and the like inside its functions.
"""

import argparse
import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dld.data.pipes import allow_pipes
from dld.errors import DldError, UsageError, describe_os_error, is_out_of_memory, worker_died

#: What the extra `train` installs, by the names that are imported.
TRAINING = frozenset(
    ("torch", "torchaudio", "speechbrain", "hyperpyyaml", "huggingface_hub", "ruamel", "yaml")
    + ("kaldiio", "jiwer", "matplotlib", "safetensors", "espeakng_loader", "tqdm")
)


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Give the `main` of a sub-command the project's error contract.

    A `DldError` is printed as one line on standard error (`dld data: error: …`) and the exit status is 1, or 2 where
    the command is called in a wrong way (`UsageError`). Errors of the operating system (permissions, a full disk, a
    folder where a file is meant) and too little memory are one line and status 1, too. Other exceptions keep their
    traceback, since they are bugs.

    Parameters
    ----------
    main : callable
        Takes the list of arguments (None: those of the process), returns None or an exit status.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_concerns_users)
        try:
            return main(argv) or 0
        except UsageError as error:
            return _fail(main, error, status=2)
        except DldError as error:
            return _fail(main, error)
        except BrokenPipeError:
            # The reader of our standard output is gone: stop without a message, as filters do.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            return _fail(main, describe_os_error(error))
        except ModuleNotFoundError as error:
            if (name := (error.name or "").partition(".")[0]) not in TRAINING:
                raise
            return _fail(main, f"needs {name}, which is not installed: pip install 'dld[train]'")
        except (MemoryError, RuntimeError) as error:
            died = worker_died(error)
            if died:
                return _fail(main, died)
            if not is_out_of_memory(error):
                raise
            return _fail(main, f"not enough memory; use shorter batches ({_first_line(error)})")
        except KeyboardInterrupt:
            return 130

    return run


def _fail(main: Callable, message: object, status: int = 1) -> int:
    """Print an error as one line after the name of the command; return the exit status."""
    from dld.bin.main import program

    module = main.__module__
    if module == "__main__":
        module = f"dld.bin.{Path(sys.argv[0]).stem}"
    # Messages of libraries that it may quote have several lines.
    line = " ".join(str(message).splitlines())
    print(f"{program(module)}: error: {line}", file=sys.stderr)
    return status


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _concerns_users(record: logging.LogRecord) -> bool:
    """Keep SpeechBrain's information, which is for developers, out of the log; its warnings stay."""
    return record.levelno >= logging.WARNING or not record.name.startswith("speechbrain")


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """Add `--progress`: bars, by default on terminals and not in logs."""
    parser.add_argument(
        "--progress",
        type=boolean,
        default=sys.stderr.isatty(),
        help="show progress bars (default: true if standard error is a terminal)",
    )


class _AllowPipes(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        allow_pipes(values)


def add_pipes_option(parser: argparse.ArgumentParser) -> None:
    """Add `--allow-pipes`, which takes effect in this process and those it starts when the arguments are parsed."""
    parser.add_argument(
        "--allow-pipes",
        action=_AllowPipes,
        type=boolean,
        default=argparse.SUPPRESS,
        help="whether entries of wav.scp that end in | run as commands, as Kaldi's tools do; refuse them for data "
        "that you do not trust (default: the environment variable DLD_ALLOW_PIPES, or true)",
    )


def boolean(text: str) -> bool:
    """Read the value of an option that takes `true` or `false`, as the recipes' scripts do."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text == "true"
