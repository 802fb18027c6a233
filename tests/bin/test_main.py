"""The command `dld`: what it finds, what it says, and that it does so without importing what takes long."""

import ast
import importlib.util
import json
import subprocess
import sys

import pytest

import dld
from dld.bin.main import COMMANDS, OLD_NAMES, main, main_of_old_name

HEAVY = {
    *("torch", "torchaudio", "speechbrain", "transformers", "sentencepiece", "hyperpyyaml", "onnxruntime"),
    *("numpy", "scipy", "matplotlib"),
}


@pytest.fixture(params=COMMANDS)
def name(request):
    if importlib.util.find_spec(COMMANDS[request.param].module) is None:
        pytest.skip("not there yet")
    return request.param


def run(root, *arguments, code="import sys; from dld.bin.main import main; sys.exit(main())"):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=root, capture_output=True, text=True, timeout=60
    )


def test_help_imports_nothing_that_takes_long(root, name):
    code = (
        "import atexit, json, sys\n"
        "from dld.bin.main import main\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "sys.exit(main())"
    )
    done = run(root, name, "--help", code=code)
    assert (done.returncode, done.stdout.split()[:3]) == (0, ["usage:", "dld", name])
    assert HEAVY & set(json.loads(done.stderr)) == set()


@pytest.mark.parametrize(
    "module", ["dld", "dld.errors", "dld.checks", "dld.files", "dld.gates", "dld.config.keys", "dld.bin.options"]
)
def test_modules_that_commands_import_at_their_top_are_quick(root, module):
    done = run(root, code=f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")
    assert HEAVY & set(json.loads(done.stdout)) == set()


def test_a_wrong_option_is_one_line_and_status_2(name, capsys):
    assert main([name, "--no-such-option"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"dld {name}: error: ") and f"see dld {name} --help" in err


def test_help_of_a_command_by_either_way(name, capsys):
    pages = []
    for arguments in ([name, "--help"], [name, "-h"], ["help", name]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_has_a_line_for_each_command(arguments, capsys):
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: dld COMMAND [options]"
    shown = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(shown) == sorted(COMMANDS)
    assert any(line.startswith("example: dld ") for line in lines)
    assert max(map(len, lines)) <= 120


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dld {dld.__version__}\n"


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("trian", "; did you mean 'train'?"),
        ("decoding", "; did you mean 'decode'?"),
        ("gate-table", "; it is now dld gates"),
        ("mini-corpus", "; it is now dld prepare mini"),
        ("xyz", ""),
        ("--verbose", ""),
    ],
)
def test_an_unknown_command_names_the_nearest(given, advice, capsys):
    assert main([given, "--help"]) == 2
    assert capsys.readouterr().err == f"dld: error: unknown command {given!r}{advice} (see dld --help)\n"


def test_it_runs_as_a_module(root):
    done = subprocess.run([sys.executable, "-m", "dld", "--version"], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"dld {dld.__version__}\n")


@pytest.mark.parametrize("module", ["data", "gate_table"])
def test_a_module_of_a_command_runs_by_itself_under_the_commands_name(root, module):
    name = {"gate_table": "gates"}.get(module, module)
    done = subprocess.run(
        [sys.executable, "-m", f"dld.bin.{module}", "--wrong"], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"dld {name}: error: ")


def test_errors_of_users_are_status_1(tmp_path, capsys):
    assert main(["data", "stats", str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().err.startswith(f"dld data: error: {tmp_path / 'absent'}")


def test_an_old_name_runs_its_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dld-data", "stats", str(tmp_path / "absent")])
    assert main_of_old_name() == 1
    assert capsys.readouterr().err.startswith("dld data: error: ")
    assert {arguments[0] for arguments in OLD_NAMES.values()} <= set(COMMANDS)


def test_all_modules_of_commands_are_in_the_table(root):
    """A module of dld/bin that can be run is a sub-command; all others are for them."""
    runnable = set()
    for path in (root / "dld/bin").glob("*.py"):
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse(path.read_text()).body):
            runnable.add(f"dld.bin.{path.stem}")
    assert runnable - {"dld.bin.main"} <= {entry.module for entry in COMMANDS.values()}
