"""What the tests of recipes share: their drivers, run as a user does, and what makes the paper's network tiny."""

import os
import subprocess
import sys

import pytest

TINY = {
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


@pytest.fixture(scope="session")
def tiny():
    """Overrides that make the paper's network tiny."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_args():
    """The same as the drivers' option --train-args wants it."""
    return " ".join(f"--{key} {str(value).replace(' ', '')}" for key, value in TINY.items())


@pytest.fixture(scope="session")
def drive():
    """Runs a script with this interpreter's environment: `drive(script, *options, cwd=None) -> CompletedProcess`."""

    def call(script, *options, cwd=None):
        environment = {**os.environ, "DLD_VENV": sys.prefix, "OMP_NUM_THREADS": "1"}
        return subprocess.run([script, *options], capture_output=True, text=True, env=environment, check=False, cwd=cwd)

    return call
