"""Audio of any length: windows, joints, and what comes of them."""

import numpy as np
import pytest
import soundfile

import dld
from dld.data.tokenizer import train
from dld.encoders import GatedWhisper
from dld.errors import DldError
from dld.frontends import WhisperLogMel
from dld.network import GatedCTC
from dld.recognition import windows
from dld.recognition.base import Recognizer
from dld.recognition.eager import EagerRecognizer
from dld.recognition.windows import OVERLAP_SECONDS, joined, joint_of, plan

RATE, STEP = 8000, 320


class Local(Recognizer):
    """A network that sees a second to both sides, and writes a token for each short tone, by its pitch."""

    seen: list[float]

    @property
    def num_blocks(self):
        return 2

    @property
    def frame_seconds(self):
        return STEP / RATE

    def compute(self):
        return {1: 0.5, 2: 1.0}

    def logits(self, waveforms, gate_vectors):
        self.seen = [*getattr(self, "seen", []), *(len(waveform) / RATE for waveform in waveforms)]
        return [[self._logits(waveform) for waveform in waveforms] for _ in gate_vectors]

    def _logits(self, waveform):
        frames = -(-len(waveform) // STEP)
        samples = np.pad(waveform, (0, frames * STEP - len(waveform))).reshape(frames, STEP)
        crossings = (np.diff(np.signbit(samples), axis=1) != 0).sum(1)
        loudness = np.abs(samples).mean(1)
        near = np.convolve(loudness, np.ones(49) / 49, "same")
        rows = np.zeros((frames, len(self.tokenizer)), np.float32)
        token = 2 + np.clip(crossings, 0, 100) % (len(self.tokenizer) - 2)
        rows[np.arange(frames), np.where(loudness > 0.05, token, 0)] = 4 + near
        return rows


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train(["one two three four five six seven eight nine"], tmp_path_factory.mktemp("lang"), vocab_size=40)


@pytest.fixture
def local(tokenizer):
    return Local(tokenizer, sample_rate=RATE)


def tones(seconds, seed=0, gaps=(0.04, 0.6)):
    """Short tones of different pitches with silence of different length between them."""
    rng = np.random.default_rng(seed)
    parts, there = [], 0
    while there < seconds * RATE:
        tone = np.arange(int(rng.uniform(0.08, 0.3) * RATE)) * rng.uniform(200, 2000) / RATE
        parts += [0.3 * np.sin(2 * np.pi * tone), np.zeros(int(rng.uniform(*gaps) * RATE))]
        there += len(parts[-1]) + len(parts[-2])
    return np.concatenate(parts)[: int(seconds * RATE)].astype(np.float32)


# ---------------------------------------------------------------- windows and joints


@pytest.mark.parametrize("frames", [1, 2, 999, 1000, 1001, 1800, 1801, 90000, 123457])
@pytest.mark.parametrize("window", [1.0, 10.0, 40.0])
def test_windows_cover_all_frames_and_overlap(frames, window):
    found = plan(frames, 0.04, window)
    ends = [start + found.size for start in found.starts]
    assert found.starts[0] == 0 and ends[-1] >= frames and found.size * 0.04 <= window + 0.04
    overlaps = [end - start for end, start in zip(ends, found.starts[1:], strict=False)]
    assert all(overlap == min(round(OVERLAP_SECONDS / 0.04), int(window / 0.04) // 3) for overlap in overlaps)
    # The last window has frames of its own.
    assert len(ends) == 1 or ends[-2] < frames
    assert (len(found.starts) == 1) == (frames <= window / 0.04)


def test_a_joint_is_in_the_middle_of_the_longest_pause_of_both():
    left, right = np.zeros((40, 3)), np.zeros((40, 3))
    left[:, 1] = right[:, 1] = 1
    left[[12, *range(18, 25)], 0] = 2
    right[[12, *range(19, 27)], 0] = 2
    assert joint_of(left, right) == 22  # 19 … 24 are blank in both


def test_without_a_pause_the_joint_is_where_a_blank_is_most_probable():
    left = np.zeros((40, 3))
    left[:, 1] = 5
    left[25, 0], left[3, 0] = 4, 4.9
    assert joint_of(left, left) == 25
    assert joint_of(left[:1], left[:1]) == 0 and joint_of(left[:0], left[:0]) == 0


def test_equal_windows_are_joined_to_the_whole():
    logits = np.random.default_rng(0).normal(size=(500, 4))
    found = plan(500, 0.04, 6)
    parts = list(joined(found.starts, (logits[start : start + found.size] for start in found.starts)))
    assert len(parts) == len(found.starts) > 3
    np.testing.assert_array_equal(np.concatenate([part.logits for part in parts]), logits)
    assert [part.first for part in parts] == np.cumsum([0, *(len(part.logits) for part in parts[:-1])]).tolist()


# ---------------------------------------------------------------- text


@pytest.mark.parametrize("seconds", [41, 100, 333.3])
@pytest.mark.parametrize("window", [12.0, 40.0])
def test_windows_give_the_text_and_times_of_the_whole(local, seconds, window):
    audio = tones(seconds)
    options = {"sample_rate": RATE, "times": True}
    whole = local.transcribe(audio, **options, window_seconds=1e6)
    local.seen = []
    found = local.transcribe(audio, **options, window_seconds=window)
    assert max(local.seen) <= window < seconds and len(whole.words) > seconds / 2
    assert (found.text, found.words) == (whole.text, whole.words)
    assert whole.joints is None and len(found.joints) == len(local.seen) - 1
    assert local.transcribe(audio, sample_rate=RATE, window_seconds=window) == whole.text


def test_speech_without_a_pause_has_the_text_of_the_whole(local):
    audio = tones(60, gaps=(0, 0.0001))
    texts = {local.transcribe(audio, sample_rate=RATE, window_seconds=seconds) for seconds in (10, 1e6)}
    assert len(texts) == 1


def test_a_search_takes_the_parts_of_long_audio(local):
    audio = tones(50)
    options = {"sample_rate": RATE, "search": dld.Search(beam=dld.decoding.settings.BeamSettings(size=1))}
    whole, found = (local.transcribe(audio, **options, times=True, window_seconds=seconds) for seconds in (1e6, 12))
    assert found.text.replace(" ", "") == whole.text.replace(" ", "")
    assert " ".join(word.text for word in found.words) == found.text
    assert found.text == local.transcribe(audio, **options, window_seconds=12)


def test_audio_up_to_a_window_runs_whole(local):
    local.transcribe(tones(40), sample_rate=RATE)
    assert local.seen == [40.0]


def test_files_run_in_windows_as_samples_do(local, tmp_path):
    audio = tones(70)
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3", "a.sph"):
        soundfile.write(tmp_path / name, audio, RATE, format="NIST" if name == "a.sph" else None)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    expected = local.transcribe(samples, sample_rate=RATE, window_seconds=20)
    assert local.transcribe(tmp_path / "a.wav", window_seconds=20) == expected
    for name in ("a.flac", "a.sph"):
        assert local.transcribe(tmp_path / name, window_seconds=20) == expected
    for name in ("a.ogg", "a.mp3"):
        samples, _ = soundfile.read(tmp_path / name, dtype="float32")
        expected = local.transcribe(samples, sample_rate=RATE, window_seconds=20)
        assert local.transcribe(tmp_path / name, window_seconds=20) == expected


def test_windows_run_in_batches(local):
    audio = tones(200)
    batches = []
    run = local.logits
    local.logits = lambda waveforms, vectors: batches.append(len(waveforms)) or run(waveforms, vectors)
    texts = {
        local.transcribe(audio, sample_rate=RATE, window_seconds=20, batch_seconds=seconds) for seconds in (1, 60, 500)
    }
    assert len(texts) == 1 and {1, 3} <= set(batches) and max(batches) > 10


def test_progress_rises_to_the_seconds_of_all(local, tmp_path):
    soundfile.write(tmp_path / "a.wav", tones(50), RATE)
    steps = []
    audio = [tones(3), tmp_path / "a.wav", tmp_path / "absent.wav", tones(2)]
    found = dict(
        local.transcribe_each(
            audio,
            (True, True),
            sample_rate=RATE,
            window_seconds=10,
            progress=lambda done, total: steps.append((done, total)),
        )
    )
    assert sorted(found) == [0, 1, 2, 3] and isinstance(found[2], DldError)
    assert {total for _, total in steps} == {55.0}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps) and steps[-1][0] == pytest.approx(55)
    assert len(steps) > 6


def test_an_encoder_with_a_longest_input_gets_windows_below_it(tokenizer, tmp_path):
    encoder = GatedWhisper(num_blocks=2, input_size=80, d_model=16, d_ffn=32, num_heads=2, max_frames=100)
    network = GatedCTC(WhisperLogMel(), encoder, len(tokenizer), blank_bias=-5.0)
    model = EagerRecognizer(network, tokenizer, sample_rate=16000)
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 16000 * 9), 16000)
    found = model.transcribe(tmp_path / "long.wav", times=True)
    assert found.text and len(found.joints) >= 5
    with pytest.raises(DldError, match=rf"long\.wav: 9.0 s long, the encoder takes at most {encoder.max_seconds:g} s"):
        model.log_probs(tmp_path / "long.wav")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("seconds", [0, 0.5, -1, float("nan"), "30"])
def test_a_window_that_cannot_be_is_refused(local, seconds):
    with pytest.raises(DldError, match="window_seconds is .*; it must be a number of at least 1"):
        local.transcribe(tones(2), sample_rate=RATE, window_seconds=seconds)


def test_a_fault_late_in_a_long_file_is_an_error_and_the_rest_is_transcribed(local, tmp_path):
    soundfile.write(tmp_path / "whole.flac", tones(60, seed=1), RATE)
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) * 3 // 4])
    audio = tones(60)
    audio[50 * RATE] = np.nan
    soundfile.write(tmp_path / "nan.wav", audio, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "loud.wav", np.where(np.isnan(audio), 1e12, audio), RATE, subtype="FLOAT")
    paths = [tmp_path / name for name in ("cut.flac", "nan.wav", "loud.wav", "whole.flac")]
    found = dict(local.transcribe_each(paths, (True, True), window_seconds=10))
    for index, message in enumerate(("audio c", "not finite numbers .first at 50.000 s", "far above full scale")):
        with pytest.raises(DldError, match=message):
            raise found[index]
    assert found[3].text


def test_too_little_memory_for_a_window_is_one_line(local, monkeypatch):
    def small(waveforms, vectors):
        raise MemoryError

    monkeypatch.setattr(local, "logits", small)
    with pytest.raises(DldError, match="audio 0: not enough memory for 10 s; take a shorter window"):
        local.transcribe(tones(30), sample_rate=RATE, window_seconds=10)


def test_clipped_audio_is_transcribed_and_reported(local, tmp_path, caplog):
    soundfile.write(tmp_path / "a.wav", np.clip(10 * tones(5), -1, 1), RATE)
    soundfile.write(tmp_path / "b.wav", tones(5), RATE)
    assert all(local.transcribe([tmp_path / "a.wav", tmp_path / "b.wav"]))
    [record] = [record for record in caplog.records if "clipped" in record.message]
    assert "a.wav: clipped, " in record.message and "samples are at full scale" in record.message


def test_the_default_window_is_that_of_the_command():
    from dld.bin.transcribe import make_parser

    assert make_parser().parse_args(["model", "a.wav"]).window == windows.WINDOW_SECONDS
