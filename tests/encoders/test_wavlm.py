"""The gated WavLM: equal to other implementations, free of padding, any block closed, weights from anywhere."""

import json
import math
import sys

import pytest
import torch
import torchaudio
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from dld.encoders import GatedWavLM
from dld.encoders.kernels import convolution
from dld.encoders.wavlm_blocks import SpectralPositions, span_mask
from dld.errors import DldError

N = 3
OPEN = (True,) * N
# Kernels and strides as published, everything narrow.
SHAPE = {
    "num_blocks": N,
    "d_model": 32,
    "d_ffn": 48,
    "num_heads": 4,
    "conv_layers": [[24, 10, 5], *[[24, 3, 2]] * 4, *[[24, 2, 2]] * 2],
    "positional_kernel": 16,
    "positional_groups": 4,
}
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "projection_dropout": 0.0}
KINDS = {"base": {}, "large": {"conv_norm": "layer", "pre_norm": True}}
BUNDLE = {
    "extractor_conv_layer_config": [tuple(layer) for layer in SHAPE["conv_layers"]],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": N,
    "encoder_num_heads": 4,
    "encoder_num_buckets": 320,
    "encoder_max_distance": 800,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 48,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.1,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
}


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


def make(kind="base", **settings):
    torch.manual_seed(0)
    encoder = GatedWavLM(**{**SHAPE, **KINDS[kind], **settings})
    shake(encoder)
    return encoder


def shake(module):
    """Move norms, biases and the position bias away from where they start, so that a mix-up of them shows."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module


@pytest.fixture
def batch():
    torch.manual_seed(1)
    lengths = torch.tensor([24000, 15111, 4000])
    return torch.randn(3, 24000) * torch.linspace(0.05, 0.5, 24000), lengths


@pytest.fixture
def bundle(kind, tmp_path, monkeypatch):
    """torchaudio's WAVLM_BASE, small and with weights in a download folder: its model and the file."""
    torch.manual_seed(2)
    large = kind == "large"
    settings = {
        **BUNDLE,
        "extractor_mode": "layer_norm" if large else "group_norm",
        "encoder_layer_norm_first": large,
    }
    model = shake(torchaudio.models.wavlm_model(**settings)).eval()
    path = tmp_path / "checkpoints/small.pth"
    path.parent.mkdir()
    torch.save(model.state_dict(), path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    fake = type(torchaudio.pipelines.WAVLM_BASE)(
        "small.pth", settings, _model_type="WavLM", _sample_rate=16000, _normalize_waveform=large
    )
    monkeypatch.setattr(torchaudio.pipelines, "WAVLM_BASE", fake)
    return model, path


@pytest.fixture
def huggingface(kind, tmp_path):
    """A HuggingFace model and the folder it is saved in."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra [test])")
    torch.manual_seed(3)
    config = transformers.WavLMConfig(
        num_hidden_layers=N,
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        conv_dim=[24] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer" if kind == "large" else "group",
        do_stable_layer_norm=kind == "large",
        layerdrop=0.0,
    )
    model = shake(transformers.WavLMModel(config)).eval()
    model.save_pretrained(tmp_path / "hf")
    return model, tmp_path / "hf"


@pytest.fixture
def folder(tmp_path):
    """A checkpoint folder in HuggingFace's layout, made without its library."""
    encoder = make()
    names = {
        "extractor.layers.": "feature_extractor.conv_layers.",
        "projection.": "feature_projection.",
        "positions.embedding.": "encoder.layers.0.attention.rel_attn_embed.",
        "layers.": "encoder.layers.",
        "positional.": "encoder.pos_conv_embed.",
        "norm.": "encoder.layer_norm.",
        "mask_embedding": "masked_spec_embed",
    }
    state = {}
    for name, tensor in encoder.state_dict().items():
        prefix = next(ours for ours in names if name.startswith(ours))
        name = names[prefix] + name[len(prefix) :]
        if ".attention.attention.in_proj_" in name:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                state[name.replace("attention.attention.in_proj_", f"attention.{letter}_proj.")] = part.clone()
        else:
            state[name.replace("attention.attention.out_proj", "attention.out_proj")] = tensor.clone()
    save_file(state, tmp_path / "model.safetensors")
    config = {
        "model_type": "wavlm",
        "num_hidden_layers": N,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "conv_dim": [24] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def alone(batch, row):
    waveforms, lengths = batch
    return waveforms[row : row + 1, : lengths[row]], lengths[row : row + 1]


def close(first, second, atol=1e-4):
    torch.testing.assert_close(first, second, atol=atol, rtol=0)


# ---------------------------------------------------------------- the same as others


@pytest.mark.parametrize("gradients", [False, True])
def test_it_equals_torchaudio(bundle, batch, gradients):
    model, _ = bundle
    encoder = GatedWavLM.from_pretrained("WAVLM_BASE", freeze_extractor=False).eval()
    with torch.set_grad_enabled(gradients):
        for row in range(3):
            hidden, lengths = encoder(*alone(batch, row), OPEN)
            expected, _ = model(alone(batch, row)[0])
            assert hidden.requires_grad == gradients
            assert lengths.tolist() == [expected.shape[1]]
            close(hidden, expected)


def test_its_gradients_equal_torchaudios(bundle, batch, monkeypatch):
    # Each way of computing that training takes on a CPU, against plain operations.
    monkeypatch.setattr(SpectralPositions, "WORTHWHILE", 1)
    model, _ = bundle
    encoder = GatedWavLM.from_pretrained("WAVLM_BASE", freeze_extractor=False).eval()
    waveform, lengths = alone(batch, 0)
    for output in (encoder(waveform, lengths, OPEN)[0], model(waveform)[0]):
        (output * torch.linspace(-1, 1, output.shape[-1])).sum().backward()
    transformer = model.encoder.transformer
    pairs = [
        (encoder.positions.embedding.weight, transformer.layers[0].attention.rel_attn_embed.weight),
        (encoder.extractor.layers[0].conv.weight, model.feature_extractor.conv_layers[0].conv.weight),
        (encoder.positional.conv.bias, transformer.pos_conv_embed.conv.bias),
    ]
    for ours, theirs in zip(encoder.layers, transformer.layers, strict=True):
        # Block 0's own position table is ours outside the blocks.
        names = [name for name, _ in ours.named_parameters()]
        pairs += [(ours.get_parameter(name), theirs.get_parameter(name)) for name in names]
    assert len(pairs) > 40
    for ours, theirs in pairs:
        scale = theirs.grad.abs().max().clamp_min(1e-3)
        close(ours.grad / scale, theirs.grad / scale)


def test_without_block_0_the_others_keep_its_position_bias(bundle, batch):
    model, _ = bundle
    encoder = GatedWavLM.from_pretrained("WAVLM_BASE").eval()
    waveform = alone(batch, 0)[0]
    with torch.no_grad():
        transformer = model.encoder.transformer
        hidden = transformer._preprocess(model.encoder.feature_projection(model.feature_extractor(waveform, None)[0]))
        bias = transformer.layers[0].attention.compute_bias(hidden.shape[1], hidden.shape[1])[None]
        for layer in transformer.layers[1:]:
            hidden, _ = layer(hidden, position_bias=bias)
        if not transformer.layer_norm_first:
            hidden = transformer.layer_norm(hidden)
        close(encoder(*alone(batch, 0), (False, True, True))[0], hidden)


def test_it_equals_huggingface(huggingface, batch, kind):
    model, path = huggingface
    encoder = GatedWavLM.from_pretrained(path).eval()
    with torch.no_grad():
        for row in range(3):
            close(encoder(*alone(batch, row), OPEN)[0], model(alone(batch, row)[0]).last_hidden_state)
        if kind == "large":
            # Base's extractor lets padding into its statistics there, so only Large can be compared in a batch.
            waveforms, lengths = batch
            attention = (torch.arange(waveforms.shape[1]) < lengths[:, None]).long()
            expected = model(waveforms * attention, attention_mask=attention).last_hidden_state
            hidden, frames = encoder(*batch, OPEN)
            for row, length in enumerate(frames):
                close(hidden[row, :length], expected[row, :length])
    assert torch.equal(encoder.mask_embedding, model.masked_spec_embed)


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("samples", [0, 399])
def test_too_short_for_a_frame_is_no_frame(kind, batch, samples):
    encoder = make(kind).eval()
    hidden, frames = encoder(batch[0], torch.tensor([24000, samples, 400]), OPEN)
    assert frames.tolist() == [74, 0, 1]
    assert hidden.isfinite().all()
    close(hidden[0], encoder(batch[0][:1], batch[1][:1], OPEN)[0][0])
    hidden, frames = encoder(batch[0][:1, :samples], torch.tensor([samples]), OPEN)
    assert frames.tolist() == [0]
    assert hidden.isfinite().all()


def test_pieces_of_the_extractor_make_the_whole(kind, batch, monkeypatch):
    encoder = make(kind).eval()
    whole = encoder(*batch, OPEN)[0]
    monkeypatch.setattr(convolution, "PIECE", 7)
    close(encoder(*batch, OPEN)[0], whole)


@pytest.mark.parametrize("conv_bias", [False, True])
def test_the_extractor_is_its_layers_one_after_another(kind, batch, conv_bias):
    encoder = make(kind, conv_bias=conv_bias).eval()
    waveform, length = alone(batch, 1)
    expected = waveform[:, None]
    for layer in encoder.extractor.layers:
        expected, _ = layer(expected, None)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            close(encoder.extractor(waveform, length)[0], expected.transpose(1, 2), 1e-5)


def test_the_positional_convolution_is_the_same_by_fourier_transforms(kind, batch, monkeypatch):
    for settings in ({"positional_kernel": 16}, {"positional_kernel": 7}):
        encoder = make(kind, **settings).eval()
        with torch.no_grad():
            monkeypatch.setattr(SpectralPositions, "WORTHWHILE", 1e9)
            directly = encoder(*batch, OPEN)[0]
            monkeypatch.setattr(SpectralPositions, "WORTHWHILE", 1)
            close(encoder(*batch, OPEN)[0], directly, 1e-5)
            assert not torch.equal(encoder(*batch, OPEN)[0], directly)


def test_no_operation_is_missed_in_counting(batch, monkeypatch):
    monkeypatch.setattr(convolution, "PIECE", 10**6)
    encoder = make().eval()
    with FlopCounterMode(display=False) as inference, torch.no_grad():
        encoder(*alone(batch, 0), OPEN)
    with FlopCounterMode(display=False) as general:
        encoder(*alone(batch, 0), OPEN)
    # Of attention, torch counts the products of its general form only.
    frames = 74
    attention = N * 2 * 2 * frames * frames * 32
    assert general.get_total_flops() - inference.get_total_flops() in (0, attention)


def test_the_number_of_frames_follows_from_subsampling_and_overlap():
    encoder = make()
    for samples in (1, 399, 400, 719, 720, 16000, 16079, 16080):
        expected = max(0, math.floor((samples - encoder.overlap) / encoder.subsampling))
        assert encoder.embed(torch.randn(1, samples), torch.tensor([samples])).lengths.tolist() == [expected]


# ---------------------------------------------------------------- gates


def test_a_closed_gate_may_keep_the_closing_norm(batch):
    encoder, plain = make(closed_norm=True).eval(), make().eval()
    hidden = plain(*batch, (True, True, False))[0]
    close(encoder(*batch, (True, True, False))[0], encoder.layers[2].final_layer_norm(hidden), 1e-6)
    with pytest.raises(DldError, match="closed_norm"):
        make("large", closed_norm=True)


def test_sharing_common_beginnings_changes_nothing(kind, batch):
    encoder = make(kind, weighted_sum=True).eval()
    vectors = [(True, False, True), (True, True, True), (True, False, False), (False, True, True)]
    together = encoder.encode(encoder.embed(*batch), vectors)
    for gates, hidden in zip(vectors, together, strict=True):
        assert torch.equal(hidden, encoder(*batch, gates)[0])


def test_the_weighted_sum_takes_a_closed_blocks_input_for_its_output(kind, batch):
    encoder = make(kind, weighted_sum=True).eval()
    embedded = encoder.embed(*batch)
    first = encoder.run_block(0, embedded.hidden, embedded)
    last = encoder.run_block(2, first, embedded)
    weights = encoder.layer_weights.softmax(0)
    expected = weights[0] * embedded.hidden + (weights[1] + weights[2]) * first + weights[3] * last
    close(encoder(*batch, (True, False, True))[0], encoder.finish(expected), 1e-5)


# ---------------------------------------------------------------- training


def gradients(encoder, batch):
    encoder.zero_grad(set_to_none=True)
    encoder(*batch, OPEN)[0].square().sum().backward()
    return {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}


def test_the_extractor_is_frozen_unless_asked_for(kind, batch):
    encoder = make(kind, mask_time_share=0.5).train()
    trained = gradients(encoder, batch)
    assert trained == {name for name, _ in encoder.named_parameters() if not name.startswith("extractor.")}
    trained = gradients(make(kind, freeze_extractor=False).train(), batch)
    assert {"extractor.layers.0.conv.weight", "extractor.layers.6.conv.weight"} <= trained


def test_nothing_but_the_layer_weights_is_trained_during_the_first_updates(batch):
    encoder = make(freeze_updates=2, weighted_sum=True).train()
    assert gradients(encoder, batch) == {"layer_weights"}
    encoder.on_update(1)
    assert gradients(encoder, batch) == {"layer_weights"}
    encoder.on_update(2)
    assert "layers.0.attention.attention.in_proj_weight" in gradients(encoder, batch)
    encoder.on_update(0)
    assert gradients(encoder, batch) == {"layer_weights"}


def test_every_parameter_is_in_one_group_with_a_rate_that_decays_downwards(kind):
    encoder = make(kind, lr_scale=0.1, layer_decay=0.5, weighted_sum=True)
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    rates = {}
    for group in encoder.parameter_groups():
        for parameter in group["params"]:
            assert id(parameter) in names
            rates[names.pop(id(parameter))] = group["lr_scale"]
    assert not names
    assert rates["layer_weights"] == 1.0
    assert rates["layers.2.feed_forward.output_dense.weight"] == 0.1
    assert rates["layers.1.attention.gru_rel_pos_const"] == 0.05
    assert rates["layers.0.layer_norm.bias"] == 0.025
    for name in ("projection.projection.weight", "positions.embedding.weight", "mask_embedding"):
        assert rates[name] == 0.0125
    assert rates["norm.weight"] == (0.1 if kind == "large" else 0.0125)


def test_spans_are_as_wide_and_as_many_as_asked_and_within_the_length():
    torch.manual_seed(0)
    lengths = torch.tensor([400, 200, 5, 0])
    mask = span_mask(lengths, 400, fraction=0.3, width=10)
    for row, length in zip(mask, lengths, strict=True):
        assert not row[length:].any()
    runs = (torch.diff(mask[0].int(), prepend=torch.zeros(1), append=torch.zeros(1)) != 0).nonzero().flatten().tolist()
    assert all(end - begin >= 10 for begin, end in zip(runs[::2], runs[1::2], strict=True))
    assert 0.15 < mask[0].float().mean() <= 0.3
    assert not mask[2:].any()
    many = span_mask(torch.full((200,), 100), 100, fraction=0.25, width=10).float().mean()
    assert 0.19 < many < 0.25


def test_masking_is_for_training_and_repeats_with_the_seed(batch):
    settings = {**NO_DROPOUT, "mask_time_share": 0.5, "mask_channel_share": 0.5, "mask_channel_width": 4}
    encoder, plain = make(**settings), make(**NO_DROPOUT)
    close(encoder.eval()(*batch, OPEN)[0], plain.eval()(*batch, OPEN)[0], 0)
    encoder.train()
    torch.manual_seed(5)
    first = encoder(*batch, OPEN)[0]
    torch.manual_seed(5)
    assert torch.equal(encoder(*batch, OPEN)[0], first)
    assert not torch.allclose(encoder(*batch, OPEN)[0], first, atol=1e-3)


def test_gradient_checkpointing_changes_no_gradient(kind, batch):
    plain, economical = make(kind).train(), make(kind, gradient_checkpointing=True).train()
    for encoder in (plain, economical):
        torch.manual_seed(7)
        gradients(encoder, batch)
    for first, second in zip(plain.parameters(), economical.parameters(), strict=True):
        if first.grad is not None:
            close(first.grad, second.grad, 1e-5)


@pytest.mark.parametrize("low_precision", ["extractor", "all"])
@pytest.mark.parametrize("gradients", [False, True])
def test_low_precision_is_near(kind, batch, low_precision, gradients):
    encoder = make(kind, low_precision=low_precision, freeze_extractor=False).eval()
    plain = make(kind).eval()
    with torch.set_grad_enabled(gradients):
        hidden, frames = encoder(*batch, (True, False, True))
        expected = plain(*batch, (True, False, True))[0]
        for row, length in enumerate(frames):
            error = (hidden[row, :length] - expected[row, :length]).abs().mean()
            assert 0 < error < 0.05 * expected[row, :length].abs().mean()


# ---------------------------------------------------------------- weights


def test_a_folder_is_read_without_other_libraries(folder, batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = GatedWavLM.from_pretrained(folder).eval()
    close(encoder(*batch, OPEN)[0], make().eval()(*batch, OPEN)[0], 1e-6)


def test_a_checkpoint_of_a_recogniser_gives_its_encoder(folder, batch):
    state = {f"wavlm.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    for new, old in (("weight_g", "original0"), ("weight_v", "original1")):
        key = f"wavlm.encoder.pos_conv_embed.conv.parametrizations.weight.{old}"
        state[f"wavlm.encoder.pos_conv_embed.conv.{new}"] = state.pop(key)
    save_file({**state, "lm_head.weight": torch.zeros(32, 32)}, folder / "model.safetensors")
    encoder = GatedWavLM.from_pretrained(folder).eval()
    close(encoder(*batch, OPEN)[0], make().eval()(*batch, OPEN)[0], 1e-6)


def test_weights_are_read_from_a_pickle_of_weights_only(folder, batch):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder = GatedWavLM.from_pretrained(folder).eval()
    close(encoder(*batch, OPEN)[0], make().eval()(*batch, OPEN)[0], 1e-6)


class Bomb:
    def __reduce__(self):
        return open, ("bomb", "w")


def test_a_pickle_that_would_run_code_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    torch.save({"encoder.layer_norm.weight": Bomb()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(DldError, match="more than weights"):
        GatedWavLM.from_pretrained(folder)
    assert not (folder / "bomb").exists()


@pytest.mark.parametrize("kind", ["base"])
def test_a_bundle_that_would_run_code_is_refused(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder.transformer.layer_norm.weight": Bomb()}, bundle[1])
    with pytest.raises(DldError, match="WAVLM_BASE: the file holds more than weights"):
        GatedWavLM.from_pretrained("WAVLM_BASE")
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize("kind", ["base"])
def test_a_bundle_that_is_not_there_and_cannot_be_had_is_an_error(bundle, monkeypatch):
    bundle[1].unlink()

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(DldError, match="WAVLM_BASE: cannot be loaded: no route to host"):
        GatedWavLM.from_pretrained("WAVLM_BASE")


def rewrite(folder, **changes):
    state = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.layers.1.layer_norm.bias": None}, "weights 1 missing: layers.1.layer_norm.bias"),
        ({"encoder.layers.2.attention.k_proj.bias": None}, "layers.2.attention.attention.in_proj_bias"),
        ({"encoder.layers.3.layer_norm.bias": torch.zeros(32)}, "weights 1 unknown: layers.3.layer_norm.bias"),
        ({"encoder.layer_norm.weight": torch.zeros(31)}, "weights 1 of another shape: norm.weight"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_names(folder, changes, message):
    rewrite(folder, **changes)
    with pytest.raises(DldError, match=message):
        GatedWavLM.from_pretrained(folder)


def test_weights_of_another_shape_are_not_loaded_into_an_encoder(folder):
    encoder = make(num_blocks=2)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(DldError, match=r"unknown: layers\.2\.attention.* more"):
        encoder.load_pretrained(folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value"),
    [("model_type", "hubert"), ("hidden_act", "relu"), ("add_adapter", True), ("layer_norm_eps", 1e-6)],
)
def test_a_configuration_of_something_else_is_refused(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(DldError, match=f"{key} is {value!r} in config.json"):
        GatedWavLM.from_pretrained(folder)


def test_damaged_and_absent_weights_are_errors(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DldError, match="not a whole safetensors file"):
        GatedWavLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DldError, match=r"no model\.safetensors"):
        GatedWavLM.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(DldError, match=r"no config\.json"):
        GatedWavLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "nowhere: no such folder"), ("WAVLM_HUGE", "no such bundle; torchaudio has WAVLM_BASE")],
)
def test_a_source_that_is_nothing_is_refused(source, message):
    with pytest.raises(DldError, match=message):
        GatedWavLM.from_pretrained(source)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conv_norm": "batch"}, "conv_norm is .batch.; it must be group or layer"),
        ({"low_precision": "int8"}, "low_precision is .int8.; it must be extractor or all, or null"),
        ({"num_heads": 5}, "multiple of num_heads"),
    ],
)
def test_settings_that_make_no_wavlm_are_refused(settings, message):
    with pytest.raises(DldError, match=message):
        make(**settings)
