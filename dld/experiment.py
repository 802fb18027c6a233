"""The folder of an experiment: its settings, what made it, its final model."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import ruamel.yaml
from safetensors.torch import load_file, save_file

from dld.checkpoints import remove_checkpoints
from dld.config import build
from dld.data.fingerprint import changes, fingerprint
from dld.data.tokenizer import Tokenizer
from dld.errors import DldError
from dld.files import atomic_write, read_json, write_json
from dld.gates import GateTable
from dld.network import GatedCTC
from dld.provenance import command_line, git_hash, processor, versions

logger = logging.getLogger(__name__)

HYPERPARAMS = "hyperparams.yaml"
RUN = "run.json"
MODEL = "model.safetensors"
ABOUT = "model.json"
TOKENIZER = "bpe.model"
GATE_TABLE = "gate_table.json"

LOGS = ("train_log.txt", "train_log.jsonl")
CHECKPOINTS = "save"

# Where a run is and on what machine, and what decoding alone reads: with others it is still the same run.
NOT_OF_TRAINING = {"exp", "exp_dir", "decode_depths", "decode_policy", "num_workers", "ckpt_interval_minutes"}
# Paths that may move: what is meant is compared by its hash.
BY_HASH = {"data", "train_data", "dev_data", "lang_dir", "teacher", "init_from"}


def state_hash(module):
    """SHA-256 over names, shapes and values of a module's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
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
    run = read_json(folder / RUN) if (folder / RUN).exists() else {"starts": []}
    settings = folder / HYPERPARAMS
    if settings.exists():
        refuse_other_run(folder, run.get("made_from"), made_from, _changed_keys(settings, config.text))
    with atomic_write(settings) as out:
        out.write(config.text)
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


def model_hash(folder):
    """Hash of the weights of a finished experiment, as its `model.json` has it."""
    path = Path(folder) / ABOUT
    if not path.exists():
        raise DldError(f"{folder}: no finished model there ({ABOUT} is missing); train it first (dld-train)")
    return read_json(path).get("state_sha256")


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
    for name in (ABOUT, MODEL, RUN, HYPERPARAMS, TOKENIZER, GATE_TABLE, *LOGS):
        (folder / name).unlink(missing_ok=True)
    remove_checkpoints(folder / CHECKPOINTS)


def _changed_keys(path, new):
    yaml = ruamel.yaml.YAML()
    first, second = yaml.load(path.read_text(encoding="utf-8")), yaml.load(new)
    dump = {id(tree): {key: _as_text(tree, key) for key in tree} for tree in (first, second)}
    keys = sorted((set(first) | set(second)) - NOT_OF_TRAINING - BY_HASH)
    return [key for key in keys if dump[id(first)].get(key) != dump[id(second)].get(key)]


def _as_text(tree, key):
    value = tree[key]
    return f"{getattr(getattr(value, 'tag', None), 'value', '')} {value}"


def save_model(folder, network, about):
    """Write the final weights (safetensors) and what there is to say of them (JSON, written last)."""
    folder = Path(folder)
    (folder / ABOUT).unlink(missing_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    temporary = folder / f".{MODEL}"
    save_file(state, temporary)
    temporary.replace(folder / MODEL)
    write_json(
        folder / ABOUT,
        {
            "num_blocks": network.num_blocks,
            "vocab_size": network.vocab_size,
            "tokenizer_sha256": Tokenizer(folder / TOKENIZER).sha256,
            "state_sha256": state_hash(network),
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
        The values of its YAML file.
    """

    folder: Path
    network: GatedCTC
    tokenizer: Tokenizer
    about: dict
    settings: dict

    def gate_table(self):
        """The gate table stored with the model, None where none was searched yet."""
        path = self.folder / GATE_TABLE
        return GateTable.load(path) if path.exists() else None


def load_trained(folder, device="cpu"):
    """Load a finished experiment; the weights are checked against the hash that was written with them."""
    folder = Path(folder)
    if not (folder / ABOUT).exists():
        raise DldError(f"{folder}: no finished model there ({ABOUT} is missing); train it first (dld-train)")
    about = read_json(folder / ABOUT)
    settings = build((folder / HYPERPARAMS).read_text(encoding="utf-8"), folder / HYPERPARAMS).values
    network = settings["network"]
    load_weights(network, folder)
    if state_hash(network) != about["state_sha256"]:
        raise DldError(f"{folder / MODEL}: the weights are not those that {ABOUT} describes; train again")
    return Trained(folder, network.to(device).eval(), Tokenizer(folder / TOKENIZER), about, settings)


def load_weights(network, folder, as_start=False):
    """Load an experiment's final weights into a network of the same shape; a tensor too few or too many is an error.

    As the start of another run, the weights of a network with one head also fit one with a head for every exit.
    """
    path = Path(folder) / MODEL
    if not path.exists():
        raise DldError(f"{folder}: no finished model there ({MODEL} is missing); train it first (dld-train)")
    state, own = load_file(path), network.state_dict()
    if as_start and not any(name.startswith("exit_heads.") for name in state):
        state |= {name: state[f"head.{name.rpartition('.')[2]}"] for name in own if name.startswith("exit_heads.")}
    wrong = sorted(set(state) ^ set(own)) or sorted(k for k in own if own[k].shape != state[k].shape)
    if wrong:
        raise DldError(f"{path} does not fit this network: {len(wrong)} tensors differ, the first is {wrong[0]}")
    network.load_state_dict(state)
