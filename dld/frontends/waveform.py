"""The waveform itself, for encoders that take it."""

import torch
from torch import Tensor

from dld.checks import FLAG, require
from dld.frontends.base import FrontEnd
from dld.padding import padding_mask


class Waveform(FrontEnd):
    """The waveform itself, for encoders that begin with convolutions over it.

    Parameters
    ----------
    normalise : bool
        Zero mean and unit variance over each utterance's valid samples, as WavLM Large was trained with. Base was
        trained without; as its first convolution has no bias and is normalised itself, it makes no difference there.

    Examples
    --------
    >>> out, lengths = Waveform()(torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([2]))
    >>> out.round(decimals=3).tolist(), lengths.tolist()
    ([[-1.0, 1.0, 0.0]], [2])
    """

    output_size = 1
    hop = 1

    def __init__(self, normalise: bool = True):
        super().__init__()
        require(self, FLAG, normalise=normalise)
        self.normalise = normalise

    @property
    def config(self) -> dict[str, bool]:
        """Settings as plain values."""
        return {"normalise": self.normalise}

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise waveforms (batch, samples) of lengths (batch,): the same shapes, zero beyond the lengths."""
        padding = padding_mask(lengths, waveforms.shape[1])
        waveforms = waveforms.masked_fill(padding, 0.0)
        if self.normalise:
            exact = centred(waveforms.double(), lengths)
            deviation = (exact.square().sum(1, keepdim=True) / lengths.clamp_min(1)[:, None] + 1e-7).sqrt()
            waveforms = (exact / deviation).to(waveforms.dtype)
        return waveforms, lengths


def centred(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Return waveforms without the mean of their valid samples: (batch, samples), zero beyond the lengths.

    Examples
    --------
    >>> centred(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([2]))
    tensor([[-1.,  1.,  0.]])
    """
    # Sums of half a million samples: float32 would lose digits that depend on how long the batch is.
    mean = waveforms.sum(1, keepdim=True, dtype=torch.float64) / lengths.clamp_min(1)[:, None]
    exact = (waveforms.double() - mean).to(waveforms.dtype)
    return exact.masked_fill(padding_mask(lengths, waveforms.shape[1]), 0.0)
