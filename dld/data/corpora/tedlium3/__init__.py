"""TED-LIUM 3 (OpenSLR 51): 452 hours of talks, by its legacy splits, with stm and glm for sclite.

Talks are read where they are: NIST SPH, or a tree converted to WAV or FLAC. Utterances are the STM's segments with the
STM's own times. All of it takes 54 GB to download and as much unpacked.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from dld.checks import AT_LEAST_0, FLAG, Text
from dld.data.corpora import Prepared
from dld.data.corpora.settings import Source, add_settings, check_settings, setting
from dld.data.corpora.tedlium3 import known


@dataclass(frozen=True)
class Options(Source):
    """What can be chosen of TED-LIUM 3.

    Parameters
    ----------
    corpus, downloads, allow_partial, sets
        See `Source`.
    start_padding, end_padding : float
        Seconds that training segments are made longer at start and end, at most to the middle of the gap to the
        next segment.
    audio : str or Path, optional
        A converted tree: `<split>/{sph,wav,flac}/<talk>.*`, `<split>/<talk>.*` or `<talk>.*` in it.
    sph2pipe : bool
        Let `wav.scp` call `sph2pipe` for SPH files rather than name them.
    """

    start_padding: float = setting(
        0.0, AT_LEAST_0, "seconds that train segments begin earlier; Kaldi's recipe has 0.15", "S"
    )
    end_padding: float = setting(0.0, AT_LEAST_0, "seconds that train segments end later; Kaldi's recipe has 0.1", "S")
    audio: str | Path | None = setting(None, Text(), "tree of talks converted to WAV or FLAC", "DIR")
    sph2pipe: bool = setting(False, FLAG, "let wav.scp call sph2pipe for SPH files, as in Kaldi", "true|false")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options of this corpus."""
    add_settings(parser, Options)


def prepare(destination: str | Path, options: Options) -> Prepared:
    """Write the data directories of TED-LIUM 3.

    `train` leaves out segments without words (after normalisation), with their count. Of `dev` and `test` nothing is
    left out: they are what is scored. Both also get `stm` and `glm` for NIST sclite.

    Parameters
    ----------
    destination : str or Path
        Where the data directories go.
    options : Options

    Returns
    -------
    Prepared
        For each split: talks, lines, utterances, ignored, `no words`, faulty, words, seconds. `lines` is the sum of
        utterances, ignored, `no words` and faulty.

    Raises
    ------
    DldError
        The corpus is faulty or not whole and `allow_partial` is false; then nothing has been written.
    """
    check_settings(options)
    from dld.data.corpora.tedlium3.preparation import write_sets

    return Prepared(write_sets(options.folder(known.ARCHIVES.values()), Path(destination), options))
