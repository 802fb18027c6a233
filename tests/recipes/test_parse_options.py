"""The option contract of the recipes' scripts (recipes/common/parse_options.sh)."""

import subprocess

import pytest

SCRIPT = """
set -euo pipefail
stage=1
train_args=""
use_lm=false
words=(a b)
readonly fixed=1
help_message="Usage: demo [options] <dir>"
. "{root}/recipes/common/parse_options.sh"
printf '%s|' "$stage" "$train_args" "$use_lm" "${{words[*]}}" "$fixed" "$PATH" "$@"
"""


@pytest.fixture
def demo(root, tmp_path):
    """Run a small script that takes options; returns its exit status, fields and standard error."""
    script = tmp_path / "demo.sh"
    script.write_text(SCRIPT.format(root=root))

    def run(*arguments):
        done = subprocess.run(
            ["bash", script, *arguments],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "http_proxy": "none"},
            cwd=tmp_path,
        )
        return done.returncode, done.stdout.rstrip("|").split("|"), done.stderr

    return run


def test_defaults_hold_without_options(demo):
    assert demo() == (0, ["1", "", "false", "a b", "1", "/usr/bin:/bin"], "")


@pytest.mark.parametrize(
    "arguments, stage, train_args, use_lm, rest",
    [
        (["--stage", "3"], "3", "", "false", []),
        (["--stage=3", "--use-lm=true"], "3", "", "true", []),
        (["--use_lm", "true"], "1", "", "true", []),
        (["--train-args", "--lr 5e-4 --name='a b'"], "1", "--lr 5e-4 --name='a b'", "false", []),
        (["--train-args=--help"], "1", "--help", "false", []),
        (["--train-args", "", "dir", "--stage", "7"], "1", "", "false", ["dir", "--stage", "7"]),
        (["--stage", "2", "--", "--odd name"], "2", "", "false", ["--odd name"]),
        (["--stage", "2", "--stage", "5", "a b", "c"], "5", "", "false", ["a b", "c"]),
    ],
)
def test_options_set_variables_and_leave_the_rest(demo, arguments, stage, train_args, use_lm, rest):
    status, fields, error = demo(*arguments)
    assert (status, error) == (0, "")
    assert fields[:3] == [stage, train_args, use_lm]
    assert fields[6:] == rest


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--nonsense", "1"], "unknown option --nonsense"),
        (["--nonsense=1"], "unknown option --nonsense"),
        (["--PATH", "/"], "unknown option --PATH"),
        (["--HOME=/"], "unknown option --HOME"),
        (["--words", "c"], "unknown option --words"),
        (["--fixed", "2"], "unknown option --fixed"),
        (["--help-message", "x"], "unknown option --help-message"),
        (["--stage[0]", "x"], "unknown option --stage[0]"),
        (["--use-lm", "yes"], "--use-lm takes true or false, not 'yes'"),
        (["--use-lm", "True"], "--use-lm takes true or false"),
        (["--use-lm"], "--use-lm needs a value; write --use-lm true"),
        (["--use-lm", "--stage", "3"], "--use-lm takes true or false; write --use-lm true"),
        (["--stge", "3"], "unknown option --stge; did you mean --stage? there are:"),
        (["--train-arg=x"], "unknown option --train-arg; did you mean --train-args? there are:"),
        (["--trainargs", "x"], "unknown option --trainargs; did you mean --train-args? there are:"),
        (["--nonsense", "1"], "unknown option --nonsense; there are:"),
        (["--stage"], "--stage needs a value\n"),
        (["--config", "missing.conf"], "cannot read missing.conf"),
    ],
)
def test_bad_options_are_errors(demo, arguments, complaint):
    status, fields, error = demo(*arguments)
    assert status == 1
    assert fields == [""]
    assert complaint in error
    assert error.count("\n") == 1 and error.startswith("demo.sh: error: ")


def test_an_unknown_option_lists_the_known_ones(demo):
    error = demo("--nonsense", "1")[2]
    assert "--config --help --stage --train-args --use-lm\n" in error


def test_config_comes_before_the_other_options(demo, tmp_path):
    (tmp_path / "my.conf").write_text("stage=4\nuse_lm=true\n")
    assert demo("--stage", "9", "--config", "my.conf", "dir")[1][:3] == ["9", "", "true"]
    assert demo("--config=my.conf")[1][:3] == ["4", "", "true"]


def test_help_prints_the_message_and_stops(demo):
    assert demo("--stage", "2", "--help") == (0, ["Usage: demo [options] <dir>\n"], "")
