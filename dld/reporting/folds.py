"""The folds of a cross-validation as one experiment: each run's decodes of all folds, on all their test utterances."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from dld.errors import DldError
from dld.profiling.records import Latency
from dld.reporting.collect import ScoredDecode
from dld.reporting.results import Curve


def names_of(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the experiment folders of the folds by their names.

    Raises
    ------
    DldError
        Two folders have the same name.

    Examples
    --------
    >>> names_of([Path("exp/fold1"), Path("exp/fold2")])
    {'fold1': PosixPath('exp/fold1'), 'fold2': PosixPath('exp/fold2')}
    """
    named = {folder.resolve().name: folder for folder in folders}
    if len(named) != len(folders):
        raise DldError(f"--exp {shlex.join(map(str, folders))}: the folders of folds must have names of their own")
    return named


def pooled(folds: Mapping[str, Sequence[ScoredDecode]]) -> list[ScoredDecode]:
    """Return a decode of all test utterances for each run, test set, depth and variant.

    Its record is that of the first fold, with the mean compute of all.

    Parameters
    ----------
    folds : mapping of str to sequence of ScoredDecode
        Name of the fold → what `dld.reporting.collect.collect` returned.

    Raises
    ------
    DldError
        A fold lacks a decode that another one has, has it under another seed or as another line of the report, or an
        utterance is in two folds.
    """
    tables = {name: {_key(decode): decode for decode in decodes} for name, decodes in folds.items()}
    first, *_ = tables
    for key in dict.fromkeys(key for table in tables.values() for key in table):
        there = [name for name, table in tables.items() if key in table]
        if len(there) < len(tables):
            missing = next(name for name in tables if name not in there)
            raise DldError(
                f"{missing} has no {'/'.join(key)}, which {there[0]} has; run the same systems on every fold"
            )
        labels = {(table[key].label, table[key].record.seed): name for name, table in tables.items()}
        if len(labels) > 1:
            (label, seed), (other, other_seed), *_ = labels
            raise DldError(
                f"{'/'.join(key)} is {label} with seed {seed} in {labels[label, seed]}, but {other} with seed "
                f"{other_seed} in {labels[other, other_seed]}; train it alike on every fold"
            )
    return [_pool({name: table[key] for name, table in tables.items()}) for key in tables[first]]


def _key(decode):
    return decode.run, decode.directory.name


def _pool(decodes: dict[str, ScoredDecode]) -> ScoredDecode:
    alignments, owner = {}, {}
    for name, decode in decodes.items():
        for utterance, alignment in decode.alignments.items():
            if utterance in owner:
                raise DldError(f"{decode.directory}: the utterance {utterance} is also in {owner[utterance]}")
            alignments[utterance], owner[utterance] = alignment, name
    first = next(iter(decodes.values()))
    macs = sum(decode.record.gmacs_per_s for decode in decodes.values()) / len(decodes)
    record = dataclasses.replace(first.record, gmacs_per_s=macs)
    return ScoredDecode(first.directory, record, first.variant, alignments)


def of_fold(name: str, entry):
    """Return a row, a curve or a latency of a fold; runs have the name of the fold in front, `fold1/ld`.

    A report of one experiment, whose name is "", keeps its entries.
    """
    if not name:
        return entry
    if isinstance(entry, Latency):
        timings = [dataclasses.replace(timing, run=f"{name}/{timing.run}") for timing in entry.timings]
        return dataclasses.replace(entry, timings=timings)
    if isinstance(entry, Curve):
        return dataclasses.replace(entry, run=f"{name}/{entry.run}")
    return dataclasses.replace(entry, run=f"{name}/{entry.run}", fold=name)
