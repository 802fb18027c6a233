"""The depth-wise convolution of a Conformer, in the layout of the layers around it."""

import torch
from torch import Tensor
from torch.nn import functional

from dld.encoders.kernels.switch import applicable_in_float32


def depthwise(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve each channel over time, as many frames as before.

    PyTorch's convolution over one dimension wants channels first: two copies, and on a CPU a slow path. The one over
    two dimensions takes channels last as they are; but in bfloat16 it is the slow one.

    Parameters
    ----------
    hidden : Tensor (batch, frames, channels)
    weight : Tensor (channels, 1, kernel)
        Of an odd kernel.
    bias : Tensor (channels,), optional

    Returns
    -------
    Tensor (batch, frames, channels)
    """
    if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting() and bias is not None:
        # As autocast does, which does not reach into operators of our own.
        return _whole(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))
    channels, _, kernel = weight.shape
    columns = hidden.transpose(1, 2)
    if applicable_in_float32(hidden):
        columns = functional.conv2d(
            columns[:, :, None], weight[:, :, None], bias, padding=(0, kernel // 2), groups=channels
        )
        return columns[:, :, 0].transpose(1, 2)
    return functional.conv1d(columns, weight, bias, padding=kernel // 2, groups=channels).transpose(1, 2)


# For torch.compile, an operator that it does not look into: of PyTorch's convolution it compiles the gradient for one
# number of frames (torch 2.13 on a CPU), and again for every other.


@torch.library.custom_op("dld::depthwise", mutates_args=())
def _whole(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    channels, _, kernel = weight.shape
    columns = functional.conv1d(hidden.transpose(1, 2), weight, bias, padding=kernel // 2, groups=channels)
    return columns.transpose(1, 2).contiguous()


@torch.library.custom_op("dld::depthwise_backward", mutates_args=())
def _whole_backward(gradient: Tensor, hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    channels, _, kernel = weight.shape
    of_hidden, of_weight, of_bias = torch.ops.aten.convolution_backward(
        *(gradient.transpose(1, 2), hidden.transpose(1, 2), weight, [channels]),
        *([1], [kernel // 2], [1], False, [0], channels, [True, True, True]),
    )
    return of_hidden.transpose(1, 2).contiguous(), of_weight.contiguous(), of_bias


@_whole.register_fake
def _(hidden, weight, bias):
    return torch.empty_like(hidden, memory_format=torch.contiguous_format)


@_whole_backward.register_fake
def _(gradient, hidden, weight):
    like = torch.contiguous_format
    of_weight = torch.empty_like(weight, memory_format=like)
    return torch.empty_like(hidden, memory_format=like), of_weight, weight.new_empty(len(weight))


def _keep_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])


_whole.register_autograd(
    lambda ctx, gradient: torch.ops.dld.depthwise_backward(gradient, *ctx.saved_tensors), setup_context=_keep_inputs
)
