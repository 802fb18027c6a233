"""Checkpoints as HuggingFace's transformers save them, read without transformers and without executing anything."""

import logging
import pickle
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dld.errors import DldError
from dld.files import read_record

logger = logging.getLogger(__name__)

_CONFIG = "config.json"
# One file, or the numbered parts of a large model; not the copies in other precisions that some models have next to it.
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
_PICKLED = "pytorch_model.bin"


def checkpoint_folder(source: str | Path, pickled: bool = False) -> Path:
    """Return the folder of a checkpoint: `source` itself, or that of an id of the hub such as `openai/whisper-base`.

    Parameters
    ----------
    source : str or Path
        What has been downloaded once is taken from huggingface_hub's cache when the hub cannot be reached.
    pickled : bool
        Accept `pytorch_model.bin` where there are no safetensors.

    Returns
    -------
    Path
        With `config.json` and safetensors files in it.

    Raises
    ------
    DldError
        There is neither a folder nor an id of this name, or files are missing.
    """
    folder = Path(source)
    if not folder.is_dir():
        if str(source).count("/") != 1 or folder.is_absolute() or str(source).startswith("."):
            raise DldError(f"{source}: no such folder, nor an id of the hub such as openai/whisper-tiny.en")
        try:
            wanted = [_CONFIG, *_WEIGHTS, *([_PICKLED] if pickled else [])]
            folder = Path(snapshot_download(str(source), allow_patterns=wanted))
        except Exception as error:  # its HTTP library's errors, which have no base class in common with its own
            raise DldError(f"{source}: no such folder, and not loaded from the hub: {first_line(error)}") from None
    if not (folder / _CONFIG).is_file():
        raise DldError(f"{source}: no {_CONFIG} there; give a folder that transformers saved")
    if not _weight_files(folder, pickled):
        hint = "pickled weights (*.bin) are not read; " if any(folder.glob("*.bin")) else ""
        raise DldError(f"{source}: no {_WEIGHTS[0]} there; {hint}save the model again with transformers")
    return folder


def _weight_files(folder: Path, pickled: bool) -> list[Path]:
    files = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    return files or sorted(folder.glob(_PICKLED) if pickled else [])


def read_checkpoint(
    source: str | Path, wanted: Callable[[str], bool] = lambda name: True, pickled: bool = False
) -> tuple[dict, dict[str, Tensor]]:
    """Read configuration and weights of a checkpoint.

    Parameters
    ----------
    source : str or Path
        See `checkpoint_folder`.
    wanted : callable
        Which weights are read, by name; the others stay on the disk.
    pickled : bool
        Read `pytorch_model.bin` where there are no safetensors; a file that holds more than weights is refused.

    Returns
    -------
    config : dict
    state : dict of str to Tensor
        Floating-point weights in single precision, whatever they are stored in.
    """
    folder = checkpoint_folder(source, pickled)
    config = read_record(folder / _CONFIG, {}, "download it again")
    state = {}
    for file in _weight_files(folder, pickled):
        state.update(_unpickled(file, wanted) if file.name == _PICKLED else _tensors(file, wanted))
    return config, {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _tensors(file: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    try:
        with safe_open(file, "pt") as weights:
            return {name: weights.get_tensor(name) for name in filter(wanted, weights.keys())}
    except (SafetensorError, OSError) as error:
        raise DldError(f"{file}: not a whole safetensors file ({first_line(error)}); get it again") from None


def _unpickled(file: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DldError(f"{file}: holds more than weights and is not read ({first_line(error)})") from None
    except (RuntimeError, EOFError, OSError) as error:
        raise DldError(f"{file}: not a whole file of weights ({first_line(error)}); get it again") from None
    return {name: tensor for name, tensor in state.items() if wanted(name)}


def load_exactly(
    module: nn.Module, state: dict[str, Tensor], source: str | Path, optional: Collection[str] = ()
) -> None:
    """Load weights by name, all of them.

    Parameters
    ----------
    module : Module
    state : dict of str to Tensor
    source : str or Path
        Named in messages.
    optional : collection of str
        Weights that may be missing and then stay as they are, which is logged.

    Raises
    ------
    DldError
        Weights are missing, unknown or of another shape; the message lists them.
    """
    own = module.state_dict()
    kinds = {
        "missing": own.keys() - state.keys() - set(optional),
        "unknown": state.keys() - own.keys(),
        "of another shape": {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape},
    }
    wrong = "; ".join(f"{len(names)} {kind}: {shortened(sorted(names))}" for kind, names in kinds.items() if names)
    if wrong:
        raise DldError(f"{source} does not fit this {type(module).__name__}: weights {wrong}")
    module.load_state_dict(state, strict=False)
    absent = sorted(own.keys() - state.keys())
    logger.info("%d weights from %s%s", len(state), source, f"; not in it: {', '.join(absent)}" if absent else "")


def shortened(names: list[str], shown: int = 8) -> str:
    """Return a list of names as text, the first ones only where it is long.

    Examples
    --------
    >>> shortened(["a", "b", "c"], shown=2)
    'a, b and 1 more'
    """
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
