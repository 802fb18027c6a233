"""The tables of data directories: a key, then its value, on every line; what an entry may look like."""

import re
import unicodedata
from pathlib import Path

import numpy as np

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
# Without these there is no data directory; `fix` can make the others.
BASIC = ("wav.scp", "utt2spk", "text")
INVISIBLE = {"\u200b", "\u2060", "\ufeff"}
# Words with a meaning of their own in Kaldi's language models.
_RESERVED = {"<s>", "</s>", "#0"}


def read_table(path, columns=None):
    """Read a Kaldi table: the first field of a line is its key, the rest its value.

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
    >>> _ = path.write_text("utt1 one two\\nutt2\\n")
    >>> read_table(path)
    {'utt1': 'one two', 'utt2': ''}
    """
    return read_entries(Path(path), columns or 0, columns)


def read_text(path):
    """Read a `text` table with words separated by single spaces."""
    return {key: spaced(value) for key, value in read_table(path).items()}


def spaced(text):
    """Text with single spaces between its words."""
    return " ".join(re.split("[ \t]+", text)).strip(" ")


def format_number(value):
    """Write a float without loss and without exponent, which awk scripts need not understand."""
    return np.format_float_positional(value, trim="-")


def scan(path, least, most):
    """Yield `(line number, key, value, kind of complaint or None, complaint)` of a table's lines."""
    lines = {}
    for number, line in read_lines(path):
        key, *rest = re.split("[ \t]+", line.rstrip(" \t"), maxsplit=1)
        value = rest[0] if rest else ""
        complaint = _complaint(path.name, key, value, least, most)
        if complaint is None and key in lines:
            complaint = ("repeated key", f"{key} is also in line {lines[key]}")
        lines.setdefault(key, number)
        yield number, key, value, *(complaint or (None, None))


def _complaint(name, key, value, least, most):
    """Say what is wrong with the form of one entry of a table, as `(kind, complaint)`, or None."""
    if not key:
        return "empty key", "the line is empty or begins with a space; it must begin with a key"
    count = len(value.split())
    if count < least or (most is not None and count > most):
        wanted = least if least == most else f"at least {least}"
        return "number of fields", f"{key} has {count} fields after it, expected {wanted}"
    if name == "segments":
        _, start, end = value.split()
        if not (_is_number(start) and _is_number(end)):
            return "times", f"{key} has times that are not numbers: {start} {end}"
        # Kaldi takes the end -1 as the end of the recording.
        if float(start) < 0 or (float(end) <= float(start) and float(end) != -1):
            return "times", f"{key} starts at {start} s and ends at {end} s; it must be 0 <= start < end"
    elif name in ("utt2dur", "reco2dur") and not (_is_number(value) and float(value) > 0):
        return "durations", f"{key} has the duration {value}; it must be a positive number of seconds"
    elif name == "spk2gender" and value not in ("m", "f"):
        return "gender", f"{key} has the gender {value}; Kaldi knows m and f"
    return None


def _is_number(value):
    # float() would also take "nan", "inf" and "1_0".
    return re.fullmatch(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value) is not None


def read_entries(path, least, most):
    """Read a table whose values have `least` to `most` fields; see `read_table`."""
    table = {}
    for number, key, value, _, complaint in scan(path, least, most):
        if complaint:
            raise DldError(f"{path}:{number}: {complaint}")
        table[key] = value
    return table


def read_loosely(path, broken, repeated):
    """Read a table without its faulty lines: their keys go to `broken`, repeated ones to `repeated`."""
    table = {}
    for number, key, value, kind, _ in scan(path, *TABLES[path.name]):
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


def text_complaint(text):
    """Say what is wrong with a transcript, as `(kind, complaint)`, or None."""
    if not text.strip():
        return "empty text", "has an empty text"
    for c in text:
        if c in " \t":
            continue
        code = f"U+{ord(c):04X}"
        if c in INVISIBLE or c.isspace():
            return "odd whitespace", f"has the whitespace {code} in its text, only plain spaces may be"
        if unicodedata.category(c) == "Cc":
            return "control character", f"has the control character {code} in its text"
    reserved = sorted(_RESERVED.intersection(text.split()))
    if reserved:
        return "reserved word", f"has the reserved word {reserved[0]} in its text"
    return None
