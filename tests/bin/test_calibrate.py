"""`dld calibrate`: what it fits, for which gates, and what it says."""

import json
import logging
import shutil

import pytest

from dld.bin import calibrate
from dld.gates import GateTable, evenly_spaced
from dld.recognition.loading import load_model


@pytest.fixture
def exp(experiment, tmp_path):
    """An experiment whose network was not trained and writes nonsense on every frame."""
    return experiment("ld", tmp_path, lr=0.0, num_epochs=1, **{"network.blank_bias": -5.0})


def run(exp, corpus, *options):
    return calibrate.main(["--exp", str(exp), "--data", str(corpus / "dev"), "--progress", "false", *options])


def test_the_vectors_of_the_gate_table_are_calibrated(exp, tiny_corpus, caplog):
    model = load_model(exp)
    vectors = {1: (False, True, False), 2: (False, True, True), 3: (True, True, True)}
    GateTable(3, vectors, {"state_sha256": model.about.state_sha256}).save(exp / "gate_table.json")
    with caplog.at_level(logging.INFO):
        assert run(exp, tiny_corpus) == 0
    content = json.loads((exp / "confidence.json").read_text())
    assert [entry["gates"] for entry in content["depths"].values()] == ["010", "011", "111"]
    assert content["state_sha256"] == model.about.state_sha256 and content["about"]["policy"] == "table"
    lines = [record.getMessage() for record in caplog.records if "ECE raw" in record.getMessage()]
    assert len(lines) == 3 and lines[1].startswith("depth  2  011  ")
    for gates in vectors.values():
        assert 0 <= model.curve(gates).ece_after <= 1


def test_without_a_table_the_depths_of_the_experiment_are_calibrated(exp, tiny_corpus):
    assert run(exp, tiny_corpus, "--policy", "evenly-spaced") == 0
    model = load_model(exp)
    assert model.curve(evenly_spaced(3, 1)) and model.curve((True,) * 3)
    assert model.curve(evenly_spaced(3, 2)) is None


def test_other_depths_are_kept_where_they_are_of_the_same_data(exp, tiny_corpus, caplog):
    options = ("--policy", "first-n", "--depths")
    assert run(exp, tiny_corpus, *options, "1,3") == 0
    before = json.loads((exp / "confidence.json").read_text())["depths"]
    assert run(exp, tiny_corpus, *options, "2,3") == 0
    after = json.loads((exp / "confidence.json").read_text())["depths"]
    assert list(after) == ["1", "2", "3"] and after["1"] == before["1"]
    assert calibrate.main(["--exp", str(exp), "--data", str(tiny_corpus / "test"), *options, "2"]) == 0
    assert list(json.loads((exp / "confidence.json").read_text())["depths"]) == ["2"]
    assert "the confidences of depths 1, 3 were fitted on other data and are removed" in caplog.text


def test_gates_that_give_no_word_stay_raw(experiment, tiny_corpus, tmp_path, caplog):
    silent = experiment("ld", tmp_path, lr=0.0, num_epochs=1, **{"network.blank_bias": 50.0})
    assert run(silent, tiny_corpus, "--policy", "evenly-spaced", "--depths", "3") == 0
    assert "gates 111 give no word at all; their confidences stay raw" in caplog.text
    assert load_model(silent).curve((True,) * 3) is None


def test_a_training_from_scratch_removes_the_calibration(exp, tiny_corpus, experiment):
    assert run(exp, tiny_corpus, "--policy", "evenly-spaced", "--depths", "3") == 0
    shutil.copy(exp / "confidence.json", exp / "kept.json")
    experiment("ld", exp.parent, restart=True, lr=0.0, num_epochs=1, **{"network.blank_bias": -4.0})
    assert (exp / "kept.json").exists() and not (exp / "confidence.json").exists()
