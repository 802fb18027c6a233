"""What makes broken and odd audio of a real recording: functions of (folder, samples) → value of wav.scp."""

import io
import os
import socket
import struct

import kaldiio
import numpy as np
import soundfile


def encoded(samples, kind="WAV", subtype=None, rate=16000):
    """The recording as the bytes of a file."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def stored(change, kind="WAV", subtype=None, suffix="bin"):
    """Makes a file of what `change` makes of the recording's bytes."""

    def make(folder, samples):
        path = folder / f"u.{suffix}"
        path.write_bytes(change(bytearray(encoded(samples, kind, subtype))))
        return str(path)

    return make


def patched(position, layout, *values, kind="WAV", subtype=None):
    """Makes a file with other numbers in its header; `position` is bytes, or what they follow."""

    def change(data):
        at = position if isinstance(position, int) else data.index(position) + len(position)
        struct.pack_into(layout, data, at, *values)
        return data

    return stored(change, kind, subtype)


def replaced(old, new, kind):
    """Makes a file with other text in its header, of the same length."""
    return stored(lambda data: data.replace(old, new.ljust(len(old))), kind)


def kept(fraction, kind, subtype=None):
    """Make a file that ends after a fraction of its bytes."""
    return stored(lambda data: data[: int(len(data) * fraction)], kind, subtype)


def content(data):
    """Makes a file of these bytes."""

    def make(folder, samples):
        (folder / "u.wav").write_bytes(data)
        return str(folder / "u.wav")

    return make


def pipe(command):
    """Make a pipe; {path} is replaced by a WAV of the recording."""

    def make(folder, samples):
        (folder / "u.wav").write_bytes(encoded(samples))
        return command.format(path=folder / "u.wav")

    return make


def scaled(function, subtype="FLOAT"):
    """Makes a WAV of floats that `function` changes."""

    def make(folder, samples):
        values = samples / np.float32(32768)
        function(values)
        soundfile.write(folder / "u.wav", values, 16000, subtype=subtype)
        return str(folder / "u.wav")

    return make


def placed(index, value):
    def change(values):
        values[index] = value

    return change


def flac_total(number):
    """Makes a FLAC whose header tells of this number of samples."""

    def change(data):
        # 36 bits, the last of bytes 18 to 25.
        [head] = struct.unpack_from(">Q", data, 18)
        struct.pack_into(">Q", data, 18, head >> 36 << 36 | number)
        return data

    return change


def wave_of(rate=16000, channels=1, bits=16, codec=1, data=b"\1\0" * 16000):
    """A WAV with any header."""
    block = max(1, channels * bits // 8) & 0xFFFF
    fmt = struct.pack("<HHIIHH", codec, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + (struct.pack("<I", len(data)) + data)
    )


def chunk_before_data(head):
    """Puts a chunk between the format and the data of a WAV."""

    def change(data):
        at = data.index(b"data")
        return data[:at] + head + data[at:]

    return change


def archive(change=bytes, value="{path}:{offset}", entry=None):
    """Makes an archive of two entries, of which the second is the recording."""

    def make(folder, samples):
        path = folder / "a.ark"
        data = b"first " + encoded(samples[:4000]) + b"second "
        offset = len(data)
        data += entry(samples) if entry else encoded(samples)
        path.write_bytes(change(data + b"third " + encoded(samples[:4000])))
        return value.format(path=path, offset=offset)

    return make


def flac_entries(total=None):
    """Makes an archive of FLAC entries, one after the other."""

    def make(folder, samples):
        second = bytearray(encoded(samples, "FLAC"))
        if total is not None:
            second = flac_total(total)(second)
        first, last = encoded(samples[:9000], "FLAC"), encoded(samples[::-1].copy(), "FLAC")
        (folder / "a.ark").write_bytes(b"a " + first + b"b " + second + b"c " + last)
        return f"{folder}/a.ark:{len(first) + 4}"

    return make


def kaldiio_entry(folder, samples):
    """An entry of kaldiio's own kind: a FLAC with its number of bytes before it."""
    with kaldiio.WriteHelper(f"ark,scp:{folder}/a.ark,{folder}/a.scp", write_function="soundfile") as out:
        out["a"] = (16000, samples[:5000])
        out["b"] = (16000, samples)
    return (folder / "a.scp").read_text().splitlines()[1].split()[1]


def matrix(folder, samples):
    kaldiio.save_ark(f"{folder}/m.ark", {"a": np.zeros((2, 3), np.float32)}, scp=f"{folder}/m.scp")
    return (folder / "m.scp").read_text().split()[1]


def fifo(folder, samples):
    os.mkfifo(folder / "u.wav")
    return str(folder / "u.wav")


def fifo_archive(folder, samples):
    os.mkfifo(folder / "a.ark")
    return f"{folder}/a.ark:5"


def listening(folder, samples):
    # The path of a socket may be 107 bytes long only.
    here = os.getcwd()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("u.wav")
    os.chdir(here)
    return str(folder / "u.wav")


def link_to_itself(folder, samples):
    (folder / "u.wav").symlink_to("u.wav")
    return str(folder / "u.wav")


def dangling(folder, samples):
    (folder / "u.wav").symlink_to("gone.wav")
    return str(folder / "u.wav")


def written(form):
    """Makes a WAV, named in some other way."""

    def make(folder, samples):
        name = "u.wav" if "{name}" not in form else "u:35"
        (folder / name).write_bytes(encoded(samples))
        return form.format(folder=folder, parent=folder.parent, base=folder.name, name=name)

    return make


def mp3_of_varying_rate(folder, samples):
    """Two kinds of frames and no Xing header, as some streams leave it."""
    out = io.BytesIO()
    for compression in (0.1, 0.9):
        part = io.BytesIO()
        soundfile.write(part, samples, 16000, format="MP3", bitrate_mode="CONSTANT", compression_level=compression)
        out.write(part.getvalue())
    data = out.getvalue().replace(b"Xing", b"Nope").replace(b"Info", b"Nope")
    (folder / "u.mp3").write_bytes(data)
    return str(folder / "u.mp3")


def sph_field(data, field):
    begin = data.index(b"sample_count")
    end = data.index(b"\n", begin)
    head = data[:begin] + field + data[end:1024]
    return head[:1024].ljust(1024, b"\0") + data[1024:]
