"""What several processes that train together have to agree on; with a single one, nothing is sent anywhere."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import torch
from speechbrain.dataio.sampler import DistributedSamplerWrapper

from dld.errors import DldError

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
    # Not shuffled again: an update then sees the batches that one process sees which accumulates as many.
    return DistributedSamplerWrapper(batch_sampler, rank=rank(), shuffle=False)


def first_decides(value: T) -> T:
    """Return the value that the first process has."""
    if not _several():
        return value
    decision = [value]
    torch.distributed.broadcast_object_list(decision, src=0)
    return decision[0]


def gathered(value: Any) -> list[Any]:
    """Return the values of all processes, in their order, in each of them.

    Examples
    --------
    >>> gathered("a")
    ['a']
    """
    if not _several():
        return [value]
    values = [None] * processes()
    torch.distributed.all_gather_object(values, value)
    return values


def lost_process(error: BaseException) -> DldError | None:
    """Return the error for the user if another process of the training has ended, None for any other exception.

    Examples
    --------
    >>> str(lost_process(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:7")))[:52]
    'another process of this training has ended (Connecti'
    """
    found = re.search(r"(Connection (?:closed|reset) by peer|Broken pipe|remote process exited)", str(error))
    network = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    if not isinstance(error, RuntimeError) or not (network and found):
        return None
    return DldError(
        f"another process of this training has ended ({found[1]}), so this one ends, too; its own messages say why. "
        "The same command resumes from the last checkpoint"
    )


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
