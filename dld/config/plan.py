"""Numbers that an experiment file leaves to the data: keys whose value is `auto`.

They follow from the hours of the training directory, so that a run that resumes gets the same ones. With h hours
there are 60 h^-0.3 epochs (20 to 200) of batches of 12 h^0.5 seconds (8 to 60). The learning rate is at its peak
after 5 % of the updates, and SpecAugment begins after 10 %; both later in a short training. `vocab_size` is the
tokenizer's.
"""

import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from dld.checks import AUTO
from dld.config.keys import KEYS
from dld.errors import DldError

logger = logging.getLogger(__name__)


def auto_epochs(hours: float) -> int:
    """Return the passes over training data of some hours.

    Examples
    --------
    >>> [auto_epochs(hours) for hours in (0.02, 0.8, 10, 1000)]
    [194, 64, 30, 20]
    """
    return round(min(200, max(20, 60 * hours**-0.3)))


def auto_batch_seconds(hours: float) -> int:
    """Return the length of a batch; short ones let CTC leave its plateau early.

    Examples
    --------
    >>> [auto_batch_seconds(hours) for hours in (0.02, 0.8, 10, 1000)]
    [8, 11, 38, 60]
    """
    return round(min(60, max(8, 12 * hours**0.5)))


def auto_warmup(updates: int) -> int:
    """Return the updates until the peak of the learning rate: a static network that reaches it early stays on blanks.

    Examples
    --------
    >>> [auto_warmup(updates) for updates in (10, 1000, 14_000, 100_000)]
    [2, 250, 1000, 5000]
    """
    return round(max(updates / 20, min(1000, updates / 4)))


def auto_augment_after(updates: int) -> int:
    """Return the updates before SpecAugment begins: after CTC has left its plateau, on which masks would keep it.

    Examples
    --------
    >>> [auto_augment_after(updates) for updates in (10, 1000, 14_000, 100_000)]
    [3, 300, 2000, 10000]
    """
    return round(max(updates / 10, min(2000, updates * 0.3)))


@dataclass(frozen=True)
class Plan:
    """How long a network is trained.

    Attributes
    ----------
    hours : float
        Speech in the training directory.
    num_epochs, warmup, augment_after : int
        Keys of the experiment file.
    max_batch_seconds : float
        The same.
    updates : int
        Of an epoch.
    """

    hours: float
    num_epochs: int
    max_batch_seconds: float
    warmup: int
    augment_after: int
    updates: int

    def __str__(self) -> str:
        """Return the line that training prints."""
        return (
            f"{self.hours:.2g} h of speech: {self.num_epochs} epochs of {self.updates:,} updates, "
            f"{self.num_epochs * self.updates:,} in all; batches of {self.max_batch_seconds:g} s, warm-up of "
            f"{self.warmup:,}, SpecAugment after {self.augment_after:,}"
        )


PLANNED = ("num_epochs", "max_batch_seconds", "warmup", "augment_after")
COUNTED = (*PLANNED, "grad_accumulation_factor")


def plan(values: Mapping, hours: float, batches: Callable[[float], int]) -> Plan:
    """Return how long to train.

    Parameters
    ----------
    values : mapping
        Settings of the experiment; those of `PLANNED` that are not `auto` are taken as they are.
    hours : float
        Speech to train on.
    batches : callable
        Takes the seconds of a batch and returns the number of batches of an epoch.

    Examples
    --------
    >>> values = {"num_epochs": "auto", "max_batch_seconds": 12, "warmup": "auto", "augment_after": 0}
    >>> print(plan(values, 0.8, lambda seconds: 290))
    0.8 h of speech: 64 epochs of 290 updates, 18,560 in all; batches of 12 s, warm-up of 1,000, SpecAugment after 0
    """

    def value_of(key: str, derived: Callable, amount: float):
        value = values.get(key, 0)
        return derived(amount) if value == AUTO else value

    epochs = value_of("num_epochs", auto_epochs, hours)
    seconds = value_of("max_batch_seconds", auto_batch_seconds, hours)
    updates = math.ceil(batches(seconds) / values.get("grad_accumulation_factor", 1))
    warmup = value_of("warmup", auto_warmup, epochs * updates)
    augment_after = value_of("augment_after", auto_augment_after, epochs * updates)
    return Plan(hours, epochs, seconds, warmup, augment_after, updates)


def numbers_for(values: Mapping) -> dict[str, float]:
    """Return the numbers of the keys that are `auto`, and log what they come to.

    Parameters
    ----------
    values : mapping
        Settings of an experiment, without references.

    Raises
    ------
    DldError
        The training directory or the tokenizer is missing or faulty.
    """
    numbers: dict[str, float] = {}
    if values.get("vocab_size") == AUTO:
        numbers["vocab_size"] = _read(values, "vocab_size", "lang_dir", _tokens)
    wanted = [key for key in PLANNED if values.get(key) == AUTO]
    if wanted:
        utterances = _read(values, wanted[0], "train_data", _utterances)
        planned = plan(values, sum(u.seconds for u in utterances) / 3600, partial(_batches, utterances, values))
        logger.info("%s", planned)
        numbers |= {key: getattr(planned, key) for key in wanted}
    return numbers


def _read(values, key, folder_key, read):
    """Return what `read` finds in a folder that the settings name; errors name the key that needs it."""
    # What a tag makes is no value yet; it is refused before the data are read.
    for name in (folder_key, *COUNTED):
        if name in values and not KEYS[name].kind.accepts(values[name]):
            raise DldError(f"{name} must be {KEYS[name].kind}, as {key} is auto")
    try:
        return read(values.get(folder_key, ""))
    except DldError as error:
        raise DldError(f"{key} is auto, so it follows from {folder_key}: {error}") from None


def _tokens(folder):
    from dld.data.tokenizer import Tokenizer

    return len(Tokenizer.load(folder))


def _utterances(folder):
    from dld.data import kaldi

    return kaldi.load(folder, need=("utt2spk", "utt2dur"))


def _batches(utterances, values, seconds):
    """Return the batches that each of the processes that train together has in an epoch."""
    from speechbrain.dataio.dataset import DynamicItemDataset

    from dld.data.dataset import make_batch_sampler

    shortest, longest = values.get("min_duration") or 0, values.get("max_duration") or math.inf
    kept = {u.id: {"duration": u.seconds} for u in utterances if shortest <= u.seconds <= longest}
    if not kept:
        # What else is wrong with the data is said where they are selected.
        return 1
    sampler = make_batch_sampler(DynamicItemDataset(kept), seconds, values.get("seed", 0))
    return math.ceil(len(sampler) / int(os.environ.get("WORLD_SIZE", 1)))
