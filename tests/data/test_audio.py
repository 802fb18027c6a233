"""Reading audio: every kind of source has the same samples, every fault is named."""

import logging

import kaldiio
import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from dld.data import recordings
from dld.data.audio import decode_check, duration, info, read_audio, read_parts, resample
from dld.errors import DldError

FORMATS = {"wav": "WAV", "flac": "FLAC", "sph": "NIST", "ogg": "OGG"}


def tone(seconds, rate, hertz=440):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh_notices(monkeypatch):
    monkeypatch.setattr(recordings, "_said", set())


@pytest.fixture(params=FORMATS)
def recording(request, tmp_path):
    path = tmp_path / f"tone.{request.param}"
    soundfile.write(path, np.concatenate([tone(2, 16000), tone(1, 16000, 900)]), 16000, format=FORMATS[request.param])
    return path


def test_segment_is_the_cut_of_the_whole(recording):
    whole = read_audio(recording)
    assert whole.dtype == np.float32 and whole.shape == (48000,)
    assert np.abs(whole).max() == pytest.approx(0.5, abs=0.1)
    for start, end in ((0, 0.5), (1.23456, 2.34567), (2.9, 3.0), (0.1, None)):
        last = None if end is None else round(end * 16000)
        assert np.array_equal(read_audio(recording, start, end), whole[round(start * 16000) : last])


def test_pipe_reads_like_the_file(recording):
    assert np.array_equal(read_audio(f"cat {recording} |", 0.5, 1.5), read_audio(recording, 0.5, 1.5))
    assert info(f"cat {recording} |") == info(recording)


def test_streamed_wav_has_no_length_in_its_header(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, 16000), 16000)
    expected = read_audio(path)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert np.array_equal(read_audio(f"cat {path} |"), expected)


def test_archive_reads_like_the_file(tmp_path):
    samples = np.round(tone(1, 16000) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as out:
        out["first"] = (16000, samples[:100])
        out["second"] = (16000, samples)
    entry = kaldi_value(tmp_path / "a.scp", "second")
    assert np.array_equal(read_audio(entry, 0.25, 0.75), read_audio(tmp_path / "a.wav", 0.25, 0.75))
    assert duration(entry) == 1.0


def kaldi_value(path, key):
    return dict(line.split(maxsplit=1) for line in path.read_text().splitlines())[key]


def test_archive_entry_that_is_no_audio(tmp_path):
    kaldiio.save_ark(f"{tmp_path}/m.ark", {"a": np.zeros((2, 3), np.float32)}, scp=f"{tmp_path}/m.scp")
    entry = kaldi_value(tmp_path / "m.scp", "a")
    with pytest.raises(DldError, match=r"m\.ark:2 .*a-1.*no audio at that offset"):
        read_audio(entry, utterance="a-1")


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled_and_said_once(tmp_path, caplog, rate):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(3, rate), rate, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        whole = read_audio(path)
        part = read_audio(path, 1.1111, 2.2222)
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        f"audio at {rate} Hz is resampled to 16000 Hz"
    ]
    assert whole.shape == (48000,)
    assert np.abs(whole - tone(3, 16000))[200:-200].max() < 0.01
    np.testing.assert_allclose(part, whole[round(1.1111 * 16000) : round(2.2222 * 16000)], atol=1e-6)


def test_resample_keeps_its_rate_and_follows_scipy():
    samples = tone(0.1, 44100)
    assert np.array_equal(resample(samples, 16000, 16000), samples)
    assert np.array_equal(resample(samples, 44100, 16000), resample_poly(samples, 160, 441))


def test_stereo_takes_channel_0_and_says_so_once(tmp_path, caplog):
    path = tmp_path / "two.wav"
    both = np.stack([tone(1, 16000), tone(1, 16000, 900)], axis=1)
    soundfile.write(path, both, 16000, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(read_audio(path), both[:, 0])
        read_audio(path)
    assert len(caplog.records) == 1 and "2 channels: 0 is used" in caplog.text
    assert np.array_equal(read_audio(path, channel=1), both[:, 1])
    for channel in (2, 5, -1):
        with pytest.raises(DldError, match=f"no channel {channel}, the audio has 2"):
            read_audio(path, channel=channel)


def test_a_recording_of_zeros_is_said_and_one_that_only_begins_with_them_is_not(tmp_path, caplog):
    for name, samples in (("zeros", np.zeros(16000)), ("late", np.r_[np.zeros(15999), 0.5]), ("tone", tone(1, 16000))):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000)
        with caplog.at_level(logging.WARNING):
            assert decode_check(tmp_path / f"{name}.wav") == 1.0
    assert [record.getMessage().split("/")[-1] for record in caplog.records] == [
        "zeros.wav: silent, all 16000 samples are 0"
    ]


def test_librispeech_flac(shared):
    path = next((shared / "corpora/LibriSpeech/test-clean").rglob("*.flac"))
    whole = read_audio(path)
    assert len(whole) == info(path).frames and 0.01 < np.abs(whole).max() <= 1
    assert np.array_equal(read_audio(path, 1.0, 2.5), whole[16000:40000])


def test_segments_outside_the_recording(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, 16000), 16000)
    assert len(read_audio(path, 0.5, 1.04)) == 8000
    for start, end in ((0.5, 1.06), (1.0, None), (-0.1, 0.5), (0.5, 0.5), (0.5, 0.4), (0.5, 0.50001)):
        with pytest.raises(DldError, match=r"a\.wav \(utterance u1\): .*segment from"):
            read_audio(path, start, end, utterance="u1")


@pytest.mark.parametrize("kind", ["wav", "flac", "sph"])
def test_truncated_audio(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, tone(2, 16000), 16000, format=FORMATS[kind])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DldError, match=rf"a\.{kind} \(utterance u1\): audio (is cut short|cannot be read)"):
        read_audio(path, utterance="u1")


def test_truncated_archive(tmp_path):
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as out:
        out["a"] = (16000, np.ones(16000, np.int16))
    ark = tmp_path / "a.ark"
    ark.write_bytes(ark.read_bytes()[:10000])
    with pytest.raises(DldError, match="audio is cut short"):
        read_audio(kaldi_value(tmp_path / "a.scp", "a"))


def test_missing_empty_and_foreign_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DldError, match=rf"gone\.wav.*no such audio file \(relative paths start at .*{tmp_path.name}"):
        read_audio("gone.wav")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "header.wav", np.zeros(0), 16000)
    for name in ("empty.wav", "header.wav"):
        with pytest.raises(DldError, match=rf"{name}: no audio in it \(zero length\)"):
            read_audio(name)
    (tmp_path / "text.wav").write_text("not audio at all")
    with pytest.raises(DldError, match=r"text\.wav: audio cannot be read"):
        read_audio("text.wav")
    with pytest.raises(DldError, match="audio cannot be read: not a regular file but a folder; give a file of audio"):
        read_audio(tmp_path)


def test_values_that_are_not_finite(tmp_path):
    path = tmp_path / "nan.wav"
    samples = tone(1, 16000)
    samples[9000] = np.nan
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    assert len(read_audio(path, 0, 0.5)) == 8000
    with pytest.raises(DldError, match=r"nan\.wav \(utterance u1\).*not finite"):
        read_audio(path, utterance="u1")


def test_failing_pipe_tells_status_and_reason():
    with pytest.raises(DldError, match=r"status 3, 0 bytes: no tape"):
        read_audio("echo no tape >&2; exit 3 |")
    with pytest.raises(DldError, match="status 0, 0 bytes"):
        read_audio("true |")
    with pytest.raises(DldError, match="audio cannot be read"):
        read_audio("echo not audio |")


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_parts_read_forwards_are_those_of_the_whole(tmp_path, monkeypatch, rate, suffix):
    monkeypatch.setattr(recordings, "_BLOCK", 5000)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (3 * rate, 2)), rate)
    whole = read_audio(path)
    parts = [(0, 9000), (100, 9000), (8000, 20000), (30000, 30001), (40000, len(whole))]
    for (first, last), found in zip(parts, read_parts(path, parts), strict=True):
        np.testing.assert_allclose(found, whole[first:last], atol=1e-7)
        assert found.dtype == np.float32 and found.shape == (last - first,)


def test_parts_after_the_end_of_a_cut_recording_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(0).normal(0, 0.1, 48000), 16000)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    parts = read_parts(tmp_path / "a.flac", [(0, 8000), (8000, 48000)])
    assert len(next(parts)) == 8000
    with pytest.raises(DldError, match="a.flac: audio c"):
        next(parts)
