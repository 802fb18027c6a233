"""A pack gives the texts of its model, at every depth and under any gates, and needs little to do so."""

import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import dld
from dld.bin import decode, export, transcribe
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.tokenizer import train as train_tokenizer
from dld.encoders import GatedWavLM, GatedWhisper
from dld.errors import DldError
from dld.experiment import ModelRecord
from dld.export.pack import export_pack, new_folder
from dld.frontends import Waveform, WhisperLogMel
from dld.gates import format_gates
from dld.network import GatedCTC
from dld.packs.metadata import METADATA, read
from dld.recognition.eager import EagerRecognizer
from dld.scoring import wer

VECTORS = [gates for gates in itertools.product((False, True), repeat=3) if any(gates)]


@pytest.fixture(scope="module")
def loaded(pack):
    return dld.load_model(pack)


# ---------------------------------------------------------------- the same as the model


def test_texts_are_those_of_the_model_under_every_gate_vector(loaded, recognizer, files):
    for gates in VECTORS:
        texts = loaded.transcribe(files, gates=gates)
        assert texts == recognizer.transcribe(files, gates=gates)
        assert all(texts) and len(set(texts)) > 1


def test_depths_and_budgets_choose_the_gates_of_the_model(loaded, recognizer):
    for depth in (1, 2, 3):
        assert loaded.gate_vector(depth=depth) == recognizer.gate_vector(depth=depth, policy="table")
    assert loaded.compute() == pytest.approx(recognizer.compute(), abs=1e-5)
    parts = loaded.compute()
    assert 0 < parts[1] < parts[2] < parts[3] == 1
    for budget, deepest in ((parts[1] + 0.01, 1), ((parts[2] + 1) / 2, 2), (0.9999, 2), (1, 3)):
        assert sum(loaded.gate_vector(budget=budget)) == sum(recognizer.gate_vector(budget=budget)) == deepest


def test_heads_that_are_not_trained(loaded, recognizer, monkeypatch, caplog):
    assert loaded.depths == recognizer.depths == [1, 3]
    for model in (loaded, recognizer):
        assert not model.has_exit_heads()
        monkeypatch.setattr(model, "has_exit_heads", lambda: True)
        assert sum(model.gate_vector(budget=0.9999)) == 1
        model.gate_vector(depth=1)
        assert not caplog.text
        model.gate_vector(depth=2)
        assert "depth 2 has a head of its own that may not be trained; take one of 1, 3" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("which", ["pack", "model"])
def test_budgets_that_cannot_be_kept(loaded, recognizer, which):
    model = loaded if which == "pack" else recognizer
    least = model.compute()[1]
    for budget in (0, -1, 1.5, "half", float("nan")):
        with pytest.raises(DldError, match="budget is"):
            model.gate_vector(budget=budget)
    with pytest.raises(DldError, match=rf"depth 1 takes {least:.3f} of full compute, give at least that"):
        model.gate_vector(budget=least / 2)
    for other in ({"depth": 1}, {"gates": "111"}):
        with pytest.raises(DldError, match="give either"):
            model.gate_vector(budget=0.5, **other)


def test_log_probabilities_of_many_gates_in_one_pass(loaded, recognizer, files):
    found = loaded.log_probs(files[:2], gates=VECTORS)
    for path, rows in zip(files, found, strict=False):
        for gates, row, expected in zip(VECTORS, rows, recognizer.log_probs(path, gates=VECTORS), strict=True):
            assert row.dtype == np.float32 and row.shape == expected.shape
            np.testing.assert_allclose(row, expected, atol=1e-3)
            np.testing.assert_array_equal(row, loaded.log_probs(path, gates=gates))


def test_samples_and_tensors_and_rates(loaded, recognizer, files):
    samples = read_audio(files[0])
    for given, rate in ((samples, 16000), (torch.from_numpy(samples), 16000), (samples, 8000)):
        assert loaded.transcribe(given, sample_rate=rate) == recognizer.transcribe(given, sample_rate=rate)


@pytest.mark.parametrize("samples", [1, 10, 399])
def test_the_shortest_audio(loaded, recognizer, samples):
    audio = np.full(samples, 0.1, np.float32)
    assert loaded.transcribe(audio, sample_rate=16000) == recognizer.transcribe(audio, sample_rate=16000)


def test_beam_search(loaded, recognizer, files):
    search = dld.Search(beam=dld.decoding.settings.BeamSettings(size=4))
    assert loaded.transcribe(files[0], search=search) == recognizer.transcribe(files[0], search=search)


def test_words_have_the_times_of_the_model(loaded, recognizer, files):
    found, expected = (model.transcribe(files[0], times=True) for model in (loaded, recognizer))
    assert found.text == expected.text and loaded.frame_seconds == recognizer.frame_seconds
    assert [(word.text, word.start, word.end) for word in found.words] == [
        (word.text, word.start, word.end) for word in expected.words
    ]


def test_long_audio_runs_in_windows(loaded, recognizer, files):
    samples = np.concatenate([read_audio(path) for path in files[:8]])
    found, expected = (model.transcribe(samples, sample_rate=16000, window_seconds=8) for model in (loaded, recognizer))
    assert found == expected != ""


def test_more_threads_give_the_same(pack, loaded, files):
    assert dld.load_model(pack, threads=2).transcribe(files[:3]) == loaded.transcribe(files[:3])


WAVLM = {"d_model": 16, "d_ffn": 32, "num_heads": 2, "positional_kernel": 4, "positional_groups": 2}
CONV = {"conv_layers": [[8, 10, 5], [8, 8, 8], [8, 8, 8]]}
OTHERS = {
    "wavlm": lambda: (Waveform(), GatedWavLM(num_blocks=3, weighted_sum=True, **WAVLM, **CONV)),
    "whisper": lambda: (WhisperLogMel(), GatedWhisper(num_blocks=3, d_model=16, d_ffn=32, num_heads=2, stack=2)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_encoders(kind, files, tmp_path):
    torch.manual_seed(1)
    tokenizer = train_tokenizer(["one two", "two three"], tmp_path / "lang", vocab_size=14)
    network = GatedCTC(*OTHERS[kind](), 14, blank_bias=-5.0, exit_heads=True)
    about = ModelRecord(3, 14, tokenizer.sha256, "0" * 64, kind, 1, 1, 1.0)
    model = EagerRecognizer(network, tokenizer, sample_rate=16000, about=about)
    metadata = export_pack(model, tmp_path / "pack")
    assert metadata.gate_table is None and metadata.policy == "evenly-spaced"
    assert len(metadata.graphs.heads) == 3 and metadata.encoder["class"] == f"Gated{kind.title().replace('lm', 'LM')}"
    pack = dld.load_model(tmp_path / "pack")
    for gates in VECTORS:
        assert pack.transcribe(files, gates=gates) == model.transcribe(files, gates=gates)
    short = np.full(50, 0.1, np.float32)
    assert pack.transcribe(short, sample_rate=16000) == model.transcribe(short, sample_rate=16000)
    if kind == "whisper":
        with pytest.raises(DldError, match="31.0 s long, the encoder takes at most 30 s"):
            pack.log_probs(np.zeros(31 * 16000, np.float32), sample_rate=16000)


# ---------------------------------------------------------------- what a pack says of itself


def test_metadata(pack, recognizer, loaded, tiny_corpus):
    metadata, about = read(pack), recognizer.about
    assert (metadata.model.system, metadata.model.state_sha256) == ("ld", about.state_sha256)
    assert metadata.front_end["class"] == "KaldiFbank" and metadata.front_end["n_mels"] == 80
    assert metadata.encoder["class"] == "GatedConformer" and metadata.encoder["d_model"] == 16
    assert [record.gates for record in metadata.depths] == ["010", "101", "111"] == list(metadata.gate_table.values())
    utterances = kaldi.load(tiny_corpus / "test")
    assert (metadata.test_set.name, metadata.test_set.utterances) == ("test", len(utterances))
    for record in metadata.depths:
        gates = tuple(digit == "1" for digit in record.gates)
        assert record.parameters == recognizer.network.parameter_counts(gates)[1]
        texts = loaded.transcribe([utterance.recording for utterance in utterances], gates=record.gates)
        assert record.wer == pytest.approx(wer([u.text for u in utterances], texts), abs=1e-3)
    tokens = [line.split() for line in (pack / "tokens.txt").read_text().splitlines()]
    assert tokens[0] == ["<blk>", "0"] and [token for token, _ in tokens] == recognizer.tokenizer.tokens()


def test_int8(recognizer, loaded, pack, files, tmp_path):
    metadata = export_pack(recognizer, tmp_path / "int8", "int8")
    assert metadata.precision == "int8" and all(record.wer is None for record in metadata.depths)
    small = dld.load_model(tmp_path / "int8")
    for gates in VECTORS:
        one, other = small.log_probs(files[0], gates=gates), loaded.log_probs(files[0], gates=gates)
        assert one.shape == other.shape and 0 < np.abs(one - other).max() < 1


def test_a_pack_replaces_a_pack(recognizer, pack, tmp_path):
    shutil.copytree(pack, tmp_path / "pack")
    export_pack(recognizer, tmp_path / "pack", "int8")
    assert read(tmp_path / "pack").precision == "int8" and [path.name for path in tmp_path.iterdir()] == ["pack"]
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty", METADATA) as work:
        (work / "a").write_text("")
    assert (tmp_path / "empty/a").is_file()


def test_graphs_that_compute_something_else_are_not_written(recognizer, tmp_path, monkeypatch):
    monkeypatch.setattr("dld.recognition.pack.PackRecognizer.logits", lambda *_: [[np.zeros((8, 32))]] * 2)
    with pytest.raises(DldError, match="the graphs do not compute what the model does: logits of 0.3 s differ by"):
        export_pack(recognizer, tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_loaded(pack, babbler):
    for settings in ({"device": "cuda"}, {"precision": "bf16"}):
        with pytest.raises(DldError, match="is a pack, which runs on the CPU in the precision"):
            dld.load_model(pack, **settings)
    with pytest.raises(DldError, match="threads is 0; it must be a whole number from 1 to 256"):
        dld.load_model(pack, threads=0)
    with pytest.raises(DldError, match="threads are for packs; for an experiment, call torch.set_num_threads"):
        dld.load_model(babbler, threads=1)


# ---------------------------------------------------------------- the commands


def test_the_command_exports_and_transcribes(babbler, recognizer, tiny_corpus, files, tmp_path, capsys):
    arguments = [babbler, "--out", tmp_path / "pack", "--data", tiny_corpus / "test", "--depths", "2,3"]
    assert export.main([*map(str, arguments)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[1], row[2], "WER" in row) for row in rows] == [
        ("1", "010", False),
        ("2", "101", True),
        ("3", "111", True),
    ]
    texts = recognizer.transcribe(files[:2], depth=2, policy="table")
    for choice in (["--depth", "2"], ["--gates", "101"], ["--budget", "0.99"]):
        assert transcribe.main([str(tmp_path / "pack"), *files[:2], *choice, "--threads", "1"]) == 0
        lines = [f"{path}\t{text}" for path, text in zip(files, texts, strict=False)]
        assert capsys.readouterr().out.splitlines() == lines
    assert transcribe.main([str(tmp_path / "pack"), files[0], "--budget", "0.99", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["gates"] == format_gates((True, False, True))


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--depth", "2"], 2, "--depth is for other runtimes: a pack runs any gate vector"),
        (["--gates", ""], 2, "--gates is for other runtimes"),
        (["--all-depths"], 2, "--all-depths is for other runtimes"),
        (["--policy", "first-n"], 2, "--policy is for other runtimes"),
        (["--depths", "2"], 2, "give --data, too"),
        (["--format", "sherpa-onnx", "--depth", "2", "--gates", "111"], 2, "give one of --depth, --depths, --gates"),
        (["--format", "sherpa-onnx", "--depths", "2", "--all-depths"], 2, "give one of --depth, --depths, --gates"),
        (["--format", "sherpa-onnx", "--depths", "2,4"], 1, "depth 4 is outside 1…3"),
        (["--format", "sherpa-onnx", "--data", "x"], 2, "--data is for packs"),
        (["--format", "onnx-asr", "--all-depths"], 2, "onnx-asr takes one model a folder"),
        (["--format", "onnx-asr", "--depths", "2,3"], 2, "onnx-asr takes one model a folder"),
        (["--format", "sherpa-onnx", "--depth", "4"], 1, "depth 4 is outside 1…3"),
        (["--format", "tflite"], 2, "invalid choice: 'tflite'"),
        (["--precision", "int4"], 2, "invalid choice: 'int4'"),
        (["--data", "nowhere"], 1, "nowhere"),
    ],
)
def test_options_that_do_not_go_together(babbler, tmp_path, capsys, options, status, message):
    assert export.main([str(babbler), "--out", str(tmp_path / "out"), *options]) == status
    error = capsys.readouterr().err
    assert error.startswith("dld export: error: ") and error.count("\n") == 1 and message in error
    assert list(tmp_path.iterdir()) == []


def test_other_commands_want_the_experiment(pack, tiny_corpus, capsys):
    assert decode.main(["--exp", str(pack), "--data", str(tiny_corpus / "test")]) == 1
    assert "is a pack; give the folder of the experiment that it was exported from" in capsys.readouterr().err


# ---------------------------------------------------------------- what is needed


def test_a_pack_runs_without_what_training_needs(pack, files, loaded):
    code = (
        "import sys, time\n"
        "start = time.perf_counter()\n"
        "import dld\n"
        f"model = dld.load_model({str(pack)!r})\n"
        "import numpy as np\n"
        "model.transcribe(np.zeros(16000, np.float32), sample_rate=16000)\n"
        "assert 'soundfile' not in sys.modules and 'scipy' not in sys.modules\n"
        f"print(model.transcribe({files[0]!r}, depth=2))\n"
        "print(time.perf_counter() - start)\n"
        "training = {'torch', 'speechbrain', 'onnx', 'ruamel', 'yaml', 'hyperpyyaml', 'kaldiio', 'jiwer', 'scipy'}\n"
        "print(sorted(training & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text, seconds, needless = done.stdout.splitlines()
    assert text == loaded.transcribe(files[0], depth=2) and needless == "[]"
    # Half a second on an idle machine.
    assert float(seconds) < 5


def test_onnxruntime_that_is_missing_is_named(pack, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DldError, match=r"packs need onnxruntime, which is not installed: pip install 'dld\[runtime\]'"):
        dld.load_model(pack)
