"""Look up classes of dld by their names, in its source text: nothing is imported."""

import ast
import difflib
import functools
from pathlib import Path

_TOP = Path(__file__).resolve().parent.parent


def missing_class(name: str) -> str | None:
    """Return what is wrong with the name of a class or function of dld, None if there is one or it is of no concern.

    Examples
    --------
    >>> missing_class("dld.frontends.LogMel"), missing_class("torch.optim.NoSuchClass")
    (None, None)
    >>> missing_class("dld.frontends.LogMell")
    'there is no class dld.frontends.LogMell; did you mean dld.frontends.LogMel?'
    >>> missing_class("dld.features.LogMel")
    'there is no class dld.features.LogMel; it is dld.frontends.LogMel now, the file is of an older version'
    """
    if not name.startswith("dld."):
        return None
    # The class may be in another: dld.module.Class.method.
    parts = name.split(".")
    found = [(end, path) for end in range(1, len(parts)) if (path := _file(parts[:end]))]
    end, path = found[-1]
    if end < len(parts) and parts[end] in _names(path) and end > 1:
        return None
    # A private name is not meant.
    last = parts[-1]
    elsewhere = _home_of(last)
    if elsewhere and end == 1:
        return f"there is no class {name}; it is {elsewhere}.{last} now, the file is of an older version"
    near = difflib.get_close_matches(last, [n for n in _names(path) if not n.startswith("_")], n=1)
    hint = f"{'.'.join(parts[:end])}.{near[0]}" if near else elsewhere and f"{elsewhere}.{last}"
    return f"there is no class {name}" + (f"; did you mean {hint}?" if hint else "")


def _file(parts: list[str]) -> Path | None:
    """Return the file of a module of dld, None where there is none."""
    path = _TOP.joinpath(*parts[1:])
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


@functools.cache
def _names(path: Path) -> frozenset[str]:
    """Return the names that a module defines or imports at its top."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return frozenset(names)


def _home_of(name: str) -> str | None:
    """Return the package, or else the module, of dld that has a class of this name."""
    for pattern in ("*/__init__.py", "**/*.py"):
        for path in sorted(_TOP.glob(pattern)):
            if name in _names(path) and path.name != "__main__.py":
                parts = path.relative_to(_TOP).with_suffix("").parts
                return ".".join(("dld", *(part for part in parts if part != "__init__")))
    return None
