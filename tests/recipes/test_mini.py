"""The mini recipe's driver, from the corpus to the report, with a tiny model."""

import json
import os
import shutil
import subprocess
import sys

import pytest

TINY = (
    "--num_blocks 3 --d_model 16 --num_epochs 1 --valid_depths [1,3] --decode_depths [1,3] --max_batch_seconds 20 "
    "--network.blank_bias -2"
)


@pytest.fixture(scope="module")
def run(root):
    """Runs the driver: `run("--stage", "3") -> CompletedProcess`."""

    def call(*options):
        environment = {**os.environ, "DLD_VENV": sys.prefix}
        return subprocess.run(
            [root / "recipes/mini/run.sh", *options], capture_output=True, text=True, env=environment, check=False
        )

    return call


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory):
    """Folder in which all ten stages ran."""
    folder = tmp_path_factory.mktemp("mini")
    result = run(*options(folder))
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def options(folder):
    return [
        *("--data", str(folder / "data"), "--exp", str(folder / "exp"), "--scale", "0.04"),
        *("--train-args", TINY, "--decode-args", "--rtf-utterances 1"),
    ]


def results(folder):
    return json.loads((folder / "exp/report/results.json").read_text())


def test_all_stages_lead_to_a_table_and_a_picture(finished):
    rows = {(row["system"], row["depth"]): row for row in results(finished)["rows"]}
    assert set(rows) == {("static", 1), ("static", 3), ("ld", 1), ("ld", 3), ("dld", 1), ("dld", 3)}
    words = len((finished / "data/test/text").read_text().split()) - len(
        (finished / "data/test/text").read_text().splitlines()
    )
    for row in rows.values():
        assert row["words"] == words
        assert row["wer"] == pytest.approx(100 * (row["ins"] + row["del"] + row["sub"]) / words, abs=0.01)
        assert row["wer_low"] <= row["wer"] <= row["wer_high"]
        assert row["rtf"] > 0
        assert row["gates"].count("1") == row["depth"]
        best = (finished / f"exp/{row['system']}/decode_test_n{row['depth']}/scoring_kaldi/best_wer").read_text()
        assert f"%WER {row['wer']:.2f} [" in best
    assert rows["dld", 1]["gmacs_per_s"] < rows["dld", 3]["gmacs_per_s"]
    for name in ("README.md", "tradeoff.png", "tradeoff.svg"):
        assert (finished / "exp/report" / name).stat().st_size > 1000


def test_a_miniature_wavlm_goes_the_same_way(run, finished, tmp_path):
    result = run(*options(finished), "--model", "wavlm", "--exp", str(tmp_path / "exp"), "--stage", "4")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = results(tmp_path)["rows"]
    assert {(row["system"], row["depth"]) for row in rows} == {(s, n) for s in ("static", "ld", "dld") for n in (1, 3)}
    assert all(row["model"].startswith("wavlm-3x") for row in rows)


def test_an_experiment_folder_tells_what_made_it(finished):
    for system in ("static", "ld", "dld"):
        folder = finished / "exp" / system
        start = json.loads((folder / "run.json").read_text())["starts"][-1]
        assert "train" in start["command"]
        assert start["git"]
        assert start["versions"]["speechbrain"]
        assert "num_blocks: 3" in (folder / "hyperparams.yaml").read_text()


@pytest.mark.parametrize("stage", ["2", "3", "7", "9", "10"])
def test_a_stage_can_be_run_again_alone(run, finished, stage):
    before = results(finished)["rows"]
    result = run(*options(finished), "--stage", stage, "--stop-stage", stage)
    assert result.returncode == 0, result.stderr
    assert results(finished)["rows"] == before


@pytest.mark.parametrize(
    ("stage", "maker"), [("2", "1"), ("3", "1"), ("4", "1"), ("5", "1"), ("6", "1"), ("7", "4"), ("8", "4"), ("9", "8")]
)
def test_a_stage_without_its_inputs_names_the_stage_that_makes_them(run, tmp_path, stage, maker):
    result = run(*options(tmp_path), "--stage", stage)
    assert result.returncode == 1
    assert f"stage {maker} makes" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--stages", "3"], "unknown option --stages"),
        (["--quick", "yes"], "true or false"),
        (["--model", "whisper"], "--model takes conformer or wavlm, not 'whisper'"),
        (["--stage"], "needs a value"),
        (["now"], "unexpected argument 'now'"),
        (["--stage", "3", "--stop-stage", "3", "--train-args", "--lrr 3"], "unknown key 'lrr'; did you mean 'lr'"),
    ],
)
def test_wrong_options_are_errors(run, finished, wrong, message):
    folder = ["--data", str(finished / "data"), "--exp", str(finished / "exp")] if "--stage" in wrong[:1] else []
    result = run(*folder, *wrong)
    assert result.returncode != 0
    assert message in result.stderr


def test_a_language_model_gives_a_second_column(run, finished, tmp_path):
    pytest.importorskip("kenlm", reason="kenlm is not installed (extra [lm])")
    shutil.copytree(finished / "exp", tmp_path / "exp")
    command = ["--data", str(finished / "data"), "--exp", str(tmp_path / "exp"), "--lm", "train", "--systems", "ld"]
    result = run(*command, "--stage", "7", "--decode-args", "--depths 3 --beam-size 2")
    assert result.returncode == 0, result.stderr
    rows = {(row["depth"], row["variant"]): row for row in results(tmp_path)["rows"]}
    assert set(rows) == {(1, ""), (3, ""), (3, "beam"), (3, "lm")}
    assert rows[3, "lm"]["lm"]
    weights = json.loads((tmp_path / "exp/ld/lm_weights.json").read_text())
    assert str(finished / "data/dev") in json.dumps(weights)
    assert (finished / "data/lm/3gram.arpa").exists()


def test_help_names_the_stages(run):
    result = run("--help")
    assert result.returncode == 0
    assert "7 gate tables" in result.stdout
