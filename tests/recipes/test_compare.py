"""The comparison of a recipe: several seeds and systems, resumed where it stopped."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dld.bin.compare import main as compare
from dld.bin.config import show
from dld.bin.report import main as report
from dld.comparison.driver import Driver
from dld.comparison.runs import read_comparison
from dld.errors import DldError

RUNS = ["static", "ld", "ld_seed2", "dedicated_n2"]
LISTS = [f"mini/runs/{name}.yaml" for name in ("comparison", "ablations")]
LISTS += [f"queen/runs/{name}.yaml" for name in ("comparison", "base", "published")]
LISTS += [f"an4/runs/{name}.yaml" for name in ("comparison", "folds", "started")]
LISTS += [f"{recipe}/runs/comparison.yaml" for recipe in ("librispeech", "tedlium3")]
# Runs that start from the teacher though their experiment files do not say so: that is what is compared.
STARTED = {f"{system}_start": "static" for system in ("ld", "dld", "dld_even", "early_exit", "self_kd")}


@pytest.fixture
def make(root, tiny_args, drive, tmp_path, monkeypatch):
    """Runs `dld compare` on a tiny mini corpus in tmp_path."""
    monkeypatch.setenv("COMPARE_SCALE", "0.04")
    monkeypatch.setenv("PYTHONPATH", str(root))

    def call(*runs, **settings):
        return drive(
            sys.executable,
            *(
                "-m",
                "dld.bin.compare",
                str(root / "recipes/mini/runs/comparison.yaml"),
                "--corpus-args",
                "--scale 0.04",
            ),
            *(
                "--data",
                str(tmp_path / "data"),
                "--exp",
                str(tmp_path / "exp"),
                "--runs",
                ",".join(runs),
                "--jobs",
                "2",
            ),
            *("--train-args", tiny_args("mini", max_batch_seconds=20, **settings)),
            *("--decode-args", "--rtf-utterances 1"),
        )

    return call


def test_runs_are_made_once_each_with_its_seed(make, tmp_path):
    first = make(*RUNS[:-1])
    assert first.returncode == 0, first.stdout + first.stderr
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("exp/*/decode_*/text")}
    again = make(*RUNS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "== dedicated_n2" in again.stdout and "== ld" not in again.stdout
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


def test_a_run_that_fails_is_named_and_the_others_go_on(make, tmp_path):
    done = make("static", "dld_seed2", "dedicated_n8")
    assert done.returncode == 1
    assert "compare: error: dedicated_n8 failed; see" in done.stderr
    assert "depth 8 is outside 1…3" in done.stdout
    assert (tmp_path / "exp/dld_seed2/.compared").exists()


def test_an_unknown_recipe_is_refused(root, capsys):
    assert compare([str(root / "recipes/nothing/runs/comparison.yaml")]) == 1
    assert "recipes/nothing/runs/comparison.yaml: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "done"),
    [
        (lambda recipe: None, True),
        (lambda recipe: (recipe / "exp/static/model.json").write_text('{"state_sha256": "other"}'), False),
        (lambda recipe: (recipe / "dld.yaml").write_text("system: dld\nlr: 2.0\n"), False),
        (lambda recipe: (recipe / "exp/dld/decode_test_n2/decode.json").unlink(), False),
        (lambda recipe: (recipe / "exp/dld/model.json").unlink(), False),
    ],
    ids=["nothing", "teacher", "experiment file", "decode", "model"],
)
def test_a_run_is_done_again_where_something_of_it_changed(root, tmp_path, change, done):
    base = root / "recipes/mini/hparams/base.yaml"
    for path, text in {
        "runs/list.yaml": f"files: {base}\nruns:\n  static: {{files: static.yaml}}\n"
        "  dld: {files: dld.yaml, teacher: static}\n",
        "static.yaml": "system: static\n",
        "dld.yaml": "system: dld\nlr: 1.0\n",
        "exp/static/model.json": '{"state_sha256": "one"}',
        "exp/dld/model.json": '{"state_sha256": "two"}',
        "exp/dld/decode_test_n2/decode.json": "{}",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    driver = Driver(read_comparison(tmp_path / "runs/list.yaml"))
    run = driver.comparison.run("dld")
    assert not driver.is_done(run)
    driver.keep(run)
    change(tmp_path)
    assert driver.is_done(run) is done


# ---- lists


def test_every_list_is_tested(root):
    there = {str(path.relative_to(root / "recipes")) for path in (root / "recipes").glob("*/runs/*.yaml")}
    assert there == set(LISTS)


@pytest.mark.parametrize("path", LISTS)
def test_a_list_says_of_teacher_and_start_what_the_experiment_files_say(root, path):
    comparison = read_comparison(root / "recipes" / path)
    driver = Driver(comparison)
    for run in comparison.runs:
        files = [comparison.recipe / file for file in (*comparison.files, *run.files)]
        # Without what the list says of them, but with settings such as `init_from: null`.
        words = driver.train(dataclasses.replace(run, teacher=None, start=None))
        given = {name[2:]: value for name, _, value in (word.partition("=") for word in words if "=" in word)}
        values = show(files, given)[1].values
        start = run.start
        if run.name in STARTED:
            assert start == STARTED[run.name]
            start = None
        for key, name in (("teacher", run.teacher), ("init_from", start)):
            # A student of a further seed may have the teacher of that seed, which the files do not know.
            if name and run.seed is not None and comparison.run(name).seed == run.seed:
                name = name.removesuffix(f"_seed{run.seed}")
            assert values.get(key) == (f"{comparison.exp}/{name}" if name else None), f"{run.name}: {key}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: {ld: {files: a.yaml, sed: 2}}", "runs: ld: unknown key 'sed'; did you mean 'seed'?"),
        ("run: {}", "runs: a mapping of names to runs was expected"),
        ("runs: {ld: {files: a.yaml}}\ntestsets: [a]", "unknown key 'testsets'; did you mean 'test_sets'?"),
        ("runs: {ld: {seed: 2}}", "runs: ld: missing key 'files', a path or a list of paths"),
        ("runs: {ld: {files: a.yaml, seed: two}}", "runs: ld: seed is 'two'; it must be a whole number"),
        ("runs: {ld: {files: a.yaml, depth: 0}}", "runs: ld: depth is 0; it must be a whole number of at least 1"),
        (
            "runs: {dld: {files: a.yaml, teacher: statc}, static: {files: b.yaml}}",
            "its teacher 'statc' is not in the list",
        ),
        ("runs: {dld: {files: a.yaml, start: static}}", "runs: dld: its start 'static' is not in the list"),
        ("runs: {a: {files: a.yaml, start: b}, b: {files: b.yaml, teacher: a}}", "runs: a needs itself"),
        ("runs: {a/b: {files: a.yaml}}", "it must be a name or a list of names"),
        ("runs: {a: {files: a.yaml}, a: {files: a.yaml}}", 'not YAML: found duplicate key "a"'),
        ("runs: {a: {files: a.yaml}}\nreport: {titel: x}", "report: unknown key 'titel'; did you mean 'title'?"),
        ("runs: [a", "list.yaml:1: not YAML"),
        ("runs: {a: {files: a.yaml}}\ndevice: gpu", "device is 'gpu'; it must be cpu or cuda"),
    ],
)
def test_a_wrong_list_is_one_line(tmp_path, text, message):
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(DldError) as caught:
        read_comparison(tmp_path / "list.yaml")
    assert message in str(caught.value) and str(caught.value).startswith(str(tmp_path / "list.yaml"))
    assert "\n" not in str(caught.value)


def test_a_dry_run_shows_the_commands(root, capsys):
    path = str(root / "recipes/mini/runs/comparison.yaml")
    assert compare([path, "--runs", "dld_plus_seed2", "--dry-run", "true", "--train-args", "--lr 1e-3"]) == 0
    change, _, train, search, decode, score = capsys.readouterr().out.splitlines()
    assert change == f"cd {root / 'recipes/mini'}"
    assert train.endswith("--exp_dir=exp/dld_plus_seed2 --seed=2 --teacher=exp/static --init_from=exp/static --lr 1e-3")
    assert "gate_table --exp exp/dld_plus_seed2 --data data/dev" in search and "data/test_large" in decode
    assert score.startswith("local/score.sh --all true data/test_large data/lang exp/dld_plus_seed2")


@pytest.mark.parametrize(
    ("ld", "options", "message"),
    [
        ("{files: hparams/ldd.yaml}", [], "x.yaml: runs: ld: hparams/ldd.yaml: no such experiment file"),
        ("{files: hparams/ld.yaml, settings: {lrr: 3}}", [], "override --lrr: unknown key 'lrr'; did you mean 'lr'?"),
        ("{files: hparams/ld.yaml, settings: {lr: fast}}", [], "runs: ld: .* lr is 'fast'; it must be a number"),
        ("{files: hparams/ld.yaml}", ["--train-args", "--lrr 3"], "runs: ld: .*unknown key 'lrr'"),
    ],
)
@pytest.mark.parametrize("dry", ["true", "false"])
def test_a_list_that_cannot_be_run_is_refused_before_anything(
    root, tmp_path, capsys, monkeypatch, ld, options, message, dry
):
    common = root / "recipes/common/hparams/systems"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/x.yaml").write_text(f"files: {root}/recipes/mini/hparams/base.yaml\nruns:\n  ld: {ld}\n")
    (tmp_path / "hparams").mkdir()
    (tmp_path / "hparams/ld.yaml").write_text((common / "ld.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert compare(["runs/x.yaml", "--dry-run", dry, *options]) == 1
    out, err = capsys.readouterr()
    assert out == "" and re.search(message, err) and not (tmp_path / "exp").exists()


def test_a_run_without_the_run_that_it_needs_is_refused(root, tmp_path, capsys):
    path = str(root / "recipes/mini/runs/comparison.yaml")
    assert compare([path, "--runs", "dld", "--exp", str(tmp_path / "exp")]) == 1
    assert "dld needs the run static, which is not finished; add it to --runs" in capsys.readouterr().err
    assert compare([path, "--runs", "dlt"]) == 1
    assert "no run 'dlt'; did you mean 'dld'?" in capsys.readouterr().err


# ---- signals, with commands that do nothing

LIST = """
device: cpu
files: hparams/base.yaml
runs:
  static: {files: hparams/static.yaml}
  static_seed2: {files: hparams/static.yaml, seed: 2}
  ld: {files: ../common/hparams/systems/ld.yaml}
  dld: {files: ../common/hparams/systems/dld.yaml, teacher: static}
"""
START = """
import sys
from dld.comparison import driver
driver._python = lambda module: [{python!r}, "-m", "dld.bin." + module]
from dld.bin.compare import main
sys.exit(main(sys.argv[1:]))
"""
# A training leaves its settings and its model.
TRAINS = """
if "dld.bin.train" in sys.argv:
    (exp_dir,) = [word.partition("=")[2] for word in sys.argv if word.startswith("--exp_dir=")]
    os.makedirs(exp_dir, exist_ok=True)
    open(folder + "/trained", "a").write(os.path.basename(exp_dir) + "\\n")
    open(exp_dir + "/hyperparams.yaml", "w").write("decode_policy: evenly-spaced\\n")
    open(exp_dir + "/model.json", "w").write("{}")
"""
WAITS = """
if "dld.bin.train" in sys.argv:
    import signal, time
    def save(*_):
        if not {stubborn}:
            open(folder + "/saved", "a").write(sys.argv[3] + "\\n")
            os._exit(143)
    signal.signal(signal.SIGTERM, save)
    open(folder + "/started", "a").write(f"{{os.getpid()}}\\n")
    while True:
        time.sleep(1)
"""


class Stubbed:
    """A comparison in a checkout whose Python does nothing but what `hook` says."""

    def __init__(self, root, checkout):
        self.root, self.checkout = root, checkout
        checkout.make("data/lang/bpe.model", "data/dev/text", "data/test/text", "runs/list.yaml")
        (checkout.recipe / "runs/list.yaml").write_text(LIST)

    def start(self, *options):
        """Start it."""
        code = START.format(python=str(self.checkout.python))
        return subprocess.Popen(
            [sys.executable, "-c", code, str(self.checkout.recipe / "runs/list.yaml"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(self.root), "DLD_VENV": str(self.checkout.environment)},
            cwd=self.checkout.folder,
        )

    def run(self, *options):
        """Run it; return status, standard output and standard error."""
        process = self.start(*options)
        out, errors = process.communicate(timeout=120)
        return process.returncode, out, errors

    def lines(self, name, number=0):
        """Lines that the stub wrote, once there are that many."""
        path = self.checkout.environment / name
        end = time.monotonic() + 60
        while number and (not path.exists() or len(path.read_text().splitlines()) < number):
            assert time.monotonic() < end, "the stub was not called"
            time.sleep(0.05)
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def stubbed(root, checkout):
    comparison = Stubbed(root, checkout)
    yield comparison
    for pid in map(int, comparison.lines("started")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for_end(pids, seconds=30):
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_comparison_makes_the_runs_that_were_asked_for(stubbed):
    stubbed.checkout.hook(TRAINS)
    status, out, errors = stubbed.run("--runs", "static_seed2,dld,static", "--train-args", "--lang_dir 'a *'")
    assert status == 0, out + errors
    trained = stubbed.lines("trained")
    assert sorted(trained) == ["dld", "static", "static_seed2"] and trained.index("static") < trained.index("dld")
    calls = {call[-3]: call for call in stubbed.checkout.calls("train")}
    assert all(call[-2:] == ["--lang_dir", "a *"] for call in calls.values())
    (second,) = [call for call in calls.values() if "--exp_dir=exp/static_seed2" in call]
    assert "--seed=2" in second and second[2:4] == ["hparams/base.yaml", "hparams/static.yaml"]
    assert stubbed.run("--runs", "static_seed2,dld,static", "--train-args", "--lang_dir 'a *'")[0] == 0
    assert stubbed.lines("trained") == trained
    # The rest, then the report.
    assert stubbed.run("--train-args", "--lang_dir 'a *'")[0] == 0
    assert stubbed.lines("trained")[len(trained) :] == ["ld"]
    assert stubbed.checkout.calls("report")[0][2:4] == ["--exp=exp", "--output=exp/report"]


def test_the_comparison_splits_likewise(stubbed):
    status, out, errors = stubbed.run("--runs", "static_seed2 *")
    assert (status, out) == (1, "")
    assert "no run 'static_seed2 *'" in errors
    status, _, errors = stubbed.run("--train-args", "it's")
    assert status != 0 and "--train-args: a quote is not closed: it's" in errors


def test_a_comparison_hands_the_signal_on(stubbed):
    stubbed.checkout.hook(WAITS.format(stubborn=False))
    driver = stubbed.start("--jobs", "2", "--runs", "static_seed2,ld,static")
    pids = list(map(int, stubbed.lines("started", 2)))
    driver.send_signal(signal.SIGTERM)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 143 and "stopped by SIGTERM; the same command resumes" in errors
    assert len(stubbed.lines("saved")) == 2 and not any(map(alive, pids))
    assert len(stubbed.checkout.calls("train")) == 2


def test_what_a_comparison_runs_ends_with_it_when_it_is_killed(stubbed):
    stubbed.checkout.hook(WAITS.format(stubborn=False))
    driver = stubbed.start("--jobs", "2", "--runs", "static,ld")
    pids = list(map(int, stubbed.lines("started", 2)))
    driver.kill()
    driver.wait()
    wait_for_end(pids)
    assert len(stubbed.lines("saved")) == 2
    stubbed.checkout.hook(TRAINS)
    assert stubbed.run("--runs", "static,ld")[0] == 0


def test_no_second_comparison_is_let_in_while_something_of_the_first_runs(stubbed):
    stubbed.checkout.hook(WAITS.format(stubborn=True))
    driver = stubbed.start("--runs", "static")
    (pid,) = map(int, stubbed.lines("started", 1))
    assert "is at work in it" in stubbed.run("--runs", "static")[2]
    driver.kill()
    driver.wait()
    assert alive(pid)
    status, _, errors = stubbed.run("--runs", "static")
    assert status == 1 and "is at work in it; wait until it ends, stop it, or take another folder (--exp)" in errors
    os.kill(pid, signal.SIGKILL)
    wait_for_end([pid])
    stubbed.checkout.hook(TRAINS)
    assert stubbed.run("--runs", "static")[0] == 0


def test_missing_data_are_made_by_the_recipe(stubbed):
    stubbed.checkout.hook(TRAINS)
    shutil.rmtree(stubbed.checkout.recipe / "data/lang")
    assert stubbed.run("--runs", "static", "--corpus-args", "--scale 0.5")[0] == 1
    log = (stubbed.checkout.recipe / "exp/log/the_corpus.log").read_text()
    assert log.startswith("$ ./run.sh") and "--scale 0.5" in log
    assert stubbed.lines("trained") == []


# ---- folds

FOLDS = LIST.replace("runs:", "folds: 2\nruns:", 1)


@pytest.fixture
def folded(stubbed):
    """A comparison with two folds, whose data are there."""
    for k in (1, 2):
        stubbed.checkout.make(*(f"data/fold{k}/{name}" for name in ("lang/bpe.model", "dev/text", "test/text")))
    (stubbed.checkout.recipe / "runs/list.yaml").write_text(FOLDS)
    stubbed.checkout.hook(TRAINS)
    return stubbed


def test_all_runs_are_made_on_every_fold_then_one_report(folded):
    status, out, errors = folded.run("--runs", "static,dld", "--folds", "2")
    assert status == 0, out + errors
    calls = folded.checkout.calls("train")
    assert {word for call in calls for word in call if word.startswith(("--data=", "--exp_dir=", "--teacher="))} == {
        *("--data=data/fold2", "--exp_dir=exp/fold2/static", "--exp_dir=exp/fold2/dld", "--teacher=exp/fold2/static")
    }
    assert folded.checkout.calls("report") == []
    status, out, errors = folded.run()
    assert status == 0, out + errors
    recipe = folded.checkout.recipe
    made = {str(path.parent.relative_to(recipe)) for path in recipe.glob("exp/*/*/.compared")}
    assert made == {f"exp/fold{k}/{name}" for k in (1, 2) for name in ("static", "static_seed2", "ld", "dld")}
    assert folded.lines("trained").count("dld") == 2
    (report,) = folded.checkout.calls("report")
    assert report[2:6] == ["--exp", "exp/fold1", "exp/fold2", "--output=exp/report"]


def test_the_recipe_makes_the_data_of_a_fold(folded):
    shutil.rmtree(folded.checkout.recipe / "data/fold2/lang")
    assert folded.run("--runs", "static", "--folds", "2")[0] == 1
    log = (folded.checkout.recipe / "exp/fold2/log/the_corpus.log").read_text()
    assert "--data data/fold2 --exp exp/fold2" in log and "--fold=2" in log


@pytest.mark.parametrize(
    ("text", "folds", "message"),
    [
        (FOLDS, "3", "list.yaml has no fold 3; there are 1 to 2"),
        (FOLDS, "one", "--folds takes numbers, separated by commas, not 'one'"),
        (LIST, "1", "list.yaml has no folds"),
    ],
)
def test_folds_that_are_not_there_are_refused(tmp_path, root, capsys, text, folds, message):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/list.yaml").write_text(text)
    assert compare([str(tmp_path / "runs/list.yaml"), "--folds", folds, "--dry-run", "true"]) != 0
    assert message in capsys.readouterr().err
