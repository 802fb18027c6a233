"""Estimating n-gram models and reading ARPA files."""

import gzip
import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from dld.bin import lm as lm_command
from dld.decoding import ngram
from dld.decoding.ngram import estimators
from dld.decoding.ngram.smoothing import FALLBACK, discounts
from dld.errors import DldError
from dld.files import read_json

DATA = Path(__file__).parent / "data"
NUMBERS = DATA / "numbers.txt"


def contexts(model):
    """Every context of a model, and one that it has never seen."""
    return [(), ("never", "seen"), *(words for words in model.backoffs if words[-1] != "</s>" and words != ("<unk>",))]


def test_a_model_small_enough_to_compute_by_hand(tmp_path, read_arpa):
    # Adjusted counts of the unigrams: a, b and c follow one word each, </s> two; 5 in all, 5 words to predict. Nothing
    # has count 3, so that the discounts are the fallback: 0.5 for a count of 1, 1 for 2.
    # Bigrams: <s> a 3, a b 2, b </s> 2, a c 1, c </s> 1. Y = 2 / (2 + 2 * 2) = 1/3, and the discounts are
    # 1 - 2/3 * 2/2 = 1/3 for a count of 1, 2 - 3/3 * 1/2 = 3/2 for 2, 3 - 4/3 * 0/1 = 3 for 3.
    model = ngram.estimate([["a", "b"], ["a", "b"], ["a", "c"]], order=2)
    assert model.discounts[1] == pytest.approx([1 / 3, 1.5, 3.0])
    model.write(tmp_path / "lm.arpa")
    model = read_arpa(tmp_path / "lm.arpa")
    left_by_a, left_by_b = (1.5 + 1 / 3) / 3, 1.5 / 2
    expected = {
        ((), "a"): 0.1 + 0.5 / 5,
        ((), "</s>"): 0.2 + 0.5 / 5,
        ((), "<unk>"): 0.5 / 5,
        (("a",), "b"): (2 - 1.5) / 3 + left_by_a * 0.2,
        (("a",), "c"): (1 - 1 / 3) / 3 + left_by_a * 0.2,
        (("a",), "</s>"): left_by_a * 0.3,
        (("<s>",), "a"): (3 - 3) / 3 + 1 * 0.2,
        (("b",), "</s>"): (2 - 1.5) / 2 + left_by_b * 0.3,
        (("b",), "never"): left_by_b * 0.1,
    }
    found = {key: 10 ** model.log10(*key) for key in expected}
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("order", "prune"), [(2, ()), (3, ()), (4, ()), (3, (0, 1, 1)), (3, (0, 0, 2)), (4, (0, 1, 2, 2))]
)
def test_the_probabilities_of_every_context_sum_to_one(sentences, tmp_path, read_arpa, order, prune):
    ngram.estimate(sentences, order, prune).write(tmp_path / "lm.arpa")
    model = read_arpa(tmp_path / "lm.arpa")
    seen = contexts(model)
    assert len(seen) > 100
    for context in seen[:: max(1, len(seen) // 300)]:
        total = sum(10 ** model.log10(context, word) for word in model.vocabulary)
        assert total == pytest.approx(1, abs=1e-5), context
    assert {k: sum(len(words) == k for words in model.probabilities) for k in model.stated} == model.stated


@pytest.mark.parametrize(("name", "prune"), [("lmplz.arpa", ()), ("lmplz_pruned.arpa", (0, 1, 1))])
def test_the_model_is_that_of_lmplz(tmp_path, read_arpa, name, prune):
    """`lmplz -o 3 --discount_fallback [--prune 0 1 1] < numbers.txt`, KenLM 0.3.0, made the files compared with."""
    ngram.estimate(ngram.read_sentences(NUMBERS), 3, prune).write(tmp_path / "lm.arpa")
    ours, theirs = read_arpa(tmp_path / "lm.arpa"), read_arpa(DATA / name)
    # lmplz writes 0 for <s>, which is never predicted.
    theirs.probabilities[("<s>",)] = -99.0
    assert ours.probabilities == pytest.approx(theirs.probabilities, abs=2e-6)
    assert ours.backoffs == pytest.approx(theirs.backoffs, abs=2e-6)


def test_installed_estimators_give_models_too(sentences, tmp_path, read_arpa, arpa):
    if shutil.which("lmplz") is None:
        pytest.skip("lmplz is not installed")
    about = ngram.write_arpa([*sentences, []], tmp_path / "lmplz.arpa.gz", 3, tool="lmplz")
    assert about == {
        "tool": "lmplz",
        "order": 3,
        "prune": [],
        "sentences": 400,
        "words": sum(map(len, sentences)),
        "empty": 1,
    }
    ours, theirs = read_arpa(arpa), read_arpa(tmp_path / "lmplz.arpa.gz")
    assert set(ours.vocabulary) == set(theirs.vocabulary)
    differences = [abs(ours.probabilities[words] - theirs.probabilities[words]) for words in ours.probabilities]
    assert sorted(differences)[-2] < 2e-6  # the last is <s>


def test_discounts_need_counts_of_counts():
    # Eight n-grams seen once, four twice, two three times, one four times: Y = 8 / (8 + 2 * 4) = 0.5.
    adjusted = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 3])
    assert discounts(adjusted) == [1 - 2 * 0.5 * 4 / 8, 2 - 3 * 0.5 * 2 / 4, 3 - 4 * 0.5 * 1 / 2]
    assert discounts(adjusted[adjusted != 3]) is None


def test_too_little_text_is_estimated_with_a_warning(caplog):
    model = ngram.estimate([["one"]], order=2)
    assert model.discounts == [list(FALLBACK)] * 2
    assert "1-grams" in caplog.text and "2-grams" in caplog.text


def test_sentences_without_words_and_their_order_change_nothing(sentences, read_arpa, tmp_path, arpa):
    ngram.estimate([[], *reversed(sentences), []], order=3).write(tmp_path / "again.arpa")
    assert read_arpa(tmp_path / "again.arpa").probabilities == read_arpa(arpa).probabilities


def test_the_same_text_gives_the_same_bytes(sentences, tmp_path, arpa):
    for name in ("one", "two"):
        ngram.write_arpa(sentences, tmp_path / f"{name}.arpa.gz", 3, tool="own")
    packed = (tmp_path / "one.arpa.gz").read_bytes()
    assert packed == (tmp_path / "two.arpa.gz").read_bytes()
    assert gzip.decompress(packed) == arpa.read_bytes()


def test_reading_an_arpa_file(arpa, sentences):
    assert ngram.arpa_counts(arpa)[0] == 43
    assert ngram.arpa_words(arpa) == set(itertools.chain(*sentences))


def test_unigrams_without_backoff_are_words_too(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<unk>\n-1\tone\n-1\ttwo\t-0.5\n\n\\end\\\n")
    assert ngram.arpa_words(path) == {"one", "two"}


@pytest.mark.parametrize(
    ("sentences", "order", "prune", "message"),
    [
        ([], 3, (), "no words"),
        ([[], []], 3, (), "no words"),
        ([["one", "<unk>"]], 3, (), "<unk>.*take it out"),
        ([["<s>", "one"]], 3, (), "<s>"),
        ([["one"]], 1, (), "outside 2…6"),
        ([["one"]], 7, (), "outside 2…6"),
        ([["one"]], 2, (0, 1, 1), "--prune 0,1,1"),
        ([["one"]], 2, (1, 1), "--prune 1,1"),
        ([["one"]], 3, (0, 2, 1), "--prune 0,2,1"),
    ],
)
def test_what_cannot_be_estimated_is_said(tmp_path, sentences, order, prune, message):
    with pytest.raises(DldError, match=message):
        ngram.write_arpa(sentences, tmp_path / "lm.arpa", order, prune, "own")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("one two\n", "not an ARPA file"),
        ("\\data\\\nngram 1=3\n\n\\1-grams:\n-1\tone\n\n\\end\\\n", "1 unigrams, its head says 3"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\none\n\n\\end\\\n", ":5: not a unigram"),
    ],
)
def test_damaged_arpa_files_are_refused(tmp_path, content, message):
    path = tmp_path / "lm.arpa"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DldError, match=message):
        ngram.arpa_words(path)


def test_text_that_is_none_is_refused_with_its_line(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"one\ntwo \xe9\n")
    with pytest.raises(DldError, match="latin.txt:.*not text"):
        list(ngram.read_sentences(tmp_path / "latin.txt"))


def test_missing_estimators_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(estimators.shutil, "which", lambda _: None)
    with pytest.raises(DldError, match="lmplz is not installed; build it from KenLM's sources, or take --tool own"):
        ngram.write_arpa([["one"]], tmp_path / "lm.arpa", tool="lmplz")
    with pytest.raises(DldError, match="unknown estimator 'irstlm'; there are own and lmplz"):
        ngram.write_arpa([["one"]], tmp_path / "lm.arpa", tool="irstlm")


def test_an_estimator_that_fails_leaves_no_model(monkeypatch, tmp_path):
    broken = tmp_path / "bin" / "lmplz"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'out of memory' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(estimators.shutil, "which", lambda _: str(broken))
    with pytest.raises(DldError, match=r"lmplz failed \(status 3\): out of memory"):
        ngram.write_arpa([["one"]], tmp_path / "lm.arpa", tool="lmplz")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


# ---------------------------------------------------------------- the command


def run(*arguments):
    return lm_command.main(list(map(str, arguments)))


def test_the_command_estimates_from_tables_and_plain_text(tmp_path, capsys):
    (tmp_path / "text").write_text("utt1 one two\nutt2 two\nutt3\n")
    with gzip.open(tmp_path / "more.txt.gz", "wt") as out:
        out.write("THREE two\n")
    path = tmp_path / "lm/2gram.arpa"
    options = ["--order", 2, "--lowercase", "true", "--tool", "own"]
    assert run("--text", tmp_path / "text", "--sentences", tmp_path / "more.txt.gz", "--output", path, *options) == 0
    assert ngram.arpa_words(path) == {"one", "two", "three"}
    about = read_json(tmp_path / "lm/2gram.arpa.json")
    assert (about["sentences"], about["empty"], about["words"], about["order"]) == (3, 1, 5, 2)
    assert about["ngrams"] == ngram.arpa_counts(path)
    assert "2-gram model" in capsys.readouterr().out


def test_thresholds_are_handed_to_the_estimator(monkeypatch, tmp_path):
    program = tmp_path / "bin" / "lmplz"
    program.parent.mkdir()
    script = [
        "#!/bin/sh",
        f'echo "$@" >{tmp_path}/arguments',
        'while [ "$1" != --arpa ]; do shift; done',
        "echo x >$2",
        "",
    ]
    program.write_text("\n".join(script))
    program.chmod(0o755)
    monkeypatch.setattr(estimators.shutil, "which", lambda _: str(program))
    ngram.write_arpa([["one"]], tmp_path / "lm.arpa", prune=(0, 1, 1), tool="lmplz")
    assert "--prune 0 1 1 " in (tmp_path / "arguments").read_text()
    assert (tmp_path / "lm.arpa").read_text() == "x\n"


def test_the_command_prunes_without_further_options(tmp_path):
    assert run("--sentences", NUMBERS, "--prune", "0,0,1", "--output", tmp_path / "lm.arpa") == 0
    assert read_json(tmp_path / "lm.arpa.json")["tool"] == "own"


def test_the_command_reports_the_perplexity_on_dev(kenlm, tmp_path, capsys, read_arpa):
    (tmp_path / "train").write_text("utt1 one two\nutt2 two\nutt3 one\n")
    (tmp_path / "dev").write_text("utt4 two three\n")
    path = tmp_path / "lm.arpa"
    assert run("--text", tmp_path / "train", "--dev", tmp_path / "dev", "--output", path, "--tool", "own") == 0
    model = read_arpa(path)
    logs = [model.log10(("<s>",), "two"), model.log10(("<s>", "two"), "<unk>"), model.log10(("two", "<unk>"), "</s>")]
    about = read_json(tmp_path / "lm.arpa.json")["dev"]
    assert about["perplexity"] == pytest.approx(10 ** (-sum(logs) / 3), rel=1e-5)
    assert about["perplexity_known"] == pytest.approx(10 ** (-(logs[0] + logs[2]) / 2), rel=1e-5)
    assert (about["words"], about["oov"], about["sentences"]) == (2, 1, 1)
    assert math.isfinite(about["perplexity"]) and "perplexity" in capsys.readouterr().out


def test_the_command_measures_a_ready_model(kenlm, tmp_path, capsys):
    shutil.copy(DATA / "lmplz.arpa", tmp_path / "lm.arpa")
    (tmp_path / "dev").write_text("utt1 one two\n")
    assert run("--output", tmp_path / "lm.arpa", "--dev", tmp_path / "dev") == 0
    assert "order 3, perplexity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 1, "nothing to do"),
        (["--text", "nowhere"], 1, "nowhere"),
        (["--sentences", NUMBERS, "--prune", "0,x"], 1, "whole numbers"),
        (["--sentences", NUMBERS, "--order", 9], 2, "'9' is not allowed; it must be a whole number from 2 to 6"),
    ],
)
def test_the_commands_errors_are_one_line(tmp_path, capsys, arguments, status, message):
    assert run("--output", tmp_path / "lm.arpa", *arguments) == status
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dld lm: error: ") and message in error
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_would_not_be_known_as_arpa_is_refused(tmp_path, capsys):
    assert run("--sentences", NUMBERS, "--output", tmp_path / "lm.txt") == 1
    assert ".arpa" in capsys.readouterr().err
