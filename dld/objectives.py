"""Training losses. Every one is a mean of the kind its docstring states, so that weights mean the same in any batch."""

import torch
from torch import nn

from dld.encoders.base import padding_mask
from dld.errors import DldError


def ctc_loss(logits, lengths, tokens, token_lengths, blank=0):
    """CTC loss: negative log-likelihood divided by the number of tokens, averaged over utterances.

    Parameters
    ----------
    logits : Tensor (batch, frames, units)
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


class MaskedKL(nn.Module):
    """Kullback–Leibler divergence between teacher and student posteriors, `T² · mean over valid frames`.

    The distillation term of DLD (arXiv 2601.16117: KL(teacher ‖ student), T = 1). The mean is over all valid frames of
    the batch, in nats per frame; padded frames never count. The factor T² keeps the size of the gradient when the
    temperature changes (Hinton et al., arXiv 1503.02531).

    Parameters
    ----------
    temperature : float
    direction : {"teacher-student", "student-teacher"}
        KL(teacher ‖ student), or the reverse.

    Examples
    --------
    >>> logits = torch.randn(2, 5, 7)
    >>> MaskedKL()(logits, logits, torch.tensor([5, 3])).item()
    0.0
    """

    def __init__(self, temperature=1.0, direction="teacher-student"):
        super().__init__()
        if temperature <= 0:
            raise DldError(f"the distillation temperature must be positive, got {temperature}")
        if direction not in ("teacher-student", "student-teacher"):
            raise DldError(f"direction must be teacher-student or student-teacher, got {direction!r}")
        self.temperature = temperature
        self.direction = direction

    def forward(self, student, teacher, lengths):
        """Divergence of logits (batch, frames, units) with `lengths` (batch,) valid frames."""
        if student.shape != teacher.shape:
            raise DldError(
                f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} differ in shape; "
                "both need the same subsampling and the same tokenizer"
            )
        valid = ~padding_mask(lengths, student.shape[1])
        # Selecting the frames first keeps padding out of the sum whatever it holds, NaN included.
        student = (student[valid].float() / self.temperature).log_softmax(-1)
        teacher = (teacher[valid].float() / self.temperature).log_softmax(-1)
        target, other = (teacher, student) if self.direction == "teacher-student" else (student, teacher)
        divergence = nn.functional.kl_div(other, target, reduction="sum", log_target=True)
        return self.temperature**2 * divergence / len(student)


def blank_share(logits, lengths, blank=0):
    """Share of valid frames whose best unit is the blank, 0…1; near 1 the model writes nothing."""
    valid = ~padding_mask(lengths, logits.shape[1])
    return (logits.argmax(-1)[valid] == blank).float().mean() if valid.any() else torch.ones(())
