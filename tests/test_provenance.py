"""The command that a record keeps."""

import shlex
import subprocess
import sys

import pytest

from dld import provenance

BIN = str(provenance.Path(provenance.__file__).parent / "bin")


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/home/me/venv/bin/dld", "dld train 'my base.yaml' --lr '!ref <x>'"),
        (f"{BIN}/main.py", "dld train 'my base.yaml' --lr '!ref <x>'"),
        (f"{BIN.removesuffix('bin')}__main__.py", "dld train 'my base.yaml' --lr '!ref <x>'"),
        ("/somewhere/bin/mine.py", "mine.py train 'my base.yaml' --lr '!ref <x>'"),
    ],
)
def test_a_command_is_as_it_would_be_typed(monkeypatch, program, command):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(sys, "argv", [program, "train", "my base.yaml", "--lr", "!ref <x>"])
    assert provenance.command_line() == command
    assert shlex.split(command)[2] == "my base.yaml"


@pytest.mark.parametrize(
    ("module", "start"), [("train", "dld train"), ("gate_table", "dld gates"), ("tune_lm", "dld tune-lm")]
)
def test_a_module_is_the_command_that_runs_it(monkeypatch, module, start):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(sys, "argv", [f"{BIN}/{module}.py", "--exp", "a b"])
    assert provenance.command_line() == f"{start} --exp 'a b'"


def test_under_torchrun_it_is_that_command(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", [f"{BIN}/train.py", "x.yaml"])
    assert provenance.command_line() == "torchrun --standalone --nproc-per-node=2 -m dld.bin.train x.yaml"


def test_the_command_of_a_run_can_be_pasted(root, tmp_path):
    code = "from dld.provenance import command_line; print(command_line())"
    (tmp_path / "dld").write_text(f"#!{sys.executable}\n{code}\n")
    words = [sys.executable, str(tmp_path / "dld"), "train", "it's", "$HOME"]
    first = subprocess.run(words, capture_output=True, text=True, cwd=root, check=True).stdout.strip()
    (tmp_path / "dld").chmod(0o755)
    again = f"PATH={shlex.quote(str(tmp_path))}:$PATH; {first}"
    second = subprocess.run(["bash", "-c", again], capture_output=True, text=True, cwd=root, check=True)
    assert second.stdout.strip() == first == "dld train 'it'\"'\"'s' '$HOME'"
