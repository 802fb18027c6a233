"""The engine without speech: a network of three weights, whose updates can be checked by hand."""

import copy
import json
import logging
import signal
from types import SimpleNamespace

import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.epoch_loop import EpochCounter

from dld.errors import DldError
from dld.training import engine as engine_module
from dld.training.checkpoints import WholeCheckpointer, load_state, save_state
from dld.training.engine import Engine
from dld.training.stopping import Stopped

RATE = 0.1


class Squares(Engine):
    """Least squares; a batch's loss is multiplied by its `factor`."""

    criterion = "error"

    def compute_forward(self, batch, stage):
        return self.modules["network"](batch.x)

    def compute_objectives(self, predictions, batch, stage):
        loss = batch.factor * (predictions - batch.y).square().mean()
        if stage == sb.Stage.TRAIN:
            self.progress.means.add({"loss": loss, "half": loss / 2})
        return loss

    def reset_scores(self):
        self.seen = 0

    def evaluate_batch(self, batch, stage):
        self.seen += 1
        return super().evaluate_batch(batch, stage)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        if stage == sb.Stage.TRAIN:
            self.shown = stage_loss
        super().on_stage_end(stage, stage_loss, epoch)

    def scores(self):
        return {"error": 100.0 - self.epoch, "seen": self.seen}


def rows(number, **factors):
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(number, 4, generator=generator)
    return [
        SimpleNamespace(id=[f"u{i}"], x=row[:3], y=row[3:], factor=factors.get(f"u{i}", 1.0))
        for i, row in enumerate(values)
    ]


def loader(data):
    sampler = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(data), 1, drop_last=False)
    return SaveableDataLoader(data, batch_sampler=sampler, collate_fn=lambda batch: batch[0])


@pytest.fixture
def make(tmp_path):
    """An engine: `make(grad_accumulation_factor=3)`."""

    def make(folder="exp", stop=None, num_epochs=2, schedule=lambda update, total: RATE, saves=True, **settings):
        torch.manual_seed(0)
        folder = tmp_path / folder
        folder.mkdir(exist_ok=True)
        network = torch.nn.Linear(3, 1, bias=False)
        checkpointer = WholeCheckpointer(folder / "save") if saves else None
        hparams = {
            "optimizer": lambda groups: torch.optim.SGD(groups, lr=1.0),
            "lr_schedule": schedule,
            "num_epochs": num_epochs,
            "exp_dir": str(folder),
            "average_checkpoints": 2,
            "max_grad_norm": 1e9,
            **settings,
        }
        run_opts = {"device": "cpu", "noprogressbar": True}
        made = Squares(network, hparams, run_opts, checkpointer, stop)
        made.folder, made.epochs = folder, EpochCounter(num_epochs)
        if saves:
            checkpointer.add_recoverable("network", network, load_state, save_state)
            checkpointer.add_recoverable("counter", made.epochs)
        return made

    return make


def fit(engine, data, dev=2):
    train = loader(data)
    if engine.checkpointer is not None:
        engine.checkpointer.add_recoverable("dataloader-TRAIN", train)
    engine.fit(engine.epochs, train, loader(rows(dev)))
    return engine


def log(engine):
    return [json.loads(line) for line in (engine.folder / "train_log.jsonl").read_text().splitlines()]


def by_hand(engine, data, factor, epochs=1, schedule=lambda update: RATE):
    """The weights after plain gradient descent from the engine's weights, and the loss of each batch."""
    weight = engine.network.weight.detach().clone()
    losses, update = [], 0
    for _ in range(epochs):
        for first in range(0, len(data), factor):
            group, total = data[first : first + factor], torch.zeros_like(weight)
            for row in group:
                error = weight @ row.x - row.y
                losses.append(row.factor * error.square().item())
                total += 2 * row.factor * error * row.x
            update += 1
            weight -= schedule(update) * total / len(group)
    return weight, losses


# ---------------------------------------------------------------- updates


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 100])
def test_an_update_is_a_step_down_the_mean_gradient_of_its_batches(make, factor):
    data = rows(7)
    engine = make(grad_accumulation_factor=factor)
    expected, losses = by_hand(engine, data, factor, epochs=2)
    fit(engine, data)
    torch.testing.assert_close(engine.network.weight.detach(), expected)
    per_epoch = -(-7 // factor)
    assert [entry["updates"] for entry in log(engine)] == [per_epoch, 2 * per_epoch]
    assert engine.progress.total_updates == 2 * per_epoch and engine.progress.processes == 1
    for epoch, entry in enumerate(log(engine)):
        mean = sum(losses[7 * epoch : 7 * epoch + 7]) / 7
        assert entry["train_loss"] == pytest.approx(mean, rel=1e-5)
        assert entry["train_half"] == pytest.approx(mean / 2, rel=1e-5)
    # What the progress bar shows.
    assert engine.shown == pytest.approx(mean, rel=1e-5)


def test_each_update_has_the_rate_of_its_number(make):
    asked = []

    def schedule(update, total):
        asked.append(total)
        return RATE / update

    data, engine = rows(4), make(schedule=schedule)
    expected, _ = by_hand(engine, data, 1, epochs=2, schedule=lambda update: RATE / update)
    fit(engine, data)
    torch.testing.assert_close(engine.network.weight.detach(), expected)
    assert set(asked) == {8}
    assert [entry["lr"] for entry in log(engine)] == [RATE / 4, RATE / 8]


def test_clipping_shortens_an_update(make):
    data, engine = rows(1), make(max_grad_norm=0.01, num_epochs=1)
    before = engine.network.weight.detach().clone()
    fit(engine, data)
    assert (engine.network.weight - before).norm().item() == pytest.approx(RATE * 0.01, rel=1e-3)


@pytest.mark.parametrize(("factor", "bad", "batch"), [(1, "u0", 1), (1, "u4", 5), (3, "u4", 5), (2, "u1", 2)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_its_batch_and_utterance(make, factor, bad, batch, value):
    engine = make(grad_accumulation_factor=factor)
    with pytest.raises(DldError, match=f"loss is {value} in epoch 1, batch {batch}; its utterances: {bad}. Look"):
        fit(engine, rows(7, **{bad: value}))
    assert engine.avg_train_loss >= 0 and not (engine.folder / "train_log.jsonl").exists()


def infinite_gradients(monkeypatch, ids):
    """Make the gradients, not the losses, of some utterances infinite."""
    real = Squares.compute_objectives

    def loss(engine, predictions, batch, stage):
        value = real(engine, predictions, batch, stage)
        return value + (0.0 * predictions.sum()).abs().sqrt() if batch.id[0] in ids else value

    monkeypatch.setattr(Squares, "compute_objectives", loss)


def test_an_update_that_is_not_finite_is_left_out_and_counts(make, monkeypatch, caplog):
    infinite_gradients(monkeypatch, {"u1", "u2", "u4"})
    data, engine = rows(6), make(num_epochs=1, nonfinite_patience=2)
    expected, _ = by_hand(engine, [data[0], data[3], data[5]], 1)
    fit(engine, data)
    torch.testing.assert_close(engine.network.weight.detach(), expected)
    assert log(engine)[0]["updates"] == 6
    assert [record.getMessage()[-2:] for record in caplog.records if "update left out" in record.message] == [
        "u1",
        "u2",
        "u4",
    ]


def test_more_such_updates_in_a_row_than_allowed_end_the_training(make, monkeypatch):
    infinite_gradients(monkeypatch, {"u1", "u2", "u3", "u4"})
    with pytest.raises(DldError, match="the gradient was not finite in 3 updates in a row; training stops"):
        fit(make(nonfinite_patience=2), rows(6))


# ---------------------------------------------------------------- epochs


def test_the_log_of_an_epoch(make):
    engine = fit(make(), rows(3), dev=5)
    first, second = log(engine)
    assert list(first)[:6] == ["epoch", "updates", "seconds", "lr", "train_loss", "train_half"]
    assert [first["epoch"], second["epoch"]] == [1, 2] and [first["error"], second["error"]] == [99.0, 98.0]
    assert first["seen"] == second["seen"] == 5
    assert 0 < engine.progress.train_seconds < 60 and 0 <= first["seconds"] <= second["seconds"]
    weight, valid = engine.network.weight.detach(), rows(5)
    errors = [(weight @ row.x - row.y).square().item() for row in valid]
    assert second["valid_loss"] == pytest.approx(sum(errors) / 5, rel=1e-5)
    assert (engine.folder / "train_log.txt").read_text() == (engine.folder / "train_log.jsonl").read_text()
    metas = [checkpoint.meta for checkpoint in engine.checkpointer.list_checkpoints()]
    assert sorted((meta["epoch"], meta["error"]) for meta in metas) == [(1, 99.0), (2, 98.0)]


def test_an_epoch_is_logged_when_its_checkpoint_is_safe(make, monkeypatch, caplog):
    engine, data = make(), rows(3)
    real, safe = WholeCheckpointer._finish, []

    def finish(self, saved, *rest):
        logged = engine.folder / "train_log.jsonl"
        safe.append((len(log(engine)) if logged.exists() else 0, caplog.text.count('{"epoch"')))
        return real(self, saved, *rest)

    monkeypatch.setattr(WholeCheckpointer, "_finish", finish)
    with caplog.at_level(logging.INFO):
        fit(engine, data)
    assert safe == [(0, 0), (1, 1)]
    assert len(log(engine)) == 2 and caplog.text.count('{"epoch"') == 2
    assert "left" in caplog.text.partition('{"epoch": 1')[2].partition("\n")[0]


def test_a_checkpoint_whose_line_was_not_written_brings_it_back(make):
    whole = fit(make(), rows(3))
    for name in ("train_log.txt", "train_log.jsonl"):
        (whole.folder / name).unlink()
    again = fit(make(), rows(3))
    assert [entry["epoch"] for entry in log(again)] == [1, 2]


def test_only_checkpoints_that_something_needs_are_kept(make):
    engine = fit(make(num_epochs=5), rows(2))
    epochs = {checkpoint.meta["epoch"] for checkpoint in engine.checkpointer.list_checkpoints()}
    assert {4, 5} <= epochs and 1 not in epochs


def test_epochs_done_has_the_fraction_of_the_present_one(make):
    engine = make()
    engine.train_sampler, engine.epoch = range(4), 3
    done = []
    for engine.step in (0, 1, 4, 5):
        done.append(engine.epochs_done())
    assert done == [2.0, 2.25, 3.0, 3.0]
    engine.train_sampler, engine.step = [], 0
    assert engine.epochs_done() == 2.0


def test_an_engine_must_say_what_it_measures(make):
    with pytest.raises(NotImplementedError):
        Engine.scores(make())
    assert Engine.describe(make(), {"epoch": 1}) == '{"epoch": 1}'


def test_an_engine_needs_no_checkpoints(make):
    engine = fit(make(saves=False), rows(3))
    assert len(log(engine)) == 2 and not (engine.folder / "save").exists()


def test_measuring_loads_the_weights_and_evaluates(make):
    engine = fit(make(num_epochs=1), rows(3))
    engine.modules.train()
    scores = engine.measure({"weight": torch.ones(1, 3)}, loader(rows(4)))
    assert scores["seen"] == 4 and not engine.modules.training
    assert torch.equal(engine.network.weight.detach(), torch.ones(1, 3))


# ---------------------------------------------------------------- stop and resume


@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize("at", [2, 4, 7, 9])
def test_a_stopped_run_resumes_exactly(make, monkeypatch, factor, at):
    data, seen = rows(5), []
    settings = {
        "grad_accumulation_factor": factor,
        "ckpt_interval_minutes": 60,
        "optimizer": lambda groups: torch.optim.SGD(groups, lr=1.0, momentum=0.9),
    }
    whole, engine = fit(make("whole", **settings), data), make("parts", **settings)
    real = Squares.fit_batch

    def ask(self, batch):
        seen.append(batch.id)
        if len(seen) == at:
            self.stop.requested = signal.SIGTERM
        return real(self, batch)

    monkeypatch.setattr(Squares, "fit_batch", ask)
    epoch, step = divmod(at - 1, 5)
    done = min(-(-(step + 1) // factor) * factor, 5)
    update = epoch * -(-5 // factor) + -(-done // factor)
    with pytest.raises(Stopped, match=f"SIGTERM .after update {update}, in epoch {epoch + 1}; it is saved"):
        fit(engine, data)
    # The batches of an update that began were finished.
    assert len(seen) == 5 * epoch + done
    monkeypatch.undo()
    again = fit(make("parts", **settings), data)
    assert torch.equal(again.network.weight, whole.network.weight)
    assert [{**entry, "seconds": 0} for entry in log(again)] == [{**entry, "seconds": 0} for entry in log(whole)]


def test_a_stop_in_a_validation_is_followed_at_once_and_resumes_with_it(make, monkeypatch):
    data = rows(3)
    whole = fit(make("whole"), data)
    engine = make("parts")
    real = Squares.evaluate_batch

    def ask(self, batch, stage):
        self.stop.requested = signal.SIGINT
        return real(self, batch, stage)

    monkeypatch.setattr(Squares, "evaluate_batch", ask)
    with pytest.raises(Stopped, match="SIGINT .after update 3, in epoch 1; it is saved"):
        fit(engine, data)
    assert engine.seen == 1
    monkeypatch.undo()
    again = fit(make("parts"), data)
    assert torch.equal(again.network.weight, whole.network.weight)
    assert [{**entry, "seconds": 0} for entry in log(again)] == [{**entry, "seconds": 0} for entry in log(whole)]


def test_a_run_resumes_on_as_many_processes_as_it_began_on(make, monkeypatch):
    fit(make(num_epochs=1), rows(3))
    engine = make(num_epochs=2)
    monkeypatch.setattr(engine_module, "processes", lambda: 2)
    with pytest.raises(DldError, match=r"exp: this run began on 1 process.* instead of 2 \(--ngpu 1\)"):
        fit(engine, rows(3))


def test_several_processes_look_for_a_stop_seldom_and_the_first_decides(make, monkeypatch):
    engine, asked = make(grad_accumulation_factor=2), []
    engine.train_sampler = range(45)
    monkeypatch.setattr(engine_module, "processes", lambda: 2)
    monkeypatch.setattr(engine_module, "first_decides", lambda value: asked.append((engine.step, value)) or True)
    saved = []
    for engine.step in range(1, 46):
        if engine._should_save_intra_epoch_ckpt(float("inf"), 0):
            saved.append(engine.step)
    assert asked == [(20, False), (40, False), (45, False)]
    assert saved == [20, 40, 45]


@pytest.mark.parametrize("criterion_better", [True, False])
def test_the_final_weights_are_those_whose_scores_are_given(make, monkeypatch, caplog, criterion_better):
    engine = fit(make(num_epochs=2), rows(3))
    best = copy.deepcopy(engine.network.state_dict())
    monkeypatch.setattr(Squares, "scores", lambda self: {"error": 97.0 if criterion_better else 99.5})
    with caplog.at_level(logging.INFO):
        epochs, _ = engine.average_best(loader(rows(2)), 2)
    assert epochs == ([1, 2] if criterion_better else [2])
    means = "kept the mean of epochs 2 (98.00), 1 (99.00): error 97.00 on dev is not worse than 98.00 of epoch 2 alone"
    alone = "kept epoch 2 alone: error 98.00 on dev is better than 99.50 of the mean of epochs 2 (98.00), 1 (99.00)"
    assert caplog.messages[-1] == (means if criterion_better else alone)
    assert torch.equal(engine.network.weight, best["weight"]) != criterion_better
