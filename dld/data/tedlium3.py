"""TED-LIUM 3 (OpenSLR 51) as it is distributed → Kaldi data directories, by its `legacy` splits.

Talks are read where they lie: NIST SPH, or a tree converted to WAV or FLAC. Utterances are the STM's segments with the
STM's own times.
"""

import logging
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from dld.data import kaldi, normalise
from dld.data.audio import TOLERANCE
from dld.data.corpora import Problems, check_recordings, decoded_lines
from dld.errors import DldError
from dld.files import atomic_write

logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")

#: Scored segments and words of each split when it is whole (None: no published total).
TOTALS = {"train": (268263, None), "dev": (507, 17783), "test": (1155, 27500)}

#: Talks in the corpus's folder `data`.
TALKS = 2351

ARCHIVES = {
    "TEDLIUM_release-3": (
        "https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz",
        "ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb",
    )
}
"""Folder → (address, SHA-256) of the archive that holds it."""

_IGNORED = "ignore_time_segment_in_scoring"
_FORMATS = ("sph", "wav", "flac")
_LABELS = {"<F0_M>": "<o,f0,male>", "<F0_F>": "<o,f0,female>"}
_STM_HEADER = """\
;; LABEL "o" "Overall" "Overall"
;; LABEL "f0" "Wide band" "Wide-band channel"
;; LABEL "f2" "Telephone" "Telephone channel"
;; LABEL "male" "Male" "Male speakers"
;; LABEL "female" "Female" "Female speakers"
"""
_GLM = """\
;; Rules for NIST's csrfilt, in its GLM format: what counts as the same word in references and hypotheses.
;; There is none but one that no text contains, so that sclite counts the words as the other scores do.
* name "dld-tedlium3"
* desc "no rules"
* format = 'NIST1'
* max_nrules = '10'
* copy_no_hit = 'T'
* case_sensitive = 'F'
[DLD_NO_SUCH_WORD] => [DLD_NO_SUCH_WORD] / [ ] __ [ ]
"""


@dataclass(frozen=True)
class Segment:
    """One line of an STM file.

    Attributes
    ----------
    talk, channel, speaker, label : str
    start, end : str
        Seconds, as they are written.
    text : str
        What follows the label, as it is written.
    where : str
        File and line.
    """

    talk: str
    channel: str
    speaker: str
    start: str
    end: str
    label: str
    text: str
    where: str

    @property
    def ignored(self):
        """Whether scoring skips the segment."""
        return self.text.split()[:1] == [_IGNORED]

    @property
    def id(self):
        """Utterance id: the talk and its times in milliseconds (the times themselves are in `segments`)."""
        return f"{self.talk}-{round(float(self.start) * 1000):08d}-{round(float(self.end) * 1000):08d}"

    @property
    def gender(self):
        """`m` or `f` of the label; None where it does not tell."""
        label = _LABELS.get(self.label, self.label)
        return {"female>": "f", "male>": "m"}.get(label.rpartition(",")[2])

    def stm_line(self):
        """The segment with normalised words, as sclite reads it."""
        words = _IGNORED if self.ignored else normalise.tedlium(self.text)
        label = _LABELS.get(self.label, self.label)
        return f"{self.talk} {self.channel} {self.speaker} {self.start} {self.end} {label} {words}".rstrip()


def parse_line(line, where):
    """Read one line of an STM file.

    Parameters
    ----------
    line : str
        `talk channel speaker start end <label> words …`
    where : str
        File and line, for messages.

    Returns
    -------
    Segment

    Raises
    ------
    DldError
        Too few fields, no label, times that are no numbers, or an end that is not after the start.

    Examples
    --------
    >>> segment = parse_line("A_2009 1 Ann 17.82 28.81 <o,f0,female> it 's here", "a.stm:1")
    >>> segment.id, segment.gender, segment.ignored
    ('A_2009-00017820-00028810', 'f', False)
    """
    fields = line.split(maxsplit=6)
    if len(fields) < 6:
        raise DldError(
            f"{where}: {len(fields)} fields; an STM line has talk, channel, speaker, start, end, label, words"
        )
    talk, channel, speaker, start, end, label, *text = fields
    if "/" in talk or talk.startswith("."):
        # The talk becomes the name of its recording's file.
        raise DldError(f"{where}: the talk {talk} is not the name of a recording")
    try:
        begins, ends = float(start), float(end)
    except ValueError:
        raise DldError(f"{where}: the times {start} and {end} are no numbers of seconds") from None
    if not 0 <= begins < ends < float("inf"):
        raise DldError(f"{where}: the segment ends at {end} s and starts at {start} s; it must be 0 <= start < end")
    if not (label.startswith("<") and label.endswith(">")) or label in ("<unk>", "<sil>"):
        raise DldError(f"{where}: the sixth field is {label}; a label such as <o,f0,male> belongs there")
    return Segment(talk, channel, speaker, start, end, label, text[0] if text else "", where)


def read_stm(path, problems):
    """Segments of an STM file, the ignored ones too; faulty lines become problems."""
    segments = []
    for number, line in decoded_lines(path, problems):
        if not line or line.startswith(";;"):
            continue
        try:
            segments.append(parse_line(line, f"{path}:{number}"))
        except DldError as error:
            where, _, what = str(error).partition(": ")
            problems.add("faulty STM line", where, what)
    return segments


def prepare(
    corpus,
    destination,
    splits=SPLITS,
    padding=(0.0, 0.0),
    audio=None,
    sph2pipe=False,
    allow_partial=False,
):
    """Write the data directories of TED-LIUM 3.

    `train` leaves out segments without words (after normalisation), with their count. Of `dev` and `test` nothing is
    left out: they are what is scored. Both also get `stm` and `glm` for NIST sclite.

    Parameters
    ----------
    corpus : str or Path
        The folder `TEDLIUM_release-3`, or the one that holds it.
    destination : str or Path
        Where the data directories go.
    splits : sequence of str
    padding : (float, float)
        Seconds that training segments are made longer at start and end, at most to the middle of the gap to the
        next segment.
    audio : str or Path, optional
        A converted tree: `<split>/{sph,wav,flac}/<talk>.*`, `<split>/<talk>.*` or `<talk>.*` in it.
    sph2pipe : bool
        Let `wav.scp` call `sph2pipe` for SPH files rather than name them.
    allow_partial : bool
        Leave out what is faulty or missing.

    Returns
    -------
    dict of str to dict
        For each split: talks, lines, utterances, ignored, `no words`, faulty, words, seconds. `lines` is the sum of
        utterances, ignored, `no words` and faulty.

    Raises
    ------
    DldError
        The corpus is faulty or not whole and `allow_partial` is false; then nothing has been written.
    """
    root = _find_root(Path(corpus))
    problems = Problems(root, allow_partial)
    read = {}
    for split in splits:
        if split not in TOTALS:
            raise DldError(f"unknown split {split}; there are {', '.join(SPLITS)}")
        read[split] = _read_split(root, split, Path(audio) if audio else None, sph2pipe, problems)
    if (root / "data" / "sph").is_dir():
        talks = len(list((root / "data" / "sph").glob("*.sph")))
        if talks != TALKS:
            problems.add("incomplete", root / "data" / "sph", f"{talks} of {TALKS} talks")
    problems.finish()
    counts = {}
    for split, part in read.items():
        if not part.segments:
            logger.warning("%s: no utterances of %s, so no data directory of it", root, split)
            continue
        utterances = _utterances(part, padding if split == "train" else (0.0, 0.0))
        kaldi.write(Path(destination) / split, utterances)
        if split != "train":
            _write_scoring_files(root, Path(destination) / split, part)
        counts[split] = {**part.counts, "seconds": sum(u.end - u.start for u in utterances)}
    if not counts:
        raise DldError(f"{root}: no utterances in any of {', '.join(splits)}; is that the corpus?")
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


def _read_split(root, split, audio, sph2pipe, problems):
    folder = root / "legacy" / split
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
        talk: f"sph2pipe -f wav -p {shlex.quote(str(path))} |" if sph2pipe and path.suffix == ".sph" else str(path)
        for talk, path in paths.items()
    }
    lengths = check_recordings(recordings, problems)

    kept, ignored, seen = [], [], {}
    without_words = faulty = 0
    for segment in sorted(found, key=_order):
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


def _order(segment):
    return segment.talk, segment.channel, float(segment.start), float(segment.end)


def _find_audio(folder, split, audio, talk):
    places = [folder / kind for kind in _FORMATS]
    if audio is not None:
        places = [*(audio / split / kind for kind in _FORMATS), audio / split, audio]
    for place in places:
        for kind in _FORMATS:
            path = place / f"{talk}.{kind}"
            if path.exists():
                return path
    return None


def _check_talks(folder, audio, paths, segments, problems):
    unknown = {}
    for segment in segments:
        if segment.talk not in paths:
            unknown.setdefault(segment.talk, []).append(segment.where)
    for talk, places in unknown.items():
        what = f"{talk} ({len(places)} lines) has no recording in {audio or folder}"
        problems.add("unknown talk", places[0], what)
    recorded = {path.stem for kind in _FORMATS for path in (folder / kind).glob(f"*.{kind}")}
    for talk in sorted(recorded - {segment.talk for segment in segments}):
        problems.add("talk without STM", folder, f"no STM lines for the recording {talk}")


def _is_faulty(segment, split, lengths, seen, problems):
    """Whether a scored segment cannot be an utterance; why becomes a problem, once."""
    if segment.id in seen:
        what = f"the utterance {segment.id} is also in {seen[segment.id]}"
        problems.add("duplicate utterance", segment.where, what)
        return True
    seen[segment.id] = segment.where
    if segment.talk not in lengths:
        # Told already: for the talk as a whole.
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
    utterances, words = TOTALS[split]
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
    """Longer (start, end) pairs of one talk, in the order given; a gap to a neighbour is shared in the middle."""
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
    """Talk → gender, or nothing at all unless every talk has one: Kaldi's `spk2gender` knows all speakers."""
    found = {}
    for segment in segments:
        found.setdefault(segment.talk, set()).add(segment.gender)
    if all(len(genders) == 1 and None not in genders for genders in found.values()):
        return {talk: genders.pop() for talk, genders in found.items()}
    return {}


def _ignored_outside(part):
    """The ignored segments without what scored ones overlap, where sclite would lose words of the hypotheses."""
    spans = {}
    for segment in part.segments:
        spans.setdefault(segment.talk, []).append(segment)
    for segment in part.ignored:
        overlapping = [
            other
            for other in spans.get(segment.talk, ())
            if float(other.start) < float(segment.end) and float(other.end) > float(segment.start)
        ]
        start = segment.start
        for other in sorted(overlapping, key=_order):
            if float(other.start) > float(start):
                yield replace(segment, start=start, end=other.start)
            start = max(start, other.end, key=float)
        if float(start) < float(segment.end):
            yield replace(segment, start=start)


def _write_scoring_files(root, folder, part):
    lines = sorted([*part.segments, *_ignored_outside(part)], key=_order)
    with atomic_write(folder / "stm") as out:
        out.write(_STM_HEADER)
        out.writelines(f"{segment.stm_line()}\n" for segment in lines)
    with atomic_write(folder / "reco2file_and_channel") as out:
        channels = {segment.talk: segment.channel for segment in part.segments}
        out.writelines(f"{talk} {talk} {channel}\n" for talk, channel in sorted(channels.items()))
    own = next(iter(sorted(root.glob("*.glm"))), None)
    with atomic_write(folder / "glm") as out:
        out.write(own.read_text(encoding="utf-8") if own else _GLM)
