"""The log-Mel features of Whisper."""

import torch
import torchaudio.functional
import torchaudio.transforms
from torch import Tensor, nn

from dld.checks import FLAG, Whole, require
from dld.frontends.base import FrontEnd
from dld.frontends.waveform import centred
from dld.padding import padding_mask


class WhisperLogMel(FrontEnd):
    """The features that Whisper was trained on (arXiv 2212.04356, section 2.2).

    Slaney-Mel energies of windows of 400 samples every 160 (25 and 10 ms), `log10`, cut off 8 below the utterance's own
    maximum and scaled, `(x + 4) / 4`. The maximum is that of the valid frames, so it depends on no other utterance.
    The utterance is mirrored before its start and followed by silence, as in Whisper's windows of 30 s.

    Parameters
    ----------
    n_mels : int
        80, or 128 for Whisper large-v3.
    zero_mean : bool
        Take the mean of the waveform away first, as sherpa-onnx does: a constant offset then changes nothing, and such
        models write there what they write here. Whisper was trained without; of clean recordings the mean is small.

    Examples
    --------
    >>> features, lengths = WhisperLogMel()(torch.randn(2, 16000), torch.tensor([16000, 8100]))
    >>> features.shape, lengths.tolist()
    (torch.Size([2, 100, 80]), [100, 50])
    """

    sample_rate = 16000
    hop = 160
    _n_fft = 400

    def __init__(self, n_mels: int = 80, zero_mean: bool = False):
        super().__init__()
        require(self, Whole(1, self._n_fft // 2), n_mels=n_mels)
        require(self, FLAG, zero_mean=zero_mean)
        self.output_size, self.zero_mean = n_mels, zero_mean
        half = self.sample_rate / 2
        filters = torchaudio.functional.melscale_fbanks(
            self._n_fft // 2 + 1, 0.0, half, n_mels, self.sample_rate, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(self._n_fft), persistent=False)

    @property
    def config(self) -> dict[str, int | bool]:
        """Settings as plain values."""
        # Models of before this setting have no such key, and compare as equal.
        return {"n_mels": self.output_size, **({"zero_mean": True} if self.zero_mean else {})}

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of a batch of waveforms.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
            At 16 kHz.
        lengths : LongTensor (batch,)
            Valid samples of each utterance.

        Returns
        -------
        features : Tensor (batch, frames, n_mels), zero on padded frames
        lengths : LongTensor (batch,)
            Valid frames, `samples // 160` and at least 1.
        """
        waveforms = waveforms.masked_fill(padding_mask(lengths, waveforms.shape[1]), 0.0)
        if self.zero_mean:
            waveforms = centred(waveforms, lengths)
        half = self._n_fft // 2
        # Low precision would lose the quiet end of the spectrum.
        with torch.autocast(waveforms.device.type, enabled=False):
            padded = nn.functional.pad(waveforms.float(), (0, self._n_fft))
            padded = nn.functional.pad(padded, (half, 0), mode="reflect")
            spectrum = torch.stft(padded, self._n_fft, self.hop, window=self.window, center=False, return_complex=True)
            energies = spectrum.abs().square().transpose(1, 2) @ self.filters
        lengths = (lengths // self.hop).clamp_min(1)
        features = energies[:, : max(1, waveforms.shape[1] // self.hop)].clamp_min(1e-10).log10()
        padding = padding_mask(lengths, features.shape[1])[..., None]
        highest = features.masked_fill(padding, -torch.inf).amax((1, 2), keepdim=True)
        return ((features.maximum(highest - 8.0) + 4.0) / 4.0).masked_fill(padding, 0.0), lengths
