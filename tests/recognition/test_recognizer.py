"""Audio in, text out: the public API, `dld transcribe`, and that nothing else is on the way."""

import json
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import dld
from dld.bin import decode, transcribe
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.dataset import evaluation_loader, make_dataset
from dld.decoding.beam import BeamSearch, BeamSettings
from dld.decoding.lm import Weights
from dld.encoders import GatedWhisper
from dld.errors import DldError
from dld.frontends import WhisperLogMel
from dld.gates import GATE_TABLE, GateTable, evenly_spaced, first_n
from dld.network import GatedCTC
from dld.padding import unpadded
from dld.recognition.eager import EagerRecognizer
from dld.recognition.loading import load_model


@pytest.fixture(scope="module")
def babbler(experiment, tmp_path_factory):
    """A network that was not trained and writes nonsense on every frame."""
    return experiment("ld", tmp_path_factory.mktemp("babbler"), lr=0.0, num_epochs=1, **{"network.blank_bias": -5.0})


@pytest.fixture(scope="module")
def recognizer(babbler):
    return load_model(babbler)


@pytest.fixture(scope="module")
def files(tiny_corpus):
    """Audio files of the test set, by utterance id."""
    return {u.id: u.recording for u in kaldi.load(tiny_corpus / "test")}


def run(model, *arguments):
    return transcribe.main([str(model), *map(str, arguments)])


# ---------------------------------------------------------------- files and samples


def test_the_example_of_the_readme_runs(root, babbler, files, tmp_path, monkeypatch, capsys):
    shutil.copytree(babbler, tmp_path / "exp/dld")
    shutil.copy(next(iter(files.values())), tmp_path / "a.flac")
    model = load_model(tmp_path / "exp/dld")
    table = GateTable(3, {2: (True, False, True)}, {"state_sha256": model.about.state_sha256})
    table.save(tmp_path / "exp/dld" / GATE_TABLE)
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(import dld\n.*?)```", (root / "README.md").read_text(), re.S)
    assert len([line for line in example.splitlines() if line]) <= 5
    # The example's model has 12 blocks, the one here 3.
    for big, small in (("depth=4", "depth=2"), ("111111111111", "111"), ("100010010001", "101")):
        assert big in example
        example = example.replace(big, small)
    found = {}
    exec(example, found)
    assert capsys.readouterr().out == model.transcribe("a.flac", gates="101") + "\n" != "\n"
    assert found["full"].shape == found["first"].shape == (len(found["full"]), model.network.vocab_size)


def test_one_file_gives_a_text_and_a_list_a_list_in_its_order(recognizer, files):
    paths = list(files.values())
    alone = [recognizer.transcribe(path) for path in paths]
    assert all(isinstance(text, str) and text for text in alone) and len(set(alone)) > 1
    assert recognizer.transcribe(paths) == alone
    assert recognizer.transcribe(reversed(paths), batch_seconds=3) == alone[::-1]
    assert recognizer.transcribe([]) == []


def test_texts_are_those_of_decoding_a_data_set(recognizer, babbler, tiny_corpus, files, tmp_path):
    options = ["--depths", "all", "--policy", "first-n", "--rtf-utterances", "1", "--progress", "false"]
    arguments = ["--exp", babbler, "--data", tiny_corpus / "test", "--output", tmp_path, *options]
    assert decode.main(list(map(str, arguments))) == 0
    for n in (1, 2, 3):
        decoded = kaldi.read_text(tmp_path / f"decode_test_n{n}/text")
        texts = recognizer.transcribe(list(files.values()), depth=n, policy="first-n")
        assert dict(zip(files, texts, strict=True)) == decoded


def test_samples_are_as_good_as_files(recognizer, files):
    path = next(iter(files.values()))
    samples = read_audio(path)
    expected = recognizer.transcribe(path)
    for given in (samples, samples.astype(np.float64), torch.from_numpy(samples)):
        assert recognizer.transcribe(given, sample_rate=16000) == expected
    assert recognizer.transcribe([samples, path], sample_rate=16000) == [expected] * 2


@pytest.mark.parametrize("rate", [8000, 44100])
def test_audio_of_another_rate_is_resampled(recognizer, tmp_path, rate):
    samples = np.random.default_rng(3).normal(0, 0.1, rate * 2).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    assert recognizer.transcribe(samples, sample_rate=rate) == recognizer.transcribe(tmp_path / "a.wav") != ""


def test_the_model_s_channel_is_taken(recognizer, files, tmp_path):
    samples = read_audio(next(iter(files.values())))
    soundfile.write(tmp_path / "a.wav", np.stack([samples * 0, samples], 1), 16000, subtype="FLOAT")
    second = EagerRecognizer(recognizer.network, recognizer.tokenizer, sample_rate=16000, channel=1)
    assert second.transcribe(tmp_path / "a.wav") == recognizer.transcribe(samples, sample_rate=16000)
    assert recognizer.transcribe(tmp_path / "a.wav") == recognizer.transcribe(samples * 0, sample_rate=16000)


@pytest.mark.parametrize("samples", [1, 10, 399])
def test_the_shortest_audio_has_a_text(recognizer, samples):
    search = dld.Search(beam=BeamSettings(size=4))
    for chosen in (None, search):
        assert isinstance(recognizer.transcribe(torch.zeros(samples), sample_rate=16000, search=chosen), str)


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        ("nowhere.flac", {}, "nowhere.flac: no such audio file"),
        ("touch ran |", {}, "is a command, and none is run here"),
        (["touch ran | "], {}, "is a command, and none is run here"),
        ("text.wav", {}, "text.wav: audio cannot be read"),
        (".", {}, "not a regular file but a folder"),
        (7, {}, "a path, samples, or a list of those, not int"),
        ([0.1, 0.2], {}, "audio 0: audio is a path or an array of samples, not float"),
        (np.zeros(100), {}, "audio 0: sample_rate is None; give that of the samples"),
        (np.zeros(100), {"sample_rate": 0}, "sample_rate is 0"),
        (np.zeros((2, 100)), {"sample_rate": 16000}, r"shape \(2, 100\)"),
        (np.zeros(0), {"sample_rate": 16000}, r"shape \(0,\)"),
        (np.zeros(100, np.int16), {"sample_rate": 16000}, "samples of type int16; floating point"),
        (torch.zeros(100, dtype=torch.int16), {"sample_rate": 16000}, "samples of type int16"),
        (np.full(100, np.nan), {"sample_rate": 16000}, "not finite"),
        (np.full(100, 1e30), {"sample_rate": 16000}, "far above full scale"),
        (np.zeros(100), {"sample_rate": 16000, "gates": ["1", "0", "1"]}, "3 booleans were expected"),
        (np.zeros(100), {"sample_rate": 16000, "gates": [2, 1, 1]}, "3 booleans were expected"),
        (np.zeros(100), {"sample_rate": 16000, "gates": 5}, "3 booleans were expected"),
        ("a.wav", {"depth": 0}, "depth 0 is outside 1…3"),
        ("a.wav", {"depth": 4}, "depth 4 is outside 1…3"),
        ("a.wav", {"depth": 2.5}, "depth 2.5 is not a whole number"),
        ("a.wav", {"gates": "10"}, "has 2 gates, the encoder has 3 blocks"),
        ("a.wav", {"gates": "10x"}, "not made of 0 and 1"),
        ("a.wav", {"gates": [False] * 3}, "closes every block"),
        ("a.wav", {"gates": "101", "depth": 2}, "either gates, or a depth"),
        ("a.wav", {"policy": "middle"}, "unknown gate policy 'middle'"),
        ("a.wav", {"depth": 2, "policy": "table"}, "needs a gate table"),
    ],
)
def test_mistakes_are_one_line(trained_pair, tmp_path, monkeypatch, audio, options, message):
    shutil.copytree(trained_pair / "static", tmp_path / "exp")
    (tmp_path / "exp" / GATE_TABLE).unlink(missing_ok=True)
    model = load_model(tmp_path / "exp")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write("a.wav", np.zeros(1600), 16000)
    with pytest.raises(DldError, match=message) as caught:
        model.transcribe(audio, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_what_is_too_long_for_the_encoder_is_named(recognizer, tmp_path):
    encoder = GatedWhisper(num_blocks=2, input_size=80, d_model=16, d_ffn=32, num_heads=2, max_frames=100)
    network = GatedCTC(WhisperLogMel(), encoder, len(recognizer.tokenizer))
    short = EagerRecognizer(network, recognizer.tokenizer, sample_rate=16000)
    longest = encoder.max_seconds
    soundfile.write(tmp_path / "long.wav", np.zeros(int(16000 * longest) + 1600), 16000)
    assert short.log_probs(np.zeros(int(16000 * longest)), sample_rate=16000) is not None
    with pytest.raises(DldError, match=rf"long\.wav: .* s long, the encoder takes at most {longest:g} s; cut it"):
        short.log_probs([np.zeros(100), tmp_path / "long.wav"], sample_rate=16000)


# ---------------------------------------------------------------- gate vectors


def test_a_depth_runs_the_vector_of_the_model_s_policy(babbler, files, tmp_path):
    shutil.copytree(babbler, tmp_path / "exp")
    path, model = next(iter(files.values())), load_model(tmp_path / "exp")
    assert model.policy == "table" and model.gate_table() is None
    assert model.gate_vector() == (True,) * 3
    assert model.gate_vector(depth=2, policy="evenly-spaced") == evenly_spaced(3, 2)
    vectors = {1: (False, True, False), 2: (False, True, True), 3: (True,) * 3}
    GateTable(3, vectors, {"state_sha256": model.about.state_sha256}).save(tmp_path / "exp" / GATE_TABLE)
    assert model.transcribe(path, depth=1) == model.transcribe(path, gates="010")
    assert model.transcribe(path, depth=1) != model.transcribe(path, depth=1, policy="first-n")
    assert model.transcribe(path, gates=[True, False, False]) == model.transcribe(path, depth=1, policy="first-n")


def test_a_gate_table_of_another_model_is_refused(babbler, files, tmp_path):
    shutil.copytree(babbler, tmp_path / "exp")
    GateTable(3, {1: (True, False, False)}, {"state_sha256": "0" * 64}).save(tmp_path / "exp" / GATE_TABLE)
    with pytest.raises(DldError, match="other weights than this model's"):
        load_model(tmp_path / "exp").transcribe(next(iter(files.values())), depth=1)


def test_log_probs_of_several_vectors_are_those_of_each(recognizer, files):
    paths = list(files.values())[:3]
    together = recognizer.log_probs(paths, gates=["100", (True, False, True), "111"], batch_seconds=4)
    assert [len(rows) for rows in together] == [3] * 3
    for path, found in zip(paths, together, strict=True):
        for rows, gates in zip(found, ["100", "101", "111"], strict=True):
            alone = recognizer.log_probs(path, gates=gates)
            assert rows.dtype == np.float32 and rows.shape == alone.shape
            np.testing.assert_allclose(rows, alone, atol=1e-4)
            np.testing.assert_allclose(np.exp(rows).sum(1), 1, atol=1e-4)


def test_log_probs_take_what_runs_as_transcribe_does(recognizer, files):
    path = next(iter(files.values()))
    full = recognizer.log_probs(path)
    assert full.ndim == 2
    for one in (
        *(recognizer.log_probs(path, depth=3), recognizer.log_probs(path, gates="111")),
        *(recognizer.log_probs(path, gates=vector) for vector in ((True,) * 3, np.ones(3, bool), torch.ones(3).bool())),
        *(recognizer.log_probs(path, depth=[3])[0], recognizer.log_probs([path], gates=["111"])[0][0]),
        recognizer.log_probs([path])[0],
    ):
        np.testing.assert_array_equal(one, full)
    first, second = recognizer.log_probs(path, depth=[1, 3], policy="first-n")
    np.testing.assert_allclose(first, recognizer.log_probs(path, gates="100"), atol=1e-4)
    assert second.shape == full.shape


def test_the_front_end_and_a_common_prefix_run_once(babbler, files):
    model, calls = load_model(babbler), []
    model.network.frontend.register_forward_hook(lambda *_: calls.append("front end"))
    for index, layer in enumerate(model.network.encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: calls.append(index))
    model.log_probs(next(iter(files.values())), gates=["110", "111", "101"])
    assert sorted(map(str, calls)) == ["0", "1", "2", "2", "front end"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gates": []}, "at least one depth or gate vector"),
        ({"depth": []}, "at least one depth or gate vector"),
        ({"gates": ["101"], "depth": [2]}, "give either gates, or a depth"),
        ({"depth": [9, 1]}, "depth 9 is outside"),
        ({"depth": "all"}, "depth 'all' is not a whole number"),
        ({"gates": 5}, "gate vector 5: 3 booleans were expected"),
    ],
)
def test_log_probs_refuses_what_is_no_list_of_vectors(recognizer, files, options, message):
    with pytest.raises(DldError, match=message):
        recognizer.log_probs(next(iter(files.values())), **options)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda model, path: dld.load_model(None), "load_model takes the folder of a model, not null"),
        (lambda model, path: dld.load_model(5), "load_model takes the folder of a model, not 5"),
        (lambda model, path: dld.load_model(model.folder, device=[]), "device .. is not available"),
        (lambda model, path: dld.load_model(model.folder, device="gpu"), "device 'gpu' is not available"),
        (lambda model, path: dld.load_model(model.folder, precision=16), "precision must be fp32 or bf16, got 16"),
        (lambda model, path: model.transcribe(5), "audio is a path, samples, or a list of those, not int"),
        (lambda model, path: model.transcribe(None), "not NoneType"),
        (lambda model, path: model.transcribe([path, 5]), "audio 1: audio is a path or an array of samples, not int"),
        (lambda model, path: model.transcribe(path, depth=1.5), "depth 1.5 is not a whole number"),
        (lambda model, path: model.transcribe(path, depth=[1]), r"depth \[1\] is not a whole number"),
        (lambda model, path: model.transcribe(path, gates=5), "gate vector 5: 3 booleans"),
        (lambda model, path: model.transcribe(path, depth=1, policy=7), "unknown gate policy 7"),
        (
            lambda model, path: model.transcribe(path, search="3gram.arpa"),
            "search is '3gram.arpa'; it must be a dld.Se",
        ),
        (lambda model, path: model.transcribe(path, batch_seconds="60"), "batch_seconds is '60'; it must be a number"),
        (lambda model, path: model.transcribe(np.zeros(800), sample_rate="16k"), "sample_rate is '16k'; give that"),
        (lambda model, path: dld.Search(beam="8"), "Search: beam is '8'; it must be a BeamSettings"),
        (lambda model, path: dld.Search(beam=8), "Search: beam is 8; it must be a BeamSettings"),
        (lambda model, path: dld.Search(lm=5), "Search: lm is 5; it must be the path"),
        (lambda model, path: dld.Search(lm="x.arpa", weights=0.5), "Search: weights is 0.5; it must be Weights"),
        (lambda model, path: BeamSettings(size="8"), "BeamSettings: size is '8'; it must be a whole number"),
        (lambda model, path: BeamSettings(beam_logp=None), "BeamSettings: beam_logp is null; it must be a number"),
        (lambda model, path: dld.GateTable("3", {}), "GateTable: num_blocks is '3'; it must be a whole number"),
        (lambda model, path: dld.GateTable.load(None, 3), "the path of a file was expected, not NoneType"),
        (lambda model, path: dld.GatedConformer(num_blocks="3"), "num_blocks is '3'; it must be a whole number"),
    ],
)
def test_what_is_called_in_a_wrong_way_is_one_line(recognizer, files, misuse, message):
    with pytest.raises(DldError, match=message) as caught:
        misuse(recognizer, next(iter(files.values())))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- searches, precision, training


def test_a_beam_search_is_given_as_a_record(recognizer, files):
    path = next(iter(files.values()))
    search = dld.Search(beam=BeamSettings(size=4))
    log_probs = recognizer.log_probs(path)
    expected = BeamSearch(recognizer.tokenizer.tokens(), settings=BeamSettings(size=4)).text(log_probs)
    assert recognizer.transcribe(path, search=search) == expected
    assert recognizer.transcribe(path, search=dld.Search(beam=BeamSettings(size=1))) == recognizer.transcribe(path)


def test_a_language_model_is_part_of_the_search(babbler, files, tiny_corpus, tmp_path, capsys):
    pytest.importorskip("kenlm")
    from dld.bin import lm as lm_command
    from dld.bin import tune_lm

    shutil.copytree(babbler, tmp_path / "exp")
    arpa, path = str(tmp_path / "2gram.arpa"), list(files.values())[0]
    text = ["--text", str(tiny_corpus / "train/text"), "--order", "2", "--tool", "own"]
    assert lm_command.main([*text, "--output", arpa]) == 0
    model = load_model(tmp_path / "exp")
    beam = BeamSettings(size=4)
    with pytest.raises(DldError, match="choose weights on dev with dld tune-lm"):
        model.transcribe(path, search=dld.Search(arpa, beam=beam))
    grid = ["--alphas", "0.5,1", "--betas=-1,1", "--beam-size", "4", "--policy", "first-n", "--progress", "false"]
    data = ["--exp", str(tmp_path / "exp"), "--data", str(tiny_corpus / "dev"), "--depths", "2"]
    assert tune_lm.main([*data, "--lm", arpa, *grid]) == 0
    stored = json.loads((tmp_path / "exp/lm_weights.json").read_text())["depths"]["2"]
    weights = Weights(stored["alpha"], stored["beta"])
    found = model.transcribe(path, gates="110", search=dld.Search(arpa, beam=beam))
    assert found == model.transcribe(path, gates="110", search=dld.Search(arpa, weights, beam))
    with pytest.raises(DldError, match="no weights for depth 3"):
        model.transcribe(path, search=dld.Search(arpa, beam=beam))
    with pytest.raises(DldError, match="at depth 2 chosen with gates 110, not 101"):
        model.transcribe(path, gates="101", search=dld.Search(arpa, beam=beam))
    capsys.readouterr()
    assert run(tmp_path / "exp", path, "--gates", "110", "--lm", arpa, "--beam-size", "4") == 0
    assert capsys.readouterr().out == f"{path}\t{found}\n"
    bare = EagerRecognizer(model.network, model.tokenizer, sample_rate=16000)
    with pytest.raises(DldError, match="a language model needs weights"):
        bare.transcribe(path, search=dld.Search(arpa))


def test_weights_without_a_language_model_are_refused():
    with pytest.raises(DldError, match="need the model"):
        dld.Search(weights=Weights(0.5))


def test_the_network_runs_in_the_precision_that_was_asked_for(babbler, files):
    path = next(iter(files.values()))
    full, low = (load_model(babbler, precision=name).log_probs(path) for name in ("fp32", "bf16"))
    assert not np.array_equal(full, low)
    np.testing.assert_allclose(full, low, atol=0.3)
    with pytest.raises(DldError, match="fp32 or bf16"):
        load_model(babbler, precision="fp16")


def test_a_network_in_training_is_put_back_into_training(babbler, tiny_corpus):
    network, words = load_model(babbler).network, load_model(babbler).tokenizer
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model = EagerRecognizer(network.train(), words, sample_rate=16000)
    batch = next(iter(evaluation_loader(make_dataset(tiny_corpus / "test"), batch_size=4)))
    waveforms, lengths = batch.signal.data, torch.tensor([batch.signal.data.shape[1]] * len(batch.id))
    first, second = (model.run(waveforms, lengths, [first_n(3, 2)]) for _ in range(2))
    assert network.training and not first.logits[0].requires_grad
    assert torch.equal(first.logits[0], second.logits[0])
    texts = model.texts(unpadded(first.logits[0], first.lengths))
    assert len(texts) == 4 and all(isinstance(text, str) for text in texts)


# ---------------------------------------------------------------- loading


def test_loading_builds_the_network_only_and_draws_no_random_number(trained_pair, monkeypatch):
    from dld.frontends import augmentation
    from dld.gates import schedules
    from dld.training import optim

    def refuse(self, *_, **__):
        raise AssertionError(f"{type(self).__name__} was built")

    for module in (augmentation, schedules, optim):
        for cls in [value for value in vars(module).values() if isinstance(value, type)]:
            if cls.__module__ == module.__name__:
                monkeypatch.setattr(cls, "__init__", refuse)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    model = load_model(trained_pair / "dld")
    assert random.getstate() == states[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1], strict=True))
    assert torch.equal(torch.get_rng_state(), states[2])
    model.transcribe(torch.zeros(8000), sample_rate=16000, depth=1, policy="random")
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])


def test_no_model_is_one_line(tmp_path):
    with pytest.raises(DldError, match="no finished model there"):
        dld.load_model(tmp_path)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_one_line(trained_pair, device):
    with pytest.raises(DldError, match=f"device '{device}' is not available"):
        load_model(trained_pair / "dld", device)


def test_the_package_loads_what_it_offers_when_it_is_used():
    code = (
        "import sys, dld\n"
        "assert set(dld.__all__) <= set(dir(dld)) and dld.__version__\n"
        "heavy = {'torch', 'numpy', 'scipy', 'speechbrain', 'sentencepiece'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert dld.GateTable.__module__ == 'dld.gates.table' and not heavy & set(sys.modules)\n"
        "from dld import *\n"
        "assert load_model and Recognizer and GatedConformer and GatedWavLM and GatedWhisper and Search\n"
        "try:\n    dld.nothing\nexcept AttributeError as error:\n    assert 'nothing' in str(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- the command


def test_the_command_prints_a_line_for_each_file_in_order(recognizer, babbler, files, capsys):
    paths = list(files.values())
    assert run(babbler, *paths, "--depth", "2", "--policy", "first-n", "--batch-seconds", "3") == 0
    texts = recognizer.transcribe(paths, depth=2, policy="first-n")
    lines = [f"{path}\t{text}" for path, text in zip(paths, texts, strict=True)]
    assert capsys.readouterr().out.splitlines() == lines
    assert run(babbler, *paths, "--gates", "110", "--format", "json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [
        {"path": path, "text": text, "depth": 2, "gates": "110"} for path, text in zip(paths, texts, strict=True)
    ]
    assert records == expected


def test_faulty_files_do_not_stop_the_others(recognizer, babbler, files, tmp_path, capsys):
    good = list(files.values())[:2]
    samples = np.random.default_rng(1).normal(0, 0.1, 32000)
    soundfile.write(tmp_path / "cut.flac", samples, 16000)
    whole = (tmp_path / "cut.flac").read_bytes()
    # Its header is whole, so that the fault shows when the batch is read.
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    assert run(babbler, "nowhere.flac", good[0], tmp_path / "cut.flac", good[1], "true |") == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"{path}\t{recognizer.transcribe(path)}" for path in good]
    errors = [line for line in captured.err.splitlines() if "error" in line]
    assert len(errors) == 3 and all(line.startswith("dld transcribe: error: ") for line in errors)
    for line, part in zip(errors, ("nowhere.flac: no such", "cut.flac: audio c", "true |: is a command"), strict=True):
        assert part in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth", "4"], "depth 4 is outside 1…3"),
        (["--depth", "0"], "argument --depth"),
        (["--gates", "1010"], "4 gates"),
        (["--gates", "101", "--depth", "2"], "either gates, or a depth"),
        (["--lm-alpha", "1"], "--lm-alpha needs --lm"),
        (["--times", "yes"], "expected true or false"),
        (["--format", "docx"], "invalid choice: 'docx'"),
    ],
)
def test_wrong_options_of_the_command_are_one_line(babbler, files, capsys, options, message):
    assert run(babbler, next(iter(files.values())), *options) != 0
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.splitlines()[-1]


def test_audio_that_does_not_fit_into_memory_is_one_error_and_the_rest_is_transcribed(trained_pair, monkeypatch):
    model = dld.load_model(trained_pair / "dld")
    sound = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)
    audio, run = [sound[:16000], sound, sound[:24000]], model.run

    def small(waveforms, lengths, vectors):
        if waveforms.numel() > 24000:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return run(waveforms, lengths, vectors)

    expected = [model.transcribe(item, sample_rate=16000) for item in audio]
    monkeypatch.setattr(model, "run", small)
    found = dict(model.transcribe_each(audio, model.gate_vector(), sample_rate=16000))
    assert (found[0].text, found[2].text) == (expected[0], expected[2])
    assert "audio 1: not enough memory" in str(found[1])
