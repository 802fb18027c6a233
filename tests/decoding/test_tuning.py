"""Choosing language-model weights on dev and decoding with them, as the commands do it."""

import shutil

import pytest

from dld.bin import decode, tune_lm
from dld.bin import lm as lm_command
from dld.bin import score as score_command
from dld.decoding import tuning
from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.lm_weights import LmWeights
from dld.decoding.ngram import arpa_words
from dld.decoding.settings import LM_WEIGHTS
from dld.errors import DldError
from dld.files import read_json, write_json
from dld.reporting.collect import collect


@pytest.fixture(scope="module")
def number_lm(kenlm, tiny_corpus, tmp_path_factory):
    """A bigram model of the tiny corpus' training text."""
    path = tmp_path_factory.mktemp("lm") / "2gram.arpa"
    text = str(tiny_corpus / "train/text")
    assert lm_command.main(["--text", text, "--output", str(path), "--order", "2", "--tool", "own"]) == 0
    return path


def run(command, exp, data, *options):
    arguments = ["--exp", exp, "--data", data, "--policy", "evenly-spaced", "--progress", "false", *options]
    return command.main(list(map(str, arguments)))


@pytest.fixture(scope="module")
def tuned(experiment, tiny_corpus, number_lm, tmp_path_factory):
    """A network that was not trained and writes nonsense on every frame, with weights chosen on dev."""
    folder = experiment("ld", tmp_path_factory.mktemp("tuned"), lr=0.0, num_epochs=1, **{"network.blank_bias": -5.0})
    grid = ["--alphas", "0.5,0,1", "--betas=-1,1", "--beam-size", 4]
    assert run(tune_lm, folder, tiny_corpus / "dev", "--lm", number_lm, *grid) == 0
    return folder


def decode_with(tuned, data, output, *options):
    return run(decode, tuned, data, "--output", output, "--beam-size", 4, "--rtf-utterances", 1, *options)


def test_weights_are_chosen_for_each_depth_and_all_that_was_tried_is_kept(tuned, tiny_corpus, number_lm):
    about = read_json(tuned / LM_WEIGHTS)
    assert list(about["depths"]) == ["1", "3"]
    assert about["grid"] == {"alpha": [0.0, 0.5, 1.0], "beta": [-1.0, 1.0]}
    assert about["model_sha256"] == read_json(tuned / "model.json")["state_sha256"]
    assert about["lm"]["order"] == 2 and about["lm"]["sha256"] == LanguageModel(number_lm).sha256
    known = arpa_words(number_lm)
    words = [word for line in (tiny_corpus / "dev/text").read_text().splitlines() for word in line.split()[1:]]
    assert about["oov_percent"] == 100 * sum(word not in known for word in words) / len(words)
    assert about["perplexity"] > 1
    assert (about["policy"], about["data"]) == ("evenly-spaced", str(tiny_corpus / "dev"))
    for row in about["depths"].values():
        assert 4 <= len({(alpha, beta) for alpha, beta, _ in row["tried"]}) == len(row["tried"]) <= 6
        assert row["wer"] == min(error for _, _, error in row["tried"])
        assert [row["alpha"], row["beta"], row["wer"]] in row["tried"]
        assert row["greedy_wer"] > 0


def test_decodes_with_and_without_a_model_lie_side_by_side(tuned, tiny_corpus, number_lm, tmp_path):
    exp = tmp_path / "exp"
    data = tiny_corpus / "test"
    for options in (["--lm", number_lm], ["--lm", number_lm, "--lm-alpha", 0, "--lm-beta", 0, "--variant", "lm0"], []):
        assert decode_with(tuned, data, exp / "dld", *options) == 0
    names = {f"decode_test_n{n}_{variant}" for n in (1, 3) for variant in ("lm", "lm0", "beam")}
    assert {path.name for path in (exp / "dld").iterdir()} == names
    ids = [line.split()[0] for line in (data / "text").read_text().splitlines()]
    chosen = read_json(tuned / LM_WEIGHTS)["depths"]["3"]
    for name in names:
        assert [line.split()[0] for line in (exp / "dld" / name / "text").read_text().splitlines()] == ids
        about = read_json(exp / "dld" / name / "decode.json")
        assert about["lm"] == (None if name.endswith("beam") else "2gram")
        assert about["beam"]["size"] == 4
    about = read_json(exp / "dld/decode_test_n3_lm/decode.json")
    assert (about["lmwt"], about["wip"]) == (chosen["alpha"], -chosen["beta"])
    assert about["lm_tuned_on"] == str(tiny_corpus / "dev")
    for folder in (exp / "dld").iterdir():
        assert score_command.main(["--ref", str(data / "text"), "--hyp", str(folder / "text")]) == 0
    found = {(entry.record.depth, entry.variant): entry for entry in collect(exp)}
    assert set(found) == {(n, variant) for n in (1, 3) for variant in ("lm", "lm0", "beam")}


def test_processes_and_batches_change_nothing(tuned, tiny_corpus, number_lm, tmp_path):
    common = ["--lm", number_lm, "--depths", 3]
    assert decode_with(tuned, tiny_corpus / "test", tmp_path / "a", *common, "--batch-size", 1) == 0
    assert decode_with(tuned, tiny_corpus / "test", tmp_path / "b", *common, "--batch-size", 16, "--jobs", 2) == 0
    texts = [(tmp_path / side / "decode_test_n3_lm/text").read_text() for side in "ab"]
    assert texts[0] == texts[1]
    assert all(len(line.split()) > 1 for line in texts[0].splitlines())


def test_scoring_the_set_of_the_tuning_is_called_an_oracle(tuned, tiny_corpus, number_lm, tmp_path, caplog):
    assert decode_with(tuned, tiny_corpus / "test", tmp_path, "--lm", number_lm) == 0
    assert "oracle" not in caplog.text
    shutil.copytree(tiny_corpus / "dev", tmp_path / "other_name")
    assert decode_with(tuned, tmp_path / "other_name", tmp_path, "--lm", number_lm) == 0
    assert "oracle" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depths", 2], "no weights for depth 2"),
        (["--policy", "first-n"], "at depth 1 chosen with gates|at depth 3"),
        (["--lm-alpha", 0.5], "both --lm-alpha and --lm-beta"),
        (["--lm-weights", "nowhere.json"], "dld tune-lm"),
        (["--lm-unknown", -2], "dld tune-lm"),
        (["--variant", "a/b"], "--variant"),
        (["--beam-size", 0], "argument --beam-size: '0' is not allowed"),
        (["--jobs", 0], "argument --jobs: '0' is not allowed"),
        (["--lm", "nowhere.arpa"], "no such language model"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(tuned, tiny_corpus, number_lm, tmp_path, capsys, options, message):
    if options[0] == "--policy":
        # The first of evenly spaced vectors is the first block too: change what was stored instead.
        about = read_json(tuned / LM_WEIGHTS)
        about["depths"]["1"]["gates"] = "001"
        write_json(tmp_path / "weights.json", about)
        options = ["--lm-weights", tmp_path / "weights.json"]
    output = tmp_path / "out"
    assert decode_with(tuned, tiny_corpus / "test", output, "--lm", number_lm, *options) == (
        2 if "argument" in message else 1
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dld decode: error: ")
    assert any(part in error for part in message.split("|"))
    assert not output.exists()


def test_options_of_a_model_without_one_are_refused(tuned, tiny_corpus, tmp_path, capsys):
    assert decode_with(tuned, tiny_corpus / "test", tmp_path, "--lm-alpha", 1, "--lm-beta", 1) == 1
    assert "--lm-alpha needs --lm" in capsys.readouterr().err


def test_weights_of_other_models_are_refused(tuned, number_lm, arpa):
    stored = LmWeights.load(tuned / LM_WEIGHTS)
    sha256, gates = stored.about["model_sha256"], (True,) * 3
    assert stored.weights(LanguageModel(number_lm), sha256, gates).alpha >= 0
    with pytest.raises(DldError, match="another language model"):
        stored.weights(LanguageModel(arpa), sha256, gates)
    with pytest.raises(DldError, match="other weights of the acoustic model"):
        stored.weights(LanguageModel(number_lm), "0" * 64, gates)
    with pytest.raises(DldError, match="at depth 1 chosen with gates 100, not 010"):
        stored.weights(LanguageModel(number_lm), sha256, (False, True, False))


def test_a_model_of_other_spelling_is_refused(tuned, tiny_corpus, arpa, tmp_path, capsys):
    assert run(tune_lm, tuned, tiny_corpus / "dev", "--lm", arpa, "--output", tmp_path / "weights.json") == 1
    assert "knows 0 of the" in capsys.readouterr().err
    assert decode_with(tuned, tiny_corpus / "test", tmp_path, "--lm", arpa, "--lm-alpha", 1, "--lm-beta", 0) == 1
    assert "spelled" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_best_weights_at_the_end_of_the_grid_are_pointed_out(caplog):
    references = ["one two three four"]
    texts = {0.5: "one", 1.0: "one two"}
    weights, error, tried = tuning.choose_weights(lambda w: [texts[w.alpha]], references, (0.5, 1.0), (0.0,))
    assert (weights.alpha, error, len(tried)) == (1.0, 50.0, 2)
    assert "the best alpha, 1, is at an end of its grid" in caplog.text


@pytest.mark.parametrize("start", [None, Weights(0.2, 3.0), Weights(0.8, 1.0), Weights(1.0, 0.0)])
def test_the_best_weights_are_found_from_anywhere_without_trying_all(start):
    references = ["a " * 100]

    def texts(weights):
        # More words are right the nearer the weights are to 0.8 and 1.
        return ["a " * round(90 - 40 * abs(weights.alpha - 0.8) - 7 * abs(weights.beta - 1.0))]

    weights, error, tried = tuning.choose_weights(texts, references, start=start)
    assert (weights.alpha, weights.beta, error) == (0.8, 1.0, 10.0)
    assert len(tried) < len(tuning.ALPHAS) * len(tuning.BETAS)


def test_among_equal_weights_the_smallest_are_taken(caplog):
    weights, _, _ = tuning.choose_weights(lambda _: ["one"], ["one two"], (0.5, 0.7), (-1.0, 0.0, 1.0))
    assert (weights.alpha, weights.beta) == (0.5, 0.0)
    assert caplog.text == ""


@pytest.mark.parametrize("text", ["", "a,b", "1,,2"])
def test_a_grid_is_made_of_numbers(text):
    with pytest.raises(DldError, match="--alphas"):
        tuning.parse_grid(text, "--alphas")
