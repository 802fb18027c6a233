"""Read experiment files with those that they extend, and merge them; references stay as they are."""

from collections.abc import Mapping

import ruamel.yaml
from ruamel.yaml.comments import Comment
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dld.checks import ListOf, Text, complaint
from dld.errors import DldError, describe_os_error


def read_layers(path, above, origins, tree=None, below=None):
    """Return the tree of a file, merged over its bases, and over `below`, the tree of the files given before it.

    `origins` takes key → the file that its value is of; `tree` is the content of the file where it was read already.
    """
    if path.resolve() in above:
        raise DldError(f"{path}: the files extend each other in a circle")
    tree = parse(read_text(path), path) if tree is None else tree
    names = _pop_names(tree, "extends", path)
    gone = _pop_names(tree, "removes", path)
    result = below
    for name in names:
        try:
            base = read_layers(path.parent / name, (*above, path.resolve()), origins)
        except DldError as error:
            raise DldError(str(error) if above else f"{error} (read for {path})") from None
        result = _merged(result, base)
    for key in gone:
        if result is None or key not in result:
            raise DldError(f"{path}: removes {key!r}, which no file that it extends has")
        del result[key]
    origins.update(dict.fromkeys(tree, path))
    return _merged(result, tree)


def _merged(below, above):
    if below is None:
        return above
    merge(below, above)
    return below


def _pop_names(tree, key, path):
    """Take out `extends` or `removes`: a name or a list of names."""
    if key not in tree:
        return []
    names = tree.pop(key)
    names = [names] if isinstance(names, str) else names
    wrong = complaint(key, names, ListOf(Text(), meaning="a name or a list of names"))
    if wrong:
        raise DldError(f"{path}: {wrong}")
    return names


def tag_of(node):
    """Return the tag of a node, or None."""
    tag = getattr(node, "tag", None)
    return getattr(tag, "value", None)


def merge(below, above):
    """Put the keys of a mapping over those of another, in place."""
    for key, value in above.items():
        mergeable = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        if mergeable and tag_of(value) in (None, tag_of(below[key])):
            merge(below[key], value)
        else:
            below[key] = value


def read_text(path):
    """Return the text of an experiment file; a `DldError` says why it cannot be read."""
    try:
        if path.is_char_device():
            raise DldError(f"{path}: is a device, an experiment file was expected")
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise DldError(f"{path}: no such experiment file") from None
    except IsADirectoryError:
        raise DldError(f"{path}: is a folder; an experiment file was expected, such as hparams/base.yaml") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DldError(f"{path}:{line}: not UTF-8 text ({error.reason}); save the file as UTF-8") from None
    except OSError as error:
        raise DldError(describe_os_error(error, path)) from None
    except ValueError as error:
        raise DldError(f"{path}: cannot be read ({error})") from None


def parse(text, path):
    """Return the tree of an experiment file's text, without its comments."""
    try:
        tree = ruamel.yaml.YAML().load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = " ".join((error.problem or error.context or "").split())
        raise DldError(f"{path}:{line}: not YAML: {problem}") from None
    except YAMLError as error:
        problem = " ".join(str(getattr(error, "reason", None) or error).split())
        raise DldError(f"{path}: not YAML: {problem}") from None
    if tree is None:
        raise DldError(f"{path}: is empty; an experiment file is a mapping of keys to values")
    if not isinstance(tree, Mapping):
        raise DldError(f"{path}: an experiment file is a mapping of keys to values")
    # Of merged files they would be next to other keys.
    _drop_comments(tree)
    return tree


def _drop_comments(node, seen=None):
    seen = set() if seen is None else seen
    if id(node) in seen:
        return
    seen.add(id(node))
    if hasattr(node, Comment.attrib):
        delattr(node, Comment.attrib)
    for value in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        _drop_comments(value, seen)
