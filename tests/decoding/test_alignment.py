"""Times of tokens and words: exact to a frame against torchaudio, and against all paths."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from dld.data.tokenizer import train
from dld.decoding.alignment import Spans, align, best_path, join, text_graph, token_graph, words_of
from dld.decoding.best_path import greedy, log_softmax
from dld.errors import DldError

DATA = Path(__file__).parent / "data"
PIECES = ["<blk>", "<unk>", "▁", "a", "b", "▁a", "ab", "▁ab"]


def posteriors(frames, tokens, seed, peak=1.0):
    return log_softmax(np.random.default_rng(seed).normal(0, peak, (frames, tokens)))


def frames_of(spans, frames):
    """Token of each frame, 0 for the blank."""
    labels = np.zeros(frames, int)
    for token, start, end in zip(spans.tokens, spans.starts, spans.ends, strict=True):
        labels[start:end] = token
    return labels.tolist()


def case(seed):
    """Return posteriors and tokens to align, repeated ones among them, which need a blank between them."""
    rng = np.random.default_rng(seed)
    frames, tokens = int(rng.integers(20, 120)), int(rng.integers(3, 30))
    wanted = rng.integers(1, tokens, int(rng.integers(1, frames // 3)))
    wanted = np.repeat(wanted, rng.integers(1, 3, len(wanted)))[: frames // 3]
    return posteriors(frames, tokens, seed, peak=3.0), wanted


@pytest.mark.parametrize("seed", range(40))
def test_the_path_is_that_of_torchaudio(seed):
    # Written by torchaudio.functional.forced_align, whose compiled part not every installation has.
    stored = json.loads((DATA / "forced_align.json").read_text())
    rows, wanted = case(seed)
    assert frames_of(align(rows, token_graph(wanted)), len(rows)) == stored["paths"][seed]


def paths_of(tokens, frames, vocabulary):
    """All CTC paths of a sequence of tokens."""
    for path in itertools.product(range(vocabulary), repeat=frames):
        if [token for token, _ in itertools.groupby(path) if token] == list(tokens):
            yield path


@pytest.mark.parametrize("tokens", [[1], [1, 2], [1, 1], [2, 1, 1]])
def test_no_path_is_more_probable(tokens):
    rows = posteriors(6, 3, sum(tokens), peak=2.0)
    best = max(paths_of(tokens, 6, 3), key=lambda path: rows[range(6), path].sum())
    assert frames_of(align(rows, token_graph(tokens)), 6) == list(best)


def test_of_a_text_the_best_tokens_are_found():
    rows = posteriors(9, len(PIECES), 3, peak=3.0)
    cuts = [[5, 4, 3], [7, 3], [2, 6, 3], [2, 3, 4, 3]]  # ▁a b a, ▁ab a, ▁ ab a, ▁ a b a
    found = align(rows, text_graph("aba", PIECES))
    scores = []
    for cut in cuts:
        labels = frames_of(align(rows, token_graph(cut)), 9)
        scores.append(rows[range(9), labels].sum())
    assert rows[range(9), frames_of(found, 9)].sum() == pytest.approx(max(scores))
    assert found.tokens.tolist() == cuts[int(np.argmax(scores))]


@pytest.mark.parametrize("seed", range(10))
def test_a_best_path_has_the_times_of_its_alignment(seed):
    logits = np.random.default_rng(seed).normal(0, 4, (60, 12))
    spans = best_path(logits)
    assert spans.tokens.tolist() == greedy(logits)
    assert frames_of(spans, 60) == logits.argmax(1).tolist()
    aligned = align(log_softmax(logits), token_graph(spans.tokens))
    for found, expected in zip(aligned, spans, strict=True):
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("frames", "graph"),
    [
        (1, token_graph([3, 4])),
        (2, token_graph([3, 3])),
        (0, token_graph([3])),
        (9, text_graph("xyz", PIECES)),
    ],
)
def test_what_cannot_be_aligned_is_one_line(frames, graph):
    with pytest.raises(DldError, match=f"cannot be aligned with {frames} frames"):
        align(posteriors(frames, len(PIECES), 0) if frames else np.zeros((0, 8)), graph)


def test_an_empty_text_has_no_spans():
    for graph in (token_graph([]), text_graph("", PIECES)):
        assert len(align(posteriors(5, 8, 0), graph).tokens) == 0
    assert words_of(align(posteriors(5, 8, 0), token_graph([])), PIECES) == []
    assert len(best_path(np.zeros((0, 8))).tokens) == 0


def test_words_are_those_of_the_tokenizer(tmp_path):
    tokenizer = train(["one two three", "seven eleven", "a b"], tmp_path, vocab_size=24)
    rng = np.random.default_rng(0)
    for _ in range(300):
        tokens = rng.integers(1, len(tokenizer), rng.integers(0, 12))
        ends = np.cumsum(rng.integers(1, 5, len(tokens)))
        words = words_of(Spans(tokens, ends - 1, ends, np.zeros(len(tokens))), tokenizer.tokens())
        text = tokenizer.decode(tokens)
        # The unknown token is written with spaces around it.
        assert "".join(word.text for word in words).replace("<unk>", "⁇") == text.replace(" ", "")
        if 1 not in tokens:
            assert " ".join(word.text for word in words) == text
        assert all(a.end <= b.start for a, b in itertools.pairwise(words))


def test_a_word_is_from_its_first_token_to_its_last():
    # ▁ a b _ ▁a | a word of spaces alone is none.
    spans = Spans(np.array([2, 3, 4, 5, 2]), np.array([0, 2, 5, 9, 12]), np.array([1, 4, 6, 10, 13]), np.zeros(5))
    assert [(word.text, word.start, word.end) for word in words_of(spans, PIECES)] == [("ab", 0, 6), ("a", 9, 10)]


@pytest.mark.parametrize("cut", range(1, 40))
def test_parts_are_joined_to_the_whole(cut):
    logits = np.random.default_rng(1).normal(0, 1, (40, 3))
    whole = best_path(logits)
    found = join([best_path(logits[:cut]), best_path(logits[cut:]).after(cut)])
    for values, expected in zip(found, whole, strict=True):
        np.testing.assert_allclose(values, expected)
