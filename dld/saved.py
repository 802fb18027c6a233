"""Read the settings of a finished experiment as data: nothing that the file names is imported or run.

`hyperparams.yaml` keeps its tags, so that the run can be repeated from it. Here the file is parsed into nodes only.
Plain values become plain Python values; of the tagged ones, only those that make up the network are built, and only
from the classes in `CLASSES`. A tag that would call a function, import a module or read a file is refused wherever it
is.
"""

import inspect
import re
from collections.abc import ItemsView
from pathlib import Path
from typing import Any

import ruamel.yaml
import torch
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dld.checks import no_argument
from dld.encoders import GatedConformer, GatedEncoder, GatedWavLM, GatedWhisper
from dld.errors import DldError
from dld.files import read_bytes
from dld.frontends import GlobalCMVN, LogMel, UtteranceCMVN, Waveform, WhisperLogMel
from dld.network import GatedCTC

#: What the settings of an experiment never reach; a larger file is made to use up memory or time.
MOST_BYTES = 1 << 18
MOST_VALUES = 20_000
MOST_LEVELS = 50
LARGEST_NUMBER = 1_000_000
#: Arguments by which something is built before its shape can be compared with the weights: smallest and largest value.
BOUNDS = {
    "num_blocks": (1, 1_000),
    "n_mels": (1, 1_000),
    "n_features": (1, 1_000),
    "n_fft": (1, 100_000),
    "window_ms": (0.1, 1_000),
    "hop_ms": (0.1, 1_000),
}

_YAML = "tag:yaml.org,2002:"
_PLAIN_KINDS = ("null", "bool", "int", "float", "str", "timestamp", "seq", "map", "merge")
_PLAIN_TAGS = {"", "!tuple", *(_YAML + kind for kind in _PLAIN_KINDS)}
_OBJECT = re.compile(r"!(?:new|name):\S+")
# What HyperPyYAML runs or reads while it resolves references; everything else waits until objects are built.
_EARLY = ("!applyref:", "!include:")
_TUPLE = re.compile(r"\(.*\)")

#: Name in the file → class that a network may be built from. None opens a path or imports a name that it is given.
CLASSES: dict[str, type] = {}


def allow(cls: type) -> type:
    """Let networks of finished experiments be built from a class of your own; a decorator.

    Its arguments come from the file, so it must not open a path or import a name that it is given.
    """
    CLASSES[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return cls


_cls: type
for _cls in (GatedConformer, GatedWavLM, GatedWhisper):
    CLASSES[f"dld.encoders.{_cls.__name__}"] = allow(_cls)
for _cls in (LogMel, Waveform, WhisperLogMel, UtteranceCMVN, GlobalCMVN):
    CLASSES[f"dld.frontends.{_cls.__name__}"] = allow(_cls)
    # The name before version 0.2.
    CLASSES[f"dld.features.{_cls.__name__}"] = _cls
allow(GatedCTC)


class Settings:
    """The settings of a finished experiment.

    Parameters
    ----------
    path : str or Path
        The file, `hyperparams.yaml`.
    raw : bytes, optional
        Its content, where it was read already.
    finished : bool
        Of a finished experiment, where tags that would run something are refused. Of one that is to be trained they are
        kept as they are, except those that HyperPyYAML acts on while it resolves references.

    Attributes
    ----------
    values : dict
        Key → plain value. What has a tag is `{"!new:NAME": its arguments}`, not built.

    Raises
    ------
    DldError
        The file is not YAML, not a mapping, larger than settings are, or has a tag that is not allowed.
    """

    def __init__(self, path: str | Path, raw: bytes | None = None, finished: bool = True):
        self.path = path
        self.finished = finished
        try:
            self.root = self._parse(read_bytes(path, MOST_BYTES) if raw is None else raw)
            self._sizes: dict[int, Any] = {}
            self._values: dict[int, Any] = {}
            size, levels = self._size(self.root, "")
            if levels > MOST_LEVELS:
                raise RecursionError
            if size > MOST_VALUES:
                raise DldError(f"{path}: more than {MOST_VALUES} values, which settings of an experiment never have")
            self.values = self._value(self.root)
        except RecursionError:
            raise DldError(f"{path}: nested too deeply for settings of an experiment") from None

    def text_of(self, key: str) -> str:
        """Return the value of a key as `dld config --get` prints it."""
        if key not in self.values:
            raise DldError(f"{self.path}: no key {key!r}")
        return str(self.values[key])

    def network(self, shapes: dict[str, tuple[torch.Size, torch.dtype]] | None = None) -> GatedCTC:
        """Build the network.

        Parameters
        ----------
        shapes : dict of str to (torch.Size, torch.dtype), optional
            Of the weights that it is for. They are compared before memory is taken for a network of another size.

        Returns
        -------
        GatedCTC

        Raises
        ------
        DldError
            The file asks for anything but a `GatedCTC` made of `CLASSES`, or it does not fit `shapes`.
        """
        node = self._network_node()
        # The weights are loaded afterwards: what initialises them must not change the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            if shapes is not None:
                self._compare(self._network(node, "meta"), shapes)
            return self._network(node, "cpu")

    def check_network(self) -> None:
        """Raise as `network` would, without taking memory for it."""
        with torch.random.fork_rng(devices=[]):
            self._network(self._network_node(), "meta")

    # ------------------------------------------------------------ parsing

    def _parse(self, raw: bytes) -> MappingNode:
        try:
            root = ruamel.yaml.YAML().compose(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise DldError(f"{self.path}:{line}: not UTF-8 text; copy the file again") from None
        except MarkedYAMLError as error:
            where = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise DldError(f"{self.path}{where}: not YAML: {one_line(error.problem or error.context)}") from None
        except (YAMLError, ValueError) as error:
            raise DldError(f"{self.path}: not YAML: {one_line(error)}") from None
        if not isinstance(root, MappingNode) or root.tag != f"{_YAML}map":
            raise DldError(f"{self.path}: settings are a mapping of keys to values; copy the experiment again")
        return root

    def _where(self, node: Node, key: str) -> str:
        return f"{self.path}:{node.start_mark.line + 1}: {key.lstrip('.') or 'the file'}"

    def _size(self, node: Node, key: str) -> tuple[int, int]:
        """Check the tags of a node and below; return its values and levels with all aliases replaced."""
        found = self._sizes.get(id(node))
        if found == "open":
            raise DldError(f"{self._where(node, key)}: an alias refers to the value that it is in")
        if found is not None:
            return found
        self._sizes[id(node)] = "open"
        self._check_tag(node, key)
        below = []
        if isinstance(node, MappingNode):
            seen = set()
            for name, value in node.value:
                if not isinstance(name, ScalarNode) or name.tag not in _PLAIN_TAGS:
                    raise DldError(f"{self._where(name, key)}: a key that is not plain text")
                if name.value in seen:
                    raise DldError(f"{self._where(name, key)}: the key {shown(name.value)} is there twice")
                seen.add(name.value)
                below.append(self._size(value, f"{key}.{name.value}"))
        elif isinstance(node, SequenceNode):
            below = [self._size(value, f"{key}[{index}]") for index, value in enumerate(node.value)]
        else:
            self._scalar(node, key)
        size, levels = 1 + sum(size for size, _ in below), 1 + max((levels for _, levels in below), default=0)
        self._sizes[id(node)] = size, levels
        return size, levels

    def _check_tag(self, node: Node, key: str) -> None:
        tag = _tag(node)
        if tag in _PLAIN_TAGS or _OBJECT.fullmatch(tag):
            return
        if self.finished:
            raise DldError(
                f"{self._where(node, key)}: the tag {shown(tag)} is not allowed in a finished experiment, "
                "which is read without running anything; take the experiment from someone you trust, or train again"
            )
        if tag.startswith(_EARLY):
            raise DldError(
                f"{self._where(node, key)}: the tag {shown(tag)} would run code or read a file, which showing the "
                "settings must not do; use extends: for other files, and !ref for values"
            )

    def _pairs(self, node: MappingNode) -> ItemsView[str, Node]:
        """Return keys and value nodes of a mapping, with what `<<` merges into it."""
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for name, value in node.value:
            if name.tag == f"{_YAML}merge":
                for source in value.value if isinstance(value, SequenceNode) else [value]:
                    if not isinstance(source, MappingNode):
                        raise DldError(f"{self._where(value, '<<')}: only mappings can be merged")
                    merged = {**dict(self._pairs(source)), **merged}
            else:
                own[name.value] = value
        return {**merged, **own}.items()

    # ------------------------------------------------------------ values

    def _value(self, node: Node) -> Any:
        """Return the plain value of a node; the same object for every alias of it."""
        if id(node) not in self._values:
            value: Any
            if isinstance(node, MappingNode):
                value = {name: self._value(child) for name, child in self._pairs(node)}
            elif isinstance(node, SequenceNode):
                value = [self._value(child) for child in node.value]
            else:
                value = self._scalar(node, "")
            tag = _tag(node)
            if tag not in _PLAIN_TAGS and tag not in ("!ref", "!copy"):
                value = {tag.replace(_YAML, "!!"): value}
            self._values[id(node)] = value
        return self._values[id(node)]

    def _scalar(self, node: Node, key: str) -> Any:
        text, kind = node.value, _tag(node).removeprefix(_YAML)
        try:
            if kind == "null" or (kind.startswith("!") and not text):
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return _integer(text)
            if kind == "float":
                return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
            if kind == "!tuple" or (getattr(node, "style", None) is None and _TUPLE.fullmatch(text)):
                return tuple(_number_or_text(part.strip()) for part in text[1:-1].split(",") if part.strip())
        except (ValueError, KeyError):
            raise DldError(f"{self._where(node, key)}: {shown(text)} is not a value of type {kind}") from None
        return text

    # ------------------------------------------------------------ building

    def _network_node(self) -> Node:
        node = dict(self._pairs(self.root)).get("network")
        if node is None:
            raise DldError(f"{self.path}: missing key 'network'; train again, or copy the whole experiment")
        return node

    def _network(self, node: Node, device: str) -> GatedCTC:
        network = self._build(node, "network", device, {})
        if not isinstance(network, GatedCTC):
            raise DldError(f"{self._where(node, 'network')}: is not a dld.network.GatedCTC")
        return network

    def _build(self, node: Node, key: str, device: str, built: dict[int, Any]) -> Any:
        """Build what a node of the network describes; on the device "meta" encoder and head take no memory."""
        if not _is_object(node):
            if isinstance(node, MappingNode):
                return {name: self._build(child, f"{key}.{name}", device, built) for name, child in self._pairs(node)}
            if isinstance(node, SequenceNode):
                return [self._build(child, f"{key}[{i}]", device, built) for i, child in enumerate(node.value)]
            return self._argument(node, key)
        if id(node) not in built:
            cls = self._class(node, key)
            names: dict[str, Any] = {}
            arguments: list[Any] = []
            if isinstance(node, MappingNode):
                names = {name: self._build(child, f"{key}.{name}", device, built) for name, child in self._pairs(node)}
            elif isinstance(node, SequenceNode):
                arguments = [self._build(child, f"{key}[{i}]", device, built) for i, child in enumerate(node.value)]
            try:
                bound = _bind(cls, arguments, names)
                _check_bounds(bound.arguments)
                # Front ends compute filters when they are built, so they are always real; they are small.
                with torch.device(device if issubclass(cls, (GatedEncoder, GatedCTC)) else "cpu"):
                    built[id(node)] = cls(*bound.args, **bound.kwargs)
            except Exception as error:  # whatever a constructor makes of a value is a mistake in the file
                raise DldError(
                    f"{self._where(node, key)}: {_tag(node)[5:]} cannot be built: {one_line(error)}"
                ) from None
        return built[id(node)]

    def _class(self, node: Node, key: str) -> type:
        kind, name = _tag(node)[1:].split(":", 1)
        if kind != "new" or name not in CLASSES:
            raise DldError(
                f"{self._where(node, key)}: {shown(_tag(node))} is not one of the classes that the network of a "
                "finished experiment is built from (dld.saved.CLASSES); if it is yours, name it with dld.saved.allow"
            )
        return CLASSES[name]

    def _argument(self, node: Node, key: str) -> Any:
        value = self._scalar(node, key)
        if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
            raise DldError(f"{self._where(node, key)}: {shown(node.value)} is larger than any setting of a network")
        return value

    def _compare(self, network: GatedCTC, shapes: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
        own = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
        wrong = sorted(set(own) ^ set(shapes)) or sorted(name for name in own if own[name] != shapes[name])
        if wrong:
            raise DldError(
                f"{self.path}: the network it describes does not fit the weights next to it: {len(wrong)} tensors "
                f"differ, the first is {shown(wrong[0])}; copy the whole experiment again"
            )


def _bind(cls: type, arguments: list, names: dict[str, Any]) -> inspect.BoundArguments:
    """Return arguments by their names, an error naming the nearest one where there is no such argument."""
    signature = inspect.signature(cls)
    for name in names:
        if name not in signature.parameters:
            raise DldError(no_argument(cls, name))
    return signature.bind(*arguments, **names)


def _is_object(node: Node) -> bool:
    return bool(_OBJECT.fullmatch(_tag(node)))


def _tag(node: Node) -> str:
    return node.tag or ""


def _check_bounds(arguments: dict[str, Any]) -> None:
    for name, (low, high) in BOUNDS.items():
        value = arguments.get(name)
        if value is not None and (type(value) not in (int, float) or not low <= value <= high):
            raise DldError(f"{name} must be a number from {low} to {high}")


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0 if digits.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text.strip("'\"")


def shown(text: str, longest: int = 60) -> str:
    """Return a text as part of a message: quoted, on one line, cut where it is long.

    Examples
    --------
    >>> shown("a" * 9, longest=4)
    "'aaaa…'"
    """
    return repr(text if len(text) <= longest else text[:longest] + "…")


def one_line(error: object) -> str:
    r"""Return an exception's message on one line, cut where it is long.

    Examples
    --------
    >>> one_line(ValueError("not\n  good"))
    'not good'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
