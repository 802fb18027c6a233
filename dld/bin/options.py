"""The parser of all commands, and types of options: each says in one line what is allowed."""

import argparse
import difflib
import re
from collections.abc import Callable
from typing import Any, NoReturn

from dld.bin import boolean
from dld.checks import Kind, Whole, shown
from dld.errors import UsageError


class Formatter(argparse.HelpFormatter):
    """Show the default of each option and a short word for its value; keep the line breaks of texts."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        # An option without a value is off by default, and None says that something else decides.
        if not action.option_strings or action.nargs == 0 or action.default in (None, "", [], argparse.SUPPRESS):
            return text
        if "default" in text:
            return text
        default = action.default
        if isinstance(default, (list, tuple)):
            default = " ".join(map(str, default))
        elif isinstance(default, bool):
            default = shown(default)
        return f"{text} (default: {str(default).replace('%', '%%')})"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if action.type is boolean:
            return "true|false"
        return getattr(action.type, "metavar", action.dest.rpartition("_")[2].upper())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text:
            return super()._fill_text(text, width, indent)
        return "".join(indent + line for line in text.splitlines(keepends=True))


class Parser(argparse.ArgumentParser):
    """Parse options; options are written out, and a wrong one is a `UsageError`: one line, no usage before it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": Formatter, **settings})

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UsageError`, with the nearest of what could have been meant."""
        raise UsageError(f"{message}{self._advice(message)} (see {self.prog} --help)")

    def _advice(self, message: str) -> str:
        """Return what may have been meant by an unknown option or action, or ""."""
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        known = list(self._option_string_actions)
        if not unknown:
            unknown = re.search(r"invalid choice: '([^']*)'", message)
            actions = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
            known = [str(name) for choices in actions for name in choices or ()]
        near = difflib.get_close_matches(unknown[1], known, n=1) if unknown else []
        return f"; did you mean {near[0]!r}?" if near else ""


def of(kind: Kind) -> Callable[[str], float]:
    """Return the type of an option that takes a number of a kind of `dld.checks`.

    Examples
    --------
    >>> from dld.checks import COUNT
    >>> of(COUNT)("3")
    3
    """

    def read(text: str) -> float:
        try:
            value = (int if isinstance(kind, Whole) else float)(text)
        except ValueError:
            value = None
        if value is None or not kind.accepts(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it must be {kind}")
        return value

    read.metavar = "N" if isinstance(kind, Whole) else "X"  # type: ignore[attr-defined]
    return read


def device(text: str) -> str:
    """Read the value of `--device`: one that this machine has."""
    if text == "cpu":
        return text
    # Packs and commands on text and tables do not need it, and it takes seconds to import.
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = re.fullmatch(r"cuda(?::(\d+))?", text)
    if found and int(found[1] or 0) < gpus:
        return text
    there = "cpu: torch finds no GPU on this machine"
    if gpus:
        there = f"cpu, or cuda with a number from 0 to {gpus - 1}, such as cuda:0"
    raise argparse.ArgumentTypeError(f"{text!r} is not available; it must be {there}")
