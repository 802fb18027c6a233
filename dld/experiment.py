"""The folder of an experiment: its settings, what made it, its final model."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dld.data.fingerprint import MEANINGS, changes, fingerprint
from dld.data.tokenizer import Tokenizer
from dld.errors import DldError
from dld.files import atomic_write, check_keys, check_kind, open_file, read_bytes, read_record, write_json
from dld.network import GatedCTC
from dld.provenance import command_line, git_hash, processor, versions
from dld.saved import Settings, one_line
from dld.training.checkpoints import has_checkpoints, remove_checkpoints

logger = logging.getLogger(__name__)

HYPERPARAMS = "hyperparams.yaml"
RUN = "run.json"
MODEL = "model.safetensors"
ABOUT = "model.json"
TOKENIZER = "bpe.model"
GATE_TABLE = "gate_table.json"

#: What is read of `model.json`, of `run.json`, and of the settings when a model runs.
ABOUT_KINDS = {
    "num_blocks": int,
    "vocab_size": int,
    "tokenizer_sha256": str,
    "state_sha256": str,
    "system": str,
    "seed": int,
    "updates": int,
    "train_seconds": (int, float),
}
MADE_FROM_KINDS = {
    "train_data": dict,
    "dev_data": dict,
    "tokenizer": str,
    "teacher": (str, type(None)),
    "init_from": (str, type(None)),
}
SETTING_KINDS = {
    "sample_rate": int,
    "channel": (int, type(None)),
    "decode_depths": (str, int, list),
    "decode_policy": str,
}
COPY_AGAIN = "copy the whole experiment again, or train again"

LOGS = ("train_log.txt", "train_log.jsonl")
CHECKPOINTS = "save"

# Where a run is and on what machine, and what decoding alone reads: with others it is still the same run.
NOT_OF_TRAINING = {"exp", "exp_dir", "decode_depths", "decode_policy", "num_workers", "ckpt_interval_minutes"}
# Paths that may move: what is meant is compared by its hash.
BY_HASH = {"data", "train_data", "dev_data", "lang_dir", "teacher", "init_from"}


def state_hash(module):
    """SHA-256 over names, shapes and values of a module's weights and buffers."""
    return tensors_hash(module.state_dict())


def tensors_hash(state):
    """SHA-256 of a state dict, see `state_hash`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def begin(config, made_from, restart=False):
    """Make or re-enter an experiment folder.

    Keeps the fully resolved YAML, the tokenizer, what the run is made from, and one line for each start: command, git
    hash, versions, seed. Folder, data, teacher and start may have been moved, and what decoding alone reads may differ
    from before: dld-decode takes what is new.

    Parameters
    ----------
    config : Config
    made_from : dict
        Name → hash, or fingerprint of a data directory, see `sources`.
    restart : bool
        Remove what an earlier run left, and nothing else.

    Raises
    ------
    DldError
        The folder holds a run with other settings or from other data.
    """
    folder = Path(config.values["exp_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    if restart:
        remove_run(folder)
    run = read_run(folder) or {"starts": []}
    settings = folder / HYPERPARAMS
    if not settings.exists() and has_checkpoints(folder / CHECKPOINTS):
        raise DldError(
            f"{folder / CHECKPOINTS} has checkpoints, but {HYPERPARAMS} is missing, which says what they are of; "
            "put the file back, or --restart true to train again from the start"
        )
    if settings.exists():
        refuse_other_run(folder, run.get("made_from"), made_from, _changed_keys(settings, config.text))
    with atomic_write(settings) as out:
        out.write(config.text)
    try:
        Settings(settings).check_network()
    except DldError as error:
        logger.warning("this network can be trained, but dld-decode will not load it: %s", error)
    source = Path(config.values["lang_dir"]) / TOKENIZER
    with atomic_write(folder / TOKENIZER, "wb") as out:
        out.write(source.read_bytes())
    start = {
        "command": command_line(),
        "git": git_hash(),
        "versions": versions(),
        "processor": processor(),
        "seed": config.values["seed"],
    }
    write_json(folder / RUN, {"made_from": made_from, "starts": [*run["starts"], start]})
    return folder


def sources(values, tokenizer, train_utterances, dev_utterances):
    """Return what a run is made from: fingerprints of its data, hashes of tokenizer, teacher and start."""
    return {
        "train_data": {"path": str(values["train_data"]), **fingerprint(train_utterances)},
        "dev_data": {"path": str(values["dev_data"]), **fingerprint(dev_utterances)},
        "tokenizer": tokenizer.sha256,
        **{key: model_hash(values[key]) if values[key] else None for key in ("teacher", "init_from")},
    }


def read_about(folder):
    """Return what `model.json` says of a finished experiment."""
    path = Path(folder) / ABOUT
    if not path.exists():
        raise DldError(f"{folder}: no finished model there ({ABOUT} is missing); train it first (dld-train)")
    return read_record(path, ABOUT_KINDS, COPY_AGAIN)


def read_run(folder):
    """Return what `run.json` says of a run: each start, and what it is made from; None where none began."""
    path = Path(folder) / RUN
    if not path.exists():
        return None
    advice = "copy it again, or --restart true to train again from the start"
    run = read_record(path, {"starts": list}, advice)
    made_from = run.get("made_from")
    if made_from is not None:  # the first version of this program did not write it
        check_keys(made_from, MADE_FROM_KINDS, f"{path}: made_from", advice)
        for name in ("train_data", "dev_data"):
            check_keys(made_from[name], {"utterances": int, **dict.fromkeys(MEANINGS, str)}, f"{path}: {name}", advice)
    return run


def model_hash(folder):
    """Hash of the weights of a finished experiment, as its `model.json` has it."""
    return read_about(folder)["state_sha256"]


def refuse_other_run(folder, before, now, changed):
    """Raise if a folder's run has other settings than a new start, or is made from something else."""
    advice = "give another exp_dir, or --restart true to train again from the start"
    if before is None:
        logger.warning("%s: %s does not say what the run is made from; its data are not compared", folder, RUN)
    else:
        for name in ("train_data", "dev_data"):
            what = changes(before[name], now[name])
            if what:
                raise DldError(
                    f"{name} {now[name]['path']} changed since the run in {folder} began: {what}; "
                    f"put the data back, or {advice}"
                )
        for name in ("tokenizer", "teacher", "init_from"):
            if before[name] != now[name]:
                raise DldError(f"the run in {folder} began with another {name}; put that back, or {advice}")
    if changed:
        raise DldError(f"{folder} holds a run with other settings ({', '.join(changed)}); {advice}")


def remove_run(folder):
    """Remove what a training made in a folder, each file by its name; other files stay.

    Decodes stay too: each says of which model it is.
    """
    (folder / ABOUT).unlink(missing_ok=True)
    # Before the settings that they belong to: if this is interrupted, no start takes them for its own.
    remove_checkpoints(folder / CHECKPOINTS)
    for name in (MODEL, GATE_TABLE, *LOGS, TOKENIZER, RUN, HYPERPARAMS):
        (folder / name).unlink(missing_ok=True)


def _changed_keys(path, new):
    # Neither text is built, whatever it asks for.
    old, new = Settings(path, finished=False).values, Settings(path, new.encode(), finished=False).values
    keys = sorted((old.keys() | new.keys()) - NOT_OF_TRAINING - BY_HASH)
    return [key for key in keys if key not in old or key not in new or old[key] != new[key]]


def save_model(folder, network, about):
    """Write the final weights (safetensors) and what there is to say of them (JSON, written last).

    Next to the hashes of weights and tokenizer, `model.json` has that of the start, where there was one.
    """
    folder = Path(folder)
    (folder / ABOUT).unlink(missing_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_write(folder / MODEL, "wb") as out:
        out.write(save(state))
    made_from = (read_run(folder) or {}).get("made_from") or {}
    write_json(
        folder / ABOUT,
        {
            "num_blocks": network.num_blocks,
            "vocab_size": network.vocab_size,
            "tokenizer_sha256": Tokenizer(folder / TOKENIZER).sha256,
            "state_sha256": tensors_hash(state),
            "init_sha256": made_from.get("init_from"),
            "git": git_hash(),
            **about,
        },
    )


@dataclass
class Trained:
    """A finished experiment.

    Attributes
    ----------
    folder : Path
    network : GatedCTC
        In evaluation mode.
    tokenizer : Tokenizer
    about : dict
        The content of `model.json`.
    settings : dict
        The values of its YAML file, plain: what was an object is `{"!new:NAME": its arguments}`.
    """

    folder: Path
    network: GatedCTC
    tokenizer: Tokenizer
    about: dict
    settings: dict


def load_trained(folder, device="cpu"):
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
        There is no finished model, or a file of it is damaged, hostile or another model's.
    """
    folder = Path(folder)
    about = read_about(folder)
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
        if found != about[key]:
            raise DldError(f"{folder / ABOUT}: {key} is {about[key]}, the network's is {found}; {COPY_AGAIN}")
    if network.vocab_size != len(tokenizer):
        raise DldError(
            f"{folder}: {network.vocab_size} outputs, but {len(tokenizer)} units in {TOKENIZER}; {COPY_AGAIN}"
        )
    network.load_state_dict(state)
    return Trained(folder, network.to(device).eval(), tokenizer, about, settings.values)


def load_tokenizer(folder, about):
    """Return a finished experiment's tokenizer; another than it was trained with is refused."""
    path = Path(folder) / TOKENIZER
    # Before it is parsed: other bytes are not given to the parser.
    if hashlib.sha256(read_bytes(path)).hexdigest() != about["tokenizer_sha256"]:
        raise DldError(f"{path}: is not the tokenizer that the model was trained with (by its hash); {COPY_AGAIN}")
    return Tokenizer(path)


def read_weights(folder, about):
    """Return a finished experiment's weights by name; damaged or other ones than `model.json` says are refused."""
    path = Path(folder) / MODEL
    if not path.exists():
        raise DldError(f"{folder}: no finished model there ({MODEL} is missing); train it first (dld-train)")
    open_file(path).close()
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DldError(f"{path}: not a whole safetensors file ({one_line(error)}); {COPY_AGAIN}") from None
    try:
        found = tensors_hash(state)
    except TypeError:  # numpy does not have every type that safetensors has
        raise DldError(f"{path}: its numbers are of another type than dld writes; {COPY_AGAIN}") from None
    if found != about["state_sha256"]:
        raise DldError(f"{path}: the weights are not those that {ABOUT} describes; {COPY_AGAIN}")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DldError(f"{path}: {name} has values that are not finite; train again, with a lower learning rate")
    return state


def load_start(network, folder, tokenizer):
    """Load a finished experiment's weights as the start of another run.

    The weights of a network with one head also fit one with a head for every exit.

    Parameters
    ----------
    network : GatedCTC
    folder : str or Path
    tokenizer : Tokenizer
        Of the run that starts; the start must have the same, or the outputs of its head would mean other units.

    Raises
    ------
    DldError
        A tensor is missing, unknown or of another shape, or the tokenizer is another.
    """
    about = read_about(folder)
    if about["tokenizer_sha256"] != tokenizer.sha256:
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
