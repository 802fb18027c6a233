"""The gated Conformer."""

import pytest
import torch
from speechbrain.lobes.models.transformer.Conformer import ConformerEncoderLayer
from speechbrain.nnet.activations import Swish
from speechbrain.nnet.attention import RelPosEncXL

from dld.encoders import GatedConformer, kernels
from dld.encoders.conformer_block import rotary_positions, rotate
from dld.errors import DldError

N = 4


def make(**settings):
    torch.manual_seed(0)
    small = {"input_size": 20, "num_blocks": N, "d_model": 16, "d_ffn": 32, "num_heads": 2, "kernel_size": 5}
    return GatedConformer(**{**small, **settings})


def test_a_closed_gate_may_keep_the_closing_norm():
    batch = torch.randn(3, 61, 20), torch.tensor([61, 40, 9])
    encoder = make(closed_norm=True).eval()
    embedded = encoder.embed(*batch)
    expected = encoder.layers[1].norm2(embedded.hidden)
    assert torch.equal(encoder.skip_block(1, embedded.hidden), expected)
    plain = make(closed_norm=False).eval()
    plain.load_state_dict(encoder.state_dict())
    gates = (True, False, True, True)
    assert not torch.allclose(encoder(*batch, gates)[0], plain(*batch, gates)[0])
    assert torch.equal(encoder(*batch, (True,) * N)[0], plain(*batch, (True,) * N)[0])


def test_an_unknown_subsampling_is_refused():
    with pytest.raises(DldError, match="conv1d or conv2d"):
        make(subsampling="pooling")


@pytest.mark.parametrize("on", [True, False])
def test_a_block_with_relative_positions_computes_what_speechbrains_does(on):
    encoder = make(dropout=0.0)
    theirs = ConformerEncoderLayer(d_model=16, d_ffn=32, nhead=2, kernel_size=5, activation=Swish, dropout=0.0)
    theirs.load_state_dict(encoder.layers[0].state_dict())
    hidden = torch.randn(3, 9, 16)
    positions = RelPosEncXL(16)(hidden)
    results = []
    for block in (lambda x: encoder.layers[0](x, None, positions), lambda x: theirs(x, pos_embs=positions)[0]):
        inputs = hidden.clone().requires_grad_()
        with kernels.use(on):
            out = block(inputs)
            (out * torch.arange(16.0)).sum().backward()
        results.append((out.detach(), inputs.grad))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {"attention": "rotary"}, {"attention": "rotary", "chunk": 4, "left_chunks": 1}]
)
def test_kernels_change_neither_output_nor_gradients(settings):
    encoder, batch = make(dropout=0.0, **settings), (torch.randn(3, 61, 20), torch.tensor([61, 40, 9]))
    results = []
    for on in (True, False):
        encoder.zero_grad()
        with kernels.use(on):
            out, lengths = encoder(*batch, (True, False, True, True))
            valid = torch.arange(out.shape[1]) < lengths[:, None]
            (out[valid] * torch.arange(16.0)).sum().backward()
        results.append([out[valid].detach(), *(p.grad for p in encoder.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 50
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("on", [True, False])
def test_rotated_products_depend_on_the_distance_alone(on):
    heads = torch.randn(1, 1, 2, 1, 8).expand(1, 30, 2, 1, 8)
    with kernels.use(on):
        rotated = rotate(heads, rotary_positions(30, 8, heads))
    products = rotated[0, :, 0, 0] @ rotated[0, :, 1, 0].T
    for distance in (-7, 0, 3):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    assert (products[0] - products[0, 0]).abs().max() > 0.1
    torch.testing.assert_close(rotated[0, 0], heads[0, 0])


def test_heads_of_odd_width_cannot_rotate():
    with pytest.raises(DldError, match="d_model is 18 with num_heads 6; rotary attention needs heads of even width"):
        make(d_model=18, num_heads=6, attention="rotary")


@pytest.mark.parametrize("attention", ["relative", "rotary"])
def test_low_precision_takes_no_kernel_that_is_slow_there(attention, monkeypatch):
    encoder, batch = make(attention=attention), (torch.randn(2, 61, 20), torch.tensor([61, 40]))
    monkeypatch.setattr(torch.nn.functional, "conv2d", None)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = encoder(*batch, (True,) * N)
    assert out.isfinite().all()
