"""Data directories that queen is trained or tested with, next to its own."""

import shlex
from dataclasses import replace
from pathlib import Path

from dld.data import kaldi
from dld.data.corpora import librispeech
from dld.errors import DldError

_LIBRISPEECH = {"test-other": "test_other", "train-clean-100": "train_librispeech"}


def add_librispeech(destination: Path, corpus: Path) -> list[str]:
    """Write two splits of LibriSpeech in lower case, as queen's text is; return a line about each.

    Parameters
    ----------
    destination : Path
        Receives `test_other` and `train_librispeech`.
    corpus : Path
        The folder LibriSpeech, whole or in part: a split that is not there has no directory.
    """
    from dld.data.corpora.librispeech.reading import read_sets

    options = librispeech.Options(corpus, allow_partial=True, sets=("train", "test"), train_set="100")
    _, sets = read_sets(corpus, options)
    lines = []
    for split, name in _LIBRISPEECH.items():
        if sets[split]:
            kaldi.write(destination / name, [replace(u, text=(u.text or "").lower()) for u in sets[split]])
            lines.append(f"{destination / name}: {len(sets[split])} utterances of LibriSpeech's {split}")
    return lines


def add_directories(destination: Path, directories: str) -> list[str]:
    """Write train together with other data directories as `train_extra`; return a line about it."""
    try:
        sources = [destination / "train", *map(Path, shlex.split(directories))]
    except ValueError as error:
        raise DldError(f"--extra-data: {error}: {directories}") from None
    joined = kaldi.combine(destination / "train_extra", sources)
    return [f"{destination / 'train_extra'}: {len(joined)} utterances of {len(sources)} directories"]
