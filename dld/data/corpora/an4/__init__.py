"""CMU AN4: 0.81 hours of spelled words, numbers and commands, 84 speakers, freely available.

The corpus is as it is distributed: `etc/an4_{train,test}.{fileids,transcription}` and a file for each utterance in
`wav/an4_clstk` and `wav/an4test_clstk`, WAV (https://github.com/cmusphinx/an4) or NIST SPHERE (CMU's archive), read
where it is. Text stays upper-case. Leaves train, dev (a tenth of the training speakers) and test (the official one);
or, of the training speakers alone, train, dev and test of one of five folds.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from dld.checks import Whole
from dld.data.corpora import Prepared
from dld.data.corpora.an4 import known
from dld.data.corpora.settings import Source, add_settings, check_settings, setting


@dataclass(frozen=True)
class Options(Source):
    """What can be chosen of AN4.

    Parameters
    ----------
    corpus, downloads, allow_partial, sets
        See `Source`.
    fold : int
        0: the official split; 1 to 5: this fold of the training speakers.
    """

    fold: int = setting(
        0, Whole(0, known.FOLDS), "split the training speakers: test is the N-th fifth of them (0: official test)", "N"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options of this corpus."""
    add_settings(parser, Options)


def prepare(destination: str | Path, options: Options) -> Prepared:
    """Write the data directories of AN4: `train`, `dev` and `test`, which have no speaker in common.

    Parameters
    ----------
    destination : str or Path
        Where the data directories go; each fold needs one of its own.
    options : Options

    Returns
    -------
    Prepared
        For each directory: speakers, utterances, words, seconds.

    Raises
    ------
    DldError
        The corpus is faulty or not whole and `allow_partial` is false; then nothing has been written.
    """
    check_settings(options)
    from dld.data.corpora.an4.reading import write_sets

    corpus = options.repository(known.REPOSITORY, known.COMMIT)
    return Prepared(write_sets(corpus, Path(destination), options))
