"""The comparison of a recipe: several seeds and systems, resumed where it stopped."""

import json

import pytest

from dld.bin.report import main as report

RUNS = ["static", "ld", "ld_seed2", "dedicated_n1"]


@pytest.fixture
def compare(root, tiny_args, drive, tmp_path, monkeypatch):
    """Runs tools/compare.sh on a tiny mini corpus in tmp_path."""
    monkeypatch.setenv("COMPARE_SCALE", "0.04")

    def call(*runs, **settings):
        return drive(
            root / "tools/compare.sh",
            *("mini", "--scale", "0.04", "--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp")),
            *("--train-args", tiny_args("mini", max_batch_seconds=20, **settings), "--runs", " ".join(runs)),
            *("--decode-args", "--rtf-utterances 1", "--nj", "2"),
        )

    return call


def test_runs_are_made_once_each_with_its_seed(compare, tmp_path):
    first = compare(*RUNS[:-1])
    assert first.returncode == 0, first.stdout + first.stderr
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("exp/*/decode_*/text")}
    again = compare(*RUNS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "== dedicated_n1" in again.stdout and "== ld" not in again.stdout
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    about = {name: json.loads((tmp_path / "exp" / name / "model.json").read_text()) for name in RUNS}
    assert [(row["system"], row["seed"]) for row in about.values()] == [
        *(("static", 1234), ("ld", 1234), ("ld", 2), ("dedicated", 1234)),
    ]
    assert report(["--exp", str(tmp_path / "exp"), "--output", str(tmp_path), "--replicates", "10"]) == 0
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]
    seeds = {"static": [1234], "ld": [2, 1234], "dedicated": [1234]}
    assert {(e["test_set"], e["system"], e["depth"], *e["seeds"]) for e in summary} == {
        ("test_large", system, n, *seeds[system]) for system in seeds for n in (1, 3)
    }


def test_a_run_that_fails_is_named_and_the_others_go_on(compare, tmp_path):
    done = compare("static", "dld_seed2", "dedicated_n9")
    assert done.returncode == 1
    assert "compare.sh: error: make_run failed for dedicated_n9" in done.stderr
    assert "depth 9 is outside 1…3" in done.stdout
    assert (tmp_path / "exp/dld_seed2/.compared").exists()


def test_an_unknown_recipe_is_refused(root, drive):
    done = drive(root / "tools/compare.sh", "nothing")
    assert done.returncode == 1 and "recipes/nothing has no compare.sh" in done.stderr
