"""What the front ends with a bank of Mel filters share: normalisation, its statistics, padding."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dld.checks import COUNT, POSITIVE, Whole, require
from dld.errors import DldError
from dld.frontends.base import FrontEnd
from dld.frontends.cmvn import GlobalCMVN, UtteranceCMVN
from dld.padding import padding_mask


class FilterBank(FrontEnd):
    """Logarithms of Mel filter-bank energies, normalised; a subclass implements `log_mel`, `span` and `settings`.

    Parameters
    ----------
    sample_rate : int
        Hz.
    n_mels : int
    window_ms, hop_ms : float
        Milliseconds.
    normalisation : UtteranceCMVN or GlobalCMVN, optional
    """

    normalisation: UtteranceCMVN | GlobalCMVN | None
    #: Whether features depend on the mean of the whole waveform.
    zero_mean = False

    def __init__(
        self,
        sample_rate: int,
        n_mels: int,
        window_ms: float,
        hop_ms: float,
        normalisation: UtteranceCMVN | GlobalCMVN | None,
    ):
        super().__init__()
        require(self, Whole(1000, 384000), sample_rate=sample_rate)
        require(self, COUNT, n_mels=n_mels)
        require(self, POSITIVE, window_ms=window_ms, hop_ms=hop_ms)
        self.sample_rate = sample_rate
        self.output_size = n_mels
        self.window = round(sample_rate * window_ms / 1000)
        # Windows have some thousand samples at most; a wrong unit would take all memory.
        require(self, Whole(2, 1 << 16), **{"window_ms in samples": self.window})
        self.hop = round(sample_rate * hop_ms / 1000)
        require(self, Whole(1, self.window), **{"hop_ms in samples": self.hop})
        name = type(self).__name__
        if normalisation is not None and not isinstance(normalisation, (UtteranceCMVN, GlobalCMVN)):
            raise DldError(f"{name}: normalisation must be a UtteranceCMVN or GlobalCMVN, or null")
        if isinstance(normalisation, GlobalCMVN) and len(normalisation.mean) != n_mels:
            raise DldError(
                f"{name}: normalisation has n_features {len(normalisation.mean)}; it must be n_mels, {n_mels}"
            )

    @abstractmethod
    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features before normalisation; padded frames hold no particular value.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
            Float32, zero beyond the lengths.
        lengths : LongTensor (batch,)
            Valid samples of each utterance.

        Returns
        -------
        features : Tensor (batch, frames, n_mels)
        lengths : LongTensor (batch,)
            Valid frames, at least one.
        """

    @property
    @abstractmethod
    def span(self) -> tuple[int, int]:
        """The samples that the first frame sees, from and up to, if an utterance went on at both ends."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `config` holds of a subclass alone."""

    @property
    def config(self) -> dict[str, Any]:
        """Settings as plain values; window and hop in samples."""
        kind = self.normalisation and {"kind": type(self.normalisation).__name__, **self.normalisation.config}
        return {
            "sample_rate": self.sample_rate,
            "n_mels": self.output_size,
            "window": self.window,
            "hop": self.hop,
            **self.settings,
            "normalisation": kind,
        }

    @property
    def needs_statistics(self) -> bool:
        """True while the normalisation waits for statistics of the training data."""
        return self.normalisation is not None and self.normalisation.needs_statistics

    def estimate_statistics(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Estimate them from (waveforms (batch, samples), lengths (batch,)) pairs."""
        if isinstance(self.normalisation, GlobalCMVN):
            self.normalisation.estimate(self._log_mel(*batch) for batch in batches)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of a batch of waveforms.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
        lengths : LongTensor (batch,)
            Valid samples of each utterance.

        Returns
        -------
        features : Tensor (batch, frames, n_mels), zero on padded frames
        lengths : LongTensor (batch,)
            Valid frames.
        """
        features, lengths = self._log_mel(waveforms, lengths)
        if self.normalisation is not None:
            features = self.normalisation(features, lengths)
        return features.masked_fill(padding_mask(lengths, features.shape[1])[..., None], 0.0), lengths

    def _log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        waveforms = waveforms.masked_fill(padding_mask(lengths, waveforms.shape[1]), 0.0)
        # Low precision would lose the quiet end of the spectrum.
        with torch.autocast(waveforms.device.type, enabled=False):
            return self.log_mel(waveforms.float(), lengths)
