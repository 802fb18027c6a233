"""Processes that take turns, so that a drift of the machine's speed affects all that is compared equally.

Each process holds one thing to measure, with memory of its own, and waits while another one works.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Timed(NamedTuple):
    """What a turn took, in seconds of processor time, by part; and the largest memory of the process so far, in MiB."""

    seconds: dict[str, float]
    peak_mib: float


class Clock:
    """Sums processor time of this process by part."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    def measure(self, part: str, run: Callable[[], Any]) -> Any:
        """Return the result of `run`, and add its time to a part."""
        began = time.process_time()
        result = run()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - began
        return result


def resident(field: str) -> float:
    """MiB now (VmRSS) or at the peak (VmHWM); `getrusage` lets a child begin with the peak of what started it."""
    with open("/proc/self/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith(f"{field}:")) / 1024


def _serve(pipe, make, arguments):
    import torch

    torch.set_num_threads(1)
    run = make(*arguments)
    pipe.send("ready")
    while (index := pipe.recv()) is not None:
        clock = Clock()
        run(index, clock)
        pipe.send(Timed(clock.seconds, resident("VmHWM")))


class Turns:
    """Several processes of one thread, of which one works at a time.

    Parameters
    ----------
    makers : dict of str to tuple
        By name: a function of a module and its arguments; it returns `run(index, clock)`, which works on batch `index`.
    """

    def __init__(self, makers: dict[str, tuple[Callable, tuple]]):
        context = multiprocessing.get_context("spawn")
        self.pipes, self.workers = {}, []
        for name, (make, arguments) in makers.items():
            self.pipes[name], theirs = context.Pipe()
            self.workers.append(context.Process(target=_serve, args=(theirs, make, arguments), daemon=True))
            self.workers[-1].start()
            theirs.close()
            self.pipes[name].recv()

    def round(self, index: int) -> dict[str, Timed]:
        """Let each process work on batch `index`, one after the other."""
        found = {}
        for name, pipe in self.pipes.items():
            pipe.send(index)
            found[name] = pipe.recv()
        return found

    def end(self) -> None:
        """End the processes."""
        for pipe in self.pipes.values():
            pipe.send(None)
        for worker in self.workers:
            worker.join()


def summary(rounds: list[dict[str, Timed]], baseline: str) -> list[dict[str, Any]]:
    """Return a row for each name: medians over the rounds by part, and the baseline's time over its own.

    The ratio is the median of the ratios of each round, in which both worked on the same batch.
    """
    rows = []
    for name in rounds[0]:
        totals = [sum(one[name].seconds.values()) for one in rounds]
        row = {"name": name, "seconds": statistics.median(totals), "peak_mib": round(rounds[-1][name].peak_mib)}
        for part in rounds[0][name].seconds:
            row[f"{part}_seconds"] = statistics.median(one[name].seconds[part] for one in rounds)
        ratios = [sum(one[baseline].seconds.values()) / sum(one[name].seconds.values()) for one in rounds]
        row["times_baseline"], row["lowest"], row["highest"] = statistics.median(ratios), min(ratios), max(ratios)
        rows.append(row)
    return rows
