"""A Conformer whose blocks can be skipped."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from dld.checks import AT_LEAST_0, COUNT, Choice, Nullable, Whole
from dld.encoders.base import Embedded, GatedEncoder
from dld.encoders.chunks import Chunks
from dld.encoders.config import Count, EncoderConfig, Rate, Switch, configured
from dld.encoders.conformer_block import ConformerBlock, RelativePositions, rotary_positions
from dld.encoders.subsampling import ConvSubsampling
from dld.errors import DldError
from dld.padding import padding_mask


@dataclass(frozen=True)
class ConformerConfig(EncoderConfig):
    """Settings of `GatedConformer`; the defaults are the paper's: 12 blocks, 256 wide, feed-forward 2048, 8 heads.

    Raises
    ------
    DldError
        A value is not what its field allows, or contradicts another.

    Examples
    --------
    >>> ConformerConfig(d_model=144).num_heads
    8
    >>> ConformerConfig(kernel_size=30)
    Traceback (most recent call last):
    dld.errors.DldError: kernel_size is 30; it must be odd, so that a frame is in its middle
    """

    owner: ClassVar[str] = "GatedConformer"

    input_size: Count = 80
    """Feature bins."""
    num_blocks: Count = 12
    d_model: Count = 256
    d_ffn: Count = 2048
    num_heads: Count = 8
    kernel_size: Count = 31
    dropout: Rate = 0.1
    attention: Annotated[str, Choice("relative", "rotary")] = "relative"
    """Positions in attention: "rotary" (arXiv 2104.09864), or "relative" as in Transformer-XL (arXiv 1901.02860), which
    is slower and what networks without this setting have."""
    chunk: Annotated[int | None, Nullable(COUNT)] = None
    """Frames of a chunk, for networks that write while somebody speaks: no frame sees a later chunk, and convolutions
    see no later frame. Null: all frames see all. Needs rotary attention."""
    left_chunks: Annotated[int | None, Nullable(Whole(low=0))] = None
    """Chunks before its own that a frame sees; null: all."""
    subsampling: Annotated[str, Choice("conv1d", "conv2d")] = "conv1d"
    """See `ConvSubsampling`."""
    subsampling_channels: Annotated[int | None, Nullable(COUNT)] = None
    """Channels of its convolutions; by default `d_model`."""
    closed_norm: Switch = False
    """What a closed gate does. False: the identity, as in the DLD equation (arXiv 2601.16117). True: the block's
    closing LayerNorm still runs, as in LDASR (EUSIPCO 2024)."""
    residual_init: Annotated[float | None, Nullable(AT_LEAST_0)] = None
    """Factor on the initial output projections of the residual branches; by default `1 / sqrt(4 N)`, four branches to a
    block (after GPT-2, Radford et al. 2019). Without it a deep encoder trained with CTC forgets its input within a few
    updates, while it learns to write blanks, and takes long to find back."""

    def check(self) -> None:
        """Raise a `DldError` where values contradict each other, though each is allowed."""
        if self.d_model % self.num_heads or self.d_model % 2:
            raise DldError(f"d_model is {self.d_model}; it must be even and a multiple of num_heads, {self.num_heads}")
        if self.attention == "rotary" and self.d_model // self.num_heads % 2:
            raise DldError(
                f"d_model is {self.d_model} with num_heads {self.num_heads}; rotary attention needs heads of even width"
            )
        if self.chunk is not None and self.attention != "rotary":
            raise DldError(f"chunk is {self.chunk} with attention {self.attention}; chunks need rotary attention")
        if self.left_chunks is not None and self.chunk is None:
            raise DldError(f"left_chunks is {self.left_chunks}, and chunk is null; give the frames of a chunk")
        if self.kernel_size % 2 == 0:
            raise DldError(f"kernel_size is {self.kernel_size}; it must be odd, so that a frame is in its middle")


class GatedConformer(GatedEncoder):
    """Conformer encoder (arXiv 2005.08100) with a gate before each block.

    Positions and masks are computed outside the gates, so any block can be closed.

    Parameters
    ----------
    config : ConformerConfig
        Or its fields as keyword arguments.

    Examples
    --------
    >>> encoder = GatedConformer(input_size=80, num_blocks=3, d_model=16, d_ffn=32, num_heads=2, kernel_size=3).eval()
    >>> hidden, lengths = encoder(torch.randn(2, 20, 80), torch.tensor([20, 12]), gates=(True, False, True))
    >>> hidden.shape, lengths.tolist()
    (torch.Size([2, 5, 16]), [5, 3])
    """

    @configured(ConformerConfig)
    def __init__(self, config: ConformerConfig):
        super().__init__(
            num_blocks=config.num_blocks,
            output_size=config.d_model,
            subsampling=ConvSubsampling.factor,
            input_size=config.input_size,
        )
        self.config = config
        self.front = ConvSubsampling(
            config.input_size, config.d_model, config.subsampling, config.subsampling_channels, config.dropout
        )
        rotary = config.attention == "rotary"
        self.chunks = None if config.chunk is None else Chunks(config.chunk, config.left_chunks)
        sizes = (config.d_model, config.d_ffn, config.num_heads, config.kernel_size, config.dropout)
        self.positions = None if rotary else RelativePositions(config.d_model)
        self.layers = nn.ModuleList(ConformerBlock(*sizes, rotary, self.chunks) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(config.d_model, eps=1e-6)
        self._scale_residuals((4 * config.num_blocks) ** -0.5 if config.residual_init is None else config.residual_init)

    @torch.no_grad()
    def _scale_residuals(self, factor: float) -> None:
        for layer in self.layers:
            feed_forward = [module[1].ffn[-1] for module in (layer.ffn_module1, layer.ffn_module2)]
            for output in (*feed_forward, layer.mha_layer.out_proj, layer.convolution_module.after_conv[2]):
                output.weight *= factor
                output.bias *= factor

    def embed(self, features: Tensor, lengths: Tensor) -> Embedded:
        """Compute everything before the blocks: (batch, time, input_size), (batch,) → `Embedded`."""
        hidden, lengths = self.front(features, lengths)
        padding = padding_mask(lengths, hidden.shape[1])
        return Embedded(hidden, lengths, padding, self.positions_of(hidden))

    def positions_of(self, hidden: Tensor) -> Tensor:
        """Return what blocks read of the positions of frames: of all in (batch, frames, width)."""
        return self.rotations(hidden.shape[1], hidden) if self.positions is None else self.positions(hidden)

    def rotations(self, frames: int, like: Tensor) -> Tensor:
        """Return the rotary positions of `frames` frames, on the device of a tensor."""
        return rotary_positions(frames, self.config.d_model // self.config.num_heads, like)

    def run_block(self, index: int, hidden: Tensor, embedded: Embedded) -> Tensor:
        """Return the output of block `index`, shape as `hidden`."""
        return self.layers[index](hidden, embedded.padding, embedded.positions)

    def skip_block(self, index: int, hidden: Tensor) -> Tensor:
        """Return the output where gate `index` is closed: the input, or with `closed_norm` its LayerNorm."""
        return self.layers[index].norm2(hidden) if self.config.closed_norm else hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Normalise the output of the last block."""
        return self.norm(hidden)
