"""Kaldi data directories that are there already, copied for a recipe.

Without a directory for dev, a part of train is held out as dev; without one for test, dev is decoded.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from dld.checks import Text
from dld.data.corpora import Prepared
from dld.data.corpora.settings import add_settings, check_settings, setting
from dld.errors import UsageError


@dataclass(frozen=True)
class Options:
    """Which directories are taken.

    Parameters
    ----------
    train : str or Path
    dev : str or Path, optional
        Without one, about a tenth of train is held out: whole speakers, or utterances where speakers are too few.
    test : str
        Directories as a shell writes them; each keeps its own name.
    audio_root : str or Path, optional
        Where relative paths in `wav.scp` start, and pipes run; by default the current folder.
    """

    train: str | Path | None = setting(None, Text(), "directory to train on", "DIR")
    dev: str | Path | None = setting(None, Text(), "directory to validate on (default: a part of train)", "DIR")
    test: str | None = setting(
        None, Text(), "directories to decode, which keep their names (default: dev)", "'DIR DIR'"
    )
    audio_root: str | Path | None = setting(
        None, Text(), "where relative paths in wav.scp start (default: the current folder)", "DIR"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    add_settings(parser, Options)


def prepare(destination: str | Path, options: Options) -> Prepared:
    """Write `train`, `dev` and a directory for each test set in the folder `destination`; the sources do not change."""
    check_settings(options)
    if not options.train:
        raise UsageError("--train DIR is needed: a Kaldi data directory to train on")
    from dld.data.corpora.kaldi.copying import copy

    return copy(Path(destination), options)
