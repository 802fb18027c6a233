"""Small generated audio for the tests of `dld.data`."""

import numpy as np
import pytest
import soundfile

from dld.data import kaldi
from dld.data.kaldi import Utterance

SENTENCES = {
    "anna-1": "one two three",
    "anna-2": "four",
    "bert-1": "five five six",
    "bert-2": "seven eight nine oh",
    "carl-1": "two",
    "carl-2": "nine nine nine",
}


def noise(seconds, rate=16000, seed=0, channels=None):
    """White noise, float32: (samples,) or (samples, channels)."""
    shape = round(seconds * rate) if channels is None else (round(seconds * rate), channels)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """A valid data directory of six utterances, 1.0 to 1.5 s long, by three speakers."""
    utterances = []
    for i, (key, text) in enumerate(SENTENCES.items()):
        path = tmp_path / "wav" / f"{key}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, noise(1 + i / 10, seed=i), 16000)
        utterances.append(Utterance(key, key[:4], text, str(path), gender="f" if key.startswith("anna") else "m"))
    kaldi.write(tmp_path / "data", utterances)
    return tmp_path / "data"


@pytest.fixture
def talks(tmp_path):
    """A valid data directory of four segments of two recordings (4 s and 2 s)."""
    for name, seconds in (("talk1", 4), ("talk2", 2)):
        soundfile.write(tmp_path / f"{name}.flac", noise(seconds), 16000)
    parts = [("talk1", 0.25, 1.5), ("talk1", 1.5, 2.75), ("talk1", 3.0, 4.0), ("talk2", 0.5, 1.625)]
    kaldi.write(
        tmp_path / "talks",
        [
            Utterance(f"{name}-{i}", name, "one two", f"{tmp_path}/{name}.flac", start, end, recording_id=name)
            for i, (name, start, end) in enumerate(parts)
        ],
    )
    return tmp_path / "talks"
