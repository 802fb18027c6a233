"""The folder of a run: what is kept in it, what is compared, what is removed."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from dld.config import Config, replace_references
from dld.config.differences import Difference
from dld.data.fingerprint import MEANINGS, Fingerprint
from dld.data.tokenizer import train as train_tokenizer
from dld.errors import DldError
from dld.experiment import tensors_hash
from dld.files import read_json
from dld.training import folder as folders
from dld.training.folder import Sources, begin, read_run, refuse_other_run, remove_run, save_model


def described(**changes):
    data = Fingerprint(utterances=3, **dict.fromkeys(MEANINGS, "same"), hours=0.1, path="data/train")
    return Sources(**{"train_data": data, "dev_data": data, "tokenizer": "t", **changes})


TRAINED = {"system": "static", "seed": 7, "updates": 1, "train_seconds": 0.5}


@pytest.fixture(scope="module")
def lang(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lang")
    train_tokenizer(["one two", "two three"], folder, vocab_size=14)
    return folder


@pytest.fixture
def start(tmp_path, lang):
    """Begin a run: `start(lr="0.1", exp="/exp")`."""

    def start(made_from=None, restart=False, **settings):
        settings = {"seed": "7", "num_epochs": "3", "lr": "0.001", "exp": "exp", "data": "data", **settings}
        written = "".join(f"{name}: {value}\n" for name, value in settings.items())
        values = {"exp_dir": str(tmp_path / "deep/exp"), "lang_dir": str(lang)}
        values |= {name: int(settings[name]) for name in ("seed", "num_epochs")}
        return begin(Config(values, replace_references(written), "x.yaml", written), made_from or described(), restart)

    return start


def test_a_run_keeps_its_settings_its_tokenizer_and_each_start(start, lang):
    folder = start()
    assert (folder / "hyperparams.yaml").read_text() == "seed: 7\nnum_epochs: 3\nlr: 0.001\nexp: exp\ndata: data\n"
    assert (folder / "bpe.model").read_bytes() == (lang / "bpe.model").read_bytes()
    start()
    run = read_run(folder)
    assert run.made_from == described() and len(run.starts) == 2
    for begun in run.starts:
        assert begun.seed == 7 and begun.command and begun.processor and begun.versions


@pytest.mark.parametrize(
    "settings",
    [
        {"exp": "elsewhere", "exp_dir": "elsewhere/x", "data": "moved", "train_data": "moved/train"},
        {"decode_depths": "[1]", "decode_policy": "first-n", "num_workers": "8", "ckpt_interval_minutes": "1"},
        {"lang_dir": "other", "teacher": "moved", "init_from": "moved", "dev_data": "moved/dev"},
        {"soft_targets": "{'!new:dld.training.targets.FrozenTeacher': {experiment: moved, input: clean}}"},
    ],
)
def test_what_training_does_not_depend_on_may_differ(start, settings):
    teacher = {"soft_targets": "{'!new:dld.training.targets.FrozenTeacher': {experiment: exp, input: clean}}"}
    before = teacher if "soft_targets" in settings else {}
    start(**before)
    folder = start(**settings)
    assert len(read_run(folder).starts) == 2


OPTIMIZER = {"optimizer": "{a: !ref <lr>, b: [!ref <lr> * 2]}", "half": "!ref <lr> / 2"}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"lr": "0.002"}, "lr: 0.001 -> 0.002"),
        ({"batch": "3"}, "batch: not there -> 3"),
        ({"lr": "1.0", "seed": "8", "zeta": "a b"}, "lr: 0.001 -> 1.0, seed: 7 -> 8, zeta: not there -> a b"),
        # What follows from it is not named.
        ({"lr": "0.002", **OPTIMIZER}, "lr: 0.001 -> 0.002"),
    ],
)
def test_other_settings_are_refused_by_name_and_change_nothing(start, settings, names):
    folder = start(**(OPTIMIZER if "optimizer" in settings else {}))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DldError, match=rf"holds a run with other settings \({names}\); give another exp_dir"):
        start(**settings)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert start(restart=True, **settings) == folder
    assert len(read_run(folder).starts) == 1


@pytest.mark.parametrize(("tag", "refused"), [("input: clean", False), ("input: augmented", True)])
def test_of_the_teacher_only_the_folder_may_differ(start, tag, refused):
    source = "\n  !new:dld.training.targets.FrozenTeacher\n    experiment: {}\n    {}"
    start(soft_targets=source.format("exp/static", "input: clean"))
    other = source.format("moved/static", tag)
    if not refused:
        start(soft_targets=other)
        return
    with pytest.raises(DldError, match="other settings .soft_targets."):
        start(soft_targets=other)


def test_a_setting_that_follows_from_one_of_decoding_is_named(start):
    start(decode_depths="[1]", schedule="{depths: !ref <decode_depths>}")
    message = r"other settings \(schedule.depths: \[1\] -> \[2\]\)"
    with pytest.raises(DldError, match=message):
        start(decode_depths="[2]", schedule="{depths: !ref <decode_depths>}")


@pytest.mark.parametrize("name", ["train_data", "dev_data"])
def test_other_data_are_refused_with_their_path(start, name):
    start()
    moved = replace(getattr(described(), name), path="moved", utterances=2)
    with pytest.raises(
        DldError, match=f"{name} moved changed since the run in .* began: 2 utterances where there were 3"
    ):
        start(described(**{name: moved}))
    assert start(described(**{name: replace(moved, utterances=3)}))


@pytest.mark.parametrize("name", ["tokenizer", "teacher", "init_from"])
def test_another_source_is_refused_by_name(start, name):
    start()
    with pytest.raises(DldError, match=f"began with another {name}; put that back, or give another exp_dir"):
        start(described(**{name: "other"}))


def test_a_run_of_the_first_version_has_no_data_to_compare(start, caplog):
    folder = start()
    run = read_json(folder / "run.json")
    del run["made_from"]
    (folder / "run.json").write_text(json.dumps(run))
    assert start(described(tokenizer="other"))
    assert "run.json does not say what the run is made from; its data are not compared" in caplog.text


def test_checkpoints_need_the_settings_that_they_are_of(start):
    folder = start()
    checkpoint = folder / "save/CKPT+2026-11-26+12-00-00+00"
    checkpoint.mkdir(parents=True)
    (checkpoint / "CKPT.yaml").write_text("unixtime: 1\n")
    start()
    (folder / "hyperparams.yaml").unlink()
    with pytest.raises(DldError, match="save has checkpoints, but hyperparams.yaml is missing"):
        start()
    start(restart=True)
    assert not checkpoint.exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["brain", "objectives"], "an older version of dld began"),
        (["brain"], r"other settings \(brain: 1 -> 2\)"),
        (["objectives"], r"other settings \(objectives: 1 -> 2\)"),
    ],
)
def test_a_run_of_an_older_version_is_one_with_other_keys(changed, message):
    with pytest.raises(DldError, match=message):
        refuse_other_run("exp", described(), described(), [Difference(key, 1, 2) for key in changed])
    refuse_other_run("exp", described(), described(), [])


@pytest.mark.parametrize("name", ["train_data", "tokenizer", "teacher"])
def test_a_damaged_record_of_a_run_is_one_line(start, name):
    folder = start()
    run = read_json(folder / "run.json")
    run["made_from"][name] = 5
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(DldError, match=f"run.json: made_from.*{name}.*--restart true to train again") as caught:
        start()
    assert "\n" not in str(caught.value)
    run["made_from"] = {**described().to_json(), "dev_data": {"utterances": "3"}}
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(DldError, match="run.json: made_from: dev_data: utterances is text"):
        start()


def test_a_folder_in_which_no_run_began_has_none(tmp_path):
    assert read_run(tmp_path) is None


def test_only_what_a_training_made_is_removed(start):
    folder = start()
    made = ["model.json", "model.safetensors", "gate_table.json", "train_log.txt", "train_log.jsonl"]
    for name in [*made, "notes.txt", "decode.txt"]:
        (folder / name).write_text("x")
    remove_run(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["decode.txt", "notes.txt"]


class Network(torch.nn.Linear):
    num_blocks, vocab_size = 3, 14


def test_the_final_model_is_described_by_its_hashes(start, lang):
    folder = start(described(init_from="the start"))
    network = Network(2, 2)
    network.weight.data = network.weight.data.T  # not contiguous
    save_model(folder, network, TRAINED)
    about = read_json(folder / "model.json")
    stored = load_file(folder / "model.safetensors")
    assert torch.equal(stored["weight"], network.weight) and torch.equal(stored["bias"], network.bias)
    assert about["state_sha256"] == tensors_hash(stored) and about["init_sha256"] == "the start"
    assert (about["num_blocks"], about["vocab_size"], about["system"], about["seed"]) == (3, 14, "static", 7)
    assert len(about["tokenizer_sha256"]) == 64 and "git" in about


def test_a_model_is_unfinished_while_its_weights_are_written(start, monkeypatch):
    folder = start()
    save_model(folder, Network(2, 2), TRAINED)

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(folders, "save", full)
    with pytest.raises(OSError):
        save_model(folder, Network(2, 2), TRAINED)
    assert not (folder / "model.json").exists()


def test_a_model_may_be_saved_where_no_run_says_what_it_is_made_from(start):
    folder = start()
    (folder / "run.json").unlink()
    save_model(folder, Network(2, 2), TRAINED)
    assert read_json(folder / "model.json")["init_sha256"] is None
