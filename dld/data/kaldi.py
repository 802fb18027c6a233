"""Kaldi data directories: the only manifest of this project.

A directory holds `wav.scp text utt2spk spk2utt utt2dur`, and `segments` where utterances are parts of recordings;
`reco2dur` and `spk2gender` are carried along where they exist. Every file is a table, one entry a line: a key,
then its value. Tables are sorted in C order. Relative paths in `wav.scp` start at the current folder.
"""

import logging
import re
import shutil
import statistics
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dld.data import audio as audio_reader
from dld.data.audio import TOLERANCE
from dld.errors import DldError
from dld.files import atomic_write, read_lines

logger = logging.getLogger(__name__)

# The tables, and the least and the greatest number of fields of a value (None: any number).
_TABLES = {
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
_BASIC = ("wav.scp", "utt2spk", "text")
_INVISIBLE = {"\u200b", "\u2060", "\ufeff"}
# Words with a meaning of their own in Kaldi's language models.
_RESERVED = {"<s>", "</s>", "#0"}


@dataclass(frozen=True)
class Utterance:
    """One utterance of a data directory.

    Attributes
    ----------
    id, speaker : str
        Without spaces; by custom the id begins with the speaker.
    text : str or None
        Words separated by single spaces; None where the directory has no `text`.
    recording : str
        The value in `wav.scp`: a path, a pipe ending in `|`, or `file.ark:offset`.
    start, end : float
        Seconds in the recording; `end=None` is the end of the recording.
    duration : float or None
        Seconds of the utterance. `write` reads it from the audio where it is None.
    recording_id : str
        The key in `wav.scp`; the utterance's id if not given.
    recording_duration : float or None
        Seconds of the recording (`reco2dur`), where known.
    gender : {"m", "f", None}
        Of the speaker (`spk2gender`), where known.
    """

    id: str
    speaker: str
    text: str | None
    recording: str
    start: float = 0.0
    end: float | None = None
    duration: float | None = None
    recording_id: str = ""
    recording_duration: float | None = None
    gender: str | None = None

    def __post_init__(self):
        if not self.recording_id:
            object.__setattr__(self, "recording_id", self.id)


@dataclass
class FixReport:
    """What `fix` did: `kept` utterances, `removed` ids by reason, `repeated` lines, and where the `backup` is."""

    folder: Path
    backup: Path
    kept: int = 0
    removed: dict = field(default_factory=dict)
    repeated: list = field(default_factory=list)

    def __str__(self):
        removed = sum(map(len, self.removed.values()))
        lines = [f"{self.folder}: kept {self.kept} of {self.kept + removed} utterances (old files: {self.backup})"]
        lines += [
            f"  removed {len(ids)}: {reason} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
            for reason, ids in sorted(self.removed.items())
        ]
        lines += [f"  {line}" for line in self.repeated[:10]]
        if len(self.repeated) > 10:
            lines.append(f"  ... and {len(self.repeated) - 10} more repeated lines")
        return "\n".join(lines)


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
    return _read(Path(path), columns or 0, columns)


def read_text(path):
    """Read a `text` table with words separated by single spaces."""
    return {key: _spaced(value) for key, value in read_table(path).items()}


def spread(items, number):
    """Pick `number` items evenly spread over a sequence, always the same ones.

    Examples
    --------
    >>> spread("abcdefgh", 4)
    ['a', 'c', 'e', 'g']
    """
    return [items[i * len(items) // number] for i in range(number)]


def load(folder, need=("wav.scp", "utt2spk", "text", "utt2dur")):
    """Read a data directory.

    Parameters
    ----------
    folder : str or Path
    need : sequence of str
        Files that must be there. Of the others, `utt2spk` makes every utterance its own speaker when missing, and
        `text` and `utt2dur` leave None (segments have their own times).

    Returns
    -------
    list of Utterance
        Sorted by id in C order.

    Raises
    ------
    DldError
        A file is missing or malformed, or the files disagree about the ids.
    """
    folder = Path(folder)
    _require_folder(folder)
    for name in ("wav.scp", *need):
        if not (folder / name).is_file():
            hint = "a data directory needs it" if name in _BASIC else f"run `dld-data fix {folder}` to make it"
            raise DldError(f"{folder / name}: no such file; {hint}")
    tables = {n: _read(folder / n, *limits) for n, limits in _TABLES.items() if (folder / n).is_file()}
    source = "segments" if "segments" in tables else "wav.scp"
    first = "utt2spk" if "utt2spk" in tables else source
    for name in (source, "text", "utt2dur"):
        if name in tables:
            _same_ids(folder, first, tables[first], name, tables[name])
    # Python compares strings by code points, which sorts as C order does the bytes of their UTF-8.
    return [_utterance(folder, key, source, tables) for key in sorted(tables[first])]


def write(folder, utterances):
    """Write a data directory, each file whole or not at all; files of these names that are not needed are removed.

    `segments` is made only if some utterance is a part of its recording or named otherwise than it; `text`,
    `spk2gender` and `reco2dur` only if every utterance has what they hold (`spk2gender`: any).

    Parameters
    ----------
    folder : str or Path
    utterances : iterable of Utterance
        In any order. A missing duration is read from the audio.

    Raises
    ------
    DldError
        No utterances, a repeated id, ids or speakers with spaces, one recording id for two recordings, audio that
        cannot be read.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "data"
    >>> write(folder, [Utterance("a-1", "a", "one", "talk.wav", 0.5, 2.0, recording_id="talk")])
    >>> (folder / "segments").read_text()
    'a-1 talk 0.5 2\\n'
    >>> load(folder)[0].duration
    1.5
    """
    folder = Path(folder)
    utterances = _with_durations(_checked(folder, utterances))
    for name, table in _tables_of(utterances).items():
        if table is None:
            (folder / name).unlink(missing_ok=True)
        else:
            with atomic_write(folder / name) as out:
                out.writelines(f"{key} {table[key]}".rstrip(" ") + "\n" for key in sorted(table))


def validate(folder, audio=True, text=True, per_kind=None):
    """Check a data directory by the rules of Kaldi's `validate_data_dir.sh`, and its audio too.

    Every table is sorted in C order without repeated keys; ids agree across files; `spk2utt` is the inverse of
    `utt2spk`; segments and durations fit their recordings (within `TOLERANCE` seconds); text is neither empty nor
    has control characters, odd whitespace or reserved words; audio files exist, open, are not empty and not shorter
    than their headers say. Audio is not decoded. Utterance ids that do not begin with the speaker are only logged.

    Parameters
    ----------
    folder : str or Path
    audio : bool
        Open every recording (pipes are run). Without it the length of recordings comes from `reco2dur`, if there.
    text : bool
        Whether `text` must be there.
    per_kind : int, optional
        Report at most so many problems of each kind, then how many more there are.

    Returns
    -------
    list of str
        Problems as `file:line: what`; empty if all is well.
    """
    return _Validation(Path(folder), audio, text, per_kind).run()


def fix(folder, audio=True):
    """Repair a data directory as Kaldi's `fix_data_dir.sh` does, and make `spk2utt` and `utt2dur` anew.

    Tables are sorted; of lines with the same key the first stays; utterances stay that have a speaker, a valid
    text (if there is `text`) and audio that holds them. Odd whitespace in text becomes plain spaces. The old files go
    to `.backup` in the folder.

    Parameters
    ----------
    folder : str or Path
    audio : bool
        Open every recording and measure durations. Without it `utt2dur`, `reco2dur` and `segments` are believed.

    Returns
    -------
    FixReport
        `kept` and `removed` together are all ids that any file named.

    Raises
    ------
    DldError
        A file is missing or not UTF-8, or no utterance would be left; then nothing has been changed.
    """
    folder = Path(folder)
    _require_folder(folder)
    report = FixReport(folder, folder / ".backup")
    tables, broken = {}, {}
    for name in _TABLES:
        if (folder / name).is_file():
            tables[name] = _read_loosely(folder / name, broken, report.repeated)
    if "wav.scp" not in tables:
        raise DldError(f"{folder / 'wav.scp'}: no such file; a data directory needs it")
    if "utt2spk" not in tables:
        if "spk2utt" not in tables:
            raise DldError(f"{folder / 'utt2spk'}: no such file, nor spk2utt; a data directory needs it")
        tables["utt2spk"] = {u: speaker for speaker, ids in tables["spk2utt"].items() for u in ids.split()}
    recordings = _measure(tables["wav.scp"].items()) if audio else None
    unreadable = [error for error in (recordings or {}).values() if isinstance(error, DldError)]
    for error in unreadable[:10]:
        logger.warning("%s", error)
    if len(unreadable) > 10:
        logger.warning("%s: %d more recordings cannot be read", folder, len(unreadable) - 10)
    source = "segments" if "segments" in tables else "wav.scp"
    named = set(tables["utt2spk"]) | set(tables[source]) | set(tables.get("text", ()))
    kept = []
    for key in sorted(named):
        utterance, reason = _mend(key, folder, source, tables, recordings)
        if reason is None:
            kept.append(utterance)
        else:
            report.removed.setdefault(broken.get(key, reason), []).append(key)
    report.kept = len(kept)
    if not kept:
        raise DldError(f"{folder}: no utterance would be left, so nothing was changed. {' '.join(str(report).split())}")
    report.backup.mkdir(exist_ok=True)
    for name in tables:
        if (folder / name).is_file():
            shutil.copy2(folder / name, report.backup / name)
    write(folder, kept)
    return report


def stats(folder):
    """Count what a data directory holds.

    Returns
    -------
    dict
        `directory`, `utterances`, `speakers`, `recordings`, `hours`; with `text` also `words`, `vocabulary`,
        `characters` (without spaces), `words_per_second`; `duration` with `min median mean max` in seconds; with
        `spk2gender` also `speakers_by_gender` and `hours_by_gender`.
    """
    utterances = load(folder, need=("utt2spk", "utt2dur"))
    if not utterances:
        raise DldError(f"{folder}: no utterances")
    durations = [u.duration for u in utterances]
    total = sum(durations)
    found = {
        "directory": str(folder),
        "utterances": len(utterances),
        "speakers": len({u.speaker for u in utterances}),
        "recordings": len({u.recording_id for u in utterances}),
        "hours": round(total / 3600, 4),
        "duration": {
            "min": round(min(durations), 3),
            "median": round(statistics.median(durations), 3),
            "mean": round(total / len(durations), 3),
            "max": round(max(durations), 3),
        },
    }
    if utterances[0].text is not None:
        words = [word for u in utterances for word in u.text.split(" ") if word]
        found["words"] = len(words)
        found["vocabulary"] = len(set(words))
        found["characters"] = sum(map(len, words))
        found["words_per_second"] = round(len(words) / total, 3)
    genders = sorted({u.gender for u in utterances if u.gender})
    if genders:
        found["speakers_by_gender"] = {g: len({u.speaker for u in utterances if u.gender == g}) for g in genders}
        found["hours_by_gender"] = {
            g: round(sum(u.duration for u in utterances if u.gender == g) / 3600, 4) for g in genders
        }
    return found


def subset(source, destination, *, number=None, first=None, shortest=None, speakers=None, ids=None):
    """Write a part of a data directory as another one; give exactly one of the choices.

    Parameters
    ----------
    source, destination : str or Path
    number, first, shortest : int
        So many utterances: evenly spread, the first in C order, or the shortest.
    speakers : int
        All utterances of so many speakers, evenly spread.
    ids : iterable of str
        These utterances.

    Returns
    -------
    list of Utterance

    Raises
    ------
    DldError
        More is asked for than there is, or an id is not there.
    """
    utterances = load(source, need=("utt2spk", "utt2dur"))
    by_speaker = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    if ids is not None:
        wanted = set(ids)
        absent = sorted(wanted - {u.id for u in utterances})
        if absent:
            raise DldError(f"{source}: {len(absent)} of the ids asked for are not there (first: {absent[0]})")
        chosen = [u for u in utterances if u.id in wanted]
    elif speakers is not None:
        _enough(source, speakers, len(by_speaker), "speakers")
        chosen = [u for speaker in spread(sorted(by_speaker), speakers) for u in by_speaker[speaker]]
    elif number is not None:
        _enough(source, number, len(utterances), "utterances")
        chosen = spread(utterances, number)
    else:
        count = first if first is not None else shortest
        _enough(source, count, len(utterances), "utterances")
        order = utterances if first is not None else sorted(utterances, key=lambda u: (u.duration, u.id))
        chosen = order[:count]
    write(_destination(destination, [source]), chosen)
    return chosen


def combine(destination, sources):
    """Write the utterances of several data directories as one, as Kaldi's `combine_data.sh` does.

    Raises
    ------
    DldError
        An utterance is in two of them, or they name different recordings alike; then nothing has been written.
    """
    destination = _destination(destination, sources)
    owners, utterances = {}, []
    for source in sources:
        for utterance in load(source, need=("utt2spk", "utt2dur")):
            if utterance.id in owners:
                raise DldError(f"utterance {utterance.id} is in {owners[utterance.id]} and in {source}; rename one")
            owners[utterance.id] = source
            utterances.append(utterance)
    write(destination, utterances)
    return utterances


def _require_folder(folder):
    if not folder.is_dir():
        raise DldError(f"{folder}: no such folder; a Kaldi data directory was expected")


def _destination(destination, sources):
    if Path(destination).resolve() in {Path(source).resolve() for source in sources}:
        raise DldError(f"{destination}: is source and destination; choose another destination")
    return Path(destination)


def _enough(source, asked, there, what):
    if not 1 <= asked <= there:
        raise DldError(f"{source}: {asked} {what} asked for, there are {there}")


def _spaced(text):
    return " ".join(re.split("[ \t]+", text)).strip(" ")


def _number(value):
    """Write a float without loss and without exponent, which awk scripts need not understand."""
    return np.format_float_positional(value, trim="-")


def _is_number(value):
    # float() would also take "nan", "inf" and "1_0".
    return re.fullmatch(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value) is not None


def _scan(path, least, most):
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


def _read(path, least, most):
    table = {}
    for number, key, value, _, complaint in _scan(path, least, most):
        if complaint:
            raise DldError(f"{path}:{number}: {complaint}")
        table[key] = value
    return table


def _read_loosely(path, broken, repeated):
    """Read a table without its faulty lines: their keys go to `broken`, repeated ones to `repeated`."""
    table = {}
    for number, key, value, kind, _ in _scan(path, *_TABLES[path.name]):
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


def _same_ids(folder, first, expected, name, table):
    missing, extra = sorted(expected.keys() - table.keys()), sorted(table.keys() - expected.keys())
    if missing or extra:
        examples = " ".join(
            f"{what}: {ids[0]}." for what, ids in (("First missing", missing), ("First extra", extra)) if ids
        )
        raise DldError(
            f"{folder / name}: {len(missing)} ids of {first} are missing and {len(extra)} are not in it. {examples} "
            f"See `dld-data validate {folder}`, repair with `dld-data fix {folder}`"
        )


def _utterance(folder, key, source, tables):
    speaker = tables["utt2spk"][key] if "utt2spk" in tables else key
    recording, start, end = key, 0.0, None
    if source == "segments":
        recording, *times = tables["segments"][key].split()
        start, end = map(float, times)
        end = None if end == -1 else end
        if recording not in tables["wav.scp"]:
            raise DldError(f"{folder / 'segments'}: {key} is of recording {recording}, which is not in wav.scp")
    duration = None if end is None else end - start
    if "utt2dur" in tables:
        duration = float(tables["utt2dur"][key])
    known = tables.get("reco2dur", {}).get(recording)
    return Utterance(
        key,
        speaker,
        _spaced(tables["text"][key]) if "text" in tables else None,
        tables["wav.scp"][recording],
        start,
        end,
        duration,
        recording,
        None if known is None else float(known),
        tables.get("spk2gender", {}).get(speaker),
    )


def _checked(folder, utterances):
    """Return the utterances as a list, after what Kaldi's tables could not express has been refused."""
    utterances = list(utterances)
    if not utterances:
        raise DldError(f"{folder}: no utterances to write")
    silent = [u.id for u in utterances if u.text is None]
    if 0 < len(silent) < len(utterances):
        raise DldError(f"{folder}: {len(silent)} utterances have no text (first: {silent[0]}), the others do")
    seen, recordings = set(), {}
    for u in utterances:
        for what, value in (("id", u.id), ("speaker", u.speaker), ("recording id", u.recording_id)):
            if not value or re.search(r"\s", value):
                raise DldError(
                    f"{folder}: utterance {u.id!r} has the {what} {value!r}: it must be a word without spaces"
                )
        for what, value in (("text", u.text or ""), ("recording", u.recording)):
            if "\n" in value or "\r" in value:
                raise DldError(f"{folder}: utterance {u.id} has a line break in its {what}")
        if u.id in seen:
            raise DldError(f"{folder}: two utterances have the id {u.id}")
        seen.add(u.id)
        if recordings.setdefault(u.recording_id, u.recording) != u.recording:
            raise DldError(
                f"{folder}: recording id {u.recording_id} stands for {recordings[u.recording_id]} and {u.recording}"
            )
    return utterances


def _measure(recordings):
    """Map recording ids to seconds, or to the `DldError` that reading them gave."""

    def measure(item):
        try:
            return item[0], audio_reader.duration(item[1])
        except DldError as error:
            return item[0], error

    # Opening is mostly waiting for the disk, so threads pay even on one core.
    with ThreadPoolExecutor(8) as pool:
        return dict(pool.map(measure, recordings))


def _with_durations(utterances):
    unknown = {u.recording_id: u.recording for u in utterances if u.duration is None and u.end is None}
    measured = _measure(unknown.items())
    for length in measured.values():
        if isinstance(length, DldError):
            raise length
    done = []
    for u in utterances:
        if u.duration is None:
            end = measured[u.recording_id] if u.end is None else u.end
            u = replace(u, duration=end - u.start)
        done.append(u)
    return done


def _tables_of(utterances):
    """Return the tables of a directory by name, None for those it does not need."""
    by_speaker = {}
    for u in sorted(utterances, key=lambda u: u.id):
        by_speaker.setdefault(u.speaker, []).append(u.id)
    cut = any(u.recording_id != u.id or u.start != 0 or u.end is not None for u in utterances)
    segments = {
        u.id: f"{u.recording_id} {_number(u.start)} {_number(u.start + u.duration if u.end is None else u.end)}"
        for u in utterances
    }
    genders = {u.speaker: u.gender for u in utterances if u.gender}
    lengths = {u.recording_id: u.recording_duration for u in utterances}
    texts = {u.id: u.text for u in utterances}
    return {
        "segments": segments if cut else None,
        "reco2dur": None if None in lengths.values() else {key: _number(value) for key, value in lengths.items()},
        "spk2gender": genders or None,
        "wav.scp": {u.recording_id: u.recording for u in utterances},
        "utt2spk": {u.id: u.speaker for u in utterances},
        "spk2utt": {speaker: " ".join(ids) for speaker, ids in by_speaker.items()},
        "utt2dur": {u.id: _number(round(u.duration, 6)) for u in utterances},
        "text": None if None in texts.values() else texts,
    }


def _text_complaint(text):
    """Say what is wrong with a transcript, as `(kind, complaint)`, or None."""
    if not text.strip():
        return "empty text", "has an empty text"
    for c in text:
        if c in " \t":
            continue
        code = f"U+{ord(c):04X}"
        if c in _INVISIBLE or c.isspace():
            return "odd whitespace", f"has the whitespace {code} in its text, only plain spaces may be"
        if unicodedata.category(c) == "Cc":
            return "control character", f"has the control character {code} in its text"
    reserved = sorted(_RESERVED.intersection(text.split()))
    if reserved:
        return "reserved word", f"has the reserved word {reserved[0]} in its text"
    return None


def _mend(key, folder, source, tables, recordings):
    """Return `(utterance, None)`, or `(None, reason)` where it cannot be kept.

    `recordings` maps recording ids to seconds or to errors; None believes the tables.
    """
    for name in ("utt2spk", "text", source):
        if name in tables and key not in tables[name]:
            return None, f"not in {name}"
    if "text" in tables:
        tables["text"][key] = _spaced(
            "".join(" " if c in _INVISIBLE or c.isspace() else c for c in tables["text"][key])
        )
        complaint = _text_complaint(tables["text"][key])
        if complaint:
            return None, complaint[0]
    recording = tables[source][key].split()[0] if source == "segments" else key
    if recording not in tables["wav.scp"]:
        return None, "its recording is not in wav.scp"
    if recordings is None:
        believed = {n: t for n, t in tables.items() if n != "utt2dur" or key in t}
        utterance = _utterance(folder, key, source, believed)
        length = utterance.recording_duration
        if utterance.duration is None:
            return None, "no duration known without reading audio"
    else:
        length = recordings[recording]
        if isinstance(length, DldError):
            return None, "its audio cannot be read"
        measured = {n: t for n, t in tables.items() if n != "utt2dur"}
        utterance = _utterance(folder, key, source, measured)
        end = length if utterance.end is None else utterance.end
        known = round(length, 6) if "reco2dur" in tables else None
        utterance = replace(utterance, duration=end - utterance.start, recording_duration=known)
    if length is not None and (utterance.start >= length or (utterance.end or 0) > length + TOLERANCE):
        return None, "its segment is not inside its recording"
    return utterance, None


class _Validation:
    """One run of `validate`: the tables as read, and the problems found so far by kind."""

    def __init__(self, folder, audio, text, per_kind):
        self.folder = folder
        self.audio = audio
        self.text = text
        self.per_kind = per_kind
        self.problems = {}
        self.tables = {}
        self.lines = {}

    def run(self):
        _require_folder(self.folder)
        needed = {"wav.scp", "utt2spk", "spk2utt", "utt2dur"} | ({"text"} if self.text else set())
        for name, limits in _TABLES.items():
            path = self.folder / name
            if path.is_file():
                self._read(name, limits)
            elif name in needed:
                hint = "" if name in _BASIC else f"; `dld-data fix {self.folder}` makes it"
                self._add("missing file", path, f"no such file{hint}")
        self._check_ids()
        self._check_speakers()
        for key, value in self.tables.get("text", {}).items():
            complaint = _text_complaint(value)
            if complaint:
                self._add(complaint[0], self._at("text", key), f"{key} {complaint[1]}")
        self._check_audio()
        return self._report()

    def _read(self, name, limits):
        path, table, lines, previous = self.folder / name, {}, {}, ""
        try:
            for number, key, value, kind, complaint in _scan(path, *limits):
                if key < previous:
                    self._add(
                        f"order of {name}", f"{path}:{number}", f"{key} comes after {previous}; sort with LC_ALL=C"
                    )
                previous = key
                if complaint:
                    self._add(f"{kind} in {name}", f"{path}:{number}", complaint)
                if key and key not in table:
                    # A malformed value is told once; its key is kept so that it does not count as missing too.
                    table[key] = value if complaint is None else None
                    lines[key] = number
            if not lines:
                self._add("empty file", path, "is empty")
        except DldError as error:
            self.problems.setdefault("encoding", []).append(str(error))
        self.lines[name] = lines
        self.tables[name] = {key: value for key, value in table.items() if value is not None}

    def _check_ids(self):
        source = "segments" if "segments" in self.lines else "wav.scp"
        for name in (source, "text", "utt2dur"):
            self._compare("utt2spk", name)
        if source == "segments":
            used = {}
            for key, value in self.tables["segments"].items():
                recording = value.split()[0]
                used[recording] = key
                if recording not in self.lines.get("wav.scp", ()):
                    where = self._at("segments", key)
                    self._add("recording not in wav.scp", where, f"{key} is of {recording}, which is not in wav.scp")
            for recording in self.lines.get("wav.scp", {}).keys() - used.keys():
                self._add("unused recording", self._at("wav.scp", recording), f"no segment is of {recording}")
        if "reco2dur" in self.lines:
            self._compare("wav.scp", "reco2dur")
        if "spk2gender" in self.lines:
            self._compare("spk2utt", "spk2gender")

    def _compare(self, first, name):
        if first not in self.lines or name not in self.lines:
            return
        for key in sorted(self.lines[first].keys() - self.lines[name].keys()):
            self._add(f"not in {name}", self._at(first, key), f"{key} is not in {name}")
        for key in sorted(self.lines[name].keys() - self.lines[first].keys()):
            self._add(f"not in {first}", self._at(name, key), f"{key} is not in {first}")

    def _check_speakers(self):
        speakers = self.tables.get("utt2spk", {})
        astray = [key for key, speaker in speakers.items() if not key.startswith(speaker)]
        if astray:
            logger.warning(
                "%s: %d utterance ids do not begin with their speaker (first: %s of %s); Kaldi's tools want that",
                self._at("utt2spk", astray[0]), len(astray), astray[0], speakers[astray[0]],
            )  # fmt: skip
        if "spk2utt" not in self.tables or "utt2spk" not in self.tables:
            return
        listed = set()
        for speaker, ids in self.tables["spk2utt"].items():
            where = self._at("spk2utt", speaker)
            for key in ids.split():
                if speakers.get(key) != speaker:
                    what = (
                        f"utt2spk gives it to {speakers[key]}" if key in speakers else "utt2spk has no such utterance"
                    )
                    self._add("spk2utt is not the inverse", where, f"{key} is listed for {speaker}, but {what}")
                elif key in listed:
                    self._add("spk2utt is not the inverse", where, f"{key} is listed twice")
                listed.add(key)
        for key in sorted(speakers.keys() - listed):
            where = self._at("utt2spk", key)
            self._add("spk2utt is not the inverse", where, f"{key} is not listed for {speakers[key]} in spk2utt")

    def _check_audio(self):
        if self.audio:
            lengths = _measure(self.tables.get("wav.scp", {}).items())
            for recording, length in lengths.items():
                if isinstance(length, DldError):
                    self._add("audio", self._at("wav.scp", recording), f"{recording}: {length}")
            lengths = {key: length for key, length in lengths.items() if not isinstance(length, DldError)}
            for recording, value in self.tables.get("reco2dur", {}).items():
                self._check_length("reco2dur", recording, float(value), lengths.get(recording))
        else:
            lengths = {key: float(value) for key, value in self.tables.get("reco2dur", {}).items()}
        spans = dict(lengths)
        if "segments" in self.tables:
            spans = self._check_segments(lengths)
        for key, value in self.tables.get("utt2dur", {}).items():
            self._check_length("utt2dur", key, float(value), spans.get(key))

    def _check_segments(self, lengths):
        """Check segments against the lengths of recordings, and return their own lengths."""
        spans = {}
        for key, value in self.tables["segments"].items():
            recording, start, end = value.split()
            length = lengths.get(recording)
            end = length if float(end) == -1 else float(end)
            if end is None:
                continue
            spans[key] = end - float(start)
            if length is not None and (end > length + TOLERANCE or float(start) >= length):
                what = f"{key} runs from {start} s to {end:g} s, but {recording} is {length:.3f} s long"
                self._add("segment outside its recording", self._at("segments", key), what)
        return spans

    def _check_length(self, name, key, noted, length):
        # The small addition forgives that decimal fractions have no exact binary form.
        if length is not None and abs(noted - length) > TOLERANCE + 1e-6:
            what = f"{key} is noted with {noted:g} s, its audio is {length:.3f} s long"
            self._add(f"durations in {name}", self._at(name, key), what)

    def _at(self, name, key):
        return f"{self.folder / name}:{self.lines[name][key]}"

    def _add(self, kind, where, what):
        self.problems.setdefault(kind, []).append(f"{where}: {what}")

    def _report(self):
        lines = []
        for kind, found in self.problems.items():
            lines += found[: self.per_kind]
            if self.per_kind is not None and len(found) > self.per_kind:
                lines.append(f"{self.folder}: {len(found) - self.per_kind} more problems of this kind ({kind})")
        return lines
