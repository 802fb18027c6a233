"""Corpora as they are distributed (or made) → Kaldi data directories: a catalogue, one package for each corpus.

A package in this folder is a corpus; `dld prepare NAME` finds it by its name, and nothing has to be registered. It has

- a docstring, whose first line `dld prepare --help` shows;
- `Options`, a frozen dataclass of `dld.data.corpora.settings`: what can be chosen, declared once;
- `add_arguments(parser)`, which adds these as command-line options;
- `prepare(destination, options) -> Prepared`, which writes the data directories below the folder `destination`.

It imports quickly: what takes long to import (numpy, soundfile, `dld.data.kaldi`) is imported inside functions.
"""

import difflib
import importlib
import pkgutil
from dataclasses import dataclass, field
from types import ModuleType

from dld.errors import DldError


@dataclass(frozen=True)
class Prepared:
    """What `prepare` reports to its user.

    Attributes
    ----------
    counts : dict of str to dict
        Data directory → counts; `seconds` is shown as hours.
    before, after : tuple of str
        Lines to be shown before and after the table of counts.
    """

    counts: dict[str, dict] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def names() -> list[str]:
    """Return the names of all corpora.

    Examples
    --------
    >>> names()
    ['an4', 'kaldi', 'librispeech', 'mini', 'queen', 'tedlium3']
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def load(name: str) -> ModuleType:
    """Return the package of a corpus.

    Raises
    ------
    DldError
        There is no corpus of this name.

    Examples
    --------
    >>> load("mini").Options().scale
    1.0
    >>> load("librispeach")
    Traceback (most recent call last):
    dld.errors.DldError: no corpus 'librispeach'; did you mean 'librispeech'?
    """
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise DldError(f"no corpus {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"see {', '.join(known)}"))
    return importlib.import_module(f"{__name__}.{name}")
