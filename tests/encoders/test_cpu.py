"""Faster arithmetic for CPUs gives what PyTorch's own gives."""

import pytest
import torch
from torch.nn import functional

from dld.encoders.cpu import dropout, linear


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


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    hidden = torch.ones(301, 333, requires_grad=True)
    out = dropout(hidden, 0.1)
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(0.9, abs=0.005)
    assert out.mean().item() == pytest.approx(1.0, abs=0.005) and out[kept].unique().numel() == 1
    out.sum().backward()
    assert torch.equal(hidden.grad, out.detach())
    assert not torch.equal(dropout(hidden, 0.1), out)
    assert dropout(hidden, 0.0) is hidden and not dropout(hidden, 1.0).any()
