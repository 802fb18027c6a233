"""Whisper's features."""

import pytest
import soundfile
import torch

from dld.frontends import WhisperLogMel


@pytest.fixture(scope="module")
def speech(shared):
    """Three real utterances of different lengths, and one too short for a window."""
    files = sorted((shared / "corpora/LibriSpeech/test-clean").rglob("*.flac"))[:3]
    waveforms = [
        torch.from_numpy(soundfile.read(file, dtype="float32")[0][: 16000 * (2 + i) + 77 * i])
        for i, file in enumerate(files)
    ]
    return [*waveforms, waveforms[0][8000:8100]]


def pad(waveforms):
    lengths = torch.tensor([len(w) for w in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths


def test_features_do_not_depend_on_the_batch(speech):
    front_end = WhisperLogMel()
    waveforms, samples = pad(speech)
    waveforms[0, samples[0] :] = 0.5  # what is in the padding does not matter either
    features, lengths = front_end(waveforms, samples)
    for row, waveform in enumerate(speech):
        alone, alone_length = front_end(*pad([waveform]))
        assert lengths[row] == alone_length[0] == alone.shape[1] == max(1, len(waveform) // 160)
        torch.testing.assert_close(features[row, : lengths[row]], alone[0], atol=1e-5, rtol=0)
        assert not features[row, lengths[row] :].any()


@pytest.mark.parametrize("n_mels", [80, 128])
def test_features_equal_those_of_huggingface(speech, n_mels):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.WhisperFeatureExtractor(feature_size=n_mels)
    for waveform in speech[:3]:
        features, lengths = WhisperLogMel(n_mels)(*pad([waveform]))
        expected = theirs(waveform.numpy(), sampling_rate=16000, return_tensors="pt").input_features[0].T
        torch.testing.assert_close(features[0], expected[: lengths[0]], atol=1e-4, rtol=0)


def test_the_range_is_eight_powers_of_ten_below_the_maximum(speech):
    features, _ = WhisperLogMel()(*pad([speech[0]]))
    assert features.max() - features.min() == pytest.approx(2.0, abs=1e-5)
    louder, _ = WhisperLogMel()(*pad([speech[0] * 10]))
    torch.testing.assert_close(louder, features + 0.5, atol=1e-4, rtol=0)
    silence, _ = WhisperLogMel()(torch.zeros(1, 1600), torch.tensor([1600]))
    assert torch.equal(silence, torch.full((1, 10, 80), -1.5))


def test_front_ends_with_other_settings_are_seen_to_differ():
    assert not WhisperLogMel(80).same_as(WhisperLogMel(128))
    assert WhisperLogMel().state_dict() == {}


def test_low_precision_does_not_reach_the_features(speech):
    plain, _ = WhisperLogMel()(*pad([speech[0]]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = WhisperLogMel()(*pad([speech[0]]))
    assert torch.equal(plain, cast)
