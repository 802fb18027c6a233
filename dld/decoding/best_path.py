"""Best-path CTC decoding."""

import torch


def greedy(logits: torch.Tensor, lengths: torch.Tensor, blank: int = 0) -> list[list[int]]:
    """Return the best token of each valid frame, repeats merged and blanks removed.

    Parameters
    ----------
    logits : Tensor (batch, frames, tokens)
    lengths : LongTensor (batch,)
        Valid frames.
    blank : int

    Returns
    -------
    list of list of int
        Token ids of each utterance.

    Examples
    --------
    >>> best = torch.nn.functional.one_hot(torch.tensor([[1, 1, 0, 1, 2, 2]]), 3)
    >>> greedy(best, torch.tensor([5]))
    [[1, 1, 2]]
    """
    rows = []
    for best, length in zip(logits.argmax(-1), lengths.tolist(), strict=True):
        merged = torch.unique_consecutive(best[:length])
        rows.append(merged[merged != blank].tolist())
    return rows
