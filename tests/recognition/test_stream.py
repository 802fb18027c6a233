"""Text while somebody speaks: in the end it is that of the whole recording."""

import numpy as np
import pytest
import torch

from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.tokenizer import Tokenizer
from dld.encoders import GatedConformer
from dld.errors import DldError
from dld.frontends import KaldiFbank
from dld.network import GatedCTC
from dld.recognition.eager import EagerRecognizer
from dld.recognition.loading import load_model

CHUNK = 4


def make(tokenizer, exit_heads=False, **settings):
    """A network that writes nonsense on every frame, so that its texts tell of small differences."""
    torch.manual_seed(0)
    sizes = {"num_blocks": 3, "d_model": 16, "d_ffn": 32, "num_heads": 2, "kernel_size": 5}
    encoder = GatedConformer(**sizes, attention="rotary", **{"chunk": CHUNK, "left_chunks": 2, **settings})
    network = GatedCTC(KaldiFbank(), encoder, len(tokenizer), blank_bias=-5.0, exit_heads=exit_heads)
    return EagerRecognizer(network, tokenizer, sample_rate=16000)


@pytest.fixture(scope="module")
def tokenizer(tiny_corpus):
    return Tokenizer.load(tiny_corpus / "lang")


@pytest.fixture(scope="module")
def waveform(tiny_corpus):
    return read_audio(kaldi.load(tiny_corpus / "test")[0].recording)


@pytest.mark.parametrize("size", [160, 1000, 7777])
@pytest.mark.parametrize("asked", [{"depth": 3}, {"depth": 2}, {"gates": "010"}])
def test_the_text_grows_to_that_of_the_whole(tokenizer, waveform, size, asked):
    recognizer = make(tokenizer)
    stream = recognizer.stream(**asked)
    texts = [stream.accept(waveform[first : first + size]) for first in range(0, len(waveform), size)]
    texts.append(stream.end())
    assert stream.text == texts[-1] == recognizer.transcribe(waveform, sample_rate=16000, **asked) != ""
    assert all(after.startswith(before) for before, after in zip(texts, texts[1:], strict=False))


def test_a_sample_is_in_the_text_within_the_stated_time(tokenizer, waveform):
    recognizer = make(tokenizer)
    stream = recognizer.stream()
    assert stream.latency_seconds == pytest.approx(CHUNK * 0.04 + 0.0175)
    stream.accept(waveform[: int((stream.latency_seconds + 1e-4) * 16000)])
    assert stream.text


def test_networks_with_exit_heads(tokenizer, waveform):
    recognizer = make(tokenizer, exit_heads=True)
    with torch.no_grad():
        recognizer.network.exit_heads[0].weight.normal_()
    stream = recognizer.stream(depth=1)
    stream.accept(waveform)
    assert stream.end() == recognizer.transcribe(waveform, sample_rate=16000, depth=1)


def test_nothing_is_an_empty_text(tokenizer):
    assert make(tokenizer).stream().end() == ""


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 100), np.float32), r"shape \(2, 100\); they must be floating point \(samples,\)"),
        (np.zeros(100, np.int16), "int16 of shape"),
        (np.array([0.0, np.nan]), "not all finite"),
        ("a.wav", "samples are 'a.wav'; they must be an array"),
    ],
)
def test_wrong_samples_are_refused(tokenizer, samples, message):
    with pytest.raises(DldError, match=message):
        make(tokenizer).stream().accept(samples)


def test_a_stream_that_has_ended_takes_no_more(tokenizer, waveform):
    stream = make(tokenizer).stream()
    stream.end()
    with pytest.raises(DldError, match="has ended; open another"):
        stream.accept(waveform)


def test_low_precision_runs(tokenizer, waveform):
    recognizer = make(tokenizer)
    recognizer.precision = "bf16"
    stream = recognizer.stream()
    stream.accept(waveform)
    assert stream.end()


def test_packs_take_whole_recordings(root):
    with pytest.raises(DldError, match="a pack takes whole recordings; load the experiment folder"):
        load_model(root / "egs_data/digits").stream(depth=2)


def test_networks_that_see_everything_have_no_stream(tokenizer):
    with pytest.raises(DldError, match=r"has no chunks.*encoder\.chunk"):
        make(tokenizer, chunk=None, left_chunks=None).stream()


@pytest.mark.parametrize("times", [False, True])
def test_long_recordings_have_the_text_and_times_of_the_whole(tokenizer, tiny_corpus, times):
    speech = [read_audio(utterance.recording) for utterance in kaldi.load(tiny_corpus / "test")]
    recording = np.concatenate(speech)
    recognizer = make(tokenizer, chunk=2)
    # Blanks here and there, as pauses are.
    with torch.no_grad():
        recognizer.network.head.bias[0] = 1.7
    settings = {"sample_rate": 16000, "depth": 2, "times": times}
    whole = recognizer.transcribe(recording, window_seconds=1000, **settings)
    parts = recognizer.transcribe(recording, window_seconds=4, **settings)
    if times:
        assert len(parts.joints) > 3 and (parts.text, parts.words) == (whole.text, whole.words)
    else:
        assert parts == whole != ""
