"""Numbers that follow from the data: keys that are `auto`."""

import logging

import pytest

from dld.config import load_config
from dld.data import kaldi
from dld.data.tokenizer import Tokenizer
from dld.errors import DldError
from dld.files import read_json
from dld.training.run import train

AUTO = ("num_epochs", "max_batch_seconds", "warmup", "augment_after", "vocab_size")
TINY = {"num_blocks": 3, "d_model": 16, "valid_depths": [1, 3], "decode_depths": [1, 3]}


@pytest.fixture
def files(root):
    common = root / "recipes/common/hparams"
    return lambda system="static": [common / "small.yaml", common / f"systems/{system}.yaml"]


@pytest.fixture
def settings(tiny_corpus, tmp_path):
    return {**TINY, "data": str(tiny_corpus), "exp": str(tmp_path / "exp")}


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "dld.config.plan"]


def test_small_yaml_leaves_all_of_them_to_the_data(files, settings, tiny_corpus, caplog):
    caplog.set_level(logging.INFO)
    values = load_config(files(), settings).values
    hours = sum(u.seconds for u in kaldi.load(tiny_corpus / "train")) / 3600
    assert all(isinstance(values[key], int) for key in AUTO)
    assert values["vocab_size"] == len(Tokenizer.load(tiny_corpus / "lang")) == values["network"].vocab_size
    assert values["lr_schedule"].warmup == values["warmup"]
    (line,) = said(caplog)
    assert line.startswith(f"{hours:.2g} h of speech: {values['num_epochs']} epochs of ")
    assert f"batches of {values['max_batch_seconds']} s, warm-up of {values['warmup']}, " in line


def test_more_hours_mean_fewer_epochs_longer_batches_and_more_updates():
    from dld.config.plan import AUTO, PLANNED, plan

    values = dict.fromkeys(PLANNED, AUTO)
    plans = [plan(values, hours, lambda seconds, hours=hours: hours * 3600 / seconds) for hours in (0.02, 0.5, 2, 10)]
    assert [p.num_epochs for p in plans] == sorted((p.num_epochs for p in plans), reverse=True)
    assert [p.max_batch_seconds for p in plans] == sorted(p.max_batch_seconds for p in plans)
    totals = [p.num_epochs * p.updates for p in plans]
    assert totals == sorted(totals) and totals[0] > 1000
    for planned, total in zip(plans, totals, strict=True):
        assert 0 < planned.warmup <= 0.251 * total
        assert planned.warmup <= planned.augment_after <= 0.301 * total


def test_a_number_on_the_command_line_wins_and_the_others_follow_it(files, settings):
    values = load_config(files(), {**settings, "num_epochs": "3", "max_batch_seconds": "30"}).values
    assert (values["num_epochs"], values["max_batch_seconds"]) == (3, 30)
    longer = load_config(files(), {**settings, "num_epochs": "30", "max_batch_seconds": "30"}).values
    assert values["warmup"] < longer["warmup"]


def test_any_base_can_ask_for_it(root, settings):
    mini = root / "recipes/mini/hparams/base.yaml"
    system = root / "recipes/common/hparams/systems/ld.yaml"
    values = load_config([mini, system], {**settings, "num_epochs": "auto"}).values
    assert (
        values["num_epochs"]
        == load_config([root / "recipes/common/hparams/small.yaml", system], settings).values["num_epochs"]
    )
    assert values["warmup"] == 200


def test_all_systems_get_the_same_updates(files, settings):
    plans = [[load_config(files(name), settings).values[key] for key in AUTO] for name in ("static", "ld", "dld")]
    assert plans[0] == plans[1] == plans[2]


def test_the_log_states_the_updates_that_are_made_and_a_run_resumes_with_them(files, settings, caplog):
    caplog.set_level(logging.INFO)
    overrides = {**settings, "num_epochs": 1, "max_batch_seconds": 20}
    folder = train(load_config(files(), overrides), {"device": "cpu", "noprogressbar": True})
    updates = read_json(folder / "model.json")["updates"]
    assert f"1 epochs of {updates} updates, {updates} in all" in said(caplog)[0]
    saved = (folder / "hyperparams.yaml").read_text()
    assert "auto" not in [word for line in saved.splitlines() for word in line.partition("#")[0].split()]
    # The same command, and the saved file, are the same run.
    train(load_config(files(), overrides), {"device": "cpu", "noprogressbar": True})
    train(load_config(folder / "hyperparams.yaml"), {"device": "cpu", "noprogressbar": True})
    assert (folder / "hyperparams.yaml").read_text() == saved


def test_processes_that_train_together_share_the_batches(files, settings, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    load_config(files(), settings)
    monkeypatch.setenv("WORLD_SIZE", "2")
    load_config(files(), settings)
    alone, shared = (int(line.split("epochs of ")[1].split()[0]) for line in said(caplog))
    assert shared == -(-alone // 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_epochs": "Auto"}, "num_epochs is 'Auto'; it must be a whole number of at least 1, or auto"),
        ({"data": "nowhere"}, "vocab_size is auto, so it follows from lang_dir: nowhere/lang/bpe.model: No such file"),
        ({"train_data": "nowhere"}, "num_epochs is auto, so it follows from train_data: nowhere: no such folder"),
        ({"lr": "auto"}, "lr is 'auto'; it must be a number of at least 0"),
        ({"lr_schedule.warmup": "auto"}, "warmup is 'auto'; it must be a whole number of at least 0"),
        (
            {"max_batch_seconds": "!new:dld.frontends.LogMel", "vocab_size": 32},
            "max_batch_seconds must be a number above 0, or auto, as num_epochs is auto",
        ),
    ],
)
def test_what_cannot_be_worked_out_is_one_line(files, settings, changes, message):
    with pytest.raises(DldError) as error:
        load_config(files(), {**settings, **changes})
    assert message in str(error.value) and "\n" not in str(error.value)


def test_dld_config_prints_auto_and_reads_no_data(files, tmp_path, capsys):
    from dld.bin.config import main

    assert main([*map(str, files()), "--data", str(tmp_path / "nowhere"), "--get", "num_epochs"]) == 0
    assert capsys.readouterr().out == "auto\n"
