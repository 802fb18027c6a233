"""Published WavLM checkpoints, read without executing anything that is in them."""

import pickle
from dataclasses import dataclass

import torch
import torchaudio
from torch import nn

from dld.encoders.pretrained import first_line, read_checkpoint
from dld.errors import DldError

BUNDLES = ("WAVLM_BASE", "WAVLM_BASE_PLUS", "WAVLM_LARGE")

# What the names of our weights begin with, for what those of a torchaudio model and of HuggingFace's begin with.
_FROM_TORCHAUDIO = {
    "feature_extractor.conv_layers.": "extractor.layers.",
    "encoder.feature_projection.": "projection.",
    "encoder.transformer.layers.0.attention.rel_attn_embed.": "positions.embedding.",
    "encoder.transformer.layers.": "layers.",
    "encoder.transformer.pos_conv_embed.": "positional.",
    "encoder.transformer.layer_norm.": "norm.",
}
_FROM_HUGGINGFACE = {
    "feature_extractor.conv_layers.": "extractor.layers.",
    "feature_projection.": "projection.",
    "encoder.layers.0.attention.rel_attn_embed.": "positions.embedding.",
    "encoder.layers.": "layers.",
    "encoder.pos_conv_embed.": "positional.",
    "encoder.layer_norm.": "norm.",
    "masked_spec_embed": "mask_embedding",
}
# Heads of pre-training and of other tasks; the encoder has no use for them.
_HEADS = ("aux.", "lm_head.", "quantizer.", "project_hid.", "project_q.", "projector.", "classifier.", "label_embs")
_LEGACY_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}

# Keys of a HuggingFace configuration that say the shape, with what they are where a file leaves them out.
_DEFAULTS = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "feat_extract_norm": "group",
    "conv_bias": False,
    "do_stable_layer_norm": False,
    "num_buckets": 320,
    "max_bucket_distance": 800,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "feat_proj_dropout": 0.0,
}
# Keys that must have this value, where they are there at all.
_FIXED = {
    "model_type": "wavlm",
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "add_adapter": False,
    "layer_norm_eps": 1e-5,
}


@dataclass
class Pretrained:
    """A checkpoint.

    Attributes
    ----------
    source : str
    architecture : dict
        Arguments of `GatedWavLM`.
    state : dict of str to Tensor
        Its weights, by their names in `GatedWavLM`.
    """

    source: str
    architecture: dict
    state: dict


def read_pretrained(source):
    """Read a checkpoint, from wherever it is.

    Parameters
    ----------
    source : str or Path
        A torchaudio bundle (WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE), downloaded once; a folder with `config.json` and
        `model.safetensors` (or `pytorch_model.bin`), as HuggingFace's transformers save it; or an id on its hub.

    Returns
    -------
    Pretrained

    Raises
    ------
    DldError
        It cannot be had, is no WavLM, is damaged, or holds anything but weights.
    """
    if str(source) in BUNDLES:
        return _from_bundle(str(source))
    if str(source).startswith("WAVLM"):
        raise DldError(f"{source}: no such bundle; torchaudio has {', '.join(BUNDLES)}")
    return _from_checkpoint(source)


def _from_bundle(name):
    bundle = getattr(torchaudio.pipelines, name)
    try:
        model = bundle.get_model(dl_kwargs={"weights_only": True})
    except pickle.UnpicklingError as error:
        raise DldError(f"{name}: the file holds more than weights and is not read: {first_line(error)}") from None
    except (OSError, RuntimeError, EOFError) as error:
        raise DldError(
            f"{name}: cannot be had: {first_line(error)}; connect to the internet, or give a folder with the weights"
        ) from None
    # Large comes in a wrapper that normalises the waveform, which is the front end's business here.
    model = getattr(model, "model", model)
    return Pretrained(name, _architecture(model), _renamed(model.state_dict(), _FROM_TORCHAUDIO))


def _architecture(model):
    """Arguments of `GatedWavLM` for a torchaudio model."""
    convolutions = [layer.conv for layer in model.feature_extractor.conv_layers]
    transformer = model.encoder.transformer
    first = transformer.layers[0]
    return {
        "num_blocks": len(transformer.layers),
        "d_model": first.attention.embed_dim,
        "d_ffn": first.feed_forward.intermediate_dense.out_features,
        "num_heads": first.attention.num_heads,
        "conv_layers": [[c.out_channels, c.kernel_size[0], c.stride[0]] for c in convolutions],
        "conv_norm": "group"
        if isinstance(model.feature_extractor.conv_layers[0].layer_norm, nn.GroupNorm)
        else "layer",
        "conv_bias": convolutions[0].bias is not None,
        "pre_norm": first.layer_norm_first,
        "num_buckets": first.attention.num_buckets,
        "max_distance": first.attention.max_distance,
        "positional_kernel": transformer.pos_conv_embed.conv.kernel_size[0],
        "positional_groups": transformer.pos_conv_embed.conv.groups,
        "dropout": first.dropout.p,
        "attention_dropout": first.attention.dropout,
        "activation_dropout": first.feed_forward.intermediate_dropout.p,
        "projection_dropout": model.encoder.feature_projection.dropout.p,
    }


def _from_checkpoint(source):
    config, state = read_checkpoint(source, lambda name: not name.startswith(_HEADS), pickled=True)
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise DldError(f"{source}: {key} is {config[key]!r} in config.json; only {value!r} is supported")
    config = {**_DEFAULTS, **config}
    architecture = {
        "num_blocks": config["num_hidden_layers"],
        "d_model": config["hidden_size"],
        "d_ffn": config["intermediate_size"],
        "num_heads": config["num_attention_heads"],
        "conv_layers": [
            list(layer) for layer in zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"], strict=True)
        ],
        "conv_norm": config["feat_extract_norm"],
        "conv_bias": config["conv_bias"],
        "pre_norm": config["do_stable_layer_norm"],
        "num_buckets": config["num_buckets"],
        "max_distance": config["max_bucket_distance"],
        "positional_kernel": config["num_conv_pos_embeddings"],
        "positional_groups": config["num_conv_pos_embedding_groups"],
        "dropout": config["hidden_dropout"],
        "attention_dropout": config["attention_dropout"],
        "activation_dropout": config["activation_dropout"],
        "projection_dropout": config["feat_proj_dropout"],
    }
    state = {name.removeprefix("wavlm."): tensor for name, tensor in state.items()}
    return Pretrained(str(source), architecture, _joined(_renamed(state, _FROM_HUGGINGFACE)))


def _renamed(state, prefixes):
    out = {}
    for name, tensor in state.items():
        if name.startswith(_HEADS):
            continue
        for theirs, ours in prefixes.items():
            if name.startswith(theirs):
                name = ours + name[len(theirs) :]
                break
        head, _, last = name.rpartition(".")
        out[f"{head}.{_LEGACY_WEIGHT_NORM[last]}" if last in _LEGACY_WEIGHT_NORM else name] = tensor
    return out


def _joined(state):
    """Query, key and value projections as the one that torchaudio's attention has."""
    out = dict(state)
    for name in state:
        block, found, last = name.partition(".attention.q_proj.")
        parts = [f"{block}.attention.{letter}_proj.{last}" for letter in "qkv"]
        if found and all(part in state for part in parts):
            out[f"{block}.attention.attention.in_proj_{last}"] = torch.cat([out.pop(part) for part in parts])
        block, found, last = name.partition(".attention.out_proj.")
        if found:
            out[f"{block}.attention.attention.out_proj.{last}"] = out.pop(name)
    return out
