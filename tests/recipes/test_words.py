"""Options of the drivers that hold words or names (recipes/common/words.sh)."""

import subprocess

import pytest

NODES = ["--nnodes", "2", "--stage", "4", "--stop-stage", "6"]


@pytest.fixture
def words(root, tmp_path):
    """Splits a text in a folder whose files an unquoted word would match; None where a quote is not closed."""
    for name in ("2", "4", "a", "notes"):
        (tmp_path / name).write_text("")

    def split(text):
        script = f'set -eu; . "{root}/recipes/common/words.sh"; split_words got "$1"; printf "%s\\0" "${{got[@]}}" "$#"'
        done = subprocess.run(["bash", "-c", script, "demo", text], capture_output=True, text=True, cwd=tmp_path)
        return done.stdout.split("\0")[:-2] if done.returncode == 0 else None

    return split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n ", []),
        ("--lr 5e-4  --num_epochs\n20", ["--lr", "5e-4", "--num_epochs", "20"]),
        ("--decode_depths [2,4,6] * ? ~ {a,b}", ["--decode_depths", "[2,4,6]", "*", "?", "~", "{a,b}"]),
        ("--exp_dir 'exp/my run'", ["--exp_dir", "exp/my run"]),
        ('--exp_dir "exp/my run"/x', ["--exp_dir", "exp/my run/x"]),
        (r"--exp_dir exp/my\ run", ["--exp_dir", "exp/my run"]),
        ("--noises '' \"\"", ["--noises", "", ""]),
        (r""" "it's" 'a"b' "a\"b" "a\nb" 'a\' """, ["it's", 'a"b', 'a"b', r"a\nb", "a\\"]),
        ("$(touch made) `id` $HOME ; & |", ["$(touch", "made)", "`id`", "$HOME", ";", "&", "|"]),
        ("--name 'Zoë Straße' ñ", ["--name", "Zoë Straße", "ñ"]),
        ("it's", None),
        ('"open', None),
    ],
)
def test_givenare_split_as_a_shell_does_and_not_expanded(words, tmp_path, text, expected):
    assert words(text) == expected
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("given", [[], ["a b", "c"], ["it's", "", '"', "\\", "$(x) *", "ñ"]])
def test_quoted_words_are_split_into_the_same(root, words, given):
    script = f'set -eu; . "{root}/recipes/common/words.sh"; quoted "$@"'
    done = subprocess.run(["bash", "-c", script, "demo", *given], capture_output=True, text=True)
    assert words(done.stdout) == given


def test_arguments_reach_the_commands_unchanged(checkout):
    checkout.make("data/dev/text", "data/lang/bpe.model", "data/test/text", "exp/static/model.json")
    # Whatever the recipe's folder holds.
    checkout.make("2", "4", "*x")
    done = checkout.run(
        *("./run.sh", "--stage", "4", "--stop-stage", "8", "--systems", "static"),
        *("--train-args", "--decode_depths [2,4,6] --lang_dir 'data/my run' --note '* ?'"),
        *("--decode-args", "--depths [24] --variant 'a b'"),
    )
    assert done.returncode == 0, done.stderr
    (train,), (decode,) = checkout.calls("train"), checkout.calls("decode")
    assert train[-6:] == ["--decode_depths", "[2,4,6]", "--lang_dir", "data/my run", "--note", "* ?"]
    assert decode[-4:] == ["--depths", "[24]", "--variant", "a b"]


def test_report_arguments_and_the_corpus_arguments_too(checkout):
    done = checkout.run("./run.sh", "--stage", "10", "--report-args", "--title '[a] *'")
    assert done.returncode == 0, done.stderr
    assert checkout.calls("report")[0][-2:] == ["--title", "[a] *"]
    done = checkout.run(
        *("../librispeech/run.sh", "--stop-stage", "1", "--device", "cpu", "--data-args", "--downloads 'my [1]'"),
        *("--corpus", ""),
    )
    assert done.returncode == 0, done.stderr
    call = checkout.calls("prepare")[0]
    assert call[2:5] == ["librispeech", "--corpus", ""]
    # The later of two options counts.
    assert [call[i + 1] for i, word in enumerate(call) if word == "--downloads"] == ["downloads", "my [1]"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--systems", "static *"], "--systems: '*' is not a name"),
        (["--systems", "static,ld"], "--systems: 'static,ld' is not a name"),
        (["--systems", "../exp"], "--systems: '../exp' is not a name"),
        (["--systems", " "], "--systems takes at least one name"),
        (["--test-sets", "test -x"], "--test-sets: '-x' is not a name"),
        (["--test-sets", "data/test"], "--test-sets: 'data/test' is not a name"),
        (["--test-sets", ".."], "--test-sets: '..' is not a name"),
        (["--test-sets", "a[$(touch made)]"], "--test-sets: 'a[$(touch' is not a name"),
        (["--train-args", "--exp_dir 'my run"], "--train-args: a quote is not closed: --exp_dir 'my run"),
        (["--train-args", "--lr 1 --exp x"], "--train-args: --exp trains elsewhere than what is decoded"),
        (["--train-args", "--exp=x"], "--train-args: --exp trains elsewhere than what is decoded"),
        (["--train-args", "--exp-dir x"], "--train-args: --exp-dir trains elsewhere than what is decoded"),
        (["--train-args", "--data x"], "--train-args: --data trains on other data than the other stages"),
        (["--decode-args", '"'], '--decode-args: a quote is not closed: "'),
        (["--report-args", "it's"], "--report-args: a quote is not closed: it's"),
        (["--stage", "a[$(touch made)]"], "--stage takes a whole number, not 'a[$(touch made)]'"),
        (["--stop-stage", "all"], "--stop-stage takes a whole number, not 'all'"),
        (["--stage", "-1"], "--stage takes a whole number, not '-1'"),
        (["--stage", "11"], "no stage from 11 (--stage) to 10 (--stop-stage)"),
        (["--stage", "7", "--stop-stage", "3"], "no stage from 7 (--stage) to 3 (--stop-stage)"),
        (["--nj", "two"], "--nj takes a whole number, not 'two'"),
        (["--ngpu", "1.5"], "--ngpu takes a whole number, not '1.5'"),
        (["--launcher", "ssh"], "--launcher is local or slurm, not 'ssh'"),
        (["--slurm", "time=60"], "--slurm has options of sbatch, which --launcher slurm calls"),
        (["--nnodes", "2"], "several machines (--nnodes) train, in stages 4 to 6"),
        ([*NODES, "--node-rank", "2"], "--node-rank is 2"),
        ([*NODES, "--master", "host"], "--master takes HOST:PORT of machine 0, not 'host'"),
    ],
)
def test_a_wrong_list_is_one_line_before_anything_runs(checkout, options, message):
    done = checkout.run("./run.sh", *options)
    assert done.returncode == 1
    assert done.stderr.partition(";")[0].rstrip() == f"run.sh: error: {message}"
    assert done.stderr.count("\n") == 1
    assert checkout.calls() == []
    assert not (checkout.recipe / "made").exists()
