"""Training runs, small but whole: what is learned, what is resumed, what stops them."""

import json
import logging
import os
import shutil
import signal

import pytest
import torch

from dld.config import load_config
from dld.data.tokenizer import train as train_tokenizer
from dld.errors import DldError
from dld.experiment import load_trained, state_hash
from dld.files import alone_in, read_json
from dld.training.brain import DynamicBrain
from dld.training.checkpoints import average_states
from dld.training.objectives import CTC, SoftTargets
from dld.training.run import train
from dld.training.stopping import Stopped
from dld.training.targets import FrozenTeacher


def weights(folder):
    return load_trained(folder).network.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("system", ["static", "ld", "dld"])
def test_training_lowers_the_loss_and_keeps_what_made_it(trained_pair, experiment, tmp_path, system):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    folder = tmp_path / "static" if system == "static" else experiment(system, tmp_path)
    log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert log[1]["train_loss"] < log[0]["train_loss"]
    assert set(log[1]["wer"]) == {"1", "3"}
    assert ("train_kd" in log[1]) == (system == "dld")
    start = read_json(folder / "run.json")["starts"][0]
    assert start["seed"] == 1234
    assert start["versions"]["torch"]
    assert "!ref" not in (folder / "hyperparams.yaml").read_text()
    about = read_json(folder / "model.json")
    assert about["system"] == system
    assert about["updates"] == log[1]["updates"]


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(experiment, trained_pair, tmp_path, monkeypatch):
    whole = experiment("dld", tmp_path / "whole", teacher=str(trained_pair / "static"), num_epochs=3)

    class Interrupted(Exception):
        pass

    real = DynamicBrain.fit_batch

    def stop_in_epoch_two(brain, batch):
        if brain.epoch == 2 and brain.step == 3:
            raise Interrupted
        return real(brain, batch)

    monkeypatch.setattr(DynamicBrain, "fit_batch", stop_in_epoch_two)
    with pytest.raises(Interrupted):
        experiment("dld", tmp_path / "parts", teacher=str(trained_pair / "static"), num_epochs=3)
    monkeypatch.undo()
    assert not (tmp_path / "parts/dld/model.json").exists()
    parts = experiment("dld", tmp_path / "parts", teacher=str(trained_pair / "static"), num_epochs=3)
    assert same(weights(whole), weights(parts))
    logs = [(folder / "train_log.jsonl").read_text().splitlines() for folder in (whole, parts)]
    for first, second in zip(*logs, strict=True):
        assert {**json.loads(first), "seconds": 0} == {**json.loads(second), "seconds": 0}


def test_a_run_resumed_within_an_epoch_is_exact_too(experiment, tmp_path, monkeypatch):
    whole = experiment("ld", tmp_path / "whole")

    class Interrupted(Exception):
        pass

    real = DynamicBrain.fit_batch

    def save_then_stop(brain, batch):
        if brain.epoch == 2 and brain.step == 4:
            raise Interrupted
        loss = real(brain, batch)
        if brain.epoch == 2 and brain.step == 2:
            brain._save_intra_epoch_ckpt()
        return loss

    monkeypatch.setattr(DynamicBrain, "fit_batch", save_then_stop)
    with pytest.raises(Interrupted):
        experiment("ld", tmp_path / "parts")
    monkeypatch.undo()
    assert same(weights(whole), weights(experiment("ld", tmp_path / "parts")))


def test_the_teacher_is_what_it_was_and_no_part_of_the_student(trained_pair):
    teacher, student = trained_pair / "static", trained_pair / "dld"
    about = read_json(teacher / "model.json")
    assert state_hash(load_trained(teacher).network) == about["state_sha256"]
    assert read_json(student / "model.json")["teacher_sha256"] == about["state_sha256"]
    assert weights(teacher).keys() == weights(student).keys()
    assert not same(weights(teacher), weights(student))


def test_the_teacher_stays_in_evaluation_mode_without_gradients(experiment, trained_pair, tmp_path, monkeypatch):
    seen = []
    real = DynamicBrain.fit_batch

    def look(brain, batch):
        loss = real(brain, batch)
        seen.append(
            (
                brain.network.training,
                any(module.training for module in brain.soft_targets.network.modules()),
                any(p.requires_grad or p.grad is not None for p in brain.soft_targets.network.parameters()),
                {id(p) for p in brain.soft_targets.network.parameters()}
                & {id(p) for group in brain.optimizer.param_groups for p in group["params"]},
            )
        )
        return loss

    monkeypatch.setattr(DynamicBrain, "fit_batch", look)
    experiment("dld", tmp_path, teacher=str(trained_pair / "static"), num_epochs=1)
    assert seen
    assert all(row == (True, False, False, set()) for row in seen)


@pytest.mark.parametrize("given", ["clean", "augmented"])
def test_a_student_learns_with_and_without_the_teachers_memory(experiment, trained_pair, tmp_path, monkeypatch, given):
    calls = []
    real = FrozenTeacher.target
    monkeypatch.setattr(FrozenTeacher, "target", lambda *args: calls.append(1) or real(*args))
    settings = {"teacher": str(trained_pair / "static"), "teacher_input": given, "teacher_cache": False}
    folder = experiment("dld", tmp_path, num_epochs=1, **settings)
    assert len(calls) == read_json(folder / "model.json")["updates"]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_teacher_runs_in_the_precision_of_the_student(
    experiment, trained_pair, tmp_path, monkeypatch, cache, precision
):
    seen = set()
    real = FrozenTeacher.target
    monkeypatch.setattr(
        FrozenTeacher, "target", lambda *args: seen.add(torch.is_autocast_enabled("cpu")) or real(*args)
    )
    settings = {"teacher": str(trained_pair / "static"), "teacher_input": "clean"}
    settings["teacher_cache"] = str(tmp_path / "cache") if cache else False
    experiment("dld", tmp_path, num_epochs=1, precision=precision, **settings)
    assert seen == {precision == "bf16"}


def test_a_student_may_start_from_the_teacher(experiment, trained_pair, tmp_path):
    start = str(trained_pair / "static")
    settings = {"teacher": start, "init_from": start, "lr": 0.0, "num_epochs": 1}
    student = weights(experiment("dld", tmp_path, **settings))
    assert same(weights(start), student)


@pytest.mark.parametrize("system", ["ld", "early_exit"])
def test_a_dynamic_network_may_start_from_the_teacher(experiment, trained_pair, tmp_path, system):
    start = str(trained_pair / "static")
    settings = {"init_from": start, "lr": 0.0, "num_epochs": 1}
    network = load_trained(experiment(system, tmp_path, **settings)).network
    own = network.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in weights(start).items())
    # Early exit has a head for each depth; all of them begin as the teacher's.
    assert len(network.exit_heads) == (2 if system == "early_exit" else 0)
    assert all(same(network.head.state_dict(), head.state_dict()) for head in network.exit_heads)


def test_each_exit_learns_with_its_own_head(experiment, tmp_path):
    network = load_trained(experiment("early_exit", tmp_path, num_epochs=1)).network
    first, second = network.exit_heads
    # Exits are at depths 1 and 3: the head of depth 2 was never trained.
    assert not same(first.state_dict(), network.head.state_dict())
    assert network.head_of((True, False, False)) is first and network.head_of((True,) * 3) is network.head
    total, active = network.parameter_counts((True, True, True))
    assert total - active == sum(p.numel() for head in (first, second) for p in head.parameters())


def test_a_dedicated_network_runs_and_trains_the_blocks_of_its_depth_only(experiment, tmp_path):
    folder = experiment("dedicated", tmp_path, depth=1, num_epochs=1, valid_depths=[1], decode_depths=[1])
    assert folder.name == "dedicated_n1"
    trained = load_trained(folder)
    untouched = load_trained(experiment("dedicated", tmp_path / "as_drawn", depth=1, num_epochs=1, lr=0.0)).network
    blocks = zip(trained.network.encoder.layers, untouched.encoder.layers, strict=True)
    assert [same(a.state_dict(), b.state_dict()) for a, b in blocks] == [False, True, True]
    assert trained.about.system == "dedicated" and list(trained.about.dev_wer) == ["1"]


def test_the_full_network_teaches_itself_and_learns_nothing_from_that(experiment, tmp_path, monkeypatch):
    seen = []
    real = SoftTargets.__call__

    def look(objective, x):
        value = real(objective, x)
        seen.append((value.item(), x.target.logits.requires_grad))
        return value

    monkeypatch.setattr(SoftTargets, "__call__", look)
    experiment("self_kd", tmp_path, num_epochs=1)
    # The full network is the first of the three of each step.
    assert len(seen) % 3 == 0 and not any(grad for _, grad in seen)
    assert all((value == 0) == (index % 3 == 0) for index, (value, _) in enumerate(seen))


def test_self_distillation_needs_the_full_network_in_every_step(experiment, tmp_path):
    schedule = {"schedule": "!new:dld.gates.Bernoulli {num_blocks: 3, p: 0.9}"}
    with pytest.raises(DldError, match="FullDepth needs a schedule that draws the full network in every step"):
        experiment("self_kd", tmp_path, **schedule)


def test_hidden_states_are_drawn_to_the_teachers(experiment, trained_pair, tmp_path):
    distances = []
    for weight in (0.001, 10.0):
        settings = {"teacher": str(trained_pair / "static"), "hidden_weight": weight, "lr": 5e-3}
        folder = experiment("dld_hidden", tmp_path / str(weight), **settings)
        distances.append(json.loads((folder / "train_log.jsonl").read_text().splitlines()[-1])["train_hidden"])
    assert distances[1] < distances[0]


def test_gradient_accumulation_makes_fewer_updates_and_loses_no_batch(experiment, tmp_path):
    one = experiment("static", tmp_path / "one", num_epochs=1)
    three = experiment("static", tmp_path / "three", num_epochs=1, grad_accumulation_factor=3)
    batches = read_json(one / "model.json")["updates"]
    assert read_json(three / "model.json")["updates"] == -(-batches // 3)


def test_a_loss_that_is_not_a_number_stops_and_names_the_utterances(experiment, tmp_path, monkeypatch):
    real, fit = CTC.__call__, DynamicBrain.fit_batch
    calls = []

    def fit_batch(brain, batch):
        calls.append(list(batch.id))
        return fit(brain, batch)

    def broken(objective, x):
        return real(objective, x) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(DynamicBrain, "fit_batch", fit_batch)
    monkeypatch.setattr(CTC, "__call__", broken)
    with pytest.raises(DldError, match="nan in epoch 1, batch 3") as caught:
        experiment("static", tmp_path)
    assert all(name in str(caught.value) for name in calls[-1])
    assert not (tmp_path / "static/model.json").exists()


def test_a_model_stuck_on_blanks_is_warned_of(experiment, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        experiment("static", tmp_path, lr=0.0, num_epochs=4, **{"network.blank_bias": 20.0})
    assert caplog.text.count("stuck on blanks") == 1
    assert "max_batch_seconds" in caplog.text
    caplog.clear()
    settings = {"lr_schedule.warmup": 1000, "network.blank_bias": 20.0}
    with caplog.at_level(logging.WARNING):
        experiment("static", tmp_path / "warming", lr=0.0, num_epochs=3, **settings)
    assert "stuck on blanks" not in caplog.text


def test_other_settings_in_the_same_folder_are_refused(experiment, trained_pair, tmp_path):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    with pytest.raises(DldError, match=r"other settings \(.*lr.*\).*--restart true"):
        experiment("static", tmp_path, lr=1e-5)
    before = (tmp_path / "static/model.safetensors").read_bytes()
    experiment("static", tmp_path, restart=True, lr=1e-5, num_epochs=1)
    assert (tmp_path / "static/model.safetensors").read_bytes() != before


def test_a_second_training_in_the_same_folder_is_refused(experiment, tmp_path):
    refusal = rf"static: process {os.getpid()} on .* is at work in it"
    with alone_in(tmp_path / "static"), pytest.raises(DldError, match=refusal):
        experiment("static", tmp_path, num_epochs=1)
    assert not (tmp_path / "static/hyperparams.yaml").exists()
    experiment("static", tmp_path, num_epochs=1)
    with alone_in(tmp_path / "static"), pytest.raises(DldError, match=refusal):
        experiment("static", tmp_path, num_epochs=1, restart=True)
    assert (tmp_path / "static/model.json").exists()


def test_another_folder_and_other_settings_of_decoding_need_no_new_training(experiment, trained_pair, tmp_path):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    before = (tmp_path / "static/model.safetensors").stat().st_mtime_ns
    experiment("static", tmp_path, decode_policy="first-n")
    assert (tmp_path / "static/model.safetensors").stat().st_mtime_ns == before
    assert load_trained(tmp_path / "static").settings["decode_policy"] == "first-n"


def test_teacher_and_student_with_different_tokenizers_are_refused(experiment, tiny_corpus, trained_pair, tmp_path):
    train_tokenizer(
        ["nine nine eight", "seven eight five", "x" * 30 + " zero one two three four six ten hundred"] * 3,
        tmp_path / "lang",
        vocab_size=32,
    )
    with pytest.raises(DldError, match="different tokenizers"):
        experiment("dld", tmp_path, teacher=str(trained_pair / "static"), lang_dir=str(tmp_path / "lang"))


def test_an_experiment_file_without_a_key_that_is_read_is_refused(files, tiny_corpus, tmp_path):
    config = load_config(files("mini/static"), {"data": str(tiny_corpus), "exp": str(tmp_path)})
    del config.values["spec_augment"]
    with pytest.raises(DldError, match="no key 'spec_augment'"):
        train(config)


def test_a_vocabulary_of_another_size_is_refused(experiment, tmp_path):
    with pytest.raises(DldError, match="vocab_size is 40.*32 tokens"):
        experiment("static", tmp_path, vocab_size=40)


def test_a_teacher_with_another_front_end_is_refused(experiment, trained_pair, tmp_path):
    with pytest.raises(DldError, match="different front ends"):
        experiment("dld", tmp_path, teacher=str(trained_pair / "static"), **{"frontend.window_ms": 20})


def test_a_teacher_that_is_not_there_is_refused(experiment, tmp_path):
    with pytest.raises(DldError, match="no finished model"):
        experiment("dld", tmp_path)


def test_weights_that_were_tampered_with_are_refused(trained_pair, tmp_path):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    shutil.copy(trained_pair / "dld/model.safetensors", tmp_path / "static/model.safetensors")
    with pytest.raises(DldError, match="not those that model.json describes"):
        load_trained(tmp_path / "static")


def test_an_average_leaves_integers_alone_and_inputs_unchanged():
    states = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(5)},
        {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(9)},
    ]
    mean = average_states(states)
    assert mean["w"].tolist() == [2.0, 4.0]
    assert mean["n"].dtype == torch.long
    assert states[0]["w"].tolist() == [1.0, 2.0]


def test_an_average_of_equal_buffers_is_the_same_bit_by_bit():
    buffer = torch.tensor([-0.0, 1.0])
    mean = average_states([{"b": buffer}, {"b": buffer.clone()}])
    assert torch.signbit(mean["b"]).tolist() == [True, False]


def test_a_run_stopped_between_an_epochs_last_batch_and_its_validation_resumes(experiment, tmp_path, monkeypatch):
    whole = experiment("ld", tmp_path / "whole")

    def stop(brain, batch, stage):
        brain.stop.requested = signal.SIGTERM
        brain.save_before_validation()

    monkeypatch.setattr(DynamicBrain, "evaluate_batch", stop)
    with pytest.raises(Stopped, match="stopped by SIGTERM .after update 6, in epoch 1; it is saved"):
        experiment("ld", tmp_path / "parts")
    monkeypatch.undo()
    parts = experiment("ld", tmp_path / "parts")
    assert same(weights(whole), weights(parts))
    logs = [(folder / "train_log.jsonl").read_text().splitlines() for folder in (whole, parts)]
    for first, second in zip(*logs, strict=True):
        assert {**json.loads(first), "seconds": 0} == {**json.loads(second), "seconds": 0}
