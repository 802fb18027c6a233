"""Published WavLM checkpoints, read without executing anything that is in them."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
import torchaudio
from torch import Tensor

from dld.encoders.pretrained import first_line, read_checkpoint
from dld.encoders.wavlm_config import from_huggingface, from_torchaudio
from dld.errors import DldError

BUNDLES = ("WAVLM_BASE", "WAVLM_BASE_PLUS", "WAVLM_LARGE")

# Prefixes of the names of weights: of a torchaudio model and of HuggingFace's → here.
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
        Fields of `WavLMConfig`.
    state : dict of str to Tensor
        Its weights, by their names in `GatedWavLM`.
    """

    source: str
    architecture: dict
    state: dict[str, Tensor]


def read_pretrained(source: str | Path) -> Pretrained:
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
        It cannot be loaded, is not a WavLM, is damaged, or holds anything but weights.
    """
    if str(source) in BUNDLES:
        return _from_bundle(str(source))
    if str(source).startswith("WAVLM"):
        raise DldError(f"{source}: no such bundle; torchaudio has {', '.join(BUNDLES)}")
    return _from_checkpoint(source)


def _from_bundle(name: str) -> Pretrained:
    bundle = getattr(torchaudio.pipelines, name)
    try:
        model = bundle.get_model(dl_kwargs={"weights_only": True})
    except pickle.UnpicklingError as error:
        raise DldError(f"{name}: the file holds more than weights and is not read: {first_line(error)}") from None
    except (OSError, RuntimeError, EOFError) as error:
        raise DldError(
            f"{name}: cannot be loaded: {first_line(error)}; connect to the internet, or give a folder with the weights"
        ) from None
    # Large comes in a wrapper that normalises the waveform, which is the front end's business here.
    model = getattr(model, "model", model)
    # torchaudio keeps the model's arguments in the bundle.
    return Pretrained(name, from_torchaudio(bundle._params), _renamed(model.state_dict(), _FROM_TORCHAUDIO))


def _from_checkpoint(source: str | Path) -> Pretrained:
    keys, state = read_checkpoint(source, lambda name: not name.startswith(_HEADS), pickled=True)
    for key, value in _FIXED.items():
        if keys.get(key, value) != value:
            raise DldError(f"{source}: {key} is {keys[key]!r} in config.json; only {value!r} is supported")
    state = {name.removeprefix("wavlm."): tensor for name, tensor in state.items()}
    return Pretrained(str(source), from_huggingface(keys), _joined(_renamed(state, _FROM_HUGGINGFACE)))


def _renamed(state: dict[str, Tensor], prefixes: dict[str, str]) -> dict[str, Tensor]:
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


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value projections to the one that torchaudio's attention has."""
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
