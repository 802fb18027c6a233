"""Writes miniatures of the game's file: the layout of `dld.data.corpora.queen.archive`, from the other side."""

import io
import struct

import numpy as np
import soundfile

from dld.data import kaldi
from dld.data.audio import read_audio, resample

RATE = 11025


def mp3(samples, rate=16000):
    """Samples as the game stores them."""
    out = io.BytesIO()
    soundfile.write(out, resample(np.asarray(samples, np.float32), rate, RATE), RATE, format="MP3")
    return out.getvalue()


def _padded(data, text, multiple):
    data += bytes([len(text)]) + text.encode("latin-1")
    return data + b"\0" * (-len(data) % multiple) if text else data


def dialogue(key, hero, partner, levels=2, more=()):
    """Bytes of a dialogue: lists of (id, text); `more` is a second table of partner lines, cut off at its end."""
    start = 32 + abs(levels) * 96
    body, tables = b"\xaa" * start, []
    for lines in (hero, [*partner, *[(0, "")] * (max(len(partner), len(more)) - len(partner))], more):
        body += b"\0" * (-len(body) % 4)
        tables.append(len(body))
        for number, text in lines:
            body = _padded(body + struct.pack(">2xH", number), text, 4)
    head = struct.pack(">h2xhhh", levels, key, len(hero), max(len(partner), len(more)))
    head = head.ljust(22, b"\0") + struct.pack(">H2xH", tables[1], tables[2])
    return b"\x01" * 20 + head.ljust(start, b"\0") + body[start:]


def scene(records):
    """Bytes of a cut scene."""
    body = b"\xaa" * 16
    for text in records:
        body = _padded(body, text, 2)
    head = b"\0" * 8 + struct.pack(">HH", 16, len(body))
    return b"\x01" * 20 + head.ljust(16, b"\0") + body[16:] + b"\x05*FR after the end"


def write(path, entries):
    """Write entries, name → bytes, as one file; returns its path."""
    table, offset = b"", 15 + 21 * len(entries)
    for name, data in entries.items():
        table += struct.pack(">12sxII", name.encode("latin-1"), offset, len(data))
        offset += len(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"QTBLCEM10\0\0\0\1" + struct.pack(">H", len(entries)) + table + b"".join(entries.values()))
    return path


def game(path, corpus, number=8):
    """Write a game in which the speakers of a corpus of spoken numbers talk: `number` lines to each part.

    `BOB1` and Joe (train), a cut scene (train), `KLUNK1` (dev), `SPARKY1` and `SPARKY2` (test); and one noise, one clip
    without a text.
    """
    spoken = iter([*kaldi.load(corpus / "train"), *kaldi.load(corpus / "test")])
    entries, sounds = {}, {}

    def line(clip):
        utterance = next(spoken)
        sounds[f"{clip}.SB"] = mp3(read_audio(utterance.recording))
        return utterance.text

    for key, name in enumerate(("BOB1", "KLUNK1", "SPARKY1", "SPARKY2"), 2):
        partner = [(i, f"*FR{line(f'{key:02d}{i:04X}P2')}.*02") for i in range(1, number + 1)]
        entries[f"{name}.DOG"] = dialogue(key, [(1, line(f"{key:02d}0001J1") + "!*03")], partner)
    entries["C1A.CUT"] = scene(["*FL", *[line(f"C1A__{i:02d}1").title() for i in range(1, number + 1)]])
    entries["QUEEN2.JAS"] = f"{line('JOE00411')}\r\n(sigh)\r\n".encode()
    sounds["JOE00421.SB"] = sounds["NOTEXT11.SB"] = mp3(np.zeros(8000))
    return write(path, entries | sounds)
