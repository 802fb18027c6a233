"""Front ends and augmentation."""

import json

import numpy as np
import pytest
import soundfile
import torch

from dld.frontends import (
    FrontEnd,
    GlobalCMVN,
    LogMel,
    SpecAugment,
    SpeedPerturb,
    UtteranceCMVN,
    Waveform,
    WhisperLogMel,
)


@pytest.fixture(scope="module")
def speech(shared):
    """Three real utterances of different lengths."""
    files = sorted((shared / "corpora/LibriSpeech/test-clean").rglob("*.flac"))[:3]
    return [
        torch.from_numpy(soundfile.read(file, dtype="float32")[0][: 16000 * (2 + i)]) for i, file in enumerate(files)
    ]


def pad(waveforms):
    lengths = torch.tensor([len(w) for w in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths


def trained_cmvn(speech):
    front_end = LogMel(normalisation=GlobalCMVN(80))
    assert front_end.needs_statistics
    front_end.estimate_statistics([pad(speech)])
    assert not front_end.needs_statistics
    return front_end


@pytest.mark.parametrize("kind", ["none", "utterance", "without an offset", "global"])
def test_features_do_not_depend_on_the_batch(speech, kind):
    front_end = {
        "none": lambda: LogMel(),
        "utterance": lambda: LogMel(normalisation=UtteranceCMVN()),
        "without an offset": lambda: LogMel(zero_mean=True),
        "global": lambda: trained_cmvn(speech),
    }[kind]()
    features, lengths = front_end(*pad(speech))
    for row, waveform in enumerate(speech):
        alone, alone_length = front_end(*pad([waveform]))
        assert lengths[row] == alone_length[0] == alone.shape[1]
        torch.testing.assert_close(features[row, : lengths[row]], alone[0], atol=2e-4, rtol=1e-4)
        assert not features[row, lengths[row] :].any()


@pytest.mark.parametrize("kind", ["utterance", "global"])
def test_normalisation_is_the_same_in_training_and_evaluation(speech, kind):
    front_end = trained_cmvn(speech) if kind == "global" else LogMel(normalisation=UtteranceCMVN())
    before = {name: value.clone() for name, value in front_end.state_dict().items()}
    first, _ = front_end.train()(*pad(speech))
    second, _ = front_end.eval()(*pad(speech))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in front_end.state_dict().items())


def test_global_statistics_normalise_what_they_were_estimated_on(speech):
    front_end = trained_cmvn(speech)
    features, lengths = front_end(*pad(speech))
    valid = torch.cat([row[:length] for row, length in zip(features, lengths, strict=True)])
    torch.testing.assert_close(valid.mean(0), torch.zeros(80), atol=1e-3, rtol=0)
    torch.testing.assert_close(valid.std(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)


@pytest.fixture
def padded():
    """Features of three utterances, with padding that would be noticed."""
    torch.manual_seed(0)
    features, lengths = 2.0 * torch.randn(3, 50, 4) + torch.arange(4.0), torch.tensor([50, 20, 5])
    for row, length in enumerate(lengths):
        features[row, length:] = 1e3
    return features, lengths


@pytest.mark.parametrize("variance", [True, False])
def test_utterance_normalisation_is_over_valid_frames_only(padded, variance):
    out = UtteranceCMVN(variance)(*padded)
    for features, row, length in zip(padded[0], out, padded[1], strict=True):
        deviation = features[:length].std(0, correction=0)
        torch.testing.assert_close(row[:length].mean(0), torch.zeros(4), atol=1e-4, rtol=0)
        expected = torch.ones(4) if variance else deviation
        torch.testing.assert_close(row[:length].std(0, correction=0), expected, atol=1e-4, rtol=1e-4)


def test_global_statistics_are_of_all_valid_frames_of_all_batches(padded):
    features, lengths = padded
    cmvn = GlobalCMVN(4)
    cmvn.estimate([(features[:1], lengths[:1]), (features[1:], lengths[1:])])
    valid = torch.cat([row[:length] for row, length in zip(features, lengths, strict=True)])
    torch.testing.assert_close(cmvn.mean, valid.mean(0))
    torch.testing.assert_close(cmvn.std, valid.std(0, correction=0))
    assert cmvn.frames.item() == 75


def test_louder_speech_has_the_same_features_after_utterance_normalisation(speech):
    front_end = LogMel(normalisation=UtteranceCMVN())
    soft, _ = front_end(*pad([speech[0] * 0.3]))
    loud, _ = front_end(*pad([speech[0]]))
    # Only frames at the floor of the logarithm can differ.
    assert (soft - loud).abs().quantile(0.99) < 1e-2


def test_waveforms_are_normalised_over_their_own_samples(speech):
    waveforms, lengths = pad([0.1 + waveform for waveform in speech])
    waveforms[0, lengths[0] :] = 7.0
    out, out_lengths = Waveform()(waveforms, lengths)
    assert torch.equal(out_lengths, lengths)
    for row, length in enumerate(lengths):
        valid = out[row, :length]
        assert valid.mean().abs() < 1e-5
        assert valid.std(correction=0) == pytest.approx(1.0, abs=1e-3)
        torch.testing.assert_close(valid, Waveform()(waveforms[row : row + 1, :length], lengths[row : row + 1])[0][0])
        assert not out[row, length:].any()


def test_waveforms_may_stay_as_they_are(speech):
    waveforms, lengths = pad(speech)
    out, _ = Waveform(normalise=False)(waveforms + 0.0, lengths)
    assert torch.equal(out, waveforms)
    assert not Waveform(False).same_as(Waveform(True))


def test_a_tone_lands_in_its_mel_bin():
    time = torch.arange(16000) / 16000
    features, _ = LogMel(n_mels=40)(torch.sin(2 * np.pi * 1000 * time)[None], torch.tensor([16000]))
    # HTK scale: 1 kHz is mel 1000 of 2840, the centre of bin 41 * 1000 / 2840 - 1.
    assert features[0, 50].argmax() == round(41 * 1000 / 2840.02) - 1


def test_spec_augment_masks_a_copy():
    torch.manual_seed(0)
    features, lengths = torch.ones(4, 200, 80), torch.full((4,), 200)
    masked = SpecAugment(time_masks=2, time_width=40, freq_masks=2, freq_width=27)(features, lengths)
    assert features.all()
    fractions = (masked == 0).float().mean((1, 2))
    assert (fractions > 0).all()
    assert (fractions < 0.9).all()
    assert len(set(fractions.tolist())) > 1
    per_frame = (masked == 0).all(2).sum(1)
    assert (per_frame <= 80).all()


def time_masks(lengths, seed=0, frames=None, **settings):
    """Which frames one time mask covers, of many utterances: (batch, frames)."""
    torch.manual_seed(seed)
    augment = SpecAugment(time_masks=1, freq_masks=0, **settings)
    return augment(torch.ones(len(lengths), frames or int(lengths.max()), 3), lengths)[..., 0] == 0


def test_time_masks_are_as_wide_as_the_utterance_allows_and_lie_within_it():
    lengths = torch.tensor([100, 30, 10, 4, 1, 0]).repeat(400)
    masked = time_masks(lengths, frames=120, time_width=15, time_share=0.2)
    assert not masked[torch.arange(120) >= lengths[:, None]].any()
    widths = masked.sum(1).view(400, 6)
    assert widths.amax(0).tolist() == [15, 6, 2, 0, 0, 0]
    # Uniform from 0 to the widest, at any position.
    assert widths[:, 0].float().mean().item() == pytest.approx(7.5, abs=0.8)
    assert set(widths[:, 1].tolist()) == set(range(7))
    assert masked.view(400, 6, 120)[:, 0, :100].any(0).all()


def test_masks_are_the_same_however_far_a_batch_is_padded():
    torch.manual_seed(1)
    features, lengths = torch.randn(3, 90, 20), torch.tensor([50, 90, 7])
    longer = torch.nn.functional.pad(features, (0, 0, 0, 60), value=7.0)
    outputs = []
    for batch in (features, longer):
        torch.manual_seed(2)
        outputs.append(SpecAugment(freq_width=5)(batch, lengths))
    assert torch.equal(outputs[0], outputs[1][:, :90])


def test_padded_frames_are_left_as_they_are():
    features, lengths = torch.ones(50, 40, 20), torch.full((50,), 25)
    masked = SpecAugment(freq_width=20)(features, lengths)
    assert masked[:, 25:].all()
    bins = (masked[:, :25] == 0).all(1)
    assert bins.any() and not bins.all()


def test_without_masks_nothing_is_masked():
    features, lengths = torch.ones(2, 40, 20), torch.tensor([40, 25])
    assert SpecAugment(time_masks=0, freq_masks=0)(features, lengths).all()


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch_together(speed):
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * np.pi * 500 * time)
    batch, lengths = SpeedPerturb([speed])(torch.stack([tone, tone]), torch.tensor([16000, 8000]))
    assert lengths.tolist() == [int(np.ceil(16000 / speed)), int(np.ceil(8000 / speed))]
    assert batch.shape[1] == lengths[0]
    spectrum = torch.fft.rfft(batch[0, :14000] * torch.hann_window(14000)).abs()
    assert spectrum.argmax() * 16000 / 14000 == pytest.approx(500 * speed, abs=2)


DIFFERENT = {
    "plain": LogMel,
    "sampling rate": lambda: LogMel(sample_rate=8000, n_mels=80),
    "window": lambda: LogMel(window_ms=20),
    "hop": lambda: LogMel(hop_ms=12.5),
    "bins": lambda: LogMel(n_mels=40),
    "transform": lambda: LogMel(n_fft=1024),
    "normalised": lambda: LogMel(normalisation=UtteranceCMVN()),
    "without an offset": lambda: LogMel(zero_mean=True),
    "mean only": lambda: LogMel(normalisation=UtteranceCMVN(variance=False)),
    "normalised globally": lambda: LogMel(normalisation=GlobalCMVN(80)),
    "waveform": Waveform,
    "waveform as it is": lambda: Waveform(normalise=False),
    "Whisper": WhisperLogMel,
    "Whisper without an offset": lambda: WhisperLogMel(zero_mean=True),
}


def test_front_ends_are_the_same_exactly_where_their_settings_are():
    made = {name: make() for name, make in DIFFERENT.items()}
    for name, front_end in made.items():
        assert [other for other in made if front_end.same_as(made[other])] == [name]
        assert front_end.same_as(DIFFERENT[name]())
        assert json.loads(json.dumps(front_end.config)) == front_end.config
    assert made["plain"].same_as(LogMel(window_ms=25, hop_ms=10, n_fft=512))


def test_statistics_are_no_settings(speech):
    assert trained_cmvn(speech).same_as(LogMel(normalisation=GlobalCMVN(80)))


@pytest.mark.parametrize("method", ["config", "forward"])
def test_a_front_end_without_a_part_of_the_contract_is_refused_when_it_is_built(method):
    incomplete = type("Incomplete", (Waveform,), {method: getattr(FrontEnd, method)})
    with pytest.raises(TypeError, match=method):
        incomplete()
