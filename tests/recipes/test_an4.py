"""The AN4 recipe's driver on a miniature, on the official split and on folds, with a tiny model."""

import json
import shutil

import pytest

from dld.data.corpora.an4 import known


@pytest.fixture(scope="module")
def call(root, drive, tiny_args, an4_miniature):
    """Runs the driver on the miniature: `call(folder, *options)`."""

    def run(folder, *options):
        return drive(
            root / "recipes/an4/run.sh",
            *("--corpus", str(an4_miniature), "--allow-partial", "true"),
            *("--data", str(folder / "data"), "--exp", str(folder / "exp")),
            *("--train-args", tiny_args("mini"), "--decode-args", "--rtf-utterances 1"),
            *options,
        )

    return run


def test_all_stages_lead_to_a_table(call, tmp_path):
    done = call(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "exp/report/results.json").read_text())["rows"]
    assert {(row["system"], row["depth"]) for row in rows} == {
        *((system, n) for system in ("ld", "dld") for n in (1, 3)),
        *(("static", n) for n in (1, 3)),
    }
    assert {row["words"] for row in rows} == {24}


def test_every_fold_is_made_then_one_report(checkout):
    driver = checkout.folder / "recipes/an4/run.sh"
    options = ("--stage", "10", "--systems", "static", "--data", "d", "--exp", "e")
    done = checkout.run(driver, "--folds", "all", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = [f"e/fold{k}" for k in range(1, 6)]
    timed = [(call[2], call[4]) for call in checkout.calls("latency")]
    assert timed == [(f"{folder}/static", f"d/fold{k}/test") for k, folder in enumerate(folders, 1)]
    *own, joint = checkout.calls("report")
    assert [call[3] for call in own] == folders
    assert joint[2:10] == ["--exp", *folders, "--output", "e/folds"]
    assert checkout.run(driver, "--folds", "1 2", *options).returncode == 0
    assert [call[3] for call in checkout.calls("report")[6:]] == folders[:2]


@pytest.mark.slow
def test_all_folds_are_one_report_of_all_training_speakers(call, tmp_path):
    done = call(tmp_path, "--folds", "all", "--systems", "static ld")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("== fold")] == [
        f"== fold {k}" for k in range(1, 6)
    ]
    results = json.loads((tmp_path / "exp/folds/results.json").read_text())
    full = [row for row in results["rows"] if (row["system"], row["depth"]) == ("ld", 3)]
    assert [row["fold"] for row in full] == [f"fold{k}" for k in range(1, 6)]
    assert sum(row["words"] for row in full) == 144
    assert "144 words in 36 utterances: the test sets of 5 folds" in (tmp_path / "exp/folds/README.md").read_text()


def test_some_folds_are_made_without_the_joint_report(call, tmp_path):
    done = call(tmp_path, "--folds", "2 4", "--stop-stage", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"fold2", "fold4"}
    assert all((tmp_path / f"data/fold{k}/lang/bpe.model").exists() for k in (2, 4))


def test_a_fold_has_folders_of_its_own(root, drive, tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("recipes/common", "recipes/an4", "tools"):
        shutil.copytree(root / name, checkout / name, ignore=shutil.ignore_patterns("data*", "exp*", "venv"))
    done = drive(checkout / "recipes/an4/run.sh", "--fold", "3", "--stage", "4", "--systems", "ld")
    assert "data/fold3/dev/text is missing; stage 1 makes it: " in done.stderr
    assert "--fold 3" in done.stderr


def test_the_data_fit_the_folds_of_the_list(root):
    text = (root / "recipes/an4/runs/folds.yaml").read_text()
    assert f"\nfolds: {known.FOLDS}\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fold", "6"], "--fold takes 1 to 5, or 0 for the official split, not '6'"),
        (["--fold", "one"], "--fold takes a whole number, not 'one'"),
        (["--folds", "1 7"], "--folds takes all, or numbers from 1 to 5, not '7'"),
        (["--folds", "1", "--fold", "2"], "--fold is one, --folds several; give one of the two"),
        (["--foldd", "1"], "unknown option --foldd"),
    ],
)
def test_what_the_driver_cannot_do_it_says(root, drive, options, message):
    done = drive(root / "recipes/an4/run.sh", *options)
    assert done.returncode == 1
    assert message in done.stderr
