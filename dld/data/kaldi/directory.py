"""A data directory as utterances: reading and writing."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from dld.data import audio as audio_reader
from dld.data.kaldi.tables import BASIC, TABLES, format_number, has_odd_character, has_table, read_entries, spaced
from dld.errors import DldError
from dld.files import atomic_write
from dld.progress import bar


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
        Gender of the speaker (`spk2gender`), where known.
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
        """Set a missing recording id to the utterance's."""
        if not self.recording_id:
            object.__setattr__(self, "recording_id", self.id)

    @property
    def words(self) -> list[str]:
        """Return the words of the text, an empty list without one."""
        return [word for word in (self.text or "").split(" ") if word]

    @property
    def seconds(self) -> float:
        """Return the duration; raise a `DldError` where it is not known."""
        if self.duration is None:
            raise DldError(f"utterance {self.id} has no known duration; `dld data fix` measures it")
        return self.duration


def load(folder: str | Path, need: Sequence[str] = ("wav.scp", "utt2spk", "text", "utt2dur")) -> list[Utterance]:
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
    require_folder(folder)
    for name in ("wav.scp", *need):
        if not has_table(folder, name):
            hint = "a data directory needs it" if name in BASIC else f"run `dld data fix {folder}` to make it"
            raise DldError(f"{folder / name}: no such file; {hint}")
    tables = {n: read_entries(folder / n, *limits) for n, limits in TABLES.items() if has_table(folder, n)}
    source = "segments" if "segments" in tables else "wav.scp"
    first = "utt2spk" if "utt2spk" in tables else source
    for name in (source, "text", "utt2dur"):
        if name in tables:
            _same_ids(folder, first, tables[first], name, tables[name])
    # Python compares strings by code points, which sorts as C order does the bytes of their UTF-8.
    return [make_utterance(folder, key, source, tables) for key in sorted(tables[first])]


def write(folder: str | Path, utterances: Iterable[Utterance]) -> None:
    r"""Write a data directory, each file whole or not at all; files of these names that are not needed are removed.

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
    'a-1 talk 0.5 2\n'
    >>> load(folder)[0].duration
    1.5
    """
    folder = Path(folder)
    utterances = with_durations(_checked(folder, utterances))
    for name, table in _tables_of(utterances).items():
        if table is None:
            (folder / name).unlink(missing_ok=True)
        else:
            with atomic_write(folder / name) as out:
                out.writelines(f"{key} {table[key]}".rstrip(" ") + "\n" for key in sorted(table))


def require_folder(folder):
    """Raise a `DldError` where there is no such folder."""
    if not folder.is_dir():
        raise DldError(f"{folder}: no such folder; a Kaldi data directory was expected")


def _same_ids(folder, first, expected, name, table):
    missing, extra = sorted(expected.keys() - table.keys()), sorted(table.keys() - expected.keys())
    if missing or extra:
        examples = " ".join(
            f"{what}: {ids[0]}." for what, ids in (("First missing", missing), ("First extra", extra)) if ids
        )
        raise DldError(
            f"{folder / name}: {len(missing)} ids of {first} are missing and {len(extra)} are not in it. {examples} "
            f"See `dld data validate {folder}`, repair with `dld data fix {folder}`"
        )


def make_utterance(folder, key, source, tables):
    """Return the utterance `key`, put together from tables; `source`, wav.scp or segments, says where its audio is."""
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
        spaced(tables["text"][key]) if "text" in tables else None,
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
            if not value or " " in value or "\t" in value or has_odd_character(value):
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
                f"{folder}: recording id {u.recording_id} means {recordings[u.recording_id]} and {u.recording}"
            )
    return utterances


def measure(recordings):
    """Return recording id → seconds, or the `DldError` that reading it raised."""

    def measure(item):
        try:
            return item[0], audio_reader.duration(item[1])
        except DldError as error:
            return item[0], error

    # Opening is mostly waiting for the disk, so threads pay even on one core.
    with ThreadPoolExecutor(8) as pool:
        return dict(bar(pool.map(measure, recordings), "durations", len(recordings), "file"))


def with_durations(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Return utterances whose duration is known: of the others it is read from the audio."""
    utterances = list(utterances)
    unknown = {u.recording_id: u.recording for u in utterances if u.duration is None and u.end is None}
    measured = measure(unknown.items())
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
    segments = {}
    for u in utterances:
        end = u.start + u.duration if u.end is None else u.end
        segments[u.id] = f"{u.recording_id} {format_number(u.start)} {format_number(end)}"
    genders = {u.speaker: u.gender for u in utterances if u.gender}
    lengths = {u.recording_id: u.recording_duration for u in utterances}
    texts = {u.id: u.text for u in utterances}
    return {
        "segments": segments if cut else None,
        "reco2dur": None if None in lengths.values() else {key: format_number(value) for key, value in lengths.items()},
        "spk2gender": genders or None,
        "wav.scp": {u.recording_id: u.recording for u in utterances},
        "utt2spk": {u.id: u.speaker for u in utterances},
        "spk2utt": {speaker: " ".join(ids) for speaker, ids in by_speaker.items()},
        "utt2dur": {u.id: format_number(round(u.duration, 6)) for u in utterances},
        "text": None if None in texts.values() else texts,
    }
