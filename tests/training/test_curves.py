"""Curves of whole trainings, read back from what TensorBoard and Weights & Biases find on the disk."""

import builtins
import json
import logging
import os
import re
import subprocess
import sys

import pytest
import torch

from dld.config import load_config
from dld.errors import DldError
from dld.experiment import load_trained
from dld.training.brain import DynamicBrain
from dld.training.curves import WandB, open_curves
from dld.training.run import train

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


#: Short batches, so that an epoch has tens of updates.
SHORT = {"max_batch_seconds": 4}


class Interrupted(Exception):
    """Ends a training as a crash would."""


def curves(folder):
    """Tag → (step, value) of each point that TensorBoard shows of a run."""
    found = accumulators.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(point.step, point.value) for point in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def log(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


@pytest.fixture
def crash(monkeypatch):
    """Lets the next trainings crash before a batch of an epoch, and save a checkpoint after another one."""

    def crash(epoch, step, save_after=None):
        real = DynamicBrain.fit_batch

        def fit_batch(brain, batch):
            if (brain.epoch, brain.step) == (epoch, step):
                raise Interrupted
            loss = real(brain, batch)
            if (brain.epoch, brain.step) == (epoch, save_after):
                brain._save_intra_epoch_ckpt()
            return loss

        monkeypatch.setattr(DynamicBrain, "fit_batch", fit_batch)

    return crash


def test_tensorboard_shows_losses_rates_gates_and_speed(experiment, trained_pair, tmp_path):
    folder = experiment("dld", tmp_path, teacher=str(trained_pair / "static"), logger="tensorboard", **SHORT)
    found, entries = curves(folder), log(folder)
    ends = [entry["updates"] for entry in entries]
    assert len(entries) == 2 and ends[0] > 10
    for depth in ("1", "3"):
        expected = [(entry["updates"], pytest.approx(entry["wer"][depth])) for entry in entries]
        assert found[f"wer/n{depth}/valid"] == expected
    assert found["loss/valid"] == [(entry["updates"], pytest.approx(entry["valid_loss"])) for entry in entries]
    # Points at multiples of ten updates and where an epoch ends; weighted with their batches they are the epoch's mean.
    steps = sorted({*range(10, ends[1] + 1, 10), *ends})
    for tag in ("loss/train", "ctc/train", "kd/train", "lr", "speed", "epoch", "gates/depth/train"):
        assert [step for step, _ in found[tag]] == steps
    widths = [step - before for before, step in zip([0, *steps], steps, strict=False)]
    sums = [value * width for (_, value), width in zip(found["kd/train"], widths, strict=True)]
    assert sum(sums[: steps.index(ends[0]) + 1]) / ends[0] == pytest.approx(entries[0]["train_kd"], rel=1e-4)
    assert found["lr"][-1] == (ends[1], pytest.approx(entries[1]["lr"]))
    assert all(value > 0 for _, value in found["speed"])
    blocks = [found[f"gates/block_{number:02}/train"] for number in (1, 2, 3)]
    for index, (_, depth) in enumerate(found["gates/depth/train"]):
        assert sum(block[index][1] for block in blocks) == pytest.approx(depth)
        assert 0 < depth < 3


def test_a_resumed_run_continues_its_curves_without_overlap(experiment, crash, monkeypatch, tmp_path):
    whole = experiment("ld", tmp_path / "whole", logger="tensorboard", **SHORT)
    per_epoch = log(whole)[0]["updates"]
    # Points were written up to the end of the epoch, later than the checkpoint that the run resumes from.
    crash(2, per_epoch, save_after=3)
    with pytest.raises(Interrupted):
        experiment("ld", tmp_path / "parts", logger="tensorboard", **SHORT)
    lost = curves(tmp_path / "parts/ld")["loss/train"]
    assert lost[-1][0] > per_epoch + 3
    monkeypatch.undo()
    parts = experiment("ld", tmp_path / "parts", logger="tensorboard", **SHORT)
    found, expected = curves(parts), curves(whole)
    assert found.keys() == expected.keys()
    assert found["wer/n3/valid"] == expected["wer/n3/valid"]
    steps = [step for step, _ in found["loss/train"]]
    assert steps == sorted({*(step for step, _ in expected["loss/train"]), per_epoch + 3})
    # The checkpoint divides the updates of one point; all others are equal.
    divided = -(-(per_epoch + 3) // 10) * 10
    known = {step: value for step, value in expected["gates/depth/train"] if step != divided}
    assert {step: value for step, value in found["gates/depth/train"] if step in known} == known


@pytest.mark.parametrize("logger", [None, "tensorboard"])
def test_a_run_that_begins_again_has_no_curves_of_the_one_before(experiment, crash, monkeypatch, tmp_path, logger):
    crash(1, 12)
    with pytest.raises(Interrupted):
        experiment("ld", tmp_path, logger="tensorboard", **SHORT)
    assert [step for step, _ in curves(tmp_path / "ld")["lr"]] == [10]
    monkeypatch.undo()
    folder = experiment("ld", tmp_path, logger=logger, num_epochs=1, restart=True, **SHORT)
    assert (folder / "tensorboard").exists() == (logger is not None)
    if logger:
        assert [step for step, _ in curves(folder)["wer/n1/valid"]] == [log(folder)[0]["updates"]]


def test_curves_and_lines_change_nothing_in_a_run(experiment, crash, monkeypatch, tmp_path):
    plain = experiment("ld", tmp_path / "plain", **SHORT)
    # A run that is interrupted may resume with another interval and another logger.
    crash(2, 3)
    with pytest.raises(Interrupted):
        experiment("ld", tmp_path / "watched", logger="tensorboard", log_interval=0.01, **SHORT)
    monkeypatch.undo()
    watched = experiment("ld", tmp_path / "watched", logger=None, log_interval=5, **SHORT)
    first, second = (load_trained(folder).network.state_dict() for folder in (plain, watched))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_beginning_curves_warns_of_nothing(tmp_path):
    # In a process of its own: what warns does it when it is imported.
    code = "import sys; from dld.training import curves; curves.open_curves('tensorboard', sys.argv[1], {}, 0).close()"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_an_error_before_anything_is_made(files, tiny_corpus, tmp_path, monkeypatch, name):
    real = builtins.__import__

    def without(module, *args, **kwargs):
        if module.partition(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(module, *args, **kwargs)

    config = load_config(files("mini/static"), {"data": str(tiny_corpus), "exp": str(tmp_path / "exp"), "logger": name})
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DldError, match=rf"the package {name} is not installed; pip install {name} "):
        train(config, {"device": "cpu", "noprogressbar": True})
    assert not (tmp_path / "exp").exists()


def test_a_logger_that_does_not_exist_is_refused(files, tiny_corpus):
    with pytest.raises(DldError, match="logger is 'mlflow'.*tensorboard"):
        load_config(files("mini/static"), {"data": str(tiny_corpus), "logger": "mlflow"})


# ---------------------------------------------------------------- Weights & Biases


def records(folder):
    """The points in the files that `wandb sync` would send, as (step, {name: value})."""
    datastore = pytest.importorskip("wandb.sdk.internal.datastore")

    from wandb.proto import wandb_internal_pb2

    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=os.path.getmtime):
        store = datastore.DataStore()
        store.open_for_scan(str(path))
        while True:
            data = store.scan_data()
            if data is None:
                break
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                values = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}
                found.append((record.history.step.num, values))
    return found


def test_weights_and_biases_gets_the_curves_offline(experiment, crash, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    crash(2, 3)
    with pytest.raises(Interrupted):
        experiment("ld", tmp_path, logger="wandb", **SHORT)
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_MODE", "offline")
    name = (tmp_path / "ld/wandb_id.txt").read_text().strip()
    folder = experiment("ld", tmp_path, logger="wandb", **SHORT)
    wandb.teardown()  # waits for the process that writes the files
    points, entries = records(folder), log(folder)
    rates = {step: items["wer/n1/valid"] for step, items in points if "wer/n1/valid" in items}
    assert rates == {entry["updates"]: pytest.approx(entry["wer"]["1"]) for entry in entries}
    assert {"loss/train", "lr", "speed", "gates/block_01/train"} <= set(points[0][1]) and points[0][0] == 10
    # Both starts are of one run there; of two in the same second the folder of one ends in -1.
    runs = [path.name.split("-")[3] for path in folder.glob("wandb/offline-run-*")]
    assert runs == [name, name] and (folder / "wandb_id.txt").read_text().strip() == name


def test_points_that_the_server_has_are_not_sent_again(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")

    class Run:
        step, sent = 21, []

        def log(self, values, step):
            self.sent.append((step, values))

        def finish(self):
            self.sent.append("end")

    asked = []
    monkeypatch.setattr(wandb, "init", lambda **given: asked.append(given) or Run())
    curves = WandB(tmp_path, {"lr": 0.1, "system": "ld", "network": object()})
    curves.write(20, {"lr": 1.0}, {"loss": 1.0})
    curves.write(30, {"lr": 1.0}, {"loss": 2.0}, {"loss": 3.0})
    curves.close()
    assert Run.sent == [(30, {"lr": 1.0, "loss/train": 2.0, "loss/valid": 3.0}), "end"]
    assert asked[0]["config"] == {"lr": 0.1, "system": "ld"} and asked[0]["resume"] == "allow"
    assert asked[0]["id"] == (tmp_path / "wandb_id.txt").read_text().strip()
    open_curves(None, tmp_path, {}, 0)
    assert not (tmp_path / "wandb_id.txt").exists()


def test_a_run_that_weights_and_biases_does_not_begin_is_one_line(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")

    def refuse(**given):
        raise wandb.Error("no\nkey.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(DldError) as caught:
        open_curves("wandb", tmp_path, {}, 0)
    expected = "Weights & Biases cannot begin a run: no key. Log in (wandb login), or set WANDB_MODE=offline"
    assert str(caught.value) == expected


# ---------------------------------------------------------------- lines


def test_a_run_says_how_it_begins_how_far_it_is_and_what_it_kept(experiment, crash, monkeypatch, caplog, tmp_path):
    crash(2, 4, save_after=2)
    with caplog.at_level(logging.INFO), pytest.raises(Interrupted):
        experiment("ld", tmp_path, log_interval=1e-6)
    said = caplog.messages
    opening = {line.partition(" ")[0]: line for line in said}
    assert "ld in " in opening["run"] and "seed 1234" in opening["run"]
    assert "GatedConformer of 3 blocks: " in opening["network"] and "in the encoder" in opening["network"]
    assert "utterances, 0.0" in opening["train"] and "2 epochs have" in opening["train"]
    assert "measured at depths 1 3 (evenly-spaced)" in opening["dev"]
    assert ", fp32, 1 thread, 1 process, audio read by the same process" in opening["device"]
    assert opening["start"].split(None, 1)[1] == "from scratch"
    first = next(line for line in said if re.match(r"epoch 1/2, update +1/", line))
    assert re.search(r": loss \d+\.\d{3} \(ctc .*, lr .*e-0\d, .* s of audio per second, left: epoch .*, run ", first)
    assert any(line.startswith("epoch 1/2, dev: batch 1/") for line in said)
    per_epoch = log(tmp_path / "ld")[0]["updates"]
    monkeypatch.undo()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        folder = experiment("ld", tmp_path, log_interval=0)
    [start] = [line for line in caplog.messages if line.startswith("start ")]
    assert f"resumes within epoch 2, update {per_epoch + 2}, from {folder}/save/CKPT+" in start
    assert not any(", update " in line and "per second" in line for line in caplog.messages)
    kept, trained = caplog.messages[-2:]
    assert kept.startswith(("kept the mean of epochs", "kept epoch"))
    assert trained.startswith(f"{folder} is trained: {2 * per_epoch} updates in ") and "dev WER % n1 " in trained
