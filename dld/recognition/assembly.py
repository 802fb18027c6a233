"""From logits to transcripts: the text, and where asked for the times and confidences of its words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dld.data.tokenizer import Tokenizer
from dld.decoding.alignment import Spans, align, best_path, join, text_graph, words_of
from dld.decoding.best_path import log_softmax
from dld.decoding.confidence import Curve, raw_confidence
from dld.recognition.transcript import Transcript, Word
from dld.recognition.windows import Segment

#: Logits of utterances, each (frames, tokens) → a text for each.
Find = Callable[[Sequence[np.ndarray]], list[str]]


class Part(NamedTuple):
    """What a segment of a recording gives.

    Attributes
    ----------
    first : int
        Its first frame in the recording.
    text : str or None
        As a search found it; None where the best path is taken.
    spans : Spans or None
        Of the best path, or of the found text where times are asked for.
    """

    first: int
    text: str | None
    spans: Spans | None


@dataclass(frozen=True)
class Assembler:
    """Makes transcripts of logits under one gate vector.

    Attributes
    ----------
    tokenizer : Tokenizer
    frame_seconds : float
    find : callable, optional
        A search (default: best-path decoding).
    times : bool
        Whether words get times and confidences.
    curve : Curve, optional
        Calibrates confidences. It was fitted on best paths: with a search they stay raw.
    """

    tokenizer: Tokenizer
    frame_seconds: float
    find: Find | None = None
    times: bool = False
    curve: Curve | None = None

    def parts(self, segments: Sequence[Segment]) -> list[Part]:
        """Return what segments give; they need not be of one recording."""
        if self.find is None:
            return [Part(first, None, best_path(rows)) for first, rows in segments]
        texts = self.find([rows for _, rows in segments])
        pieces = self.tokenizer.tokens()
        return [
            Part(first, text, align(log_softmax(rows), text_graph(text, pieces)) if self.times else None)
            for (first, rows), text in zip(segments, texts, strict=True)
        ]

    def transcript(self, parts: Sequence[Part]) -> Transcript:
        """Return the transcript of the consecutive parts of a recording."""
        spans = join([part.spans.after(part.first) for part in parts if part.spans is not None])
        if self.find is None:
            text = self.tokenizer.decode(spans.tokens)
        else:
            text = " ".join(part.text for part in parts if part.text)
        joints = [round(part.first * self.frame_seconds, 3) for part in parts[1:]] or None
        if not self.times:
            return Transcript(text, joints=joints)
        curve = self.curve if self.find is None else None
        words = [self._word(word, curve) for word in words_of(spans, self.tokenizer.tokens())]
        return Transcript(text, words, curve is not None, joints)

    def _word(self, word, curve):
        raw = raw_confidence(word.scores)
        confidence = raw if curve is None else curve(raw)
        start, end = (round(frame * self.frame_seconds, 3) for frame in (word.start, word.end))
        return Word(word.text, start, end, round(confidence, 4))
