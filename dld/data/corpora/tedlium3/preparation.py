"""Reading TED-LIUM 3's splits and writing data directories."""

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

from dld.data import kaldi, normalise
from dld.data.audio import TOLERANCE
from dld.data.corpora.reading import Problems, check_recordings
from dld.data.corpora.tedlium3 import Options, known
from dld.data.corpora.tedlium3.stm import order, read_stm, write_scoring_files
from dld.errors import DldError

logger = logging.getLogger(__name__)

_FORMATS = ("sph", "wav", "flac")


def write_sets(corpus: Path, destination: Path, options: Options) -> dict[str, dict]:
    """Write the data directories and return their counts; see `dld.data.corpora.tedlium3.prepare`."""
    root = _find_root(corpus)
    problems = Problems(root, options.allow_partial)
    read = {split: _read_split(root, split, options, problems) for split in known.TOTALS if split in options.sets}
    if "train" in options.sets:
        _check_talks_of_corpus(root, problems)
    problems.finish()
    counts = {}
    for split, part in read.items():
        if not part.segments:
            logger.warning("%s: no utterances of %s, so no data directory of it", root, split)
            continue
        padding = (options.start_padding, options.end_padding) if split == "train" else (0.0, 0.0)
        utterances = _utterances(part, padding)
        kaldi.write(destination / split, utterances)
        if split != "train":
            write_scoring_files(root, destination / split, part.segments, part.ignored)
        counts[split] = {**part.counts, "seconds": sum(u.end - u.start for u in utterances)}
    if not counts:
        raise DldError(f"{root}: no utterances in any of {', '.join(options.sets)}; is that the corpus?")
    return counts


def _find_root(corpus):
    for root in (corpus, corpus / "TEDLIUM_release-3"):
        if (root / "legacy").is_dir():
            return root
    raise DldError(f"{corpus}: not TED-LIUM 3, no folder `legacy` in it; give the folder TEDLIUM_release-3")


@dataclass(frozen=True)
class _Split:
    """What was read of a split: segments to keep, ignored ones, `wav.scp` values and seconds by talk, counts."""

    segments: list
    ignored: list
    recordings: dict
    lengths: dict
    counts: dict


def _read_split(root, split, options, problems):
    folder = root / "legacy" / split
    audio = Path(options.audio) if options.audio else None
    files = sorted((folder / "stm").glob("*.stm"))
    if not files:
        problems.add("missing", folder / "stm", "no STM files")
    before = problems.total
    found = [segment for path in files for segment in read_stm(path, problems)]
    malformed = problems.total - before
    talks = sorted({segment.talk for segment in found})
    paths = {talk: path for talk in talks if (path := _find_audio(folder, split, audio, talk))}
    _check_talks(folder, audio, paths, found, problems)
    recordings = {
        talk: f"sph2pipe -f wav -p {shlex.quote(str(path))} |"
        if options.sph2pipe and path.suffix == ".sph"
        else str(path)
        for talk, path in paths.items()
    }
    lengths = check_recordings(recordings, problems)

    kept, ignored, seen = [], [], {}
    without_words = faulty = 0
    for segment in sorted(found, key=order):
        if segment.ignored:
            ignored.append(segment)
        elif _is_faulty(segment, split, lengths, seen, problems):
            faulty += 1
        elif split == "train" and not normalise.tedlium(segment.text):
            without_words += 1
        else:
            kept.append(segment)
    if without_words:
        logger.info("%s: %d segments without words left out", folder, without_words)
    _check_totals(folder, split, len(found) - len(ignored), kept, problems)
    counts = {
        "talks": len({segment.talk for segment in kept}),
        "lines": len(found) + malformed,
        "utterances": len(kept),
        "ignored": len(ignored),
        "no words": without_words,
        "faulty": faulty + malformed,
        "words": sum(len(normalise.tedlium(segment.text).split()) for segment in kept),
    }
    return _Split(kept, ignored, recordings, lengths, counts)


def _find_audio(folder, split, audio, talk):
    folders = [folder / kind for kind in _FORMATS]
    if audio is not None:
        folders = [*(audio / split / kind for kind in _FORMATS), audio / split, audio]
    for folder in folders:
        for kind in _FORMATS:
            path = folder / f"{talk}.{kind}"
            if path.exists():
                return path
    return None


def _check_talks_of_corpus(root, problems):
    """Note where talks are missing in the folder that holds all those of train."""
    folder = root / "data" / "sph"
    if folder.is_dir():
        talks = len(list(folder.glob("*.sph")))
        if talks != known.TALKS:
            problems.add("incomplete", folder, f"{talks} of {known.TALKS} talks")


def _check_talks(folder, audio, paths, segments, problems):
    unknown = {}
    for segment in segments:
        if segment.talk not in paths:
            unknown.setdefault(segment.talk, []).append(segment.where)
    for talk, where in unknown.items():
        what = f"{talk} ({len(where)} lines) has no recording in {audio or folder}"
        problems.add("unknown talk", where[0], what)
    recorded = {path.stem for kind in _FORMATS for path in (folder / kind).glob(f"*.{kind}")}
    for talk in sorted(recorded - {segment.talk for segment in segments}):
        problems.add("talk without STM", folder, f"no STM lines for the recording {talk}")


def _is_faulty(segment, split, lengths, seen, problems):
    """Return whether a scored segment cannot be an utterance; the reason becomes a problem, once."""
    if segment.id in seen:
        what = f"the utterance {segment.id} is also in {seen[segment.id]}"
        problems.add("duplicate utterance", segment.where, what)
        return True
    seen[segment.id] = segment.where
    if segment.talk not in lengths:
        # Reported already, for the talk as a whole.
        return True
    length = lengths[segment.talk]
    if float(segment.start) >= length or float(segment.end) > length + TOLERANCE:
        what = f"the segment ends at {segment.end} s, {segment.talk} is {length:.3f} s long"
        problems.add("segment past the end", segment.where, what)
        return True
    if split != "train" and not normalise.tedlium(segment.text):
        problems.add("scored segment without words", segment.where, f"no words in '{segment.text}'")
        return True
    return False


def _check_totals(folder, split, scored, segments, problems):
    utterances, words = known.TOTALS[split]
    if scored != utterances:
        problems.add("incomplete", folder, f"{scored} of {utterances} scored segments")
    elif words is not None:
        # The totals are published for preparations that count markers and words like 'til in other ways.
        ranges = [normalise.tedlium_word_range(segment.text) for segment in segments]
        low, high = (sum(values) for values in zip(*ranges, strict=True))
        if not low <= words <= high:
            problems.add("changed text", folder, f"{low} to {high} words where {words} are known")


def _utterances(part, padding):
    spans = {}
    for segment in part.segments:
        spans.setdefault(segment.talk, []).append((float(segment.start), float(segment.end)))
    times = {talk: dict(zip(of, _padded(of, part.lengths[talk], *padding), strict=True)) for talk, of in spans.items()}
    genders = _genders(part.segments)
    utterances = []
    for segment in part.segments:
        start, end = times[segment.talk][float(segment.start), float(segment.end)]
        utterances.append(
            kaldi.Utterance(
                id=segment.id,
                speaker=segment.talk,
                text=normalise.tedlium(segment.text),
                recording=part.recordings[segment.talk],
                start=start,
                end=end,
                recording_id=segment.talk,
                recording_duration=round(part.lengths[segment.talk], 6),
                gender=genders.get(segment.talk),
            )
        )
    return utterances


def _padded(spans, length, before, after):
    """Return longer (start, end) pairs of one talk, in their order; a gap to a neighbour is divided in the middle."""
    if not (before or after):
        return spans
    padded = []
    for start, end in spans:
        left = max((e for s, e in spans if s < start), default=-start)
        right = min((s for s, _ in spans if s > start), default=2 * length - end)
        floor, ceiling = min(start, (left + start) / 2), max(end, (end + right) / 2)
        padded.append((round(max(start - before, floor), 4), round(min(end + after, ceiling), 4)))
    return padded


def _genders(segments):
    """Return talk → gender, empty unless every talk has one: Kaldi's `spk2gender` must list all speakers."""
    found = {}
    for segment in segments:
        found.setdefault(segment.talk, set()).add(segment.gender)
    if all(len(genders) == 1 and None not in genders for genders in found.values()):
        return {talk: genders.pop() for talk, genders in found.items()}
    return {}
