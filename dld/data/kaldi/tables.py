"""The tables of data directories: a key, then its value, on every line; what an entry may look like."""

import codecs
import math
import re
from pathlib import Path

import numpy as np

from dld.data.symbols import reserved_symbol
from dld.errors import DldError
from dld.files import read_lines

# The tables, and the least and the greatest number of fields of a value (None: any number).
TABLES = {
    "wav.scp": (1, None),
    "segments": (3, 3),
    "text": (0, None),
    "utt2spk": (1, 1),
    "spk2utt": (1, None),
    "utt2dur": (1, 1),
    "reco2dur": (1, 1),
    "spk2gender": (1, 1),
}
# A data directory needs these; `fix` can make the others.
BASIC = ("wav.scp", "utt2spk", "text")
INVISIBLE = {"\u200b", "\u2060", "\ufeff"}
# White space other than space and tab, control and invisible characters.
_ODD = re.compile("[^\\S \\t]|[\\x00-\\x08\\x0e-\\x1f\\x7f-\\x9f\u200b\u2060\ufeff]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
#: Seconds that no recording or utterance is longer than; more is a fault, such as samples instead of seconds.
LONGEST = 1e7
#: Seconds that an utterance must have: a frame of features.
SHORTEST = 0.01


def read_table(path: str | Path, columns: int | None = None) -> dict[str, str]:
    r"""Read a Kaldi table: the first field of a line is its key, the rest its value.

    Parameters
    ----------
    path : str or Path
    columns : int, optional
        Number of fields that every value must have; None allows any number, also none.

    Returns
    -------
    dict of str to str
        In the order of the file. Values keep their inner spacing.

    Raises
    ------
    DldError
        With file and line: an empty key, a repeated key, a wrong number of fields, text that is not UTF-8.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "text"
    >>> _ = path.write_text("utt1 one two\nutt2\n")
    >>> read_table(path)
    {'utt1': 'one two', 'utt2': ''}
    """
    return read_entries(Path(path), columns or 0, columns)


def read_text(path: str | Path) -> dict[str, str]:
    """Read a `text` table with words separated by single spaces."""
    return {key: spaced(value) for key, value in read_table(path).items()}


def spaced(text: str) -> str:
    """Return text with single spaces between its words."""
    return " ".join(re.split("[ \t]+", text)).strip(" ")


def format_number(value: float) -> str:
    """Write a float without loss and without exponent, which awk scripts need not understand."""
    return np.format_float_positional(value, trim="-")


def has_table(folder, name):
    """Return whether a directory has a table; a `DldError` where something else than a file has its name."""
    path = folder / name
    if path.is_file():
        return True
    if path.is_symlink() and not path.exists():
        raise DldError(f"{path}: a link to a file that does not exist; repair or remove it")
    if path.exists():
        raise DldError(f"{path}: {'a folder' if path.is_dir() else 'not a regular file'}, a table was expected")
    return False


def file_complaints(path):
    """Yield `(kind, complaint)` for what Kaldi's tools do not read in the bytes of a table, though we do."""
    begin, last, carriage = b"", b"\n", False
    with open(path, "rb") as stream:
        for raw in stream:
            begin, last, carriage = begin or raw[:3], raw, carriage or raw.endswith(b"\r\n")
    if begin.startswith(codecs.BOM_UTF8):
        yield "byte order mark", "begins with a byte order mark (U+FEFF), which Kaldi's tools take for part of the key"
    if carriage:
        yield "line ends", "has Windows line ends (CRLF), which Kaldi's tools take for part of the value"
    if not last.endswith(b"\n"):
        yield "line ends", "its last line has no line end, and shell loops lose it"


def scan(path, least, most, numbered=None):
    """Yield `(line number, key, value, kind of complaint or None, complaint)` of a table's lines.

    `numbered` are the lines and their numbers, where they do not come from the file itself.
    """
    lines = {}
    for number, line in read_lines(path) if numbered is None else numbered:
        key, *rest = re.split("[ \t]+", line.rstrip(" \t"), maxsplit=1)
        value = rest[0] if rest else ""
        complaint = _complaint(path.name, key, value, least, most)
        if complaint is None and key in lines:
            complaint = ("repeated key", f"{shown(key)} is also in line {lines[key]}")
        lines.setdefault(key, number)
        yield number, key, value, *(complaint or (None, None))


def shown(text):
    r"""Return text as messages show it: short, and with escapes for what is not printable.

    Examples
    --------
    >>> print(shown("utt1"), shown("utt\u00a01"), shown(100 * "x"))
    utt1 'utt\xa01' xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
    """
    short = text if len(text) <= 80 else f"{text[:60]}…"
    return short if short.isprintable() else repr(short)


def _complaint(name, key, value, least, most):
    """Say what is wrong with the form of one entry of a table, as `(kind, complaint)`, or None."""
    if not key:
        return "empty key", "the line is empty or begins with a space; it must begin with a key"
    if odd := _ODD.search(key):
        return "key", f"the key {shown(key)} has {_character(odd[0])}; rename it in every table"
    if name in TABLES and name != "text" and (odd := (_CONTROL if name == "wav.scp" else _ODD).search(value)):
        return "value", f"{shown(key)} has {_character(odd[0])} in its value {shown(value)}; take it out"
    count = len(value.split())
    if name == "segments" and count == 4:
        return "channel", (
            f"{shown(key)} has a fifth field, a channel, which is not read; make a recording of each channel in "
            f"wav.scp, such as 'ID-A sox FILE -t wav - remix 1 |', name it here and take the fifth field away"
        )
    if count < least or (most is not None and count > most):
        wanted = least if least == most else f"at least {least}"
        return "number of fields", f"{shown(key)} has {count} fields after it, expected {wanted}"
    if name == "segments":
        _, start, end = value.split()
        return _times_complaint(shown(key), start, end)
    if name in ("utt2dur", "reco2dur") and not 0 < parse_seconds(value) <= LONGEST:
        return "durations", (
            f"{shown(key)} has the duration {shown(value)}; it must be a positive number of seconds, such as 12.5"
        )
    if name == "spk2gender" and value not in ("m", "f"):
        return "gender", f"{shown(key)} has the gender {shown(value)}; Kaldi knows m and f"
    return None


def _times_complaint(key, start, end):
    begins, ends = parse_seconds(start), parse_seconds(end)
    if math.isnan(begins) or math.isnan(ends):
        return "times", f"{key} has times that are not numbers: {shown(start)} {shown(end)}"
    # Kaldi takes the end -1 as the end of the recording.
    if not (0 <= begins < ends <= LONGEST or (0 <= begins <= LONGEST and ends == -1)):
        return "times", f"{key} starts at {start} s and ends at {end} s; it must be 0 <= start < end"
    return None


def parse_seconds(value):
    """Return a number that awk reads too; NaN for what float() takes as well: "inf", "1_0", digits of other scripts."""
    plain = re.fullmatch(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", value)
    return float(value) if plain and len(value) < 100 else math.nan


def has_odd_character(text):
    """Return whether a text has white space other than space and tab, control or invisible characters."""
    return _ODD.search(text) is not None


def _character(c):
    code = f"U+{ord(c):04X}"
    if c == "\ufeff":
        return f"a byte order mark ({code})"
    return f"the whitespace {code}" if c in INVISIBLE or c.isspace() else f"the control character {code}"


def read_entries(path, least, most, numbered=None):
    """Read a table whose values have `least` to `most` fields; see `read_table` and `scan`."""
    table = {}
    for number, key, value, _, complaint in scan(path, least, most, numbered):
        if complaint:
            raise DldError(f"{path}:{number}: {complaint}")
        table[key] = value
    if not table:
        raise DldError(f"{path}: is empty; a table with at least one entry was expected")
    return table


def read_loosely(path, broken, repeated):
    """Read a table without its faulty lines: their keys go to `broken`, repeated ones to `repeated`.

    Raises
    ------
    DldError
        The file is not text, or `segments` has channels: what they mean only its owner can say.
    """
    table = {}
    for number, key, value, kind, complaint in scan(path, *TABLES[path.name]):
        if kind == "channel":
            raise DldError(f"{path}:{number}: {complaint}")
        if key.startswith("\ufeff"):
            # In the middle of a file: tables that began with one were joined.
            key = key.lstrip("\ufeff")
            kind = (_complaint(path.name, key, value, *TABLES[path.name]) or (None,))[0]
            kind = kind or ("repeated key" if key in table else None)
        if kind is None:
            table[key] = value
        elif kind == "repeated key" and key in table:
            same = "the same" if table[key] == value else "another"
            repeated.append(f"{path}:{number}: {key} again, with {same} value: line dropped")
        elif key:
            broken[key] = f"malformed line in {path.name} ({kind})"
        else:
            repeated.append(f"{path}:{number}: empty key: line dropped")
    return table


def text_complaint(text, allow_empty=False):
    """Say what is wrong with a transcript, as `(kind, complaint)`, or None."""
    if not text.strip(" \t"):
        return None if allow_empty else ("empty text", "has an empty text")
    if odd := _ODD.search(text):
        kind = "odd whitespace" if odd[0] in INVISIBLE or odd[0].isspace() else "control character"
        only = ", only plain spaces may be" if kind == "odd whitespace" else ""
        return kind, f"has {_character(odd[0])} in its text{only}"
    if symbol := reserved_symbol(text):
        return "reserved word", f"has the reserved word {symbol} in its text; take it out or write what is spoken"
    return None
