"""A pack in an environment that has what packs need, and nothing of what training needs."""

import re
import shutil
import subprocess
import sys

import pytest

#: What `dld[runtime]` names, and what onnxruntime and soundfile need themselves.
INSTALLED = {"dld", "numpy", "scipy", "sentencepiece", "soundfile", "onnxruntime", "pip", "setuptools"}
BELOW = {"flatbuffers", "packaging", "protobuf", "cffi", "pycparser", "coloredlogs", "humanfriendly", "sympy", "mpmath"}
BELOW |= {"typing-extensions"}


@pytest.mark.slow
def test_a_pack_in_an_empty_environment(root, pack, babbler, recognizer, files, tiny_corpus, tmp_path):
    checkout, environment = tmp_path / "checkout", tmp_path / "env"
    shutil.copytree(root / "dld", checkout / "dld", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, checkout / name)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    installing = [environment / "bin/pip", "install", "-q", f"{checkout}[runtime]"]
    done = subprocess.run(installing, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip could not install: {done.stderr.strip().splitlines()[-1]}")
    listed = subprocess.run(
        [environment / "bin/pip", "list", "--format", "freeze"], capture_output=True, text=True, check=True
    )
    names = {line.partition("==")[0].lower().replace("_", "-") for line in listed.stdout.splitlines()}
    assert names <= INSTALLED | BELOW and names >= INSTALLED - {"pip", "setuptools"}

    def run(*arguments):
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        command = [environment / "bin/dld", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean)

    done = run("transcribe", pack, *files, "--depth", "2")
    texts = recognizer.transcribe(files, depth=2, policy="table")
    lines = [f"{path}\t{text}" for path, text in zip(files, texts, strict=True)]
    assert (done.returncode, done.stdout.splitlines()) == (0, lines), done.stderr
    for extra in (["--format", "json", "--times", "true"], ["--beam-size", "4"], ["--progress", "true"]):
        assert run("transcribe", pack, files[0], *extra).returncode == 0
    done = run("bench", pack, "--data", tiny_corpus / "test", "--utterances", "1", "--rounds", "2", "--threads", "1")
    assert done.returncode == 0 and "single graphs are not measured" in done.stderr, done.stderr
    assert "| 1 |" in done.stdout and "one graph" not in done.stdout
    for arguments, message in (
        (["train", "base.yaml"], r"needs \w+, which is not installed: pip install 'dld\[train\]'"),
        (["transcribe", babbler, files[0]], r"needs \w+, which is not installed: pip install 'dld\[train\]'"),
        (["export", babbler, "--out", "pack"], r"needs onnx, which is not installed: pip install 'dld\[export\]'"),
    ):
        done = run(*map(str, arguments))
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        # A module that is imported before its command begins is reported by `dld` itself.
        assert done.stderr.startswith((f"dld {arguments[0]}: error: ", "dld: error: "))
        assert re.search(message, done.stderr), done.stderr
