"""STM files of TED-LIUM 3: reading them, and writing those that NIST sclite scores against."""

from dataclasses import dataclass, replace
from pathlib import Path

from dld.data import normalise
from dld.data.corpora.reading import Problems
from dld.errors import DldError
from dld.files import atomic_write

_IGNORED = "ignore_time_segment_in_scoring"
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
    def ignored(self) -> bool:
        """Whether scoring skips the segment."""
        return self.text.split()[:1] == [_IGNORED]

    @property
    def id(self) -> str:
        """Utterance id: the talk and its times in milliseconds (the times themselves are in `segments`)."""
        return f"{self.talk}-{round(float(self.start) * 1000):08d}-{round(float(self.end) * 1000):08d}"

    @property
    def gender(self) -> str | None:
        """`m` or `f` of the label; None where it states neither."""
        label = _LABELS.get(self.label, self.label)
        return {"female>": "f", "male>": "m"}.get(label.rpartition(",")[2])

    def stm_line(self) -> str:
        """Return the segment with normalised words, as sclite reads it."""
        words = _IGNORED if self.ignored else normalise.tedlium(self.text)
        label = _LABELS.get(self.label, self.label)
        return f"{self.talk} {self.channel} {self.speaker} {self.start} {self.end} {label} {words}".rstrip()


def parse_line(line: str, where: str) -> Segment:
    """Return one line of an STM file.

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
        Too few fields, no label, times that are not numbers, or an end that is not after the start.

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
        raise DldError(f"{where}: the times {start} and {end} are not numbers of seconds") from None
    if not 0 <= begins < ends < float("inf"):
        raise DldError(f"{where}: the segment ends at {end} s and starts at {start} s; it must be 0 <= start < end")
    if not (label.startswith("<") and label.endswith(">")) or label in ("<unk>", "<sil>"):
        raise DldError(f"{where}: the sixth field is {label}; a label such as <o,f0,male> was expected")
    return Segment(talk, channel, speaker, start, end, label, text[0] if text else "", where)


def read_stm(path: Path, problems: Problems) -> list[Segment]:
    """Return the segments of an STM file, the ignored ones too; faulty lines become problems."""
    segments = []
    for number, line in problems.lines(path):
        if not line or line.startswith(";;"):
            continue
        try:
            segments.append(parse_line(line, f"{path}:{number}"))
        except DldError as error:
            where, _, what = str(error).partition(": ")
            problems.add("faulty STM line", where, what)
    return segments


def order(segment: Segment) -> tuple:
    """Return what segments are sorted by: talk, channel and times."""
    return segment.talk, segment.channel, float(segment.start), float(segment.end)


def _ignored_outside(scored, ignored):
    """Yield the ignored segments without what scored ones overlap, where sclite would lose words of the hypotheses."""
    spans = {}
    for segment in scored:
        spans.setdefault(segment.talk, []).append(segment)
    for segment in ignored:
        overlapping = [
            other
            for other in spans.get(segment.talk, ())
            if float(other.start) < float(segment.end) and float(other.end) > float(segment.start)
        ]
        start = segment.start
        for other in sorted(overlapping, key=order):
            if float(other.start) > float(start):
                yield replace(segment, start=start, end=other.start)
            start = max(start, other.end, key=float)
        if float(start) < float(segment.end):
            yield replace(segment, start=start)


def write_scoring_files(root: Path, folder: Path, segments: list[Segment], ignored: list[Segment]) -> None:
    """Write `stm`, `glm` and `reco2file_and_channel` of a test set for NIST sclite; a corpus's own glm is taken."""
    lines = sorted([*segments, *_ignored_outside(segments, ignored)], key=order)
    with atomic_write(folder / "stm") as out:
        out.write(_STM_HEADER)
        out.writelines(f"{segment.stm_line()}\n" for segment in lines)
    with atomic_write(folder / "reco2file_and_channel") as out:
        channels = {segment.talk: segment.channel for segment in segments}
        out.writelines(f"{talk} {talk} {channel}\n" for talk, channel in sorted(channels.items()))
    own = next(iter(sorted(root.glob("*.glm"))), None)
    with atomic_write(folder / "glm") as out:
        out.write(own.read_text(encoding="utf-8") if own else _GLM)
