"""Graphs of front ends and encoders compute what the modules do, at every length and under every gate vector."""

import numpy as np
import onnx
import pytest
import torch
from speechbrain.nnet.attention import RelPosEncXL

from dld.encoders import GatedConformer, GatedWavLM, GatedWhisper
from dld.encoders.conformer_block import RelativePositions
from dld.errors import DldError
from dld.export.compose import whole
from dld.export.frontends import RUNTIME_EPSILON, Restored, graph_of
from dld.export.pack import write_graphs
from dld.export.pieces import trace
from dld.export.quantise import quantise
from dld.frontends import GlobalCMVN, KaldiFbank, LogMel, UtteranceCMVN, Waveform, WhisperLogMel
from dld.network import GatedCTC

ort = pytest.importorskip("onnxruntime")

SMALL = {"num_blocks": 3, "d_model": 16, "d_ffn": 32, "num_heads": 2}
WAVLM = {**SMALL, "positional_kernel": 4, "positional_groups": 2, "conv_layers": [[8, 10, 5], [8, 8, 8], [8, 8, 8]]}


def global_cmvn():
    """Statistics as those of speech."""
    cmvn = GlobalCMVN(80)
    cmvn.mean.uniform_(-9, -5)
    cmvn.std.uniform_(2, 4)
    return cmvn


def conformer(**settings):
    return GatedConformer(**SMALL, kernel_size=5, **settings)


NETWORKS = {
    "relative": lambda: GatedCTC(KaldiFbank(normalisation=UtteranceCMVN()), conformer(), 20),
    "rotary conv2d, a head for each depth": lambda: GatedCTC(
        KaldiFbank(normalisation=global_cmvn()),
        conformer(attention="rotary", subsampling="conv2d"),
        20,
        exit_heads=True,
    ),
    "closed norm": lambda: GatedCTC(
        LogMel(normalisation=UtteranceCMVN()), conformer(attention="rotary", closed_norm=True), 20
    ),
    "chunks": lambda: GatedCTC(
        KaldiFbank(normalisation=global_cmvn()), conformer(attention="rotary", chunk=4, left_chunks=2), 20
    ),
    "without an offset": lambda: GatedCTC(LogMel(zero_mean=True), conformer(attention="rotary"), 20),
    "wavlm": lambda: GatedCTC(Waveform(), GatedWavLM(**WAVLM), 20),
    "wavlm, weighted sum": lambda: GatedCTC(
        Waveform(normalise=False), GatedWavLM(weighted_sum=True, closed_norm=True, **WAVLM), 20
    ),
    "whisper": lambda: GatedCTC(WhisperLogMel(), GatedWhisper(**SMALL), 20),
    "whisper, stacked": lambda: GatedCTC(WhisperLogMel(), GatedWhisper(stack=3, **SMALL), 20),
}


def session(model):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def noise(samples, seed=0):
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)) / 10


@torch.no_grad()
def expected(network, waveform, gates):
    features, lengths = network.frontend(waveform, torch.tensor([waveform.shape[1]]))
    output = network(features, lengths, [gates])
    return output.logits[0][:, : int(output.lengths[0])].numpy()


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    made = NETWORKS[request.param]().eval()
    if getattr(made.encoder, "layer_weights", None) is not None:
        torch.nn.init.normal_(made.encoder.layer_weights)
    for index, head in enumerate(made.exit_heads):
        torch.nn.init.normal_(head.weight, std=0.1 * (index + 1))
    return made


@pytest.mark.parametrize(
    "frontend",
    [
        KaldiFbank(),
        KaldiFbank(snip_edges=True),
        KaldiFbank(8000, 40, normalisation=UtteranceCMVN()),
        KaldiFbank(22050, 40),
        LogMel(),
        LogMel(n_fft=400, normalisation=global_cmvn()),
        LogMel(8000, 23, 30, 13),
        WhisperLogMel(),
        WhisperLogMel(zero_mean=True),
        Waveform(),
        Waveform(normalise=False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("samples", [2, 50, 399, 401, 16_001])
def test_front_ends(frontend, samples):
    waveform = noise(samples)
    features, _ = frontend(waveform, torch.tensor([samples]))
    found = graph_of(frontend)(waveform)
    assert found.shape == features.shape
    torch.testing.assert_close(found, features, atol=5e-3, rtol=0)


def test_whole_graphs_and_lengths_that_were_not_traced(network):
    pieces = trace(network)
    for gates in ((1, 1, 1), (1, 0, 0), (0, 1, 1)):
        graph = session(whole(pieces, gates))
        for samples in (700, 5_000, 16_001, 50_000):
            waveform = noise(samples, seed=samples)
            logits = expected(network, waveform, gates)
            (found,) = graph.run(None, {"waveform": waveform.numpy()})
            assert found.shape == logits.shape
            np.testing.assert_allclose(found, logits, atol=1e-4)


def test_positions_reach_as_far_as_the_audio(network):
    if network.encoder.max_seconds is not None:
        pytest.skip("Whisper has a table of positions")
    waveform = noise(60 * 16_000)
    (found,) = session(whole(trace(network), (0, 1, 0))).run(None, {"waveform": waveform.numpy()})
    np.testing.assert_allclose(found, expected(network, waveform, (0, 1, 0)), atol=2e-4)


@pytest.mark.parametrize("frames", [1, 2, 100, 257])
def test_relative_positions_are_those_of_speechbrain(frames):
    for width in (16, 144):
        assert torch.equal(RelativePositions(width).make_pe(frames), RelPosEncXL(width).make_pe(frames))


@pytest.mark.parametrize("name", ["relative", "rotary conv2d, a head for each depth"])
def test_a_batch_of_features_is_as_each_utterance_alone(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    pieces = trace(network, "features")
    assert pieces.inputs == ["x", "x_lens"] and pieces.context == ["padding", "positions"]
    graph = session(whole(pieces, (1, 0, 1)))
    features = torch.randn(3, 231, 80)
    features[1, 40:], features[2, 3:] = 7.0, -23.0
    lengths = torch.tensor([231, 40, 3])
    logits, frames = graph.run(None, {"x": features.numpy(), "x_lens": lengths.numpy()})
    assert frames.tolist() == [58, 10, 1]
    for row, length in enumerate(lengths.tolist()):
        alone = {"x": features[row : row + 1, :length].numpy(), "x_lens": lengths[row : row + 1].numpy()}
        np.testing.assert_allclose(logits[row : row + 1, : frames[row]], graph.run(None, alone)[0], atol=1e-4)


@pytest.mark.parametrize("level", [3e-4, 0.01, 0.2])
def test_a_normalised_waveform_tells_its_level(level):
    waveform = noise(80_000).double() * 10 * level
    normalised = (waveform - waveform.mean()) / (waveform.var(unbiased=False) + RUNTIME_EPSILON).sqrt()
    restored = Restored(torch.nn.Identity())(normalised.float())
    torch.testing.assert_close(restored, (waveform - waveform.mean()).float(), rtol=0.01, atol=1e-7)
    for constant in (0.0, 1.0):
        assert Restored(torch.nn.Identity())(torch.full((1, 100), constant)).isfinite().all()


def test_matrices_of_the_blocks_are_quantised_and_of_a_small_front_nothing(network):
    pieces = trace(network)
    small = quantise(pieces)
    assert small.front is pieces.front and small.heads is pieces.heads
    for block in small.blocks:
        kinds = [node.op_type for node in block.graph.node]
        assert "MatMulInteger" in kinds and "ConvInteger" not in kinds
        constants = {tensor.name for tensor in block.graph.initializer}
        assert not [
            node for node in block.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants
        ]
    waveform = noise(16_000)
    logits, found = (session(whole(p, (1, 1, 1))).run(None, {"waveform": waveform.numpy()})[0] for p in (pieces, small))
    assert 0 < np.abs(found - logits).max() < 0.1 * np.abs(logits).max()


@pytest.mark.parametrize("takes", ["waveform", "features"])
def test_a_large_subsampling_is_quantised_too(takes):
    torch.manual_seed(0)
    sizes = {**SMALL, "d_model": 32, "kernel_size": 5, "subsampling_channels": 64}
    encoder = GatedConformer(**sizes, attention="rotary", subsampling="conv2d")
    network = GatedCTC(KaldiFbank(normalisation=UtteranceCMVN()), encoder, 20).eval()
    pieces = trace(network, takes)
    small = quantise(pieces)
    nodes = [node.op_type for node in small.front.graph.node]
    # The first convolution has nine weights for a channel.
    assert nodes.count("Conv") == 1 and "MatMulInteger" in nodes
    large, little = (len(p.front.SerializeToString()) for p in (pieces, small))
    assert little < 0.6 * large
    for samples in (2, 401, 5_000, 16_001):
        if takes == "waveform":
            given = {"waveform": noise(samples).numpy()}
        else:
            given = {"x": torch.randn(2, samples // 100 + 1, 80).numpy(), "x_lens": np.array([samples // 100 + 1, 1])}
        hidden, found = (session(p.front).run(["hidden"], given)[0] for p in (pieces, small))
        assert 0 < np.abs(found - hidden).max() < 0.05 * np.abs(hidden).max()


def test_graphs_hold_each_weight_once_and_little_else(network, tmp_path):
    graphs = write_graphs(trace(network), tmp_path)
    assert graphs.blocks == ["block_00.onnx", "block_01.onnx", "block_02.onnx"]
    files = list(tmp_path.iterdir())
    tensors = [tensor for path in files for tensor in onnx.load(path).graph.initializer]
    held = sum(len(tensor.raw_data) for tensor in tensors)
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    # The filters, of at most 257 frequencies, and Whisper's table of positions.
    buffers = 4 * sum(buffer.numel() for buffer in network.buffers()) + 8 * 4 * 512
    assert held < weights + buffers + 4 * 257 * 80 + 2048 * len(files)
    assert sum(path.stat().st_size for path in files) < held + 12_000 * len(files)


def test_the_network_is_as_before(network):
    assert not network.training
    network.train()
    trace(network)
    assert network.training and network.frontend.training and network.encoder.layers[0].training
    network.eval()


def test_what_cannot_be_exported_is_named():
    class Other(KaldiFbank):
        pass

    class Encoder(GatedConformer):
        pass

    with pytest.raises(DldError, match="Other cannot be exported; front ends that can are KaldiFbank, LogMel"):
        trace(GatedCTC(Other(), conformer(), 20))
    with pytest.raises(DldError, match="Encoder cannot be exported; encoders that can are GatedConformer, GatedWavLM"):
        trace(GatedCTC(KaldiFbank(), Encoder(**SMALL, kernel_size=5), 20))
