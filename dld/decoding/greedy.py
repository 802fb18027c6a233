"""Best-path CTC decoding."""


def greedy(logits, lengths, blank=0):
    """Best unit of each valid frame, repeats merged and blanks removed.

    Parameters
    ----------
    logits : Tensor (batch, frames, units)
    lengths : LongTensor (batch,)
        Valid frames.
    blank : int

    Returns
    -------
    list of list of int
        Unit ids of each utterance.

    Examples
    --------
    >>> import torch
    >>> best = torch.nn.functional.one_hot(torch.tensor([[1, 1, 0, 1, 2, 2]]), 3)
    >>> greedy(best, torch.tensor([5]))
    [[1, 1, 2]]
    """
    import torch

    rows = []
    for best, length in zip(logits.argmax(-1), lengths.tolist(), strict=True):
        merged = torch.unique_consecutive(best[:length])
        rows.append(merged[merged != blank].tolist())
    return rows
