"""The runs of a comparison, described in a YAML file.

Such a file is in `recipes/NAME/runs/`; all paths in it are relative to the recipe's folder, `recipes/NAME`. The
dataclasses of this module are its schema: each key is an attribute, with its type, and what has no default must be
there. The name of a run is the name of its folder and means nothing else.

Examples
--------
::

    exp: exp
    test_sets: [test]
    files: hparams/base.yaml
    settings: {num_epochs: 8}
    report: {title: Two systems, baseline: ld}
    runs:
      static: {files: hparams/static.yaml}
      ld: {files: ../common/hparams/systems/ld.yaml}
      ld_seed2: {files: ../common/hparams/systems/ld.yaml, seed: 2}
      dld: {files: ../common/hparams/systems/dld.yaml, teacher: static}
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ruamel.yaml
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dld.checks import COUNT, Choice, ListOf, Nullable, Text, Whole, complaint
from dld.errors import DldError
from dld.files import read_bytes

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_MOST_BYTES = 1 << 18


@dataclass(frozen=True)
class _Name:
    """A name of a folder; `several` also allows a list of names."""

    several: bool = False

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        names = _listed(value) if self.several else [value]
        return all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)

    def __str__(self) -> str:
        kind = "a name or a list of names" if self.several else "a name"
        return f"{kind} (letters, digits, '.', '_', '-', and no '.' or '-' in front)"


@dataclass(frozen=True)
class _Settings:
    """Key → value."""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)

    def __str__(self) -> str:
        return "a mapping of keys to values"


class _Paths(ListOf):
    def accepts(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return super().accepts(_listed(value))


PATH, PATHS = Text("a path"), _Paths(Text(), meaning="a path or a list of paths")
NAME, NAMES, SETTINGS = _Name(), _Name(several=True), _Settings()


def _key(kind: Any, default: Any = dataclasses.MISSING) -> Any:
    """Return an attribute that is a key of the file, of a kind of `dld.checks`."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True)
class Run:
    """One training, and what it is decoded with.

    Attributes
    ----------
    name : str
        Name of its folder in `exp`.
    files : tuple of str
        Experiment files, each of which extends those before it; those of the comparison come first.
    seed, depth : int or None
        Settings of the same names, where they are given.
    teacher, start : str or None
        Names of runs: the frozen teacher, and the run whose weights are the start (the setting `init_from`).
    settings : mapping
        Further settings of the experiment, which override those of the comparison.
    """

    name: str
    files: tuple[str, ...] = _key(PATHS)
    seed: int | None = _key(Nullable(Whole(0, 2**32 - 1)), None)
    depth: int | None = _key(Nullable(COUNT), None)
    teacher: str | None = _key(Nullable(NAME), None)
    start: str | None = _key(Nullable(NAME), None)
    settings: Mapping[str, Any] = _key(SETTINGS, {})

    @property
    def needs(self) -> tuple[str, ...]:
        """The runs that must be finished before this one begins."""
        return tuple(dict.fromkeys(name for name in (self.teacher, self.start) if name))


@dataclass(frozen=True)
class Report:
    """How the report is made: options of `dld report`.

    Attributes
    ----------
    output : str
        Folder of the report, in `exp`.
    title : str or None
    baseline : tuple of str
        Systems that the others are compared with.
    order : tuple of str
        The systems that are reported, in their order; all where it is empty.
    notes : str or None
        Markdown file that is put after the page's head.
    """

    output: str = _key(PATH, "report")
    title: str | None = _key(Nullable(Text()), None)
    baseline: tuple[str, ...] = _key(NAMES, ())
    order: tuple[str, ...] = _key(NAMES, ())
    notes: str | None = _key(Nullable(PATH), None)


@dataclass(frozen=True)
class Comparison:
    """A list of runs and what they have in common.

    Attributes
    ----------
    path : str
        The file, for messages.
    runs : tuple of Run
    exp, data : str
        Folders of the runs and of the data directories.
    dev_set : str
        Where gate tables are searched.
    prepare : tuple of str
        A command, as a list of words, that makes further test sets after stage 1 of the recipe; the data folder is its
        last argument.
    test_sets : tuple of str
        What is decoded and scored.
    folds : int
        Folds of a cross-validation, each with all runs: those of fold K are in `EXP/foldK`, on the data directories in
        `DATA/foldK`, which the recipe's run.sh makes with the option `--fold K`. 0: no folds.
    device : str or None
        `cpu` or `cuda`; None: the GPU where there is one.
    files : tuple of str
        Experiment files that the files of all runs extend.
    settings : mapping
        Settings of the experiments, for all runs.
    decode, corpus : mapping
        Options of `dld decode`, and of the recipe's run.sh where it makes the data (stages 1 to 3): `{scale: 3}` is
        `--scale 3`.
    report : Report
    """

    path: str
    runs: tuple[Run, ...]
    exp: str = _key(PATH, "exp")
    data: str = _key(PATH, "data")
    dev_set: str = _key(NAME, "dev")
    prepare: tuple[str, ...] = _key(PATHS, ())
    test_sets: tuple[str, ...] = _key(NAMES, ("test",))
    folds: int = _key(Whole(0, 100), 0)
    device: str | None = _key(Nullable(Choice("cpu", "cuda")), None)
    files: tuple[str, ...] = _key(PATHS, ())
    settings: Mapping[str, Any] = _key(SETTINGS, {})
    decode: Mapping[str, Any] = _key(SETTINGS, {})
    corpus: Mapping[str, Any] = _key(SETTINGS, {})
    report: Report = field(default_factory=Report)

    @property
    def recipe(self) -> Path:
        """The folder that the paths are relative to."""
        return Path(self.path).resolve().parent.parent

    def parts(self) -> "tuple[Comparison, ...]":
        """Return the comparison of each fold; itself where there are none."""
        if not self.folds:
            return (self,)
        return tuple(
            dataclasses.replace(
                self, folds=0, exp=f"{self.exp}/fold{k}", data=f"{self.data}/fold{k}", corpus={**self.corpus, "fold": k}
            )
            for k in range(1, self.folds + 1)
        )

    def run(self, name: str) -> Run:
        """Return the run of a name; a `DldError` has the nearest one."""
        for run in self.runs:
            if run.name == name:
                return run
        raise DldError(f"{self.path}: no run {name!r}{_nearest(name, [run.name for run in self.runs])}")


def read_comparison(path: str | Path) -> Comparison:
    """Read the list of a comparison.

    Raises
    ------
    DldError
        The file cannot be read, a key is unknown (with the nearest known one) or has a wrong value, or a run needs one
        that is not in the list, or itself.
    """
    tree = _parse(path)
    runs, report = tree.pop("runs", None), tree.pop("report", {})
    if not isinstance(runs, Mapping) or not runs:
        raise DldError(f"{path}: runs: a mapping of names to runs was expected")
    if wrong := complaint("the name of a run", list(runs), NAMES):
        raise DldError(f"{path}: runs: {wrong}")
    comparison = Comparison(
        path=str(path),
        runs=tuple(_record(Run, value, f"{path}: runs: {name}", name=name) for name, value in runs.items()),
        report=_record(Report, report, f"{path}: report"),
        **_values(Comparison, tree, str(path)),
    )
    _check_needs(comparison)
    return comparison


def _parse(path: str | Path) -> dict:
    raw = read_bytes(path, _MOST_BYTES)
    try:
        tree = ruamel.yaml.YAML(typ="safe", pure=True).load(raw.decode("utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DldError(f"{path}:{line}: not YAML: {' '.join((error.problem or error.context).split())}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise DldError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise DldError(f"{path}: a list of runs is a mapping with the key 'runs'")
    return tree


def _record(cls: type, values: Any, where: str, **given: Any) -> Any:
    if not isinstance(values, Mapping):
        raise DldError(f"{where}: a mapping of keys to values was expected")
    return cls(**given, **_values(cls, values, where))


def _values(cls: type, values: Mapping, where: str) -> dict:
    """Return the values of a record's keys, checked; lists are tuples."""
    keys = {item.name: item for item in dataclasses.fields(cls) if "kind" in item.metadata}
    for name, value in values.items():
        if name not in keys:
            known = [*keys, *(("runs", "report") if cls is Comparison else ())]
            raise DldError(f"{where}: unknown key {name!r}{_nearest(name, known)}")
        if wrong := complaint(name, value, keys[name].metadata["kind"]):
            raise DldError(f"{where}: {wrong}")
    for name, item in keys.items():
        if name not in values and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise DldError(f"{where}: missing key {name!r}, {item.metadata['kind']}")
    several = {name for name, item in keys.items() if str(item.type).startswith("tuple")}
    return {name: tuple(_listed(value)) if name in several else value for name, value in values.items()}


def _check_needs(comparison: Comparison) -> None:
    by_name = {run.name: run for run in comparison.runs}
    for run in comparison.runs:
        for key in ("teacher", "start"):
            name = getattr(run, key)
            if name and name not in by_name:
                where = f"{comparison.path}: runs: {run.name}"
                raise DldError(f"{where}: its {key} {name!r} is not in the list{_nearest(name, [*by_name])}")
        seen, waiting = set(), list(run.needs)
        while waiting:
            name = waiting.pop()
            if name == run.name:
                raise DldError(f"{comparison.path}: runs: {run.name} needs itself, by its teacher or start")
            if name not in seen:
                seen.add(name)
                waiting += by_name[name].needs if name in by_name else ()


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _nearest(name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


def words(options: Mapping[str, Any], dashes: bool = True) -> list[str]:
    """Return options of a mapping as words of a command line.

    Parameters
    ----------
    options : mapping
    dashes : bool
        Write dashes in the names, as in `--beam-size`; settings of experiments have underscores.

    Examples
    --------
    >>> words({"beam_size": 8, "depths": [2, 4], "lm": None})
    ['--beam-size=8', '--depths=[2,4]', '--lm=null']
    """
    return [f"--{name.replace('_', '-') if dashes else name}={_text(value)}" for name, value in options.items()]


def _text(value: Any) -> str:
    return (
        value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
    )
