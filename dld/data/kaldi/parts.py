"""Counting, cutting and joining data directories."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from dld.data.kaldi.directory import Utterance, load, write
from dld.errors import DldError


def spread(items: Sequence, number: int) -> list:
    """Pick `number` items evenly spread over a sequence, always the same ones.

    Examples
    --------
    >>> spread("abcdefgh", 4)
    ['a', 'c', 'e', 'g']
    """
    return [items[i * len(items) // number] for i in range(number)]


def stats(folder: str | Path) -> dict:
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
    durations = [u.seconds for u in utterances]
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
        words = [word for u in utterances for word in u.words]
        found["words"] = len(words)
        found["vocabulary"] = len(set(words))
        found["characters"] = sum(map(len, words))
        found["words_per_second"] = round(len(words) / total, 3)
    genders = sorted({u.gender for u in utterances if u.gender})
    if genders:
        found["speakers_by_gender"] = {g: len({u.speaker for u in utterances if u.gender == g}) for g in genders}
        found["hours_by_gender"] = {
            g: round(sum(u.seconds for u in utterances if u.gender == g) / 3600, 4) for g in genders
        }
    return found


def subset(
    source: str | Path,
    destination: str | Path,
    *,
    number: int | None = None,
    first: int | None = None,
    shortest: int | None = None,
    speakers: int | None = None,
    ids: Iterable[str] | None = None,
) -> list[Utterance]:
    """Write a part of a data directory as another one; exactly one of the choices must be set.

    Parameters
    ----------
    source, destination : str or Path
    number, first, shortest : int
        So many utterances: evenly spread, the first in C order, or the shortest.
    speakers : int
        All utterances of this many speakers, evenly spread.
    ids : iterable of str
        These utterances.

    Returns
    -------
    list of Utterance

    Raises
    ------
    DldError
        The directory has fewer than `number`, or lacks an id.
    """
    utterances = load(source, need=("utt2spk", "utt2dur"))
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    if ids is not None:
        wanted = set(ids)
        absent = sorted(wanted - {u.id for u in utterances})
        if absent:
            raise DldError(f"{source}: {len(absent)} of the ids are not there (first: {absent[0]})")
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


def combine(destination: str | Path, sources: Sequence[str | Path]) -> list[Utterance]:
    """Write the utterances of several data directories as one, as Kaldi's `combine_data.sh` does.

    Raises
    ------
    DldError
        An utterance is in two of them, or they have one name for different recordings; then nothing has been written.
    """
    destination = _destination(destination, sources)
    owners: dict[str, str | Path] = {}
    utterances = []
    for source in sources:
        for utterance in load(source, need=("utt2spk", "utt2dur")):
            if utterance.id in owners:
                raise DldError(f"utterance {utterance.id} is in {owners[utterance.id]} and in {source}; rename one")
            owners[utterance.id] = source
            utterances.append(utterance)
    write(destination, utterances)
    return utterances


def _destination(destination, sources):
    if Path(destination).resolve() in {Path(source).resolve() for source in sources}:
        raise DldError(f"{destination}: is source and destination; choose another destination")
    return Path(destination)


def _enough(source, number, there, what):
    if not 1 <= number <= there:
        raise DldError(f"{source}: {number} {what} requested, there are {there}")
