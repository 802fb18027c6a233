"""The report of the folds of a cross-validation: every decode counts on all test utterances."""

import json
import shutil

import pytest

from dld.bin.report import main
from dld.reporting.collect import collect

from .test_report import RATES, add_decode, add_latency, add_log, sentences

NAMES = ["fold1", "fold2", "fold3"]


@pytest.fixture
def exps(tmp_path):
    """Three folds with utterances of their own, two seeds of ld, logs, and times of the first."""
    folders = [tmp_path / name / "exp" / name for name in NAMES]
    for k, folder in enumerate(folders):
        refs = {f"f{k}{key}": words for key, words in sentences(40 + k, seed=k).items()}
        for system, rates in RATES.items():
            for depth in rates:
                add_decode(folder, system, depth, refs, rates[depth])
                if system == "ld":
                    add_decode(folder, system, depth, refs, rates[depth], seed=2)
        add_log(folder / "ld", 1.0 + k)
        add_log(folder / "dld", 0.8 + k)
    return folders


def run(exps, output, *options):
    """Run the command with few draws; return its status and the results, where there are any."""
    status = main(["--exp", *map(str, exps), "--output", str(output), "--replicates", "200", *options])
    path = output / "results.json"
    return status, json.loads(path.read_text()) if path.is_file() else None


def test_errors_of_all_folds_are_counted_together(exps, tmp_path):
    status, results = run(exps, tmp_path / "report")
    assert status == 0
    rows = [row for row in results["rows"] if (row["system"], row["depth"]) == ("dld", 4)]
    assert [(row["fold"], row["run"]) for row in rows] == [(name, f"{name}/dld") for name in NAMES]
    errors, words = (sum(sum(row[k] for k in keys) for row in rows) for keys in (("ins", "del", "sub"), ("words",)))
    [rate] = [rate for rate in results["summary"] if (rate["system"], rate["depth"]) == ("dld", 4)]
    assert rate["wer"] == pytest.approx(100 * errors / words, abs=1e-3)
    assert rate["wer_low"] < rate["wer"] < rate["wer_high"]
    assert all(rate["wer_high"] - rate["wer_low"] < row["wer_high"] - row["wer_low"] for row in rows)
    [seeds] = [rate["seeds"] for rate in results["summary"] if (rate["system"], rate["depth"]) == ("ld", 4)]
    assert seeds == [1, 2]
    high = next(c for c in results["comparisons"] if c["system"] == "dld" and c["range"] == "high dropping")
    assert high["depths"] == [2, 4] and high["low"] < high["delta"] < high["high"]


def test_a_run_is_measured_against_the_baseline_of_its_own_fold(exps, tmp_path):
    _, results = run(exps, tmp_path / "report")
    targets = {entry["run"]: entry["target"] for entry in results["convergence"]}
    assert targets["fold3/dld"] == targets["fold3/ld"] == pytest.approx(3.0 * 90 / 15)
    assert {curve["run"] for curve in results["training"]} == {
        f"{name}/{run}" for name in NAMES for run in ("ld", "dld")
    }


def test_the_page_says_what_is_pooled_and_has_each_fold(exps, tmp_path):
    add_latency(exps[0])
    _, results = run(exps, tmp_path / "report")
    page = (tmp_path / "report/README.md").read_text()
    utterances = 40 + 41 + 42
    assert f"in {utterances} utterances: the test sets of 3 folds (fold1, fold2, fold3) together." in page
    assert "| depth | system | fold |" in page and "| fold2/static |" in page
    assert any(timing["run"].startswith("fold1/") for timing in results["latency"][0]["timings"])
    assert "| depth | GMAC/s | ms |" in page
    again = tmp_path / "again"
    assert main(["--results", str(tmp_path / "report/results.json"), "--output", str(again)]) == 0
    assert (again / "README.md").read_text() == page


def test_one_folder_is_a_report_without_folds(exps, tmp_path):
    status, results = run(exps[:1], tmp_path / "report")
    assert status == 0
    assert all("fold" not in row and "/" not in row["run"] for row in results["rows"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda exps: shutil.rmtree(exps[1] / "dld/decode_test_n4"),
            "fold2 has no dld/decode_test_n4, which fold1 has",
        ),
        (lambda exps: shutil.rmtree(exps[0] / "dld"), "fold1 has no dld/decode_test_n2, which fold2 has"),
        (lambda exps: same_utterances(exps), "is also in fold1"),
        (lambda exps: other_seed(exps), "with seed 7 in fold3; train it alike on every fold"),
    ],
    ids=["decode", "run", "utterances", "seed"],
)
def test_folds_that_do_not_fit_are_one_line_and_leave_no_report(exps, tmp_path, capsys, damage, message):
    damage(exps)
    assert run(exps, tmp_path / "report") == (1, None)
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and message in errors[0]


def same_utterances(exps):
    shutil.rmtree(exps[2])
    shutil.copytree(exps[0], exps[2])


def other_seed(exps):
    for path in exps[2].glob("static/decode_*/decode.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "seed": 7}))


def test_two_folders_of_one_name_are_refused(exps, tmp_path, capsys):
    assert run([exps[0], exps[0]], tmp_path / "report") == (1, None)
    assert "the folders of folds must have names of their own" in capsys.readouterr().err
    assert collect(exps[0])
