"""What a stage needs of earlier ones is looked at before anything runs, and the command that makes it can be pasted."""

import shlex

import pytest


@pytest.fixture
def checkout(checkout):
    checkout.make("data/train/text", "data/dev/text", "data/test/text", "data/lang/bpe.model")
    return checkout


def complaint(done):
    """The file that is missing, and the words of the command that is proposed."""
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    missing, _, command = done.stderr.strip().partition(" is missing; stage ")
    return missing.removeprefix("run.sh: error: "), shlex.split(command.partition(": ")[2])


@pytest.mark.parametrize(
    ("options", "missing", "stage"),
    [
        (["--stage", "5"], "exp/static/model.json", 4),
        (["--stage", "6", "--stop-stage", "6"], "exp/static/model.json", 4),
        (["--stage", "6", "--systems", "ld"], "exp/ld/model.json", 5),
        (["--stage", "7", "--systems", "dld"], "exp/dld/model.json", 6),
        (["--stage", "4", "--data", "other"], "other/dev/text", 1),
        (["--stage=5", "--data=other data"], "other data/dev/text", 1),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(checkout, options, missing, stage):
    file, command = complaint(checkout.run("./run.sh", *options))
    assert file == missing
    assert checkout.calls() == []
    kept = [word for word in options if word not in ("--stage", "--stop-stage", "--stage=5") and not word.isdigit()]
    assert command == ["./run.sh", *kept, "--stage", str(stage), "--stop-stage", str(stage)]


@pytest.mark.parametrize("options", [["--stage", "5", "--stop-stage", "5"], ["--stage", "5", "--systems", "ld"]])
def test_what_no_stage_needs_is_not_asked_for(checkout, options):
    checkout.hook("pass")
    done = checkout.run("./run.sh", *options)
    assert "static/model.json" not in done.stderr
    assert checkout.calls("train")


def test_the_proposed_command_keeps_the_users_options_and_runs(checkout):
    options = ["--exp", "my exp", "--stage", "6", "--train-args", "--lr 1e-3 --seed '7'", "--stop_stage", "9"]
    file, command = complaint(checkout.run("./run.sh", *options))
    assert file == "my exp/static/model.json"
    kept = ["--exp", "my exp", "--train-args", "--lr 1e-3 --seed '7'"]
    assert command == ["./run.sh", *kept, "--stage", "4", "--stop-stage", "4"]
    assert checkout.run(*command).returncode == 0
    [call] = checkout.calls("train")
    assert call[call.index("--exp") + 1] == "my exp"


def test_the_command_is_the_one_that_the_user_called(checkout):
    done = checkout.run("./run.sh", "--stage", "5", DLD_CALLED_AS="./run.sh mini")
    assert complaint(done)[1][:2] == ["./run.sh", "mini"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quick"], "--quick needs a value; write --quick true"),
        (["--quick", "--stage"], "--quick takes true or false, not '--stage'; write --quick true"),
        (["--stage"], "--stage needs a value"),
    ],
)
def test_an_option_without_its_value_is_told_what_to_write(checkout, options, message):
    done = checkout.run("./run.sh", *options)
    assert (done.returncode, done.stderr) == (1, f"run.sh: error: {message}\n")
