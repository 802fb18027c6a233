"""One block of a Conformer, its attention, and its positions."""

from __future__ import annotations

import torch
from speechbrain.lobes.models.transformer.Conformer import ConformerEncoderLayer
from speechbrain.nnet.activations import Swish
from speechbrain.nnet.attention import RelPosEncXL
from torch import Tensor, nn
from torch.nn import functional

from dld.encoders.chunks import Chunks, Past
from dld.encoders.kernels import (
    FeedForward,
    add_dropped,
    applicable,
    attend,
    depthwise,
    feed_forward,
    linear,
)

#: Base of the wave lengths of rotary positions (arXiv 2104.09864, section 3.3).
ROTARY_BASE = 10000.0


class ConformerBlock(ConformerEncoderLayer):
    """A Conformer block (arXiv 2005.08100): half a feed-forward step, attention, convolution, half a step, LayerNorm.

    Weights and their names are those of SpeechBrain's layer, and so is what it computes, except that padding reaches
    nothing. On a CPU it takes the kernels of `dld.encoders.kernels`.

    Parameters
    ----------
    d_model, d_ffn, num_heads, kernel_size : int
    dropout : float
    rotary : bool
        Rotary positions; otherwise relative ones as in Transformer-XL, by SpeechBrain's module.
    chunks : Chunks, optional
        With rotary positions: attention sees no later chunk, and the convolution no later frame.
    """

    def __init__(
        self,
        d_model: int,
        d_ffn: int,
        num_heads: int,
        kernel_size: int,
        dropout: float,
        rotary: bool,
        chunks: Chunks | None = None,
    ):
        super().__init__(
            d_model=d_model,
            d_ffn=d_ffn,
            nhead=num_heads,
            kernel_size=kernel_size,
            activation=Swish,
            dropout=dropout,
            attention_type="none" if rotary else "RelPosMHAXL",
        )
        self.rotary, self.chunks = rotary, chunks
        if rotary:
            self.mha_layer = RotaryAttention(d_model, num_heads, dropout, chunks)

    def forward(self, hidden: Tensor, padding: Tensor | None, positions: Tensor, past: Past | None = None) -> Tensor:
        """Compute (batch, frames, width) → the same shape.

        Parameters
        ----------
        hidden : Tensor (batch, frames, width)
        padding : BoolTensor (batch, frames) or None
            True on padded frames.
        positions : Tensor
            `rotary_positions`, or those of `RelativePositions`.
        past : Past, optional
            What is kept of the chunks before, if `hidden` is the next chunk of one utterance.
        """
        hidden = self._half_step(self.ffn_module1, hidden)
        hidden = self._attend(hidden, padding, positions, past)
        hidden = self._convolve(hidden, padding, past)
        return self.norm2(self._half_step(self.ffn_module2, hidden))

    def _half_step(self, module, hidden):
        norm, inner, dropout = module
        weights = FeedForward(
            norm.weight, norm.bias, inner.ffn[0].weight, inner.ffn[0].bias, inner.ffn[3].weight, inner.ffn[3].bias
        )
        return feed_forward(hidden, weights, dropout.p, self.training, norm.eps)

    def _attend(self, hidden, padding, positions, past):
        normed = self.norm1(hidden)
        if self.rotary:
            return hidden + self.mha_layer(normed, padding, positions, past)
        branch, _ = self.mha_layer(
            normed, normed, normed, pos_embs=positions.to(normed.dtype), key_padding_mask=padding, attn_mask=None
        )
        return hidden + branch

    def _convolve(self, hidden, padding, past):
        module = self.convolution_module
        pointwise, (norm, _, project, dropout) = module.bottleneck[0], module.after_conv
        branch = linear(module.layer_norm(hidden), pointwise.weight.squeeze(-1), pointwise.bias)
        branch = functional.glu(branch, -1)
        if padding is not None:
            # Half a kernel of valid frames would see padded ones.
            branch = branch.masked_fill(padding[..., None], 0.0)
        if self.chunks is None:
            branch = depthwise(branch, module.conv.weight, module.conv.bias)
        else:
            branch = self._convolve_past(branch, module.conv, past)
        branch = functional.silu(norm(branch))
        return add_dropped(hidden, linear(branch, project.weight, project.bias), dropout.p, self.training)

    def _convolve_past(self, branch, conv, past):
        """Convolve so that a frame sees itself and those before it: (batch, frames, channels) → the same shape."""
        frames, kernel = branch.shape[1], conv.weight.shape[-1]
        if past is None:
            branch = functional.pad(branch, (0, 0, kernel - 1, 0))
        else:
            branch = torch.cat([past.convolved, branch], 1)
            past.convolved = branch[:, frames:]
        return depthwise(branch, conv.weight, conv.bias)[:, kernel // 2 :][:, :frames]

    def new_past(self) -> Past:
        """Return what there is before the first chunk of an utterance: nothing, and zeros for the convolution."""
        conv = self.convolution_module.conv
        width = conv.weight.shape[0]
        attended = conv.weight.new_empty(1, 0, 2, self.mha_layer.num_heads, width // self.mha_layer.num_heads)
        return Past(attended, conv.weight.new_zeros(1, conv.weight.shape[-1] - 1, width))


class RotaryAttention(nn.Module):
    """Self-attention with rotary positions (arXiv 2104.09864).

    Parameters
    ----------
    d_model, num_heads : int
    dropout : float
        Of the attention weights.
    chunks : Chunks, optional
        No frame sees a later chunk; without it all see all.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float, chunks: Chunks | None = None):
        super().__init__()
        self.num_heads, self.dropout, self.chunks = num_heads, dropout, chunks
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d_model, d_model))
        nn.init.xavier_uniform_(self.in_proj_weight)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, hidden: Tensor, padding: Tensor | None, positions: Tensor, past: Past | None = None) -> Tensor:
        """Compute (batch, frames, width) → the same shape; see `ConformerBlock.forward`."""
        batch, frames, width = hidden.shape
        projected = linear(hidden, self.in_proj_weight).view(batch, frames, 3, self.num_heads, -1)
        unseen = None
        if past is not None and self.chunks is not None:
            # Products depend on distances alone, so that positions may count from the first frame that is kept.
            known = torch.cat([past.attended, projected[:, :, 1:]], 1)
            queries = rotate(projected[:, :, :1], positions[known.shape[1] - frames :])[:, :, 0]
            keys, values = rotate(known[:, :, :1], positions)[:, :, 0], known[:, :, 1]
            past.attended = known
            past.keep(self.chunks.left_frames)
        else:
            # Of these the gradient is one tensor; that of an index is a tensor of zeros with one part filled.
            rotated, values = projected.split((2, 1), 2)
            (queries, keys), values = rotate(rotated, positions).unbind(2), values.squeeze(2)
            if self.chunks is not None:
                unseen = self.chunks.unseen(frames, hidden.device)
        queries, keys, values = (heads.transpose(1, 2) for heads in (queries, keys, values))
        mixed = attend(queries, keys, values, padding, self.dropout if self.training else 0.0, unseen)
        return linear(mixed.transpose(1, 2).reshape(batch, frames, width), self.out_proj.weight, self.out_proj.bias)


class RelativePositions(RelPosEncXL):
    """SpeechBrain's relative positions, without the assignments that make a graph of them slow."""

    @torch.no_grad()
    def make_pe(self, seq_len: int) -> Tensor:
        """Return the encoding of every offset from seq_len - 1 to 1 - seq_len: (1, 2 · seq_len - 1, width)."""
        angles = torch.arange(seq_len, dtype=torch.float32, device=self.inv_freq.device)[:, None] * self.inv_freq
        encoded = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
        return torch.cat([encoded.flip(0), encoded[1:]])[None]


def rotary_positions(frames: int, size: int, like: Tensor) -> Tensor:
    """Return cosines and sines of the rotations of `frames` positions: (frames, size // 2, 2) in float32.

    Parameters
    ----------
    frames : int
    size : int
        Width of a head; even.
    like : Tensor
        On the device for the result.
    """
    rates = ROTARY_BASE ** -(torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size)
    angles = torch.arange(frames, device=like.device, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()], -1)


def rotate(heads: Tensor, positions: Tensor) -> Tensor:
    """Rotate pairs of a head's values by its frame's position.

    Parameters
    ----------
    heads : Tensor (batch, frames, kinds, num_heads, size)
    positions : Tensor (frames, size // 2, 2)
        See `rotary_positions`.

    Returns
    -------
    Tensor
        Shape and type as `heads`; the product of a rotated query and a rotated key depends on their distance alone.
    """
    pairs = heads.unflatten(-1, (-1, 2))
    if applicable(heads) and heads.dtype == torch.float32:
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(positions)[:, None, None]
        return torch.view_as_real(turned).flatten(-2)
    cosines, sines = positions.to(heads.dtype)[:, None, None].unbind(-1)
    even, odd = pairs.unbind(-1)
    return torch.stack([even * cosines - odd * sines, odd * cosines + even * sines], -1).flatten(-2)
