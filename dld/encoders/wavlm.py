"""WavLM (arXiv 2110.13900) whose blocks can be skipped."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dld.encoders.base import Embedded, GatedEncoder
from dld.encoders.config import configured
from dld.encoders.pretrained import load_exactly
from dld.encoders.wavlm_blocks import (
    FusedFeedForward,
    GatedBiasAttention,
    RelativePositions,
    SpectralPositions,
    span_mask,
)
from dld.encoders.wavlm_config import WavLMConfig
from dld.encoders.wavlm_extractor import ConvExtractor
from dld.encoders.wavlm_weights import Pretrained, read_pretrained
from dld.padding import padding_mask

# Weights that no published checkpoint need have; they start at random, or equal.
OPTIONAL_WEIGHTS = frozenset(("mask_embedding", "layer_weights"))


class GatedWavLM(GatedEncoder):
    """WavLM encoder (arXiv 2110.13900) with a gate before each block, from waveform to hidden frames.

    Built on torchaudio's blocks. The relative position bias, which WavLM computes in its first block, is computed
    outside the gates, so any block can be closed. An utterance's output does not depend on what it is batched with.

    The defaults are those of WavLM Base; `GatedWavLM.from_pretrained` takes them from the checkpoint.

    Parameters
    ----------
    config : WavLMConfig
        Or its fields as keyword arguments.

    Examples
    --------
    >>> small = {"num_blocks": 3, "d_model": 16, "d_ffn": 32, "num_heads": 2, "positional_kernel": 4}
    >>> conv = [[8, 10, 5], [8, 8, 8], [8, 8, 8]]
    >>> encoder = GatedWavLM(**small, conv_layers=conv, positional_groups=2).eval()
    >>> hidden, lengths = encoder(torch.randn(2, 16000), torch.tensor([16000, 8000]), gates=(False, True, True))
    >>> hidden.shape, lengths.tolist()
    (torch.Size([2, 49, 16]), [49, 24])
    """

    @configured(WavLMConfig)
    def __init__(self, config: WavLMConfig):
        model = torchaudio.models.wavlm_model(**config.for_torchaudio())
        transformer = model.encoder.transformer
        extractor = ConvExtractor(model.feature_extractor.conv_layers, config.low_precision is not None)
        super().__init__(
            num_blocks=config.num_blocks,
            output_size=config.d_model,
            subsampling=extractor.hop,
            input_size=1,
            overlap=extractor.window - extractor.hop,
        )
        self.config = config
        self.extractor = extractor
        self.projection = model.encoder.feature_projection
        self.mask_embedding = nn.Parameter(torch.rand(config.d_model))
        self.positional = SpectralPositions(config.d_model, config.positional_kernel, config.positional_groups)
        self.positions = RelativePositions(transformer.layers[0].attention.rel_attn_embed, config.max_distance)
        self.layers = transformer.layers
        for layer in self.layers:
            layer.attention = GatedBiasAttention(config.d_model, config.num_heads, config.attention_dropout)
            layer.feed_forward = FusedFeedForward(
                config.d_model, config.d_ffn, config.activation_dropout, config.dropout
            )
        self.norm = transformer.layer_norm
        self.dropout = transformer.dropout
        self.layer_weights = nn.Parameter(torch.zeros(config.num_blocks + 1)) if config.weighted_sum else None
        self.frozen = config.freeze_updates > 0
        self.extractor.requires_grad_(not config.freeze_extractor)
        self.apply(_initialise)

    # ------------------------------------------------------------ weights

    @classmethod
    def from_pretrained(cls, source: str | Path, **settings: Any) -> "GatedWavLM":
        """Make an encoder of a checkpoint's shape, with its weights.

        Parameters
        ----------
        source : str or Path
            A torchaudio bundle (WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE), a HuggingFace folder or hub id.
        settings
            Fields of `WavLMConfig` that are to be others than the checkpoint's.

        Returns
        -------
        GatedWavLM
        """
        pretrained = read_pretrained(source)
        encoder = cls(**{**pretrained.architecture, **settings})
        encoder._load(pretrained)
        return encoder

    def load_pretrained(self, source: str | Path) -> None:
        """Load the weights of a checkpoint of the same shape, see `from_pretrained`."""
        self._load(read_pretrained(source))

    def _load(self, pretrained: Pretrained) -> None:
        load_exactly(self, pretrained.state, pretrained.source, OPTIONAL_WEIGHTS)

    # ------------------------------------------------------------ training

    def on_update(self, update: int) -> None:
        """Freeze or unfreeze the encoder before update number `update`, counted from 0.

        What is trained depends on this number alone, so a resumed run continues as it would have.
        """
        self.frozen = update < self.config.freeze_updates

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters for an optimizer, in groups that each have their `lr_scale`; every one is in one group.

        Block i of N has `lr_scale · layer_decay ** (N - 1 - i)`, what is before the blocks another factor
        `layer_decay`, the weights of the weighted sum 1.

        Returns
        -------
        list of dict
            With "params" and "lr_scale".
        """
        groups = [(1.0, [self.layer_weights] if self.layer_weights is not None else [])]
        groups.append((self.config.lr_scale, list(self.norm.parameters()) if self.config.pre_norm else []))
        for index in reversed(range(self.num_blocks)):
            scale = self.config.lr_scale * self.config.layer_decay ** (self.num_blocks - 1 - index)
            groups.append((scale, list(self.layers[index].parameters())))
        taken = {id(p) for _, parameters in groups for p in parameters}
        below = [p for p in self.parameters() if id(p) not in taken]
        groups.append((self.config.lr_scale * self.config.layer_decay**self.num_blocks, below))
        return [{"params": parameters, "lr_scale": scale} for scale, parameters in groups if parameters]

    @contextlib.contextmanager
    def _running(self, frozen: bool) -> Iterator[None]:
        """Compute gradients where they are wanted, in low precision where that is."""
        low = self.config.low_precision == "all"
        precision = torch.autocast(self.mask_embedding.device.type, torch.bfloat16) if low else contextlib.nullcontext()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.training and frozen)), precision:
            yield

    # ------------------------------------------------------------ forward

    def embed(self, features: Tensor, lengths: Tensor) -> Embedded:
        """Compute everything before the blocks: waveforms (batch, samples), (batch,) samples → `Embedded`."""
        with self._running(self.frozen or self.config.freeze_extractor):
            hidden, lengths = self.extractor(features, lengths)
        with self._running(self.frozen):
            hidden = self.projection(hidden.to(self.projection.layer_norm.weight.dtype))
            if self.training:
                hidden = self._mask(hidden, lengths)
            padding = padding_mask(lengths, hidden.shape[1])
            hidden = hidden.masked_fill(padding[..., None], 0.0)
            hidden = hidden + self.positional(hidden)
            if not self.config.pre_norm:
                hidden = self.norm(hidden)
            positions = self.positions(hidden.shape[1])
            return Embedded(self.dropout(hidden), lengths, padding if padding.any() else None, positions)

    def _mask(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        fraction, width = self.config.mask_time_share, self.config.mask_time_width
        if fraction:
            mask = span_mask(lengths, hidden.shape[1], fraction, width)[..., None]
            hidden = torch.where(mask, self.mask_embedding.to(hidden.dtype), hidden)
        fraction, width = self.config.mask_channel_share, self.config.mask_channel_width
        if fraction:
            channels = torch.full_like(lengths, hidden.shape[2])
            hidden = hidden.masked_fill(span_mask(channels, hidden.shape[2], fraction, width)[:, None], 0.0)
        return hidden

    def run_block(self, index: int, hidden: Tensor, embedded: Embedded) -> Tensor:
        """Return the output of block `index`, shape as `hidden`."""
        with self._running(self.frozen):
            if self.training and self.config.gradient_checkpointing and torch.is_grad_enabled():
                return checkpoint(self._block, index, hidden, embedded.positions, embedded.padding, use_reentrant=False)
            return self._block(index, hidden, embedded.positions, embedded.padding)

    def _block(self, index: int, hidden: Tensor, positions: Tensor, padding: Tensor | None) -> Tensor:
        bias = self.positions.expand(positions)
        return self.layers[index](hidden, position_bias=bias, key_padding_mask=padding)[0]

    def skip_block(self, index: int, hidden: Tensor) -> Tensor:
        """Return the output where gate `index` is closed: the input, or with `closed_norm` its LayerNorm."""
        return self.layers[index].final_layer_norm(hidden) if self.config.closed_norm else hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Compute everything after the blocks, shape as `hidden`."""
        return self.norm(hidden) if self.config.pre_norm else hidden

    def finish_path(self, path: list[Tensor]) -> Tensor:
        """Compute the same from what enters the first block and the output of every block."""
        if self.layer_weights is None:
            return self.finish(path[-1])
        weights = self.layer_weights.softmax(0)
        return self.finish(sum(weight * hidden for weight, hidden in zip(weights, path, strict=True)))


def _initialise(module: nn.Module) -> None:
    """Draw small weights to begin with, as in BERT; WavLM's authors start so too."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=0.02)
