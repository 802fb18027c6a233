"""Dataclasses that write and read their own JSON."""

from dataclasses import dataclass

import pytest

from dld.errors import DldError
from dld.records import Record, optional


@dataclass(frozen=True)
class Point(Record):
    x: float
    name: str | None = None

    def __post_init__(self):
        if self.x < 0:
            raise DldError(f"x is {self.x}, below 0")


@dataclass(frozen=True)
class Path(Record):
    points: list[Point]
    lengths: list[int | None]
    first: Point | None
    del_: int
    about: dict | None = optional()


PATH = Path([Point(0.5), Point(2, "end")], [1, None], Point(1.0), 3)


def test_what_is_written_is_read():
    content = PATH.to_json()
    assert content == {
        "points": [{"x": 0.5, "name": None}, {"x": 2, "name": "end"}],
        "lengths": [1, None],
        "first": {"x": 1.0, "name": None},
        "del": 3,
    }
    assert Path.from_json(content, "path.json") == PATH
    assert Path.from_json({**content, "first": None, "about": {"a": []}, "new": 1}, "path.json").about == {"a": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "path.json: points is null, expected a list; again"),
        ({"points": [{"x": 1.0}, []]}, r"path.json: points\[1\] is a list, expected an object; again"),
        ({"points": [{"name": "a"}]}, r"path.json: points\[0\]: lacks x; again"),
        ({"points": [{"x": True}]}, r"path.json: points\[0\]: x is True, expected"),
        ({"points": [{"x": float("inf")}]}, r"path.json: points\[0\]: x is inf, expected"),
        ({"points": [{"x": -1}]}, r"path.json: points\[0\]: x is -1, below 0"),
        ({"lengths": [1, 0.5]}, r"path.json: lengths\[1\] is 0.5, expected a whole number or null; again"),
        ({"first": "a"}, "path.json: first is text, expected an object or null; again"),
        ({"del": None}, "path.json: del is null, expected a whole number; again"),
    ],
)
def test_values_of_other_types_are_named(change, message):
    with pytest.raises(DldError, match=message):
        Path.from_json({**PATH.to_json(), **change}, "path.json", "again")
    with pytest.raises(DldError, match="path.json: an object was expected, not a list; again"):
        Path.from_json([], "path.json", "again")
