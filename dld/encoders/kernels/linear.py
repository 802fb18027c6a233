"""Linear layers by oneDNN."""

import math

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

from dld.encoders.kernels.switch import applicable_in_float32, applicable_in_inference

# Below this number of weights, calling the kernel costs what its product saves.
_SMALL = 2**13

# An operator that PyTorch does not promise to keep; without it everything works, a little slower.
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(hidden: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Compute `torch.nn.functional.linear`, then GELU where `gelu` is true.

    Where kernels apply, in float32, oneDNN does it, which PyTorch itself takes for compiled models and for bfloat16,
    but not here: its products are faster than those of MKL on some processors, and in inference it applies GELU on the
    way.

    Parameters
    ----------
    hidden : Tensor (…, in)
    weight : Tensor (out, in)
    bias : Tensor (out,), optional
    gelu : bool

    Returns
    -------
    Tensor (…, out)
    """
    if HAS_ONEDNN and applicable_in_float32(hidden, weight):
        if applicable_in_inference(hidden):
            return product(hidden, weight, bias, "gelu" if gelu else "none")
        kernel = functional.linear if weight.numel() < _SMALL else _TrainedLinear.apply
        out = kernel(hidden, weight, bias)
    else:
        out = functional.linear(hidden, weight, bias)
    return activate(out) if gelu else out


def activate(hidden: Tensor) -> Tensor:
    """Compute GELU, overwriting the input where that is allowed."""
    return torch.ops.aten.gelu_(hidden) if applicable_in_inference(hidden) else functional.gelu(hidden)


def product(hidden: Tensor, weight: Tensor, bias: Tensor | None = None, then: str = "none") -> Tensor:
    """Compute `torch.nn.functional.linear` by oneDNN, without a gradient; `then` may be "gelu"."""
    return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, then, [], "none")


def weight_gradient(gradient: Tensor, rows: Tensor) -> Tensor:
    """Return the gradient of a linear layer's weight, (out, in), from those of its output and from its input.

    Parameters
    ----------
    gradient : Tensor (rows, out)
    rows : Tensor (rows, in)
    """
    # oneDNN is faster where the second matrix is the larger one.
    if gradient.shape[1] >= rows.shape[1]:
        return product(rows.t(), gradient.t()).t()
    return product(gradient.t(), rows.t())


class _TrainedLinear(torch.autograd.Function):
    """A linear layer by oneDNN with its gradients."""

    @staticmethod
    def forward(ctx, hidden, weight, bias):
        ctx.save_for_backward(hidden, weight)
        ctx.has_bias = bias is not None
        return product(hidden, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        hidden, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        return (
            product(gradient, weight.t()) if ctx.needs_input_grad[0] else None,
            weight_gradient(rows, hidden.flatten(0, -2)) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.has_bias and ctx.needs_input_grad[2] else None,
        )


if HAS_ONEDNN:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _linear_flops(hidden_shape, weight_shape, *_, **__):
        return 2 * math.prod(hidden_shape) * weight_shape[0]
