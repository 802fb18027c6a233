"""Grouped convolutions with long kernels, by Fourier transforms."""

import torch
from torch import Tensor
from torch.nn import functional


def grouped_convolution(hidden: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Convolve over time with a stride of 1 and as many output channels as input channels.

    Overlap-save: pieces of the signal are transformed, multiplied by the transformed weights and transformed back. With
    a kernel of 128, as WavLM's positions have, the direct way takes several times as long.

    Parameters
    ----------
    hidden : Tensor (batch, frames, width)
    weight : Tensor (width, width / groups, kernel)
    groups : int

    Returns
    -------
    Tensor (batch, frames, width)
        In float32. Half a kernel of zeros is put before the first frame, the other half after the last.
    """
    batch, frames, width = hidden.shape
    kernel = weight.shape[2]
    size = kernel + kernel // 2
    step = size - kernel + 1
    pieces = -(-frames // step)
    before = kernel // 2
    padded = functional.pad(hidden.float(), (0, 0, before, pieces * step + kernel - 1 - frames - before))
    spectra = torch.fft.rfft(padded.unfold(1, size, step))
    bins = spectra.shape[-1]
    # (batch, pieces, groups, in, bins) by (groups, out, in, bins), one product for each group and bin.
    spectra = spectra.view(batch, pieces, groups, -1, bins).permute(2, 4, 0, 1, 3).flatten(2, 3).flatten(0, 1)
    spectrum = torch.fft.rfft(weight.float(), size).conj()
    spectrum = spectrum.view(groups, width // groups, width // groups, bins).permute(0, 3, 2, 1).flatten(0, 1)
    product = torch.bmm(spectra, spectrum).view(groups, bins, batch, pieces, -1).permute(2, 3, 1, 0, 4)
    # What wraps around is in the last `kernel - 1` values of each piece.
    return torch.fft.irfft(product.flatten(3), size, dim=2)[:, :, :step].flatten(1, 2)[:, :frames]
