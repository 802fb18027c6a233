"""The miniatures in egs_data are what their generator makes."""

import os
import subprocess
import sys

import pytest

from dld.data import espeak


@pytest.mark.skipif(not espeak.available(), reason="espeakng-loader is not installed")
def test_the_generator_makes_the_texts_and_files_that_are_there(root, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, root / "egs_data/make.py", tmp_path], check=True, env=environment)
    for corpus in ("tedlium3", "librispeech"):
        there, made = ({p.relative_to(f): p for p in (f / corpus).rglob("*")} for f in (root / "egs_data", tmp_path))
        assert made.keys() == there.keys()
        for name, path in made.items():
            if path.is_file() and path.suffix == ".txt":
                assert path.read_text() == there[name].read_text()
            elif path.suffix == ".stm":
                # Other versions of the synthesiser speak a little faster or slower: times aside.
                texts = [[line.split()[5:] for line in p.read_text().splitlines()] for p in (path, there[name])]
                assert texts[0] == texts[1]


def test_they_are_a_few_megabytes(root):
    files = [path for path in (root / "egs_data").rglob("*") if path.is_file() and not path.is_symlink()]
    assert 1_000_000 < sum(path.stat().st_size for path in files) < 5_000_000
