"""Time of models under gate vectors, one utterance at a time: latency, and real-time factor."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from dld.recognition.assembly import Find
    from dld.recognition.base import Recognizer

    Waveform = np.ndarray | torch.Tensor


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Run the block with `number` intra-operation threads of torch."""
    # Packs are timed without it.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Times:
    """Seconds of each call: arrays (rounds, calls, utterances) of wall time, and of processor time."""

    wall: np.ndarray
    cpu: np.ndarray

    def median_ms(self, call: int) -> float:
        """Return the median wall time of a call, over utterances and rounds."""
        return 1e3 * float(np.median(self.wall[:, call]))

    def percentile_ms(self, call: int, percent: float) -> float:
        """Return a percentile of the wall time of a call, over utterances and rounds."""
        return 1e3 * float(np.percentile(self.wall[:, call], percent))

    def cpu_ms(self, call: int) -> float:
        """Return the median processor time of a call, over utterances and rounds."""
        return 1e3 * float(np.median(self.cpu[:, call]))

    def round_medians_ms(self, call: int) -> list[float]:
        """Return the median wall time of a call in each round."""
        return [1e3 * float(value) for value in np.median(self.wall[:, call], axis=1)]

    def spread_percent(self, call: int) -> float:
        """Return the range of the rounds' medians, relative to the median."""
        medians = self.round_medians_ms(call)
        return 100 * (max(medians) - min(medians)) / self.median_ms(call)


def take_turns(
    calls: Sequence[Callable[[int], object]],
    utterances: int,
    rounds: int = 5,
    seconds: float | None = None,
    processor_clock: Callable[[], float] = time.thread_time,
) -> Times:
    """Time calls on utterances; the calls take turns on each utterance, in every other round in reverse order.

    A drift of the machine's speed affects all of them equally. A first round, which does not count, warms up.

    Parameters
    ----------
    calls : sequence of callable
        Each gets the index of an utterance.
    utterances : int
    rounds : int
        Rounds over the utterances.
    seconds : float, optional
        No further round begins after this time; two rounds count in any case.
    processor_clock : callable
        Seconds of processor time: of the calling thread, or with `time.process_time` of all threads.
    """
    wall, cpu = np.zeros((2, rounds + 1, len(calls), utterances))
    order = list(range(len(calls)))
    start, done = time.perf_counter(), 0
    for done in range(1, rounds + 2):
        for utterance in range(utterances):
            for call in order:
                began, began_cpu = time.perf_counter(), processor_clock()
                calls[call](utterance)
                cpu[done - 1, call, utterance] = processor_clock() - began_cpu
                wall[done - 1, call, utterance] = time.perf_counter() - began
        order.reverse()
        if seconds is not None and done > 2 and time.perf_counter() - start > seconds:
            break
    return Times(wall[1:done], cpu[1:done])


def transcribing(
    recognizer: "Recognizer", waveforms: "Sequence[Waveform]", gates: Sequence[bool], find: "Find | None" = None
) -> Callable[[int], None]:
    """Return what transcribes one of some waveforms, (samples,), under a gate vector and waits until that is done.

    `find` is a search, see `Recognizer.texts`.
    """
    arrays = [np.asarray(waveform) for waveform in waveforms]

    def transcribe(index: int) -> None:
        [logits] = recognizer.logits([arrays[index]], [gates])
        recognizer.texts(logits, find)

    return transcribe


def real_time_factors(
    recognizer: "Recognizer",
    waveforms: "Sequence[Waveform]",
    gate_vectors: Sequence[Sequence[bool]],
    finds: "Sequence[Find | None] | None" = None,
    repeats: int = 3,
    num_threads: int = 1,
) -> list[float]:
    """Return processing time over audio time under each gate vector, from waveform to text, one utterance at a time.

    Parameters
    ----------
    recognizer : Recognizer
    waveforms : list of array or Tensor (samples,)
    gate_vectors : list of gate vectors
    finds : list of callable, optional
        A search for each gate vector, see `Recognizer.texts`.
    repeats : int
        Rounds over the utterances; the median round counts.
    num_threads : int

    Returns
    -------
    list of float, in the order of `gate_vectors`
    """
    finds = finds or [None] * len(gate_vectors)
    calls = [transcribing(recognizer, waveforms, g, find) for g, find in zip(gate_vectors, finds, strict=True)]
    audio = sum(len(w) for w in waveforms) / recognizer.sample_rate
    with threads(num_threads):
        times = take_turns(calls, len(waveforms), repeats)
    return [float(value) / audio for value in np.median(times.wall.sum(axis=2), axis=0)]
