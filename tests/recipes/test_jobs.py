"""Signals to a driver, and two drivers in one folder (recipes/common/jobs.sh, dld.comparison)."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# What a training does: end on a signal, after it has saved; its worker has to outlive the first signal.
TRAINING = """
if "dld.bin.train" in sys.argv:
    import signal, subprocess, time
    def save(*_):
        if worker.poll() is None:
            open(folder + "/saved", "a").write(sys.argv[4] + "\\n")
        worker.kill()
        sys.exit(143)
    worker = subprocess.Popen(["sleep", "300"])
    signal.signal(signal.SIGTERM, save)
    open(folder + "/started", "a").write(f"{os.getpid()} {worker.pid}\\n")
    time.sleep(300)
"""
STUBBORN = """
if "dld.bin.train" in sys.argv:
    import signal, subprocess, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker = subprocess.Popen(["sleep", "300"])
    open(folder + "/started", "a").write(f"{os.getpid()} {worker.pid}\\n")
    time.sleep(300)
"""
CORPUS = """
if "dld.bin.prepare" in sys.argv:
    import time
    open(folder + "/started", "a").write(f"{os.getpid()}\\n")
    time.sleep(300)
"""


@pytest.fixture
def checkout(checkout):
    """The same with what stage 4 asks for; whatever still runs in the end is killed."""
    checkout.make("data/dev/text", "data/lang/bpe.model", "data/test/text", "exp/static/model.json")
    yield checkout
    for pid in started(checkout, 0):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def started(checkout, number):
    """Process ids that the stub wrote down, once it has done so `number` times."""
    path = checkout.environment / "started"
    end = time.monotonic() + 60
    while number and (not path.exists() or len(path.read_text().splitlines()) < number):
        assert time.monotonic() < end, "the stub was not called"
        time.sleep(0.05)
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def saved(checkout):
    path = checkout.environment / "saved"
    return sorted(path.read_text().split()) if path.exists() else []


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        (["--stop-stage", "4"], ["hparams/static.yaml"]),
        (["--stop-stage", "5", "--nj", "2"], ["../common/hparams/systems/ld.yaml", "hparams/static.yaml"]),
    ],
)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_reaches_what_runs_and_nothing_is_left(checkout, options, trained, number, status):
    checkout.hook(TRAINING)
    checkout.answer("null")
    driver = checkout.start("./run.sh", "--stage", "4", *options)
    pids = started(checkout, len(trained))
    driver.send_signal(number)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == status, errors
    assert f"run.sh: stopped by {number.name}" in errors
    assert saved(checkout) == trained
    assert not [pid for pid in pids if alive(pid)]
    assert len(checkout.calls("train")) == len(trained)


def test_a_process_that_does_not_end_is_killed(checkout):
    checkout.hook(STUBBORN)
    jobs = checkout.folder / "recipes/common/jobs.sh"
    jobs.write_text(jobs.read_text().replace("grace=55", "grace=2"))
    driver = checkout.start("./run.sh", "--stage", "4", "--stop-stage", "4")
    pids = started(checkout, 1)
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=60)
    assert driver.returncode == 143
    assert not [pid for pid in pids if alive(pid)]


def test_a_failing_training_ends_the_one_next_to_it(checkout):
    fails = "if 'hparams/static.yaml' in sys.argv and '--get' not in sys.argv:\n"
    fails += "    import time\n    while not os.path.exists(folder + '/started'): time.sleep(0.05)\n    sys.exit(3)\n"
    checkout.hook(fails + TRAINING)
    checkout.answer("null")
    done = checkout.run("./run.sh", "--stage", "4", "--stop-stage", "5")
    assert done.returncode == 3
    assert saved(checkout) == ["../common/hparams/systems/ld.yaml"]
    assert not [pid for pid in started(checkout, 1) if alive(pid)]


def test_a_signal_while_the_corpus_is_made_leaves_nothing(checkout):
    checkout.hook(CORPUS)
    driver = checkout.start("./run.sh", "--stop-stage", "1", "--data", "new")
    pids = started(checkout, 1)
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=60)
    assert driver.returncode == 143
    assert not [pid for pid in pids if alive(pid)]
    assert not (checkout.recipe / "new").exists()


def test_two_drivers_do_not_write_one_data_folder(checkout):
    checkout.hook(CORPUS)
    first = checkout.start("./run.sh", "--stop-stage", "1")
    (corpus,) = started(checkout, 1)
    refusal = (
        rf"run.sh: error: data: process \d+ on {os.uname().nodename} is at work in it; "
        r"wait until it ends, stop it, or take another folder \(--data\)\n"
    )
    for options in (["--stop-stage", "1"], ["--stage", "3", "--stop-stage", "3"]):
        checkout.make("data/train/text")
        second = checkout.run("./run.sh", *options)
        assert second.returncode == 1
        assert re.fullmatch(refusal, second.stderr)
    # Those that only read are let through.
    reader = checkout.run("./run.sh", "--stage", "4", "--stop-stage", "4")
    assert reader.returncode == 0, reader.stderr
    first.kill()
    first.wait()
    # The killed one's corpus command still runs, and holds the folder.
    assert alive(corpus)
    third = checkout.run("./run.sh", "--stop-stage", "1")
    assert third.returncode == 1 and re.fullmatch(refusal, third.stderr)
    os.kill(corpus, signal.SIGKILL)
    checkout.hook("")
    while alive(corpus):
        time.sleep(0.05)
    fourth = checkout.run("./run.sh", "--stop-stage", "1")
    assert fourth.returncode == 0, fourth.stderr
    assert not (checkout.recipe / "data/.in_use").exists()


@pytest.mark.parametrize("killed", ["alone", "both"])
def test_a_killed_holder_leaves_the_folder_to_nobody_while_its_command_runs(checkout, killed):
    stubborn = CORPUS.replace(
        "    import time\n", "    import signal, time\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    )
    checkout.hook(stubborn)
    driver = checkout.start("./run.sh", "--stop-stage", "1", "--data", "new")
    (corpus,) = started(checkout, 1)
    holder = parent_of(corpus)
    if killed == "both":
        driver.kill()
    os.kill(holder, signal.SIGKILL)
    driver.wait()
    # This command ignores the signal that it gets when its parent dies.
    assert alive(corpus)
    assert "is at work in it" in checkout.run("./run.sh", "--stop-stage", "1", "--data", "new").stderr
    os.kill(corpus, signal.SIGKILL)
    checkout.hook("")
    while alive(corpus):
        time.sleep(0.05)
    assert checkout.run("./run.sh", "--stop-stage", "1", "--data", "new").returncode == 0


def test_after_a_kill_the_training_that_lives_on_says_that_it_has_the_experiment(checkout):
    checkout.hook(TRAINING)
    driver = checkout.start("./run.sh", "--stage", "4", "--stop-stage", "6")
    training, _ = started(checkout, 1)
    driver.kill()
    driver.wait()
    assert alive(training)
    # Nothing more is started when it ends; what it holds it says itself (dld.files.alone_in).
    os.kill(training, signal.SIGTERM)
    time.sleep(0.5)
    assert len(checkout.calls("train")) == 1


@pytest.mark.slow
def test_a_real_training_is_saved_and_resumes(root, drive, tiny_args, tmp_path):
    script = root / "recipes/mini/run.sh"
    folders = ["--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp")]
    done = drive(script, *folders, "--scale", "0.04", "--stop-stage", "3", "--train-args", tiny_args("mini"))
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "DLD_VENV": sys.prefix, "OMP_NUM_THREADS": "1"}
    options = [*folders, "--stage", "4", "--stop-stage", "5", "--train-args", tiny_args("mini", num_epochs=500)]
    with open(tmp_path / "errors", "w", encoding="utf-8") as errors:
        driver = subprocess.Popen([script, *options], env=environment, stdout=errors, stderr=errors)
        logs = [tmp_path / "exp" / name / "train_log.jsonl" for name in ("static", "ld")]
        end = time.monotonic() + 300
        while not all(log.exists() and log.read_text().count("\n") > 1 for log in logs):
            assert time.monotonic() < end and driver.poll() is None
            time.sleep(0.2)
        begin = time.monotonic()
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(timeout=120) == 143
        assert time.monotonic() - begin < 60
    said = "".join((tmp_path / f"exp/log/train_{name}.log").read_text() for name in ("static", "ld"))
    assert said.count("it is saved") == 2
    ours = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True)
    assert ours.stdout == ""
