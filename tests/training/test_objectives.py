"""Losses: their scale, their masks, their direction."""

import pytest
import torch

from dld.ctc import ctc_loss, feasible_ctc_loss
from dld.errors import DldError
from dld.training.objectives import (
    CTC,
    HiddenDistance,
    LossInput,
    MaskedKL,
    SoftTarget,
    SoftTargets,
    blank_share,
    hidden_distance,
)


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(2, 6, 5), torch.randn(2, 6, 5), torch.tensor([6, 4])


def test_padding_never_counts(logits):
    student, teacher, lengths = logits
    expected = MaskedKL()(student, teacher, lengths)
    student[1, 4:], teacher[1, 4:] = float("nan"), 1e9
    assert torch.equal(MaskedKL()(student, teacher, lengths), expected)


def test_the_divergence_is_a_mean_over_valid_frames(logits):
    student, teacher, lengths = logits
    p, q = teacher.softmax(-1), student.softmax(-1)
    per_frame = (p * (p.log() - q.log())).sum(-1)
    expected = torch.cat([per_frame[0, :6], per_frame[1, :4]]).mean()
    torch.testing.assert_close(MaskedKL()(student, teacher, lengths), expected)


def test_the_direction_is_the_one_asked_for(logits):
    student, teacher, lengths = logits
    forward = MaskedKL(direction="teacher-student")
    reverse = MaskedKL(direction="student-teacher")
    torch.testing.assert_close(forward(student, teacher, lengths), reverse(teacher, student, lengths))
    assert forward(student, teacher, lengths) != reverse(student, teacher, lengths)


def test_temperature_softens_and_keeps_the_scale(logits):
    student, teacher, lengths = logits
    expected = 9 * MaskedKL()(student / 3, teacher / 3, lengths)
    torch.testing.assert_close(MaskedKL(temperature=3.0)(student, teacher, lengths), expected)


def test_gradients_reach_the_student(logits):
    student, teacher, lengths = logits
    student.requires_grad_()
    MaskedKL()(student, teacher, lengths).backward()
    assert student.grad[0].any()
    assert not student.grad[1, 4:].any()


def test_logits_of_different_shape_are_refused(logits):
    student, _, lengths = logits
    with pytest.raises(DldError, match="same tokenizer"):
        MaskedKL()(student, torch.randn(2, 6, 7), lengths)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"direction": "both"}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(DldError):
        MaskedKL(**settings)


@pytest.mark.parametrize(("context", "frames"), [(0, [3]), (1, [2, 3, 4]), (2, [1, 2, 3, 4, 5]), (9, range(7))])
def test_blank_selection_keeps_frames_near_the_teachers_units(context, frames):
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 9, 4), torch.zeros(1, 9, 4)
    teacher[..., 0] = 5.0
    teacher[0, 3, 2] = 9.0
    teacher[0, 8, 1] = 9.0  # beyond the valid frames: it neither counts nor draws others in
    value = MaskedKL(blank_context=context)(student, teacher, torch.tensor([7]))
    expected = MaskedKL()(student[:, list(frames)], teacher[:, list(frames)], torch.tensor([len(frames)]))
    torch.testing.assert_close(value, expected)


def test_blank_selection_that_leaves_nothing_gives_zero_with_a_gradient():
    student = torch.randn(1, 3, 4, requires_grad=True)
    teacher = torch.tensor([9.0, 0, 0, 0]).expand(1, 3, 4)
    value = MaskedKL(blank_context=1)(student, teacher, torch.tensor([3]))
    value.backward()
    assert value.item() == 0 and torch.equal(student.grad, torch.zeros_like(student))


def test_hidden_distance_does_not_look_at_padding():
    student, teacher = torch.zeros(2, 4, 3), torch.ones(2, 4, 3)
    student[1, 2:] = float("nan")
    assert hidden_distance(student, teacher, torch.tensor([4, 2])).item() == 1.0
    with pytest.raises(DldError, match="same width"):
        hidden_distance(student, teacher[..., :2], torch.tensor([4, 2]))


def test_ctc_does_not_look_at_padding(logits):
    student, _, lengths = logits
    tokens, token_lengths = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1])
    expected = ctc_loss(student, lengths, tokens, token_lengths)
    student[1, 4:] = 1e9
    torch.testing.assert_close(ctc_loss(student, lengths, tokens, token_lengths), expected)


def test_ctc_is_nats_per_token():
    logits = torch.zeros(1, 3, 4)
    # Three frames, one token: of 4³ equally likely paths, those that collapse to the token are 6.
    value = ctc_loss(logits, torch.tensor([3]), torch.tensor([[1]]), torch.tensor([1]))
    assert value.item() == pytest.approx(-torch.log(torch.tensor(6 / 64)).item())


def test_blank_share_counts_valid_frames_only():
    logits = torch.zeros(1, 4, 3)
    logits[0, :, 0] = torch.tensor([1.0, -1.0, 1.0, 1.0])
    assert blank_share(logits, torch.tensor([3])).item() == pytest.approx(2 / 3)


def test_a_batch_in_which_no_utterance_has_a_loss_has_none():
    tokens, token_lengths = torch.tensor([[1, 1, 1]]), torch.tensor([3])
    loss, count = feasible_ctc_loss(torch.randn(1, 3, 5), torch.tensor([3]), tokens, token_lengths)
    assert (loss.item(), count) == (0.0, 0)


@pytest.fixture
def step(logits):
    """What losses read of a step with soft targets; the second utterance is too short for its text."""
    student, teacher, lengths = logits
    tokens, token_lengths = torch.tensor([[1, 2, 3, 0, 0], [4, 4, 4, 4, 4]]), torch.tensor([3, 5])
    hidden = torch.randn(2, 6, 3)
    return LossInput(student, hidden, lengths, tokens, token_lengths, target=SoftTarget(teacher, hidden + 1))


def test_an_objective_has_the_weight_one_unless_told():
    objectives = [CTC(), HiddenDistance(), SoftTargets(divergence=MaskedKL())]
    assert [objective.weight for objective in objectives] == [1.0, 1.0, 1.0]
    assert SoftTargets(0.5, MaskedKL()).weight == 0.5
    assert [(o.needs_target, o.needs_hidden) for o in objectives] == [(False, False), (True, True), (True, False)]


def test_ctc_leaves_out_utterances_that_are_too_short_in_validation_only(step):
    assert CTC()(step).isposinf()
    alone = [t[:1] for t in (step.logits, step.lengths, step.tokens, step.token_lengths)]
    torch.testing.assert_close(CTC()(step._replace(training=False)), ctc_loss(*alone))


def test_soft_targets_are_those_of_the_step(step):
    divergence = SoftTargets(divergence=MaskedKL())(step)
    torch.testing.assert_close(divergence, MaskedKL()(step.logits, step.target.logits, step.lengths))
    assert HiddenDistance()(step).item() == pytest.approx(1.0)


@pytest.mark.parametrize("divergence", [None, "MaskedKL"])
def test_soft_targets_without_a_divergence_are_refused(divergence):
    with pytest.raises(DldError, match="SoftTargets needs a divergence, such as"):
        SoftTargets(divergence=divergence)


def test_the_share_of_blanks_where_there_are_no_frames_is_one():
    assert blank_share(torch.zeros(1, 2, 3), torch.tensor([0])).item() == 1.0


def test_a_mean_over_frames_is_not_larger_in_a_longer_batch(logits):
    student, teacher, lengths = logits
    twice = [torch.cat([t, t]) for t in (student, teacher, lengths)]
    torch.testing.assert_close(MaskedKL()(*twice), MaskedKL()(student, teacher, lengths))
