"""Latency: turns, quantiles, and the command."""

import json
import shutil

import numpy as np
import pytest

from dld.bin.decode import main as decode
from dld.bin.latency import main
from dld.profiling.latency import Times, take_turns
from dld.profiling.records import Latency


def test_calls_take_turns_on_each_utterance():
    order = []
    calls = [lambda utterance, name=name: order.append((name, utterance)) for name in "ab"]
    times = take_turns(calls, utterances=2, rounds=2)
    forwards, backwards = [(n, u) for u in (0, 1) for n in "ab"], [(n, u) for u in (0, 1) for n in "ba"]
    assert order == forwards + backwards + forwards  # the first round warms up
    assert times.wall.shape == times.cpu.shape == (2, 2, 2) and (times.wall > 0).all()


def test_rounds_end_after_the_time_but_two_count():
    assert take_turns([lambda _: None], utterances=1, rounds=9, seconds=1e-9).wall.shape == (2, 1, 1)


def test_quantiles():
    wall = np.arange(1, 41, dtype=float).reshape(2, 1, 20) / 1e3  # rounds of 1 to 20 and 21 to 40 ms
    times = Times(wall, wall / 2)
    assert times.median_ms(0) == pytest.approx(20.5) and times.cpu_ms(0) == pytest.approx(10.25)
    assert times.percentile_ms(0, 95) == pytest.approx(38.05)
    assert times.round_medians_ms(0) == pytest.approx([10.5, 30.5])
    assert times.spread_percent(0) == pytest.approx(100 * 20 / 20.5)


def test_the_command_times_all_models_and_depths(trained_pair, tiny_corpus, tmp_path, capsys):
    models = [str(trained_pair / name) for name in ("static", "dld")]
    output = tmp_path / "latency.json"
    options = ["--utterances", "3", "--rounds", "2", "--depths", "1,3", "--output", str(output)]
    assert main([*models, "--data", str(tiny_corpus / "test"), *options, "--policy", "evenly-spaced"]) in (0, None)
    latency = Latency.load_file(output)
    assert [(t.run, t.depth, t.gates) for t in latency.timings] == [
        (run, depth, gates) for run in ("static", "dld") for depth, gates in ((1, "100"), (3, "111"))
    ]
    assert len(latency.utterances) == len(set(latency.utterances)) == 3 and latency.rounds == 2
    assert (latency.threads, latency.device, latency.test_set) == (1, "cpu", "test") and latency.cpu
    assert all(len(t.round_medians_ms) == 2 and t.median_ms <= t.p95_ms for t in latency.timings)
    for timing in latency.timings:
        about = json.loads((trained_pair / timing.run / "model.json").read_text())
        assert timing.model_sha256 == about["state_sha256"]
    assert f"3 utterances, 2 rounds: {output}" in capsys.readouterr().out


def test_what_was_decoded_is_timed_by_default(trained_pair, tiny_corpus, tmp_path):
    # The student has no gate table, so its own decode_policy could not choose.
    model, data = shutil.copytree(trained_pair / "dld", tmp_path / "dld"), str(tiny_corpus / "test")
    (model / "gate_table.json").unlink(missing_ok=True)
    options = ["--policy", "first-n", "--depths", "2,3", "--rtf-utterances", "1", "--progress", "false"]
    assert decode(["--exp", str(model), "--data", data, *options]) in (0, None)
    assert main([str(model), "--data", data, "--utterances", "1", "--rounds", "2"]) in (0, None)
    timings = Latency.load_file(tmp_path / "latency_test.json").timings
    assert [(t.depth, t.gates, t.policy) for t in timings] == [(2, "110", "first-n"), (3, "111", "first-n")]


def test_models_of_several_folders_need_an_output(tmp_path, capsys):
    for name in ("a/static", "b/ld"):
        (tmp_path / name).mkdir(parents=True)
    assert main([str(tmp_path / "a/static"), str(tmp_path / "b/ld"), "--data", str(tmp_path)]) == 1
    assert "give --output FILE" in capsys.readouterr().err


def record(ratio, spread):
    timing = {"run": "ld", "system": "ld", "depth": 1, "num_blocks": 2, "gates": "10", "policy": "first-n"}
    timing |= {"median_ms": 10.0, "p95_ms": 12.0, "cpu_ms": 9.0, "spread_percent": spread, "round_medians_ms": [10.0]}
    about = {"test_set": "test", "utterances": ["a"], "seconds": [1.0], "rounds": 1, "threads": 1, "device": "cpu"}
    about |= {
        "precision": "fp32",
        "cpu": "x",
        "load": None,
        "wall_over_cpu": ratio,
        "versions": {},
        "git": "",
        "date": "",
    }
    return Latency.from_json({**about, "timings": [timing]}, "latency.json")


def test_a_busy_machine_is_warned_of():
    assert record(1.02, 3.0).warning() is None
    assert "wall time was 1.50 times the processor time" in record(1.5, 3.0).warning()
    assert "varied by up to 45 %" in record(1.02, 45.0).warning()
