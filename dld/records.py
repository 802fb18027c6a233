"""Dataclasses that write and read their own JSON; reading checks every value and says in one line what is wrong."""

import dataclasses
import functools
import types
import typing
from typing import Any, cast

from dld.errors import DldError
from dld.files import check_keys, check_kind


def optional() -> Any:
    """Return the field of a `Record` that is None by default, and then left out of the JSON."""
    return dataclasses.field(default=None, metadata={"optional": True})


class Record:
    """Base of dataclasses that JSON objects hold.

    Fields are `str`, `int`, `float`, `bool`, `dict`, another record, a list of one of these, or one of all these or
    None. A field `del_` has the key `del`. A subclass may check its values in `__post_init__` and raise a `DldError`.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Point(Record):
    ...     x: float
    ...     name: str | None = optional()
    >>> Point(1.5).to_json(), Point.from_json({"x": 2}, "point.json")
    ({'x': 1.5}, Point(x=2, name=None))
    >>> Point.from_json({"x": "2"}, "point.json", "make it again")
    Traceback (most recent call last):
    dld.errors.DldError: point.json: x is text, expected a whole number or a number; make it again
    """

    def to_json(self) -> dict:
        """Return the record as `json.dump` takes it."""
        content = {}
        for field in dataclasses.fields(cast(Any, self)):
            value = getattr(self, field.name)
            if value is not None or not field.metadata.get("optional"):
                content[_key(field.name)] = _plain(value)
        return content

    @classmethod
    def from_json(cls, content: Any, where: str, advice: str = "make the file again"):
        """Return the record that a value read from JSON describes.

        Parameters
        ----------
        content : any
            What `json.load` returned. Keys that the record does not have are ignored.
        where : str
            What the messages begin with: the file, and the part of it.
        advice : str
            What they end with: what to do.

        Raises
        ------
        DldError
            It is not an object, lacks a key, or has a value of another type.
        """
        check_keys(content, {}, where, advice)
        values = {}
        for name, (hint, required) in _fields(cast(Any, cls)).items():
            key = _key(name)
            if key in content:
                values[name] = _read(content[key], hint, where, key, advice)
            elif required:
                raise DldError(f"{where}: lacks {key}; {advice}")
        try:
            return cls(**values)
        except DldError as error:
            raise DldError(f"{where}: {error}") from None


def _key(name):
    return name.rstrip("_")


def _plain(value):
    if isinstance(value, Record):
        return value.to_json()
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


@functools.cache
def _fields(cls: Any) -> dict[str, tuple[Any, bool]]:
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(cls)
    }


def _read(value, hint, where, name, advice):
    """Check a value against a type, and make records of the objects in it."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    check_kind(value, tuple(kind for choice in choices for kind in _kinds(choice)), f"{where}: {name}", advice)
    if isinstance(value, list):
        inner = next(typing.get_args(choice) for choice in choices if _kinds(choice) == (list,))
        return [_read(entry, inner[0], where, f"{name}[{index}]", advice) for index, entry in enumerate(value)]
    if isinstance(value, dict):
        record = next(choice for choice in choices if _kinds(choice) == (dict,))
        return value if record is dict else record.from_json(value, f"{where}: {name}", advice)
    return value


def _kinds(hint):
    """Return the types that JSON has for a type of a field."""
    if typing.get_origin(hint) is list:
        return (list,)
    if issubclass(hint, Record):
        return (dict,)
    return (int, float) if hint is float else (hint,)
