"""Values of `--KEY` options: plain YAML values, references, and classes of a few packages; nothing that runs code.

Experiment files are programs of their user and may run what they like. An override often comes out of a script, a job
queue or a table of runs, where a value is not expected to be a program.
"""

import inspect
import pydoc
import re

import ruamel.yaml
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from dld.config.classes import missing_class
from dld.errors import DldError

#: Packages whose classes an override may name.
PACKAGES = ("dld", "speechbrain", "torch.optim")
_NULL = ("", "~", "null", "Null", "NULL")
# HyperPyYAML reads text in parentheses as a tuple, by a parser that also knows tags that run code.
_TUPLE = re.compile(r"\(.*\)", re.DOTALL)
_ATTRIBUTE = re.compile(r"<[^>]*\.[^>]*>")
_PLAIN_TUPLE = re.compile(r"\([\w\s.,+'\"-]*\)")


def read_override(name, text, literal=False, nullable=False):
    """Return the value of an override.

    Parameters
    ----------
    name : str
        The key, with dots, for messages.
    text : str
    literal : bool
        Take it as text, whatever YAML would read in it (`2026_11_26`); references are still references.
    nullable : bool
        With `literal`: `null` is null.

    Raises
    ------
    DldError
        Not YAML, or a tag that may not be in an override.

    Examples
    --------
    >>> read_override("exp", "1.10", literal=True), read_override("lr", "1.10")
    ('1.10', 1.1)
    """
    if literal and not text.startswith(("!", '"', "'")):
        return None if nullable and text in _NULL else DoubleQuotedScalarString(text)
    try:
        value = ruamel.yaml.YAML().load(text)
    except YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "several documents"
        raise DldError(f"override --{name} {text!r} is not YAML: {problem}") from None
    _check_nodes(value, f"override --{name}")
    return value


def _check_nodes(node, where):
    tag = getattr(getattr(node, "tag", None), "value", None)
    if tag in ("!ref", "!copy") and _ATTRIBUTE.search(node.value):
        raise DldError(f"{where}: {node.value!r} asks for an attribute of an object; only values can be referred to")
    if tag and tag not in ("!ref", "!copy", "!tuple"):
        _check_tag(tag, where)
    if isinstance(node, dict):
        for key, value in node.items():
            _check_nodes(key, where)
            _check_nodes(value, where)
    elif isinstance(node, (list, tuple, set)):
        for value in node:
            _check_nodes(value, where)
    else:
        text = node if isinstance(node, str) else getattr(node, "value", None)
        if isinstance(text, str) and not is_plain(text):
            raise DldError(f"{where}: {text!r} is read as a tuple and may hold numbers and words only; write a list")


def is_plain(text):
    """Return whether HyperPyYAML reads plain text, or a tuple of plain values, in a string.

    Examples
    --------
    >>> is_plain("(0.9, 0.98)"), is_plain("(!!python/name:os.system )"), is_plain("one (two)")
    (True, False, True)
    """
    return not _TUPLE.fullmatch(text.strip()) or bool(_PLAIN_TUPLE.fullmatch(text.strip()))


def _check_tag(tag, where):
    kind, _, name = tag.partition(":")
    if kind not in ("!new", "!name"):
        raise DldError(
            f"{where}: the tag {tag} may not be in an override, only !ref, and !new: or !name: of a class of "
            f"{', '.join(PACKAGES)}; put it into the experiment file"
        )
    if not any(name.startswith(f"{package}.") for package in PACKAGES):
        raise DldError(
            f"{where}: {tag} may not be in an override, only classes of {', '.join(PACKAGES)}; "
            "put it into the experiment file"
        )
    found = _locate(name)
    if found is None:
        raise DldError(f"{where}: {missing_class(name) or f'there is no class {name}'}")
    # By its own module: a class of another package that a module here imports has the name of that module, too.
    if not inspect.isclass(found) or not any(f"{found.__module__}.".startswith(f"{p}.") for p in PACKAGES):
        raise DldError(f"{where}: {name} is not a class of {', '.join(PACKAGES)}; put it into the experiment file")


def _locate(name):
    try:
        return pydoc.locate(name)
    except pydoc.ErrorDuringImport:
        return None
