"""The depth-wise convolution of a Conformer, in the layout of the layers around it."""

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
    channels, _, kernel = weight.shape
    columns = hidden.transpose(1, 2)
    if applicable_in_float32(hidden):
        columns = functional.conv2d(
            columns[:, :, None], weight[:, :, None], bias, padding=(0, kernel // 2), groups=channels
        )
        return columns[:, :, 0].transpose(1, 2)
    return functional.conv1d(columns, weight, bias, padding=kernel // 2, groups=channels).transpose(1, 2)
