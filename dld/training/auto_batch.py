"""Find how many utterances of each length fit in the memory of a GPU, by a few steps of training.

Untested on a GPU: the search is tested with a function in place of the measurement.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from speechbrain.dataio.batch import PaddedBatch

from dld.data.dataset import EpochBatchSampler
from dld.distributed import gathered, rank
from dld.errors import DldError, is_out_of_memory
from dld.files import read_record, write_json
from dld.gates import Draw
from dld.records import Record
from dld.training.folder import BATCH_SIZES

if TYPE_CHECKING:
    from dld.training.brain import DynamicBrain

logger = logging.getLogger(__name__)

#: Share of a GPU's memory that a step may take; the rest is for what its allocator cannot use.
SHARE = 0.8
#: The most utterances in a batch.
MOST = 1024
#: Draws of the schedule that are looked at for the one with the most open blocks.
DRAWS = 256

#: Utterances and their bucket → bytes that a step takes, infinite where they do not fit.
Measure = Callable[[int, int], float]


@dataclass(frozen=True)
class BatchSizes(Record):
    """What `batch_sizes.json` of a run holds: for each bucket its longest utterance and how many make a batch.

    Attributes
    ----------
    device : str
        The GPU that was measured.
    seconds : list of float
    utterances : list of int
    """

    device: str
    seconds: list[float] = field(default_factory=list)
    utterances: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, folder: str | Path) -> BatchSizes | None:
        """Return those of a run, None where there are none."""
        path = Path(folder) / BATCH_SIZES
        if not path.exists():
            return None
        advice = "--restart true trains again from the start"
        return cls.from_json(read_record(path, {"seconds": list, "utterances": list}, advice), str(path), advice)

    def apply(self, sampler: EpochBatchSampler) -> None:
        """Let a sampler make batches of these sizes.

        Raises
        ------
        DldError
            It has other buckets.
        """
        if self.seconds != sampler.boundaries:
            raise DldError(f"{BATCH_SIZES} is of other lengths than the training data; --restart true begins again")
        sampler.set_sizes(self.utterances)


def find_sizes(seconds: Sequence[float], measure: Measure, limit: float) -> list[int]:
    """Return for each bucket how many utterances fit.

    The search takes about five measurements for a bucket: it begins where the memory of the next longer bucket would
    be, goes up or down by quarters, and halves what is left, until it knows the number to 3 %.

    Parameters
    ----------
    seconds : list of float
        The longest utterance of each bucket, ascending.
    measure : callable
        It must not fall with the number of utterances.
    limit : float
        Bytes.

    Raises
    ------
    DldError
        One utterance alone does not fit.

    Examples
    --------
    >>> find_sizes([2.0, 10.0], lambda utterances, bucket: utterances * [2.0, 10.0][bucket], limit=100.0)
    [50, 10]
    """
    sizes: list[int] = []
    for bucket in reversed(range(len(seconds))):
        guess = round(sizes[-1] * seconds[bucket + 1] / seconds[bucket]) if sizes else 4
        sizes.append(_largest(partial(_fits, measure, limit, bucket), guess))
        if sizes[-1] == 0:
            raise DldError(
                f"auto_batch: one utterance of {seconds[bucket]:.1f} s does not fit in the memory of the GPU; lower "
                "max_duration, or take a smaller network"
            )
    return sizes[::-1]


def _fits(measure: Measure, limit: float, bucket: int, utterances: int) -> bool:
    return measure(utterances, bucket) <= limit


def _largest(fits: Callable[[int], bool], guess: int) -> int:
    """Return the largest number that fits, to 3 % and up to `MOST`; 0 where not even 1 does."""
    low, high = 0, MOST + 1
    step = min(max(guess, 1), MOST)
    while high - low > max(1, low // 32):
        if fits(step):
            low = step
            step = max(low + 1, low * 5 // 4) if high > MOST else (low + high) // 2
        else:
            high = step
            step = min(high - 1, high * 4 // 5) if low == 0 else (low + high) // 2
        step = min(max(step, 1), MOST)
    return low


def batch_sizes(
    brain: DynamicBrain, sampler: EpochBatchSampler, dataset: Any, folder: str | Path, fresh: bool
) -> BatchSizes:
    """Return the sizes of a run's batches: those that it began with, or else found now, the same on all processes.

    Parameters
    ----------
    brain : DynamicBrain
        Ready to train, on a GPU.
    sampler : EpochBatchSampler
    dataset : DynamicItemDataset
        What the sampler is of.
    folder : str or Path
        The run's.
    fresh : bool
        It has no checkpoint.
    """
    if not fresh:
        return recorded(folder)
    device = torch.cuda.get_device_name(brain.device)
    known = BatchSizes.load(folder)
    if known is not None and known.device == device:
        return known
    limit = SHARE * torch.cuda.get_device_properties(brain.device).total_memory
    logger.info("auto_batch: trying how many utterances of each length fit in %.1f GB of %s", limit / 1e9, device)
    found = find_sizes(sampler.boundaries, _on_gpu(brain, sampler.longest(), dataset), limit)
    sizes = BatchSizes(device, sampler.boundaries, [min(several) for several in zip(*gathered(found), strict=True)])
    if rank() == 0:
        write_json(Path(folder) / BATCH_SIZES, sizes.to_json())
    each = ", ".join(f"{number} of {s:.1f} s" for s, number in zip(sizes.seconds, sizes.utterances, strict=True))
    logger.info("auto_batch: batches have up to %s", each)
    return sizes


def recorded(folder: str | Path) -> BatchSizes:
    """Return the sizes that a run began with; without them it cannot resume."""
    known = BatchSizes.load(folder)
    if known is None:
        raise DldError(
            f"{Path(folder) / BATCH_SIZES} is missing, which says how large the batches of this run are; put it "
            "back, or --restart true trains again from the start"
        )
    return known


def refuse_cpu(device: str) -> None:
    """Raise where there is no GPU to measure."""
    if torch.device(device).type != "cuda":
        raise DldError(
            f"auto_batch: true measures the memory of a GPU, and this run is on {device}; give auto_batch: false, then "
            "max_batch_seconds says how long a batch is"
        )


def _on_gpu(brain: DynamicBrain, longest: Sequence[int], dataset: Any) -> Measure:
    """Return a measurement by a step of training on copies of the longest utterance of a bucket."""
    draw = worst_draw(brain.schedule)
    # The optimizer has two numbers for each weight from its first step on.
    more = sum(2 * p.numel() * p.element_size() for p in brain.network.parameters())
    examples = [dataset[index] for index in longest]

    def measure(utterances: int, bucket: int) -> float:
        torch.cuda.reset_peak_memory_stats(brain.device)
        try:
            with _without_trace(brain):
                brain.try_step(PaddedBatch([examples[bucket]] * utterances), draw)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return math.inf
        finally:
            torch.cuda.empty_cache()
        return torch.cuda.max_memory_allocated(brain.device) + more

    return measure


def worst_draw(schedule: Any) -> Draw:
    """Return the draw of a schedule that needs most memory: all blocks, or of several vectors the most open blocks."""
    schedule = copy.deepcopy(schedule)
    draws = [schedule.draw() for _ in range(DRAWS)]
    worst = max(draws, key=lambda draw: sum(map(sum, draw.vectors)))
    if len(worst.vectors) > 1:
        return worst
    return worst._replace(vectors=[(True,) * schedule.num_blocks])


@contextmanager
def _without_trace(brain: DynamicBrain) -> Iterator[None]:
    """Put back random numbers and losses after the block, and forget gradients."""
    with torch.random.fork_rng(devices=[brain.device]):
        try:
            yield
        finally:
            brain.network.zero_grad(set_to_none=True)
            brain.progress.means.reset()
