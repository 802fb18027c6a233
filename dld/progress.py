"""Say how far a long piece of work is: bars, times in words, and when another line is due."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
#: Seconds after which work that is still going has a bar.
PATIENCE = 5


def bar(items: Iterable[Item], title: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield items, with a progress bar on a terminal once they have taken `PATIENCE` seconds.

    Parameters
    ----------
    items : iterable
    title, unit : str
    total : int, optional
        Number of items, where they do not know it themselves; without one the bar has no end in sight.
    """
    from tqdm import tqdm

    return iter(tqdm(items, title, total, unit=unit, unit_scale=total is None, disable=None, delay=PATIENCE))


class Meter:
    """A bar of what is done in a number that is not known at first; a context that shows it.

    Parameters
    ----------
    title, unit : str
    shown : bool
    """

    def __init__(self, title: str, unit: str, shown: bool):
        self._bar: Any = None
        if not shown:
            return
        # What runs packs alone has no bars.
        with contextlib.suppress(ModuleNotFoundError):
            from tqdm import tqdm

            # Of seconds of audio the decimals say nothing.
            layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit} [{elapsed}<{remaining}]"
            self._bar = tqdm(desc=title, total=1, unit=unit, delay=PATIENCE, bar_format=layout, dynamic_ncols=True)

    def __enter__(self) -> "Meter":
        """Return the meter."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: float, total: float) -> None:
        """Show how much is done."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def clear(self) -> None:
        """Make room for a line; the bar returns with the next step."""
        if self._bar is not None:
            self._bar.clear()


def spell(seconds: float) -> str:
    """Return a span of time in words, with two units at most.

    Examples
    --------
    >>> [spell(seconds) for seconds in (0.4, 59.6, 3540, 4330, 180000)]
    ['0 s', '1 min', '59 min', '1 h 12 min', '2 d 2 h']
    """
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


class Interval:
    """Know when a span of time has passed since the last line.

    Parameters
    ----------
    seconds : float
        0: never.
    clock : callable
        Returns seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.seconds = seconds
        self.clock = clock
        self.last = clock()

    def due(self) -> bool:
        """Return whether the span has passed; if so, the next one begins."""
        now = self.clock()
        if self.seconds <= 0 or now - self.last < self.seconds:
            return False
        self.last = now
        return True


class Lines:
    """Write a line now and then on a task that goes through batches.

    Parameters
    ----------
    interval : Interval
    """

    def __init__(self, interval: Interval):
        self.interval = interval
        self.begin("", 0)

    def begin(self, task: str, size: int) -> None:
        """Begin a task of `size` batches."""
        self.task, self.size, self.done, self.began = task, size, 0, self.interval.clock()

    @property
    def seconds(self) -> float:
        """Seconds since the task began."""
        return self.interval.clock() - self.began

    def step(self) -> None:
        """Take note of a batch; write a line where one is due."""
        self.done += 1
        if self.interval.due():
            left = self.seconds / self.done * max(0, self.size - self.done)
            logger.info("%s: batch %d/%d, %s left", self.task, self.done, self.size, spell(left))
