"""What stages need is checked before the first of them begins, and messages propose the user's own command."""

import subprocess

import pytest

DATA = ["data/dev/text", "data/test/text", "data/lang/bpe.model"]


def proposal(done):
    """The command that an error message proposes."""
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    return done.stderr.rstrip("\n").partition(" makes it: ")[2]


@pytest.mark.parametrize(
    ("options", "missing", "proposed"),
    [
        (["--stage", "5", "--exp", "new"], "new/static/model.json", "./run.sh --exp new --stage 4 --stop-stage 4"),
        (["--stage=5", "--exp=a b"], "a b/static/model.json", "./run.sh '--exp=a b' --stage 4 --stop-stage 4"),
        (
            ["--exp", "it's", "--stop_stage", "6", "--stage", "6", "--train-args", "--lr 1e-3"],
            "it's/static/model.json",
            "./run.sh --exp 'it'\\''s' --train-args '--lr 1e-3' --stage 4 --stop-stage 4",
        ),
        (
            ["--stage", "6", "--systems", "dld"],
            "exp/static/model.json",
            "./run.sh --systems dld --stage 4 --stop-stage 4 --systems static",
        ),
        (["--stage", "4", "--data", "there"], "there/dev/text", "./run.sh --data there --stage 1 --stop-stage 1"),
        (
            ["--stage", "4", "--test-sets", "test other"],
            "data/other/text",
            "./run.sh --test-sets 'test other' --stage 1 --stop-stage 1",
        ),
    ],
)
def test_a_later_stage_without_its_inputs_is_an_error_before_anything_runs(checkout, options, missing, proposed):
    checkout.make(*DATA)
    done = checkout.run("./run.sh", *options)
    assert f"error: {missing} is missing; stage " in done.stderr
    assert proposal(done) == proposed
    assert checkout.calls("train") == checkout.calls("prepare") == []
    # What is proposed can be pasted: the shell reads the words that it was given.
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {proposed}"], capture_output=True, text=True).stdout
    assert [word for word in options if "stage" not in word and not word.isdigit()][-1] in words.splitlines()


def test_through_the_driver_at_the_top_its_command_is_proposed(checkout):
    tools = checkout.folder / "tools/install.sh"
    tools.write_text("#!/usr/bin/env bash\n")
    done = checkout.run("./run.sh", "mini", "--stage", "8", "--exp", "new", cwd=checkout.folder)
    assert proposal(done) == "./run.sh mini --exp new --stage 4 --stop-stage 4"


def test_what_earlier_stages_make_is_not_asked_for(checkout):
    checkout.make(*DATA)
    checkout.hook("if 'train' in sys.argv[2]: sys.exit(3)")
    assert checkout.run("./run.sh", "--stage", "4", "--systems", "static dld").returncode == 3
    assert len(checkout.calls("train")) == 1


def test_a_teacher_elsewhere_must_be_there(checkout):
    checkout.make(*DATA)
    checkout.answer("other/static")
    done = checkout.run("./run.sh", "--stage", "6", "--systems", "dld", "--train-args", "--teacher other/static")
    assert done.returncode == 1 and checkout.calls("train") == []
    assert done.stderr.startswith("run.sh: error: other/static/model.json is missing (init_from); ")
