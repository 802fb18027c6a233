"""Linear layers by oneDNN, where it is faster than what PyTorch takes."""

import math

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

from dld.encoders.kernels.switch import applicable_in_float32, applicable_in_inference

# Below this number of multiplications, oneDNN takes longer to prepare for a number of frames that it has not seen, some
# 0.2 ms, than its product saves. In training hardly two batches have the same number of frames.
_SMALL = 2**24

# An operator that PyTorch does not promise to keep; without it everything works, a little slower. With AVX2 alone, the
# products of MKL are never slower.
HAS_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
)


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
    if by_onednn(hidden, weight) and applicable_in_float32(hidden, weight):
        if applicable_in_inference(hidden):
            return _onednn(hidden, weight, bias, "gelu" if gelu else "none")
        out = _TrainedLinear.apply(hidden, weight, bias)
    else:
        out = functional.linear(hidden, weight, bias)
    return activate(out) if gelu else out


def activate(hidden: Tensor) -> Tensor:
    """Compute GELU, overwriting the input where that is allowed."""
    return torch.ops.aten.gelu_(hidden) if applicable_in_inference(hidden) else functional.gelu(hidden)


def by_onednn(hidden: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN is the faster one for the product of (…, in) and (out, in)."""
    return HAS_ONEDNN and hidden.numel() * len(weight) >= _SMALL


def product(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `torch.nn.functional.linear` without a gradient, by oneDNN where it is faster."""
    return (_onednn if by_onednn(hidden, weight) else functional.linear)(hidden, weight, bias)


def _onednn(hidden: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, then, [], "none")


def weight_gradient(gradient: Tensor, rows: Tensor) -> Tensor:
    """Return the gradient of a linear layer's weight, (out, in), from those of its output and from its input.

    Parameters
    ----------
    gradient : Tensor (rows, out)
    rows : Tensor (rows, in)
    """
    if not by_onednn(gradient.t(), rows.t()):
        return gradient.t() @ rows
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


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _linear_flops(hidden_shape, weight_shape, *_, **__):
        return 2 * math.prod(hidden_shape) * weight_shape[0]
