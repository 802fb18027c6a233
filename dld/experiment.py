"""A finished experiment as it is read: its settings, its tokenizer, its final model."""

import hashlib
import json
import logging
import os
import shlex
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dld.config.plain import one_line
from dld.data.tokenizer import Tokenizer
from dld.errors import DldError
from dld.files import check_kind, open_file, read_bytes, read_json, read_lines, read_record
from dld.network import GatedCTC
from dld.records import Record, optional
from dld.saved import Settings
from dld.scoring.decodes import stopped_at

logger = logging.getLogger(__name__)

HYPERPARAMS = "hyperparams.yaml"
MODEL = "model.safetensors"
ABOUT = "model.json"
TOKENIZER = "bpe.model"
RUN = "run.json"
LOG = "train_log.jsonl"

#: What is read of the settings when a model runs.
SETTING_KINDS: dict[str, type | tuple[type, ...]] = {
    "sample_rate": int,
    "channel": (int, type(None)),
    "decode_depths": (str, int, list),
    "decode_policy": str,
}
COPY_AGAIN = "copy the whole experiment again, or train again"


@dataclass(frozen=True)
class ModelRecord(Record):
    """What `model.json` holds: the final weights, and how they were trained.

    Attributes
    ----------
    num_blocks, vocab_size : int
    tokenizer_sha256, state_sha256 : str
        Hashes of the tokenizer's file and of the weights, see `state_hash`.
    system : str
        Name of the system in tables.
    seed, updates : int
    epochs, num_epochs : int, optional
        Epochs that it was trained, and that were planned: of a run that was stopped the former are fewer.
    train_seconds : float
    averaged_epochs : list of int, optional
        Epochs whose mean the weights are.
    dev_wer : dict, optional
        Depth → word error rate on dev, in percent.
    init_sha256, teacher_sha256 : str, optional
        Hashes of the weights of start and teacher, where there were any.
    git : str, optional
        Commit of the program.
    """

    num_blocks: int
    vocab_size: int
    tokenizer_sha256: str
    state_sha256: str
    system: str
    seed: int
    updates: int
    train_seconds: float
    averaged_epochs: list[int] | None = None
    dev_wer: dict | None = None
    init_sha256: str | None = None
    teacher_sha256: str | None = None
    git: str | None = None
    epochs: int | None = optional()
    num_epochs: int | None = optional()

    @property
    def stopped(self) -> str:
        """Where the run was stopped, `epoch 12 of 60`; "" where it reached its end."""
        return stopped_at(self.epochs, self.num_epochs)


class Epoch(NamedTuple):
    """What the log of a training says of an epoch: its number and the mean WER on dev, in percent."""

    epoch: int
    mean_wer: float


def logged(folder: str | Path) -> Epoch | None:
    """Return the last epoch in the log of a training, None where there is none."""
    path = Path(folder) / LOG
    if not path.is_file():
        return None
    last = deque(read_lines(path), maxlen=1)
    try:
        entry = json.loads(last[0][1]) if last else None
        return entry and Epoch(int(entry["epoch"]), float(entry["mean_wer"]))
    except (ValueError, KeyError, TypeError):
        return None


def last_command(folder: str | Path) -> str:
    """Return the command that resumes the run in a folder, to be pasted into a shell; "" where it is not known."""
    try:
        start = read_json(Path(folder) / RUN)["starts"][-1]
        words = shlex.split(start["command"])
        directory = shlex.quote(start["directory"])
    except (DldError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    if words[0] not in ("dld", "torchrun"):  # it was called from Python
        return ""
    for name in ("--restart", "--finish"):
        while name in words:
            at = words.index(name)
            del words[at : at + 2]
    return f"cd {directory} && {shlex.join(words)}"


def state_hash(module: torch.nn.Module) -> str:
    """Return the SHA-256 over names, shapes and values of a module's weights and buffers."""
    return tensors_hash(module.state_dict())


def tensors_hash(state: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a state dict, see `state_hash`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_about(folder: str | Path) -> ModelRecord:
    """Return what `model.json` says of a finished experiment."""
    path = Path(folder) / ABOUT
    if not path.exists():
        raise DldError(f"{folder}: no finished model there ({ABOUT} is missing); {_how_to_finish(folder)}")
    return ModelRecord.from_json(read_record(path, {}, COPY_AGAIN), str(path), COPY_AGAIN)


def _how_to_finish(folder: str | Path) -> str:
    """Return what to do about a missing model: train, or finish a run that was stopped."""
    last, command = logged(folder), last_command(folder) or "the command that trained it"
    if last is None:
        return "train it first (dld train)"
    return (
        f"its training was stopped after epoch {last.epoch}, at {last.mean_wer:.2f} % WER on dev; resume it: {command}"
        "; the same command with --finish true makes a model of what is trained so far"
    )


def model_hash(folder: str | Path) -> str:
    """Return the hash of the weights of a finished experiment, as its `model.json` has it."""
    return read_about(folder).state_sha256


@dataclass
class Trained:
    """A finished experiment.

    Attributes
    ----------
    folder : Path
    network : GatedCTC
        In evaluation mode.
    tokenizer : Tokenizer
    about : ModelRecord
        The content of `model.json`.
    settings : dict
        The values of its YAML file, plain: what was an object is `{"!new:NAME": its arguments}`.
    """

    folder: Path
    network: GatedCTC
    tokenizer: Tokenizer
    about: ModelRecord
    settings: dict


def load_trained(folder: str | os.PathLike, device: str = "cpu") -> Trained:
    """Load a finished experiment, without running anything that its files name.

    Weights and tokenizer are checked against the hashes that were written with them.

    Parameters
    ----------
    folder : str or Path
    device : str

    Returns
    -------
    Trained

    Raises
    ------
    DldError
        There is no finished model, or a file of it is damaged, hostile or of another model.
    """
    folder = Path(folder)
    about = read_about(folder)
    if about.stopped:
        logger.warning("%s: the training of this model was stopped at %s", folder, about.stopped)
    settings = Settings(folder / HYPERPARAMS)
    for key, kind in SETTING_KINDS.items():
        if key not in settings.values:
            raise DldError(f"{folder / HYPERPARAMS}: missing key {key!r}; {COPY_AGAIN}")
        check_kind(settings.values[key], kind, f"{folder / HYPERPARAMS}: {key}", COPY_AGAIN)
    if settings.values["sample_rate"] < 1:
        raise DldError(f"{folder / HYPERPARAMS}: sample_rate is not a number of Hz; {COPY_AGAIN}")
    tokenizer = load_tokenizer(folder, about)
    state = read_weights(folder, about)
    network = settings.network({name: (tensor.shape, tensor.dtype) for name, tensor in state.items()})
    for key, found in (("num_blocks", network.num_blocks), ("vocab_size", network.vocab_size)):
        if found != getattr(about, key):
            raise DldError(f"{folder / ABOUT}: {key} is {getattr(about, key)}, the network's is {found}; {COPY_AGAIN}")
    if network.vocab_size != len(tokenizer):
        raise DldError(
            f"{folder}: {network.vocab_size} outputs, but {len(tokenizer)} tokens in {TOKENIZER}; {COPY_AGAIN}"
        )
    network.load_state_dict(state)
    return Trained(folder, network.to(device).eval(), tokenizer, about, settings.values)


def load_tokenizer(folder: str | Path, about: ModelRecord) -> Tokenizer:
    """Return a finished experiment's tokenizer; another than it was trained with is refused."""
    path = Path(folder) / TOKENIZER
    # Before it is parsed: other bytes never reach the parser.
    if hashlib.sha256(read_bytes(path)).hexdigest() != about.tokenizer_sha256:
        raise DldError(f"{path}: is not the tokenizer that the model was trained with (by its hash); {COPY_AGAIN}")
    return Tokenizer(path)


def read_weights(folder: str | Path, about: ModelRecord) -> dict[str, torch.Tensor]:
    """Return a finished experiment's weights by name; damaged or other ones than `model.json` says are refused."""
    path = Path(folder) / MODEL
    if not path.exists():
        raise DldError(f"{folder}: no finished model there ({MODEL} is missing); train it first (dld train)")
    open_file(path).close()
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DldError(f"{path}: not a whole safetensors file ({one_line(error)}); {COPY_AGAIN}") from None
    try:
        found = tensors_hash(state)
    except TypeError:  # numpy does not have every type that safetensors has
        raise DldError(f"{path}: its numbers are of another type than dld writes; {COPY_AGAIN}") from None
    if found != about.state_sha256:
        raise DldError(f"{path}: the weights are not those that {ABOUT} describes; {COPY_AGAIN}")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DldError(f"{path}: {name} has values that are not finite; train again, with a lower learning rate")
    return state


def load_start(network: GatedCTC, folder: str | Path, tokenizer: Tokenizer) -> None:
    """Load a finished experiment's weights as the start of another run.

    The weights of a network with one head also fit one with a head for every exit.

    Parameters
    ----------
    network : GatedCTC
    folder : str or Path
    tokenizer : Tokenizer
        Tokenizer of the new run; the start must have the same, or the outputs of its head would mean other tokens.

    Raises
    ------
    DldError
        A tensor is missing, unknown or of another shape, or the tokenizer is another.
    """
    about = read_about(folder)
    if about.tokenizer_sha256 != tokenizer.sha256:
        raise DldError(
            f"init_from {folder} was trained with another tokenizer than this run's (by their hashes); "
            "give the lang_dir it was trained with, or another start"
        )
    state, own = read_weights(folder, about), network.state_dict()
    if not any(name.startswith("exit_heads.") for name in state):
        heads = {name: f"head.{name.rpartition('.')[2]}" for name in own if name.startswith("exit_heads.")}
        state |= {name: state[head] for name, head in heads.items() if head in state}
    wrong = sorted(set(state) ^ set(own)) or sorted(k for k in own if own[k].shape != state[k].shape)
    if wrong:
        raise DldError(
            f"{Path(folder) / MODEL} does not fit this network: {len(wrong)} tensors differ, the first is {wrong[0]}"
        )
    network.load_state_dict(state)
