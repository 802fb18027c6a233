"""Read the settings of an experiment as data: nothing that the file names is imported, built or run.

The file is parsed into nodes only. Plain values become plain Python values, and what has a tag is described. A tag that
would call a function, import a module or read a file is refused wherever it is. Needs no torch.
"""

import difflib
import io
import re
from collections.abc import ItemsView, Iterator
from pathlib import Path
from typing import Any

import ruamel.yaml
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dld.errors import DldError
from dld.files import read_bytes

#: What the settings of an experiment never reach; a larger file is made to use up memory or time.
MOST_BYTES = 1 << 18
MOST_VALUES = 20_000
MOST_LEVELS = 50

_YAML = "tag:yaml.org,2002:"
_PLAIN_KINDS = ("null", "bool", "int", "float", "str", "timestamp", "seq", "map", "merge")
_PLAIN_TAGS = {"", "!tuple", *(_YAML + kind for kind in _PLAIN_KINDS)}
_OBJECT = re.compile(r"!(?:new|name):\S+")
# What HyperPyYAML runs or reads while it resolves references; everything else waits until objects are built.
_EARLY = ("!applyref:", "!include:")
_TUPLE = re.compile(r"\(.*\)")


class PlainSettings:
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
        """Return the value of a key, such as `lr` or `encoder.dropout`, as `dld config --get` prints it: as YAML."""
        node: Node = self.root
        for count, part in enumerate(key.split(".")):
            below = dict(self._pairs(node)) if isinstance(node, MappingNode) else {}
            if part not in below:
                known = [".".join([*key.split(".")[:count], name]) for name in below]
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise DldError(f"{self.path}: no key {key!r}{hint}")
            node = below[part]
        if isinstance(node, ScalarNode) and tag_of(node) in _PLAIN_TAGS:
            return "null" if tag_of(node) == f"{_YAML}null" else node.value
        out = io.StringIO()
        yaml = ruamel.yaml.YAML()
        yaml.width = 1 << 16
        yaml.serialize(node, out)
        # The end of a document follows a scalar without a key.
        return out.getvalue().removesuffix("...\n").strip()

    def objects(self) -> Iterator[tuple[str, str]]:
        """Yield what the tags `!new:` and `!name:` name, and where that is."""
        for key, node in self._pairs(self.root):
            waiting = [node]
            while waiting:
                node = waiting.pop()
                if is_object(node):
                    yield tag_of(node).partition(":")[2], self._where(node, key)
                if isinstance(node, MappingNode):
                    waiting += [value for _, value in node.value]
                elif isinstance(node, SequenceNode):
                    waiting += node.value

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
        tag = tag_of(node)
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
            tag = tag_of(node)
            if tag not in _PLAIN_TAGS and tag not in ("!ref", "!copy"):
                value = {tag.replace(_YAML, "!!"): value}
            self._values[id(node)] = value
        return self._values[id(node)]

    def _scalar(self, node: Node, key: str) -> Any:
        text, kind = node.value, tag_of(node).removeprefix(_YAML)
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


def is_object(node: Node) -> bool:
    """Return whether a node describes an object that HyperPyYAML would build."""
    return bool(_OBJECT.fullmatch(tag_of(node)))


def tag_of(node: Node) -> str:
    """Return the tag of a node, or ""."""
    return node.tag or ""


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
