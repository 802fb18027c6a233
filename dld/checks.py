"""Declare types and ranges of settings as data, and say in one line what is allowed.

A *kind* (`Whole(low=1)`, `Number(above=0)`, `Choice("fp32", "bf16")` …) has a method `accepts(value)`, and its text
says what is allowed. `dld.config.keys` declares one for each key of an experiment file, options of commands have one,
and constructors check their arguments with `require`.
"""

import difflib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dld.errors import DldError

#: The value of a key that follows from the data.
AUTO = "auto"
# Booleans in YAML 1.1, text in YAML 1.2: even "no" would count as true.
_FORMER_BOOLEANS = {"no": "false", "off": "false", "n": "false", "yes": "true", "on": "true", "y": "true"}


class Kind(Protocol):
    """What a value may be; `str(kind)` says it in words. A kind may also have a method `hint`."""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer; booleans and floats such as 2.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Whole:
    """A whole number, at least `low` and at most `high` if they are given."""

    low: int | None = None
    high: int | None = None

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return (
            is_whole(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
        )  # fmt: skip

    def hint(self, value: Any) -> str:
        """Return advice about a value that is not allowed, as the end of a message, or ""."""
        whole = isinstance(value, float) and value.is_integer() and self.accepts(int(value))
        return f"; write {int(value)}" if whole else ""

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return "a whole number" + _range(self.low, self.high, None, None)


@dataclass(frozen=True)
class Number:
    """A finite number: at least `low`, at most `high`, greater than `above`, less than `below`, if they are given."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return (
            _is_number(value)
            and abs(value) <= sys.float_info.max
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return "a number" + _range(self.low, self.high, self.above, self.below)


def _range(low: float | None, high: float | None, above: float | None, below: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    limits = (("at least", low), ("above", above), ("at most", high), ("below", below))
    words = " and ".join(f"{text} {limit}" for text, limit in limits if limit is not None)
    return f" of {words}" if words.startswith("at ") else f" {words}" if words else ""


@dataclass(frozen=True)
class Flag:
    """`true` or `false`, the only booleans of YAML 1.2."""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return isinstance(value, bool)

    def hint(self, value: Any) -> str:
        """Return advice about a value that is not allowed, as the end of a message, or ""."""
        word = _FORMER_BOOLEANS.get(value.lower()) if isinstance(value, str) else None
        return f"; write {word}" if word else ""

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return "true or false"


@dataclass(frozen=True)
class FlagOrFolder:
    """`true`, `false`, or the path of a folder."""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return FLAG.accepts(value) or (Text().accepts(value) and not FLAG.hint(value))

    def hint(self, value: Any) -> str:
        """Return advice about a value that is not allowed, as the end of a message, or ""."""
        return FLAG.hint(value)

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return "true or false, or the path of a folder"


class Choice:
    """One of several words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return isinstance(value, str) and value in self.words

    def hint(self, value: Any) -> str:
        """Return advice about a value that is not allowed, as the end of a message, or ""."""
        near = difflib.get_close_matches(str(value), self.words, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return ", ".join(self.words[:-1]) + f" or {self.words[-1]}"


@dataclass(frozen=True)
class Text:
    """Text; on the command line it is not read as YAML.

    Attributes
    ----------
    meaning : str
        What the text is, for messages.
    forbidden : str
        Characters that may not be in it; those that cannot be printed never may.
    """

    meaning: str = "text"
    forbidden: str = ""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return (
            isinstance(value, str)
            and bool(value.strip())
            and value.isprintable()
            and not set(value) & set(self.forbidden)
        )  # fmt: skip

    def hint(self, value: Any) -> str:
        """Return advice about a value that is not allowed, as the end of a message, or ""."""
        return "" if value is None or isinstance(value, (str, dict, list)) else "; put it in quotes"

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return self.meaning


@dataclass(frozen=True)
class Nullable:
    """A value of another kind, or null."""

    kind: Kind

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return value is None or self.kind.accepts(value)

    def hint(self, value: Any) -> str:
        """Return advice about a value that is not allowed, as the end of a message, or ""."""
        return _hint(self.kind, value)

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return f"{self.kind}, or null"


@dataclass(frozen=True)
class OrAuto:
    """A value of another kind, or `auto`: it follows from the data."""

    kind: Kind

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return (isinstance(value, str) and value == AUTO) or self.kind.accepts(value)

    def hint(self, value: Any) -> str:
        """Return advice about a value that is not allowed, as the end of a message, or ""."""
        return _hint(self.kind, value)

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return f"{self.kind}, or {AUTO}"


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind: not empty, and of a certain length if one is given."""

    kind: Kind
    length: int | None = None
    meaning: str = ""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        if not isinstance(value, (list, tuple)) or not value or self.length not in (None, len(value)):
            return False
        return all(map(self.kind.accepts, value))

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        if self.meaning:
            return self.meaning
        number = "" if self.length is None else f"{self.length} values, "
        return f"a list of {number}each {self.kind}"


@dataclass(frozen=True)
class Depths:
    """Depths of a network: `all`, one depth, or several different ones."""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        if value == "all" and isinstance(value, str):
            return True
        if isinstance(value, str):
            words = value.replace(",", " ").split()
            value = [int(word) if word.isdecimal() else word for word in words]
        values = [value] if is_whole(value) else value
        if not isinstance(values, (list, tuple)) or not values:
            return False
        return all(is_whole(depth) and depth >= 1 for depth in values) and len(set(values)) == len(values)

    def __str__(self) -> str:
        """Return the kind as messages name it."""
        return "all, or a list of different whole numbers of at least 1, such as [2, 4]"


COUNT = Whole(low=1)
NOT_NEGATIVE = Whole(low=0)
POSITIVE = Number(above=0)
AT_LEAST_0 = Number(low=0)
FRACTION = Number(low=0, high=1)
#: The probability that something is left out; at 1 nothing would be left.
RATE = Number(low=0, below=1)
FLAG = Flag()


def shown(value: Any) -> str:
    """Return a value as messages show it: in the notation of YAML, at most 60 characters.

    Examples
    --------
    >>> shown(None), shown(True), shown("abc"), shown([1, 2])
    ('null', 'true', "'abc'", '[1, 2]')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (str, list, tuple)):
        text = repr(value)
    elif isinstance(value, dict):
        text = repr(dict(value))
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def no_argument(function: Callable, name: str) -> str:
    """Return the message that a class or function lacks an argument; it names the nearest argument, or all of them.

    Examples
    --------
    >>> no_argument(Whole, "lowest")
    "Whole has no argument 'lowest'; did you mean 'low'?"
    """
    known = list(inspect.signature(function).parameters)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
    return f"{function.__name__} has no argument {name!r}; {hint}"


def _hint(kind: Kind, value: Any) -> str:
    return kind.hint(value) if hasattr(kind, "hint") else ""


def complaint(name: str, value: Any, kind: Kind) -> str | None:
    """Return one line about what is wrong with a value, or None if it is allowed.

    Examples
    --------
    >>> complaint("lr", "abc", POSITIVE)
    "lr is 'abc'; it must be a number above 0"
    >>> complaint("warmup", 1000.0, NOT_NEGATIVE)
    'warmup is 1000.0; it must be a whole number of at least 0; write 1000'
    >>> complaint("closed_norm", False, FLAG)
    """
    if kind.accepts(value):
        return None
    return f"{name} is {shown(value)}; it must be {kind}{_hint(kind, value)}"


def require(owner: object, kind: Kind, **values: Any) -> None:
    """Check the arguments of a constructor.

    Parameters
    ----------
    owner : object
        The object that is made; messages name its class.
    kind : Kind
    **values
        The arguments by name.

    Raises
    ------
    DldError
        A value is not of the kind; the message names class, argument and value, and says what is allowed.
    """
    for name, value in values.items():
        wrong = complaint(name, value, kind)
        if wrong:
            raise DldError(f"{type(owner).__name__}: {wrong}")
