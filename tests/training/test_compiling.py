"""Blocks that torch.compile compiles."""

import json
import os
import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from dld import GatedConformer
from dld.errors import DldError
from dld.files import read_json
from dld.training.compiling import compile_blocks

#: Utterances and frames of batches.
BATCHES = ((3, 40), (2, 56), (5, 72), (4, 33))
GATES = ((1, 1, 1, 1), (1, 0, 1, 0), (0, 1, 0, 1), (0, 0, 0, 1))

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile on a CPU needs a C++ compiler"
)


@pytest.fixture
def encoders():
    """A Conformer and a copy of it to be compiled: `encoders("rotary")`."""
    torch._dynamo.reset()
    counters.clear()

    def make(attention, dropout=0.0):
        sizes = {"num_blocks": 4, "d_model": 16, "d_ffn": 32, "num_heads": 2, "kernel_size": 3}
        plain, other = (GatedConformer(input_size=8, **sizes, attention=attention, dropout=dropout) for _ in range(2))
        other.load_state_dict(plain.state_dict())
        return plain, other

    yield make
    torch._dynamo.reset()


def batch(utterances, frames):
    lengths = torch.tensor([frames] + [frames - 5] * (utterances - 1))
    return torch.randn(utterances, frames, 8), lengths


def compilations():
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("attention", ["rotary", "relative"])
def test_what_is_compiled_serves_all_blocks_gate_vectors_and_lengths(encoders, attention):
    _, encoder = encoders(attention, dropout=0.1)
    names = list(encoder.state_dict())
    # The backend that calls PyTorch's operators shows as well as the real one what is compiled again.
    compile_blocks(encoder, "cpu", backend="eager")
    assert list(encoder.state_dict()) == names
    for training in (True, False):
        encoder.train(training)
        for size in BATCHES:
            for gates in GATES:
                with torch.set_grad_enabled(training):
                    encoder(*batch(*size), gates)
        assert compilations() == (1 if training else 2)


@needs_compiler
@pytest.mark.slow
def test_compiled_blocks_compute_the_same_and_are_compiled_once(encoders):
    plain, compiled = encoders("rotary")
    compile_blocks(compiled, "cpu")
    for size in BATCHES:
        for gates in GATES:
            features, lengths = batch(*size)
            results = []
            for encoder in (plain, compiled):
                encoder.zero_grad()
                hidden = encoder(features, lengths, gates).hidden
                hidden.square().sum().backward()
                results.append((hidden, *(p.grad for p in encoder.parameters() if p.grad is not None)))
            torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
        assert compilations() == 1


@needs_compiler
@pytest.mark.slow
def test_a_run_trains_with_compiled_blocks_and_its_model_is_like_any_other(experiment, tmp_path):
    plain = experiment("ld", tmp_path / "plain", num_epochs=1)
    compiled = experiment("ld", tmp_path / "compiled", num_epochs=1, compile=True)
    logs = [json.loads((folder / "train_log.jsonl").read_text()) for folder in (plain, compiled)]
    # Dropout draws other random numbers.
    assert logs[1]["train_loss"] == pytest.approx(logs[0]["train_loss"], rel=0.1)
    shapes = [read_json(folder / "model.json")["num_blocks"] for folder in (plain, compiled)]
    assert shapes[0] == shapes[1]
    with pytest.raises(DldError, match="other settings .compile: true -> false"):
        experiment("ld", tmp_path / "compiled", num_epochs=1)


def test_a_machine_without_a_compiler_says_so(encoders, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DldError, match="compile: true needs a C\\+\\+ compiler on a CPU"):
        compile_blocks(encoders("rotary")[1], "cpu")
