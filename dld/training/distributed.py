"""What several processes that train together have to agree on; with a single one, nothing is sent anywhere."""

from __future__ import annotations

from typing import TypeVar

import torch
from speechbrain.dataio.sampler import DistributedSamplerWrapper

T = TypeVar("T")


def processes() -> int:
    """Return how many processes train together."""
    return torch.distributed.get_world_size() if _several() else 1


def rank() -> int:
    """Return the number of this process among those that train together, from 0."""
    return torch.distributed.get_rank() if _several() else 0


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def shard(batch_sampler):
    """Return a sampler of the batches that this process takes; all take equally many."""
    if not _several():
        return batch_sampler
    return DistributedSamplerWrapper(batch_sampler, rank=rank(), shuffle=True)


def first_decides(value: T) -> T:
    """Return the value that the first process has."""
    if not _several():
        return value
    decision = [value]
    torch.distributed.broadcast_object_list(decision, src=0)
    return decision[0]


def summed(numbers: list[float], device: str | torch.device = "cpu") -> list[float]:
    """Return each number summed over the processes.

    Examples
    --------
    >>> summed([2.0, 0.5])
    [2.0, 0.5]
    """
    if not _several():
        return numbers
    tensor = torch.tensor(numbers, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(tensor)
    return tensor.tolist()
