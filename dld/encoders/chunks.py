"""Chunks of frames, for text while somebody speaks: what attention sees, and what is kept of the past."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chunks:
    """Attention by chunks (arXiv 2012.05481, without its random sizes): a frame sees its own chunk and some before it.

    Attributes
    ----------
    size : int
        Frames of a chunk.
    left : int, optional
        Chunks before the own one that a frame sees; by default all.

    Examples
    --------
    >>> Chunks(2, left=1).unseen(5, "cpu").int()
    tensor([[0, 0, 1, 1, 1],
            [0, 0, 1, 1, 1],
            [0, 0, 0, 0, 1],
            [0, 0, 0, 0, 1],
            [1, 1, 0, 0, 0]], dtype=torch.int32)
    """

    size: int
    left: int | None = None

    @property
    def left_frames(self) -> int | None:
        """Frames before the own chunk that a frame sees, None for all."""
        return None if self.left is None else self.left * self.size

    def unseen(self, frames: int, device: torch.device | str) -> Tensor:
        """Return True where the frame of a row does not see the frame of a column: (frames, frames)."""
        chunk = torch.arange(frames, device=device) // self.size
        before = chunk[:, None] - chunk
        unseen = before < 0
        return unseen if self.left is None else unseen | (before > self.left)


@dataclass
class Past:
    """What a block keeps of the chunks before the next one.

    Attributes
    ----------
    attended : Tensor (1, frames, 2, heads, size)
        Keys, not yet rotated, and values.
    convolved : Tensor (1, kernel - 1, width)
        Input of the depth-wise convolution.
    """

    attended: Tensor
    convolved: Tensor

    def keep(self, frames: int | None) -> None:
        """Forget all but the last `frames` frames that attention sees; with None forget nothing."""
        if frames is not None:
            self.attended = self.attended[:, max(0, self.attended.shape[1] - frames) :]
