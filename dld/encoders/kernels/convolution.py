"""The convolutions over a waveform, in pieces that stay in the processor's cache; without gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dld.encoders.kernels.linear import linear

# Convolutions that run piece by piece, and output frames of a piece: a few megabytes between them.
PIECEWISE = 3
PIECE = 256


def convolve_utterance(
    layers: Sequence[nn.Module],
    samples: Tensor,
    first: tuple[Tensor, Tensor | None],
    matrices: Sequence[Tensor],
) -> Tensor:
    """Run the layers of torchaudio's feature extractor, each convolution as a product of matrices.

    Parameters
    ----------
    layers : sequence of torchaudio's ConvLayerBlock
    samples : Tensor (samples,)
        One utterance in float32, long enough for a frame.
    first : (Tensor (channels, kernel), Tensor (channels,) or None)
        Weights and bias of the first convolution in float32; they include a GroupNorm after it.
    matrices : sequence of Tensor (out, kernel · in)
        Weights of the other convolutions, see `as_matrix`, in the type to compute in.

    Returns
    -------
    Tensor (frames, channels)
    """
    count = min(PIECEWISE, len(layers))
    hop, window = geometry(layers[:count])
    total = (len(samples) - window) // hop + 1
    dtype = matrices[0].dtype if matrices else samples.dtype
    between = samples.new_empty(total, layers[count - 1].conv.out_channels, dtype=dtype)
    for begin in range(0, total, PIECE):
        end = min(begin + PIECE, total)
        piece = samples[begin * hop : (end - 1) * hop + window]
        hidden = functional.linear(piece.unfold(0, layers[0].kernel_size, layers[0].stride), *first)
        hidden = _normalise_and_activate(layers[0].layer_norm, hidden).to(dtype)
        between[begin:end] = _run(layers[1:count], matrices[: count - 1], hidden)
    return _run(layers[count:], matrices[count - 1 :], between)


def geometry(layers: Sequence[nn.Module]) -> tuple[int, int]:
    """Return the samples between frames, and the samples that one frame sees, after all of these convolutions."""
    hop = window = 1
    for layer in layers:
        window += (layer.kernel_size - 1) * hop
        hop *= layer.stride
    return hop, window


def as_matrix(conv: nn.Conv1d, dtype: torch.dtype) -> Tensor:
    """Return the weights of a convolution as a matrix (out, kernel · in)."""
    return conv.weight.to(dtype).transpose(1, 2).flatten(1).contiguous()


def _run(layers: Sequence[nn.Module], matrices: Sequence[Tensor], hidden: Tensor) -> Tensor:
    for layer, matrix in zip(layers, matrices, strict=True):
        hidden = _convolve(layer, hidden, matrix)
    return hidden


def _convolve(layer: nn.Module, hidden: Tensor, matrix: Tensor) -> Tensor:
    """Run one convolution with what follows it: (frames, in) → (fewer frames, out)."""
    conv, width = layer.conv, hidden.shape[1]
    frames = (len(hidden) - layer.kernel_size) // layer.stride + 1
    # Successive frames are adjacent in memory, so a row of the product is a contiguous run of it.
    rows = hidden.as_strided((frames, layer.kernel_size * width), (layer.stride * width, 1), hidden.storage_offset())
    bias = None if conv.bias is None else conv.bias.to(hidden.dtype)
    if layer.layer_norm is None:
        return linear(rows.contiguous(), matrix, bias, gelu=True)
    return _normalise_and_activate(layer.layer_norm, linear(rows.contiguous(), matrix, bias))


def _normalise_and_activate(norm: nn.Module | None, hidden: Tensor) -> Tensor:
    # The weights include a GroupNorm already.
    if isinstance(norm, nn.LayerNorm):
        hidden = functional.layer_norm(
            hidden, norm.normalized_shape, norm.weight.to(hidden.dtype), norm.bias.to(hidden.dtype), norm.eps
        )
    return torch.ops.aten.gelu_(hidden)
