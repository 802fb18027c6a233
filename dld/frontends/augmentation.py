"""Augmentation of waveforms and features, in training only."""

from collections.abc import Sequence

import torch
import torchaudio.functional
import torchaudio.transforms
from torch import Tensor, nn

from dld.checks import FRACTION, NOT_NEGATIVE, ListOf, Number, require
from dld.errors import DldError


class SpecAugment(nn.Module):
    """Masks over time and frequency, drawn for each utterance (SpecAugment, arXiv 1904.08779, without warping).

    Parameters
    ----------
    time_masks, freq_masks : int
        Masks of each kind.
    time_width, freq_width : int
        Largest width of a mask, in frames and bins; each is drawn uniformly from 0 up to it.
    time_share : float
        No time mask is wider than this fraction of the batch's longest utterance.
    """

    def __init__(
        self,
        time_masks: int = 2,
        time_width: int = 40,
        freq_masks: int = 2,
        freq_width: int = 27,
        time_share: float = 0.2,
    ):
        super().__init__()
        require(self, NOT_NEGATIVE, time_masks=time_masks, time_width=time_width)
        require(self, NOT_NEGATIVE, freq_masks=freq_masks, freq_width=freq_width)
        require(self, FRACTION, time_share=time_share)
        self.time_masks = time_masks
        self.time_width = time_width
        self.freq_masks = freq_masks
        self.freq_width = freq_width
        self.time_share = time_share

    def forward(self, features: Tensor) -> Tensor:
        """Return a masked copy of features (batch, frames, bins); masked values are zero, the mean after CMVN."""
        for _ in range(self.time_masks):
            features = torchaudio.functional.mask_along_axis_iid(features, self.time_width, 0.0, 1, self.time_share)
        for _ in range(self.freq_masks):
            features = torchaudio.functional.mask_along_axis_iid(features, self.freq_width, 0.0, 2, 1.0)
        return features


class SpeedPerturb(nn.Module):
    """Play each training batch at a speed drawn from a list (Ko et al., Interspeech 2015: 0.9, 1.0, 1.1).

    The resampling is torchaudio's. Its `SpeedPerturbation` makes the same signals for 0.9 and 1.1, but truncates
    `factor * 100`, so that 1.15 becomes 1.14 (69 of the speeds from 0.1 to 10), and rounds lengths as float32, which
    are wrong by one from 118 s on: masks and losses would then include a sample of padding.

    Parameters
    ----------
    speeds : list of float
        Each with at most two decimals.

    Examples
    --------
    >>> waveforms, lengths = SpeedPerturb([0.5])(torch.randn(1, 1000), torch.tensor([1000]))
    >>> waveforms.shape, lengths.tolist()
    (torch.Size([1, 2000]), [2000])
    """

    def __init__(self, speeds: Sequence[float] = (0.9, 1.0, 1.1)):
        super().__init__()
        require(self, ListOf(Number(0.1, 10)), speeds=speeds)
        for speed in speeds:
            if abs(speed * 100 - round(speed * 100)) > 1e-6:
                raise DldError(f"SpeedPerturb: speeds has {speed}; each may have two decimals at most")
        self.resamplers = nn.ModuleList(
            torchaudio.transforms.Resample(orig_freq=round(speed * 100), new_freq=100) for speed in speeds
        )
        self.fastest = max(speeds)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Resample waveforms (batch, samples) of lengths (batch,): the same shapes, shorter or longer."""
        resampler = self.resamplers[int(torch.randint(len(self.resamplers), ()))]
        if resampler.orig_freq == resampler.new_freq:
            return waveforms, lengths
        out = resampler(waveforms)
        # torchaudio returns ceil(new_freq * samples / orig_freq) samples.
        lengths = -(-lengths * resampler.new_freq // resampler.orig_freq)
        return out, lengths.clamp_max(out.shape[1])
