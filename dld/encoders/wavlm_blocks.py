"""Parts of WavLM's blocks: torchaudio's, with positions computed outside them, padding, and faster kernels."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.models.wav2vec2.components import ConvolutionalPositionalEmbedding, FeedForward
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from dld.encoders.kernels import applicable, attention, grouped_convolution, linear
from dld.encoders.kernels.linear import activate
from dld.padding import padding_mask


class RelativePositions(nn.Module):
    """The learned bias of attention by distance (arXiv 2110.13900, eq. 5), one for all blocks.

    Parameters
    ----------
    embedding : Embedding (buckets, heads)
    max_distance : int
        Frames; beyond it all distances have one bucket.
    """

    def __init__(self, embedding: nn.Embedding, max_distance: int):
        super().__init__()
        self.embedding = embedding
        self.max_distance = max_distance

    def buckets(self, offsets: Tensor) -> Tensor:
        """Return the bucket of each offset, key minus query: exact when near, by the logarithm further off."""
        half = self.embedding.num_embeddings // 2
        exact = half // 2
        distance = offsets.abs()
        logarithm = (distance.clamp_min(1).float() / exact).log() / math.log(self.max_distance / exact)
        far = (exact + (logarithm * (half - exact)).long()).clamp_max(half - 1)
        return torch.where(distance < exact, distance, far) + (offsets > 0) * half

    def forward(self, frames: int) -> Tensor:
        """Return the bias of every offset from 1 - frames to frames - 1: (heads, 2 · frames - 1)."""
        return self.embedding(self.buckets(torch.arange(1 - frames, frames, device=self.embedding.weight.device))).t()

    @staticmethod
    def expand(biases: Tensor) -> Tensor:
        """Expand biases by offset: (heads, 2 · frames - 1) → (1, heads, query, key)."""
        frames = (biases.shape[1] + 1) // 2
        if torch.jit.is_tracing():  # `unfold` becomes a graph of a fixed length
            order = torch.arange(frames, device=biases.device)
            return biases[:, order - order[:, None] + frames - 1][None]
        return biases.unfold(1, frames, 1).flip(1)[None]


class GatedBiasAttention(WavLMSelfAttention):
    """torchaudio's attention, taking a bias common to the batch, and padding, also of a row that is nothing else."""

    def forward(
        self,
        query: Tensor,
        key_padding_mask: Tensor | None = None,
        attention_mask: None = None,
        position_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend to the frames of the same utterance.

        Parameters
        ----------
        query : Tensor (batch, frames, width)
        key_padding_mask : BoolTensor (batch, frames), optional
            True on frames that are not attended to.
        attention_mask : None
            Not used.
        position_bias : Tensor (1, heads, frames, frames)

        Returns
        -------
        Tensor (batch, frames, width), and `position_bias`
        """
        batch, frames, _ = query.shape
        gate = self._gate(query.view(batch, frames, self.num_heads, self.head_dim))
        projected = linear(query, self.attention.in_proj_weight, self.attention.in_proj_bias)
        projected = projected.view(batch, frames, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        queries, keys, values = projected.unbind()
        p = self.dropout if self.training else 0.0
        if torch.is_grad_enabled() and applicable(query):
            out = attention(queries, keys, values, key_padding_mask, gate, position_bias, p)
        else:
            assert position_bias is not None  # optional in torchaudio's signature only
            bias = gate * position_bias
            if key_padding_mask is not None:
                # Not minus infinity: where all keys are padding the result would be NaN.
                bias = bias.masked_fill(key_padding_mask[:, None, None], torch.finfo(bias.dtype).min)
            bias = bias.to(queries.dtype)
            out = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, dropout_p=p)
        project = self.attention.out_proj
        return linear(out.transpose(1, 2).flatten(2), project.weight, project.bias), position_bias

    def _gate(self, heads: Tensor) -> Tensor:
        """Compute the factor on the position bias: (batch, frames, heads, width) → (batch, heads, frames, 1)."""
        # Of the layer's eight outputs four and four are only ever summed: sum its weights instead.
        gate = functional.linear(
            heads,
            self.gru_rel_pos_linear.weight.view(2, 4, -1).sum(1),
            self.gru_rel_pos_linear.bias.view(2, 4).sum(1),
        )
        update, reset = gate.transpose(1, 2).sigmoid().split(1, dim=-1)
        return update * (reset * self.gru_rel_pos_const - 1.0) + 2.0


class FusedFeedForward(FeedForward):
    """torchaudio's feed-forward, its products by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, width) → the same shape."""
        hidden = linear(x, self.intermediate_dense.weight, self.intermediate_dense.bias, gelu=True)
        hidden = self.intermediate_dropout(hidden)
        return self.output_dropout(linear(hidden, self.output_dense.weight, self.output_dense.bias))


class SpectralPositions(ConvolutionalPositionalEmbedding):
    """torchaudio's positional convolution; by Fourier transforms where kernels apply and that takes less time."""

    # Frames of a batch from which on transforming the weights pays.
    WORTHWHILE = 256

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, frames, width) → the same shape."""
        if not applicable(x) or x.shape[0] * x.shape[1] < self.WORTHWHILE:
            return super().forward(x)
        out = grouped_convolution(x, self.conv.weight, self.conv.groups) + self.conv.bias
        return activate(out).to(x.dtype)


def span_mask(lengths: Tensor, size: int, fraction: float, width: int) -> Tensor:
    """Draw spans of equal width at random positions, as wav2vec 2.0 masks its input (arXiv 2006.11477, appendix).

    Parameters
    ----------
    lengths : LongTensor (batch,)
        Spans are within them.
    size : int
    fraction : float
        Of each length, if spans did not overlap; the number of spans is rounded up or down at random.
    width : int

    Returns
    -------
    BoolTensor (batch, size)

    Examples
    --------
    >>> mask = span_mask(torch.tensor([100, 50]), 100, fraction=0.5, width=10)
    >>> mask.shape, mask[1, 50:].any().item()
    (torch.Size([2, 100]), False)
    """
    # On the CPU, so that the masks of a seed are the same on every device.
    positions = (lengths.cpu() - width + 1).clamp_min(0)
    count = (fraction * lengths.cpu() / width + torch.rand(len(lengths))).long().minimum(positions)
    scores = torch.rand(len(lengths), size).masked_fill(padding_mask(positions, size), -1.0)
    starts = scores.argsort(dim=1, descending=True).argsort(dim=1) < count[:, None]
    begun = starts.long().cumsum(1)
    return (begun > functional.pad(begun, (width, 0))[:, :size]).to(lengths.device)
