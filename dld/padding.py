"""Which frames of a batch are padding, and windows over time."""

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


def windows(signal: Tensor, size: int, step: int) -> Tensor:
    """Return the windows of a signal: (batch, time) → (batch, windows, size), one every `step` values.

    Examples
    --------
    >>> windows(torch.arange(6)[None], 4, 2).tolist()
    [[[0, 1, 2, 3], [2, 3, 4, 5]]]
    """
    if not torch.jit.is_tracing():
        return signal.unfold(1, size, step)
    # `unfold` becomes a graph of a fixed length.
    count = (signal.shape[1] - size) // step
    return torch.stack([signal[:, first : first + count * step + 1 : step] for first in range(size)], -1)


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
