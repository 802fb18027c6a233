"""Released versions of sherpa-onnx and onnx-asr run exported models and write what dld does."""

import json

import numpy as np
import pytest
import torch

from dld.bin import export
from dld.data.audio import read_audio
from dld.data.tokenizer import train as train_tokenizer
from dld.encoders import GatedConformer, GatedWavLM, GatedWhisper
from dld.errors import DldError
from dld.export.foreign import export_onnx_asr, export_sherpa, repeats
from dld.frontends import KaldiFbank, LogMel, UtteranceCMVN, Waveform, WhisperLogMel
from dld.network import GatedCTC
from dld.recognition.eager import EagerRecognizer

GATES = [(False, True, False), (True, False, True), (True, True, True)]
SMALL = {"num_blocks": 3, "d_model": 16, "d_ffn": 32, "num_heads": 2}


@pytest.fixture(scope="module")
def sherpa():
    return pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed (extra [test])").OfflineRecognizer


@pytest.fixture(scope="module")
def waveforms(files):
    """Utterances of the test set, which sherpa-onnx reads as they are: 16 kHz."""
    return [read_audio(path) for path in files]


def words(text):
    """The words alone: runtimes write the spaces between tokens as they come."""
    return text.split()


def decoded(client, waveforms, batch=4):
    streams = []
    for waveform in waveforms:
        streams.append(client.create_stream())
        streams[-1].accept_waveform(16000, waveform)
    for first in range(0, len(streams), batch):
        client.decode_streams(streams[first : first + batch])
    return [words(stream.result.text) for stream in streams]


def test_sherpa_onnx_at_every_depth_with_shared_weights(
    sherpa, babbler, recognizer, waveforms, tmp_path, capsys, monkeypatch
):
    assert export.main([str(babbler), "--out", str(tmp_path / "out"), "--format", "sherpa-onnx", "--all-depths"]) == 0
    assert capsys.readouterr().out.count("zipformer_ctc") == 3
    about = json.loads((tmp_path / "out/models.json").read_text())
    assert [model["gates"] for model in about["models"]] == ["010", "101", "111"]
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert sum(size for name, size in sizes.items() if name.startswith("model-")) < 3 * sizes["weights.bin"]
    monkeypatch.chdir(tmp_path)
    for model in about["models"]:
        client = sherpa.from_zipformer_ctc(f"{tmp_path}/out/{model['file']}", f"{tmp_path}/out/tokens.txt")
        expected = recognizer.transcribe(waveforms, sample_rate=16000, gates=model["gates"])
        assert decoded(client, waveforms) == list(map(words, expected))


@pytest.mark.parametrize(("option", "depths"), [(["--all-depths"], [1, 3]), (["--depths", "2,3"], [2, 3])])
def test_models_of_several_depths_and_of_trained_heads_alone(recognizer, monkeypatch, option, depths):
    monkeypatch.setattr(recognizer, "has_exit_heads", lambda: True)
    monkeypatch.setattr(recognizer, "depths", [1, 3])
    arguments = export.make_parser().parse_args(["model", "--out", "out", "--format", "sherpa-onnx", *option])
    assert export.chosen_vectors(recognizer, arguments) == [GATES[depth - 1] for depth in depths]


def test_sherpa_onnx_in_int8(sherpa, recognizer, waveforms, tmp_path):
    export_sherpa(recognizer, tmp_path / "out", [GATES[2]], "int8")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.int8.onnx", "tokens.txt", "bpe.model", "models.json"
    }  # fmt: skip
    client = sherpa.from_zipformer_ctc(f"{tmp_path}/out/model.int8.onnx", f"{tmp_path}/out/tokens.txt")
    assert all(decoded(client, waveforms, batch=1))


def test_onnx_asr(recognizer, babbler, waveforms, tmp_path):
    onnx_asr = pytest.importorskip("onnx_asr", reason="onnx-asr is not installed (extra [test])")
    for gates in GATES:
        export_onnx_asr(recognizer, tmp_path / "out", gates)
        client = onnx_asr.load_model("kaldi-rnnt", tmp_path / "out")
        expected = recognizer.transcribe(waveforms, sample_rate=16000, gates=gates)
        found = [
            words(text)
            for first in range(0, len(waveforms), 4)
            for text in client.recognize(waveforms[first : first + 4])
        ]
        assert found == list(map(words, expected))
    gates = "".join(str(int(gate)) for gate in GATES[1])
    arguments = [str(babbler), "--out", str(tmp_path / "out"), "--format", "onnx-asr", "--precision", "int8"]
    assert export.main([*arguments, "--gates", gates]) == 0
    client = onnx_asr.load_model("kaldi-rnnt", tmp_path / "out", quantization="int8")
    assert client.recognize(waveforms[0])


OTHERS = {
    "log-mel": lambda: (LogMel(normalisation=UtteranceCMVN()), GatedConformer(kernel_size=5, **SMALL)),
    "log-mel without an offset": lambda: (
        LogMel(normalisation=UtteranceCMVN(), zero_mean=True),
        GatedConformer(kernel_size=5, **SMALL),
    ),
    "whisper": lambda: (WhisperLogMel(), GatedWhisper(stack=2, **SMALL)),
    "whisper without an offset": lambda: (WhisperLogMel(zero_mean=True), GatedWhisper(stack=2, **SMALL)),
    "wavlm": lambda: (
        Waveform(),
        GatedWavLM(
            positional_kernel=4,
            positional_groups=2,
            conv_layers=[[8, 10, 5], [8, 8, 8], [8, 8, 8]],
            **SMALL,
        ),
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_models_of_the_waveform_in_sherpa_onnx(sherpa, kind, waveforms, tmp_path):
    torch.manual_seed(2)
    tokenizer = train_tokenizer(["one two", "two three"], tmp_path / "lang", vocab_size=14)
    model = EagerRecognizer(GatedCTC(*OTHERS[kind](), 14, blank_bias=-5.0), tokenizer, sample_rate=16000)
    about = export_sherpa(model, tmp_path / "out", [GATES[1]])
    assert about["kind"] == "omnilingual" and repeats(model) == (1 if kind == "wavlm" else 2)
    client = sherpa.from_omnilingual_asr_ctc(f"{tmp_path}/out/model.onnx", f"{tmp_path}/out/tokens.txt")
    # It takes the mean of a waveform away, which it cannot be given back: a model may depend on it or not.
    offset = 0.02 if kind.endswith("without an offset") else 0.0
    given = [waveform - waveform.mean() + np.float32(offset) for waveform in waveforms]
    expected = list(map(words, model.transcribe(given, sample_rate=16000, gates=GATES[1])))
    found = [decoded(client, [waveform], batch=1)[0] for waveform in given]
    assert len(found) > 10 and all(expected)
    assert np.mean([one == other for one, other in zip(found, expected, strict=True)]) >= 0.99


def test_exports_are_replaced_and_nothing_else(recognizer, tmp_path):
    for write, gates in ((export_sherpa, GATES), (export_onnx_asr, GATES[2])):
        folder = tmp_path / write.__name__
        for precision in ("int8", "float32"):
            write(recognizer, folder, gates, precision)
        names = {path for path in folder.rglob("*.onnx") if "int8" in path.name}
        assert not names
        (folder / "diary.txt").write_text("mine")
        with pytest.raises(DldError, match="has 'diary.txt', which dld export did not write"):
            write(recognizer, folder, gates)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_runtimes_do_not_compute_is_said(recognizer, tmp_path):
    def model(frontend, encoder=None, rate=16000):
        encoder = encoder or GatedConformer(kernel_size=5, input_size=frontend.output_size, **SMALL)
        return EagerRecognizer(GatedCTC(frontend, encoder, 32), recognizer.tokenizer, sample_rate=rate)

    eight = KaldiFbank(8000, 80, high_hz=-200)
    with pytest.raises(
        DldError, match="the model has sample_rate 8000 instead of 16000, window 200 instead of 400, hop"
    ):
        export_sherpa(model(eight, rate=8000), tmp_path / "out", [GATES[2]])
    with pytest.raises(DldError, match="the model has snip_edges True instead of False"):
        export_onnx_asr(model(KaldiFbank(snip_edges=True)), tmp_path / "out", GATES[2])
    with pytest.raises(DldError, match="onnx-asr computes Kaldi features, and the front end of this model is LogMel"):
        export_onnx_asr(model(LogMel()), tmp_path / "out", GATES[2])
    whisper = GatedWhisper(stack=4, **SMALL)
    with pytest.raises(DldError, match="the model has subsampling 8 instead of 4"):
        export_sherpa(model(KaldiFbank(), whisper), tmp_path / "out", [GATES[2]])
    with pytest.raises(DldError, match="sherpa-onnx gives such models 16000 Hz, and this one takes 8000 Hz"):
        export_sherpa(model(LogMel(8000), rate=8000), tmp_path / "out", [GATES[2]])
    assert list(tmp_path.iterdir()) == []
