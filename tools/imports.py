#!/usr/bin/env python3
"""Print the packages of dld, their lines, and what imports what; exit with status 1 if an import points upwards.

Imports inside functions count like all others, those for a type checker alone (`if TYPE_CHECKING:`) do not. A package
may import from its own row of `LAYERS` and from those below it; within a row, packages must not import each other in a
circle. Only the standard library is needed.

    python3 tools/imports.py
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# From the top to the base; what DESIGN and README draw as `bin → deploy, reporting → …`. Single modules stand for
# themselves. A new package or module of dld needs a row.
LAYERS = [
    ["bin", "__main__"],
    ["deploy", "reporting", "profiling"],
    ["training", "comparison"],
    ["recognition"],
    ["experiment"],
    ["saved", "config"],
    ["network", "encoders", "frontends", "decoding"],
    ["gates", "data", "scoring"],
    ["checks", "ctc", "distributed", "files", "memory", "padding", "progress", "provenance", "records"],
    ["errors", "__init__"],
]
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}


def imported_modules(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Yield line number and full name of everything that the module at `path`, in `package`, imports when it runs."""
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), str(path))]
    for node in nodes:
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def unit_of(root: Path, name: str) -> str:
    """Return the package or module below dld that the dotted `name` (`dld.gates.table.GateTable`) belongs to."""
    part = name.split(".")[1] if "." in name else "__init__"
    return part if (root / "dld" / part).is_dir() or (root / "dld" / f"{part}.py").is_file() else "__init__"


def picture(root: Path) -> tuple[Counter[str], Counter[str], dict[tuple[str, str], list[str]]]:
    """Return files and lines of each unit, and for each pair of units the lines where the first imports the second."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    edges: dict[tuple[str, str], list[str]] = {}
    for path in sorted((root / "dld").rglob("*.py")):
        module = path.relative_to(root).with_suffix("")
        unit = unit_of(root, ".".join(module.parts))
        files[unit] += 1
        lines[unit] += len(path.read_text(encoding="utf-8").splitlines())
        for line, name in imported_modules(path, ".".join(module.parts[:-1])):
            if name.split(".")[0] == "dld" and (target := unit_of(root, name)) != unit:
                edges.setdefault((unit, target), []).append(f"{path.relative_to(root)}:{line}")
    return files, lines, edges


def faults(units: Counter[str], edges: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    """Yield one line for each unit without a row, each import that points upwards, and a circle within a row."""
    for unit in units:
        if unit not in ROW:
            yield f"dld/{unit} has no row in LAYERS of tools/imports.py; add it to the one that it belongs to"
    known = {edge: at for edge, at in edges.items() if ROW.keys() >= set(edge)}
    for (unit, target), at in known.items():
        if ROW[target] < ROW[unit]:
            yield f"{at[0]}: {unit} imports {target}, which is above it; {len(at)} import(s): {', '.join(at)}"
    graph: dict[str, set[str]] = {}
    for unit, target in known:
        if ROW[unit] == ROW[target]:
            graph.setdefault(unit, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"packages of one row import each other in a circle: {' → '.join(reversed(error.args[1]))}"


def main(root: Path) -> int:
    """Print the packages and imports of the checkout at `root`; return the exit status."""
    files, lines, edges = picture(root)
    rows = LAYERS if files.keys() <= ROW.keys() else [*LAYERS, sorted(files.keys() - ROW.keys())]
    print(f"{'':12} {'files':>5} {'lines':>6}  imports")
    for row in rows:
        for unit in (name for name in row if name in files):
            targets = sorted((ROW.get(target, 0), target) for source, target in edges if source == unit)
            print(f"{unit:12} {files[unit]:5} {lines[unit]:6}  {' '.join(target for _, target in targets)}")
    print(f"{'all':12} {files.total():5} {lines.total():6}")
    found = list(faults(files, edges))
    for fault in found:
        print(f"imports.py: error: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
