"""The folder of an experiment: its settings, what made it, its final model."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import ruamel.yaml
from safetensors.torch import load_file, save_file

from dld.config import build
from dld.data.tokenizer import Tokenizer
from dld.errors import DldError
from dld.files import IN_USE, atomic_write, read_json, write_json
from dld.gates import GateTable
from dld.network import GatedCTC
from dld.provenance import command_line, git_hash, processor, versions

HYPERPARAMS = "hyperparams.yaml"
RUN = "run.json"
MODEL = "model.safetensors"
ABOUT = "model.json"
TOKENIZER = "bpe.model"
GATE_TABLE = "gate_table.json"

# Where a run is and what decoding alone reads: with others it is still the same run.
NOT_OF_TRAINING = {"exp", "exp_dir", "decode_depths", "decode_policy"}


def state_hash(module):
    """SHA-256 over names, shapes and values of a module's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def begin(config, restart=False):
    """Make or re-enter an experiment folder.

    Keeps the fully resolved YAML, the tokenizer, and one line for each start: command, git hash, versions, seed. A
    folder may have been moved, and what decoding alone reads may differ from before: dld-decode takes what is new.

    Parameters
    ----------
    config : Config
    restart : bool
        Remove what an earlier run left.

    Raises
    ------
    DldError
        The folder holds a run with other settings.
    """
    folder = Path(config.values["exp_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    if restart:
        _empty(folder)
    settings = folder / HYPERPARAMS
    if settings.exists():
        changed = _changed_keys(settings.read_text(encoding="utf-8"), config.text)
        if changed:
            raise DldError(
                f"{folder} holds a run with other settings ({', '.join(changed)}); "
                "give another exp_dir, or --restart true to begin it anew"
            )
    with atomic_write(settings) as out:
        out.write(config.text)
    source = Path(config.values["lang_dir"]) / TOKENIZER
    with atomic_write(folder / TOKENIZER, "wb") as out:
        out.write(source.read_bytes())
    starts = read_json(folder / RUN)["starts"] if (folder / RUN).exists() else []
    start = {
        "command": command_line(),
        "git": git_hash(),
        "versions": versions(),
        "processor": processor(),
        "seed": config.values["seed"],
    }
    write_json(folder / RUN, {"starts": [*starts, start]})
    return folder


def _empty(folder):
    """Remove what is in a folder, but for the mark of the process that has it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != IN_USE:
            path.unlink()


def _changed_keys(old, new):
    yaml = ruamel.yaml.YAML()
    first, second = yaml.load(old), yaml.load(new)
    dump = {id(tree): {key: _as_text(tree, key) for key in tree} for tree in (first, second)}
    keys = sorted((set(first) | set(second)) - NOT_OF_TRAINING)
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
