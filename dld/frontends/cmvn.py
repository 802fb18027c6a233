"""Normalisation of mean and variance."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dld.checks import COUNT, FLAG, require
from dld.padding import padding_mask


class UtteranceCMVN(nn.Module):
    """Mean and variance normalisation of each utterance over its own valid frames.

    Parameters
    ----------
    variance : bool
        False subtracts the mean only.

    Examples
    --------
    >>> out = UtteranceCMVN()(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    >>> out[0, :2, 0].tolist()
    [-1.0, 1.0]
    """

    needs_statistics = False

    def __init__(self, variance: bool = True):
        super().__init__()
        require(self, FLAG, variance=variance)
        self.variance = variance

    @property
    def config(self) -> dict[str, bool]:
        """Settings as plain values."""
        return {"variance": self.variance}

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Normalise features (batch, frames, bins) with (batch,) valid frames: the same shape."""
        valid = (~padding_mask(lengths, features.shape[1]))[..., None]
        count = lengths.clamp_min(1)[:, None, None]
        features = features - (features * valid).sum(1, keepdim=True) / count
        if self.variance:
            features = features / ((features * valid).square().sum(1, keepdim=True) / count).sqrt().clamp_min(1e-5)
        return features


class GlobalCMVN(nn.Module):
    """Mean and variance normalisation with statistics of the training data, the same for every utterance.

    The statistics are estimated once, before training, and saved with the weights. As they depend on nothing of the
    utterance, this is the one to take for streaming.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features: int):
        super().__init__()
        require(self, COUNT, n_features=n_features)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.register_buffer("frames", torch.zeros((), dtype=torch.long))

    @property
    def config(self) -> dict[str, int]:
        """Settings as plain values; the statistics are weights."""
        return {"n_features": len(self.mean)}

    @property
    def needs_statistics(self) -> bool:
        """True until `estimate` was called or saved statistics were loaded."""
        return self.frames.item() == 0

    def estimate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take mean and standard deviation from un-normalised features.

        Parameters
        ----------
        batches : iterable of (features (batch, frames, bins), lengths (batch,))
        """
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares, frames = total.clone(), 0
        for features, lengths in batches:
            valid = features[~padding_mask(lengths, features.shape[1])].double()
            total += valid.sum(0)
            squares += valid.square().sum(0)
            frames += len(valid)
        mean = total / frames
        self.mean.copy_(mean)
        self.std.copy_((squares / frames - mean.square()).clamp_min(1e-10).sqrt())
        self.frames.fill_(frames)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Normalise features (batch, frames, bins) with (batch,) valid frames: the same shape."""
        return (features - self.mean) / self.std
