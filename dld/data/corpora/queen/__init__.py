"""The queen corpus: voice acting of the free game Flight of the Amazon Queen, 4.4 hours with the text of every clip.

The game (John Passfield and Steven Stamatiadis, 1995) is freely redistributable, and a package of Debian. Leaves train,
dev and test, with the speech of their characters in audio, as FLAC. On demand there are also sets of
LibriSpeech in lower case, as queen's text is, and train_extra: train and other directories together.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from dld.checks import Text, Whole
from dld.data.corpora import Prepared
from dld.data.corpora.settings import add_settings, check_settings, sets_setting, setting


@dataclass(frozen=True)
class Options:
    """Where the game is, and what else is prepared.

    Parameters
    ----------
    corpus : str or Path, optional
        A local `queen.1c`, or the Debian package. By default the package is fetched, with `apt-get download` or else
        over HTTP, and unpacked; it is not installed, and no root is needed.
    librispeech : str or Path, optional
        The folder LibriSpeech, whole or in part.
    extra_data : str, optional
        Kaldi data directories, as words of a shell.
    sets : tuple of str
        Which of train, dev and test are made.
    jobs : int, optional
        Clips that are decoded at a time; by default the number of processors.
    """

    corpus: str | Path | None = setting(
        None,
        Text(),
        "a local queen.1c, or Debian's package flight-of-the-amazon-queen; without it the package is fetched",
        "FILE",
    )
    librispeech: str | Path | None = setting(
        None, Text(), "the folder LibriSpeech, whole or in part: leaves test_other and train_librispeech, too", "DIR"
    )
    extra_data: str | None = setting(
        None, Text(), "Kaldi data directories that are joined with train to train_extra", "'A B'"
    )
    sets: tuple[str, ...] = sets_setting("sets that are there already stay")
    jobs: int | None = setting(None, Whole(1, 1024), "clips decoded at a time; without it the processors' number", "N")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options of this corpus."""
    add_settings(parser, Options)


def prepare(destination: str | Path, options: Options) -> Prepared:
    """Make Kaldi data directories, or keep those that are already there from the same file.

    Leaves those of `train`, `dev` and `test` that are wanted, the audio (16 kHz, 16-bit FLAC) and the licence's notices
    under `audio`, `queen.tsv` (every clip that has a text, and where it went) and, last of all, `queen.json` (checksum
    and counts), without which the corpus counts as unfinished and is made again.

    Parameters
    ----------
    destination : str or Path
        Folder that receives all this; a package is unpacked into its folder `source`.
    options : Options

    Returns
    -------
    Prepared
        Split → `characters`, `utterances`, `minutes`, `words`.
    """
    check_settings(options)
    from dld.data.corpora.queen.extra import add_directories, add_librispeech
    from dld.data.corpora.queen.making import make
    from dld.data.corpora.staging import counts_of, said

    destination = Path(destination)
    summary, reason = make(destination, options.corpus, options.jobs, options.sets)
    left_out = ", ".join(f"{number} ({why})" for why, number in summary["left_out"].items())
    after = [f"of {summary['clips']} clips left out: {left_out}"]
    if options.librispeech:
        after += add_librispeech(destination, Path(options.librispeech))
    if options.extra_data:
        after += add_directories(destination, options.extra_data)
    return Prepared(counts_of(summary["splits"]), before=(said(destination, reason),), after=tuple(after))
