"""The arithmetic of training: what an update is made of, seen from outside, through the optimizer.

A hook of torch records every update of every optimizer: the gradients that it is given and the learning rates. Nothing
here knows how the training loop is written.
"""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import ctc_loss, kl_div, log_softmax
from torch.optim.optimizer import register_optimizer_step_pre_hook

from dld.data.dataset import unpack
from dld.encoders import GatedConformer
from dld.errors import DldError
from dld.training.brain import DynamicBrain
from dld.training.objectives import CTC
from dld.training.optim import WarmupCosine

#: No random numbers in a forward pass, so that the same weights and batch give the same gradients.
QUIET = {"dropout": 0.0, "spec_augment": None}
PEAK, WARMUP = 1e-3, 2


class Reference(torch.optim.AdamW):
    """The optimizer of a loop in a test, which is not watched."""


def gradients(optimizer):
    """All gradients as one vector, of all groups, zeros where there is none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]).clone()


@pytest.fixture
def updates():
    """What each update was given: its gradients as one vector, and the learning rates of the groups."""
    seen = []

    def look(optimizer, *_):
        if isinstance(optimizer, Reference):
            return
        seen.append(SimpleNamespace(gradient=gradients(optimizer), rates=[g["lr"] for g in optimizer.param_groups]))

    handle = register_optimizer_step_pre_hook(look)
    yield seen
    handle.remove()


@pytest.fixture
def train(experiment, updates, tmp_path):
    """Train an experiment and take what its updates were given: `train("static", lr=0.0) -> list`."""
    count = 0

    def run(system, **settings):
        nonlocal count
        count += 1
        updates.clear()
        folder = experiment(system, tmp_path / str(count), **{**QUIET, **settings})
        run.log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
        return list(updates)

    return run


def close(first, second):
    torch.testing.assert_close(first, second, atol=1e-5 * second.abs().max().item(), rtol=1e-4)


# ---------------------------------------------------------------- accumulation


@pytest.mark.parametrize("factor", [2, 4])
def test_an_update_has_the_mean_gradient_of_its_batches(train, factor):
    # With a rate of 0 all gradients are those of the same weights.
    alone = [update.gradient for update in train("static", lr=0.0, max_grad_norm=1e9, num_epochs=2)]
    batches = len(alone) // 2
    together = train("static", lr=0.0, max_grad_norm=1e9, num_epochs=2, grad_accumulation_factor=factor)
    groups = [
        alone[epoch + first : min(epoch + first + factor, epoch + batches)]
        for epoch in (0, batches)
        for first in range(0, batches, factor)
    ]
    assert len(together) == len(groups)
    # The last group of an epoch is smaller and divides by its own number.
    for update, group in zip(together, groups, strict=True):
        close(update.gradient, torch.stack(group).mean(0))


def test_more_batches_to_an_update_than_there_are_make_one_update_of_all(train):
    alone = [update.gradient for update in train("static", lr=0.0, max_grad_norm=1e9, num_epochs=1)]
    [update] = train("static", lr=0.0, max_grad_norm=1e9, num_epochs=1, grad_accumulation_factor=1000)
    close(update.gradient, torch.stack(alone).mean(0))


# ---------------------------------------------------------------- clipping


@pytest.mark.parametrize("factor", [1, 3])
def test_clipping_shortens_the_gradient_of_all_parameters_together(train, factor):
    settings = {"lr": 0.0, "num_epochs": 1, "grad_accumulation_factor": factor}
    whole = train("static", max_grad_norm=1e9, **settings)
    clipped = train("static", max_grad_norm=0.01, **settings)
    for before, after in zip(whole, clipped, strict=True):
        assert before.gradient.norm() > 0.01
        # Shorter by the same factor everywhere: its direction stays.
        close(after.gradient, before.gradient * 0.01 / before.gradient.norm())
        assert after.gradient.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_within_the_limit_stays_as_it_is(train):
    whole = train("static", lr=0.0, num_epochs=1, max_grad_norm=1e9)
    limit = 1.5 * max(update.gradient.norm().item() for update in whole)
    for before, after in zip(whole, train("static", lr=0.0, num_epochs=1, max_grad_norm=limit), strict=True):
        close(after.gradient, before.gradient)


# ---------------------------------------------------------------- learning rate


@pytest.mark.parametrize("factor", [1, 3])
def test_the_rate_follows_its_schedule_and_ends_at_its_floor(train, factor):
    seen = train("static", num_epochs=3, lr=PEAK, grad_accumulation_factor=factor)
    schedule = WarmupCosine(PEAK, WARMUP)
    rates = [rate for update in seen for rate in set(update.rates)]
    assert rates == pytest.approx([schedule(number, len(seen)) for number in range(1, len(seen) + 1)])
    assert rates[-1] == pytest.approx(PEAK * schedule.floor)
    assert max(rates) == pytest.approx(PEAK)
    # What the log says is the rate of the epoch's last update.
    per_epoch = len(seen) // 3
    assert [entry["lr"] for entry in train.log] == pytest.approx(rates[per_epoch - 1 :: per_epoch])
    assert [entry["updates"] for entry in train.log] == [per_epoch, 2 * per_epoch, 3 * per_epoch]


def test_a_group_has_its_share_of_the_rate(train, monkeypatch):
    real = GatedConformer.parameter_groups

    def halves(encoder):
        [group] = real(encoder)
        middle = len(group["params"]) // 2
        return [
            {"params": group["params"][:middle], "lr_scale": 0.5},
            {"params": group["params"][middle:], "lr_scale": 0.01},
        ]

    monkeypatch.setattr(GatedConformer, "parameter_groups", halves)
    for update in train("static", num_epochs=1, lr=PEAK):
        head, *rates = update.rates
        assert rates == pytest.approx([0.5 * head, 0.01 * head])


# ---------------------------------------------------------------- the loss


def reference_loss(brain, network, batch, gates, weights):
    """The loss of a step as the README states it, by torch's own functions, one utterance at a time."""
    waveforms, samples = unpack(batch.signal)
    tokens, counts = unpack(batch.tokens)
    features, frames = network.frontend(waveforms, samples)
    lambda_kd = brain.objectives["kd"].weight if brain.soft_targets else 0.0
    # The teacher runs the same frames at full depth.
    said = None
    if brain.soft_targets:
        said = brain.soft_targets.network.eval()(features, frames, [(True,) * 3]).logits[0].detach()
    total = 0.0
    for vector, weight in zip(gates, weights, strict=True):
        logits, lengths, _ = network(features, frames, [vector])
        ctc, divergence = 0.0, 0.0
        for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            log_probs = log_softmax(logits[0][row, :length], -1)
            ctc += ctc_loss(log_probs, tokens[row, :count], [length], [count], reduction="sum") / count / len(batch.id)
            if said is not None:
                target = log_softmax(said[row, :length], -1)
                divergence += kl_div(log_probs, target, log_target=True, reduction="sum") / lengths.sum()
        total = total + weight * (ctc + lambda_kd * divergence)
    return total


@pytest.mark.parametrize(
    ("system", "settings"),
    [
        ("static", {}),
        ("ld", {"grad_accumulation_factor": 3}),
        ("interctc_sd", {}),
        ("dld", {"teacher_cache": False, "kd_weight": 2.0}),
        ("dld_plus", {"teacher_cache": False, "max_grad_norm": 0.5}),
    ],
)
def test_training_is_a_plain_loop(trained_pair, train, monkeypatch, system, settings):
    """A loop of a few lines, fed the same batches and gate vectors, ends with the same weights."""
    if system.startswith("dld"):
        settings = {**settings, "teacher": str(trained_pair / "static")}
    if system == "dld_plus":
        settings["init_from"] = str(trained_pair / "static")
    state = SimpleNamespace(network=None, gates=None, batches=[], number=0)
    ours = []
    real, draw = DynamicBrain.fit_batch, DynamicBrain.draw

    def gates(brain):
        state.gates = draw(brain)
        return state.gates

    def fit_batch(brain, batch):
        if state.network is None:
            state.network = copy.deepcopy(brain.network).train()
            parameters = list(state.network.parameters())
            state.optimizer = Reference(parameters, lr=1.0, betas=(0.9, 0.98), weight_decay=1e-3)
        loss = real(brain, batch)
        state.batches.append(reference_loss(brain, state.network, batch, *state.gates[:2]))
        assert loss.item() == pytest.approx(state.batches[-1].item(), rel=1e-3)
        if len(state.batches) == settings.get("grad_accumulation_factor", 1) or brain.step == brain.batches:
            state.number += 1
            torch.stack(state.batches).mean().backward()
            torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.get("max_grad_norm", 5.0))
            state.optimizer.param_groups[0]["lr"] = WarmupCosine(PEAK, WARMUP)(
                state.number, brain.progress.total_updates
            )
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.batches.clear()
            ours.append(brain.network.state_dict())
        return loss

    monkeypatch.setattr(DynamicBrain, "fit_batch", fit_batch)
    monkeypatch.setattr(DynamicBrain, "draw", gates)
    seen = train(system, num_epochs=1, lr=PEAK, **settings)
    assert len(seen) == state.number == len(ours)
    for name, tensor in state.network.state_dict().items():
        # Adam divides by gradients, so that rounding grows where they are near zero: a hundredth of an update.
        torch.testing.assert_close(ours[-1][name], tensor, atol=PEAK / 100, rtol=1e-3, msg=name)


# ---------------------------------------------------------------- updates that are left out


def poison(monkeypatch, when):
    """Make the gradient, not the loss, of the batches with these numbers infinite; return the weights after each."""
    real_loss, real_fit = CTC.__call__, DynamicBrain.fit_batch
    after = []

    def loss(objective, x):
        value = real_loss(objective, x)
        if x.training and len(after) + 1 in when:
            value = value + (0.0 * x.logits.sum()).sqrt()
        return value

    def fit_batch(brain, batch):
        result = real_fit(brain, batch)
        after.append(copy.deepcopy(brain.network.state_dict()))
        return result

    monkeypatch.setattr(CTC, "__call__", loss)
    monkeypatch.setattr(DynamicBrain, "fit_batch", fit_batch)
    return after


def test_an_update_with_an_infinite_gradient_is_left_out(train, monkeypatch, caplog):
    after = poison(monkeypatch, when={3})
    seen = train("static", num_epochs=1, lr=PEAK)
    assert all(update.gradient.isfinite().all() for update in seen)
    assert len(seen) == len(after) - 1
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in zip(after, after[1:], strict=False)]
    assert same == [number == 3 for number in range(2, len(after) + 1)]
    assert "update left out; utterances: " in caplog.text
    # It counts as an update of the schedule, which still ends at its floor.
    assert seen[-1].rates[0] == pytest.approx(PEAK * 0.01)


def test_infinite_gradients_without_end_stop_the_training(train, monkeypatch):
    poison(monkeypatch, when=range(1, 1000))
    with pytest.raises(DldError, match="gradient was not finite in .* updates in a row"):
        train("static", num_epochs=40, lr=PEAK)
