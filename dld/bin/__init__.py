"""Commands, one module per stage; `setup.py` installs each as a console script."""

import argparse
import functools
import logging
import os
import sys
from pathlib import Path

from dld.data.pipes import allow_pipes
from dld.errors import DldError, describe_os_error, worker_died


def command(main):
    """Make `main(argv) -> status` a console script with the project's error contract.

    A `DldError` is printed as one line on standard error (`dld-data: error: …`) and the exit status is 1; so are errors
    of the operating system (permissions, a full disk, a folder where a file is meant) and memory that does not suffice.
    Other exceptions keep their traceback, since they are bugs.

    Parameters
    ----------
    main : callable
        Takes the list of arguments (None: those of the process), returns None or an exit status.
    """

    @functools.wraps(main)
    def run(argv=None):
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_news)
        try:
            return main(argv) or 0
        except DldError as error:
            return _fail(main, error)
        except BrokenPipeError:
            # The reader of our standard output has gone: as a filter does, stop without a message.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            return _fail(main, describe_os_error(error))
        except (MemoryError, RuntimeError) as error:
            died = worker_died(error)
            if died:
                return _fail(main, died)
            if not _is_out_of_memory(error):
                raise
            return _fail(main, f"the memory does not suffice; take shorter batches ({_first_line(error)})")
        except KeyboardInterrupt:
            return 130

    return run


def _fail(main, message):
    """Print the one line of an error, under the command's name; return the exit status."""
    module = main.__module__
    program = sys.argv[0] if module == "__main__" else f"{module.rpartition('.')[2]}.py"
    # Messages of libraries that it may quote have several lines.
    line = " ".join(str(message).splitlines())
    print(f"dld-{Path(program).stem.replace('_', '-')}: error: {line}", file=sys.stderr)
    return 1


def _is_out_of_memory(error):
    """Python's error and torch's, which for the main memory has no class of its own."""
    names = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return names or "DefaultCPUAllocator" in str(error)


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _is_news(record):
    """SpeechBrain tells of much that is no news to a user of recipes; its warnings still come through."""
    return record.levelno >= logging.WARNING or not record.name.startswith("speechbrain")


def add_progress_option(parser):
    """Add `--noprogressbar`; without it bars are shown on terminals, and left out of logs."""
    parser.add_argument(
        "--noprogressbar",
        action="store_true",
        default=not sys.stderr.isatty(),
        help="no progress bars (there are none where standard error is no terminal)",
    )


class _AllowPipes(argparse.Action):
    def __call__(self, parser, namespace, allowed, option_string=None):
        allow_pipes(allowed)


def add_pipes_option(parser):
    """Add `--allow-pipes`, which takes effect in this process and those it starts when the arguments are parsed."""
    parser.add_argument(
        "--allow-pipes",
        action=_AllowPipes,
        type=boolean,
        default=argparse.SUPPRESS,
        metavar="BOOL",
        help="whether entries of wav.scp that end in | run as commands, as Kaldi's tools do; refuse them for data "
        "that you do not trust (default: the environment variable DLD_ALLOW_PIPES, or true)",
    )


def boolean(text):
    """Type of an option that takes `true` or `false`, as the recipes' scripts do."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text == "true"
