"""Say what a user changed between two experiments: the keys that were set, not the objects that follow from them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dld.checks import shown

_REFERENCE = re.compile(r"<([A-Za-z_]\w*)")
# Where a run is and on what machine, what it prints, and what decoding alone reads: with others it is the same run.
_ELSEWHERE = {
    *("exp", "exp_dir", "decode_depths", "decode_policy", "num_workers", "ckpt_interval_minutes"),
    *("log_interval", "logger"),
}
# Paths that may move: what is meant is compared by its hash.
_BY_HASH = {"data", "train_data", "dev_data", "lang_dir", "teacher", "init_from", "soft_targets.experiment"}
#: Keys that may differ between two starts of one run.
NOT_OF_TRAINING = frozenset(_ELSEWHERE | _BY_HASH)
#: Stands for the value of a key that is not there.
ABSENT = object()
#: Differences that a message names; it counts the others.
MOST = 8


@dataclass(frozen=True)
class Difference:
    """A value that differs.

    Attributes
    ----------
    path : str
        The key, with dots: `encoder.dropout`.
    old, new : any
        Plain values, see `PlainSettings`; `ABSENT` where the key is not there.
    """

    path: str
    old: Any
    new: Any

    @property
    def key(self) -> str:
        """The key of the file that it is in."""
        return self.path.partition(".")[0]

    def __str__(self) -> str:
        """Return it as messages show it, with the values in the notation of YAML."""
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


def differences(
    old: Mapping, new: Mapping, written: Mapping, ignored: frozenset[str] = frozenset()
) -> list[Difference]:
    """Return where two settings differ, without what follows from another difference by a reference.

    Parameters
    ----------
    old, new : mapping
        The values of `PlainSettings`, references replaced.
    written : mapping
        The new settings as the files have them, with references; the settings themselves where they have none.
    ignored : set of str
        Keys, with dots, whose differences do not count. What follows from such a key counts.

    Examples
    --------
    >>> written = {"lr": 0.002, "optimizer": {"!name:Adam": {"lr": "<lr>", "eps": 1}}}
    >>> old, new = ({"lr": lr, "optimizer": {"!name:Adam": {"lr": lr, "eps": 1}}} for lr in (0.001, 0.002))
    >>> [str(difference) for difference in differences(old, new, written)]
    ['lr: 0.001 -> 0.002']
    """
    found = []
    for difference, reference in _leaves(old, new, written, ""):
        sources = {key for key in _references(reference) if old.get(key, ABSENT) != new.get(key, ABSENT)}
        if difference.path not in ignored and difference.key not in ignored and not sources - ignored:
            found.append(difference)
    return found


def summary(found: list[Difference]) -> str:
    """Return several differences as a message shows them.

    Examples
    --------
    >>> summary([Difference("lr", 0.001, 0.002), Difference("soft_targets", {"!new:dld.Teacher": {}}, None)])
    'lr: 0.001 -> 0.002, soft_targets: !new:dld.Teacher -> null'
    """
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return ", ".join(map(str, found[:MOST])) + more


def _leaves(old: Any, new: Any, written: Any, path: str) -> Iterator[tuple[Difference, Any]]:
    """Yield the innermost values that differ, each with what the files have written for it."""
    # As in Python, 1 == True: the types count, too.
    if old == new and repr(old) == repr(new):
        return
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)) or _tag(old) != _tag(new) or _references(written, 0):
        yield Difference(path, old, new), written
        return
    if tag := _tag(old):
        arguments = written.get(tag) if isinstance(written, Mapping) else None
        yield from _leaves(old[tag] or {}, new[tag] or {}, arguments, path)
        return
    for key in sorted(old.keys() | new.keys()):
        inner = written.get(key) if isinstance(written, Mapping) else None
        below = f"{path}.{key}" if path else str(key)
        yield from _leaves(old.get(key, ABSENT), new.get(key, ABSENT), inner, below)


def _references(written: Any, levels: int = 50) -> set[str]:
    """Return the keys that a value refers to, in lists and mappings of up to `levels` levels."""
    if isinstance(written, str):
        return set(_REFERENCE.findall(written))
    inner = written.values() if isinstance(written, Mapping) else written if isinstance(written, list | tuple) else ()
    return {key for value in inner for key in _references(value, levels - 1)} if levels else set()


def _tag(value: Mapping) -> str | None:
    """Return the tag of a plain value that was an object, None for a mapping of keys to values."""
    name = next(iter(value), "")
    return name if len(value) == 1 and isinstance(name, str) and name.startswith("!") else None


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "not there"
    if isinstance(value, Mapping) and _tag(value):
        return str(_tag(value))
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 60 else shown(value)
