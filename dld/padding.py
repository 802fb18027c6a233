"""Which frames of a batch are padding."""

import numpy as np
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


def unpadded(logits: torch.Tensor, lengths: torch.Tensor) -> list[np.ndarray]:
    """Split a batch into utterances without padding.

    Parameters
    ----------
    logits : Tensor (batch, frames, tokens)
    lengths : LongTensor (batch,)
        Valid frames.

    Returns
    -------
    list of array (frames, tokens), float32
    """
    rows = logits.detach().float().cpu().numpy()
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]
