"""The interface of every front end."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


class FrontEnd(nn.Module, ABC):
    """What turns waveforms into an encoder's input: the contract that all front ends keep.

    A subclass must set `hop` (samples between frames) and `output_size` (width of a frame) and implement `config` and
    `forward`. What it computes for an utterance must not depend on the padding, nor on the other utterances of the
    batch. One that takes a single sampling rate sets `sample_rate`; one with statistics of the training data replaces
    `needs_statistics` and `estimate_statistics`.

    Raises
    ------
    TypeError
        When a subclass is built that lacks one of the methods.

    Examples
    --------
    >>> from dld.frontends import LogMel, Waveform
    >>> Waveform().same_as(Waveform(normalise=True)), Waveform().same_as(LogMel())
    (True, False)
    """

    hop: int
    output_size: int

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Settings as plain values: equal for two front ends of a class exactly where they compute the same features.

        Statistics of the training data are not among them; they are weights.
        """

    @abstractmethod
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of a batch of waveforms.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
        lengths : LongTensor (batch,)
            Valid samples of each utterance.

        Returns
        -------
        features : Tensor (batch, frames, output_size)
            Zero on padded frames; without the last axis for a front end that returns waveforms.
        lengths : LongTensor (batch,)
            Valid frames of each utterance.
        """

    @property
    def needs_statistics(self) -> bool:
        """True while it waits for statistics of the training data."""
        return False

    def estimate_statistics(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Estimate them from (waveforms (batch, samples), lengths (batch,)) pairs."""

    def same_as(self, other: nn.Module) -> bool:
        """Return whether another front end is of this class and has the same settings."""
        return type(self) is type(other) and self.config == other.config

    def extra_repr(self) -> str:
        """Return the settings for `repr`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config.items())
