"""Tables of audio files and what is spoken in them (TSV, CSV, JSON lines) → a Kaldi data directory."""

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dld.checks import AT_LEAST_0, is_whole
from dld.data import kaldi
from dld.data.audio import TOLERANCE
from dld.data.corpora.reading import Problems, check_recordings
from dld.data.kaldi.tables import LONGEST, has_odd_character, parse_seconds, shown, spaced, text_complaint
from dld.errors import DldError, UsageError
from dld.files import read_lines

#: What a column holds, and the names that it may have: those of NeMo's manifests and Common Voice's tables, too.
COLUMNS = {
    "path": ("path", "audio", "file", "audio_filepath"),
    "text": ("text", "sentence", "transcript"),
    "speaker": ("speaker", "client_id"),
    "id": ("id",),
    "start": ("start", "offset"),
    "end": ("end",),
    "duration": ("duration",),
}
SEPARATORS = {".tsv": "\t", ".csv": ","}
JSON_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Options:
    """How a table is read.

    Attributes
    ----------
    audio_root : str or Path, optional
        Where relative paths start; by default the table's folder.
    text : bool
        There is a column with text; without one the directory has no `text` and can be decoded only.
    quotes : bool
        In TSV and CSV, quotes enclose a field. Otherwise they are characters like any other.
    allow_empty : bool
        Keep utterances whose text is empty, for test sets.
    allow_partial : bool
        Leave out, with a count, what is missing or faulty.
    """

    audio_root: str | Path | None = None
    text: bool = True
    quotes: bool = True
    allow_empty: bool = False
    allow_partial: bool = False


@dataclass
class Row:
    """One row: where it is, its fields by what they hold, and what has been made of them."""

    where: str
    fields: dict[str, Any]
    path: Path = Path()
    key: str = ""
    speaker: str = ""
    text: str | None = None
    start: float = 0.0
    end: float | None = None

    @property
    def is_part(self) -> bool:
        """Return whether it is a part of its recording."""
        return self.start > 0 or self.end is not None


def read_manifest(table: str | Path, options: Options = Options()) -> list[kaldi.Utterance]:
    """Return the utterances that a table of audio files describes.

    Parameters
    ----------
    table : str or Path
        `.tsv` or `.csv` with a header, or `.jsonl` (also `.json`, as NeMo's manifests are named): a JSON object in each
        line. `COLUMNS` lists the names of columns; others are not read.
    options : Options

    Returns
    -------
    list of kaldi.Utterance
        Their audio has been read to its end. Where there is no id, one is made of speaker, file name and times.

    Raises
    ------
    DldError
        The table has no such columns, or rows or audio are faulty and `allow_partial` is not set.
    """
    table = Path(table)
    problems = Problems(table, options.allow_partial)
    rows = [row for row in _rows(table, options, problems) if _understood(row, table, options, problems)]
    rows = _with_audio(rows, problems)
    _name_speakers(rows, problems)
    names = _file_names(rows)
    parts = any(row.is_part for row in rows)
    utterances: dict[str, kaldi.Utterance] = {}
    owners: dict[str, str] = {}
    for row in rows:
        key = _id_of(row, names[row.path])
        if key in owners:
            problems.add("repeated id", row.where, f"{shown(key)} is also the id of {owners[key]}")
            continue
        owners[key] = row.where
        utterances[key] = kaldi.Utterance(
            id=key,
            speaker=row.speaker or key,
            text=row.text,
            recording=str(row.path),
            start=row.start,
            end=row.end,
            recording_id=names[row.path] if parts else "",
        )
    problems.finish()
    if not utterances:
        raise DldError(f"{table}: no row can be used; see the messages above")
    return list(utterances.values())


def _rows(table, options, problems) -> Iterator[Row]:
    """Yield the rows of a table with their fields by what they hold."""
    suffix = table.suffix.lower()
    if suffix in SEPARATORS:
        rows = _separated(table, SEPARATORS[suffix], options.quotes, problems)
    elif suffix in JSON_LINES:
        rows = _json_lines(table, problems)
    else:
        raise UsageError(f"{table}: the name must end in .tsv, .csv or .jsonl, which says how it is read")
    empty = True
    for where, fields in rows:
        empty = False
        yield Row(where, _by_meaning(where, fields, options))
    if empty and not problems.total:
        raise DldError(f"{table}: has no rows")


def _by_meaning(where, fields, options):
    found = {}
    for meaning, names in COLUMNS.items():
        there = [name for name in fields if name.strip().lower() in names]
        if len(there) > 1:
            raise DldError(f"{where}: the columns {' and '.join(there)} both hold the {meaning}; rename or remove one")
        if there:
            found[meaning] = fields[there[0]]
    for meaning, needed, advice in (
        ("path", True, ""),
        ("text", options.text, "; --text false makes a directory without text, which can be decoded but not scored"),
    ):
        if needed and meaning not in found:
            there = ", ".join(map(shown, fields))
            raise DldError(f"{where}: no column {' or '.join(COLUMNS[meaning])}; there are: {there}{advice}")
    return found


def _separated(table, separator, quotes, problems):
    """Yield where a row is, and its fields by the names in the header."""
    at = 1

    def lines():
        nonlocal at
        for number, line in read_lines(table, lambda line, what: problems.add("not UTF-8", f"{table}:{line}", what)):
            at = number
            yield line + "\n"

    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(lines(), delimiter=separator, quoting=quoting, strict=True)
    header: list[str] = []
    while True:
        before = at
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DldError(f"{table}:{at}: {error}; --quotes false reads quotes as characters") from None
        if row is None:
            return
        where = f"{table}:{at}"
        if not header:
            header = row
            if repeated := [name for name, count in Counter(row).items() if count > 1]:
                raise DldError(f"{where}: two columns are named {shown(repeated[0])}; rename one")
        elif row and at > before + 1 and any("\n" in cell for cell in row):
            what = "a quoted field has a line break; --quotes false reads quotes as characters"
            problems.add("line break", where, what)
        elif row and len(row) != len(header):
            problems.add("number of fields", where, f"{len(row)} fields, the header has {len(header)}")
        elif row:
            yield where, dict(zip(header, row, strict=True))


def _json_lines(table, problems):
    """Yield where a line is, and its object."""
    for number, line in read_lines(table, lambda line, what: problems.add("not UTF-8", f"{table}:{line}", what)):
        where = f"{table}:{number}"
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add("not JSON", where, f"not JSON ({str(error).splitlines()[0]}); one object in each line")
            continue
        if isinstance(found, dict):
            yield where, found
        else:
            problems.add("not JSON", where, "not a JSON object; one object in each line")


def _understood(row: Row, table: Path, options: Options, problems: Problems) -> bool:
    """Fill in path, speaker, text and times of a row; return whether all of them can be used."""
    try:
        row.path = _path_of(_words(row, "path"), Path(options.audio_root or table.parent))
        if "speaker" in row.fields:
            row.speaker = _words(row, "speaker")
            if not row.speaker:
                raise _Fault("speaker", "has no speaker")
        if options.text:
            row.text = spaced(_words(row, "text"))
            if fault := text_complaint(row.text, options.allow_empty):
                raise _Fault(*fault)
        row.key = _word(_words(row, "id"))
        row.start, row.end = _times_of(row)
    except _Fault as fault:
        problems.add(fault.kind, row.where, fault.what)
        return False
    return True


class _Fault(Exception):
    """What is wrong with a row."""

    def __init__(self, kind: str, what: str):
        self.kind, self.what = kind, what


def _words(row, meaning):
    """Return a text field; names may be numbers in JSON."""
    value = row.fields.get(meaning)
    value = "" if value is None else value
    if meaning in ("id", "speaker") and is_whole(value):
        value = str(value)
    if not isinstance(value, str):
        raise _Fault("not text", f"the {meaning} is {shown(json.dumps(value))}; it must be text")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise _Fault("not text", f"the {meaning} is {shown(json.dumps(value))}, which has half of a surrogate pair")
    return value.strip()


def _path_of(text, root):
    if not text:
        raise _Fault("path", "has no path")
    # In wav.scp such a value is a command that is run.
    if text.endswith("|") or text.startswith("|"):
        raise _Fault("path", f"{shown(text)} is a pipe, not the path of a file; commands are not taken from tables")
    if not text.isprintable():
        raise _Fault("path", f"{shown(text)} has a character that cannot be in wav.scp; rename the file")
    path = (root / text).absolute()
    if not path.is_file():
        what = "is not a file" if path.exists() else "no such file"
        raise _Fault("missing audio", f"{path}: {what}; relative paths start at {root}, see --audio-root")
    return path


def _times_of(row):
    """Return start and end in seconds; the end is None where the recording's end is meant."""
    start, end, duration = (_seconds(row, meaning) for meaning in ("start", "end", "duration"))
    begin = 0.0 if start is None else start
    if end is None and duration is not None:
        end = begin + duration
    if end is not None and end <= begin:
        raise _Fault("times", f"starts at {begin:g} s and ends at {end:g} s; it must be 0 <= start < end")
    return begin, end


def _seconds(row, meaning):
    value = row.fields.get(meaning)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    number = parse_seconds(value.strip()) if isinstance(value, str) else value
    if not AT_LEAST_0.accepts(number) or number > LONGEST:
        raise _Fault("times", f"the {meaning} is {shown(str(value))}; it must be a number of seconds, such as 12.5")
    return float(number)


def _with_audio(rows, problems):
    """Return the rows whose audio is whole and holds them; an end that is that of the recording becomes None."""
    first = {row.path: row.where for row in reversed(rows)}
    lengths = check_recordings({where: str(path) for path, where in first.items()}, problems) if rows else {}
    kept = []
    for row in rows:
        length = lengths.get(first[row.path])
        if length is None:
            continue
        if row.start >= length or (row.end or 0) > length + TOLERANCE:
            end = length if row.end is None else row.end
            what = f"{row.start:g} s to {end:g} s is not inside the recording, which is {length:.3f} s long"
            problems.add("outside the recording", row.where, what)
            continue
        if row.end is not None and row.start == 0 and row.end >= length - TOLERANCE:
            row.end = None
        kept.append(row)
    return kept


def _name_speakers(rows, problems):
    """Give speakers names without blanks, two speakers never the same."""
    owners: dict[str, str] = {}
    for row in rows:
        given, row.speaker = row.speaker, _word(row.speaker)
        if owners.setdefault(row.speaker, given) != given:
            what = f"the speakers {given!r} and {owners[row.speaker]!r} would both be {row.speaker}; rename one"
            problems.add("speaker", row.where, what)


def _word(text: str) -> str:
    return "".join("_" if c.isspace() or has_odd_character(c) else c for c in re.sub(r"\s+", " ", text))


def _file_names(rows) -> dict[Path, str]:
    """Return a name for each file: without folder and suffix, with a hash where files of several folders share it."""
    sharing: dict[str, set[Path]] = defaultdict(set)
    given = {row.path: row.fields["path"].strip() for row in rows}
    for path in given:
        sharing[_word(path.stem)].add(path)
    names = {}
    for name, paths in sharing.items():
        for path in paths:
            digest = hashlib.sha256(given[path].encode()).hexdigest()[:8]
            names[path] = name if len(paths) == 1 else f"{name}-{digest}"
    return names


def _id_of(row, name):
    """Return the id of the table, or one made of speaker, file name and times."""
    if row.key:
        return row.key
    key = name
    if row.is_part:
        end = "end" if row.end is None else f"{round(row.end * 1000):07d}"
        key += f"-{round(row.start * 1000):07d}-{end}"
    if not row.speaker or re.match(re.escape(row.speaker) + "[-_]", key):
        return key
    return f"{row.speaker}-{key}"
