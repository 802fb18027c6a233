"""What the tests of recipes share: their drivers, run as a user does, and what makes the paper's network tiny."""

import json
import os
import shutil
import subprocess
import sys

import pytest

TINY_PAPER = {
    "num_blocks": 3,
    "d_model": 16,
    "d_ffn": 32,
    "num_heads": 2,
    "kernel_size": 3,
    "subsampling_channels": 4,
    "vocab_size": 64,
    "num_epochs": 1,
    "warmup": 2,
    "valid_depths": [1, 3],
    "decode_depths": [1, 3],
    "max_batch_seconds": 20,
    "num_workers": 0,
    "network.blank_bias": -2,
}
TINY_MINI = {"num_blocks": 3, "d_model": 16, "valid_depths": [1, 3], "decode_depths": [1, 3], "num_epochs": 1}
TINY_WAVLM = {
    **TINY_MINI,
    "d_ffn": 32,
    "num_heads": 2,
    "conv_layers": [[16, 10, 5], [16, 8, 8], [16, 8, 8]],
    "positional_kernel": 8,
    "positional_groups": 2,
    "pretrained": None,
    "freeze_updates": 1,
    "warmup": 2,
    "num_workers": 0,
    "max_batch_seconds": 20,
    "vocab_size": 32,
}


TINY = {
    "mini": TINY_MINI,
    "paper": TINY_PAPER,
    "wavlm": TINY_WAVLM,
    "whisper": {**TINY_MINI, "d_model": 64, "pretrained": None, "vocab_size": 32},
}


@pytest.fixture(scope="session")
def tiny():
    """Overrides that make a network tiny, with random weights: by the kind of its experiment file."""
    return TINY


@pytest.fixture(scope="session")
def tiny_args():
    """The same as the drivers' option --train-args wants it: `tiny_args("paper", num_epochs=1)`."""

    def words(kind, **more):
        settings = {**TINY[kind], **more}
        return " ".join(f"--{key} {json.dumps(value).replace(' ', '')}" for key, value in settings.items())

    return words


@pytest.fixture(scope="session")
def drive():
    """Runs a script with this interpreter's environment: `drive(script, *options, cwd=None) -> CompletedProcess`."""

    def call(script, *options, cwd=None):
        environment = {**os.environ, "DLD_VENV": sys.prefix, "OMP_NUM_THREADS": "1"}
        return subprocess.run([script, *options], capture_output=True, text=True, env=environment, check=False, cwd=cwd)

    return call


@pytest.fixture
def with_known_words(tmp_path):
    """Copies what a driver left, dev and a test set replaced by train: words that a language model of train knows."""

    def copy(finished, test_set):
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        for name in ("dev", test_set):
            shutil.rmtree(tmp_path / "data" / name)
            shutil.copytree(tmp_path / "data/train", tmp_path / "data" / name)
            for decode in tmp_path.glob(f"exp/*/decode_{test_set}_*"):
                shutil.rmtree(decode)
        return tmp_path

    return copy
