"""The beam search next to SpeechBrain's: the same texts with the same scores, bit for bit."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from dld.decoding.beam import BeamSearch
from dld.decoding.best_path import log_softmax
from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.ngram import estimate
from dld.decoding.settings import BeamSettings

LOGITS = Path(__file__).parent / "data/logits.npz"
SETTINGS = [
    BeamSettings(),
    BeamSettings(1),
    BeamSettings(2),
    BeamSettings(8, -5, -3),
    BeamSettings(20, -60, -60),
    BeamSettings(100, -8, -8),
]
# SpeechBrain's searcher with the sentence's end scored.
Reference = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/beam_speed.py"))["Reference"]


@pytest.fixture(scope="module")
def real():
    """Tokens and log probabilities of eight recordings of numbers by the mini recipe's network, at depths 2 and 12."""
    with np.load(LOGITS) as arrays:
        return arrays["tokens"].tolist(), [log_softmax(arrays[name]) for name in arrays.files if name != "tokens"]


@pytest.fixture(scope="module")
def random():
    """Tokens that spell words in several ways, and log probabilities from flat to peaked ones, blank likely."""
    tokens = ["<blk>", "<unk>", "▁", "▁a", "▁ab", "a", "b", "ab", "c", "▁c"]
    generator = np.random.default_rng(7)
    rows = [generator.normal(0, scale, (frames, len(tokens))) for scale in (1, 2, 4) for frames in (0, 1, 7, 20)]
    return tokens, [log_softmax(logits + 3.0 * (np.arange(len(tokens)) == 0)) for logits in rows]


@pytest.fixture(scope="module")
def models(kenlm, tmp_path_factory):
    """Language models of words of both sets, of orders 2 to 4."""
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "oh", "double", "point"]
    sentences = [numbers[i:] + numbers[: i // 2] for i in range(len(numbers))] + [["a", "ab", "c", "cab", "a", "b"]] * 3
    folder = tmp_path_factory.mktemp("lm")
    for order in (2, 3, 4):
        estimate(sentences, order=order).write(folder / f"{order}.arpa")
    return {order: LanguageModel(folder / f"{order}.arpa") for order in (2, 3, 4)}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("data", ["real", "random"])
def test_texts_and_scores_are_the_reference_s(data, settings, request):
    tokens, utterances = request.getfixturevalue(data)
    search, reference = BeamSearch(tokens, settings=settings), Reference(tokens, None, None, settings)
    for log_probs in utterances:
        best = search.hypotheses(log_probs)[0]
        assert (best.text, best.acoustic, best.score) == reference.best(log_probs)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(
    ("order", "weights"),
    [(2, Weights(0.5, 1.0)), (3, Weights(0.7, 2.0, -4.0)), (4, Weights(1.0, -1.0))],
)
@pytest.mark.parametrize("data", ["real", "random"])
def test_texts_and_scores_with_a_model_are_the_reference_s(data, order, weights, settings, models, request):
    tokens, utterances = request.getfixturevalue(data)
    search = BeamSearch(tokens, models[order], weights, settings)
    reference = Reference(tokens, models[order], weights, settings)
    for log_probs in utterances:
        best = search.hypotheses(log_probs)[0]
        assert (best.text, best.acoustic, best.score) == reference.best(log_probs)
