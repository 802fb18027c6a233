"""Training losses and their weights: the objectives that an experiment file composes.

Every loss is a mean of the kind that its docstring states, so that weights mean the same in any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dld.checks import NOT_NEGATIVE, POSITIVE, Choice, Nullable, require
from dld.ctc import ctc_loss, feasible_ctc_loss
from dld.errors import DldError
from dld.gates import Ramp
from dld.padding import padding_mask


class TopK(NamedTuple):
    """Posteriors of the most probable tokens of each frame, and the sum of all others as one more class.

    Attributes
    ----------
    tokens : LongTensor (batch, frames, k)
        The most probable first.
    log_probs : Tensor (batch, frames, k + 1)
        Of these tokens and, last, of all others together.
    temperature : float
        By which the logits had been divided.
    """

    tokens: Tensor
    log_probs: Tensor
    temperature: float = 1.0

    @classmethod
    def of(cls, logits: Tensor, k: int) -> TopK:
        """Return the posteriors of logits (batch, frames, vocab_size), k below `vocab_size`.

        Examples
        --------
        >>> top = TopK.of(torch.tensor([[[0.1, 0.6, 0.05, 0.25]]]).log(), 2)
        >>> top.tokens.tolist(), [round(p, 2) for p in top.log_probs.exp().flatten().tolist()]
        ([[[1, 3]]], [0.6, 0.25, 0.15])
        """
        tokens = logits.topk(k, dim=-1).indices
        return cls(tokens, coarse_log_probs(logits, tokens))


def coarse_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return log-probabilities (…, k + 1) of k tokens (…, k) and of all others, from logits (…, vocab_size)."""
    rest = logits.scatter(-1, tokens, float("-inf")).logsumexp(-1, keepdim=True)
    return torch.cat([logits.gather(-1, tokens), rest], -1).log_softmax(-1)


class SoftTarget(NamedTuple):
    """Output that a student learns to match.

    Attributes
    ----------
    logits : Tensor (batch, frames, vocab_size), or TopK
        A cache of posteriors has `TopK`.
    hidden : Tensor (batch, frames, width) or None
        The encoder's output.
    """

    logits: Tensor | TopK
    hidden: Tensor | None = None


class LossInput(NamedTuple):
    """What the losses under one gate vector read.

    Attributes
    ----------
    logits : Tensor (batch, frames, vocab_size)
    hidden : Tensor (batch, frames, width)
        The encoder's output.
    lengths : LongTensor (batch,)
        Valid frames.
    tokens : LongTensor (batch, tokens)
    token_lengths : LongTensor (batch,)
    blank : int
    target : SoftTarget or None
        None in validation, and where there are no soft targets.
    training : bool
        False in validation.
    """

    logits: Tensor
    hidden: Tensor
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    blank: int = 0
    target: SoftTarget | None = None
    training: bool = True


class Objective:
    """A loss and its weight; a subclass computes the loss.

    Parameters
    ----------
    weight : float or Ramp
        λ in `L = Σ λ_k L_k`. With 0 the loss is computed for the log, and has no effect.

    Attributes
    ----------
    needs_target, needs_hidden : bool
        Whether it reads `LossInput.target`, and of that the encoder's output.
    """

    needs_target = False
    needs_hidden = False

    def __init__(self, weight: float | Ramp = 1.0):
        self.weight = weight

    def __call__(self, x: LossInput) -> Tensor:
        """Return the loss, a Tensor ()."""
        raise NotImplementedError


class CTC(Objective):
    """CTC against the transcript, see `ctc_loss`."""

    def __call__(self, x: LossInput) -> Tensor:
        """Return the loss; in validation, utterances that cannot be aligned are left out."""
        labels = x.lengths, x.tokens, x.token_lengths, x.blank
        value = ctc_loss(x.logits, *labels)
        if not x.training and value.isposinf():
            value, _ = feasible_ctc_loss(x.logits, *labels)
        return value


class SoftTargets(Objective):
    """Divergence from the soft targets: λ · L_KLD of DLD (arXiv 2601.16117).

    Parameters
    ----------
    weight : float or Ramp
    divergence : MaskedKL, or another callable
        (student logits, target logits, lengths) → Tensor (). With a cache of posteriors it must be a `MaskedKL`.
    """

    needs_target = True

    def __init__(self, weight: float | Ramp = 1.0, divergence: Callable | None = None):
        super().__init__(weight)
        if not callable(divergence):
            raise DldError("SoftTargets needs a divergence, such as dld.training.objectives.MaskedKL")
        self.divergence: Callable[[Tensor, Any, Tensor], Tensor] = divergence

    def __call__(self, x: LossInput) -> Tensor:
        """Return the divergence of the target's logits from the student's."""
        assert x.target is not None
        return self.divergence(x.logits, x.target.logits, x.lengths)


class HiddenDistance(Objective):
    """Distance between the encoder's output and that of the soft targets, see `hidden_distance`."""

    needs_target = True
    needs_hidden = True

    def __call__(self, x: LossInput) -> Tensor:
        """Return the distance of the target's hidden frames from the student's."""
        assert x.target is not None and x.target.hidden is not None
        return hidden_distance(x.hidden, x.target.hidden, x.lengths)


class MaskedKL(nn.Module):
    """Compute the Kullback–Leibler divergence between teacher and student posteriors, `T² · mean over valid frames`.

    The distillation term of DLD (arXiv 2601.16117: KL(teacher ‖ student), T = 1). The mean is over all valid frames of
    the batch, in nats per frame; padded frames never count. The factor T² keeps the size of the gradient when the
    temperature changes (Hinton et al., arXiv 1503.02531).

    Of a teacher's `TopK` it is the divergence over k + 1 classes; the last has the probability of all other tokens
    together. For these classes it is exact. It is never above the divergence over all tokens, which by the chain rule
    also has the teacher's probability of the others times the divergence within them (for KL(teacher ‖ student)). With
    k = vocab_size - 1 both are equal.

    Parameters
    ----------
    temperature : float
    direction : {"teacher-student", "student-teacher"}
        KL(teacher ‖ student), or the reverse.
    blank_context : int, optional
        Symmetric blank selection (arXiv 2506.01503): of the frames whose best token is the blank for the teacher,
        only those count that are within this many frames, on either side, of one with another best token; 0 leaves all
        blank frames out (blank elimination). By default every valid frame counts.
    blank : int
        Id of the blank.

    Examples
    --------
    >>> logits = torch.randn(2, 5, 7)
    >>> MaskedKL()(logits, logits, torch.tensor([5, 3])).item()
    0.0
    """

    def __init__(
        self,
        temperature: float = 1.0,
        direction: str = "teacher-student",
        blank_context: int | None = None,
        blank: int = 0,
    ):
        super().__init__()
        require(self, POSITIVE, temperature=temperature)
        require(self, Choice("teacher-student", "student-teacher"), direction=direction)
        require(self, Nullable(NOT_NEGATIVE), blank_context=blank_context)
        require(self, NOT_NEGATIVE, blank=blank)
        self.temperature = temperature
        self.direction = direction
        self.blank_context = blank_context
        self.blank = blank

    def forward(self, student: Tensor, teacher: Tensor | TopK, lengths: Tensor) -> Tensor:
        """Return the divergence from the teacher's logits or `TopK`.

        Parameters
        ----------
        student : Tensor (batch, frames, vocab_size)
            Logits.
        teacher : Tensor (batch, frames, vocab_size), or TopK
        lengths : LongTensor (batch,)
            Valid frames.
        """
        best = self.check(student, teacher)
        valid = ~padding_mask(lengths, student.shape[1])
        if self.blank_context is not None:
            valid &= self.near_tokens(best, valid, self.blank_context)
        # Selecting the frames first keeps padding out of the sum whatever it holds, NaN included.
        student = student[valid].float() / self.temperature
        if isinstance(teacher, TopK):
            ours = coarse_log_probs(student, teacher.tokens[valid])
            # Half precision leaves a sum that is not quite 1.
            theirs = teacher.log_probs[valid].float().log_softmax(-1)
        else:
            ours, theirs = student.log_softmax(-1), (teacher[valid].float() / self.temperature).log_softmax(-1)
        target, other = (theirs, ours) if self.direction == "teacher-student" else (ours, theirs)
        divergence = nn.functional.kl_div(other, target, reduction="sum", log_target=True)
        # Blank selection may leave no frame at all.
        return self.temperature**2 * divergence / max(1, len(student))

    def check(self, student: Tensor, teacher: Tensor | TopK) -> Tensor:
        """Return the teacher's best tokens (batch, frames); raise if its output does not fit the student's."""
        best = teacher.tokens[..., 0] if isinstance(teacher, TopK) else teacher.argmax(-1)
        theirs = (*best.shape, student.shape[-1]) if isinstance(teacher, TopK) else teacher.shape
        if student.shape != theirs:
            raise DldError(
                f"student logits {tuple(student.shape)} and teacher logits {tuple(theirs)} differ in shape; "
                "both need the same subsampling and the same tokenizer"
            )
        if isinstance(teacher, TopK) and teacher.temperature != self.temperature:
            raise DldError(f"posteriors at temperature {teacher.temperature} do not serve one of {self.temperature}")
        return best

    def near_tokens(self, best: Tensor, valid: Tensor, context: int) -> Tensor:
        """Return the frames (batch, frames) within `context` of a valid one whose best token is not the blank."""
        tokens = (best != self.blank) & valid
        return nn.functional.max_pool1d(tokens.float(), 2 * context + 1, stride=1, padding=context) > 0


def hidden_distance(student: Tensor, teacher: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean squared difference of two encoders' outputs over valid frames and channels.

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


def blank_share(logits: Tensor, lengths: Tensor, blank: int = 0) -> Tensor:
    """Return the fraction of valid frames whose best token is the blank, 0…1; near 1 the model writes nothing."""
    valid = ~padding_mask(lengths, logits.shape[1])
    return (logits.argmax(-1)[valid] == blank).float().mean() if valid.any() else torch.ones(())
