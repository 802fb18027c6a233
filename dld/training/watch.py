"""What a run says while it trains: lines for whoever reads the log, points for curves.

Everything here works on numbers that are in main memory already: nothing waits for the device, and no random number is
drawn, so that a run is the same with and without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dld.progress import Interval, Lines, spell
from dld.training.curves import Curves

logger = logging.getLogger(__name__)

#: Updates from one point of the curves to the next.
POINT_UPDATES = 10
#: Numbers of an entry of the log that are not results of a validation.
NOT_VALIDATION = {"seconds", "lr"}


class Position(NamedTuple):
    """Where a run is.

    Attributes
    ----------
    epoch, epochs : int
        The present one, from 1, and all.
    update, updates : int
        Those done, and all.
    left : int
        Updates left in the epoch.
    lr : float
        Learning rate of the last update.
    """

    epoch: int
    epochs: int
    update: int
    updates: int
    left: int
    lr: float


@dataclass
class Window:
    """Sums over the updates since the last line or point."""

    sums: dict[str, float] = field(default_factory=dict)
    batches: int = 0
    work: float = 0.0
    seconds: float = 0.0

    def add(self, batches: Sequence[Mapping[str, float]], work: float, seconds: float) -> None:
        """Add the values of the batches of an update."""
        for values in batches:
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
        self.batches += len(batches)
        self.work += work
        self.seconds += seconds

    def means(self) -> dict[str, float]:
        """Return the mean of each value over the batches."""
        return {name: value / self.batches for name, value in self.sums.items()}

    @property
    def speed(self) -> float:
        """Work per second."""
        return self.work / self.seconds if self.seconds > 0 else 0.0


class Watch:
    """Follow a run: say how far it is, and hand points to its curves.

    Parameters
    ----------
    interval : float
        Seconds between lines; 0: none.
    curves : Curves, optional
    unit : str
        What `work` counts, for the lines.
    clock : callable
        Returns seconds.

    Attributes
    ----------
    lines : Lines
        For tasks without updates: a validation, filling a cache.
    validation_seconds : float
        How long the last validation took.
    """

    def __init__(
        self,
        interval: float = 0.0,
        curves: Curves | None = None,
        unit: str = "examples",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.interval = Interval(interval, clock)
        self.lines = Lines(self.interval)
        self.curves = curves
        self.unit = unit
        self.clock = clock
        self.mark = clock()
        self.line, self.point = Window(), Window()
        self.position: Position | None = None
        self.updates, self.train_seconds = 0, 0.0
        self.validation_seconds = 0.0

    # ------------------------------------------------------------ training

    def begin_training(self) -> None:
        """Begin to measure time, where the updates of an epoch begin."""
        self.mark = self.clock()

    def updated(
        self,
        position: Position,
        values: Sequence[Mapping[str, float]],
        notes: Sequence[Mapping[str, float]],
        work: float,
    ) -> None:
        """Take note of an update; write a line and a point of the curves where they are due.

        Parameters
        ----------
        position : Position
            After the update.
        values : list of dict
            Losses of each batch.
        notes : list of dict
            What else of each batch is a curve.
        work : float
            In `unit`, of all processes.
        """
        now = self.clock()
        seconds, self.mark = now - self.mark, now
        self.position = position
        self.updates += 1
        self.train_seconds += seconds
        self.line.add(values, work, seconds)
        if self.interval.due():
            logger.info("%s", self.describe())
            self.line = Window()
        if self.curves is not None:
            self.point.add([{**a, **b} for a, b in zip(values, notes, strict=True)], work, seconds)
            if position.update % POINT_UPDATES == 0:
                self.write_point()

    def describe(self) -> str:
        """Return the line on the updates since the last one."""
        at, means = self.position, self.line.means()
        assert at is not None
        loss = means.pop("loss", float("nan"))
        terms = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
        epoch, run = self.left(at)
        return (
            f"epoch {at.epoch:{len(str(at.epochs))}}/{at.epochs}, "
            f"update {at.update:{len(str(at.updates))}}/{at.updates}: "
            f"loss {loss:.3f}{f' ({terms})' if terms else ''}, lr {at.lr:.2e}, "
            f"{self.line.speed:.3g} {self.unit} per second, left: epoch {spell(epoch)}, run {spell(run)}"
        )

    def left(self, at: Position) -> tuple[float, float]:
        """Return the seconds left in the epoch and in the run, by the speed since this start.

        Validations count as long as the last one took, as soon as there was one.
        """
        per_update = self.train_seconds / max(1, self.updates)
        epoch = per_update * at.left + self.validation_seconds
        return epoch, per_update * max(0, at.updates - at.update) + self.validation_seconds * (at.epochs - at.epoch + 1)

    def left_after_epoch(self) -> str:
        """Return what to add to the line of a finished epoch."""
        if self.position is None or self.position.epoch == self.position.epochs or not self.updates:
            return ""
        return f" | {spell(self.left(self.position)[1] - self.validation_seconds)} left"

    # ------------------------------------------------------------ curves

    def write_point(self) -> None:
        """Write the means since the last point of the curves."""
        if self.curves is None or self.position is None or not self.point.batches:
            return
        meta = {"lr": self.position.lr, "speed": self.point.speed, "epoch": float(self.position.epoch)}
        self.curves.write(self.position.update, meta, train=self.point.means())
        self.point = Window()

    def flush(self) -> None:
        """See that the curves can be read up to here, before a checkpoint from which a run may resume."""
        if self.curves is not None:
            self.write_point()
            self.curves.flush()

    def validated(self, entry: Mapping[str, Any]) -> None:
        """Write the results of an epoch's validation, from its entry of the log."""
        if self.curves is None:
            return
        valid = {}
        for name, value in entry.items():
            if isinstance(value, Mapping):
                valid.update({f"{name}/n{depth}": number for depth, number in value.items()})
            elif name == "valid_loss" and value is not None:
                valid["loss"] = value
            elif isinstance(value, float) and not name.startswith(("train_", "valid_")) and name not in NOT_VALIDATION:
                valid[name] = value
        self.curves.write(entry["updates"], {}, valid=valid)
        self.curves.flush()
