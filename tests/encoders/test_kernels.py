"""Faster arithmetic for CPUs has the results of PyTorch's own, and one switch turns it off."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from dld.encoders import kernels
from dld.encoders.kernels import (
    FeedForward,
    add_dropped,
    attention,
    depthwise,
    feed_forward,
    grouped_convolution,
    linear,
)
from dld.encoders.kernels import feedforward as feedforward_module


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("outputs", [16, 512])
def test_a_linear_layer_and_its_gradients(gelu, bias, outputs):
    torch.manual_seed(0)
    tensors = [torch.randn(2, 5, 24), torch.randn(outputs, 24), torch.randn(outputs) if bias else None]
    results = []
    for ours in (True, False):
        hidden, weight, offset = (t if t is None else t.clone().requires_grad_() for t in tensors)
        if ours:
            out = linear(hidden, weight, offset, gelu=gelu)
        else:
            out = functional.linear(hidden, weight, offset)
            out = functional.gelu(out) if gelu else out
        (out * torch.linspace(-1, 1, outputs)).sum().backward()
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


@pytest.fixture
def half_step():
    """Hidden states (2, 7, 12), and weights of a feed-forward module with 32 hidden values."""
    torch.manual_seed(0)
    shapes = [(12,), (12,), (32, 12), (32,), (12, 32), (12,)]
    return torch.randn(2, 7, 12), FeedForward(*(torch.randn(*shape) for shape in shapes))


def leaves(hidden, weights):
    return [tensor.clone().requires_grad_() for tensor in (hidden, *weights)]


@pytest.mark.parametrize("frames", [1, 5, 1000])
def test_a_feed_forward_module_and_its_gradients_in_pieces(half_step, frames, monkeypatch):
    monkeypatch.setattr(feedforward_module, "_HIDDEN", frames * 32)
    results = []
    for on in (True, False):
        with kernels.use(on):
            tensors = leaves(*half_step)
            out = feed_forward(tensors[0], FeedForward(*tensors[1:]), p=0.5, training=False)
            (out * torch.arange(12.0)).sum().backward()
        results.append([out.detach(), *(tensor.grad for tensor in tensors)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("frames", [5, 1000])
def test_dropout_in_a_feed_forward_module_has_the_gradient_of_what_it_computed(half_step, frames, monkeypatch):
    monkeypatch.setattr(feedforward_module, "_HIDDEN", frames * 32)

    def run(tensors):
        torch.manual_seed(1)
        out = feed_forward(tensors[0], FeedForward(*tensors[1:]), p=0.3, training=True)
        return (out * torch.linspace(-1, 1, 12)).sum()

    tensors = leaves(*half_step)
    run(tensors).backward()
    # Along a direction that moves every weight.
    torch.manual_seed(2)
    direction = [1e-3 * torch.randn_like(tensor) for tensor in tensors]
    ahead, behind = (
        run([tensor.detach().requires_grad_() + sign * step for tensor, step in zip(tensors, direction, strict=True)])
        for sign in (1, -1)
    )
    expected = sum((tensor.grad * step).sum() for tensor, step in zip(tensors, direction, strict=True))
    assert (ahead - behind).item() / 2 == pytest.approx(expected.item(), rel=2e-2)


def test_a_feed_forward_module_drops_its_share_of_both_layers():
    torch.manual_seed(0)
    width = 400
    # A constant input to the expansion: each hidden value is silu(1), each output their mean.
    weights = FeedForward(
        torch.zeros(width),
        torch.zeros(width),
        torch.zeros(8, width),
        torch.ones(8),
        torch.zeros(width, 8),
        torch.zeros(width),
    )
    weights.project_weight[:, 0] = 1.0
    hidden = torch.zeros(1, 500, width, requires_grad=True)
    out = feed_forward(hidden, weights, p=0.2, training=True).detach()[0]
    # A frame whose first hidden value is dropped is zero; of the others a fifth of the outputs is.
    rows = out.any(1)
    assert rows.float().mean().item() == pytest.approx(0.8, abs=0.06)
    assert (out[rows] != 0).float().mean().item() == pytest.approx(0.8, abs=0.005)
    value = 0.5 * functional.silu(torch.tensor(1.0)) / 0.8 / 0.8
    torch.testing.assert_close(out[out != 0], value.expand(int((out != 0).sum())), atol=0, rtol=1e-4)


def test_dropout_on_a_branch_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    residual, branch = torch.full((500, 500), 3.0, requires_grad=True), torch.ones(500, 500, requires_grad=True)
    out = add_dropped(residual, branch, 0.1, training=True)
    kept = out != 3.0
    assert kept.float().mean().item() == pytest.approx(0.9, abs=0.005)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 3 + 1 / 0.9))
    out.sum().backward()
    assert torch.equal(residual.grad, torch.ones(500, 500))
    torch.testing.assert_close(branch.grad, kept / torch.tensor(0.9))
    assert torch.equal(add_dropped(residual, branch, 0.1, training=False), residual + branch)
    torch.manual_seed(5)
    first = add_dropped(residual, branch, 0.1, training=True)
    torch.manual_seed(5)
    assert torch.equal(add_dropped(residual, branch, 0.1, training=True), first)


@pytest.mark.parametrize(("frames", "kernel"), [(1, 5), (50, 31), (3, 15)])
def test_a_depthwise_convolution_and_its_gradients(frames, kernel):
    torch.manual_seed(0)
    tensors = [torch.randn(2, frames, 12), torch.randn(12, 1, kernel), torch.randn(12)]
    results = []
    for on in (True, False):
        with kernels.use(on):
            hidden, weight, bias = (tensor.clone().requires_grad_() for tensor in tensors)
            out = depthwise(hidden, weight, bias)
            (out * torch.arange(12.0)).sum().backward()
        results.append([out.detach(), hidden.grad, weight.grad, bias.grad])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


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
