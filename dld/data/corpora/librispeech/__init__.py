"""LibriSpeech (OpenSLR 12): 100, 460 or 960 hours of read books, and its n-gram language models.

The corpus is as it is distributed: `SPLIT/READER/CHAPTER/*.flac` with one `READER-CHAPTER.trans.txt` per chapter;
FLAC is read where it is. As in Kaldi's recipe a speaker is a chapter of a reader, and text stays upper-case. All of
it takes 60 GB (8 GB for 100 hours) to download and as much unpacked. Leaves dev (dev-clean and dev-other together),
train (the splits of its hours together), and one directory for each split.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from dld.checks import NOT_NEGATIVE, Choice
from dld.data.corpora import Prepared
from dld.data.corpora.librispeech import known
from dld.data.corpora.settings import Source, add_settings, check_settings, setting


@dataclass(frozen=True)
class Options(Source):
    """What can be chosen of LibriSpeech.

    Parameters
    ----------
    corpus, downloads, allow_partial, sets
        See `Source`.
    train_set : {"100", "460", "960"}
        Hours; whose splits are prepared is in `known.TRAIN_SETS`.
    held_out : int
        This many training readers become `dev`, where the corpus has no dev split.
    language_model : str, optional
        Of `known.LANGUAGE_MODELS`. Then only this model is downloaded, to the destination.
    """

    train_set: str = setting("960", Choice(*known.TRAIN_SETS), "hours of train")
    held_out: int = setting(0, NOT_NEGATIVE, "make dev of N training readers, where there are no dev splits", "N")
    language_model: str | None = setting(
        None, Choice(*known.LANGUAGE_MODELS), "download this model to the destination instead, and print its path"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options of this corpus."""
    add_settings(parser, Options)


def prepare(destination: str | Path, options: Options) -> Prepared:
    """Write the data directories of LibriSpeech.

    One for each split, `train` (the splits of `train_set` together) and `dev` (dev-clean and dev-other together, for
    validation and tuning). Nothing is left out of them.

    Parameters
    ----------
    destination : str or Path
        Where the data directories go.
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
    if options.language_model:
        from dld.data.download import fetch

        address, digest = known.LANGUAGE_MODELS[options.language_model]
        return Prepared(before=(str(fetch(address, Path(destination) / address.rpartition("/")[2], digest)),))
    from dld.data.corpora.librispeech.reading import write_sets

    splits = known.splits_of(options.sets, options.train_set)
    corpus = options.folder(known.ARCHIVES[split] for split in splits)
    return Prepared(write_sets(corpus, Path(destination), options))
