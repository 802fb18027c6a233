"""Set-up: the installer's parts, the top-level driver, the package's commands."""

import contextlib
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys

import pytest

import dld
from dld.bin.main import OLD_NAMES

ROOT_FILES = ("run.sh", ".ci/run", "tools/install.sh", "tools/environment.sh")


def _setup_call(root, monkeypatch):
    """The arguments that setup.py gives to setuptools."""
    import setuptools

    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    monkeypatch.chdir(root)
    _load(root / "setup.py")
    return given


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem + "_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_exists_and_explains_itself(root, monkeypatch, capsys):
    commands = _setup_call(root, monkeypatch)["entry_points"]["console_scripts"]
    assert commands[0] == "dld = dld.bin.main:main"
    names = {"dld"} | {f"dld-{name}" for name in OLD_NAMES}
    assert sorted(names) == sorted(command.partition(" ")[0] for command in commands)
    for command in commands:
        name, module, function = re.fullmatch(r"(\S+) = (\S+):(\S+)", command).groups()
        monkeypatch.setattr(sys, "argv", [f"/usr/bin/{name}", "--help"])
        arguments = OLD_NAMES.get(name.removeprefix("dld-"), [])
        with contextlib.suppress(SystemExit):
            assert getattr(importlib.import_module(module), function)() == 0
        assert capsys.readouterr().out.startswith(f"usage: {' '.join(['dld', *arguments])} ")


def test_the_package_is_described_once(root, monkeypatch):
    given = _setup_call(root, monkeypatch)
    assert given["version"] == dld.__version__
    assert {"dld", "dld.bin", "dld.data", "dld.scoring"} <= set(given["packages"])
    assert not [name for name in given["packages"] if name.split(".")[0] != "dld"]
    assert set(given["extras_require"]) == {"lm", "wavlm", "export", "dev"}
    pinned = {line.split("==")[0].lower() for line in _pins(root)}
    required = {re.match(r"[\w.-]+", line)[0].lower() for line in given["install_requires"]}
    assert required <= pinned


def test_the_pins_fit_the_ranges_of_the_package(root, monkeypatch):
    from packaging.requirements import Requirement

    ranges = {r.name.lower(): r.specifier for r in map(Requirement, _setup_call(root, monkeypatch)["install_requires"])}
    for pin in map(Requirement, _pins(root)):
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert ranges.get(pin.name.lower(), pin.specifier).contains(exact.version), str(pin)


def test_scripts_pass_shellcheck(root):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    scripts = [root / name for name in ROOT_FILES]
    scripts += [path for path in root.glob("recipes/**/*.sh") if "exp" not in path.parts and "data" not in path.parts]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, cwd=root)
    assert done.stdout == "" and done.returncode == 0


@pytest.fixture
def checkout(root, tmp_path):
    """A copy of the drivers with a recipe that prints what it gets, and an environment that needs no installing."""
    for name in (*ROOT_FILES, "setup.py", "tools/requirements.txt", "tools/fix_torchaudio.py", "dld/__init__.py"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target)
    install = tmp_path / "tools" / "install.sh"
    install.write_text('#!/usr/bin/env bash\necho installing >>"$(dirname "$0")/calls"\n')
    for recipe in ("mini", "other"):
        (tmp_path / "recipes" / recipe).mkdir(parents=True)
        script = tmp_path / "recipes" / recipe / "run.sh"
        script.write_text(f'#!/usr/bin/env bash\nprintf "%s|" {recipe} "$DLD_VENV" "$@"\n')
        script.chmod(0o755)
    return tmp_path


def _run(checkout, *arguments, **environment):
    done = subprocess.run(
        [checkout / "run.sh", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "DLD_VENV": "/somewhere", **environment},
    )
    calls = checkout / "tools" / "calls"
    installed = calls.exists()
    calls.unlink(missing_ok=True)
    return done.returncode, done.stdout, done.stderr, installed


@pytest.mark.parametrize(
    "arguments, output",
    [
        ([], "mini|/somewhere|"),
        (["--quick", "true"], "mini|/somewhere|--quick|true|"),
        (["mini", "--train-args", "--lr 1"], "mini|/somewhere|--train-args|--lr 1|"),
        (["other", "--stage", "2"], "other|/somewhere|--stage|2|"),
        (["--setup-only", "false", "other"], "other|/somewhere|"),
        (["--setup-only", "true"], ""),
        (["--setup-only=true", "other"], ""),
    ],
)
def test_the_driver_sets_up_and_starts_the_recipe(checkout, arguments, output):
    assert _run(checkout, *arguments) == (0, output, "", True)


def test_help_lists_the_recipes_without_setting_up(checkout):
    status, output, error, installed = _run(checkout, "--help")
    assert (status, error, installed) == (0, "", False)
    assert "Recipes: mini other" in output
    assert _run(checkout, "other", "--help") == (0, "other|/somewhere|--help|", "", False)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["nope"], "no recipe nope; there are: mini other"),
        (["--setup-only", "yes"], "--setup-only takes true or false, not 'yes'"),
        (["--setup-only"], "--setup-only takes true or false, not ''"),
        (["--setup-onlyy", "true"], "unknown option --setup-onlyy"),
    ],
)
def test_the_driver_refuses_what_it_does_not_know(checkout, arguments, complaint):
    status, output, error, installed = _run(checkout, *arguments)
    assert (status, output, installed) == (1, "", False)
    assert error.startswith("run.sh: error: ") and complaint in error


def test_the_environment_is_the_named_then_the_active_then_our_own(root):
    def chosen(**environment):
        script = f'. "{root}/tools/environment.sh"; echo "$DLD_VENV"'
        done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, env=environment, check=True)
        return done.stdout.strip()

    assert chosen(DLD_VENV="/named", VIRTUAL_ENV="/active") == "/named"
    assert chosen(DLD_VENV="envs/named") == f"{root}/envs/named"
    assert chosen(VIRTUAL_ENV="/active", CONDA_PREFIX="/conda") == "/active"
    assert chosen(CONDA_PREFIX="/conda") == "/conda"
    assert chosen() == f"{root}/tools/venv"


def test_a_recipe_without_an_environment_says_what_to_do(root, tmp_path):
    done = subprocess.run(
        ["bash", "-euc", ". ./path.sh"],
        cwd=root / "recipes" / "mini",
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "DLD_VENV": str(tmp_path / "none")},
    )
    assert done.returncode == 1
    assert f"no Python environment at {tmp_path / 'none'}; run `./run.sh --setup-only true`" in done.stderr


@pytest.fixture
def installer(root, checkout):
    """The real installer in the copy, with an interpreter of our choice for a new environment."""
    shutil.copy(root / "tools" / "install.sh", checkout / "tools" / "install.sh")

    def install(interpreter):
        python = checkout / "interpreter"
        python.write_text(interpreter)
        python.chmod(0o755)
        done = subprocess.run(
            [checkout / "tools" / "install.sh"],
            capture_output=True,
            text=True,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHON": str(python),
                "DLD_VENV": str(checkout / "env"),
                # No package can be had: what the installer does without a network.
                "PIP_CONFIG_FILE": "/dev/null",
                "PIP_NO_INDEX": "1",
            },
        )
        return done.returncode, done.stdout, done.stderr

    return install


def test_an_old_interpreter_is_refused(installer, checkout):
    status, _, error = installer('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.8.10 && exit\nexit 1\n')
    assert status == 1
    assert "Python 3.10 or newer is needed" in error and "is Python 3.8.10" in error
    assert not (checkout / "env").exists()


def test_an_interpreter_without_venv_is_refused(installer, checkout):
    real = f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
    status, _, error = installer(real)
    assert status == 1
    assert "python3-venv" in error
    assert not (checkout / "env").exists()


def test_a_failing_pip_is_reported_and_leaves_no_stamp(installer, checkout):
    # An environment whose pip finds nothing and which has no torch.
    python = checkout / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    pip = 'case "$*" in *"pip --version"*) exit 0;; *pip*) echo "No matching distribution" && exit 1;; esac\n'
    python.write_text(f'#!/bin/sh\n{pip}exec {sys.executable} -S -I "$@"\n')
    python.chmod(0o755)
    status, output, error = installer("#!/bin/sh\nexit 1\n")
    assert status == 1
    assert "[2/5] torch" in output
    assert "No matching distribution" in error
    assert "pip could not install torch==" in error
    assert not (checkout / "env" / ".dld-installed").exists()


def test_torchaudio_is_mended_and_the_mending_can_be_undone(root, tmp_path):
    fix = _load(root / "tools" / "fix_torchaudio.py")
    library = tmp_path / "lib"
    library.mkdir()
    (library / "_torchaudio.abi3.so").write_bytes(b"not for this machine")
    (library / "notes.txt").write_text("stays")
    assert fix.disable(library) == [library / "disabled" / "_torchaudio.abi3.so"]
    assert sorted(path.name for path in library.iterdir()) == ["disabled", "notes.txt"]
    assert fix.disable(library) == []
    fix.restore(library)
    assert (library / "_torchaudio.abi3.so").read_bytes() == b"not for this machine"


@pytest.mark.parametrize("curable", [True, False])
def test_torchaudio_that_does_not_import_is_mended_or_reported(root, tmp_path, curable):
    # A torchaudio whose extension cannot load, or which is broken otherwise, beside a torch without CUDA.
    package = tmp_path / "torchaudio"
    (package / "lib").mkdir(parents=True)
    extension = package / "lib" / "_torchaudio.abi3.so"
    extension.write_bytes(b"built for CUDA")
    broken = f"__import__('os').path.exists({str(extension)!r})" if curable else "True"
    (package / "__init__.py").write_text(f"if {broken}:\n    raise OSError('Could not load this library')\n")
    (tmp_path / "torch.py").write_text("__version__ = '9.9+cpu'\nclass version:\n    cuda = None\n")
    script = root / "tools" / "fix_torchaudio.py"

    def run():
        return subprocess.run(
            [sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path
        )

    done = run()
    if curable:
        assert done.returncode == 0
        assert "moved 1 file(s)" in done.stdout and "forced_align" in done.stdout
        assert not extension.exists()
        again = run()
        assert (again.returncode, again.stdout) == (0, "")
    else:
        assert done.returncode == 1
        assert "does not import beside torch 9.9+cpu: OSError: Could not load this library" in done.stderr
        assert extension.exists()


def _pins(root):
    lines = (root / "tools" / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
