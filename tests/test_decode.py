"""Gate tables, decoding and measuring of trained models, as the commands do it."""

import itertools
import shutil

import numpy as np
import pytest
import torch

from dld.bin import config as config_command
from dld.bin import decode, gate_table
from dld.data.dataset import evaluation_loader, make_dataset
from dld.decoding.evaluation import Evaluator
from dld.files import read_json
from dld.gates import GATE_TABLE, GateTable, depth, evenly_spaced, first_n
from dld.gates.search import Quality, search_gate_table
from dld.profiling.latency import real_time_factors
from dld.profiling.macs import gmacs_per_second
from dld.recognition.eager import EagerRecognizer
from dld.recognition.loading import load_model


@pytest.fixture(scope="module")
def student(trained_pair, tiny_corpus):
    """A DLD student with its gate table."""
    folder = trained_pair / "dld"
    assert gate_table.main(["--exp", str(folder), "--data", str(tiny_corpus / "dev"), "--progress", "false"]) == 0
    return folder


@pytest.fixture(scope="module")
def babbler(experiment, tiny_corpus, tmp_path_factory):
    """A dynamic network that was not trained and writes much: nonsense, but nonsense that hangs on every frame."""
    folder = experiment("ld", tmp_path_factory.mktemp("babbler"), lr=0.0, num_epochs=1, **{"network.blank_bias": -5.0})
    assert gate_table.main(["--exp", str(folder), "--data", str(tiny_corpus / "dev"), "--progress", "false"]) == 0
    return folder


def run_decode(student, data, output, *options):
    arguments = ["--exp", str(student), "--data", str(data), "--output", str(output), "--progress", "false"]
    return decode.main([*arguments, "--rtf-utterances", "1", *options])


def texts(output):
    return {folder.name: (folder / "text").read_text() for folder in sorted(output.glob("decode_*"))}


def test_the_search_finds_the_block_that_does_not_matter():
    # A network whose error is the sum of what its closed blocks were worth.
    worth = [5.0, 0.5, 3.0, 1.0]

    def evaluate(vectors):
        return [Quality(sum(w for w, gate in zip(worth, v, strict=True) if not gate), 0.0) for v in vectors]

    table = search_gate_table(evaluate, 4, progress=False)
    assert table.gates(3) == (True, False, True, True)
    assert table.gates(2) == (True, False, True, False)
    assert table.gates(1) == (True, False, False, False)
    assert table.about["depths"]["2"]["wer"] == 1.5


def test_the_loss_decides_between_equal_error_rates():
    def evaluate(vectors):
        return [Quality(10.0, 1.0 if gates[2] else 0.5) for gates in vectors]

    assert search_gate_table(evaluate, 4, progress=False).gates(3) == (True, True, False, True)


def test_a_greedy_step_that_went_wrong_gives_way_to_even_spacing():
    good = {(True,) * 4: 0.0, (False, True, True, True): 1.0, evenly_spaced(4, 2): 2.0}

    def evaluate(vectors):
        return [Quality(good.get(gates, 50.0), 0.0) for gates in vectors]

    table = search_gate_table(evaluate, 4, progress=False)
    assert table.gates(3) == (False, True, True, True)
    assert table.gates(2) == evenly_spaced(4, 2)
    assert table.about["depths"]["2"]["source"] == "evenly-spaced"


def test_the_evaluator_scores_as_decoding_does(student, tiny_corpus):
    recognizer = load_model(student)
    loader = evaluation_loader(make_dataset(tiny_corpus / "dev", recognizer.tokenizer), 30)
    vectors = [first_n(3, 1), (True,) * 3]
    together = Evaluator(recognizer, loader)(vectors)
    alone = [Evaluator(recognizer, loader)([v])[0] for v in vectors]
    assert together == alone


def test_the_table_is_stored_with_the_model_and_serves_every_depth(student):
    table = GateTable.load(student / GATE_TABLE)
    assert [depth(table.gates(n)) for n in (1, 2, 3)] == [1, 2, 3]
    assert table.about["state_sha256"] == read_json(student / "model.json")["state_sha256"]


def test_decoding_leaves_text_and_figures_for_each_depth(student, tiny_corpus, tmp_path):
    assert run_decode(student, tiny_corpus / "test", tmp_path) == 0
    assert list(texts(tmp_path)) == ["decode_test_n1", "decode_test_n3"]
    ids = [line.split()[0] for line in (tiny_corpus / "test/text").read_text().splitlines()]
    shallow, full = (read_json(tmp_path / name / "decode.json") for name in texts(tmp_path))
    for text in texts(tmp_path).values():
        assert [line.split()[0] for line in text.splitlines()] == ids
    assert (shallow["depth"], full["depth"]) == (1, 3)
    assert shallow["gates"].count("1") == 1
    assert shallow["gmacs_per_s"] < full["gmacs_per_s"]
    assert shallow["params_active"] < shallow["params"] == full["params_active"]
    assert shallow["rtf"] > 0
    assert full["policy"] == "table"
    assert full["trained_git"] == read_json(student / "model.json")["git"]


@pytest.mark.parametrize("options", [["--batch-size", "1"], ["--batch-size", "16", "--batch-seconds", "1000"]])
def test_hypotheses_do_not_depend_on_the_batch(babbler, tiny_corpus, tmp_path, options):
    common = ["--depths", "all", "--policy", "evenly-spaced"]
    run_decode(babbler, tiny_corpus / "test", tmp_path / "a", *common, "--batch-size", "7")
    run_decode(babbler, tiny_corpus / "test", tmp_path / "b", *common, *options)
    assert texts(tmp_path / "a") == texts(tmp_path / "b")
    assert all(len(line.split()) > 1 for text in texts(tmp_path / "a").values() for line in text.splitlines())


def test_all_depths_in_one_pass_equal_each_by_itself(babbler, tiny_corpus, tmp_path):
    run_decode(babbler, tiny_corpus / "test", tmp_path / "all", "--depths", "all")
    assert len(set(texts(tmp_path / "all").values())) == 3
    for n in (1, 2, 3):
        run_decode(babbler, tiny_corpus / "test", tmp_path / "each", "--depths", str(n))
    assert texts(tmp_path / "all") == texts(tmp_path / "each")


def test_decoding_again_removes_the_scores_of_before(student, tiny_corpus, tmp_path):
    run_decode(student, tiny_corpus / "test", tmp_path, "--depths", "1")
    stale = tmp_path / "decode_test_n1/wer_0_0.0"
    stale.write_text("%WER 0.00\n")
    run_decode(student, tiny_corpus / "test", tmp_path, "--depths", "1")
    assert not stale.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depths", "0"], "depth 0 is outside 1…3"),
        (["--depths", "4"], "depth 4 is outside 1…3"),
        (["--data", "nowhere"], "nowhere"),
        (["--exp", "nowhere"], "no finished model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(student, tiny_corpus, tmp_path, capsys, options, message):
    assert run_decode(student, tiny_corpus / "test", tmp_path, *options) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dld decode: error: ")
    assert message in error
    assert not list(tmp_path.iterdir())


def test_the_policy_table_without_a_table_names_the_command(trained_pair, tiny_corpus, tmp_path, capsys):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    assert run_decode(tmp_path / "static", tiny_corpus / "test", tmp_path / "out", "--policy", "table") == 1
    assert "needs a gate table: dld gates --exp " in capsys.readouterr().err


def test_an_unknown_policy_is_refused(student, tiny_corpus, tmp_path, capsys):
    assert run_decode(student, tiny_corpus / "test", tmp_path, "--policy", "middle") == 2
    assert "evenly-spaced" in capsys.readouterr().err


def test_macs_grow_by_the_same_amount_with_each_block(student):
    network = load_model(student).network
    full, two, one = (gmacs_per_second(network, first_n(3, n), 16000) for n in (3, 2, 1))
    assert full - two == pytest.approx(two - one)
    assert full > two > one > 0


def test_macs_of_known_layers():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(8, 4)

        @staticmethod
        def frontend(waveforms, lengths):
            return waveforms.reshape(1, -1, 8), lengths // 8

        def forward(self, features, lengths, gate_vectors):
            return [self.linear(features)], lengths

    # 1 000 frames a second, 8 × 4 products each.
    assert gmacs_per_second(Two(), (True,), 8000) == pytest.approx(1000 * 32 / 1e9)


def test_a_closed_gate_takes_no_time(student):
    recognizer = load_model(student)
    calls = []
    for block, layer in enumerate(recognizer.network.encoder.layers):
        layer.register_forward_hook(lambda *_, block=block: calls.append(block))
    real_time_factors(recognizer, [torch.randn(8000)], [first_n(3, 1)], repeats=1)
    assert set(calls) == {0}


def test_the_configuration_command_prints_values(files, capsys):
    paths = files("mini/dld")
    assert config_command.main([*paths, "--get", "vocab_size", "--vocab_size", "48"]) == 0
    assert capsys.readouterr().out == "48\n"
    assert config_command.main([*paths, "--get", "nothing"]) == 1


def test_low_precision_is_a_variant_of_its_own_and_near(babbler, tiny_corpus, tmp_path, monkeypatch):
    seen = []
    real = EagerRecognizer.texts
    monkeypatch.setattr(
        EagerRecognizer, "texts", lambda self, logits, *rest: seen.append(logits) or real(self, logits, *rest)
    )
    for precision in ("fp32", "bf16"):
        assert run_decode(babbler, tiny_corpus / "test", tmp_path, "--depths", "3", "--precision", precision) == 0
    folders = [tmp_path / name for name in ("decode_test_n3", "decode_test_n3_bf16")]
    assert [read_json(folder / "decode.json")["precision"] for folder in folders] == ["fp32", "bf16"]
    half = len(seen) // 2
    for plain, low in zip(itertools.chain(*seen[:half]), itertools.chain(*seen[half:]), strict=True):
        assert low.dtype == np.float32 and not np.array_equal(plain, low)
        np.testing.assert_allclose(plain, low, atol=0.2, rtol=0.05)


def test_a_linked_test_set_keeps_its_own_name(student, tiny_corpus, tmp_path):
    (tmp_path / "test_today").symlink_to(tiny_corpus / "test")
    assert run_decode(student, tmp_path / "test_today", tmp_path, "--depths", "1") == 0
    assert read_json(tmp_path / "decode_test_today_n1/decode.json")["test_set"] == "test_today"


def test_the_results_of_another_test_set_of_the_same_name_are_not_replaced(student, tiny_corpus, tmp_path, capsys):
    shutil.copytree(tiny_corpus / "dev", tmp_path / "other/test")
    assert run_decode(student, tiny_corpus / "test", tmp_path, "--depths", "1") == 0
    before = (tmp_path / "decode_test_n1/text").read_text()
    assert run_decode(student, tmp_path / "other/test", tmp_path, "--depths", "1") == 1
    assert "which has the same name as" in capsys.readouterr().err
    assert (tmp_path / "decode_test_n1/text").read_text() == before
    assert run_decode(student, tmp_path / "other/test", tmp_path, "--depths", "1", "--variant", "dev") == 0


def test_a_decode_that_fails_leaves_the_earlier_one(student, tiny_corpus, tmp_path, capsys):
    data = tmp_path / "data/test"
    shutil.copytree(tiny_corpus / "test", data)
    assert run_decode(student, data, tmp_path, "--depths", "1") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "decode_test_n1").iterdir()}
    lines = (data / "wav.scp").read_text().splitlines()
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    (data / "wav.scp").write_text("\n".join([f"{lines[0].split()[0]} {tmp_path / 'bad.wav'}", *lines[1:]]) + "\n")
    assert run_decode(student, data, tmp_path, "--depths", "1") == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "decode_test_n1").iterdir()} == before
