"""Attention for training, some heads at a time."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

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
        Dropout of the weights, rounded to 1/65536.

    Returns
    -------
    Tensor (batch, heads, frames, width)
    """
    return _Attention.apply(queries, keys, values, padding, gate, position_bias, p)


class _Attention(torch.autograd.Function):
    """See `attention`."""

    @staticmethod
    def forward(ctx, queries, keys, values, padding, gate, position_bias, p):
        steps = min(round(p * 65536), 65535)
        kept = 1 - steps / 65536
        scale = queries.shape[-1] ** -0.5
        queries, keys, values = (queries * scale).contiguous(), keys.contiguous(), (values / kept).contiguous()
        out = torch.empty_like(values)
        weights = values.new_empty(*queries.shape[:3], keys.shape[2])
        drawn = _draw(weights.shape) if steps else None
        lowest = torch.finfo(weights.dtype).min
        with torch.autocast("cpu", enabled=False):
            for row, heads in _pieces(weights):
                part = row, heads
                if gate is None:
                    scores = queries[part] @ keys[part].mT
                else:
                    scores = (gate[part] * position_bias[0, heads]).to(weights.dtype)
                    scores.baddbmm_(queries[part], keys[part].mT)
                if padding is not None:
                    scores.masked_fill_(padding[row], lowest)
                torch.softmax(scores, -1, out=weights[part])
                used = weights[part]
                if steps:
                    used = torch.mul(used, _keep(drawn[part], steps, used), out=scores)
                torch.bmm(used, values[part], out=out[part])
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
        for row, heads in _pieces(weights):
            part = row, heads
            used = weights[part]
            of_weights = gradient[part] @ values[part].mT
            if ctx.steps:
                keep = _keep(drawn[part], ctx.steps, used)
                of_weights *= keep
                used = keep.mul_(used)
            torch.bmm(used.mT, gradient[part], out=of_values[part])
            of_scores = torch._softmax_backward_data(of_weights, weights[part], -1, weights.dtype)
            torch.bmm(of_scores, keys[part], out=of_queries[part])
            torch.bmm(of_scores.mT, queries[part], out=of_keys[part])
            if gate is not None:
                torch.sum(of_scores * position_bias[0, heads], -1, keepdim=True, out=of_gate[part])
                of_bias[0, heads] += of_scores * gate[part]
        return of_queries.mul_(ctx.scale), of_keys, of_values.div_(ctx.kept), None, of_gate, of_bias, None


def _pieces(weights: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield indices into (batch, heads, …): for each row as many heads as have `_SCORES` scores at most."""
    rows, heads, queries, keys = weights.shape
    size = max(1, _SCORES // max(1, queries * keys))
    for row in range(rows):
        for first in range(0, heads, size):
            yield row, slice(first, first + size)


def _draw(shape: tuple[int, ...]) -> Tensor:
    """Return an int16 tensor of random bits.

    PyTorch's dropout draws a number for each value on a CPU, which for attention takes as long as half of its products.
    """
    size = math.prod(shape)
    bits = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    return bits.view(torch.int16)[:size].view(shape)


def _keep(drawn: Tensor, steps: int, like: Tensor) -> Tensor:
    """Return 0 for `steps` of 65536 values and 1 for the others, in the type of a tensor: faster than booleans."""
    return torch.ge(drawn, steps - 32768, out=torch.empty_like(like))


@register_flop_formula(torch.ops.aten.baddbmm_)
def _products_flops(_, first_shape, second_shape, **__):
    return 2 * math.prod(first_shape) * second_shape[-1]
