"""What `results.json` holds: the numbers of a report, from which its page and pictures can be made again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dld.errors import DldError
from dld.files import atomic_write, read_json
from dld.profiling.records import Latency, Timing
from dld.records import Record, optional
from dld.scoring.bootstrap import Difference
from dld.scoring.decodes import DecodeRecord

AGAIN = "it is not a results.json of this version; make it again (--exp)"
#: With more lines than this in a picture, each has a panel of its own.
MOST_LINES = 10


def system_label(system: str, variant: str) -> str:
    """Return the name that a line of a table or picture has.

    Examples
    --------
    >>> system_label("ld", ""), system_label("ld", "even")
    ('ld', 'ld (even)')
    """
    return f"{system} ({variant})" if variant else system


@dataclass(frozen=True, kw_only=True)
class Row(DecodeRecord):
    """One scored decode: its record and its error rate with the interval, in percent.

    `variant` is what the folder's name has after the depth, `run` the folder of the training; `start` is the run or the
    published model whose weights it started from, "scratch" without one, None where that is not known; `cer` is None
    where characters were not scored. `fold` is the fold of a cross-validation, whose `run` is `<fold>/<folder>`.
    """

    variant: str
    run: str
    fold: str | None = optional()
    start: str | None = optional()
    wer: float
    wer_low: float
    wer_high: float
    ins: int
    del_: int
    sub: int
    words: int
    utterances: int
    ser: float
    cer: float | None

    @property
    def label(self) -> str:
        """System and variant."""
        return system_label(self.system, self.variant)


@dataclass(frozen=True, kw_only=True)
class Rate(Record):
    """Error rate of a system, variant and depth: the mean over its seeds with the interval of that mean, in percent.

    `wers` has the rate of each of `seeds`; `gmacs_per_s` is a mean, too.
    """

    test_set: str
    system: str
    variant: str
    depth: int
    num_blocks: int
    seeds: list[int | None]
    wers: list[float]
    wer: float
    wer_low: float
    wer_high: float
    gmacs_per_s: float

    @property
    def label(self) -> str:
        """System and variant."""
        return system_label(self.system, self.variant)


@dataclass(frozen=True, kw_only=True)
class Comparison(Difference):
    """Difference of a system's error rate and a baseline's.

    `range` is "depth", "high dropping", "no dropping" or "all depths", `depths` are those whose mean error rates are
    compared.
    """

    system: str
    baseline: str
    test_set: str
    variant: str
    range: str
    depths: list[int]
    wer: float
    baseline_wer: float

    def __post_init__(self) -> None:
        """Raise a `DldError` if the fields contradict each other."""
        if not self.depths or self.range not in ("depth", "high dropping", "no dropping", "all depths"):
            raise DldError(f"depths {self.depths} of the range {self.range!r} cannot be compared")
        if self.relative is not None and None in (self.relative_low, self.relative_high):
            raise DldError("relative has no interval")

    @property
    def label(self) -> str:
        """System and variant."""
        return system_label(self.system, self.variant)


@dataclass(frozen=True, kw_only=True)
class Curve(Record):
    """Log of a training run: for the end of each epoch the updates and seconds so far, and the validation error rate.

    `mean_wer` is the mean over `depths`, in percent, `wer` the rate at each of them by depth. `logged` has further
    columns of the log: `lr` and `valid_loss`, and the parts of the training loss, `train_ctc`, `train_kd` …; None where
    an epoch has no such value. `policy` chose the gates of the validation. The first version of dld did not keep these.
    """

    run: str
    system: str
    seed: int | None
    epoch: list[int]
    updates: list[int]
    seconds: list[float]
    mean_wer: list[float]
    depths: list[int]
    wer: dict | None = optional()
    logged: dict | None = optional()
    policy: str | None = optional()

    def __post_init__(self) -> None:
        """Raise a `DldError` if the columns differ in length, or a depth has no column."""
        further = [*(self.wer or {}).values(), *(self.logged or {}).values()]
        if any(not isinstance(column, list) for column in further):
            raise DldError("wer and logged must hold lists")
        columns = [self.updates, self.seconds, self.mean_wer, *further]
        if not self.epoch or any(len(column) != len(self.epoch) for column in columns):
            raise DldError("epoch, updates, seconds, mean_wer … must have the same number of values, at least one")
        if self.wer is not None and set(self.wer) != set(map(str, self.depths)):
            raise DldError(f"wer must have the depths {self.depths}")
        if any(not isinstance(value, int | float | None) for column in further for value in column):
            raise DldError("wer and logged must hold numbers")


@dataclass(frozen=True, kw_only=True)
class Convergence(Record):
    """When a run came down to the last validation error rate of the baseline, `target` (percent, mean over depths).

    `epoch`, `updates` and `seconds` say when, the other two what part of the baseline's whole run that is; all are
    None where the rate was not reached.
    """

    run: str
    system: str
    seed: int | None
    target: float
    epoch: int | None
    updates: int | None
    seconds: float | None
    updates_share: float | None
    seconds_share: float | None


@dataclass(frozen=True, kw_only=True)
class EqualTranscripts(Record):
    """Two depths of one run that have different gates and yet the same transcripts."""

    test_set: str
    label: str
    depths: list[int]


@dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """What made a report."""

    git: str
    date: str
    versions: dict
    cpu: str
    command: str
    replicates: int
    seed: int

    def __post_init__(self) -> None:
        """Raise a `DldError` if there are no replicates."""
        if self.replicates < 1:
            raise DldError(f"replicates is {self.replicates}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Results(Record):
    """The numbers of a report: all that its page and pictures show."""

    title: str
    rows: list[Row]
    summary: list[Rate]
    comparisons: list[Comparison]
    training: list[Curve]
    convergence: list[Convergence]
    equal_transcripts: list[EqualTranscripts]
    environment: Environment
    latency: list[Latency] | None = optional()

    def __post_init__(self) -> None:
        """Raise a `DldError` if there are no decodes."""
        if not self.rows or not self.summary:
            raise DldError("holds no decodes")

    def latency_of(self, test_set: str) -> Latency | None:
        """Return the latency that was measured on a test set, None where it was not."""
        return next((entry for entry in self.latency or () if entry.test_set == test_set), None)

    def timing(self, row: Row) -> Timing | None:
        """Return the time of an utterance under the model and gates of a row; None where it was not measured.

        Best-path decoding is what is timed, so rows of a beam search have none.
        """
        latency = self.latency_of(row.test_set)
        if latency is None or row.lm or row.beam or row.precision not in (None, latency.precision):
            return None
        return next((entry for entry in latency.timings if (entry.run, entry.gates) == (row.run, row.gates)), None)

    def milliseconds(self, rate: Rate) -> float | None:
        """Return the median time of an utterance, the mean over the seeds; None where one was not measured.

        Of the folds of a cross-validation the first is timed.
        """
        what = (rate.test_set, rate.label, rate.depth, self.rows[0].fold)
        timings = [self.timing(row) for row in self.rows if (row.test_set, row.label, row.depth, row.fold) == what]
        found = [timing.median_ms for timing in timings if timing]
        return sum(found) / len(found) if found and len(found) == len(timings) else None

    def starts(self) -> dict[str, str | None]:
        """Return what each run started from."""
        return {row.run: row.start for row in self.rows}

    @classmethod
    def from_json(cls, content: Any, where: str, advice: str = AGAIN):
        """Return the results that JSON describes; `equal_transcripts` had another name in the first version of dld."""
        if isinstance(content, dict) and "twins" in content:
            content = {"equal_transcripts": content["twins"], **content}
        return super().from_json(content, where, advice)

    @classmethod
    def load(cls, path: str | Path) -> "Results":
        """Read a `results.json`; a `DldError` names what it lacks or what is wrong in it."""
        return cls.from_json(read_json(path), str(path))

    def save(self, path: str | Path) -> None:
        """Write a `results.json`: a line for each row, so that versions can be compared line by line."""
        with atomic_write(path) as out:
            out.write("{\n" + ",\n".join(f'"{key}": {_text(value)}' for key, value in self.to_json().items()) + "\n}\n")


def lines_of(rates: Sequence[Rate]) -> dict[tuple[str, str], list[Rate]]:
    """Return the points of each line, by system and variant, in the order of their compute."""
    groups: dict[tuple[str, str], list[Rate]] = {}
    for rate in sorted(rates, key=lambda rate: rate.gmacs_per_s):
        groups.setdefault((rate.system, rate.variant), []).append(rate)
    return {key: groups[key] for key in dict.fromkeys((rate.system, rate.variant) for rate in rates)}


def _text(value):
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)
