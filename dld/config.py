"""HyperPyYAML experiment files: layers, overrides, and an error for every key that nothing reads.

A file may begin with `extends: base.yaml` (relative to itself): the base is read first and the file's own keys are laid
over it; of several, `extends: [base.yaml, ld.yaml]`, each is laid over those before it. Mappings are merged key by key
unless the tag (`!new:…`) changes, then the new one replaces the old whole; `removes: [drop_prob]` takes away keys of
the bases that nothing reads any more. Command-line overrides are the last layer and may only name keys that exist;
`--encoder.dropout 0.2` reaches inside.
"""

import difflib
import io
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ruamel.yaml
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml.error import MarkedYAMLError

from dld.errors import DldError

EXPERIMENT_KEYS = {
    "system": "name of the system in tables: static, ld, dld …",
    "seed": "seed of weights, data order, augmentation and gates",
    "exp_dir": "folder of the experiment",
    "train_data": "Kaldi data directory to train on",
    "dev_data": "Kaldi data directory for validation, checkpoint choice and the gate table",
    "lang_dir": "folder of the tokenizer (bpe.model)",
    "network": "dld.network.GatedCTC: front end, gated encoder, CTC head",
    "brain": "training loop, a class of dld.brains",
    "schedule": "drop schedule, a class of dld.gates",
    "init_from": "experiment whose weights are the start, or null",
    "pretrained": "published weights to start from where init_from is null: folder, hub id or bundle",
    "teacher": "experiment of the frozen teacher, or null",
    "teacher_input": "what the teacher hears: augmented (the student's own input) or clean",
    "teacher_memory": "compute the teacher's logits once, not in every epoch; needs teacher_input: clean",
    "distillation": "divergence between teacher and student, dld.objectives.MaskedKL",
    "kd_weight": "weight λ of the distillation term, a number or a dld.gates.Ramp",
    "hidden_weight": "weight of the distance between student's and teacher's encoder outputs; 0: none",
    "ctc_weight": "weight of the CTC term, a number or a dld.gates.Ramp",
    "optimizer": "!name: of a torch optimizer with its settings",
    "lr_schedule": "learning-rate schedule, a class of dld.optim",
    "num_epochs": "passes over the training data",
    "max_batch_seconds": "longest training batch, in seconds of padded audio",
    "max_grad_norm": "gradients are clipped to this norm",
    "grad_accumulation_factor": "batches in each update",
    "speed_perturb": "dld.features.SpeedPerturb, or null",
    "spec_augment": "dld.features.SpecAugment, or null",
    "augment_after": "updates before spec_augment begins: CTC leaves its plateau sooner without masks",
    "min_duration": "shorter training utterances are left out (seconds, or null)",
    "max_duration": "longer training utterances are left out (seconds, or null)",
    "num_workers": "data-loading processes",
    "sample_rate": "Hz; recordings at other rates are resampled",
    "channel": "channel of recordings that have several, from 0",
    "valid_depths": "depths whose WER is measured after each epoch; their mean chooses checkpoints",
    "eval_policy": "gate policy of validation",
    "eval_batch_seconds": "longest batch in validation and decoding, in seconds of padded audio",
    "decode_depths": "depths that dld-decode runs",
    "decode_policy": "gate policy of decoding: table, evenly-spaced, first-n or random",
    "average_checkpoints": "how many of the best checkpoints are averaged into the final model",
    "precision": "fp32, bf16 or fp16",
    "ckpt_interval_minutes": "minutes between checkpoints within an epoch; 0 keeps to ends of epochs",
}

# The first line of a resolved file. Its references are gone, and with them what tells a read key from an unread one.
RESOLVED = "# Resolved: layers, overrides and references are worked in."

_REFERENCE = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Config:
    """An experiment file, read and resolved.

    Attributes
    ----------
    values : dict
        Key → value, objects built.
    text : str
        The resolved YAML: all layers, overrides and references worked in.
    """

    values: dict
    text: str


def load_config(path, overrides=None):
    """Read an experiment file with its bases and overrides, and build its objects.

    Parameters
    ----------
    path : str or Path
    overrides : dict, optional
        Key → value; dots reach inside mappings. Values that are strings are read as YAML.

    Returns
    -------
    Config

    Raises
    ------
    DldError
        Missing file, YAML mistakes, unknown keys (with the nearest known one), classes that cannot be built.
    """
    tree = _read_layers(Path(path), ())
    # Before the overrides: one that replaces a reference may leave the key it pointed to without a reader.
    with open(path, encoding="utf-8") as stream:
        resolved = stream.readline().rstrip() == RESOLVED
    if not resolved:
        _check_keys(tree, path)
    for dotted, value in (overrides or {}).items():
        _override(tree, dotted, value, path)
    # The weights of the network are drawn when it is built.
    torch.manual_seed(tree.get("seed", 0))
    random.seed(tree.get("seed", 0))
    return build(_dump(tree), path)


def build(text, path):
    """Resolve and build YAML text; `path` is named in errors."""
    try:
        resolved = resolve_references(text).getvalue()
        return Config(load_hyperpyyaml(resolved), f"{RESOLVED}\n{resolved.removeprefix(RESOLVED).lstrip()}")
    except DldError as error:
        raise DldError(f"{path}: {error}") from error
    except (ImportError, AttributeError, TypeError, ValueError, KeyError, MarkedYAMLError) as error:
        detail = " ".join(" ".join(map(str, error.args)).split()) or type(error).__name__
        raise DldError(f"{path}: cannot build the experiment: {detail}") from error


def parse_overrides(arguments):
    """Turn `--key value` and `--key=value` arguments into a dict for `load_config`.

    Examples
    --------
    >>> parse_overrides(["--lr", "5e-4", "--encoder.dropout=0.2"])
    {'lr': '5e-4', 'encoder.dropout': '0.2'}
    """
    overrides, rest = {}, list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--") or argument == "--":
            raise DldError(f"unexpected argument {argument!r}; overrides have the form --key value")
        key, equals, value = argument[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise DldError(f"option --{key} needs a value")
            value = rest.pop(0)
        overrides[key.replace("-", "_")] = value
    return overrides


def _read_layers(path, above):
    if path.resolve() in above:
        raise DldError(f"{path}: the files extend each other in a circle")
    try:
        with open(path, encoding="utf-8") as stream:
            tree = ruamel.yaml.YAML().load(stream)
    except FileNotFoundError:
        raise DldError(f"{path}: no such experiment file") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DldError(f"{path}:{line}: not YAML: {error.problem or error.context}") from None
    if not isinstance(tree, Mapping):
        raise DldError(f"{path}: an experiment file is a mapping of keys to values")
    bases = tree.pop("extends", [])
    names = [bases] if isinstance(bases, str) else bases
    gone = tree.pop("removes", [])
    layers = [*(_read_layers(path.parent / name, (*above, path.resolve())) for name in names), tree]
    for layer in layers[1:-1]:
        _merge(layers[0], layer)
    for key in gone:
        if len(layers) == 1 or key not in layers[0]:
            raise DldError(f"{path}: removes {key!r}, which no file that it extends has")
        del layers[0][key]
    if len(layers) > 1:
        _merge(layers[0], tree)
    return layers[0]


def _tag(node):
    tag = getattr(node, "tag", None)
    return getattr(tag, "value", None)


def _merge(below, above):
    for key, value in above.items():
        mergeable = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        if mergeable and _tag(value) in (None, _tag(below[key])):
            _merge(below[key], value)
        else:
            below[key] = value


def _unknown(key, known, where):
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return DldError(f"{where}: unknown key {key!r}{hint}")


def _override(tree, dotted, value, path):
    node, (*parents, last) = tree, dotted.split(".")
    for parent in parents:
        if not isinstance(node, Mapping) or parent not in node:
            raise _unknown(dotted, _dotted_keys(tree), f"{path}: override --{dotted}")
        node = node[parent]
    if not isinstance(node, Mapping) or last not in node:
        raise _unknown(dotted, _dotted_keys(tree), f"{path}: override --{dotted}")
    if isinstance(value, str):
        try:
            value = ruamel.yaml.YAML().load(value)
        except MarkedYAMLError as error:
            raise DldError(f"override --{dotted} {value!r} is not YAML: {error.problem}") from None
    _merge(node, {last: value})


def _dotted_keys(tree, prefix=""):
    for key, value in tree.items():
        yield prefix + str(key)
        if isinstance(value, Mapping):
            yield from _dotted_keys(value, f"{prefix}{key}.")


def _check_keys(tree, path):
    used = set(EXPERIMENT_KEYS) | set(_REFERENCE.findall(_dump(tree)))
    for key in tree:
        if key not in used:
            raise _unknown(key, sorted(used | set(tree) - {key}), f"{path} (or a file that it extends)")
    missing = {"system", "exp_dir", "network", "brain"} - set(tree)
    if missing:
        raise DldError(f"{path}: missing key {sorted(missing)[0]!r} ({EXPERIMENT_KEYS[sorted(missing)[0]]})")


def _dump(tree):
    out = io.StringIO()
    ruamel.yaml.YAML().dump(tree, out)
    return out.getvalue()


def layered(path, overrides=None):
    """Return an experiment file with its bases and overrides worked in, as text; references stay, nothing is built."""
    try:
        tree = _read_layers(Path(path), ())
        with open(path, encoding="utf-8") as stream:
            resolved = stream.readline().rstrip() == RESOLVED
        if not resolved:
            _check_keys(tree, path)
        for dotted, value in (overrides or {}).items():
            _override(tree, dotted, value, path)
        return _dump(tree)
    except RecursionError:
        raise DldError(f"{path}: nested too deeply for an experiment file") from None
