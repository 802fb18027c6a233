"""Hotwords: what they find, what they leave alone, and files of them."""

import itertools
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import dld
from dld.bin import decode, transcribe
from dld.data import kaldi
from dld.decoding import ngram
from dld.decoding.beam import BeamSearch, SearchPool
from dld.decoding.best_path import log_softmax
from dld.decoding.hotwords import Bonus, read_hotwords
from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.settings import BeamSettings, Search
from dld.errors import DldError

TOKENS = ["<blk>", "<unk>", "▁", "▁a", "a", "b", "ab", "▁ba"]
WIDE = BeamSettings(size=5000, beam_logp=-200, token_logp=-200)
LOGITS = Path(__file__).parent / "data/logits.npz"


@pytest.fixture(scope="module")
def real():
    """Tokens and logits by utterance of eight recordings of numbers; the first says "ten point three eight"."""
    with np.load(LOGITS) as arrays:
        return arrays["tokens"].tolist(), {name: arrays[name] for name in arrays.files if name != "tokens"}


def search_with(hotwords, tokens, weight=0.5, **options):
    return BeamSearch(tokens, hotwords=Bonus(read_hotwords(hotwords, weight), tokens), **options)


def count(phrase, text):
    """How often a phrase is in a text as whole words; one may share words with the next."""
    words, text = phrase.split(), text.split()
    return sum(text[i : i + len(words)] == words for i in range(len(text)))


def added(hotwords, text):
    """What hotwords add to the score of a text, by definition."""
    return sum(weight * len(phrase) * count(phrase, text) for phrase, weight in hotwords.items())


def random_log_probs(seed, frames=6):
    logits = np.random.default_rng(seed).normal(0, 1.5, (frames, len(TOKENS)))
    logits[:, 1] = -50
    return log_softmax(logits)


def all_texts(log_probs):
    """Probability of each text, summed over all paths."""
    sums = defaultdict(float)
    tokens = [token for token in range(len(TOKENS)) if token != 1]
    for path in itertools.product(tokens, repeat=len(log_probs)):
        ids = [token for token, _ in itertools.groupby(path) if token]
        text = " ".join("".join(TOKENS[token] for token in ids).replace("▁", " ").split())
        sums[text] += np.exp(sum(log_probs[frame, token] for frame, token in enumerate(path)))
    return sums


# ---------------------------------------------------------------- what hotwords add


@pytest.mark.parametrize("seed", range(6))
def test_scores_are_probabilities_and_the_weights_of_the_phrases_in_a_text(seed):
    """Against all paths: beginnings of phrases, parts of words and overlaps count nothing by the end."""
    hotwords = {"ab": 0.75, "ab a": 0.5, "a ab": 0.2, "a a": 1.0, "ba b": 0.3, "abab a ab": 0.4, "b": 0.3}
    log_probs = random_log_probs(seed, frames=5)
    expected = {text: np.log(chance) + added(hotwords, text) for text, chance in all_texts(log_probs).items()}
    found = search_with(hotwords, TOKENS, settings=WIDE).hypotheses(log_probs)
    assert {each.text for each in found} == set(expected)
    for each in found:
        assert each.score == pytest.approx(expected[each.text], abs=1e-4)


def test_a_word_is_found_whatever_tokens_spell_it():
    bonus = Bonus(read_hotwords(["ab"], 1.5), TOKENS)
    for pieces in (["a", "b"], ["ab"], ["", "a", "b"]):
        state = bonus.START
        for piece in pieces:
            state, found = bonus.read(state, piece)
            assert found == 0
        assert bonus.pending(state) == 3.0
        assert bonus.read(state, " ")[1] == 3.0


def test_a_beginning_that_is_not_continued_loses_its_bonus():
    bonus = Bonus(read_hotwords({"ab ba": 1.0, "ba a": 1.0}, 1.0), TOKENS)
    state, found = bonus.read(bonus.START, "ab b")
    assert (found, bonus.pending(state)) == (0.0, 4.0)
    # "ab ba" is whole, and "ba" begins the other phrase.
    state, found = bonus.read(state, "a ")
    assert (found, bonus.pending(state)) == (5.0, 3.0)
    state, found = bonus.read(state, "b")
    assert (found, bonus.pending(state)) == (0.0, 1.0)
    state, found = bonus.read(state, "b ")
    assert (found, bonus.pending(state)) == (0.0, 0.0)


def test_a_phrase_that_the_network_nearly_finds_is_found(real):
    tokens, logits = real
    name = next(iter(logits))
    assert BeamSearch(tokens)([logits[name]]) == ["tn pint threeight"]
    assert search_with(["ten"], tokens)([logits[name]]) == ["ten pint threeight"]
    assert search_with(["ten point"], tokens)([logits[name]]) == ["ten point threeight"]
    assert search_with(["ten point three"], tokens, 1.0)([logits[name]])[0].startswith("ten point three")


def test_texts_without_hotwords_stay(real):
    tokens, logits = real
    plain = BeamSearch(tokens)(list(logits.values()))
    assert search_with(["twenty", "forty", "ninety nine", "five hundred one"], tokens)(list(logits.values())) == plain


def test_a_phrase_that_is_only_begun_displaces_nothing(real):
    tokens, logits = real
    for rows in logits.values():
        text = BeamSearch(tokens)([rows])[0]
        other = " ".join([*text.split()[:-1], "double", "twenty"])
        assert search_with([other], tokens, 1.0)([rows]) == [text]


def test_no_hotwords_change_nothing():
    log_probs = random_log_probs(3)
    far = search_with(["abbaabba"], TOKENS, 1e-9, settings=WIDE).hypotheses(log_probs)
    assert [each.text for each in far] == [
        each.text for each in BeamSearch(TOKENS, settings=WIDE).hypotheses(log_probs)
    ]


def test_hotwords_and_a_language_model_add_up(kenlm, tmp_path):
    # Of an order that looks back over the whole text, so that no hypothesis is dropped for another with the same end.
    ngram.estimate([["a", "ab"], ["ab", "ba", "a"]] * 3, order=6).write(tmp_path / "lm.arpa")
    model, weights = LanguageModel(tmp_path / "lm.arpa"), Weights(0.5, 0.3, -2.0)
    hotwords = {"ab a ab": 0.5, "ba": 0.5}
    log_probs = random_log_probs(11, frames=5)
    alone = BeamSearch(TOKENS, model, weights, WIDE).hypotheses(log_probs)
    both = search_with(hotwords, TOKENS, model=model, weights=weights, settings=WIDE).hypotheses(log_probs)
    scores = {each.text: each.score for each in alone}
    assert {each.text for each in both} == set(scores)
    for each in both:
        assert each.score == pytest.approx(scores[each.text] + added(hotwords, each.text), abs=1e-6)


def test_processes_search_with_hotwords(real, tmp_path):
    tokens, logits = real
    (tmp_path / "words.txt").write_text("ten point\n")
    search = Search(hotwords=tmp_path / "words.txt")
    with SearchPool(tokens, search) as one, SearchPool(tokens, search, jobs=2) as two:
        found = one.texts(list(logits.values()))
        assert found[0] == "ten point threeight"
        assert two.texts(list(logits.values())) == found


# ---------------------------------------------------------------- files and faults


def test_a_file_has_phrases_weights_and_comments(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# names\n\nnew  york\t2.5\r\n  seven\n#seven\t9\nseven\n", encoding="utf-8")
    found = read_hotwords(path, 0.5)
    assert [(word.phrase, word.weight) for word in found] == [("new york", 2.5), ("seven", 0.5)]
    assert [word.where for word in found] == [f"{path}:3", f"{path}:4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "words.txt: no hotwords; write a phrase per line"),
        ("# only\n\n", "words.txt: no hotwords"),
        ("a\nb\thigh\n", "words.txt:2: weight 'high' of 'b'; it must be a number above 0"),
        ("a\t0\n", "words.txt:1: weight 0.0 of 'a'; it must be a number above 0"),
        ("a\tnan\n", "words.txt:1: weight nan"),
        ("a\t1\t2\n", "words.txt:1: weight '1"),
        ("\t3\n", "words.txt:1: '' is not a phrase"),
        ("a\t1\nb\na\t2\n", "words.txt:3: 'a' has weight 2, but 1 at .*words.txt:1; keep one"),
        ("ab\naxe\n", r"words.txt:2: no token of the model has 'e' \(U\+0065\), 'x' \(U\+0078\) of 'axe'"),
        ("▁a\n", r"words.txt:1: no token of the model has '▁' \(U\+2581\)"),
        ("A\n", "words.txt:1: .*spell it as the transcripts do"),
        (b"a\n\xff\n", "words.txt:2: not UTF-8"),
        (None, "words.txt: no such file"),
    ],
)
def test_a_faulty_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DldError, match=message) as caught:
        Search(hotwords=path).bonus(TOKENS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Search(hotwords=5), "Search: hotwords is 5; it must be a list of phrases, or a file's path"),
        (lambda: Search(hotwords=["a"], hotword_weight=0), "Search: hotword_weight is 0; it must be a number above 0"),
        (lambda: Search(hotwords=[]).bonus(TOKENS), "no hotwords"),
        (lambda: Search(hotwords=["a", 5]).bonus(TOKENS), "hotword 2: 5 is not a phrase"),
        (lambda: Search(hotwords=[" "]).bonus(TOKENS), "hotword 1: ' ' is not a phrase"),
        (lambda: Search(hotwords={"a": "x"}).bonus(TOKENS), "hotword 'a': weight 'x'"),
        (lambda: Search(hotwords=["a", "cab"]).bonus(TOKENS), "hotword 2: no token of the model has 'c'"),
    ],
)
def test_faulty_hotwords_are_one_line(make, message):
    with pytest.raises(DldError, match=message):
        make()


# ---------------------------------------------------------------- commands and packages


def test_commands_take_a_file_of_hotwords(experiment, tiny_corpus, tmp_path, capsys):
    model = experiment("ld", tmp_path / "babbler", lr=0.0, num_epochs=1, **{"network.blank_bias": -5.0})
    audio = kaldi.load(tiny_corpus / "test")[0].recording
    words = tmp_path / "words.txt"
    assert transcribe.main([str(model), str(audio)]) == 0
    text = capsys.readouterr().out.strip().split("\t")[1]
    # A network that writes nonsense on every frame writes any word that is expected.
    word = "one" if "one" not in text.split() else "two"
    words.write_text(f"{word}\t20\n")
    assert transcribe.main([str(model), str(audio), "--hotwords", str(words), "--token-logp=-20"]) == 0
    found = capsys.readouterr().out.strip().split("\t")[1]
    assert word in found.split()
    search = dld.Search(hotwords={word: 20}, beam=BeamSettings(token_logp=-20))
    assert dld.load_model(model).transcribe(audio, search=search) == found

    data = ["--exp", str(model), "--data", str(tiny_corpus / "test"), "--depths", "3", "--progress", "false"]
    assert decode.main([*data, "--hotwords", str(words), "--hotword-weight", "3"]) == 0
    folder = model / "decode_test_n3_hotwords"
    assert (folder / "text").exists()
    about = json.loads((folder / "decode.json").read_text())["hotwords"]
    assert (about["path"], about["weight"]) == (str(words), 3.0)
    assert len(about["sha256"]) == 64

    capsys.readouterr()
    assert transcribe.main([str(model), str(audio), "--hotword-weight", "3"]) == 1
    assert "--hotword-weight needs --hotwords" in capsys.readouterr().err
    words.write_text("one\t-1\n")
    assert transcribe.main([str(model), str(audio), "--hotwords", str(words)]) == 1
    assert capsys.readouterr().err == (
        f"dld transcribe: error: {words}:1: weight -1.0 of 'one'; it must be a number above 0, in nats per character\n"
    )


def test_decoding_needs_neither_torch_nor_speechbrain(tmp_path):
    """A pack runs where only numpy, onnxruntime and sentencepiece are installed."""
    absent = ["torch", "torchaudio", "speechbrain", "transformers", "jiwer", "scipy", "kenlm", "yaml", "hyperpyyaml"]
    code = f"""
import sys
for name in {absent}:
    sys.modules[name] = None
import numpy as np
import dld.decoding.best_path, dld.decoding.lm, dld.decoding.lm_weights, dld.recognition.base
from dld.decoding.beam import BeamSearch, SearchPool
from dld.decoding.settings import Search
tokens = ["<blk>", "<unk>", "▁a", "b"]
with SearchPool(tokens, Search(hotwords=["ab"])) as pool:
    print(pool.texts([np.eye(4)[[2, 3]] * 9]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "['ab']\n", done.stderr


def test_a_device_without_an_end_is_refused():
    with pytest.raises(DldError, match="/dev/zero: is a device, a file of hotwords was expected"):
        read_hotwords("/dev/zero", 0.5)
