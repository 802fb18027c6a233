"""Batching equivalence, a published promise (docs/batching.md): an utterance has the same output in any batch.

Real speech goes through front end, encoder and head. On valid frames logits may differ by `BOUND`, hypotheses never.
"""

import random

import pytest
import soundfile
import torch

from dld.decoding.best_path import greedy
from dld.encoders import GatedConformer, GatedWavLM, GatedWhisper, kernels
from dld.frontends import GlobalCMVN, KaldiFbank, LogMel, UtteranceCMVN, Waveform, WhisperLogMel
from dld.gates import random_subset
from dld.network import GatedCTC
from dld.padding import unpadded

BOUND = 1e-4
SECONDS = (3.0, 2.2, 1.5, 1.0, 0.7, 0.4, 0.25)
N = 4
SMALL = {"num_blocks": N, "d_model": 16, "d_ffn": 32, "num_heads": 2}
CONFORMER = {**SMALL, "input_size": 80, "kernel_size": 15}
WAVLM = {
    **SMALL,
    "conv_layers": [[24, 10, 5], *[[24, 3, 2]] * 4, *[[24, 2, 2]] * 2],
    "positional_kernel": 16,
    "positional_groups": 4,
    "freeze_extractor": False,
}
WHISPER = {**SMALL, "input_size": 80, "max_frames": 400}
#: Encoder and its settings, and what makes its front end.
NETWORKS = {
    "conformer, conv1d": (GatedConformer, CONFORMER, lambda: LogMel(normalisation=UtteranceCMVN())),
    "conformer, conv2d": (
        GatedConformer,
        {**CONFORMER, "subsampling": "conv2d", "subsampling_channels": 8},
        lambda: LogMel(normalisation=GlobalCMVN(80)),
    ),
    "conformer, rotary": (
        GatedConformer,
        {**CONFORMER, "attention": "rotary"},
        lambda: KaldiFbank(normalisation=GlobalCMVN(80)),
    ),
    "conformer, closed norm": (GatedConformer, {**CONFORMER, "closed_norm": True}, LogMel),
    "wavlm, as Base": (GatedWavLM, WAVLM, lambda: Waveform(normalise=False)),
    "wavlm, as Large": (GatedWavLM, {**WAVLM, "conv_norm": "layer", "pre_norm": True}, Waveform),
    "wavlm, mean of all blocks": (GatedWavLM, {**WAVLM, "weighted_sum": True}, Waveform),
    "whisper": (GatedWhisper, {**WHISPER, "stack": 1}, WhisperLogMel),
    "whisper, pairs": (GatedWhisper, {**WHISPER, "stack": 2}, WhisperLogMel),
}


@pytest.fixture(scope="module")
def speech(root):
    """Seven utterances of real speech, the longest twelve times the shortest."""
    files = sorted((root / "egs_data").rglob("*.flac"))[: len(SECONDS)]
    signals = [torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for file in files]
    cut = [signal.repeat(8)[: round(16000 * seconds)] for signal, seconds in zip(signals, SECONDS, strict=True)]
    assert all(signal.abs().max() > 0.01 for signal in cut)
    return cut


@pytest.fixture(params=["kernels", "no kernels", "gradients"])
def arithmetic(request):
    """The ways to compute on a CPU: faster kernels in inference, PyTorch's own, and what training takes."""
    with kernels.use(request.param != "no kernels"), torch.set_grad_enabled(request.param == "gradients"):
        yield request.param


@pytest.fixture(params=list(NETWORKS))
def run(request):
    """Runs signals as one batch: `run(signals, gates, extra=0) -> logits of each, hypothesis of each`."""
    kind, settings, front_end = NETWORKS[request.param]
    torch.manual_seed(1)
    network = GatedCTC(front_end(), kind(**settings), vocab_size=12, blank_bias=0.0).eval()
    # Away from where norms and biases start; otherwise all frames look the same and nothing could differ.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return lambda *arguments, **options: run_batch(network, *arguments, **options)


def run_batch(network, signals, gates, extra=0, padding=0.0):
    lengths = torch.tensor([len(signal) for signal in signals])
    batch = torch.full((len(signals), int(lengths.max()) + extra), padding)
    for row, signal in zip(batch, signals, strict=True):
        row[: len(signal)] = signal
    [logits], frames, _ = network(*network.frontend(batch, lengths), [gates])
    rows = unpadded(logits, frames)
    return list(map(torch.from_numpy, rows)), list(map(greedy, rows))


def check(found, expected):
    """Compare (logits, hypothesis) with those of the utterance alone."""
    assert found[0].shape == expected[0].shape
    assert (found[0] - expected[0]).abs().max().item() <= BOUND
    assert found[1] == expected[1]


def vectors(number):
    """Every gate open, and some random gate vectors."""
    dice = random.Random(number)
    return [(True,) * N, *(random_subset(N, dice.randint(1, N), dice) for _ in range(2))]


def alone(run, speech, gates):
    results = []
    for signal in speech:
        [logits], [hypothesis] = run([signal], gates)
        results.append((logits, hypothesis))
    # What could not differ would show nothing.
    assert sum(len(hypothesis) for _, hypothesis in results) > 20
    return results


def test_any_batch_gives_what_each_utterance_gives_alone(run, speech, arithmetic):
    dice = random.Random(0)
    for gates in vectors(1):
        expected = alone(run, speech, gates)
        for size in (1, 2, 4, 7):
            order = dice.sample(range(len(speech)), len(speech))
            for first in range(0, len(order), size):
                chosen = order[first : first + size]
                for index, found in zip(
                    chosen, zip(*run([speech[i] for i in chosen], gates), strict=True), strict=True
                ):
                    check(found, expected[index])


@pytest.mark.parametrize("padding", [0.0, 1.0, -1e3])
def test_padding_beyond_the_longest_utterance_changes_nothing(run, speech, padding):
    with torch.no_grad():
        for gates in vectors(2):
            expected = alone(run, speech, gates)
            for extra in (1, 160, 12345):
                found = run(speech, gates, extra=extra, padding=padding)
                for one, other in zip(zip(*found, strict=True), expected, strict=True):
                    check(one, other)


NEIGHBOURS = {
    "loud": lambda time: 1e3 * torch.sin(time / 7),
    "silent": torch.zeros_like,
    "square wave": lambda time: torch.sin(time / 20).sign(),
    "constant": torch.ones_like,
    "click": lambda time: (time == 5).float() * 1e4,
}


@pytest.mark.parametrize("neighbour", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_neighbours_change_nothing(run, speech, neighbour):
    extreme = neighbour(torch.arange(40000.0))
    with torch.no_grad():
        for gates in vectors(3):
            expected = alone(run, speech, gates)
            found = run([extreme, *speech, extreme[:9000]], gates)
            for one, other in zip(list(zip(*found, strict=True))[1:-1], expected, strict=True):
                check(one, other)


@pytest.mark.slow
def test_a_conformer_of_the_papers_size_keeps_the_promise_too(speech):
    torch.manual_seed(0)
    network = GatedCTC(LogMel(normalisation=UtteranceCMVN()), GatedConformer(residual_init=1.0), vocab_size=256).eval()
    dice = random.Random(4)
    with torch.no_grad():
        for gates in [(True,) * 12, *(random_subset(12, n, dice) for n in (2, 6, 10))]:
            expected = [run_batch(network, [signal], gates) for signal in speech]
            found = zip(*run_batch(network, speech, gates), strict=True)
            for one, ([logits], [hypothesis]) in zip(found, expected, strict=True):
                check(one, (logits, hypothesis))
