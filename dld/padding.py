"""Which frames of a batch are padding."""

import torch


def padding_mask(lengths, frames):
    """True on padded frames, shape (batch, frames).

    Examples
    --------
    >>> padding_mask(torch.tensor([1, 3]), 3)
    tensor([[False,  True,  True],
            [False, False, False]])
    """
    return torch.arange(frames, device=lengths.device) >= lengths[:, None]
