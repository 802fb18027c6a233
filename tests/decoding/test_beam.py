"""Beam search: against greedy decoding and full sums, with language models, over batches and processes."""

import itertools
import math

import numpy as np
import pytest

from dld.data.tokenizer import train as train_tokenizer
from dld.decoding import beam, ngram
from dld.decoding.beam import BeamSearch, BeamSettings, SearchPool
from dld.decoding.best_path import greedy, log_softmax
from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.settings import Search
from dld.errors import DldError

TOKENS = ["<blk>", "<unk>", "▁", "▁s", "▁th", "ee", "ea", "▁the", "e"]


def frames(*rows):
    """Log probabilities (frames, tokens) from dictionaries of token → probability; the rest is shared by the others."""
    table = np.zeros((len(rows), len(TOKENS)))
    for index, row in enumerate(rows):
        rest = (1 - sum(row.values())) / (len(TOKENS) - len(row))
        table[index] = [row.get(token, rest) for token in TOKENS]
    return np.log(table)


def spoken(*tokens, sure=0.9):
    """One frame for each token, a blank after it."""
    return frames(*itertools.chain(*([{token: sure}, {"<blk>": 0.9}] for token in tokens)))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    lines = ["one two three four five six seven", "eight nine ten eleven twelve thirteen", "twenty one hundred"]
    return train_tokenizer(lines, tmp_path_factory.mktemp("lang"), vocab_size=36)


@pytest.fixture(scope="module")
def batch(tokenizer):
    """Random logits of utterances of many lengths, blank likely, `<unk>` impossible."""
    generator = np.random.default_rng(1)
    rows = [generator.normal(0, 3, (frames, len(tokenizer))) for frames in (100, 29, 57, 58, 3, 1, 99, 14)]
    for logits in rows:
        logits[:, 0] += 4
        logits[:, 1] = -30
    return rows


@pytest.fixture(scope="module")
def model(kenlm, tmp_path_factory):
    """Knows "see the see" and "the see", and much more often than "sea"."""
    path = tmp_path_factory.mktemp("lm") / "see.arpa"
    ngram.estimate([["the", "see"]] * 8 + [["see", "the"]] * 3 + [["the", "sea"]], order=2).write(path)
    return LanguageModel(path)


def test_a_beam_of_one_without_a_model_is_greedy_decoding(tokenizer, batch):
    search = BeamSearch(tokenizer.tokens(), settings=BeamSettings(size=1))
    best = [tokenizer.decode(ids) for ids in map(greedy, batch)]
    assert max(len(text.split()) for text in best) > 5
    # Greedy decoding writes a second space where a bare space token precedes a word.
    assert search(batch) == [" ".join(text.split()) for text in best]


def test_paths_of_the_same_text_add_up():
    # The best path is all blanks (0.36), but the paths of "s" together have 0.24 + 0.24 + 0.16.
    row = {"<blk>": 0.6, "▁s": 0.4 - 7e-9}
    assert BeamSearch(TOKENS).text(frames(row, row)) == "s"
    assert BeamSearch(TOKENS, settings=BeamSettings(size=1)).text(frames(row, row)) == ""


def test_the_best_text_is_that_of_the_full_sum():
    generator = np.random.default_rng(5)
    log_probs = np.log(generator.dirichlet(np.ones(len(TOKENS)), 5))
    log_probs[:, 1] = -40
    sums = {}
    for path in itertools.product(range(len(TOKENS)), repeat=5):
        ids = [token for token, _ in itertools.groupby(path) if token]
        text = " ".join("".join(TOKENS[token] for token in ids).replace("▁", " ").split())
        # Texts are distinguished by their tokens: the search cannot know before the end that two spellings agree.
        total = sum(log_probs[frame, token] for frame, token in enumerate(path))
        sums[text] = np.logaddexp(sums.get(text, -np.inf), total)
    wide = BeamSettings(size=5000, beam_logp=-60, token_logp=-60)
    assert BeamSearch(TOKENS, settings=wide).text(log_probs) == max(sums, key=sums.get)


def test_batches_change_nothing(tokenizer, batch):
    search = BeamSearch(tokenizer.tokens(), settings=BeamSettings(size=5))
    assert [search([rows])[0] for rows in batch] == search(batch)


def test_the_model_decides_between_words_that_sound_alike(model):
    ambiguous = frames({"▁the": 0.9}, {"<blk>": 0.9}, {"▁s": 0.9}, {"ea": 0.5, "ee": 0.45})
    assert BeamSearch(TOKENS).text(ambiguous) == "the sea"
    assert BeamSearch(TOKENS, model, Weights(0.5, 0.0)).text(ambiguous) == "the see"
    assert BeamSearch(TOKENS, model, Weights(0.0, 0.0)).text(ambiguous) == "the sea"


def test_the_vocabulary_is_open_unless_it_is_closed(model):
    unknown = spoken("▁th", "ea")
    assert "thea" not in model
    assert BeamSearch(TOKENS, model, Weights(0.5, 0.5)).text(unknown) == "thea"
    assert BeamSearch(TOKENS, model, Weights(0.5, 0.5, unknown=-20.0)).text(unknown) != "thea"


def test_a_bonus_for_words_makes_more_of_them(model):
    either = frames({"▁the": 0.9}, {"<blk>": 0.9}, {"▁th": 0.5, "<blk>": 0.5 - 7e-9}, {"e": 0.5, "<blk>": 0.5 - 7e-9})
    few, many = (BeamSearch(TOKENS, model, Weights(0.2, beta)).text(either).split() for beta in (-3.0, 5.0))
    assert len(few) < len(many)


def test_the_end_of_the_sentence_counts(kenlm, tmp_path):
    # Unigrams and bigrams agree on "the see" and "the sea"; but only the former ends sentences.
    lines = ["\\data\\", "ngram 1=6", "ngram 2=2", "", "\\1-grams:", "-2\t<unk>", "-99\t<s>\t0", "-1\t</s>"]
    lines += ["-0.5\tthe\t0", "-0.5\tsee\t0", "-0.5\tsea\t0", "", "\\2-grams:"]
    lines += ["-0.01\tsee </s>", "-3\tsea </s>", "", "\\end\\", ""]
    (tmp_path / "lm.arpa").write_text("\n".join(lines))
    search = BeamSearch(TOKENS, LanguageModel(tmp_path / "lm.arpa"), Weights(0.5, 0.0))
    row = frames({"▁the": 0.9}, {"<blk>": 0.9}, {"▁s": 0.9}, {"ea": 0.5, "ee": 0.45})
    assert search.text(row) == "the see"


def test_silence_gives_no_words(model):
    silence = frames(*[{"<blk>": 0.99}] * 4)
    assert BeamSearch(TOKENS).text(silence) == ""
    assert BeamSearch(TOKENS, model, Weights(0.5, 0.0)).text(silence) == ""


def test_repeated_words_need_a_blank_between(model):
    assert BeamSearch(TOKENS).text(spoken("▁the", "▁the")) == "the the"
    assert BeamSearch(TOKENS).text(frames({"▁the": 0.9}, {"▁the": 0.9})) == "the"


def test_the_unknown_unit_is_never_written():
    assert BeamSearch(TOKENS).text(frames({"<unk>": 0.9, "▁s": 0.06})) == "s"


def test_scores_add_up_to_what_the_model_says(model):
    """The score of the best hypothesis is acoustic + alpha ln p(words, end) + beta words."""
    weights = Weights(0.7, 1.5)
    search = BeamSearch(TOKENS, model, weights, BeamSettings(beam_logp=-60, token_logp=-60))
    log_probs = spoken("▁the", "▁s", "ee")
    best = search.hypotheses(log_probs)[0]
    assert best.text == "the see"
    expected = best.acoustic + 0.7 * math.log(10) * model.model.score("the see") + 1.5 * 2
    assert best.score == pytest.approx(expected, abs=1e-4)


def test_processes_share_the_work_and_keep_the_order(tokenizer, batch, arpa):
    settings = BeamSettings(size=4)
    with (
        SearchPool(tokenizer.tokens(), Search(beam=settings)) as one,
        SearchPool(tokenizer.tokens(), Search(beam=settings), jobs=2) as two,
    ):
        assert two.texts(batch) == one.texts(batch)
        assert two.texts([]) == []


def test_what_is_forgotten_changes_nothing(batch, tokenizer, monkeypatch, arpa, kenlm):
    for model, weights in ((None, None), (LanguageModel(arpa), Weights(0.5, 1.0))):
        search = BeamSearch(tokenizer.tokens(), model, weights, BeamSettings(size=10))
        expected = [search.hypotheses(log_softmax(rows)) for rows in batch]
        known = len(search._known)
        with monkeypatch.context() as patch:
            patch.setattr(beam, "_KEPT_FRAMES", 3)
            assert [search.hypotheses(log_softmax(rows)) for rows in batch] == expected
        assert len(search._known) < known


def test_damaged_posteriors_are_refused():
    with pytest.raises(DldError, match="have NaN"):
        BeamSearch(TOKENS).text(np.full((2, len(TOKENS)), np.nan))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BeamSettings(size=0), "BeamSettings: size is 0; it must be a whole number"),
        (lambda: BeamSettings(beam_logp=1.0), "below 0"),
        (lambda: SearchPool(TOKENS, jobs=0), "--jobs 0"),
        (lambda: BeamSearch(TOKENS, weights=Weights(0.5)), "go together"),
        (lambda: Weights(-0.5), "alpha -0.5"),
        (lambda: Weights(0.5, math.nan), "beta is nan"),
        (lambda: Weights(0.5, 0, 1.0), "must not be positive"),
    ],
)
def test_senseless_settings_are_refused(make, message):
    with pytest.raises(DldError, match=message):
        make()
