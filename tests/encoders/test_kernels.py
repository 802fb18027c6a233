"""Faster arithmetic for CPUs has the results of PyTorch's own, and one switch turns it off."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from dld.encoders import kernels
from dld.encoders.kernels import attention, grouped_convolution, linear


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_and_its_gradients(gelu, bias):
    torch.manual_seed(0)
    tensors = [torch.randn(2, 5, 24), torch.randn(16, 24), torch.randn(16) if bias else None]
    results = []
    for ours in (True, False):
        hidden, weight, offset = (t if t is None else t.clone().requires_grad_() for t in tensors)
        if ours:
            out = linear(hidden, weight, offset, gelu=gelu)
        else:
            out = functional.linear(hidden, weight, offset)
            out = functional.gelu(out) if gelu else out
        (out * torch.arange(16.0)).sum().backward()
        results.append([out.detach(), *(t.grad for t in (hidden, weight, offset) if t is not None)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(linear(*tensors, gelu=gelu), results[1][0], atol=1e-4, rtol=1e-5)


@pytest.fixture
def heads():
    """Queries, keys, values (2, 3, 7, 4), padding, gate and position bias."""
    torch.manual_seed(0)
    padding = torch.arange(7) >= torch.tensor([[7], [4]])
    return [*torch.randn(3, 2, 3, 7, 4), padding, torch.randn(2, 3, 7, 1), torch.randn(1, 3, 7, 7)]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_and_its_gradients(heads, biased, padded, dtype):
    queries, keys, values, padding, gate, position_bias = heads
    queries, keys, values = (tensor.to(dtype) for tensor in (queries, keys, values))
    results = []
    for ours in (True, False):
        q, k, v, g, b = (t.clone().requires_grad_() for t in (queries, keys, values, gate, position_bias))
        if ours:
            out = attention(q, k, v, padding if padded else None, *((g, b) if biased else ()))
        else:
            mask = (g * b if biased else torch.zeros(2, 1, 7, 7)).to(dtype)
            mask = mask.masked_fill(padding[:, None, None], float("-inf")) if padded else mask
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        (out * torch.arange(4.0)).sum().backward()
        results.append([out.detach(), *(t.grad for t in (q, k, v, g, b)[: 5 if biased else 3])])
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.15, "rtol": 0.05}
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, **tolerance)


def test_attention_leaves_out_its_share_of_the_weights_and_keeps_the_mean():
    torch.manual_seed(0)
    # Equal weights, and values that tell which of them were used.
    zeros = torch.zeros(1, 2, 500, 500)
    values = torch.eye(500).expand(1, 2, 500, 500).clone().requires_grad_()
    out = attention(zeros, zeros, values, p=0.1)
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(0.9, abs=0.005)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / 500 / 0.9), atol=0, rtol=1e-4)
    out.sum().backward()
    # The same weights are left out on the way back.
    torch.testing.assert_close(values.grad[..., 0], out.detach().sum(2))
    assert not torch.equal(attention(zeros, zeros, values, p=0.1), out)
    assert not attention(zeros, zeros, values, p=1.0).count_nonzero() > 50


def test_dropout_of_attention_has_the_gradient_of_what_it_computed(heads):
    queries, keys, values, padding, gate, position_bias = (t.double() if t.is_floating_point() else t for t in heads)

    def run(*tensors):
        torch.manual_seed(1)
        q, k, v, g, b = tensors
        return attention(q, k, v, padding, g, b, p=0.3)

    inputs = [t.requires_grad_() for t in (queries, keys, values, gate, position_bias)]
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize(("frames", "kernel"), [(1, 4), (50, 16), (50, 7), (3, 32)])
def test_a_grouped_convolution(frames, kernel):
    torch.manual_seed(0)
    hidden, weight = torch.randn(2, frames, 12), torch.randn(12, 3, kernel)
    padded = functional.pad(hidden.transpose(1, 2), (kernel // 2, kernel - 1 - kernel // 2))
    expected = functional.conv1d(padded, weight, groups=4).transpose(1, 2)
    torch.testing.assert_close(grouped_convolution(hidden, weight, 4), expected, atol=1e-4, rtol=1e-5)


def test_one_switch_turns_the_kernels_off_and_on_again():
    tensor = torch.zeros(1)
    assert kernels.applicable(tensor)
    with kernels.use(False):
        assert not kernels.applicable(tensor)
        with kernels.use(True):
            assert kernels.applicable(tensor)
        assert not kernels.applicable(tensor)
    assert kernels.applicable(tensor)
    assert not kernels.applicable_in_inference(tensor)
    with torch.no_grad():
        assert kernels.applicable_in_inference(tensor)
    kernels.use(False)
    assert not kernels.applicable(tensor)
    kernels.use(True)


@pytest.mark.parametrize(("value", "expected"), [("0", "False"), ("1", "True")])
def test_the_environment_turns_them_off(value, expected):
    code = "import torch; from dld.encoders import kernels; print(kernels.applicable(torch.zeros(1)))"
    environment = {**os.environ, "DLD_KERNELS": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
