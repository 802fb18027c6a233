"""Batches of utterances of similar duration."""

from collections.abc import Sequence

from dld.errors import DldError


def sorted_batches(
    durations: Sequence[float], batch_size: int | None = None, max_batch_seconds: float | None = None
) -> list[list[int]]:
    """Batch for decoding: longest first, so that little is padded and a lack of memory shows at the first batch.

    Parameters
    ----------
    durations : sequence of float
        Seconds of each utterance of the dataset, in its order.
    batch_size : int, optional
        Utterances per batch.
    max_batch_seconds : float, optional
        Utterances times the longest, in seconds; a longer utterance is a batch of its own. At least one of the two
        limits is needed.

    Returns
    -------
    list of list of int
        Indices; every one occurs once.

    Examples
    --------
    >>> sorted_batches([2.0, 9.0, 3.0, 2.5], max_batch_seconds=6)
    [[1], [2, 3], [0]]
    >>> sorted_batches([2.0, 9.0, 3.0, 2.5], batch_size=3)
    [[1, 2, 3], [0]]
    """
    if batch_size is None and max_batch_seconds is None:
        raise DldError("batches for decoding need a limit: a batch size or seconds per batch")
    if (batch_size is not None and batch_size < 1) or (max_batch_seconds is not None and max_batch_seconds <= 0):
        raise DldError(f"batch limits must be positive, not {batch_size} utterances, {max_batch_seconds} seconds")
    batches: list[list[int]] = []
    for index in sorted(range(len(durations)), key=lambda i: (-durations[i], i)):
        batch = batches[-1] if batches else []
        full = batch_size is not None and len(batch) >= batch_size
        if batch and max_batch_seconds is not None:
            full = full or (len(batch) + 1) * durations[batch[0]] > max_batch_seconds
        if batch and not full:
            batch.append(index)
        else:
            batches.append([index])
    return batches
