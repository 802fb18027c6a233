"""CTC losses, for training and for measuring."""

import torch
from torch import nn


def ctc_loss(
    logits: torch.Tensor, lengths: torch.Tensor, tokens: torch.Tensor, token_lengths: torch.Tensor, blank: int = 0
) -> torch.Tensor:
    """Return the negative log-likelihood divided by the number of tokens, averaged over utterances.

    Parameters
    ----------
    logits : Tensor (batch, frames, tokens)
    lengths : LongTensor (batch,)
        Valid frames.
    tokens : LongTensor (batch, tokens)
    token_lengths : LongTensor (batch,)
    blank : int

    Returns
    -------
    Tensor ()
        Nats per token.
    """
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    return nn.functional.ctc_loss(log_probs, tokens, lengths, token_lengths, blank=blank, reduction="mean")


def feasible_ctc_loss(
    logits: torch.Tensor, lengths: torch.Tensor, tokens: torch.Tensor, token_lengths: torch.Tensor, blank: int = 0
) -> tuple[torch.Tensor, int]:
    """Return the CTC loss of the utterances of a batch that have one, for measuring.

    An utterance with fewer frames than its text needs has an infinite loss, which would make that of all infinite.

    Returns
    -------
    loss : Tensor ()
        As `ctc_loss`; zero where no utterance has one.
    count : int
        Utterances that have one.
    """
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    values = nn.functional.ctc_loss(log_probs, tokens, lengths, token_lengths, blank=blank, reduction="none")
    kept = ~values.isposinf()
    count = int(kept.sum())
    return (values[kept] / token_lengths[kept].clamp(min=1)).sum() / max(1, count), count
