"""Runs that get more epochs, and models of runs that were stopped."""

import json
import shutil

import pytest
import torch

from dld.bin.decode import main as decode
from dld.errors import DldError
from dld.experiment import load_trained, logged, read_about
from dld.files import read_json
from dld.training.brain import DynamicBrain
from dld.training.optim import WarmupCosine


class Interrupted(Exception):
    pass


@pytest.fixture
def stop_at(monkeypatch):
    """Let the next training stop before a batch of an epoch: `with stop_at(epoch, step): …`."""
    import contextlib

    real = DynamicBrain.fit_batch

    @contextlib.contextmanager
    def stopping(epoch, step):
        def fit_batch(brain, batch):
            if (brain.epoch, brain.step) == (epoch, step):
                raise Interrupted
            return real(brain, batch)

        monkeypatch.setattr(DynamicBrain, "fit_batch", fit_batch)
        with pytest.raises(Interrupted):
            yield
        monkeypatch.setattr(DynamicBrain, "fit_batch", real)

    return stopping


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    """An LD run of two epochs that has ended."""
    return experiment("ld", tmp_path_factory.mktemp("finished"))


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it, in the folder `ld`."""
    shutil.copytree(finished, tmp_path / "ld")
    return tmp_path / "ld"


def history(folder):
    return [{**json.loads(line), "seconds": 0} for line in (folder / "train_log.jsonl").read_text().splitlines()]


def weights(folder):
    return load_trained(folder).network.state_dict()


def test_a_finished_run_continues_with_more_epochs(experiment, copy, caplog):
    caplog.set_level("INFO")
    before = history(copy)
    experiment("ld", copy.parent, num_epochs=4)
    entries, about = history(copy), read_about(copy)
    assert entries[:2] == before and [entry["epoch"] for entry in entries] == [1, 2, 3, 4]
    assert (about.epochs, about.num_epochs, about.updates, about.stopped) == (4, 4, entries[-1]["updates"], "")
    schedule = WarmupCosine(peak=1.2e-3, warmup=2)
    for entry in entries[2:]:
        assert entry["lr"] == pytest.approx(schedule(entry["updates"], total=entries[-1]["updates"]))
    assert [start["num_epochs"] for start in read_json(copy / "run.json")["starts"]] == [2, 4]
    assert "num_epochs: 4" in (copy / "hyperparams.yaml").read_text()
    total = before[-1]["updates"]
    assert f"the schedule of {2 * total} updates from here, no longer of {total}" in caplog.text


def test_a_longer_run_that_is_interrupted_is_exact_and_its_first_model_stays(experiment, copy, stop_at):
    shutil.copytree(copy, copy.parent / "whole/ld")
    first = read_about(copy)
    whole = experiment("ld", copy.parent / "whole", num_epochs=4)
    for epoch in (3, 4):
        with stop_at(epoch, 2):
            experiment("ld", copy.parent, num_epochs=4)
        assert read_about(copy) == first and weights(copy)
    experiment("ld", copy.parent, num_epochs=4)
    assert read_about(copy).state_sha256 == read_about(whole).state_sha256 != first.state_sha256
    assert history(copy) == history(whole)


def test_a_run_that_was_stopped_takes_more_and_fewer_epochs(experiment, tmp_path, stop_at):
    with stop_at(3, 1):
        experiment("ld", tmp_path, num_epochs=6)
    with stop_at(4, 1):
        experiment("ld", tmp_path, num_epochs=8)
    folder = experiment("ld", tmp_path, num_epochs=4)
    rates = [entry["lr"] for entry in history(folder)]
    assert rates[2] > rates[1] * 0.9 and rates[3] == pytest.approx(1.2e-5)
    assert [start["num_epochs"] for start in read_json(folder / "run.json")["starts"]] == [6, 8, 4]


def test_fewer_epochs_than_are_reached_are_refused(experiment, copy, stop_at):
    with pytest.raises(DldError, match="has reached epoch 2 of 2, num_epochs 1 is not above that; give more epochs"):
        experiment("ld", copy.parent, num_epochs=1)
    assert "num_epochs: 2" in (copy / "hyperparams.yaml").read_text()
    with stop_at(4, 1):
        experiment("ld", copy.parent, num_epochs=5)
    with pytest.raises(DldError, match="has reached epoch 3 of 5, num_epochs 3 is not above that.*--finish true"):
        experiment("ld", copy.parent, num_epochs=3)
    # The two that its model has are no change to that.
    experiment("ld", copy.parent, num_epochs=2)
    assert read_about(copy).epochs == 2


def test_a_run_without_checkpoints_cannot_continue(experiment, copy):
    shutil.rmtree(copy / "save")
    experiment("ld", copy.parent)
    with pytest.raises(DldError, match="is trained to epoch 2, and its checkpoints .* are gone.*--init_from"):
        experiment("ld", copy.parent, num_epochs=4)
    assert read_about(copy).epochs == 2 and len(history(copy)) == 2


def test_a_model_of_the_first_version_continues_after_its_log(experiment, copy):
    about = read_json(copy / "model.json")
    del about["epochs"], about["num_epochs"]
    (copy / "model.json").write_text(json.dumps(about))
    experiment("ld", copy.parent)
    assert read_json(copy / "model.json") == about
    experiment("ld", copy.parent, num_epochs=3)
    assert read_about(copy).epochs == 3


@pytest.fixture
def stopped(experiment, tmp_path, stop_at):
    """An LD run of four epochs that was stopped in its third."""
    with stop_at(3, 3):
        experiment("ld", tmp_path, num_epochs=4)
    return tmp_path / "ld"


def test_a_stopped_run_says_how_far_it_is_and_what_to_do(stopped):
    last = logged(stopped)
    with pytest.raises(DldError, match=rf"stopped after epoch 2, at {last.mean_wer:.2f} % WER on dev; resume it"):
        load_trained(stopped)
    run = read_json(stopped / "run.json")
    run["starts"][-1] |= {"command": "dld train 'a b.yaml' --restart true --lr 2e-3", "directory": "/home/me/my exp"}
    (stopped / "run.json").write_text(json.dumps(run))
    with pytest.raises(DldError, match=r"cd '/home/me/my exp' && dld train 'a b.yaml' --lr 2e-3; .*--finish true"):
        read_about(stopped)
    (stopped / "train_log.jsonl").write_text("{")
    with pytest.raises(DldError, match="train it first"):
        read_about(stopped)


def test_a_stopped_run_is_finished_says_so_everywhere_and_resumes(
    experiment, stopped, tiny_corpus, tmp_path, caplog, capsys
):
    experiment("ld", tmp_path, num_epochs=4, finish=True)
    about, log = read_about(stopped), history(stopped)
    assert (about.epochs, about.num_epochs, about.stopped) == (2, 4, "epoch 2 of 4")
    assert about.updates == log[-1]["updates"] and len(log) == 2
    best = min(log, key=lambda entry: entry["mean_wer"])
    assert sum(about.dev_wer.values()) / 2 <= best["mean_wer"] + 1e-9
    assert decode(["--exp", str(stopped), "--data", str(tiny_corpus / "dev"), "--policy", "first-n"]) == 0
    assert "the training of this model was stopped at epoch 2 of 4" in caplog.text
    record = read_json(stopped / "decode_dev_n3/decode.json")
    assert (record["epochs"], record["num_epochs"]) == (2, 4)
    whole = experiment("ld", tmp_path / "whole", num_epochs=4)
    experiment("ld", tmp_path, num_epochs=4)
    assert read_about(stopped).stopped == ""
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(stopped).values(), strict=True))


def test_there_is_nothing_to_finish_without_an_epoch(experiment, tmp_path, stop_at):
    with pytest.raises(DldError, match="no checkpoint there to make a model of; train it first"):
        experiment("ld", tmp_path, finish=True)
    assert not (tmp_path / "ld/run.json").exists()
    with stop_at(1, 4):
        experiment("ld", tmp_path, ckpt_interval_minutes=1e-6)
    with pytest.raises(DldError, match="no epoch is finished, so that there is no model to make"):
        experiment("ld", tmp_path, finish=True, ckpt_interval_minutes=1e-6)
    with pytest.raises(DldError, match="either restart or finish"):
        experiment("ld", tmp_path, finish=True, restart=True)
    experiment("ld", tmp_path)
    assert read_about(tmp_path / "ld").epochs == 2


def test_finishing_a_finished_run_changes_nothing(experiment, copy):
    before = (copy / "model.json").read_bytes()
    experiment("ld", copy.parent, finish=True)
    assert (copy / "model.json").read_bytes() == before
