"""What every gated encoder does: any block closed, batches free of padding, common prefixes shared."""

import pytest
import torch

from dld.encoders import GatedConformer, GatedWavLM, GatedWhisper
from dld.errors import DldError
from dld.gates import evenly_spaced

N = 4
OPEN = (True,) * N
SMALL = {"num_blocks": N, "d_model": 16, "d_ffn": 32, "num_heads": 2}
WAVLM = {
    **SMALL,
    "conv_layers": [[24, 10, 5], *[[24, 3, 2]] * 4, *[[24, 2, 2]] * 2],
    "positional_kernel": 16,
    "positional_groups": 4,
    "freeze_extractor": False,
    "mask_time_share": 0.0,
}
QUIET = {"dropout": 0.0}
QUIET_WAVLM = {**QUIET, "attention_dropout": 0.0, "activation_dropout": 0.0, "projection_dropout": 0.0}
# Class, settings, and those that leave dropout out.
CASES = {
    "conformer-conv1d": (GatedConformer, {"input_size": 20, "kernel_size": 5, "subsampling": "conv1d"}, QUIET),
    "conformer-conv2d": (GatedConformer, {"input_size": 20, "kernel_size": 5, "subsampling": "conv2d"}, QUIET),
    "conformer-rotary": (GatedConformer, {"input_size": 20, "kernel_size": 5, "attention": "rotary"}, QUIET),
    "wavlm-base": (GatedWavLM, WAVLM, QUIET_WAVLM),
    "wavlm-large": (GatedWavLM, {**WAVLM, "conv_norm": "layer", "pre_norm": True}, QUIET_WAVLM),
    "whisper": (GatedWhisper, {"input_size": 20, "max_frames": 50, "stack": 1}, QUIET),
    "whisper-pairs": (GatedWhisper, {"input_size": 20, "max_frames": 50, "stack": 2}, QUIET),
    "whisper-triples": (GatedWhisper, {"input_size": 20, "max_frames": 50, "stack": 3}, QUIET),
}


@pytest.fixture(params=list(CASES))
def make(request):
    """Makes an encoder of each kind: `make(quiet=True, **settings)`, quiet being without dropout."""
    kind, settings, quiet_settings = CASES[request.param]

    def encoder(quiet=True, **more):
        torch.manual_seed(0)
        made = kind(**{**SMALL, **settings, **(quiet_settings if quiet else {}), **more})
        # Away from where norms and biases start, so that a mix-up of them shows.
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        return made

    encoder.kind = kind
    return encoder


@pytest.fixture
def batch(make):
    torch.manual_seed(1)
    if make.kind is GatedWavLM:
        return torch.randn(3, 24000) * torch.linspace(0.05, 0.5, 24000), torch.tensor([24000, 15111, 4000])
    return torch.randn(4, 61, 20), torch.tensor([61, 40, 9, 1])


@pytest.mark.parametrize("gates", [(1, 0, 1, 0), (0, 1, 0, 0), (0, 0, 0, 1), (1, 1, 1, 1)])
def test_a_closed_gate_runs_no_code_of_its_block(make, batch, gates):
    encoder = make().eval()
    called = set()
    for block, layer in enumerate(encoder.layers):
        for module in layer.modules():
            module.register_forward_hook(lambda *_, block=block: called.add(block))
    encoder(*batch, gates)
    assert called == {block for block, gate in enumerate(gates) if gate}


def test_different_gates_give_different_outputs(make, batch):
    encoder = make().eval()
    outputs = [encoder(*batch, gates)[0] for gates in [OPEN, (1, 1, 1, 0), (0, 1, 1, 1), (1, 0, 0, 0), (0, 0, 0, 1)]]
    for index, first in enumerate(outputs):
        for second in outputs[index + 1 :]:
            assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("gates", [OPEN, (False, True, False, True), (False, False, False, True)])
def test_a_padded_batch_equals_its_utterances_one_by_one(make, batch, gates, gradients):
    encoder = make().eval()
    inputs, lengths = batch
    with torch.set_grad_enabled(gradients):
        hidden, frames = encoder(*batch, gates)
        for row, length in enumerate(lengths.tolist()):
            alone, [alone_frames] = encoder(inputs[row : row + 1, :length], lengths[row : row + 1], gates)
            assert frames[row] == alone_frames == alone.shape[1]
            torch.testing.assert_close(hidden[row, :alone_frames], alone[0], atol=1e-4, rtol=1e-5)


def test_an_input_gives_at_least_the_frames_that_are_counted_on(make, batch):
    encoder = make()
    inputs, _ = batch
    for length in range(encoder.subsampling + encoder.overlap, inputs.shape[1], 1 + inputs.shape[1] // 60):
        counted = (length - encoder.overlap) // encoder.subsampling
        [frames] = encoder.embed(inputs[:1, :length], torch.tensor([length])).lengths.tolist()
        assert counted <= frames <= counted + 1


@pytest.mark.parametrize("gradients", [False, True])
def test_what_is_in_the_padding_does_not_matter(make, batch, gradients):
    encoder = make().eval()
    inputs, lengths = batch
    dirty = inputs.clone()
    dirty[1, lengths[1] :] = 1e3
    for gates in [OPEN, (True, False, True, True)]:
        with torch.set_grad_enabled(gradients):
            clean, frames = encoder(inputs, lengths, gates)
            assert torch.equal(encoder(dirty, lengths, gates)[0][1, : frames[1]], clean[1, : frames[1]])


def test_computing_gradients_changes_no_output(make, batch):
    encoder = make().eval()
    hidden, lengths = encoder(*batch, OPEN)
    with torch.no_grad():
        expected, _ = encoder(*batch, OPEN)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(hidden[row, :length].detach(), expected[row, :length], atol=1e-5, rtol=1e-5)


def test_sharing_common_beginnings_changes_nothing(make, batch):
    encoder = make().eval()
    vectors = [evenly_spaced(N, n) for n in range(1, N + 1)] + [(False, True, True, True), OPEN]
    runs = []
    embedded = encoder.embed(*batch)
    hook = encoder.layers[0].register_forward_hook(lambda *_: runs.append(1))
    together = encoder.encode(embedded, vectors)
    hook.remove()
    assert len(runs) == 1
    for gates, hidden in zip(vectors, together, strict=True):
        assert torch.equal(hidden, encoder(*batch, gates)[0])


def test_without_dropout_sharing_changes_nothing_in_training(make, batch):
    vectors = [evenly_spaced(N, n) for n in (4, 1, 2)]
    results = []
    for share_prefix in (False, True):
        encoder = make().train()
        outputs = encoder.encode(encoder.embed(*batch), vectors, share_prefix)
        sum(output.square().sum() for output in outputs).backward()
        results.append([*outputs, *(p.grad for p in encoder.parameters())])
    for alone, shared in zip(*results, strict=True):
        assert (alone is None) == (shared is None)
        if alone is not None:
            torch.testing.assert_close(alone, shared, atol=1e-4 * alone.detach().abs().max().item(), rtol=1e-4)


def test_in_training_each_vector_has_its_own_dropout(make, batch):
    encoder = make(quiet=False, dropout=0.5)
    first, second = encoder.train().encode(encoder.embed(*batch), [OPEN, OPEN])
    assert not torch.allclose(first, second)
    first, second = encoder.eval().encode(encoder.embed(*batch), [OPEN, OPEN])
    assert torch.equal(first, second)


def test_closed_blocks_get_no_gradient_and_open_ones_do(make, batch):
    encoder = make().train()
    encoder(*batch, (True, False, True, False))[0].square().sum().backward()
    for block, layer in enumerate(encoder.layers):
        for name, parameter in layer.named_parameters():
            assert (parameter.grad is None) == (block in (1, 3)), (block, name)


@pytest.mark.parametrize("gates", [(True, True), (False,) * N, (True,) * (N + 1)])
def test_gates_that_do_not_fit_are_refused(make, batch, gates):
    with pytest.raises(DldError, match="gate vector"):
        make()(*batch, gates)


def test_training_under_bfloat16_autocast_runs(make, batch):
    encoder = make(quiet=False).train()
    with torch.autocast("cpu", torch.bfloat16):
        hidden, _ = encoder(*batch, (True, False, True, True))
    hidden.float().square().sum().backward()
    assert hidden.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_an_encoder_says_what_it_is_and_what_is_trained_at_which_rate():
    encoder = GatedConformer(**SMALL, input_size=20, kernel_size=5)
    assert encoder.description == "conformer-4x16"
    assert (encoder.overlap, encoder.max_seconds) == (0, None)
    [group] = encoder.parameter_groups()
    assert group["lr_scale"] == 1.0
    assert {id(p) for p in group["params"]} == {id(p) for p in encoder.parameters()}


def test_what_enters_the_blocks_is_what_the_features_became(make, batch):
    encoder = make().eval()
    hidden, lengths = encoder(*batch, OPEN)
    embedded = encoder.embed(*batch)
    assert torch.equal(lengths, embedded.lengths)
    [output] = encoder.encode(embedded, [OPEN])
    assert torch.equal(output, hidden)


def test_blocks_run_in_their_order():
    encoder = GatedConformer(**SMALL, input_size=20, kernel_size=5).eval()
    order = []
    for index, layer in enumerate(encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: order.append(index))
    encoder(torch.randn(1, 20, 20), torch.tensor([20]), (True, False, True, True))
    assert order == [0, 2, 3]
