"""What was said in a recording, with the times of its words, and the formats that it is written in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dld.errors import DldError
from dld.records import Record, optional

#: Seconds of silence that end a subtitle, its most characters (two lines of 42), and its most seconds.
PAUSE, CHARACTERS, SECONDS = 0.8, 84, 7.0
_LINE = 42


@dataclass(frozen=True)
class Word(Record):
    """A word, its start and end in seconds, and how probable it is that it is right, in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Transcript(Record):
    """The text of a recording.

    Attributes
    ----------
    text : str
    words : list of Word, optional
        Where times were asked for.
    calibrated : bool, optional
        Whether the confidences of the words were calibrated on a dev set (`dld calibrate`); raw ones tell better words
        from worse, but are not probabilities of being right.
    joints : list of float, optional
        Seconds at which the windows of a long recording were joined.

    Examples
    --------
    >>> transcript = Transcript("one two", [Word("one", 0.2, 0.48, 0.9), Word("two", 1.6, 2.0, 0.75)], True)
    >>> print(transcript.to_ctm("talk"), end="")
    talk 1 0.200 0.280 one 0.900
    talk 1 1.600 0.400 two 0.750
    >>> print(transcript.to_srt(), end="")
    1
    00:00:00,200 --> 00:00:00,480
    one
    <BLANKLINE>
    2
    00:00:01,600 --> 00:00:02,000
    two
    """

    text: str
    words: list[Word] | None = optional()
    calibrated: bool | None = optional()
    joints: list[float] | None = optional()

    def to_ctm(self, name: str, channel: int = 1) -> str:
        """Return a line of NIST's CTM for each word: recording, channel, start, duration, word, confidence.

        Parameters
        ----------
        name : str
            Of the recording; see `ctm_name`.
        channel : int
        """
        name = ctm_name(name)
        return "".join(
            f"{name} {channel} {word.start:.3f} {word.end - word.start:.3f} {word.text} {word.confidence:.3f}\n"
            for word in self._timed()
        )

    def to_srt(self) -> str:
        """Return SubRip subtitles."""
        blocks = [
            f"{number}\n{_clock(cue[0].start, ',')} --> {_clock(cue[-1].end, ',')}\n{_lines(cue)}\n"
            for number, cue in enumerate(subtitles(self._timed()), 1)
        ]
        return "\n".join(blocks)

    def to_vtt(self) -> str:
        """Return WebVTT subtitles."""
        blocks = [
            f"{_clock(cue[0].start, '.')} --> {_clock(cue[-1].end, '.')}\n{_escaped(_lines(cue))}\n"
            for cue in subtitles(self._timed())
        ]
        return "\n".join(["WEBVTT\n", *blocks])

    def _timed(self) -> list[Word]:
        if self.words is None:
            raise DldError("this transcript has no times; transcribe with times=True")
        return self.words


def ctm_name(name: str) -> str:
    """Return the name of a recording as CTM can have it: without white space, not a comment, and encodable.

    Examples
    --------
    >>> ctm_name(";;two words")
    '__two_words'
    """
    # Lines that begin with ;; are comments.
    name = re.sub(r"^;;", "__", re.sub(r"\s+", "_", name))
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def subtitles(words: Sequence[Word]) -> list[list[Word]]:
    """Return the words of each subtitle: they are parted at pauses, and where one would be too long.

    A subtitle that would be too long ends at the longest silence in its second half.
    """
    cues: list[list[Word]] = []
    cue: list[Word] = []
    for word in words:
        if cue and word.start - cue[-1].end >= PAUSE:
            cues.append(cue)
            cue = []
        while cue and (_length([*cue, word]) > CHARACTERS or word.end - cue[0].start > SECONDS):
            end = _longest_silence([*cue, word])
            cues.append(cue[:end])
            cue = cue[end:]
        cue.append(word)
    return [*cues, cue] if cue else cues


def _longest_silence(words: Sequence[Word]) -> int:
    """Return the index of the word before which the silence is longest, in the second half of a subtitle."""
    return max(range((len(words) + 1) // 2, len(words)), key=lambda i: (words[i].start - words[i - 1].end, i))


def _length(words: Sequence[Word]) -> int:
    return sum(len(word.text) + 1 for word in words) - 1


def _lines(words: Sequence[Word]) -> str:
    """Return the text of a subtitle, on two lines of similar length where it does not fit on one."""
    texts = [word.text for word in words]
    if _length(words) <= _LINE or len(words) < 2:
        return " ".join(texts)
    halves = [(" ".join(texts[:cut]), " ".join(texts[cut:])) for cut in range(1, len(texts))]
    return "\n".join(min(halves, key=lambda half: max(map(len, half))))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
