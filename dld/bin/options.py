"""Types of command-line options: each says in one line what is allowed."""

import argparse
import re

from dld.checks import Whole
from dld.errors import DldError


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors are errors as all others: one line, without the usage before it."""

    def error(self, message):
        """Raise the message as a `DldError`."""
        raise DldError(f"{message} (see {self.prog} --help)")


def of(kind):
    """Type of an option that takes a number of a kind of `dld.checks`.

    Examples
    --------
    >>> from dld.checks import COUNT
    >>> of(COUNT)("3")
    3
    """

    def read(text):
        try:
            value = (int if isinstance(kind, Whole) else float)(text)
        except ValueError:
            value = None
        if value is None or not kind.accepts(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it must be {kind}")
        return value

    return read


def device(text):
    """Type of `--device`: one that this machine has."""
    # Commands on text and tables do without it, and it takes seconds to import.
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = re.fullmatch(r"cuda(?::(\d+))?", text)
    if text == "cpu" or (found and int(found[1] or 0) < gpus):
        return text
    there = "cpu: torch finds no GPU on this machine"
    if gpus:
        there = f"cpu, or cuda with a number from 0 to {gpus - 1}, such as cuda:0"
    raise argparse.ArgumentTypeError(f"{text!r} is not available; it must be {there}")
