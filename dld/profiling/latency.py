"""Real-time factor of a model under gate vectors."""

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dld.recognizer import Find, Recognizer


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Run the block with `number` intra-operation threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def real_time_factors(
    recognizer: "Recognizer",
    waveforms: Sequence[torch.Tensor],
    gate_vectors: Sequence[Sequence[bool]],
    finds: "Sequence[Find | None] | None" = None,
    repeats: int = 3,
    num_threads: int = 1,
) -> list[float]:
    """Return processing time over audio time under each gate vector, from waveform to text, one utterance at a time.

    The gate vectors take turns on each utterance, so that a drift of the machine's speed affects all of them equally.

    Parameters
    ----------
    recognizer : Recognizer
    waveforms : list of Tensor (samples,)
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
    device = recognizer.device
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    finds = finds or [None] * len(gate_vectors)
    audio = sum(len(w) for w in waveforms) / recognizer.sample_rate
    rounds = [[0.0] * len(gate_vectors) for _ in range(repeats)]
    with threads(num_threads):
        for totals in [[0.0] * len(gate_vectors), *rounds]:  # the first round warms up
            for waveform in waveforms:
                batch = waveform[None].to(device)
                lengths = torch.tensor([len(waveform)], device=device)
                for index, (gates, find) in enumerate(zip(gate_vectors, finds, strict=True)):
                    synchronize()
                    began = time.perf_counter()
                    output = recognizer.run(batch, lengths, [gates])
                    recognizer.texts(output.logits[0], output.lengths, find)
                    synchronize()
                    totals[index] += time.perf_counter() - began
    return [statistics.median(column) / audio for column in zip(*rounds, strict=True)]
