"""Commands, one module per stage; `setup.py` installs each as a console script."""

import functools
import logging
import os
import sys

from dld.errors import DldError


def command(main):
    """Make `main(argv) -> status` a console script with the project's error contract.

    A `DldError` is printed as one line on standard error (`dld-data: error: …`) and the exit status is 1;
    other exceptions keep their traceback, since they are bugs.

    Parameters
    ----------
    main : callable
        Takes the list of arguments (None: those of the process), returns None or an exit status.
    """

    @functools.wraps(main)
    def run(argv=None):
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
        try:
            return main(argv) or 0
        except DldError as error:
            name = "dld-" + main.__module__.rpartition(".")[2].replace("_", "-")
            print(f"{name}: error: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            # The reader of our standard output has gone: as a filter does, stop without a message.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except KeyboardInterrupt:
            return 130

    return run
