"""The encoder of Whisper with blocks that can be skipped."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dld.checks import COUNT, NOT_NEGATIVE, ListOf, Nullable
from dld.encoders.base import Embedded, GatedEncoder
from dld.encoders.config import AtLeast0, Count, EncoderConfig, Named, Rate, Switch, configured, marks
from dld.encoders.kernels import attend
from dld.encoders.pretrained import load_exactly, read_checkpoint
from dld.errors import DldError
from dld.padding import padding_mask

# The encoder's weights within a file: of a speech-to-text model, of the model without its head, of an encoder alone.
_PREFIXES = ("model.encoder.", "encoder.", "")
# What a configuration must say, where it says anything of it: what is computed here.
_FIXED = {"model_type": "whisper", "activation_function": "gelu", "scale_embedding": False}


@dataclass(frozen=True)
class WhisperConfig(EncoderConfig):
    """Settings of `GatedWhisper`; the defaults are the shape of Whisper tiny.

    Raises
    ------
    DldError
        A value is not what its field allows, or contradicts another.
    """

    owner: ClassVar[str] = "GatedWhisper"

    input_size: Annotated[int, COUNT, Named("num_mel_bins")] = 80
    """Mel bins."""
    num_blocks: Annotated[int, COUNT, Named("encoder_layers")] = 4
    d_model: Annotated[int, COUNT, Named("d_model")] = 384
    d_ffn: Annotated[int, COUNT, Named("encoder_ffn_dim")] = 1536
    num_heads: Annotated[int, COUNT, Named("encoder_attention_heads")] = 6
    max_frames: Annotated[int, COUNT, Named("max_source_positions")] = 1500
    """Positions, at 50 frames a second."""
    stack: Count = 1
    """Frames joined to one output frame, `stack · d_model` wide. CTC on pairs of frames, 25 a second, trains faster and
    decodes with half the work."""
    dropout: Rate = 0.0
    """Dropout of attention weights, activations and residual branches. Whisper was trained without."""
    lr_scale: AtLeast0 = 1.0
    """Learning rate of the encoder as a multiple of the head's (see `parameter_groups`)."""
    freeze_convolutions: Switch = False
    """The two convolutions before the blocks are not trained."""
    source_blocks: Annotated[tuple | None, Nullable(ListOf(NOT_NEGATIVE))] = None
    """Which blocks of a checkpoint become those of this encoder, from 0; by default all of them."""

    def check(self) -> None:
        """Raise a `DldError` where values contradict each other, though each is allowed."""
        if self.d_model % (2 * self.num_heads):
            raise DldError(f"d_model {self.d_model} must be an even multiple of num_heads {self.num_heads}")
        if self.source_blocks is not None and len(self.source_blocks) != self.num_blocks:
            raise DldError(f"source_blocks names {len(self.source_blocks)} blocks, num_blocks is {self.num_blocks}")


_NAMED = marks(WhisperConfig, "huggingface")


class SelfAttention(nn.Module):
    """Multi-head self-attention; the key projection has no bias, as in Whisper."""

    def __init__(self, config: WhisperConfig):
        super().__init__()
        width = config.d_model
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """Compute (batch, frames, width) → the same shape; frames where `padding` is True are not attended to."""
        query, key, value = (
            project(hidden).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        p = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, padding, p)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class WhisperBlock(nn.Module):
    """Self-attention and feed-forward, each with LayerNorm before and a residual around it.

    The weights have their names in HuggingFace's transformers.
    """

    def __init__(self, config: WhisperConfig):
        super().__init__()
        self.self_attn = SelfAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.d_ffn)
        self.fc2 = nn.Linear(config.d_ffn, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """Compute (batch, frames, width) → the same shape; frames where `padding` is True are not attended to."""
        hidden = hidden + self.dropout(self.self_attn(self.self_attn_layer_norm(hidden), padding))
        inner = self.dropout(functional.gelu(self.fc1(self.final_layer_norm(hidden))))
        return hidden + self.dropout(self.fc2(inner))


def sinusoids(frames: int, width: int) -> Tensor:
    """Return Whisper's positions: sines, then cosines, of wavelengths that rise geometrically from 2π to 20 000π.

    Parameters
    ----------
    frames, width : int

    Returns
    -------
    Tensor (frames, width)

    Examples
    --------
    >>> sinusoids(2, 4)[1]
    tensor([8.4147e-01, 1.0000e-04, 5.4030e-01, 1.0000e+00])
    """
    rates = 10000.0 ** -torch.linspace(0, 1, width // 2)
    angles = torch.arange(frames)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class GatedWhisper(GatedEncoder):
    """The encoder of Whisper (arXiv 2212.04356) with a gate before each block, as the body of a CTC network.

    Padding is masked and takes no part in anything: an utterance of any length up to that of the positions (30 s) is
    encoded as long as it is, and as if it were alone. Takes the features of `dld.frontends.WhisperLogMel`. A closed
    gate is the identity; as the blocks are pre-norm, they have no closing LayerNorm that it could keep.

    The defaults are the shape of Whisper tiny; `GatedWhisper.from_pretrained` takes it from the checkpoint.

    Parameters
    ----------
    config : WhisperConfig
        Or its fields as keyword arguments.

    Raises
    ------
    DldError
        From `forward`, where an utterance is too long.

    Examples
    --------
    >>> encoder = GatedWhisper(num_blocks=3, d_model=16, d_ffn=32, num_heads=2, stack=2).eval()
    >>> hidden, lengths = encoder(torch.randn(2, 99, 80), torch.tensor([99, 40]), gates=(True, False, True))
    >>> hidden.shape, lengths.tolist()
    (torch.Size([2, 25, 32]), [25, 10])
    """

    @configured(WhisperConfig)
    def __init__(self, config: WhisperConfig):
        super().__init__(
            num_blocks=config.num_blocks,
            output_size=config.stack * config.d_model,
            subsampling=2 * config.stack,
            input_size=config.input_size,
            max_seconds=config.max_frames / 50,
        )
        self.config = config
        self.conv1 = nn.Conv1d(config.input_size, config.d_model, 3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, 3, stride=2, padding=1)
        self.register_buffer("positions", sinusoids(config.max_frames, config.d_model))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(WhisperBlock(config) for _ in range(config.num_blocks))
        self.layer_norm = nn.LayerNorm(config.d_model)
        if config.freeze_convolutions:
            self.conv1.requires_grad_(False)
            self.conv2.requires_grad_(False)

    @property
    def description(self) -> str:
        """What tables call the encoder; the width is that of its blocks."""
        return f"whisper-{self.num_blocks}x{self.conv2.out_channels}"

    # ------------------------------------------------------------ weights

    @classmethod
    def from_pretrained(cls, source: str | Path, **settings: Any) -> "GatedWhisper":
        """Make an encoder of a checkpoint's shape, with its weights.

        Parameters
        ----------
        source : str or Path
            A folder with `config.json` and safetensors files, as HuggingFace's transformers save a whole Whisper or
            its encoder alone; or an id on its hub, such as `openai/whisper-tiny.en`.
        settings
            Fields of `WhisperConfig` that do not follow from the checkpoint; with `source_blocks` it may have fewer
            blocks than that.

        Returns
        -------
        GatedWhisper

        Raises
        ------
        DldError
            The source cannot be loaded, is not a Whisper, or lacks weights; the message lists them.
        """
        config, state = _read_encoder(source)
        shape = {name: config[named.huggingface] for name, named in _NAMED.items()}
        if settings.get("source_blocks") is not None:
            shape["num_blocks"] = len(settings["source_blocks"])
        encoder = cls(**{**shape, **settings})
        encoder._load(config, state, source)
        return encoder

    def load_pretrained(self, source: str | Path) -> None:
        """Load a checkpoint's weights (see `from_pretrained`); one too few, too many or misshapen is an error."""
        self._load(*_read_encoder(source), source)

    def _load(self, config: dict, state: dict[str, Tensor], source: str | Path) -> None:
        heads, there, blocks = config["encoder_attention_heads"], config["encoder_layers"], self.config.source_blocks
        if heads != self.config.num_heads:
            raise DldError(f"{source} has {heads} attention heads, not {self.config.num_heads}")
        if blocks is not None:
            if not all(0 <= block < there for block in blocks):
                raise DldError(f"source_blocks {list(blocks)}: {source} has blocks 0…{there - 1}")
            state = _take_blocks(state, blocks)
        load_exactly(self, state, source)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters for an optimizer, in groups that each have their `lr_scale`.

        Returns
        -------
        list of dict
            With "params" and "lr_scale".
        """
        return [{"params": list(self.parameters()), "lr_scale": self.config.lr_scale}]

    # ------------------------------------------------------------ encoding

    def embed(self, features: Tensor, lengths: Tensor) -> Embedded:
        """Compute everything before the blocks: (batch, time, input_size), (batch,) → `Embedded`."""
        features = features.masked_fill(padding_mask(lengths, features.shape[1])[..., None], 0.0)
        # Empty frames fill the last output frame: with every output frame whole, none is masked after the blocks.
        whole = self.subsampling
        features = functional.pad(features, (0, 0, 0, -features.shape[1] % whole))
        lengths = ((lengths + whole - 1) // whole * whole).clamp_min(whole)
        if features.shape[1] > 2 * len(self.positions):
            raise DldError(
                f"an utterance of {features.shape[1]} feature frames is too long: Whisper's positions reach "
                f"{2 * len(self.positions)} ({len(self.positions) / 50:g} s); cut it into segments "
                "(max_duration leaves such ones out of training)"
            )
        hidden = functional.gelu(self.conv1(features.transpose(1, 2)))
        hidden = hidden.masked_fill(padding_mask(lengths, hidden.shape[2])[:, None], 0.0)
        hidden = functional.gelu(self.conv2(hidden)).transpose(1, 2)
        lengths = lengths // 2
        hidden = self.dropout(hidden + self.positions[: hidden.shape[1]])
        return Embedded(hidden, lengths // self.config.stack, padding_mask(lengths, hidden.shape[1]))

    def run_block(self, index: int, hidden: Tensor, embedded: Embedded) -> Tensor:
        """Return the output of block `index`, shape as `hidden`."""
        return self.layers[index](hidden, embedded.padding)

    def finish(self, hidden: Tensor) -> Tensor:
        """Normalise, and join `stack` frames to one."""
        return self.layer_norm(hidden).unflatten(1, (-1, self.config.stack)).flatten(2)


def _read_encoder(source: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """Return the configuration of a Whisper, and its encoder's weights by their names here."""
    config, state = read_checkpoint(source, lambda name: not re.match(r"(model\.)?decoder\.|proj_out\.", name))
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise DldError(f"{source}: {key} is {config[key]!r} in config.json; only {value!r} is supported")
    missing = sorted({named.huggingface for named in _NAMED.values()} - config.keys())
    if missing:
        raise DldError(f"{source}: config.json has no {', '.join(missing)}; it is not that of a Whisper")
    prefix = next((prefix for prefix in _PREFIXES if any(name.startswith(prefix + "conv1.") for name in state)), "")
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if "embed_positions.weight" in own:
        own["positions"] = own.pop("embed_positions.weight")
    return config, own


def _take_blocks(state: dict[str, Tensor], blocks: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the weights with only these blocks, numbered from 0."""
    taken = {name: tensor for name, tensor in state.items() if not name.startswith("layers.")}
    for new, old in enumerate(blocks):
        prefix = f"layers.{old}."
        for name, tensor in state.items():
            if name.startswith(prefix):
                taken[f"layers.{new}.{name.removeprefix(prefix)}"] = tensor
    return taken
