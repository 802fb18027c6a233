"""Logits and text of audio that arrives in parts: while somebody speaks, or of a long file."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dld.checks import shown
from dld.data.clips import Clip
from dld.decoding.best_path import BLANK
from dld.encoders.streaming import EncoderStream
from dld.errors import DldError
from dld.frontends.streaming import FeatureStream
from dld.recognition.windows import Segment, joint_of

if TYPE_CHECKING:
    from dld.recognition.eager import EagerRecognizer

#: Seconds of a file that are read at a time.
READ_SECONDS = 10.0


class LogitStream:
    """The logits of one utterance that arrives in parts: those of the whole.

    Parameters
    ----------
    recognizer : EagerRecognizer
    gates : gate vector

    Raises
    ------
    DldError
        The encoder has no chunks, or the front end needs whole utterances.
    """

    def __init__(self, recognizer: "EagerRecognizer", gates: Sequence[bool]):
        self._recognizer = recognizer
        network = recognizer.network
        self._encoder = EncoderStream(network.encoder, gates)
        self._features = FeatureStream(network.frontend)
        self._head = network.head_of(gates)
        chunk = self._encoder.chunks.size * recognizer.frame_seconds
        #: The longest time until the logits of a sample are there.
        self.latency_seconds = chunk + max(0, network.frontend.span[1]) / recognizer.sample_rate

    def accept(self, samples: Tensor) -> np.ndarray:
        """Take the next samples (samples,) and return the logits (frames, tokens) of the chunks that they complete."""
        with self._recognizer.computing():
            features = self._features.accept(samples.float().to(self._recognizer.device))
            return self._logits([self._encoder.accept(features)])

    def end(self) -> np.ndarray:
        """Return the logits that are left."""
        with self._recognizer.computing():
            return self._logits([self._encoder.accept(self._features.end()), self._encoder.end()])

    def _logits(self, hidden: list[Tensor]) -> np.ndarray:
        return self._head(torch.cat(hidden, 1))[0].float().cpu().numpy()


class Stream:
    """Recognise one utterance that arrives in parts; after `end`, `text` is that of the whole utterance.

    Made by `EagerRecognizer.stream`. Best-path decoding: `text` only grows.

    Attributes
    ----------
    gates : gate vector
    latency_seconds : float
        The longest time after which a sample that arrived is part of what `text` is made of.
    """

    def __init__(self, recognizer: "EagerRecognizer", gates: Sequence[bool]):
        self._logits = LogitStream(recognizer, gates)
        self._tokenizer = recognizer.tokenizer
        self._tokens: list[int] = []
        self._last = BLANK
        self._ended = False
        self.gates = tuple(gates)
        self.latency_seconds = self._logits.latency_seconds

    @property
    def text(self) -> str:
        """The text of what was accepted so far, up to the last complete chunk."""
        return self._tokenizer.decode(self._tokens)

    def accept(self, samples: np.ndarray | Tensor) -> str:
        """Take the next samples (samples,), of the model's sampling rate and full scale 1; return `text`.

        Raises
        ------
        DldError
            The samples are none, or the stream has ended.
        """
        if self._ended:
            raise DldError("the stream has ended; open another one for the next utterance")
        try:
            given = torch.as_tensor(samples)
        except (TypeError, ValueError, RuntimeError):
            raise DldError(f"samples are {shown(samples)}; they must be an array (samples,)") from None
        if given.dim() != 1 or not given.is_floating_point():
            kind = f"{given.dtype} of shape {tuple(given.shape)}"
            raise DldError(f"samples are {kind}; they must be floating point (samples,), full scale 1")
        if not bool(torch.isfinite(given).all()):
            raise DldError("samples are not all finite numbers; they must be")
        self._take(self._logits.accept(given))
        return self.text

    def end(self) -> str:
        """Recognise what is left, and return the whole text."""
        if not self._ended:
            self._take(self._logits.end())
            self._ended = True
        return self.text

    def _take(self, logits: np.ndarray) -> None:
        for token in logits.argmax(-1).tolist():
            if token not in (BLANK, self._last):
                self._tokens.append(token)
            self._last = token


def segments(stream: LogitStream, clip: Clip, frame_seconds: float, seconds: float) -> Iterator[Segment]:
    """Yield the logits of a long recording in parts that end in pauses, each frame as it is in the whole.

    Parameters
    ----------
    stream : LogitStream
    clip : Clip
    frame_seconds : float
    seconds : float
        A part has about this length, and more while no pause comes.
    """
    first, rows = 0, np.zeros((0, 0), np.float32)
    for new in _read(stream, clip):
        rows = new if not len(rows) else np.concatenate([rows, new])
        half = round(seconds / frame_seconds / 2)
        if len(rows) < 2 * half:
            continue
        cut = half + joint_of(rows[half:], rows[half:])
        # Elsewhere a token could be counted on both sides.
        if rows[cut].argmax() == BLANK:
            yield Segment(first, rows[:cut])
            first, rows = first + cut, rows[cut:]
    yield Segment(first, rows)


def _read(stream: LogitStream, clip: Clip) -> Iterator[np.ndarray]:
    step = round(READ_SECONDS * clip.sample_rate)
    spans = [(begin, min(begin + step, clip.samples)) for begin in range(0, clip.samples, step)]
    for samples in clip.parts(spans):
        if len(logits := stream.accept(torch.from_numpy(samples))):
            yield logits
    if len(logits := stream.end()):
        yield logits
