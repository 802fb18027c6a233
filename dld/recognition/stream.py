"""Text while somebody speaks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dld.decoding.best_path import BLANK
from dld.encoders.streaming import EncoderStream
from dld.errors import DldError
from dld.frontends.streaming import FeatureStream
from dld.network import precision_context

if TYPE_CHECKING:
    from dld.recognition.eager import EagerRecognizer


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
        network = recognizer.network
        self._recognizer = recognizer
        self._features = FeatureStream(network.frontend)
        self._encoder = EncoderStream(network.encoder, gates)
        self._head = network.head_of(gates)
        self._tokens: list[int] = []
        self._last = BLANK
        self._ended = False
        self.gates = tuple(gates)
        chunk = self._encoder.chunks.size * recognizer.frame_seconds
        self.latency_seconds = chunk + max(0, network.frontend.span[1]) / recognizer.sample_rate

    @property
    def text(self) -> str:
        """The text of what was accepted so far, up to the last complete chunk."""
        return self._recognizer.tokenizer.decode(self._tokens)

    def accept(self, samples: np.ndarray | torch.Tensor) -> str:
        """Take the next samples (samples,), of the model's sampling rate and full scale 1; return `text`.

        Raises
        ------
        DldError
            The samples are none, or the stream has ended.
        """
        if self._ended:
            raise DldError("the stream has ended; open another one for the next utterance")
        given = torch.as_tensor(samples)
        if given.dim() != 1 or not given.is_floating_point():
            shape = tuple(given.shape)
            raise DldError(f"samples are {given.dtype} of shape {shape}; they must be floating point (samples,)")
        if not bool(torch.isfinite(given).all()):
            raise DldError("samples are not all finite numbers; they must be")
        self._run(lambda: self._encoder.accept(self._features.accept(given.float().to(self._recognizer.device))))
        return self.text

    def end(self) -> str:
        """Recognise what is left, and return the whole text."""
        if not self._ended:
            self._run(lambda: self._encoder.accept(self._features.end()))
            self._run(self._encoder.end)
            self._ended = True
        return self.text

    @torch.no_grad()
    def _run(self, step) -> None:
        recognizer = self._recognizer
        with recognizer.evaluating(), precision_context(recognizer.device, recognizer.precision):
            best = self._head(step())[0].argmax(-1).tolist()
        for token in best:
            if token not in (BLANK, self._last):
                self._tokens.append(token)
            self._last = token
