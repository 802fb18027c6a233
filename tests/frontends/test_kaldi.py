"""Kaldi's features: equal to those that runtimes compute, whatever the batch."""

import numpy as np
import pytest
import soundfile
import torch

from dld.errors import DldError
from dld.frontends import GlobalCMVN, KaldiFbank
from dld.saved import CLASSES

native = pytest.importorskip("kaldi_native_fbank", reason="needs kaldi-native-fbank, see tools/requirements-test.txt")


@pytest.fixture(scope="module")
def recordings(shared):
    """Real speech at 16 kHz."""
    files = sorted((shared / "corpora/LibriSpeech/test-clean").rglob("*.flac"))[:4]
    return [soundfile.read(file, dtype="float32")[0][: 16000 * (3 + i) + 37 * i] for i, file in enumerate(files)]


def reference(samples, rate, bins, snip_edges):
    options = native.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = rate
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = bins
    options.mel_opts.high_freq = -400
    fbank = native.OnlineFbank(options)
    fbank.accept_waveform(rate, samples.tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def pad(waveforms):
    waveforms = [torch.as_tensor(waveform) for waveform in waveforms]
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), torch.tensor([len(w) for w in waveforms])


@pytest.mark.parametrize("snip_edges", [False, True])
@pytest.mark.parametrize(("rate", "bins"), [(16000, 80), (16000, 23), (8000, 40)])
def test_a_batch_equals_kaldi_native_fbank(recordings, rate, bins, snip_edges):
    signals = [samples[:: 16000 // rate].copy() for samples in recordings]
    # An offset, loud and quiet ends, digital silence.
    signals += [signals[0] + np.float32(0.1), signals[1] * np.float32(1e-4), np.zeros(3 * rate, np.float32)]
    features, lengths = KaldiFbank(rate, bins, snip_edges=snip_edges)(*pad(signals))
    for row, samples in enumerate(signals):
        expected = reference(samples, rate, bins, snip_edges)
        assert lengths[row] == len(expected)
        np.testing.assert_allclose(features[row, : lengths[row]].numpy(), expected, atol=1e-3)
        assert not features[row, lengths[row] :].any()


@pytest.mark.parametrize("samples", [80, 81, 150, 239, 240, 399, 400, 401, 560])
def test_utterances_shorter_than_a_window_are_mirrored_as_kaldi_does(recordings, samples):
    signal = recordings[0][8000 : 8000 + samples]
    expected = reference(signal, 16000, 80, False)
    features, lengths = KaldiFbank()(*pad([signal, recordings[0]]))
    assert lengths[0] == len(expected)
    np.testing.assert_allclose(features[0, : lengths[0]].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("snip_edges", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 79, 300])
def test_the_shortest_utterances_have_a_finite_frame(samples, snip_edges):
    features, lengths = KaldiFbank(snip_edges=snip_edges)(torch.randn(1, samples), torch.tensor([samples]))
    assert lengths[0] >= 1 and features.shape[1] == lengths[0]
    assert features.isfinite().all()


@pytest.mark.parametrize("snip_edges", [False, True])
def test_features_do_not_depend_on_the_batch(recordings, snip_edges):
    front_end = KaldiFbank(snip_edges=snip_edges, normalisation=GlobalCMVN(80))
    front_end.estimate_statistics([pad(recordings)])
    waveforms, lengths = pad(recordings)
    longer = torch.cat([waveforms, torch.full((len(waveforms), 5000), 7.0)], 1)
    features, frames = front_end(longer, lengths)
    for row, samples in enumerate(recordings):
        alone, length = front_end(*pad([samples]))
        assert frames[row] == length[0] == alone.shape[1]
        torch.testing.assert_close(features[row, : frames[row]], alone[0], atol=1e-4, rtol=1e-4)


def test_statistics_are_weights_and_filters_are_not():
    assert list(KaldiFbank(normalisation=GlobalCMVN(80)).state_dict()) == [
        "normalisation.mean",
        "normalisation.std",
        "normalisation.frames",
    ]
    assert CLASSES["dld.frontends.KaldiFbank"] is KaldiFbank
    assert not KaldiFbank().same_as(KaldiFbank(snip_edges=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"high_hz": 9000}, "high_hz is 9000, that is 9000 Hz; they must be in this order and at most 8000 Hz"),
        ({"low_hz": 7700}, "low_hz is 7700 and high_hz is -400.0, that is 7600 Hz"),
        ({"n_mels": 500}, "n_mels is 500; filter 0 has no frequency of the 512 point transform; take fewer"),
        ({"snip_edges": "no"}, "KaldiFbank: snip_edges is 'no'; it must be true or false"),
        ({"normalisation": GlobalCMVN(40)}, "normalisation has n_features 40; it must be n_mels, 80"),
    ],
)
def test_settings_that_cannot_be_are_errors(settings, message):
    with pytest.raises(DldError) as error:
        KaldiFbank(**settings)
    assert message in str(error.value)
