"""The gated Conformer."""

import pytest
import torch

from dld.encoders import GatedConformer
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
