"""Training with a cache of the teacher's posteriors: filled once, shared, and the same student as without it."""

import json
import logging
import os
import subprocess
import sys

import pytest
import torch

from dld.config import load_config
from dld.errors import DldError
from dld.experiment import load_trained
from dld.files import read_json
from dld.training import caching
from dld.training.objectives import MaskedKL, SoftTargets
from dld.training.posteriors import PosteriorCache
from dld.training.preconditions import check_run
from dld.training.targets import FrozenTeacher

SPEEDS = "!new:dld.frontends.SpeedPerturb {speeds: [0.9, 1.0, 1.1]}"


@pytest.fixture
def student(experiment, trained_pair, tmp_path):
    """Train a DLD student with a cache of its own: `student("first", num_epochs=1) -> folder`."""

    def make(name, system="dld", **settings):
        given = {"teacher": str(trained_pair / "static"), "teacher_cache": str(tmp_path / "cache"), **settings}
        return experiment(system, tmp_path, exp_dir=str(tmp_path / name), **given)

    return make


@pytest.fixture
def calls(monkeypatch):
    """The batches that the teacher was given."""
    seen, real = [], FrozenTeacher.target
    monkeypatch.setattr(FrozenTeacher, "target", lambda *args: seen.append(1) or real(*args))
    return seen


def weights(folder):
    return load_trained(folder).network.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def log(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def caches(tmp_path):
    return sorted(path.parent.name for path in (tmp_path / "cache").glob("*/cache.json"))


def test_students_of_a_teacher_share_a_cache_and_do_not_notice_who_filled_it(student, calls, tmp_path):
    first = student("first")
    assert calls and len(caches(tmp_path)) == 1
    calls.clear()
    second = student("second")
    assert not calls and same(weights(first), weights(second))
    third = student("third", seed=5)
    assert not calls and not same(weights(first), weights(third))


def test_a_cache_is_kept_next_to_its_teacher_unless_it_is_given_a_folder(trained_pair):
    # trained_pair has trained its student with teacher_cache: true, and other tests further students.
    assert {path.name for path in (trained_pair / "static/posteriors").glob("*/*.bin")} == {"00000.bin"}


# A higher temperature spreads the posteriors, here of a hardly trained teacher, over more of the 32 tokens.
@pytest.mark.parametrize(
    "settings", [{"speed_perturb": SPEEDS, "teacher_top_k": 8}, {"temperature": 2.0, "teacher_top_k": 20}]
)
def test_training_with_the_largest_posteriors_agrees_with_training_on_the_fly(student, settings):
    """The loss within 1 %, also with speed perturbation and SpecAugment (which the mini recipe has)."""
    found = [
        log(student(name, **cache, **settings)) for name, cache in (("fly", {"teacher_cache": False}), ("cached", {}))
    ]
    for fly, cached in zip(*found, strict=True):
        assert cached["train_loss"] == pytest.approx(fly["train_loss"], rel=0.01)
        assert cached["train_ctc"] == pytest.approx(fly["train_ctc"], rel=0.01)
        assert 0.5 * fly["train_kd"] < cached["train_kd"] < 1.01 * fly["train_kd"]


def test_with_all_posteriors_each_loss_is_that_on_the_fly(student):
    fly, cached = log(student("fly", teacher_cache=False)), log(student("cached"))
    for first, second in zip(fly, cached, strict=True):
        for name in ("train_loss", "train_ctc", "train_kd", "valid_loss"):
            assert second[name] == pytest.approx(first[name], rel=1e-3)


def test_each_speed_has_a_cache_and_runs_share_those_that_they_have_in_common(student, calls, tmp_path):
    student("plain", num_epochs=1)
    before, once = caches(tmp_path), len(calls)
    student("speeds", num_epochs=1, speed_perturb=SPEEDS)
    assert len(caches(tmp_path)) == 3 and set(before) < set(caches(tmp_path))
    assert len(calls) == 3 * once


def test_another_teacher_other_data_and_other_settings_are_computed_again(experiment, student, calls, tmp_path):
    student("first", num_epochs=1)
    teacher = experiment("static", tmp_path / "other", num_epochs=1, seed=7)
    for settings in (
        {"teacher": str(teacher)},
        {"max_duration": 2.0},
        {"teacher_top_k": 5},
        {"precision": "bf16"},
        {"temperature": 2.0},
    ):
        calls.clear()
        number = len(caches(tmp_path))
        student(f"student{number}", num_epochs=1, **settings)
        assert calls and len(caches(tmp_path)) == number + 1, settings


def test_hidden_states_are_kept_where_an_objective_reads_them(student):
    fly = log(student("fly", "dld_hidden", teacher_cache=False))
    cached = log(student("cached", "dld_hidden"))
    assert cached[-1]["train_hidden"] == pytest.approx(fly[-1]["train_hidden"], rel=1e-3)


def test_a_fill_that_was_killed_resumes(student, calls, tmp_path, monkeypatch):
    whole = student("whole", num_epochs=1, teacher_cache=str(tmp_path / "whole_cache"))
    monkeypatch.setattr(PosteriorCache.__init__, "__defaults__", (25.0,))
    real = PosteriorCache.write

    def killed(cache, number, outputs):
        if number == 2:
            raise KeyboardInterrupt
        real(cache, number, outputs)

    monkeypatch.setattr(PosteriorCache, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        student("parts", num_epochs=1)
    assert not caches(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/*.bin")}
    assert len(written) == 2
    monkeypatch.setattr(PosteriorCache, "write", real)
    parts = student("parts", num_epochs=1)
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    for first, second in zip(log(whole), log(parts), strict=True):
        assert second["train_loss"] == pytest.approx(first["train_loss"], rel=1e-4)


def test_processes_that_train_together_fill_a_cache_together(
    root, files, tiny_corpus, trained_pair, student, tmp_path, monkeypatch
):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, sys\nfrom dld.bin.train import main\nfrom dld.training.posteriors import PosteriorCache\n"
        "PosteriorCache.__init__.__defaults__ = (25.0,)\n"
        "real = PosteriorCache.write\n"
        "def write(cache, number, outputs):\n"
        "    os.write(1, f'FILLED {number} by {os.environ[\"RANK\"]}\\n'.encode())\n"
        "    real(cache, number, outputs)\n"
        "PosteriorCache.write = write\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    monkeypatch.setattr(PosteriorCache.__init__, "__defaults__", (25.0,))
    student("alone", num_epochs=1)
    settings = {"data": tiny_corpus, "exp": tmp_path, "num_blocks": 3, "d_model": 16, "max_batch_seconds": 20}
    settings |= {"num_epochs": 1, "valid_depths": "[1,3]", "decode_depths": "[1,3]"}
    settings |= {"teacher": trained_pair / "static", "teacher_cache": tmp_path / "together"}
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script),
        *files("mini/dld"),
        *("--distributed-backend", "gloo", "--device", "cpu"),
        *(f"--{key}={value}" for key, value in settings.items()),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    filled = dict(line.split(" by ") for line in result.stdout.splitlines() if line.startswith("FILLED"))
    shards = {path.relative_to(tmp_path / "cache"): path.read_bytes() for path in (tmp_path / "cache").glob("*/0*")}
    assert len(filled) == len(shards) // 2 > 1 and set(filled.values()) == {"0", "1"}
    for path, raw in shards.items():
        assert (tmp_path / "together" / path).read_bytes() == raw
    assert load_trained(tmp_path / "dld").about.updates > 0


def test_a_run_resumes_with_its_cache_elsewhere(student, tmp_path):
    folder = student("run", num_epochs=1)
    (folder / "model.json").unlink()
    student("run", num_epochs=1, teacher_cache=str(tmp_path / "moved"))
    (folder / "model.json").unlink()
    with pytest.raises(DldError, match="other settings .*teacher_cache"):
        student("run", num_epochs=1, teacher_cache=False)


def test_a_training_waits_for_another_that_fills_its_cache(student, calls, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "cache"
    student("first", num_epochs=1)
    (stamp,) = folder.glob("*/cache.json")
    stamped = stamp.read_bytes()
    stamp.unlink()
    code = "import sys, dld.files\nwith dld.files.alone_in(sys.argv[1]):\n    print(flush=True)\n    sys.stdin.read()"
    command = [sys.executable, "-c", code, stamp.parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()

        def finish(seconds):
            stamp.write_bytes(stamped)
            holder.stdin.close()
            holder.wait()

        monkeypatch.setattr(caching.time, "sleep", finish)
        calls.clear()
        with caplog.at_level(logging.INFO):
            student("second", num_epochs=1)
        assert not calls
        assert f"process {holder.pid} on" in caplog.text and "waiting for the posteriors" in caplog.text


def test_a_complete_cache_is_only_read(student, calls, tmp_path):
    student("first", num_epochs=1)
    (folder,) = (tmp_path / "cache").iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    student("second", num_epochs=1)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_filling_counts_as_training(student, tmp_path, monkeypatch):
    ticks = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(caching.time, "perf_counter", lambda: float(next(ticks)))
    assert read_json(student("first", num_epochs=1) / "model.json")["train_seconds"] >= 1000


def hotter():
    return SoftTargets(divergence=MaskedKL(temperature=3.0))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (
            {"kd": SoftTargets(divergence=torch.nn.MSELoss())},
            "kd: MSELoss needs all logits of the teacher.*give teacher_cache: false",
        ),
        (
            {"kd": SoftTargets(divergence=MaskedKL()), "warm": hotter()},
            "temperatures 1.0 and 3.0, and teacher_cache keeps posteriors at one",
        ),
    ],
)
def test_what_a_cache_cannot_serve_is_refused(files, trained_pair, tmp_path, objectives, message):
    settings = {"exp": str(tmp_path), "teacher": str(trained_pair / "static"), "data": str(tmp_path)}
    values = load_config(files("mini/dld"), settings).values
    values["objectives"] = {"ctc": values["objectives"]["ctc"], **objectives}
    with pytest.raises(DldError, match=message):
        check_run(values, "student.yaml")
