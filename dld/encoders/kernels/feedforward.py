"""A Conformer's feed-forward module for training, some frames at a time."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dld.encoders.kernels.dropout import STEPS, draw, dropped, keep
from dld.encoders.kernels.linear import product, weight_gradient
from dld.encoders.kernels.switch import applicable_in_float32

# Hidden values worked on at a time, so that they stay near the processor.
_HIDDEN = 2**19


class FeedForward(NamedTuple):
    """The weights of a feed-forward module: LayerNorm, expansion, SiLU, projection.

    Attributes
    ----------
    norm_weight, norm_bias : Tensor (width,)
    expand_weight, expand_bias : Tensor (hidden, width), (hidden,)
    project_weight, project_bias : Tensor (width, hidden), (width,)
    """

    norm_weight: Tensor
    norm_bias: Tensor
    expand_weight: Tensor
    expand_bias: Tensor
    project_weight: Tensor
    project_bias: Tensor


def feed_forward(hidden: Tensor, weights: FeedForward, p: float, training: bool, eps: float = 1e-5) -> Tensor:
    """Compute `hidden + ½ · dropout(W₂ dropout(silu(W₁ norm(hidden))))`: a Conformer's half step.

    Source: arXiv 2005.08100, equation 1. Where kernels apply, in float32, training computes pieces of frames whose
    hidden values stay in the processor's cache, with a gradient of its own.

    Parameters
    ----------
    hidden : Tensor (batch, frames, width)
    weights : FeedForward
    p : float
        Of dropout, rounded to `1 / STEPS` by the kernel.
    training : bool
    eps : float
        Of LayerNorm.

    Returns
    -------
    Tensor (batch, frames, width)
    """
    if torch.is_grad_enabled() and applicable_in_float32(hidden, weights.expand_weight):
        rows = hidden.reshape(-1, hidden.shape[-1])
        return _FeedForward.apply(rows, *weights, dropped(p) if training else 0, eps).view(hidden.shape)
    norm_weight, norm_bias, expand_weight, expand_bias, project_weight, project_bias = weights
    branch = functional.layer_norm(hidden, norm_weight.shape, norm_weight, norm_bias, eps)
    branch = functional.silu(functional.linear(branch, expand_weight, expand_bias))
    branch = functional.linear(functional.dropout(branch, p, training), project_weight, project_bias)
    return hidden + 0.5 * functional.dropout(branch, p, training)


class _FeedForward(torch.autograd.Function):
    """See `feed_forward`; rows of frames instead of a batch."""

    @staticmethod
    def forward(ctx, rows, *arguments):
        weights, (steps, eps) = FeedForward(*arguments[:6]), arguments[6:]
        normed, mean, scale = torch.native_layer_norm(rows, rows.shape[1:], weights.norm_weight, weights.norm_bias, eps)
        size = max(1, _HIDDEN // len(weights.expand_weight))
        pieces = normed.split(size)
        expanded = [product(piece, weights.expand_weight, weights.expand_bias) for piece in pieces]
        drawn = [draw((len(piece), len(weights.expand_weight))) for piece in pieces] if steps else []
        drawn_after = draw(rows.shape) if steps else None
        ctx.factor = STEPS / (STEPS - steps)
        # Dropout's factor is on the smaller tensor.
        project = weights.project_weight * ctx.factor
        out = torch.empty_like(rows)
        for number, (before, after) in enumerate(zip(rows.split(size), out.split(size), strict=True)):
            active = functional.silu(expanded[number])
            if steps:
                active.mul_(keep(drawn[number], steps, active))
            branch = product(active, project, weights.project_bias)
            if steps:
                branch.mul_(keep(drawn_after[number * size : (number + 1) * size], steps, branch))
            torch.add(before, branch, alpha=0.5 * ctx.factor, out=after)
        ctx.save_for_backward(rows, normed, mean, scale, drawn_after, *weights, *expanded, *drawn)
        ctx.size, ctx.steps = size, steps
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        rows, normed, mean, scale, drawn_after, *saved = ctx.saved_tensors
        weights, saved = FeedForward(*saved[:6]), saved[6:]
        steps, size, count = ctx.steps, ctx.size, -(-len(rows) // ctx.size)
        expanded, drawn = saved[:count], saved[count:]
        project, expand = (weights.project_weight * ctx.factor).t(), weights.expand_weight.t()
        gradient = gradient.contiguous()
        of_branch = gradient * (0.5 * ctx.factor)
        if steps:
            of_branch.mul_(keep(drawn_after, steps, of_branch))
        of_normed, sums = torch.empty_like(normed), None
        parts = of_branch.split(size), normed.split(size), of_normed.split(size)
        for number, (of_piece, piece, of_input) in enumerate(zip(*parts, strict=True)):
            active = functional.silu(expanded[number])
            of_active = product(of_piece, project)
            if steps:
                kept = keep(drawn[number], steps, active)
                active.mul_(kept)
                of_active.mul_(kept)
            of_expanded = torch.ops.aten.silu_backward(of_active, expanded[number])
            terms = weight_gradient(of_piece, active), of_expanded.sum(0), weight_gradient(of_expanded, piece)
            sums = terms if sums is None else [total.add_(term) for total, term in zip(sums, terms, strict=True)]
            of_input.copy_(product(of_expanded, expand))
        of_rows, of_norm_weight, of_norm_bias = torch.ops.aten.native_layer_norm_backward(
            of_normed, rows, rows.shape[1:], mean, scale, weights.norm_weight, weights.norm_bias, [True, True, True]
        )
        of_rows += gradient
        of_project, of_expand_bias, of_expand = sums
        of_weights = (of_norm_weight, of_norm_bias, of_expand, of_expand_bias, of_project.mul_(ctx.factor))
        return of_rows, *of_weights, of_branch.sum(0), None, None
