"""Dropout with few random numbers."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from dld.encoders.kernels.switch import applicable

#: Probabilities of dropout are rounded to one part of this.
STEPS = 65536


def dropped(p: float) -> int:
    """Return how many of `STEPS` values are dropped."""
    return min(round(p * STEPS), STEPS - 1)


def draw(shape: tuple[int, ...]) -> Tensor:
    """Return an int16 tensor of random bits.

    PyTorch's dropout draws a number for each value on a CPU, which takes as long as half of the products around it.
    """
    size = math.prod(shape)
    bits = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    return bits.view(torch.int16)[:size].view(shape)


def keep(drawn: Tensor, steps: int, like: Tensor) -> Tensor:
    """Return 0 for `steps` of `STEPS` values and 1 for the others, in the type of a tensor: faster than booleans."""
    return torch.ge(drawn, steps - STEPS // 2, out=torch.empty_like(like))


def add_dropped(residual: Tensor, branch: Tensor, p: float, training: bool) -> Tensor:
    """Return `residual + dropout(branch)`.

    Parameters
    ----------
    residual, branch : Tensor
        Of one shape.
    p : float
        Rounded to `1 / STEPS` where kernels apply.
    training : bool
        False: nothing is dropped.
    """
    if not training or dropped(p) == 0:
        return residual + branch
    if applicable(branch) and branch.dtype == residual.dtype and branch.is_contiguous():
        return _AddDropped.apply(residual, branch, dropped(p))
    return residual + functional.dropout(branch, p)


class _AddDropped(torch.autograd.Function):
    """See `add_dropped`."""

    @staticmethod
    def forward(ctx, residual, branch, steps):
        drawn = draw(branch.shape)
        ctx.save_for_backward(drawn)
        ctx.steps, ctx.factor = steps, STEPS / (STEPS - steps)
        return torch.addcmul(residual, branch, keep(drawn, steps, branch), value=ctx.factor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (drawn,) = ctx.saved_tensors
        return gradient, keep(drawn, ctx.steps, gradient).mul_(gradient).mul_(ctx.factor), None
