"""The convolutions with which WavLM begins."""

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from dld.encoders.kernels import applicable_in_inference, convolve_utterance
from dld.encoders.kernels.convolution import as_matrix, geometry
from dld.padding import padding_mask, windows


class ConvExtractor(nn.Module):
    """The convolutions that turn a waveform into frames, whatever else is in the batch.

    Base normalises each channel of the first convolution over time. Other implementations let padding into those
    statistics; here they are taken over an utterance's own frames. As the first convolution is linear, they follow from
    mean and covariance of the few samples under its kernel, and its output need not be read twice for them.

    Where kernels apply and without gradients, each utterance goes through by itself, without its padding.

    Parameters
    ----------
    layers : ModuleList of torchaudio's ConvLayerBlock
    low_precision : bool
        bfloat16 after the first convolution.
    """

    def __init__(self, layers: nn.ModuleList, low_precision: bool = False):
        super().__init__()
        self.layers = layers
        self.low_precision = low_precision
        self.output_size = layers[-1].conv.out_channels
        self.hop, self.window = geometry(list(layers))

    def output_frames(self, samples):
        """Return the frames of a number of samples, for integers and integer tensors; 0 where none is whole."""
        frames = (samples - self.window) // self.hop + 1
        return frames.clamp_min(0) if isinstance(frames, Tensor) else max(0, frames)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Extract frames: (batch, samples), (batch,) → (batch, frames, channels), (batch,).

        There is at least one frame, even if it is padding.
        """
        waveforms = functional.pad(waveforms, (0, max(0, self.window - waveforms.shape[1])))
        frames = self.output_frames(lengths)
        if applicable_in_inference(waveforms):
            return self._each_utterance(waveforms, lengths), frames
        device = waveforms.device.type
        bfloat16 = torch.autocast(device, torch.bfloat16) if self.low_precision else contextlib.nullcontext()
        with bfloat16:
            return self._whole_batch(waveforms, lengths).transpose(1, 2), frames

    def _whole_batch(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Compute (batch, samples) → (batch, channels, frames), by torch's own convolutions."""
        first, *rest = self.layers
        hidden = first.conv(waveforms[:, None].to(first.conv.weight.dtype))
        if isinstance(first.layer_norm, nn.GroupNorm):
            scale, shift = self._channel_norm(waveforms, lengths)
            hidden = torch.addcmul(shift[..., None].to(hidden.dtype), hidden, scale[..., None].to(hidden.dtype))
            if first.conv.bias is not None:
                hidden = hidden - (scale * first.conv.bias)[..., None].to(hidden.dtype)
        elif first.layer_norm is not None:
            hidden = first.layer_norm(hidden)
        hidden = functional.gelu(hidden)
        for layer in rest:
            hidden, _ = layer(hidden, None)
        return hidden

    def _channel_norm(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return what normalising each channel over an utterance's frames multiplies and adds: each (batch, channels).

        A bias of the convolution is left out, as the normalisation takes it away.
        """
        layer = self.layers[0]
        frames = windows(waveforms.double(), layer.kernel_size, layer.stride)
        count = ((lengths - layer.kernel_size) // layer.stride + 1).clamp_min(0)
        padding = padding_mask(count, frames.shape[1])[..., None]
        count = count.clamp_min(1)[:, None]
        mean = frames.masked_fill(padding, 0.0).sum(1) / count
        centred = (frames - mean[:, None]).masked_fill(padding, 0.0)
        covariance = centred.transpose(1, 2) @ centred / count[..., None]
        weight = layer.conv.weight.squeeze(1).double()
        variance = ((weight @ covariance) * weight).sum(-1)
        scale = layer.layer_norm.weight * (variance + layer.layer_norm.eps).rsqrt()
        return scale.float(), (layer.layer_norm.bias - mean @ weight.t() * scale).float()

    def _each_utterance(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Compute (batch, samples) → (batch, frames, channels), by the kernel, without gradients."""
        device, dtype = waveforms.device.type, self.layers[0].conv.weight.dtype
        if self.low_precision:
            dtype = torch.bfloat16
        elif torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        batch, frames = len(waveforms), self.output_frames(waveforms.shape[1])
        with torch.autocast(device, enabled=False):
            layers = list(self.layers)
            matrices = [as_matrix(layer.conv, dtype) for layer in layers[1:]]
            out = waveforms.new_zeros(batch, frames, self.output_size, dtype=dtype)
            for row, waveform, length in zip(out, waveforms.float(), lengths.tolist(), strict=True):
                count = self.output_frames(length)
                if count:
                    samples = waveform[:length]
                    row[:count] = convolve_utterance(layers, samples, self._first(samples), matrices)
        return out

    def _first(self, samples: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return weights and bias of the first convolution, including the normalisation of each channel."""
        layer = self.layers[0]
        weight, bias = layer.conv.weight.squeeze(1).float(), layer.conv.bias
        if isinstance(layer.layer_norm, nn.GroupNorm):
            [scale], [bias] = self._channel_norm(samples[None], torch.tensor([len(samples)]))
            weight = weight * scale[:, None]
        return weight, None if bias is None else bias.float()
