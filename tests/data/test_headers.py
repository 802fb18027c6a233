"""Headers of MP3, made by hand from the tables of ISO 11172-3 and 13818-3."""

import io

import pytest
import soundfile

from dld.data.headers import check_complete
from dld.errors import DldError

#: Version bits in the header → bit rates in kbit/s, rates in Hz, samples in a frame.
VERSIONS = {
    3: ([32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320], [44100, 48000, 32000], 1152),
    2: ([8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160], [22050, 24000, 16000], 576),
    0: ([8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160], [11025, 12000, 8000], 576),
}


def frame(version, kbps, rate, padding=0):
    rates, hertz, samples = VERSIONS[version]
    second = 0xE0 | version << 3 | 0b01 << 1 | 1
    third = (rates.index(kbps) + 1) << 4 | hertz.index(rate) << 2 | padding << 1
    size = samples * kbps * 1000 // (8 * rate) + padding
    return bytes([0xFF, second, third, 0]).ljust(size, b"\0")


@pytest.mark.parametrize(
    ("version", "kbps", "rate"),
    [(version, kbps, rate) for version, (rates, hertz, _) in VERSIONS.items() for kbps in rates for rate in hertz],
)
def test_mp3_of_varying_bit_rate_is_noticed_at_any_rate(version, kbps, rate):
    padded = [frame(version, kbps, rate, padding) for padding in (0, 1, 0)]
    assert check_complete(io.BytesIO(b"".join(padded)), "u1") == (None, None)
    other = frame(version, 64 if kbps != 64 else 128, rate)
    with pytest.raises(DldError, match="u1: MP3 of varying bit rate"):
        check_complete(io.BytesIO(b"".join([*padded, other])), "u1")


def tagged(size):
    """A whole MP3 of a second, after an ID3 tag of `size` bytes."""
    out = io.BytesIO()
    soundfile.write(out, [0.1, -0.1] * 8000, 16000, format="MP3")
    four = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + four + bytes(size) + out.getvalue()


@pytest.mark.parametrize("size", [0, 100, 300, 20000, 3_000_000])
def test_an_mp3_after_a_tag_is_compared_with_its_length(size):
    data = tagged(size)
    assert check_complete(io.BytesIO(data), "u1") == (None, None)
    with pytest.raises(DldError, match=f"u1: audio is cut short .{len(data) - 1000} bytes of {len(data)}"):
        check_complete(io.BytesIO(data[:-1000]), "u1")


@pytest.mark.parametrize("first", [b"\0", b"\xfe"])
def test_what_begins_with_another_byte_is_not_mp3(first):
    data = b"".join(first + frame(3, kbps, 44100)[1:] for kbps in (32, 128))
    assert check_complete(io.BytesIO(data + frame(3, 64, 44100)), "u1") == (None, None)


@pytest.mark.parametrize("head", [b"ID3\x04\0\0\0\0\0", b"\xff\xfb\x90", b"\xff", b"ID3\x04\0\0\xff\xff\xff\xff"])
def test_a_head_that_is_not_whole_or_impossible_tells_nothing(head):
    assert check_complete(io.BytesIO(head), "u1") == (None, None)
