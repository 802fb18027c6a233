"""Attention for training, some heads at a time."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

from dld.encoders.kernels.dropout import STEPS, draw, dropped, keep
from dld.encoders.kernels.switch import applicable

# Attention scores worked on at a time, so that they stay near the processor.
_SCORES = 2**18


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    padding: Tensor | None = None,
    gate: Tensor | None = None,
    position_bias: Tensor | None = None,
    p: float = 0.0,
    unseen: Tensor | None = None,
) -> Tensor:
    """Compute scaled dot-product attention for training on a CPU, some heads at a time, with a gradient of its own.

    PyTorch's has a slow gradient there where there is padding, and only a slow path where a bias has a gradient.

    Parameters
    ----------
    queries, keys, values : Tensor (batch, heads, frames, width)
    padding : BoolTensor (batch, frames), optional
        True on keys to keep out. A row without any other key attends to all equally.
    gate : Tensor (batch, heads, frames, 1), optional
        Factor on the position bias, of each query.
    position_bias : Tensor (1, heads, frames, frames), optional
        Added to the scores, times `gate`.
    p : float
        Dropout of the weights, rounded to `1 / STEPS`.
    unseen : BoolTensor (frames, frames), optional
        True where the query of a row does not see the key of a column. Every query sees its own frame.

    Returns
    -------
    Tensor (batch, heads, frames, width)
    """
    return _Attention.apply(queries, keys, values, _hidden(padding, unseen), gate, position_bias, p)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    padding: Tensor | None = None,
    p: float = 0.0,
    unseen: Tensor | None = None,
) -> Tensor:
    """Compute attention without a position bias: by `attention` in training on a CPU, elsewhere by PyTorch.

    Parameters and result are those of `attention`.
    """
    if torch.is_grad_enabled() and applicable(queries):
        return attention(queries, keys, values, padding, p=p, unseen=unseen)
    hidden = _hidden(padding, unseen)
    mask = None if hidden is None else ~hidden
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=p)


def _hidden(padding: Tensor | None, unseen: Tensor | None) -> Tensor | None:
    """Return what is kept out of the scores: True, to be broadcast to (batch, heads, queries, keys)."""
    keys = None if padding is None else padding[:, None, None]
    if unseen is None:
        return keys
    if keys is None:
        return unseen[None, None]
    # A padded frame sees itself, as every frame does: without any key PyTorch's result is not a number.
    own = torch.arange(unseen.shape[0], device=unseen.device)
    return (keys | unseen) & (own[:, None] != own)


class _Attention(torch.autograd.Function):
    """See `attention`."""

    @staticmethod
    def forward(ctx, queries, keys, values, hidden, gate, position_bias, p):
        steps = dropped(p)
        kept = 1 - steps / STEPS
        scale = queries.shape[-1] ** -0.5
        queries, keys, values = (queries * scale).contiguous(), keys.contiguous(), (values / kept).contiguous()
        out = torch.empty_like(values)
        weights = values.new_empty(*queries.shape[:3], keys.shape[2])
        drawn = draw(weights.shape) if steps else None
        lowest = torch.finfo(weights.dtype).min
        with torch.autocast("cpu", enabled=False):
            for part in _pieces(weights):
                if gate is None:
                    scores = _flat(queries, part) @ _flat(keys, part).mT
                else:
                    scores = (gate[part] * position_bias[0, part[1]]).to(weights.dtype).flatten(0, 1)
                    scores.baddbmm_(_flat(queries, part), _flat(keys, part).mT)
                if hidden is not None:
                    by_row = scores.view(weights[part].shape)
                    by_row.masked_fill_(hidden[part[0]] if len(hidden) > 1 else hidden, lowest)
                used = _flat(weights, part)
                torch.softmax(scores, -1, out=used)
                if steps:
                    used = torch.mul(used, keep(_flat(drawn, part), steps, used), out=scores)
                torch.bmm(used, _flat(values, part), out=_flat(out, part))
        ctx.save_for_backward(queries, keys, values, weights, drawn, gate, position_bias)
        ctx.scale, ctx.kept, ctx.steps = scale, kept, steps
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        queries, keys, values, weights, drawn, gate, position_bias = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_queries, of_keys, of_values = (torch.empty_like(tensor) for tensor in (queries, keys, values))
        of_gate = of_bias = None
        if gate is not None:
            of_gate, of_bias = torch.empty_like(gate), torch.zeros_like(position_bias)
        for part in _pieces(weights):
            softmax = used = _flat(weights, part)
            of_weights = _flat(gradient, part) @ _flat(values, part).mT
            if ctx.steps:
                kept = keep(_flat(drawn, part), ctx.steps, used)
                of_weights *= kept
                used = kept.mul_(used)
            torch.bmm(used.mT, _flat(gradient, part), out=_flat(of_values, part))
            of_scores = torch._softmax_backward_data(of_weights, softmax, -1, weights.dtype)
            torch.bmm(of_scores, _flat(keys, part), out=_flat(of_queries, part))
            torch.bmm(of_scores.mT, _flat(queries, part), out=_flat(of_keys, part))
            if gate is not None:
                of_scores = of_scores.view(weights[part].shape)
                torch.sum(of_scores * position_bias[0, part[1]], -1, keepdim=True, out=of_gate[part])
                of_bias[0, part[1]] += (of_scores * gate[part]).sum(0)
        return of_queries.mul_(ctx.scale), of_keys, of_values.div_(ctx.kept), None, of_gate, of_bias, None


def _pieces(weights: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield parts of (batch, heads, …) with `_SCORES` scores at most: some rows with all heads, or heads of a row."""
    rows, heads, queries, keys = weights.shape
    size = max(1, _SCORES // max(1, queries * keys))
    together = max(1, size // heads)
    for row in range(0, rows, together):
        for first in range(0, heads, size):
            yield slice(row, row + together), slice(first, first + size)


def _flat(tensor: Tensor, part: tuple[slice, slice]) -> Tensor:
    """Return a part of (batch, heads, frames, width), contiguous in memory, as (batch · heads, frames, width)."""
    return tensor[part].flatten(0, 1)


@register_flop_formula(torch.ops.aten.baddbmm_)
def _products_flops(_, first_shape, second_shape, **__):
    return 2 * math.prod(first_shape) * second_shape[-1]
