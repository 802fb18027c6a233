"""HyperPyYAML experiment files: layers, overrides, and an error for every key that nothing reads.

A file may begin with `extends: base.yaml` (relative to itself): the base is read first and the file's own keys
replace or extend its keys; of several, `extends: [base.yaml, ld.yaml]`, each extends those before it. Mappings are
merged key by key unless the tag (`!new:…`) changes, then the new one replaces the old whole; `removes: [drop_prob]`
takes away keys of the bases that nothing reads any more. Command-line overrides are the last layer and may only name
keys that exist; `--encoder.dropout 0.2` reaches inside. Values are checked against the types and ranges of
`dld.config.keys` before anything is built. A number that is `auto` follows from the data, by `dld.config.plan`.

Several files may be given, as `base.yaml ld.yaml`: each extends those before it, as if it named them in `extends`. The
name of the last, or of one file that extends several, is that of the system, unless a file gives one (`system: ld`).

An experiment file may run code (`!apply:`), as any program; an override is a plain value or a class of dld, SpeechBrain
or torch.optim, see `dld.config.overrides`.
"""

import difflib
import io
import os
import pydoc
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ruamel.yaml
import yaml
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dld.checks import complaint, no_argument
from dld.config.classes import missing_class
from dld.config.keys import EXPERIMENT_KEYS, KEYS, TEACHER_KEYS, check_together, check_values, is_text
from dld.config.layers import merge, parse, read_layers, read_text, tag_of
from dld.config.overrides import is_plain, read_override
from dld.config.plan import numbers_for
from dld.errors import DldError, describe_os_error

# The first line of a resolved file. Without references it does not show which keys are read.
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
        The YAML with all layers and overrides merged and references resolved.
    path : str
        The file, for messages.
    written : str
        The YAML with all layers and overrides merged, references as they are.
    """

    values: dict
    text: str
    path: str = "experiment"
    written: str = ""


def load_config(paths, overrides=None):
    """Read an experiment file with its bases and overrides, and build its objects.

    Parameters
    ----------
    paths : str, Path or sequence of them
        The file, or several, each of which extends those before it.
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
    return _within_limits(_load, paths, overrides)


def layered(paths, overrides=None):
    """Return experiment files merged with their bases and overrides, as text; references stay, nothing is built."""
    return _within_limits(lambda *given: _dump(_layered(*given)), paths, overrides)


def described(paths):
    """Return one file, or several, as messages name them: `base.yaml + ld.yaml`."""
    return " + ".join(map(os.fspath, listed(paths)))


def listed(paths):
    """Return the paths of files that are given as one path or several."""
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)


def _within_limits(read, paths, overrides):
    try:
        return read(listed(paths), overrides or {})
    except RecursionError:
        raise DldError(f"{described(paths)}: lists or mappings are nested too deep, or hold themselves") from None


def _layered(paths, overrides):
    tree, origins, resolved = None, {}, False
    for path in map(Path, paths):
        text = read_text(path)
        resolved |= text.partition("\n")[0].rstrip() == RESOLVED
        file = parse(text, path)
        several = len(paths) > 1 or (isinstance(file.get("extends"), list) and len(file["extends"]) > 1)
        tree = read_layers(path, (), origins, file, tree)
    if several and "system" not in tree:
        tree.insert(0, "system", path.stem)
        origins["system"] = described(paths)
    # Before the overrides: one that replaces a reference may leave the key it pointed to without a reader.
    if not resolved:
        _check_keys(tree, origins, described(paths))
    for key in tree:
        if key not in overrides:
            check_values({key: tree[key]}, origins[key])
    for dotted, value in overrides.items():
        _override(tree, dotted, value, described(paths))
    # Before the references: an error in a number names its own key, not those that refer to it.
    check_values(tree, described(paths))
    return tree


def _load(paths, overrides):
    path = described(paths)
    tree = _layered(paths, overrides)
    written = _dump(tree)
    resolved, values = _resolve(written, path)
    numbers = _numbers(values, path)
    if numbers:
        tree.update(numbers)
        written = _dump(tree)
        resolved, values = _resolve(written, path)
    import torch

    # The weights of the network are drawn when it is built.
    if tag_of(values.get("seed")):
        raise DldError(f"{path}: seed is made by {tag_of(values['seed'])}; it must be a whole number itself")
    torch.manual_seed(values.get("seed", 0))
    random.seed(values.get("seed", 0))
    return _construct(resolved, path, written)


def _numbers(values, path):
    try:
        return numbers_for(values)
    except DldError as error:
        raise DldError(f"{path}: {error}") from None


def build(text, path):
    """Resolve, check and build YAML text; `path` is named in errors."""
    resolved, _ = _resolve(text, path)
    return _construct(resolved, path, text)


_PLAIN = (type(None), str, int, float, list, tuple, dict)
# What a constructor, of dld or not, raises where its arguments are at fault.
_BUILD_ERRORS = (
    *(ImportError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError, AssertionError, RuntimeError),
    *(OSError, YAMLError, yaml.YAMLError, pydoc.ErrorDuringImport),
)


def replace_references(text):
    """Return YAML text in which each reference is replaced by what it refers to.

    HyperPyYAML follows a reference to a key that is a reference itself only where that key comes first; so this asks it
    until nothing changes. A reference that leads back to itself is left.
    """
    from hyperpyyaml import resolve_references

    before, resolved = text, resolve_references(text).getvalue()
    while "!ref" in resolved and resolved != before:
        before, resolved = resolved, resolve_references(resolved).getvalue()
    return resolved


def _resolve(text, path):
    """Return YAML text without references, and its mapping, whose values are checked."""
    try:
        resolved = replace_references(text)
        tree = ruamel.yaml.YAML().load(resolved)
    except _BUILD_ERRORS as error:
        raise DldError(f"{path}: cannot resolve the references: {_detail(error)}") from error
    if not isinstance(tree, Mapping):
        raise DldError(f"{path}: an experiment file is a mapping of keys to values")
    check_values(tree, path)
    check_together(tree, path)
    _check_resolved(tree, path)
    return resolved, tree


def _check_resolved(node, path):
    """Refuse references to themselves, and tags inside of text in parentheses.

    HyperPyYAML reads such text as a tuple, wherever it comes from, by a parser that runs what tags say.
    """
    if tag_of(node) in ("!ref", "!copy"):
        raise DldError(f"{path}: the reference {node.value} leads back to itself")
    if isinstance(node, Mapping):
        node = [*node, *node.values()]
    if isinstance(node, (list, tuple)):
        for value in node:
            _check_resolved(value, path)
        return
    text = node if isinstance(node, str) else getattr(node, "value", None)
    if isinstance(text, str) and "!" in text and not is_plain(text):
        raise DldError(f"{path}: {text!r} is read as a tuple, and a tuple may not hold tags; write a list")


def _construct(resolved, path, written):
    from hyperpyyaml import load_hyperpyyaml

    from dld.gates import Ramp

    try:
        values = load_hyperpyyaml(resolved)
    except DldError as error:
        raise DldError(f"{path}: {error}") from error
    except _BUILD_ERRORS as error:
        raise DldError(f"{path}: cannot build the experiment: {_detail(error)}") from error
    # Again, for what `!apply:` and the like returned.
    check_values({key: value for key, value in values.items() if isinstance(value, (*_PLAIN, Ramp))}, path)
    return Config(values, f"{RESOLVED}\n{resolved.removeprefix(RESOLVED).lstrip()}", str(path), written)


def _detail(error):
    """Return an exception's message on one line; of a wrong keyword, the class and the nearest argument that it has."""
    if isinstance(error, OSError):
        return describe_os_error(error)
    if isinstance(error, MarkedYAMLError):
        return " ".join((error.problem or error.context or "not YAML").split())
    text = " ".join(" ".join(map(str, error.args)).split()) or type(error).__name__
    unknown = re.search(r"There is no such \w+ as ([\w.]+)", text)
    if unknown:
        return f"{text.rstrip('.')}: {hint}" if (hint := missing_class(unknown[1])) else text
    found = re.search(r"Invalid argument to (?:class|callable) (\S+) .*unexpected keyword argument '(\w+)'", text)
    if not found:
        return text
    name, keyword = found.groups()
    return no_argument(pydoc.locate(name), keyword)


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
            raise DldError(
                f"unexpected argument {argument!r}; overrides have the form --key value, and a value with blanks "
                "is in quotes"
            )
        key, equals, value = argument[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise DldError(f"option --{key} needs a value")
            value = rest.pop(0)
        overrides[key.replace("-", "_")] = value
    return overrides


def _unknown(key, known, where):
    near = difflib.get_close_matches(str(key), list(map(str, known)), n=1)
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
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(value, str):
        literal = not parents and is_text(last)
        value = read_override(dotted, value, literal, literal and complaint(last, None, KEYS[last].kind) is None)
    merge(node, {last: value})


def _dotted_keys(tree, prefix=""):
    for key, value in tree.items():
        yield prefix + str(key)
        if isinstance(value, Mapping):
            yield from _dotted_keys(value, f"{prefix}{key}.")


def _check_keys(tree, origins, path):
    used = set(EXPERIMENT_KEYS) | set(TEACHER_KEYS) | set(_REFERENCE.findall(_dump(tree)))
    for key in tree:
        if key not in used:
            error = _unknown(key, sorted(map(str, used | set(tree) - {key})), origins[key])
            raise DldError(f"{error}; where nothing reads it any more, take it away by `removes: [{key}]`")
    missing = {"system", "exp_dir", "network"} - set(tree)
    if missing:
        key, hint = sorted(missing)[0], "an experiment is a base and a system: BASE.yaml SYSTEM.yaml"
        raise DldError(f"{path}: missing key {key!r} ({EXPERIMENT_KEYS[key]}); {hint}")


def _dump(tree):
    out = io.StringIO()
    ruamel.yaml.YAML().dump(tree, out)
    return out.getvalue()
