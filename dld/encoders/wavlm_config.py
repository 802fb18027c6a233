"""Settings of the gated WavLM, with their names in torchaudio and in HuggingFace's transformers."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dld.checks import COUNT, FLAG, NOT_NEGATIVE, RATE, Choice, ListOf, Nullable, Number, Whole, complaint
from dld.encoders.config import AtLeast0, Count, EncoderConfig, Named, Share, Switch, marks
from dld.errors import DldError

# Channels, kernel and stride; the same in Base and Large.
_CONV_LAYERS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)
_LAYERS = ListOf(ListOf(COUNT, 3))


@dataclass(frozen=True)
class WavLMConfig(EncoderConfig):
    """Settings of `GatedWavLM`; the defaults are those of WavLM Base.

    Raises
    ------
    DldError
        A value is not what its field allows, or contradicts another.
    """

    owner: ClassVar[str] = "GatedWavLM"

    num_blocks: Annotated[int, COUNT, Named("num_hidden_layers", "encoder_num_layers")] = 12
    d_model: Annotated[int, COUNT, Named("hidden_size", "encoder_embed_dim")] = 768
    d_ffn: Annotated[int, COUNT, Named("intermediate_size", "encoder_ff_interm_features")] = 3072
    num_heads: Annotated[int, COUNT, Named("num_attention_heads", "encoder_num_heads")] = 12
    conv_layers: Annotated[tuple, _LAYERS, Named("conv_*", "extractor_conv_layer_config")] = _CONV_LAYERS
    """Channels, kernel and stride of each convolution over the waveform."""
    conv_norm: Annotated[str, Choice("group", "layer"), Named("feat_extract_norm", "extractor_mode")] = "group"
    """"group": each channel over time after the first convolution (Base); "layer": each frame, after all (Large)."""
    conv_bias: Annotated[bool, FLAG, Named("conv_bias", "extractor_conv_bias")] = False
    pre_norm: Annotated[bool, FLAG, Named("do_stable_layer_norm", "encoder_layer_norm_first")] = False
    """False: LayerNorm after the residual sums (Base). True: before (Large), and once after the last block."""
    num_buckets: Annotated[int, Whole(low=4), Named("num_buckets", "encoder_num_buckets")] = 320
    """Buckets of the relative position bias."""
    max_distance: Annotated[int, COUNT, Named("max_bucket_distance", "encoder_max_distance")] = 800
    """Frames from which on all distances have one bucket."""
    positional_kernel: Annotated[int, COUNT, Named("num_conv_pos_embeddings", "encoder_pos_conv_kernel")] = 128
    positional_groups: Annotated[int, COUNT, Named("num_conv_pos_embedding_groups", "encoder_pos_conv_groups")] = 16
    dropout: Annotated[float, RATE, Named("hidden_dropout", "encoder_dropout")] = 0.1
    """After each branch."""
    attention_dropout: Annotated[float, RATE, Named("attention_dropout", "encoder_attention_dropout")] = 0.1
    activation_dropout: Annotated[float, RATE, Named("activation_dropout", "encoder_ff_interm_dropout")] = 0.0
    """Within the feed-forward."""
    projection_dropout: Annotated[float, RATE, Named("feat_proj_dropout", "encoder_projection_dropout")] = 0.1
    """Before the positional convolution."""
    closed_norm: Switch = False
    """What a closed gate does. False: the identity. True: the block's closing LayerNorm still runs (post-norm only)."""
    mask_time_share: Share = 0.0
    """In training: frames in spans that become the mask embedding."""
    mask_time_width: Count = 10
    mask_channel_share: Share = 0.0
    """In training: channels in spans that become zero."""
    mask_channel_width: Count = 64
    weighted_sum: Switch = False
    """The output is a learned mean of what enters the first block and the output of every block; that of a closed block
    is its input, so all gate vectors have the same number of terms."""
    freeze_extractor: Switch = True
    """The convolutions over the waveform are not trained."""
    freeze_updates: Annotated[int, NOT_NEGATIVE] = 0
    """For this many updates nothing of the encoder is trained but the weights of `weighted_sum` (see `on_update`)."""
    lr_scale: AtLeast0 = 1.0
    """Learning rate of the encoder as a multiple of the head's (see `parameter_groups`)."""
    layer_decay: Annotated[float, Number(above=0, high=1)] = 1.0
    """Factor on it from each block to the one below."""
    gradient_checkpointing: Switch = False
    """In training keep only each block's input and compute the rest again: less memory, more time."""
    low_precision: Annotated[str | None, Nullable(Choice("extractor", "all"))] = None
    """bfloat16 in the convolutions over the waveform, or everywhere that autocast allows it."""

    def check(self) -> None:
        """Raise a `DldError` where values contradict each other, though each is allowed."""
        wrong = complaint("max_distance", self.max_distance, Whole(low=self.num_buckets // 4 + 1))
        if wrong:
            raise DldError(f"{self.owner}: {wrong}")
        if self.closed_norm and self.pre_norm:
            raise DldError("closed_norm: a pre-norm block has no closing LayerNorm; set it to false")
        if self.d_model % self.num_heads or self.d_model % self.positional_groups:
            raise DldError(
                f"d_model {self.d_model} must be a multiple of num_heads {self.num_heads} "
                f"and of positional_groups {self.positional_groups}"
            )

    def for_torchaudio(self) -> dict:
        """Return the arguments of torchaudio's `wavlm_model` for a model of this shape.

        Examples
        --------
        >>> WavLMConfig(pre_norm=True).for_torchaudio()["encoder_layer_norm_first"]
        True
        """
        arguments = {named.torchaudio: getattr(self, name) for name, named in marks(type(self), "torchaudio").items()}
        return {
            **arguments,
            "extractor_mode": f"{self.conv_norm}_norm",
            "extractor_conv_layer_config": list(self.conv_layers),
            "encoder_layer_drop": 0.0,
            "aux_num_out": None,
        }


def from_torchaudio(arguments: dict) -> dict:
    """Return settings of `WavLMConfig` for arguments of torchaudio's `wavlm_model`."""
    shape = {name: arguments[named.torchaudio] for name, named in marks(WavLMConfig, "torchaudio").items()}
    return {**shape, "conv_norm": shape["conv_norm"].removesuffix("_norm")}


# What HuggingFace takes for a key that a file leaves out, where that is not the default here.
_HUGGINGFACE_DEFAULTS = {"activation_dropout": 0.1, "feat_proj_dropout": 0.0}
_CONVOLUTION_KEYS = ("conv_dim", "conv_kernel", "conv_stride")


def from_huggingface(keys: dict) -> dict:
    """Return settings of `WavLMConfig` for a configuration as HuggingFace's transformers save it.

    Examples
    --------
    >>> from_huggingface({"hidden_size": 1024, "conv_dim": [512] * 7})["d_model"]
    1024
    """
    keys = {**_HUGGINGFACE_DEFAULTS, **keys}
    shape = {
        name: keys[named.huggingface]
        for name, named in marks(WavLMConfig, "huggingface").items()
        if named.huggingface in keys
    }
    usual = zip(*_CONV_LAYERS, strict=True)
    columns = [keys.get(key, column) for key, column in zip(_CONVOLUTION_KEYS, usual, strict=True)]
    return {**shape, "conv_layers": list(zip(*columns, strict=True))}
