"""Augmentation of waveforms and features, in training only."""

from collections.abc import Sequence

import torch
import torchaudio.transforms
from torch import Tensor, nn

from dld.checks import FRACTION, NOT_NEGATIVE, ListOf, Number, require
from dld.errors import DldError
from dld.padding import padding_mask


class SpecAugment(nn.Module):
    """Mask time and frequency, drawn for each utterance (SpecAugment, arXiv 1904.08779, without warping).

    Widths and positions depend on an utterance's own length, so its masks are the same however far the batch is padded.

    Parameters
    ----------
    time_masks, freq_masks : int
        Masks of each kind.
    time_width, freq_width : int
        Largest width of a mask, in frames and bins; each is drawn uniformly from 0 up to it.
    time_share : float
        No time mask is wider than this fraction of the utterance.

    Examples
    --------
    >>> features, lengths = torch.ones(2, 100, 80), torch.tensor([100, 40])
    >>> masked = SpecAugment(time_masks=1, freq_masks=0, time_share=0.1)(features, lengths)
    >>> int((masked[1, :40] == 0).all(1).sum()) <= 4, bool(masked[1, 40:].all())
    (True, True)
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

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return a masked copy of features.

        Parameters
        ----------
        features : Tensor (batch, frames, bins)
        lengths : LongTensor (batch,)
            Valid frames of each utterance.

        Returns
        -------
        Tensor (batch, frames, bins)
            Masked values are zero, the mean after CMVN; padded frames are as they were.
        """
        _, frames, bins = features.shape
        # On the CPU, so that the masks of a seed are the same on every device.
        valid = lengths.cpu()
        widest = (self.time_share * valid.double()).long().clamp_max(self.time_width)
        time = _spans(valid, frames, self.time_masks, widest)
        everywhere = torch.full_like(valid, bins)
        frequency = _spans(everywhere, bins, self.freq_masks, everywhere.clamp_max(self.freq_width))
        mask = (time[:, :, None] | frequency[:, None]) & ~padding_mask(valid, frames)[..., None]
        return features.masked_fill(mask.to(features.device), 0.0)


def _spans(lengths: Tensor, size: int, count: int, widest: Tensor) -> Tensor:
    """Draw `count` spans within each length, 0 to `widest` wide: True where one is, shape (batch, size)."""
    widths = _whole_numbers(widest[:, None].expand(-1, count))
    starts = _whole_numbers(lengths[:, None] - widths)
    positions = torch.arange(size)
    inside = (positions >= starts[..., None]) & (positions < (starts + widths)[..., None])
    return inside.any(1)


def _whole_numbers(highest: Tensor) -> Tensor:
    """Draw a whole number from 0 to each of `highest`, both included."""
    return (torch.rand(highest.shape, dtype=torch.float64) * (highest + 1)).long().minimum(highest)


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
        self.speeds = [float(speed) for speed in speeds]
        self.fastest = max(self.speeds)

    def draw(self) -> float:
        """Draw one of `speeds`."""
        return self.speeds[int(torch.randint(len(self.speeds), ()))]

    def forward(self, waveforms: Tensor, lengths: Tensor, speed: float | None = None) -> tuple[Tensor, Tensor]:
        """Resample waveforms (batch, samples) of lengths (batch,): the same shapes, shorter or longer.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
        lengths : LongTensor (batch,)
        speed : float, optional
            One of `speeds`; by default it is drawn.
        """
        resampler = self.resamplers[self.speeds.index(self.draw() if speed is None else speed)]
        if resampler.orig_freq == resampler.new_freq:
            return waveforms, lengths
        out = resampler(waveforms)
        # torchaudio returns ceil(new_freq * samples / orig_freq) samples.
        lengths = -(-lengths * resampler.new_freq // resampler.orig_freq)
        return out, lengths.clamp_max(out.shape[1])
