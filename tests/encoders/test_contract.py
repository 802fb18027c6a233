"""What an encoder must define, and its settings as data."""

import copy
import dataclasses
import hashlib

import pytest
import torch
from torch import nn

from dld.encoders import (
    ConformerConfig,
    Embedded,
    Encoded,
    GatedConformer,
    GatedEncoder,
    GatedWavLM,
    GatedWhisper,
    WavLMConfig,
    WhisperConfig,
)
from dld.errors import DldError
from dld.frontends import LogMel, Waveform
from dld.network import GatedCTC
from dld.saved import Settings

KINDS = [(GatedConformer, ConformerConfig), (GatedWavLM, WavLMConfig), (GatedWhisper, WhisperConfig)]
SMALL = {"num_blocks": 2, "d_model": 16, "d_ffn": 32, "num_heads": 2}
SHAPES = {GatedConformer: {}, GatedWhisper: {}, GatedWavLM: {"positional_kernel": 4, "conv_layers": [[8, 400, 320]]}}


class Whole(GatedEncoder):
    """An encoder that defines all that is required."""

    def __init__(self):
        super().__init__(num_blocks=2, output_size=4, subsampling=1, input_size=80)
        self.front = nn.Linear(80, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def embed(self, features, lengths):
        return Embedded(self.front(features), lengths, padding=None)

    def run_block(self, index, hidden, embedded):
        return hidden + self.layers[index](hidden)


def test_an_encoder_of_ones_own_works_in_a_network():
    network = GatedCTC(LogMel(), Whole(), vocab_size=5)
    output = network(torch.randn(2, 7, 80), torch.tensor([7, 3]), [(True, True), (False, True)])
    assert [logits.shape for logits in output.logits] == [(2, 7, 5)] * 2
    encoded = network.encoder(torch.randn(2, 7, 80), torch.tensor([7, 3]), (True, False))
    assert isinstance(encoded, Encoded) and encoded.lengths.tolist() == [7, 3]
    assert network.encoder.description == "whole-2x4"


@pytest.mark.parametrize("method", ["embed", "run_block"])
def test_an_encoder_without_a_method_of_the_contract_is_refused_when_it_is_built(method):
    incomplete = type("Incomplete", (Whole,), {method: getattr(GatedEncoder, method)})
    with pytest.raises(TypeError, match=method):
        incomplete()


def test_an_encoder_that_does_not_say_its_sizes_is_refused_when_it_is_built():
    class Silent(Whole):
        def __init__(self):
            GatedEncoder.__init__(self, num_blocks=2, output_size=4)

    with pytest.raises(TypeError, match="subsampling"):
        Silent()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((nn.Identity(), Whole()), "frontend is a Identity; it must be a FrontEnd"),
        ((LogMel(), nn.Identity()), "encoder is a Identity; it must be a GatedEncoder"),
        ((LogMel(n_mels=40), Whole()), "input_size is 80; it must be 40, the width of LogMel's output"),
        ((Waveform(), Whole()), "input_size is 80; it must be 1, the width of Waveform's output"),
    ],
)
def test_parts_that_do_not_fit_make_no_network(parts, message):
    with pytest.raises(DldError, match=message):
        GatedCTC(*parts, vocab_size=5)


# ---------------------------------------------------------------- settings


def weights(encoder):
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(("kind", "config_class"), KINDS)
def test_a_configuration_and_keyword_arguments_make_the_same_encoder(kind, config_class):
    settings = {**SMALL, **SHAPES[kind]}
    config = config_class(**settings)
    made = []
    for make in (lambda: kind(config), lambda: kind(**settings), lambda: kind(config_class(**settings), dropout=0.1)):
        torch.manual_seed(0)
        made.append(make())
    assert made[0].config == made[1].config == config
    assert made[2].config == dataclasses.replace(config, dropout=0.1)
    assert len({weights(encoder) for encoder in made}) == 1
    assert copy.deepcopy(made[0]).config == config


@pytest.mark.parametrize(("kind", "config_class"), KINDS)
def test_a_configuration_prints_itself_as_an_experiment_file_has_it(kind, config_class, tmp_path):
    config = config_class(**SMALL, **SHAPES[kind])
    front_end = "Waveform" if kind is GatedWavLM else "LogMel"
    lines = [
        "network: !new:dld.network.GatedCTC",
        "    vocab_size: 5",
        f"    frontend: !new:dld.frontends.{front_end} {{}}",
        f"    encoder: !new:dld.encoders.{kind.__name__}",
        *(f"        {line}" for line in str(config).splitlines()),
    ]
    (tmp_path / "hyperparams.yaml").write_text("\n".join(lines))
    assert Settings(tmp_path / "hyperparams.yaml").network().encoder.config == config
    (tmp_path / "hyperparams.yaml").write_text("\n".join([*lines, "        dropuot: 0.1"]))
    with pytest.raises(DldError, match="has no argument 'dropuot'; did you mean 'dropout'"):
        Settings(tmp_path / "hyperparams.yaml").network()


@pytest.mark.parametrize(("kind", "config_class"), KINDS)
@pytest.mark.parametrize("take", ["encoder", "configuration"])
def test_a_value_that_is_not_allowed_is_refused_in_one_line(kind, config_class, take):
    make = kind if take == "encoder" else config_class
    with pytest.raises(DldError, match=f"^{kind.__name__}: num_blocks is 2.0; it must be a whole number .*write 2$"):
        make(num_blocks=2.0)
    with pytest.raises(DldError, match=f"^{kind.__name__}: dropout is 1; it must be a number"):
        make(dropout=1)


@pytest.mark.parametrize(("kind", "config_class"), KINDS)
def test_an_unknown_keyword_is_refused_with_the_nearest_one(kind, config_class):
    with pytest.raises(DldError, match=f"^{kind.__name__} has no argument 'dropuot'; did you mean 'dropout'\\?$"):
        kind(dropuot=0.1)


def test_lists_and_tuples_make_equal_configurations():
    layers = [[8, 10, 5], [8, 3, 2]]
    assert WavLMConfig(conv_layers=layers) == WavLMConfig(conv_layers=tuple(map(tuple, layers)))
    assert hash(WavLMConfig(conv_layers=layers)) == hash(WavLMConfig(conv_layers=layers))
    assert WavLMConfig() != WavLMConfig(num_blocks=11)
    with pytest.raises(DldError, match="max_distance is 80; it must be a whole number of at least 81"):
        WavLMConfig(max_distance=80)


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [(GatedConformer, 14936, 1.341982), (GatedWavLM, 8744, 0.979297), (GatedWhisper, 33088, -2.377939)],
)
def test_a_seed_draws_the_weights_that_it_always_drew(kind, count, expected):
    torch.manual_seed(0)
    encoder = kind(**SMALL, **SHAPES[kind])
    values = torch.cat([tensor.flatten().double() for tensor in encoder.state_dict().values()])
    # A sum that any other order or number of random draws changes, and the rounding of another processor does not.
    assert len(values) == count
    assert (values * torch.arange(count).double().cos()).sum().item() == pytest.approx(expected, abs=1e-3)
