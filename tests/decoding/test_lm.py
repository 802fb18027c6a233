"""Language models as KenLM reads them."""

import sys

import pytest

from dld.decoding.lm import LanguageModel, Weights, WordScorer
from dld.errors import DldError


def test_kenlm_reads_what_is_written(kenlm, arpa, read_arpa, sentences):
    ours, theirs = read_arpa(arpa), LanguageModel(arpa)
    assert (theirs.order, theirs.name, theirs.counts[0]) == (3, "random", len(ours.vocabulary) + 1)
    for words in [*sentences[:40], ["w1", "never", "w2", "w1"]]:
        context, state = ("<s>",), theirs.begin()
        for word in [*words, "</s>"]:
            log, state = theirs.log10(state, word)
            assert log == pytest.approx(ours.log10(context, word), abs=1e-5)
            context += (word if (word,) in ours.probabilities else "<unk>",)


def test_unknown_words_are_told_apart(kenlm, arpa):
    model = LanguageModel(arpa)
    assert "w1" in model and "never" not in model
    about = model.perplexity([["w1", "never"], []])
    assert (about["sentences"], about["words"], about["oov"]) == (2, 2, 1)
    assert about["perplexity_known"] < about["perplexity"]


def test_compressed_models_and_binary_ones(kenlm, arpa, tmp_path):
    import gzip

    with gzip.open(tmp_path / "lm.arpa.gz", "wb") as out:
        out.write(arpa.read_bytes())
    model = LanguageModel(tmp_path / "lm.arpa.gz")
    assert model.words() == LanguageModel(arpa).words()


@pytest.mark.parametrize("name", ["lm", "lm.txt", "lm.gz", "lm.arpa"])
def test_arpa_is_recognised_under_any_name(kenlm, arpa, tmp_path, name):
    import gzip

    for content in (arpa.read_bytes(), gzip.compress(arpa.read_bytes())):
        (tmp_path / name).write_bytes(content)
        model = LanguageModel(tmp_path / name)
        assert model.is_arpa and model.counts == LanguageModel(arpa).counts
        assert model.words() == LanguageModel(arpa).words()


def test_binary_models_do_not_list_their_words(kenlm, arpa):
    model = LanguageModel(arpa)
    model.is_arpa = False
    with pytest.raises(DldError, match="does not list its words"):
        model.words()


def test_a_missing_kenlm_says_how_to_get_it(monkeypatch, arpa):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(DldError, match="pip install") as error:
        LanguageModel(arpa)
    assert "\n" not in str(error.value)


def test_files_that_are_no_models_are_refused_in_one_line(kenlm, tmp_path, capfd):
    with pytest.raises(DldError, match="no such language model"):
        LanguageModel(tmp_path / "lm.arpa")
    (tmp_path / "lm.bin").write_bytes(b"nonsense " * 100)
    (tmp_path / "lm.arpa").write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\tone\n\n\\end\\\n")
    for name, said in (("lm.bin", "not an ARPA file"), ("lm.arpa", "KenLM cannot read it")):
        with pytest.raises(DldError, match=said) as error:
            LanguageModel(tmp_path / name)
        assert "\n" not in str(error.value) and "model.cc" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_model_without_unknown_words_would_close_the_vocabulary(kenlm, tmp_path):
    lines = ["\\data\\", "ngram 1=3", "ngram 2=1", "", "\\1-grams:", "-99\t<s>\t0", "-0.3\t</s>", "-0.3\tone\t0"]
    lines += ["", "\\2-grams:", "-0.1\tone </s>", "", "\\end\\", ""]
    (tmp_path / "lm.arpa").write_text("\n".join(lines))
    with pytest.raises(DldError, match="has no <unk>"):
        LanguageModel(tmp_path / "lm.arpa")


def test_a_penalty_for_unknown_words_is_paid_from_their_first_impossible_unit(kenlm, arpa):
    model = LanguageModel(arpa)
    scorer = WordScorer(model, Weights(0.5, 0.0, unknown=-4.0))
    penalty = scorer.score(model.begin(), "never")[0] - WordScorer(model, Weights(0.5)).score(model.begin(), "never")[0]
    assert penalty == pytest.approx(scorer.score_partial_token("ne")) == pytest.approx(-4 * 0.5 * 2.302585)
    assert scorer.score_partial_token("w") == scorer.score_partial_token("w1") == 0
    assert WordScorer(model, Weights(0.5)).score_partial_token("ne") == 0


def test_no_word_has_no_score(kenlm, arpa):
    model = LanguageModel(arpa)
    scorer, state = WordScorer(model, Weights(0.5, 2.0)), model.begin()
    assert scorer.score(state, "")[0] == 0
    assert scorer.score(state, "", is_last_word=True)[0] == scorer.end_score(state) < 0
    score, after = scorer.score(state, "w1")
    assert scorer.score(state, "w1", is_last_word=True)[0] == pytest.approx(score + scorer.end_score(after))
