"""The drivers in the environments and folders that users have."""

import shutil
import subprocess

import pytest

# Options of a run that calls a few commands.
STAGES = ("--stage", "8", "--stop-stage", "9", "--systems", "static")


@pytest.fixture
def checkout(checkout):
    checkout.make("data/test/text", "exp/static/model.json")
    return checkout


def good(checkout, done):
    """Whether the run did what was asked, with the interpreter of its own checkout."""
    assert (done.returncode, done.stderr) == (0, "")
    assert len(checkout.calls("decode")) == 1
    return True


@pytest.mark.parametrize(
    "variables",
    [
        {"CDPATH": ".:/usr:/"},
        {"CDPATH": "/nowhere", "IFS": "/"},
        {"IFS": "s"},
        {"POSIXLY_CORRECT": "1"},
        {"BASH_ENV": "/dev/null"},
        {"BASH_ENV": "/does/not/exist", "ENV": "/does/not/exist"},
        {"SHELLOPTS": "noglob", "BASHOPTS": "nullglob:failglob"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"GREP_OPTIONS": "--color=always", "PYTHONPATH": ""},
    ],
    ids=str,
)
def test_variables_of_the_environment_change_nothing(checkout, variables):
    done = checkout.run("./run.sh", *STAGES, **variables)
    errors = [line for line in done.stderr.splitlines() if "/does/not/exist" not in line and "LC_ALL" not in line]
    assert (done.returncode, errors) == (0, [])
    assert len(checkout.calls("decode")) == 1


def test_cdpath_does_not_get_into_the_environments_path(checkout):
    relative = checkout.run("recipes/mini/run.sh", *STAGES, cwd=checkout.folder, CDPATH=f".:{checkout.folder}")
    assert good(checkout, relative)
    script = '. tools/environment.sh; printf "%s" "$DLD_VENV"'
    done = subprocess.run(
        ["bash", "-euc", script], cwd=checkout.folder, env={"CDPATH": ".", "PATH": "/usr/bin:/bin"}, capture_output=True
    )
    assert done.stdout.decode() == str(checkout.folder / "tools/venv")


@pytest.mark.parametrize("script", ["run.sh", "local/data.sh", "local/score.sh", "local/score_sclite.sh"])
def test_another_shell_is_told_to_be_bash(checkout, script):
    if not shutil.which("dash"):
        pytest.skip("dash is not installed")
    done = checkout.run("dash", script, "--stage", "8")
    name = script.rpartition("/")[2]
    prefix = "./" if name == script else "local/"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{name}: error: bash 4.4 or newer is needed; run it with bash: {prefix}{name}\n"
    assert checkout.calls() == []


@pytest.mark.parametrize("script", ["run.sh", "tools/install.sh"])
def test_another_shell_at_the_top_too(checkout, script):
    if not shutil.which("dash"):
        pytest.skip("dash is not installed")
    done = checkout.run("dash", script, cwd=checkout.folder)
    assert done.returncode == 1
    assert done.stderr.endswith(f"run it with bash: {'./' if script == 'run.sh' else ''}{script}\n")
    assert done.stderr.count("\n") == 1


def test_bash_by_the_name_of_sh_works(checkout, tmp_path):
    (tmp_path / "sh").symlink_to(shutil.which("bash"))
    assert good(checkout, checkout.run(tmp_path / "sh", "run.sh", *STAGES))


def test_a_link_to_a_driver_runs_it_where_it_is(checkout, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "run.sh").symlink_to(checkout.recipe / "run.sh")
    assert good(checkout, checkout.run("./run.sh", *STAGES, cwd=elsewhere))
    assert list(elsewhere.iterdir()) == [elsewhere / "run.sh"]
    (elsewhere / "top.sh").symlink_to(checkout.folder / "run.sh")
    done = checkout.run("bash", "top.sh", "--help", cwd=elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Recipes: " in done.stdout and "mini" in done.stdout


def test_a_recipe_that_links_the_driver_of_another_keeps_its_own_folder(checkout):
    mine = checkout.folder / "recipes/mine"
    mine.mkdir()
    for name in ("run.sh", "path.sh", "local"):
        (mine / name).symlink_to(f"../mini/{name}")
    done = checkout.run("./run.sh", "--stage", "8", "--stop-stage", "8", "--systems", "static", cwd=mine)
    assert done.returncode == 1
    assert done.stderr == (
        "run.sh: error: exp/static/model.json is missing; stage 4 makes it: "
        "./run.sh --systems static --stage 4 --stop-stage 4\n"
    )


def test_a_linked_and_a_longer_named_test_set_are_scored_by_their_own_names(checkout):
    checkout.make("data/test_nopunct/text")
    done = checkout.run("./run.sh", *STAGES[:4], "--systems", "static", "--test-sets", "test_nopunct test")
    assert done.returncode == 0, done.stderr
    assert [call[2:6] for call in checkout.calls("score")] == [
        ["--data", f"data/{name}", "--exp", "exp/static"] for name in ("test_nopunct", "test")
    ]


@pytest.mark.parametrize("config", ["missing.conf", "", ".", "gone"])
def test_a_config_that_cannot_be_read_is_one_line(checkout, config):
    (checkout.recipe / "gone").symlink_to("nowhere")
    done = checkout.run("./run.sh", "--config", config, *STAGES)
    assert done.returncode == 1
    assert done.stderr == f"run.sh: error: --config: cannot read {config}\n"


def test_line_ends_are_lf_whatever_git_converts(root):
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")

    names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=root, check=True).stdout.split()
    report = subprocess.run(
        ["git", "check-attr", "--stdin", "eol", "text"],
        input="\n".join(names),
        capture_output=True,
        text=True,
        cwd=root,
    ).stdout
    assert "run.sh: eol: lf" in report
    for suffix in (".flac", ".sph", ".png", ".gz"):
        binary = next(name for name in names if name.endswith(suffix))
        assert f"{binary}: text: unset" in report
