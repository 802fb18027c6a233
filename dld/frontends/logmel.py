"""Log-Mel features."""

from collections.abc import Iterable
from typing import Any

import torch
import torchaudio.transforms
from torch import Tensor

from dld.checks import COUNT, POSITIVE, Nullable, Whole, require
from dld.errors import DldError
from dld.frontends.base import FrontEnd
from dld.frontends.cmvn import GlobalCMVN, UtteranceCMVN
from dld.padding import padding_mask


class LogMel(FrontEnd):
    """Log-Mel filter-bank energies, normalised.

    Parameters
    ----------
    sample_rate : int
        Hz.
    n_mels : int
    window_ms, hop_ms : float
        Milliseconds.
    n_fft : int, optional
        The next power of two that holds a window, where it is not given.
    normalisation : UtteranceCMVN or GlobalCMVN, optional

    Examples
    --------
    >>> front_end = LogMel(sample_rate=16000, n_mels=80)
    >>> features, lengths = front_end(torch.randn(2, 16000), torch.tensor([16000, 8000]))
    >>> features.shape, lengths.tolist()
    (torch.Size([2, 101, 80]), [101, 51])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        n_fft: int | None = None,
        normalisation: UtteranceCMVN | GlobalCMVN | None = None,
    ):
        super().__init__()
        require(self, Whole(1000, 384000), sample_rate=sample_rate)
        require(self, COUNT, n_mels=n_mels)
        require(self, POSITIVE, window_ms=window_ms, hop_ms=hop_ms)
        window = round(sample_rate * window_ms / 1000)
        # Windows have some thousand samples at most; a wrong unit would take all memory.
        require(self, Whole(2, 1 << 16), **{"window_ms in samples": window})
        require(self, Nullable(Whole(low=window)), n_fft=n_fft)
        self.sample_rate = sample_rate
        self.hop = round(sample_rate * hop_ms / 1000)
        require(self, Whole(1, window), **{"hop_ms in samples": self.hop})
        if normalisation is not None and not isinstance(normalisation, (UtteranceCMVN, GlobalCMVN)):
            raise DldError("LogMel: normalisation must be a UtteranceCMVN or GlobalCMVN, or null")
        if isinstance(normalisation, GlobalCMVN) and len(normalisation.mean) != n_mels:
            raise DldError(
                f"LogMel: normalisation has n_features {len(normalisation.mean)}; it must be n_mels, {n_mels}"
            )
        self.output_size = n_mels
        # Constant padding: the frames at the end of an utterance see zeros whether or not the batch is longer.
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=sample_rate,
            n_fft=n_fft or 1 << (window - 1).bit_length(),
            win_length=window,
            hop_length=self.hop,
            n_mels=n_mels,
            power=2.0,
            center=True,
            pad_mode="constant",
        )
        self.normalisation = normalisation

    @property
    def config(self) -> dict[str, Any]:
        """Settings as plain values; window and hop in samples."""
        kind = self.normalisation and {"kind": type(self.normalisation).__name__, **self.normalisation.config}
        return {
            "sample_rate": self.sample_rate,
            "n_mels": self.output_size,
            "window": self.mel.win_length,
            "hop": self.hop,
            "n_fft": self.mel.n_fft,
            "normalisation": kind,
        }

    @property
    def needs_statistics(self) -> bool:
        """True while the normalisation waits for statistics of the training data."""
        return self.normalisation is not None and self.normalisation.needs_statistics

    def estimate_statistics(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Estimate them from (waveforms (batch, samples), lengths (batch,)) pairs."""
        if isinstance(self.normalisation, GlobalCMVN):
            self.normalisation.estimate(self.log_mel(*batch) for batch in batches)

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
            Valid frames, `samples // hop + 1`.
        """
        features, lengths = self.log_mel(waveforms, lengths)
        if self.normalisation is not None:
            features = self.normalisation(features, lengths)
        return features.masked_fill(padding_mask(lengths, features.shape[1])[..., None], 0.0), lengths

    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features before normalisation; padded frames hold no particular value."""
        waveforms = waveforms.masked_fill(padding_mask(lengths, waveforms.shape[1]), 0.0)
        # Low precision would lose the quiet end of the spectrum.
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self.mel(waveforms.float()).clamp_min(1e-10).log().transpose(1, 2)
        return features, lengths // self.hop + 1
