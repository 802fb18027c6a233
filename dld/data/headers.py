"""What headers of audio files promise, compared with the file's content: libsndfile would just read less."""

import math
import os
import re
import struct
from typing import BinaryIO

from dld.errors import DldError

# Writers that stream to a pipe cannot know the length; they put a number near 2 or 4 GiB in the header.
_STREAMED = 0x7F000000
# A header that promises a few bytes too many is common: for a gap up to this size the message says how to repair it.
_SMALL_GAP = 1024
_MOST_CHUNKS = 10000
#: GUIDs of Sony's Wave64, after the four letters.
_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_MP3_KBPS = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


def check_complete(stream: BinaryIO, where: str) -> tuple[int | None, int | None]:
    """Raise if a header promises more audio than the stream holds, or none though there is some.

    Known are WAV, RF64, Wave64, AIFF, CAF, AU, NIST SPHERE, OGG and MP3; FLAC shows only when it is decoded.

    Parameters
    ----------
    stream : binary file object
        At its start.
    where : str
        What error messages begin with.

    Returns
    -------
    end : int or None
        Bytes that the header promises, where it does.
    frames : int or None
        Samples per channel, where the header states them and libsndfile does not look (NIST SPHERE).
    """
    there = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if there == 0:
        raise DldError(f"{where}: no audio in it (zero length); in a data directory, `dld data fix` removes it")
    head = stream.read(4096)
    promised = frames = None
    if head.startswith(b"NIST_1A"):
        promised, frames = _nist(head, where)
    elif head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        promised = _wave_bytes(stream, head, where, there)
    elif head.startswith(b"riff") and head[4:16] == bytes.fromhex("2e91cf11a5d628db04c10000"):
        promised = _last_byte(_chunks(stream, "<16sQ", 40, 8, 24), b"data" + _W64)
    elif head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        promised = _last_byte(_chunks(stream, ">4sI", 12, 2), b"SSND")
    elif head.startswith(b"caff"):
        promised = _last_byte(_chunks(stream, ">4sQ", 8, 1), b"data")
    elif head.startswith(b".snd") and len(head) >= 12:
        start, size = struct.unpack(">4xII", head[:12])
        _check_not_empty(start, size, there, where)
        promised = start + size if size < _STREAMED else None
    elif head.startswith(b"OggS"):
        _check_ogg(stream, there, where)
    elif _mp3_start(head) is not None:
        _check_mp3(stream, head, there, where)
    stream.seek(0)
    if promised is not None and promised > there:
        _cut_short(where, there, promised)
    return promised, frames


def _cut_short(where, there, promised):
    hint = ""
    if promised - there <= _SMALL_GAP:
        # Not accepted: the last bytes of a copy that broke off are missing in just the same way.
        hint = f", {promised - there} too few; if only the header is wrong, `sox --ignore-length IN OUT.wav` repairs it"
    raise DldError(f"{where}: audio is cut short ({there} bytes of {promised}{hint}); copy it again")


def _check_not_empty(position, size, there, where):
    if size == 0 and there > position:
        raise DldError(
            f"{where}: the header states no audio, but {there - position} bytes follow (its writer was interrupted, "
            "or wrote to a pipe); `sox --ignore-length IN OUT.wav` repairs it"
        )


def _chunks(stream, layout, position, align, counted=0):
    """Yield name, position and size of each chunk's data; `counted` bytes of its head count as data."""
    for _ in range(_MOST_CHUNKS):
        stream.seek(position)
        head = stream.read(struct.calcsize(layout))
        if len(head) < struct.calcsize(layout):
            return
        name, size = struct.unpack(layout, head)
        if size < counted:
            return
        size -= counted
        position += len(head)
        yield name, position, size
        position += size + -size % align
        if position >= 1 << 62:
            return


def _last_byte(chunks, name):
    """Return where the chunk `name` ends by its head; None where the head does not state it."""
    for found, position, size in chunks:
        if found == name:
            stated = size < _STREAMED or (len(name) > 4 and size < 1 << 62)
            return position + size if stated else None
    return None


def _wave_bytes(stream, head, where, there):
    order, long_size = ">" if head.startswith(b"RIFX") else "<", None
    for name, position, size in _chunks(stream, f"{order}4sI", 12, 2):
        if name == b"ds64":
            stream.seek(position)
            sizes = stream.read(16)
            long_size = struct.unpack("<8xQ", sizes)[0] if len(sizes) == 16 else None
        elif name == b"data":
            if size == 0xFFFFFFFF and long_size is not None:
                return position + long_size if 0 < long_size < 1 << 62 else None
            after = next(_chunks(stream, f"{order}4sI", position, 2), (b"",))[0]
            if not re.fullmatch(rb"[A-Za-z0-9_ ]{4}", after):
                _check_not_empty(position, size, there, where)
            return position + size if size < _STREAMED else None
    return None


def _nist(head, where):
    """Return the bytes that the header promises, and samples per channel, each None where it is not stated."""
    fields = dict(re.findall(rb"(\w+) -\w+ (\S+)", head.partition(b"end_head")[0]))
    coding = fields.get(b"sample_coding", b"").decode("ascii", "replace")
    if "shorten" in coding or "embedded" in coding:
        raise DldError(
            f"{where}: NIST SPHERE compressed by {coding.rpartition('embedded-')[2] or coding}, which is not read; "
            "name it as `sph2pipe -f wav FILE |` in wav.scp, or convert it so"
        )
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if not all(fields.get(name, b"").isdigit() and len(fields[name]) < 19 for name in names):
        return None, None
    count, channels, width = (int(fields[name]) for name in names)
    size = re.fullmatch(rb"\s*(\d{1,9})\s*", head[8:16])
    if size is None or count == 0:
        return None, None
    return int(size[1]) + math.prod((count, channels, width)), count


def _check_ogg(stream, there, where):
    """Raise where the last page is not whole: libsndfile leaves it out silently."""
    begin = max(0, there - 70000)  # a page has at most 65 307 bytes
    stream.seek(begin)
    tail = stream.read(there - begin)
    page = tail.rfind(b"OggS\0")
    if page < 0:
        return
    segments = tail[page + 27 : page + 27 + tail[page + 26]] if page + 26 < len(tail) else b""
    if page + 26 >= len(tail) or len(segments) < tail[page + 26]:
        raise DldError(f"{where}: audio is cut short (in the head of its last page); copy it again")
    end = begin + page + 27 + len(segments) + sum(segments)
    if end > there:
        _cut_short(where, there, end)


def _mp3_start(head):
    """Return where the first frame of MPEG audio, layer III, begins; None if it does not."""
    position = 0
    if head.startswith(b"ID3") and len(head) >= 10:
        size = head[6:10]
        position = 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
        return position if max(size) < 128 else None
    return position if _mp3_frame(head[:4]) else None


def _mp3_frame(head):
    """Return (bytes, samples) of the frame of MPEG layer III that begins so; None if it is not one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate_index, kbps_index = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate_index == 3 or not 0 < kbps_index < 15:
        return None
    rate = (44100, 48000, 32000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1152 if version == 3 else 576
    kbps = _MP3_KBPS[version != 3][kbps_index - 1]
    return samples // 8 * kbps * 1000 // rate + (head[2] >> 1 & 1), samples


def _check_mp3(stream, head, there, where):
    """Raise where an MP3 has a header with its length and is shorter, or none and bits per second that vary."""
    start = _mp3_start(head)
    stream.seek(start)
    first = stream.read(4096)
    frame = _mp3_frame(first[:4])
    if frame is None:
        return
    tag = re.search(rb"(?:Xing|Info)(.{4})(.{4})?(.{4})?", first[: frame[0] + 4], re.DOTALL)
    if tag:
        flags = tag[1][3]
        size = tag[3 if flags & 1 else 2] if flags & 2 else None
        if size and there - start < 0.99 * int.from_bytes(size, "big"):
            _cut_short(where, there, start + int.from_bytes(size, "big"))
        return
    if b"VBRI" in first[: frame[0]]:
        return
    position, sizes = start, set()
    for _ in range(2000):
        stream.seek(position)
        found = _mp3_frame(stream.read(4))
        if found is None:
            break
        sizes.add(found[0])
        position += found[0]
    # Frames of one bit rate differ by a byte of padding.
    if sizes and max(sizes) - min(sizes) > 1:
        raise DldError(
            f"{where}: MP3 of varying bit rate without a header with its length; convert it, "
            "`ffmpeg -i IN.mp3 OUT.flac`"
        )
