"""The mini corpus: connected numbers spoken by 48 synthetic voices in noise, made here in seconds.

In the manner of TIDIGITS. Everything is drawn from one seed: who speaks, what is said, how fast and how high, which
noise at which signal-to-noise ratio. The same options and versions of the libraries make the same bytes, whatever the
number of jobs, and whichever sets are made: babble and noise of speech's spectrum take the voices of train, for dev and
test too. Leaves train, dev, test and audio.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from dld.checks import FLAG, NOT_NEGATIVE, Number, Whole
from dld.data.corpora import Prepared
from dld.data.corpora.settings import Words, add_settings, check_settings, sets_setting, setting
from dld.errors import DldError

NOISES = ("babble", "hum", "pink", "shaped", "white")


@dataclass(frozen=True)
class Options:
    """What decides every byte of the corpus, which sets of it are made, and by how many jobs.

    Parameters
    ----------
    seed : int
        Seed of everything that is drawn.
    scale : float
        Factor on the number of utterances per speaker; each speaker keeps at least one.
    snr_low, snr_high : float
        Range of the signal-to-noise ratio in dB, drawn uniformly for each utterance; the signal's power is that of its
        active parts.
    noises : tuple of str
        Kinds of noise that are drawn from, out of `NOISES`; empty for clean speech.
    flite : bool
        Add the voices of an installed `flite` to the training speakers.
    sets : tuple of str
        Which of train, dev and test are made; their bytes do not depend on it.
    jobs : int, optional
        How many speakers are made at a time; by default the number of processors.

    Raises
    ------
    DldError
        A value is outside its range, or a noise is not known.
    """

    seed: int = setting(1, NOT_NEGATIVE, "of all that is drawn", "N")
    scale: float = setting(1.0, Number(above=0, high=100), "factor on the utterances per speaker", "X")
    snr_low: float = setting(20.0, Number(-30, 100), "lowest signal-to-noise ratio", "DB")
    snr_high: float = setting(30.0, Number(-30, 100), "highest signal-to-noise ratio", "DB")
    noises: tuple[str, ...] = setting(
        NOISES, Words(*NOISES), "kinds of noise that are drawn from; an empty string for clean speech", "'A B'"
    )
    flite: bool = setting(False, FLAG, "add the voices of an installed flite to train", "true|false")
    sets: tuple[str, ...] = sets_setting("sets that are there already stay")
    jobs: int | None = setting(None, Whole(1, 1024), "speakers made at a time; without it the processors' number", "N")

    def __post_init__(self):
        """Raise a `DldError` for a setting out of its range."""
        check_settings(self)
        if self.snr_low > self.snr_high:
            raise DldError(f"SNR range {self.snr_low}…{self.snr_high} dB: needs -30 ≤ low ≤ high ≤ 100")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options of this corpus."""
    add_settings(parser, Options)


def prepare(destination: str | Path, options: Options | None = None) -> Prepared:
    """Make the corpus, or keep the one that is already there with the same options.

    Leaves those of `train`, `dev` and `test` (Kaldi data directories) that are wanted, the audio (16 kHz, 16-bit FLAC)
    under `audio/<split>`, `mini_corpus.tsv` (voice, noise, SNR, length and SHA-256 of each utterance) and, last of all,
    `mini_corpus.json` (settings and counts), without which a corpus counts as unfinished and is made again.

    Parameters
    ----------
    destination : str or Path
        Folder that receives all this.
    options : Options, optional

    Returns
    -------
    Prepared
        Split → `speakers`, `utterances`, `minutes`, `words`.

    Raises
    ------
    DldError
        A synthesiser is missing or fails, or what was written does not agree with the plan.
    """
    from dld.data.corpora.mini.making import make
    from dld.data.corpora.staging import counts_of, said

    summary, reason = make(destination, options or Options())
    return Prepared(counts_of(summary), before=(said(destination, reason),))
