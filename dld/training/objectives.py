"""Training losses. Every one is a mean of the kind its docstring states, so that weights mean the same in any batch."""

import torch
from torch import nn

from dld.checks import NOT_NEGATIVE, POSITIVE, Choice, Nullable, require
from dld.errors import DldError
from dld.padding import padding_mask


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
    blank_context : int, optional
        Symmetric blank selection (arXiv 2506.01503): of the frames whose best unit the teacher holds to be the blank,
        only those count that lie within so many frames, on either side, of one with another best unit; 0 leaves all
        blank frames out (blank elimination). By default every valid frame counts.
    blank : int
        Id of the blank.

    Examples
    --------
    >>> logits = torch.randn(2, 5, 7)
    >>> MaskedKL()(logits, logits, torch.tensor([5, 3])).item()
    0.0
    """

    def __init__(self, temperature=1.0, direction="teacher-student", blank_context=None, blank=0):
        super().__init__()
        require(self, POSITIVE, temperature=temperature)
        require(self, Choice("teacher-student", "student-teacher"), direction=direction)
        require(self, Nullable(NOT_NEGATIVE), blank_context=blank_context)
        require(self, NOT_NEGATIVE, blank=blank)
        self.temperature = temperature
        self.direction = direction
        self.blank_context = blank_context
        self.blank = blank

    def forward(self, student, teacher, lengths):
        """Divergence of logits (batch, frames, units) with `lengths` (batch,) valid frames."""
        if student.shape != teacher.shape:
            raise DldError(
                f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} differ in shape; "
                "both need the same subsampling and the same tokenizer"
            )
        valid = ~padding_mask(lengths, student.shape[1])
        if self.blank_context is not None:
            valid &= self.near_units(teacher, valid)
        # Selecting the frames first keeps padding out of the sum whatever it holds, NaN included.
        student = (student[valid].float() / self.temperature).log_softmax(-1)
        teacher = (teacher[valid].float() / self.temperature).log_softmax(-1)
        target, other = (teacher, student) if self.direction == "teacher-student" else (student, teacher)
        divergence = nn.functional.kl_div(other, target, reduction="sum", log_target=True)
        # Blank selection may leave no frame at all.
        return self.temperature**2 * divergence / max(1, len(student))

    def near_units(self, teacher, valid):
        """Frames (batch, frames) within `blank_context` of a valid one whose best unit is no blank."""
        units = (teacher.argmax(-1) != self.blank) & valid
        width = 2 * self.blank_context + 1
        return nn.functional.max_pool1d(units.float(), width, stride=1, padding=self.blank_context) > 0


def hidden_distance(student, teacher, lengths):
    """Mean squared difference of two encoders' outputs over valid frames and channels.

    Parameters
    ----------
    student, teacher : Tensor (batch, frames, width)
    lengths : LongTensor (batch,)
        Valid frames.

    Returns
    -------
    Tensor ()

    Examples
    --------
    >>> hidden_distance(torch.ones(1, 3, 2), torch.zeros(1, 3, 2), torch.tensor([2])).item()
    1.0
    """
    if student.shape != teacher.shape:
        raise DldError(
            f"student output {tuple(student.shape)} and teacher output {tuple(teacher.shape)} differ in shape; "
            "aligning them needs encoders of the same width"
        )
    valid = ~padding_mask(lengths, student.shape[1])
    return nn.functional.mse_loss(student[valid].float(), teacher[valid].float())


def blank_share(logits, lengths, blank=0):
    """Share of valid frames whose best unit is the blank, 0…1; near 1 the model writes nothing."""
    valid = ~padding_mask(lengths, logits.shape[1])
    return (logits.argmax(-1)[valid] == blank).float().mean() if valid.any() else torch.ones(())
