"""What several processes that work together have to agree on; with a single one, nothing is sent anywhere."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch

from dld.errors import DldError

T = TypeVar("T")


def processes() -> int:
    """Return how many processes work together."""
    return torch.distributed.get_world_size() if _several() else 1


def rank() -> int:
    """Return the number of this process among those that work together, from 0."""
    return torch.distributed.get_rank() if _several() else 0


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def shard(batch_sampler):
    """Return a sampler of the batches that this process takes; all take equally many."""
    if not _several():
        return batch_sampler
    from speechbrain.dataio.sampler import DistributedSamplerWrapper

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


def dealt(batches: Sequence[T]) -> Sequence[T]:
    """Return the batches of an evaluation that this process takes; together the processes take each of them once."""
    return batches[rank() :: processes()]


def in_order(results: Sequence[T]) -> list[T]:
    """Return the results of all processes for their `dealt` batches, in the order of the batches.

    What is added up in this order has the same sum as in one process, to the last bit.

    Examples
    --------
    >>> in_order([1.5, 2.0])
    [1.5, 2.0]
    """
    rows = gathered(list(results))
    return [row[index] for index in range(max(map(len, rows))) for row in rows if index < len(row)]


@contextlib.contextmanager
def joined(device: str) -> Iterator[str]:
    """Work together with the other processes that torchrun started, if it did, and yield the device of this one.

    They send texts and numbers, not tensors of the network. Only the first one logs.

    Parameters
    ----------
    device : str
        "cuda" stands for the GPU of the process's own rank on its machine.

    Raises
    ------
    DldError
        Another process has ended.
    """
    if "RANK" not in os.environ:
        yield device
        return
    if os.environ["RANK"] != "0":
        logging.getLogger().setLevel(logging.ERROR)
    # One that has ended is noticed at once; one that has more to do than the others is waited for.
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(days=1))
    try:
        yield f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    except RuntimeError as error:
        lost = lost_process(error, "The same command begins again where its work was saved")
        if lost is None:
            raise
        raise lost from None
    torch.distributed.destroy_process_group()


def end(status: int) -> None:
    """End this process with a status if it works together with others; return if it does not.

    After gradients were summed, threads that send messages stay for good, even without a process group (torch 2.13).
    One that frees its last tensor while the interpreter ends would abort the process, so the interpreter's own end is
    left out; what was registered with `atexit` is run.
    """
    if not _several():
        return
    if status == 0:
        torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def lost_process(
    error: BaseException, advice: str = "The same command resumes from the last checkpoint"
) -> DldError | None:
    """Return the error for the user if another of the processes has ended, None for any other exception.

    Examples
    --------
    >>> str(lost_process(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:7")))[:52]
    'another process of this command has ended (Connectio'
    """
    found = re.search(r"(Connection (?:closed|reset) by peer|Broken pipe|remote process exited)", str(error))
    network = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    if not isinstance(error, RuntimeError) or not (network and found):
        return None
    return DldError(
        f"another process of this command has ended ({found[1]}), so this one ends, too; its own messages say why. "
        f"{advice}"
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
