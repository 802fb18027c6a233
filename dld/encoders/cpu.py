"""Arithmetic that PyTorch has slow ways for on a CPU: faster ones, with the same results."""

import math

import torch
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

# An operator that PyTorch does not promise to keep; without it everything works, a little slower.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def plain_cpu(tensor):
    """True where ways of computing may be taken that cannot be exported or compiled: on a CPU, no more."""
    return tensor.device.type == "cpu" and not (torch.jit.is_tracing() or torch.compiler.is_compiling())


def plain_inference(tensor):
    """True where they may have no gradient either."""
    return plain_cpu(tensor) and not torch.is_grad_enabled()


def linear(hidden, weight, bias=None, gelu=False):
    """`torch.nn.functional.linear`, and GELU where asked for.

    On a CPU, in float32, by oneDNN, which PyTorch itself takes for compiled models and for bfloat16, but not here: its
    products are faster than those of MKL on some processors, and in inference it applies GELU on the way.
    """
    float32 = hidden.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled(hidden.device.type)
    if _ONEDNN and float32 and plain_cpu(hidden):
        if plain_inference(hidden):
            return _product(hidden, weight, bias, "gelu" if gelu else "none")
        out = _TrainedLinear.apply(hidden, weight, bias)
    else:
        out = functional.linear(hidden, weight, bias)
    if not gelu:
        return out
    return torch.ops.aten.gelu_(out) if plain_inference(out) else functional.gelu(out)


def _product(hidden, weight, bias=None, then="none"):
    return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, then, [], "none")


class _TrainedLinear(torch.autograd.Function):
    """A linear layer by oneDNN with its gradients; that of the weight is no faster there and is left to MKL."""

    @staticmethod
    def forward(ctx, hidden, weight, bias):
        ctx.save_for_backward(hidden, weight)
        ctx.has_bias = bias is not None
        return _product(hidden, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        hidden, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        return (
            _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None,
            rows.t() @ hidden.flatten(0, -2) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.has_bias and ctx.needs_input_grad[2] else None,
        )


class _Masked(torch.autograd.Function):
    """What dropout lets through, scaled; the gradient goes the same way."""

    @staticmethod
    def forward(ctx, hidden, keep, scale):
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return torch.ops.aten.native_dropout_backward(hidden, keep, scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        [keep] = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(gradient, keep, ctx.scale), None, None


def dropout(hidden, p):
    """Dropout in training; on a CPU with 16 random bits to a value, p rounded to 1/65536.

    PyTorch draws a number for each value there, which for attention weights takes as long as half of their products.
    """
    if not p or not plain_cpu(hidden):
        return functional.dropout(hidden, p)
    steps = round(p * 65536)
    if steps > 65535:
        return functional.dropout(hidden, p)
    drawn = torch.randint(-(2**63), 2**63 - 1, (-(-hidden.numel() // 4),)).view(torch.int16)
    keep = (drawn[: hidden.numel()] >= steps - 32768).view(hidden.shape)
    return _Masked.apply(hidden, keep, 65536 / (65536 - steps))


def attention(queries, keys, values, bias, p=0.0):
    """Scaled dot-product attention step by step, for training.

    PyTorch's own has a slow gradient on CPUs where there is a mask, and only a slow path where the bias has a gradient.

    Parameters
    ----------
    queries, keys, values : Tensor (batch, heads, frames, width)
    bias : Tensor (batch, heads, frames or 1, frames)
        Added to the scores; the lowest finite number keeps a key out, also where all are kept out.
    p : float
        Dropout of the weights.

    Returns
    -------
    Tensor (batch, heads, frames, width)
    """
    scaled = queries * queries.shape[-1] ** -0.5
    scores = torch.baddbmm(
        bias.to(queries.dtype).flatten(0, 1), scaled.flatten(0, 1), keys.transpose(2, 3).flatten(0, 1)
    )
    weights = dropout(scores.softmax(-1).to(values.dtype), p)
    return torch.bmm(weights, values.flatten(0, 1)).view(values.shape)


if _ONEDNN:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _linear_flops(hidden_shape, weight_shape, *_, **__):
        return 2 * math.prod(hidden_shape) * weight_shape[0]
