"""A step of a dynamic network, and the end of a training: the mean of the best checkpoints, or the best one alone."""

from types import SimpleNamespace

import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedData

from dld.ctc import ctc_loss
from dld.data.dataset import unpack
from dld.encoders import GatedConformer
from dld.errors import DldError
from dld.frontends import LogMel
from dld.gates import Bernoulli, Draw, Ramp
from dld.network import GatedCTC, Output
from dld.padding import unpadded
from dld.training.brain import DynamicBrain, format_entry, warn_if_stuck
from dld.training.checkpoints import WholeCheckpointer, save_state
from dld.training.engine import Engine
from dld.training.objectives import CTC, MaskedKL, SoftTarget, SoftTargets
from dld.training.targets import TargetSource


@pytest.fixture
def brain(tmp_path):
    """A stand-in with five checkpoints whose weight is 10 times the epoch; `measured` are the weights it measured."""
    network = torch.nn.Linear(1, 1, bias=False)
    checkpointer = WholeCheckpointer(tmp_path / "save")
    checkpointer.add_recoverable("network", network, custom_save_hook=save_state)
    for epoch, wer in enumerate((50.0, 20.0, 40.0, 10.0, 30.0), 1):
        torch.nn.init.constant_(network.weight, 10.0 * epoch)
        checkpointer.save_checkpoint({"epoch": epoch, "mean_wer": wer})
    made = SimpleNamespace(checkpointer=checkpointer, criterion="mean_wer", measured=[], wers={})

    def measure(state, loader):
        made.measured.append(state["weight"].item())
        wers = made.wers.get(made.measured[-1], {2: 8.0, 4: 6.0})
        return {"wer": wers, "mean_wer": sum(wers.values()) / len(wers)}

    made.measure = measure
    return made


def test_the_mean_of_the_best_checkpoints_is_taken(brain):
    result = Engine.average_best(brain, None, 3)
    assert brain.measured == [pytest.approx(10 * (4 + 2 + 5) / 3)]
    assert result == ([2, 4, 5], {"wer": {2: 8.0, 4: 6.0}, "mean_wer": 7.0})


def test_the_best_checkpoint_is_taken_where_the_mean_is_worse(brain):
    brain.wers = {30.0: {2: 60.0, 4: 80.0}, 40.0: {2: 9.0, 4: 11.0}}
    result = Engine.average_best(brain, None, 2)
    assert brain.measured == [30.0, 40.0]
    assert result == ([4], {"wer": {2: 9.0, 4: 11.0}, "mean_wer": 10.0})


def test_a_mean_that_is_as_good_is_taken(brain):
    brain.wers = {30.0: {2: 10.0}}
    assert Engine.average_best(brain, None, 2)[0] == [2, 4]


def test_damaged_checkpoints_do_not_go_into_the_mean(brain):
    best = brain.checkpointer.find_checkpoint(min_key="mean_wer")
    best.paramfiles["network"].write_bytes(b"")
    assert Engine.average_best(brain, None, 2)[0] == [2]
    assert brain.measured == [20.0]
    for checkpoint in brain.checkpointer.list_checkpoints():
        checkpoint.paramfiles["network"].write_bytes(b"")
    with pytest.raises(DldError, match="none of the best checkpoints is whole"):
        Engine.average_best(brain, None, 2)


# ---------------------------------------------------------------- one step


class Shift:
    """An augmentation that adds a number, and knows where it was moved and of which lengths it was told."""

    device = lengths = None

    def __init__(self, amount):
        self.amount = amount

    def to(self, device):
        self.device = device

    def __call__(self, features, lengths):
        self.lengths = lengths
        return features + self.amount


class Faster(Shift):
    def draw(self):
        return 1.25

    def __call__(self, waveforms, lengths, speed):
        self.speed = speed
        return waveforms[:, : -self.amount], lengths - self.amount


class Numbers:
    """A tokenizer whose texts are its tokens."""

    blank = 0

    def __len__(self):
        return 5

    def decode(self, tokens):
        return " ".join(map(str, tokens))


class Targets(TargetSource):
    """Soft targets that are zero everywhere."""

    def __init__(self):
        self.calls = []

    def to(self, device):
        self.device = device

    def __call__(self, ids, inputs, draw, output):
        self.calls.append((ids, inputs, draw))
        return SoftTarget(torch.zeros_like(output.logits[0]), torch.zeros_like(output.hidden[0]))


@pytest.fixture
def dynamic():
    """A small dynamic brain without dropout: `dynamic(soft_targets=Targets())`."""

    def make(checkpointer=None, without_loss=(), exit_heads=False, **settings):
        torch.manual_seed(0)
        sizes = {"d_model": 8, "d_ffn": 8, "num_heads": 2, "kernel_size": 3, "subsampling_channels": 4}
        encoder = GatedConformer(num_blocks=3, input_size=8, dropout=0.0, **sizes)
        network = GatedCTC(LogMel(n_mels=8), encoder, vocab_size=5, blank_bias=0.0, exit_heads=exit_heads)
        hparams = {
            "network": network,
            "optimizer": lambda groups: torch.optim.SGD(groups, lr=1.0),
            "schedule": Bernoulli(3, 0.5, seed=1),
            "objectives": {"kd": SoftTargets(2.0, MaskedKL()), "ctc": CTC()},
            "soft_targets": None,
            "speed_perturb": None,
            "spec_augment": None,
            "augment_after": 0,
            "valid_depths": [1, 3],
            "eval_policy": "first-n",
            "sample_rate": 16000,
            "channel": None,
            "num_epochs": 4,
            **settings,
        }
        made = DynamicBrain(hparams, Numbers(), {"device": "cpu"}, checkpointer, None, without_loss)
        made.train_sampler, made.epoch, made.step = range(4), 2, 2
        return made

    return make


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return SimpleNamespace(
        id=["a", "b"],
        signal=PaddedData(torch.randn(2, 16000), torch.tensor([1.0, 0.75])),
        tokens=PaddedData(torch.tensor([[1, 2], [3, 0]]), torch.tensor([1.0, 0.5])),
        words=["1 2", "3"],
    )


def losses(brain, batch, vector):
    """CTC, and the divergence from targets that are zero, under one gate vector."""
    features, frames = brain.network.frontend(*unpack(batch.signal))
    logits, lengths, _ = brain.network(features, frames, [vector])
    tokens, counts = unpack(batch.tokens)
    return (
        ctc_loss(logits[0], lengths, tokens, counts).item(),
        MaskedKL()(logits[0], torch.zeros_like(logits[0]), lengths).item(),
    )


def test_the_loss_of_a_step_is_the_weighted_sum_over_gate_vectors_and_objectives(dynamic, batch):
    targets = Targets()
    objectives = {"kd": SoftTargets(Ramp(0.0, 4.0, 3.0), MaskedKL()), "ctc": CTC(0.5)}
    brain = dynamic(soft_targets=targets, objectives=objectives)
    drawn = Draw([(True, False, True), (True, True, True)], [0.25, 0.75])
    brain.draw = lambda: drawn
    predictions = brain.compute_forward(batch, sb.Stage.TRAIN)
    loss = brain.compute_objectives(predictions, batch, sb.Stage.TRAIN)
    [(ctc1, kd1), (ctc2, kd2)] = (losses(brain, batch, vector) for vector in drawn.vectors)
    ctc, kd = 0.25 * ctc1 + 0.75 * ctc2, 0.25 * kd1 + 0.75 * kd2
    # After one epoch and a half of three the weight is half of what it will be.
    assert loss.item() == pytest.approx(0.5 * ctc + 2.0 * kd, rel=1e-4)
    means = brain.progress.means.compute()
    assert means == pytest.approx({"loss": 0.5 * ctc + 2.0 * kd, "kd": kd, "ctc": ctc}, rel=1e-4)
    [(ids, inputs, draw)] = targets.calls
    assert ids == ["a", "b"] and draw is drawn and inputs.features is inputs.clean
    assert loss.requires_grad and not any(value.requires_grad for value in brain.progress.means.sums.values())


def test_validation_has_no_soft_targets_and_collects_texts_at_each_depth(dynamic, batch):
    targets = Targets()
    brain = dynamic(soft_targets=targets)
    brain.reset_scores()
    predictions = brain.compute_forward(batch, sb.Stage.VALID)
    loss = brain.compute_objectives(predictions, batch, sb.Stage.VALID)
    first, full = (losses(brain, batch, vector)[0] for vector in ((True, False, False), (True,) * 3))
    assert loss.item() == pytest.approx((first + full) / 2, rel=1e-4)
    assert targets.calls == [] and brain.progress.means.count == 0
    assert brain.word_errors.references == ["1 2", "3"]
    output = predictions.output
    expected = [brain.recognizer.texts(unpadded(logits, output.lengths)) for logits in output.logits]
    assert brain.word_errors.hypotheses == expected and expected[0] != expected[1]
    scores = brain.scores()
    assert list(scores["wer"]) == ["1", "3"]
    assert scores["mean_wer"] == sum(scores["wer"].values()) / 2
    assert "valid_loss" not in scores and "without_loss" not in scores
    brain.reset_scores()
    assert brain.word_errors.references == [] and brain.blanks == []


def test_blanks_and_empty_texts_are_those_of_the_last_depth(dynamic, batch):
    brain = dynamic()
    brain.reset_scores()
    silent, chatty = torch.eye(5)[torch.tensor([[[0] * 4] * 2, [[0, 1, 2, 0], [0, 0, 0, 0]]])]
    brain.collect(Output([silent, chatty], torch.tensor([4, 2]), []), batch)
    assert brain.word_errors.hypotheses == [["", ""], ["1 2", ""]]
    assert brain.scores() == {
        "wer": {"1": 100.0, "3": pytest.approx(100 / 3)},
        "mean_wer": pytest.approx(200 / 3),
        "blank_share": pytest.approx(4 / 6),
        "empty_share": 0.5,
    }


@pytest.mark.parametrize(
    ("names", "told"), [((), {}), (("a",), {"without_loss": 1}), ("ab", {"valid_loss": None, "without_loss": 2})]
)
def test_scores_tell_how_many_utterances_the_loss_is_without(dynamic, batch, names, told):
    brain = dynamic(without_loss=names)
    brain.reset_scores()
    brain.compute_objectives(brain.compute_forward(batch, sb.Stage.VALID), batch, sb.Stage.VALID)
    scores = brain.scores()
    assert {name: scores[name] for name in ("valid_loss", "without_loss") if name in scores} == told


@pytest.mark.parametrize(("updates", "augmented"), [(0, False), (4, False), (5, True), (6, True)])
def test_training_alone_is_augmented_from_the_update_that_is_asked_for(dynamic, batch, updates, augmented):
    faster, shift = Faster(1600), Shift(1.0)
    brain = dynamic(speed_perturb=faster, spec_augment=shift, augment_after=5)
    assert faster.device == shift.device == "cpu"
    brain.optimizer_step = updates
    waveforms, lengths = unpack(batch.signal)
    clean, frames = brain.network.frontend(waveforms[:, :-1600], lengths - 1600)
    inputs = brain.inputs(batch, training=True)
    assert torch.equal(inputs.clean, clean) and torch.equal(inputs.lengths, frames)
    assert inputs.speed == faster.speed == 1.25
    assert torch.equal(inputs.features, clean + (1.0 if augmented else 0.0))
    assert shift.lengths is None or torch.equal(shift.lengths, frames)
    clean, frames = brain.network.frontend(waveforms, lengths)
    inputs = brain.inputs(batch, training=False)
    assert torch.equal(inputs.features, clean) and torch.equal(inputs.lengths, frames) and inputs.speed == 1.0


def test_schedule_and_encoder_know_how_far_the_training_is(dynamic):
    brain, told = dynamic(), []
    drawn = Draw.even([(True, False), (True, True), (False, True), (True, False)])
    brain.schedule = SimpleNamespace(set_epoch=told.append, draw=lambda: drawn)
    assert brain.draw() is drawn and told == [1.5]
    # For the curves: how often each block ran.
    assert brain.notes == {"gates/block_01": 0.75, "gates/block_02": 0.5, "gates/depth": 1.25}
    brain.network.encoder.on_update = told.append
    brain.optimizer_step = 17
    brain.on_fit_batch_start(None, True)
    assert told == [1.5, 17]


@pytest.mark.parametrize("exit_heads", [False, True])
def test_every_weight_is_trained_once_and_the_heads_at_the_full_rate(dynamic, exit_heads):
    brain = dynamic(exit_heads=exit_heads)
    heads, *others = brain.parameter_groups()
    found = [id(p) for group in (heads, *others) for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in brain.network.parameters())
    assert len(heads["params"]) == (6 if exit_heads else 2) and heads["lr_scale"] == 1.0


def test_the_state_of_the_schedule_is_in_the_checkpoints(dynamic, tmp_path):
    checkpointer = WholeCheckpointer(tmp_path / "save")
    brain = dynamic(checkpointer=checkpointer)
    checkpointer.save_checkpoint()
    drawn = [brain.schedule.draw() for _ in range(5)]
    checkpointer.recover_if_possible()
    assert [brain.schedule.draw() for _ in range(5)] == drawn


# ---------------------------------------------------------------- what the log says

ENTRY = {
    "epoch": 2,
    "updates": 40,
    "seconds": 12.6,
    "lr": 0.00123,
    "train_loss": 1.5,
    "train_ctc": 1.25,
    "train_kd": None,
    "valid_loss": 2.0,
    "wer": {"2": 50.0, "4": 25.0},
    "mean_wer": 37.5,
}


def test_the_line_on_an_epoch(dynamic):
    line = (
        "epoch 2/4 | 40 updates, 13 s | lr 1.23e-03 | train loss 1.500 ctc 1.250 | dev loss {} | "
        "dev WER % n2 50.0 n4 25.0 mean 37.50"
    )
    assert format_entry(ENTRY, 4) == dynamic().describe(ENTRY) == line.format("2.000")
    assert format_entry({**ENTRY, "valid_loss": None}, 4) == line.format("none")
    told = "2.000 (without 3 utterances that are too short for their text)"
    assert format_entry({**ENTRY, "without_loss": 3}, 4) == line.format(told)


@pytest.mark.parametrize(
    ("shares", "warmup", "warned"),
    [
        *(([0.95], 0, False), ([0.95, 0.91], 0, True), ([0.9, 0.95], 0, False), ([0.1, 1.0, 1.0], 0, True)),
        # Once in a run, also after a pause.
        *(([1.0, 1.0, 1.0], 0, False), ([1.0, 1.0, 0.5, 1.0, 1.0], 0, False)),
        # Not of epochs that end during the warm-up (7 updates in an epoch, the first entry is of update 0).
        *(([1.0, 1.0, 1.0], 14, False), ([1.0, 1.0, 1.0], 8, False), ([1.0, 1.0, 1.0], 7, True)),
    ],
)
def test_a_model_is_stuck_after_two_epochs_of_almost_nothing(shares, warmup, warned, caplog):
    history = [{"empty_share": share, "blank_share": 0.987, "updates": 7 * i} for i, share in enumerate(shares)]
    warn_if_stuck(history, warmup)
    assert ("stuck on blanks" in caplog.text) == warned
    if warned:
        text = f"{100 * shares[-1]:.0f} % of the dev hypotheses are empty and 99 % of the frames blank after"
        assert text + f" {7 * (len(shares) - 1)} updates" in " ".join(caplog.text.split())
