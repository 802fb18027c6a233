"""Log-Mel features of torchaudio."""

from typing import Any

import torchaudio.transforms
from torch import Tensor

from dld.checks import FLAG, Nullable, Whole, require
from dld.frontends.cmvn import GlobalCMVN, UtteranceCMVN
from dld.frontends.filterbank import FilterBank
from dld.frontends.waveform import centred


class LogMel(FilterBank):
    """Log-Mel filter-bank energies, normalised: `samples // hop + 1` frames, each with its sample in the middle.

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
    zero_mean : bool
        Take the mean of the utterance's samples away first, as runtimes that take a waveform do (sherpa-onnx's
        omnilingual models): what is trained so gives the same text there.

    Examples
    --------
    >>> import torch
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
        zero_mean: bool = False,
    ):
        super().__init__(sample_rate, n_mels, window_ms, hop_ms, normalisation)
        require(self, Nullable(Whole(low=self.window)), n_fft=n_fft)
        require(self, FLAG, zero_mean=zero_mean)
        self.zero_mean = zero_mean
        # Constant padding: the frames at the end of an utterance see zeros whether or not the batch is longer.
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=sample_rate,
            n_fft=n_fft or 1 << (self.window - 1).bit_length(),
            win_length=self.window,
            hop_length=self.hop,
            n_mels=n_mels,
            power=2.0,
            center=True,
            pad_mode="constant",
        )
        self.normalisation = normalisation

    @property
    def span(self) -> tuple[int, int]:
        """The samples that the first frame sees; see `FilterBank`."""
        return -(self.mel.n_fft // 2), self.mel.n_fft - self.mel.n_fft // 2

    @property
    def settings(self) -> dict[str, Any]:
        """What `config` holds of this front end alone."""
        # Models of before this setting have no such key, and compare as equal.
        return {"n_fft": self.mel.n_fft, **({"zero_mean": True} if self.zero_mean else {})}

    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features before normalisation; see `FilterBank`."""
        if self.zero_mean:
            waveforms = centred(waveforms, lengths)
        return self.mel(waveforms).clamp_min(1e-10).log().transpose(1, 2), lengths // self.hop + 1
