"""Pieces of Markdown that the pages of a report are made of."""

import re
from collections.abc import Iterable, Sequence

NONE = "–"
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def escape(text: str) -> str:
    r"""Return text without characters that Markdown would read as markup.

    Examples
    --------
    >>> print(escape("<unk> a_b"))
    \<unk\> a\_b
    """
    return _MARKUP.sub(r"\\\1", text)


def table(heads: Sequence, rows: Iterable[Sequence], right_from: int = 1) -> str:
    """Return a Markdown table; the columns from `right_from` on are aligned to the right, None is a dash.

    Examples
    --------
    >>> print(table(["depth", "WER"], [[2, "9.1"], [4, None]]))
    | depth | WER |
    |---|--:|
    | 2 | 9.1 |
    | 4 | – |
    """
    rule = ["---" if index < right_from else "--:" for index in range(len(heads))]
    lines = [f"| {' | '.join(NONE if cell is None else str(cell) for cell in cells)} |" for cells in [heads, *rows]]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])
