"""The gated Whisper encoder."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dld.encoders import GatedWhisper
from dld.encoders.whisper import sinusoids
from dld.errors import DldError
from dld.frontends import WhisperLogMel
from dld.gates import evenly_spaced
from dld.macs import gmacs_per_second
from dld.network import GatedCTC

N = 4


def make(**settings):
    torch.manual_seed(0)
    small = {"input_size": 20, "num_blocks": N, "d_model": 16, "d_ffn": 32, "num_heads": 2, "max_frames": 50}
    return GatedWhisper(**{**small, **settings})


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(4, 61, 20), torch.tensor([61, 40, 9, 1])


@pytest.fixture(scope="module", params=["tiny.en", "base"])
def checkpoint(shared, request):
    folder = shared / f"models/whisper-{request.param}-encoder"
    if not folder.is_dir():
        pytest.skip(f"no weights at {folder}")
    return folder


@pytest.fixture
def miniature(tmp_path):
    """Writes a checkpoint of `make()`'s shape: `miniature(prefix, change)`, where `change` edits config and state."""

    def write(prefix="", change=lambda config, state: None):
        state = {prefix + name: tensor.half() for name, tensor in make().state_dict().items()}
        state[prefix + "embed_positions.weight"] = state.pop(prefix + "positions")
        if prefix:
            state["model.decoder.layer_norm.weight"] = torch.ones(16)
            state["proj_out.weight"] = torch.ones(3, 16)
        config = {"model_type": "whisper", "num_mel_bins": 20, "encoder_layers": N, "d_model": 16}
        config |= {"encoder_ffn_dim": 32, "encoder_attention_heads": 2, "max_source_positions": 50}
        change(config, state)
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(state, tmp_path / "model.safetensors")
        return tmp_path

    return write


# ---------------------------------------------------------------- shape


def test_stacked_frames_are_the_frames_side_by_side(batch):
    single, double = make(stack=1).eval(), make(stack=2).eval()
    features, lengths = batch[0][:, :60], torch.full((4,), 60)
    frames, _ = single(features, lengths, (True,) * N)
    pairs, count = double(features, lengths, (True,) * N)
    assert count.tolist() == [15] * 4
    torch.testing.assert_close(pairs, torch.cat([frames[:, 0::2], frames[:, 1::2]], dim=2))


def test_an_utterance_beyond_the_positions_is_refused():
    encoder = make().eval()
    encoder(torch.randn(1, 100, 20), torch.tensor([100]), (True,) * N)
    with pytest.raises(DldError, match=r"102 feature frames is too long: Whisper's positions reach 100 \(1 s\)"):
        encoder(torch.randn(1, 101, 20), torch.tensor([101]), (True,) * N)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_heads": 3}, "even multiple of num_heads 3"),
        ({"stack": 0}, "stack is 0; it must be a whole number of at least 1"),
        ({"source_blocks": [0, 1]}, "source_blocks names 2 blocks, num_blocks is 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, complaint):
    with pytest.raises(DldError, match=complaint):
        make(**settings)


def test_the_compute_of_a_block_is_counted_with_its_attention():
    network = GatedCTC(WhisperLogMel(), make(input_size=80, max_frames=500), vocab_size=10)
    two, one = (gmacs_per_second(network, evenly_spaced(N, n), 16000, seconds=10) for n in (2, 1))
    frames, width, inner = 500, 16, 32
    per_frame = 4 * width**2 + 2 * width * inner + 2 * frames * width
    assert two - one == pytest.approx(frames * per_frame / 10 / 1e9, rel=1e-6)


# ---------------------------------------------------------------- training


def test_frozen_convolutions_get_no_gradient_and_the_rest_does(batch):
    encoder = make(freeze_convolutions=True).train()
    encoder(*batch, (True,) * N)[0].square().sum().backward()
    without = {name for name, parameter in encoder.named_parameters() if parameter.grad is None}
    assert without == {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}


def test_the_parameter_groups_hold_every_parameter_once_with_the_rate_of_the_encoder():
    encoder = make(lr_scale=0.1)
    [group] = encoder.parameter_groups()
    assert group["lr_scale"] == 0.1
    assert sorted(map(id, group["params"])) == sorted(map(id, encoder.parameters()))


# ---------------------------------------------------------------- checkpoints


def test_a_full_window_equals_huggingface(checkpoint):
    modeling = pytest.importorskip("transformers.models.whisper.modeling_whisper")
    theirs = modeling.WhisperEncoder.from_pretrained(checkpoint, dtype=torch.float32).eval()
    ours = GatedWhisper.from_pretrained(checkpoint).eval()
    torch.manual_seed(0)
    features = torch.randn(1, 3000, 80)
    with torch.no_grad():
        expected = theirs(features.transpose(1, 2)).last_hidden_state
        hidden, lengths = ours(features, torch.tensor([3000]), (True,) * ours.num_blocks)
    assert lengths.tolist() == [1500]
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=0)


def test_a_real_checkpoint_keeps_its_weights_and_shape(checkpoint):
    encoder = GatedWhisper.from_pretrained(checkpoint, stack=2, lr_scale=0.1)
    stored = load_file(checkpoint / "model.safetensors")
    assert len(stored) == len(encoder.state_dict())
    assert encoder.layers[1].fc1.weight.dtype == torch.float32
    assert torch.equal(encoder.layers[1].fc1.weight, stored["layers.1.fc1.weight"].float())
    assert encoder.output_size == 2 * encoder.conv1.out_channels
    # What Whisper's authors computed, and what an encoder that starts from scratch computes, in half precision.
    torch.testing.assert_close(sinusoids(*encoder.positions.shape), encoder.positions, atol=2e-3, rtol=0)


@pytest.mark.parametrize("prefix", ["", "encoder.", "model.encoder."])
def test_an_encoder_alone_and_a_whole_model_are_read_alike(miniature, batch, prefix):
    encoder = GatedWhisper.from_pretrained(miniature(prefix)).eval()
    expected = make().half().float().eval()
    torch.testing.assert_close(encoder(*batch, (True,) * N)[0], expected(*batch, (True,) * N)[0])


def test_weights_in_numbered_parts_are_read(miniature):
    folder = miniature()
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    for part in (0, 1):
        save_file({name: state[name] for name in names[part::2]}, folder / f"model-0000{part + 1}-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    encoder = GatedWhisper.from_pretrained(folder)
    assert torch.equal(encoder.conv2.weight, state["conv2.weight"].float())


def test_a_smaller_encoder_takes_the_blocks_that_are_named(miniature):
    folder = miniature()
    whole = GatedWhisper.from_pretrained(folder)
    part = GatedWhisper.from_pretrained(folder, source_blocks=[0, 3])
    assert part.num_blocks == 2
    assert torch.equal(part.layers[1].fc2.weight, whole.layers[3].fc2.weight)
    with pytest.raises(DldError, match="has blocks 0…3"):
        GatedWhisper.from_pretrained(folder, source_blocks=[0, 4])


def test_an_encoder_made_by_sizes_loads_a_checkpoint_of_its_shape(miniature):
    folder = miniature()
    encoder = make(stack=2)
    encoder.load_pretrained(folder)
    torch.testing.assert_close(encoder.state_dict(), GatedWhisper.from_pretrained(folder).state_dict())
    with pytest.raises(DldError, match="2 attention heads, not 4"):
        make(num_heads=4).load_pretrained(folder)
    with pytest.raises(DldError, match="does not fit this GatedWhisper: weights 15 unknown: layers.3.fc1.bias, "):
        make(num_blocks=3).load_pretrained(folder)
    with pytest.raises(DldError, match="of another shape: layers.0.fc1.bias, "):
        make(d_ffn=64).load_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c, s: s.pop("layers.2.fc1.bias"), "weights 1 missing: layers.2.fc1.bias$"),
        (lambda c, s: s.update({"layers.0.extra": torch.ones(1)}), "weights 1 unknown: layers.0.extra$"),
        (lambda c, s: c.update(model_type="wavlm"), "model_type is 'wavlm' in config.json; only 'whisper'"),
        (lambda c, s: c.update(activation_function="relu"), "activation_function is 'relu'"),
        (lambda c, s: c.pop("d_model"), "config.json has no d_model"),
    ],
)
def test_a_checkpoint_that_is_wrong_is_refused(miniature, change, complaint):
    folder = miniature(change=change)
    with pytest.raises(DldError, match=complaint):
        GatedWhisper.from_pretrained(folder)


def test_a_checkpoint_that_is_not_whole_is_refused(miniature):
    folder = miniature()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DldError, match="not a whole safetensors file"):
        GatedWhisper.from_pretrained(folder)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(DldError, match=r"no model.safetensors there; pickled weights \(\*.bin\) are not read"):
        GatedWhisper.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(DldError, match="no config.json there"):
        GatedWhisper.from_pretrained(folder)


def test_a_source_that_is_nowhere_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DldError, match="no such folder, nor an id of the hub"):
        GatedWhisper.from_pretrained(tmp_path / "absent")
    monkeypatch.setattr(
        "dld.encoders.pretrained.snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("no route\nmore"))
    )
    with pytest.raises(DldError, match="nobody/nothing: no such folder, and not loaded from the hub: no route$"):
        GatedWhisper.from_pretrained("nobody/nothing")


def test_an_id_of_the_hub_is_downloaded_without_other_files(miniature, monkeypatch):
    asked = {}

    def download(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(folder)

    folder = miniature()
    monkeypatch.setattr("dld.encoders.pretrained.snapshot_download", download)
    assert GatedWhisper.from_pretrained("openai/whisper-tiny.en").num_blocks == N
    assert asked["name"] == "openai/whisper-tiny.en"
    assert not any("bin" in pattern for pattern in asked["patterns"])
