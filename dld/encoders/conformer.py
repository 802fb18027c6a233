"""A Conformer whose blocks can be skipped."""

import torch
from speechbrain.lobes.models.transformer.Conformer import ConformerEncoderLayer, ConvolutionModule
from speechbrain.nnet.activations import Swish
from speechbrain.nnet.attention import RelPosEncXL
from torch import nn

from dld.checks import COUNT, FLAG, RATE, Nullable, Number, require
from dld.encoders.base import Embedded, GatedEncoder
from dld.encoders.subsampling import ConvSubsampling
from dld.errors import DldError
from dld.padding import padding_mask


class PaddingFreeConvolution(ConvolutionModule):
    """SpeechBrain's convolution module, with padded frames zeroed before the depth-wise convolution.

    The parent zeroes them afterwards only: up to half a kernel of valid frames then depends on how far the batch is
    padded, and a hypothesis on what it is batched with.
    """

    def forward(self, x, mask=None, dynchunktrain_config=None):
        """(batch, frames, width) → the same; `mask` (batch, frames, 1) is True on padded frames."""
        if dynchunktrain_config is not None:
            return super().forward(x, mask, dynchunktrain_config)
        hidden = self.bottleneck(self.layer_norm(x).transpose(1, 2))
        if mask is not None:
            hidden = hidden.masked_fill(mask.transpose(1, 2), 0.0)
        return self.after_conv(self.conv(hidden).transpose(1, 2))


class GatedConformer(GatedEncoder):
    """Conformer encoder (arXiv 2005.08100) with a gate before each block.

    Built on SpeechBrain's `ConformerEncoderLayer` with relative positions; the positions and the masks are computed
    outside the gates, so any block can be closed.

    Parameters
    ----------
    input_size : int
        Feature bins.
    num_blocks, d_model, d_ffn, num_heads, kernel_size : int
        The paper's network: 12 blocks, 256 wide, feed-forward 2048, 8 heads, kernel 31.
    dropout : float
    subsampling : {"conv1d", "conv2d"}
        See `ConvSubsampling`.
    subsampling_channels : int, optional
    closed_norm : bool
        What a closed gate does. False: the identity, as in the DLD equation (arXiv 2601.16117). True: the block's
        closing LayerNorm still runs, as in LDASR (EUSIPCO 2024).

    residual_init : float, optional
        Factor on the initial output projections of the residual branches; by default `1 / sqrt(4 N)`, four branches to
        a block (after GPT-2, Radford et al. 2019). Without it a deep encoder trained with CTC forgets its input within
        a few updates, while it learns to write blanks, and takes long to find back.

    Examples
    --------
    >>> encoder = GatedConformer(input_size=80, num_blocks=3, d_model=16, d_ffn=32, num_heads=2, kernel_size=3).eval()
    >>> hidden, lengths = encoder(torch.randn(2, 20, 80), torch.tensor([20, 12]), gates=(True, False, True))
    >>> hidden.shape, lengths.tolist()
    (torch.Size([2, 5, 16]), [5, 3])
    """

    def __init__(
        self,
        input_size=80,
        num_blocks=12,
        d_model=256,
        d_ffn=2048,
        num_heads=8,
        kernel_size=31,
        dropout=0.1,
        subsampling="conv1d",
        subsampling_channels=None,
        closed_norm=False,
        residual_init=None,
    ):
        super().__init__()
        require(self, COUNT, input_size=input_size, num_blocks=num_blocks, d_model=d_model, d_ffn=d_ffn)
        require(self, COUNT, num_heads=num_heads, kernel_size=kernel_size)
        require(self, Nullable(COUNT), subsampling_channels=subsampling_channels)
        require(self, RATE, dropout=dropout)
        require(self, FLAG, closed_norm=closed_norm)
        require(self, Nullable(Number(low=0)), residual_init=residual_init)
        if d_model % num_heads or d_model % 2:
            raise DldError(f"d_model is {d_model}; it must be even and a multiple of num_heads, {num_heads}")
        if kernel_size % 2 == 0:
            raise DldError(f"kernel_size is {kernel_size}; it must be odd, so that a frame is in its middle")
        self.input_size = input_size
        self.num_blocks = num_blocks
        self.output_size = d_model
        self.subsampling = ConvSubsampling.factor
        self.closed_norm = closed_norm
        self.front = ConvSubsampling(input_size, d_model, subsampling, subsampling_channels, dropout)
        self.positions = RelPosEncXL(d_model)
        self.layers = nn.ModuleList(
            ConformerEncoderLayer(
                d_model=d_model,
                d_ffn=d_ffn,
                nhead=num_heads,
                kernel_size=kernel_size,
                activation=Swish,
                dropout=dropout,
            )
            for _ in range(num_blocks)
        )
        for layer in self.layers:
            layer.convolution_module = PaddingFreeConvolution(d_model, kernel_size, activation=Swish, dropout=dropout)
        self.norm = nn.LayerNorm(d_model, eps=1e-6)
        self._scale_residuals((4 * num_blocks) ** -0.5 if residual_init is None else residual_init)

    @torch.no_grad()
    def _scale_residuals(self, factor):
        for layer in self.layers:
            feed_forward = [module[1].ffn[-1] for module in (layer.ffn_module1, layer.ffn_module2)]
            for output in (*feed_forward, layer.mha_layer.out_proj, layer.convolution_module.after_conv[2]):
                output.weight *= factor
                output.bias *= factor

    def embed(self, features, lengths):
        hidden, lengths = self.front(features, lengths)
        padding = padding_mask(lengths, hidden.shape[1])
        return Embedded(hidden, lengths, padding, self.positions(hidden))

    def run_block(self, index, hidden, embedded):
        hidden, _ = self.layers[index](
            hidden, src_key_padding_mask=embedded.padding, pos_embs=embedded.positions.to(hidden.dtype)
        )
        return hidden

    def skip_block(self, index, hidden):
        return self.layers[index].norm2(hidden) if self.closed_norm else hidden

    def finish(self, hidden):
        return self.norm(hidden)
