"""The gated Conformer."""

import pytest
import torch

from dld.encoders import GatedConformer
from dld.errors import DldError
from dld.gates import evenly_spaced

N = 4


def make(**settings):
    torch.manual_seed(0)
    small = {"input_size": 20, "num_blocks": N, "d_model": 16, "d_ffn": 32, "num_heads": 2, "kernel_size": 5}
    return GatedConformer(**{**small, **settings})


@pytest.fixture(params=["conv1d", "conv2d"])
def encoder(request):
    return make(subsampling=request.param).eval()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(3, 61, 20), torch.tensor([61, 40, 9])


def called_blocks(encoder, features, lengths, gates):
    called = []
    hooks = [
        module.register_forward_hook(lambda *_, block=block: called.append(block))
        for block, layer in enumerate(encoder.layers)
        for module in layer.modules()
    ]
    encoder(features, lengths, gates)
    for hook in hooks:
        hook.remove()
    return set(called)


@pytest.mark.parametrize("gates", [(1, 0, 1, 0), (0, 1, 0, 0), (0, 0, 0, 1), (1, 1, 1, 1)])
def test_a_closed_gate_runs_no_code_of_its_block(encoder, batch, gates):
    assert called_blocks(encoder, *batch, gates) == {block for block, gate in enumerate(gates) if gate}


def test_a_closed_gate_may_keep_the_closing_norm(batch):
    encoder = make(closed_norm=True).eval()
    embedded = encoder.embed(*batch)
    expected = encoder.layers[1].norm2(embedded.hidden)
    assert torch.equal(encoder.skip_block(1, embedded.hidden), expected)
    plain = make(closed_norm=False).eval()
    plain.load_state_dict(encoder.state_dict())
    gates = (True, False, True, True)
    assert not torch.allclose(encoder(*batch, gates)[0], plain(*batch, gates)[0])
    assert torch.equal(encoder(*batch, (True,) * N)[0], plain(*batch, (True,) * N)[0])


def test_different_gates_give_different_outputs(encoder, batch):
    outputs = [encoder(*batch, gates)[0] for gates in [(1, 1, 1, 1), (1, 1, 1, 0), (0, 1, 1, 1), (1, 0, 0, 0)]]
    for i, first in enumerate(outputs):
        for second in outputs[i + 1 :]:
            assert not torch.allclose(first, second, atol=1e-3)


def test_a_padded_batch_equals_its_utterances_one_by_one(encoder, batch):
    features, lengths = batch
    for gates in [(True,) * N, (False, True, False, True)]:
        hidden, frames = encoder(features, lengths, gates)
        for row, length in enumerate(lengths.tolist()):
            alone, alone_frames = encoder(features[row : row + 1, :length], lengths[row : row + 1], gates)
            assert frames[row] == alone_frames[0] == alone.shape[1]
            torch.testing.assert_close(hidden[row, : frames[row]], alone[0], atol=1e-5, rtol=1e-5)


def test_what_is_in_the_padding_does_not_matter(encoder, batch):
    features, lengths = batch
    dirty = features.clone()
    dirty[1, 40:] = 1e4
    gates = (True, False, True, True)
    clean, frames = encoder(features, lengths, gates)
    assert torch.equal(encoder(dirty, lengths, gates)[0][1, : frames[1]], clean[1, : frames[1]])


def test_sharing_common_beginnings_changes_nothing(encoder, batch):
    vectors = [evenly_spaced(N, n) for n in range(1, N + 1)] + [(False, True, True, True), (True,) * N]
    embedded = encoder.embed(*batch)
    runs = []
    hook = encoder.layers[0].register_forward_hook(lambda *_: runs.append(1))
    together = encoder.encode(embedded, vectors)
    hook.remove()
    assert len(runs) == 1
    for gates, hidden in zip(vectors, together, strict=True):
        assert torch.equal(hidden, encoder(*batch, gates)[0])


def test_in_training_each_vector_has_its_own_dropout(batch):
    encoder = make(dropout=0.5).train()
    first, second = encoder.encode(encoder.embed(*batch), [(True,) * N, (True,) * N])
    assert not torch.allclose(first, second)


def test_closed_blocks_get_no_gradient_and_open_ones_do(batch):
    encoder = make().train()
    encoder(*batch, (True, False, True, False))[0].square().sum().backward()
    for block, layer in enumerate(encoder.layers):
        for name, parameter in layer.named_parameters():
            assert (parameter.grad is None) == (block in (1, 3)), (block, name)


@pytest.mark.parametrize("gates", [(True, True), (False,) * N, (True,) * (N + 1)])
def test_gates_that_do_not_fit_are_refused(encoder, batch, gates):
    with pytest.raises(DldError, match="gate vector"):
        encoder(*batch, gates)


def test_an_unknown_subsampling_is_refused():
    with pytest.raises(DldError, match="conv1d or conv2d"):
        make(subsampling="pooling")


def test_bfloat16_runs(encoder, batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, _ = encoder(*batch, (True, False, True, True))
    assert torch.isfinite(hidden).all()
