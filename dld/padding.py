"""Which frames of a batch are padding."""

import torch
from torch import Tensor


def padding_mask(lengths: Tensor, frames: int) -> Tensor:
    """Return True on padded frames, shape (batch, frames), for the valid frames of each utterance.

    Examples
    --------
    >>> padding_mask(torch.tensor([1, 3]), 3)
    tensor([[False,  True,  True],
            [False, False, False]])
    """
    return torch.arange(frames, device=lengths.device) >= lengths[:, None]
