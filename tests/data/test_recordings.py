"""Recordings that are read block by block, some of unknown length."""

import io
import os

import numpy as np
import pytest
import soundfile

from dld.data import recordings
from dld.data.audio import duration, read_audio


@pytest.fixture(params=["wav", "flac", "flac of unknown length"])
def recording(request, tmp_path, monkeypatch):
    """Path of 2.5 blocks of noise, and the samples."""
    monkeypatch.setattr(recordings, "_BLOCK", 1000)
    samples = (np.random.default_rng(0).integers(-9000, 9000, 2500) / 32768).astype(np.float32)
    path = tmp_path / f"u.{request.param[:4].strip()}"
    soundfile.write(path, samples, 16000)
    if "unknown" in request.param:
        data = bytearray(path.read_bytes())
        # The number of samples has the last 36 of these bits.
        data[21] &= 0xF0
        data[22:26] = bytes(4)
        path.write_bytes(data)
    return path, samples


def test_a_recording_of_several_blocks_is_whole(recording):
    path, samples = recording
    assert duration(path) == 2500 / 16000
    assert np.array_equal(read_audio(path), samples)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 1001), (1, 1002), (999, 1000), (1001, 2001), (2499, 2500)])
def test_a_part_is_whole_wherever_it_is_among_the_blocks(recording, first, last):
    path, samples = recording
    assert np.array_equal(read_audio(path, first / 16000, last / 16000), samples[first:last])


@pytest.mark.parametrize(("begin", "end", "inside"), [(0, None, b"0123456789"), (2, 7, b"23456")])
def test_a_view_never_leaves_its_part_of_a_stream(begin, end, inside):
    view = recordings._View(io.BytesIO(b"0123456789"), begin, end)
    assert view.read() == inside and view.read(3) == b"" and view.tell() == len(inside)
    assert view.seek(-5) == 0 and view.read(0) == b"" and view.read(2) == inside[:2]
    assert view.seek(-1, os.SEEK_END) == len(inside) - 1 and view.read(9) == inside[-1:]
    assert view.seek(100) == 100 and view.read() == b""
