"""Types and ranges of settings, declared as data, and the one line that says what is allowed.

A *kind* (`Whole(low=1)`, `Number(above=0)`, `Choice("fp32", "bf16")` …) has `accepts(value)` and, as text, what is
allowed. `dld.config.keys` declares one for each key of an experiment file, and constructors check their arguments with
`require`.
"""

import difflib
import inspect
import math
from dataclasses import dataclass

from dld.errors import DldError

# What YAML 1.1 took for booleans and YAML 1.2 reads as text, which is true whatever it says.
_FORMER_BOOLEANS = {"no": "false", "off": "false", "n": "false", "yes": "true", "on": "true", "y": "true"}


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value):
    """True for integers; booleans and floats such as 2.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Whole:
    """A whole number, from `low` to `high` where they are given."""

    low: int | None = None
    high: int | None = None

    def accepts(self, value):
        """Return whether a value is allowed."""
        return (
            is_whole(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
        )  # fmt: skip

    def hint(self, value):
        """Return what else helps, or ""."""
        whole = isinstance(value, float) and value.is_integer() and self.accepts(int(value))
        return f"; write {int(value)}" if whole else ""

    def __str__(self):
        return "a whole number" + _range(self.low, self.high, None, None)


@dataclass(frozen=True)
class Number:
    """A finite number; `low` and `high` are allowed themselves, `above` and `below` are not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def accepts(self, value):
        """Return whether a value is allowed."""
        return (
            _is_number(value)
            and math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self):
        return "a number" + _range(self.low, self.high, self.above, self.below)


def _range(low, high, above, below):
    if low is not None and high is not None:
        return f" from {low} to {high}"
    limits = (("at least", low), ("above", above), ("at most", high), ("below", below))
    words = " and ".join(f"{text} {limit}" for text, limit in limits if limit is not None)
    return f" of {words}" if words.startswith("at ") else f" {words}" if words else ""


@dataclass(frozen=True)
class Flag:
    """True or false; YAML 1.2 knows no other words for them."""

    def accepts(self, value):
        """Return whether a value is allowed."""
        return isinstance(value, bool)

    def hint(self, value):
        """Return what else helps, or ""."""
        word = _FORMER_BOOLEANS.get(value.lower()) if isinstance(value, str) else None
        return f"; write {word}" if word else ""

    def __str__(self):
        return "true or false"


class Choice:
    """One of several words."""

    def __init__(self, *words):
        self.words = words

    def accepts(self, value):
        """Return whether a value is allowed."""
        return isinstance(value, str) and value in self.words

    def hint(self, value):
        """Return what else helps, or ""."""
        near = difflib.get_close_matches(str(value), self.words, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def __str__(self):
        return ", ".join(self.words[:-1]) + f" or {self.words[-1]}"


@dataclass(frozen=True)
class Text:
    """Text; on the command line it is taken as it stands, whatever YAML would read in it."""

    meaning: str = "text"
    #: Characters that may not be in it, next to those that cannot be printed.
    forbidden: str = ""

    def accepts(self, value):
        """Return whether a value is allowed."""
        return (
            isinstance(value, str)
            and bool(value.strip())
            and value.isprintable()
            and not set(value) & set(self.forbidden)
        )  # fmt: skip

    def hint(self, value):
        """Return what else helps, or ""."""
        return "" if value is None or isinstance(value, (str, dict, list)) else "; put it in quotes"

    def __str__(self):
        return self.meaning


@dataclass(frozen=True)
class Nullable:
    """What another kind allows, or null."""

    kind: object

    def accepts(self, value):
        """Return whether a value is allowed."""
        return value is None or self.kind.accepts(value)

    def hint(self, value):
        """Return what else helps, or ""."""
        return _hint(self.kind, value)

    def __str__(self):
        return f"{self.kind}, or null"


@dataclass(frozen=True)
class ListOf:
    """A list, not empty, of values of one kind, of a certain length where one is given."""

    kind: object
    length: int | None = None
    meaning: str = ""

    def accepts(self, value):
        """Return whether a value is allowed."""
        if not isinstance(value, (list, tuple)) or not value or self.length not in (None, len(value)):
            return False
        return all(map(self.kind.accepts, value))

    def __str__(self):
        if self.meaning:
            return self.meaning
        number = "" if self.length is None else f"{self.length} values, "
        return f"a list of {number}each {self.kind}"


@dataclass(frozen=True)
class Depths:
    """Depths of a network: `all`, one, or several of them, none twice."""

    def accepts(self, value):
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

    def __str__(self):
        return "all, or a list of different whole numbers of at least 1, such as [2, 4]"


COUNT = Whole(low=1)
NOT_NEGATIVE = Whole(low=0)
POSITIVE = Number(above=0)
AT_LEAST_0 = Number(low=0)
SHARE = Number(low=0, high=1)
#: A probability of leaving out; at 1 nothing would be left.
RATE = Number(low=0, below=1)
FLAG = Flag()


def shown(value):
    """A value as a message shows it: as YAML would have it, and not too long.

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


def no_argument(function, name):
    """Say that a class or function does not have an argument, with the nearest one, or all.

    Examples
    --------
    >>> no_argument(Whole, "lowest")
    "Whole has no argument 'lowest'; did you mean 'low'?"
    """
    known = list(inspect.signature(function).parameters)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
    return f"{function.__name__} has no argument {name!r}; {hint}"


def _hint(kind, value):
    return kind.hint(value) if hasattr(kind, "hint") else ""


def complaint(name, value, kind):
    """Say in one line what is wrong with a value, or return None.

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


def require(owner, kind, **values):
    """Raise a `DldError` that names owner, argument, value and what is allowed, where a value is not of a kind.

    Parameters
    ----------
    owner : object
        What the values are arguments of; the message names its class.
    kind
        One of this module.
    values
        Name → value.
    """
    for name, value in values.items():
        wrong = complaint(name, value, kind)
        if wrong:
            raise DldError(f"{type(owner).__name__}: {wrong}")
