"""Broken and odd audio: what has to come of each."""

import struct
from dataclasses import dataclass

import numpy as np

from .audio_makers import (
    archive,
    chunk_before_data,
    content,
    dangling,
    encoded,
    fifo,
    fifo_archive,
    flac_entries,
    flac_total,
    kaldiio_entry,
    kept,
    link_to_itself,
    listening,
    matrix,
    mp3_of_varying_rate,
    patched,
    pipe,
    placed,
    replaced,
    scaled,
    sph_field,
    stored,
    wave_of,
    written,
)

#: Of a case whose samples are those of the recording.
SAME = "same"


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes
    ----------
    name : str
    make : callable
        (folder, samples) → value of wav.scp; `samples` int16, 16 kHz.
    validate : str or None
        What `dld data validate` complains of (regular expression); None: it is valid.
    read : str
        What reading complains of, or `SAME`, or "" where other samples than the recording's are read. By default as
        `validate`, or `SAME` where that has no complaint.
    """

    name: str
    make: object
    validate: str | None = None
    read: str | None = None

    def __post_init__(self):
        if self.read is None:
            object.__setattr__(self, "read", self.validate or SAME)


CUT = r"audio is cut short \(\d+ bytes of \d+"
UNREADABLE = r"audio cannot be read: .+; copy or convert it again"
EMPTY = r"no audio in it \(zero length\); in a data directory, `dld data fix` removes it"
NO_SIZE = r"states no audio, but \d+ bytes follow .*`sox --ignore-length"
ENDLESS = "archive entry does not state its length; make the archive again"
NOT_REGULAR = "audio cannot be read: not a regular file but a "

WAVE = [
    Case("WAV, as it should be", stored(bytes)),
    Case("WAV, half", kept(0.5, "WAV"), CUT + r"\); copy it again"),
    Case("WAV, a byte short", stored(lambda data: data[:-1]), CUT + ", 1 too few; .*`sox --ignore-length"),
    Case("WAV, 16 bytes too many promised", stored(lambda data: data[:-16]), CUT + ", 16 too few; .*`sox --ignore-l"),
    Case("WAV, header only", stored(lambda data: data[:40] + b"\0\0\0\0"), EMPTY),
    Case("WAV, nothing", content(b""), EMPTY),
    Case("WAV, cut in its header", stored(lambda data: data[:20]), UNREADABLE),
    Case("WAV, no data chunk", stored(lambda data: data[:36]), UNREADABLE),
    Case("WAV, no format chunk", stored(lambda data: data[:12] + data[36:]), UNREADABLE),
    Case("WAV, size 0 as interrupted writers leave it", patched(b"data", "<I", 0), NO_SIZE),
    Case("WAV, size 0 in both", stored(lambda d: d[:4] + bytes(4) + d[8:40] + bytes(4) + d[44:]), NO_SIZE),
    Case("WAV, size 0xFFFFFFFF as ffmpeg's pipes", patched(b"data", "<I", 0xFFFFFFFF)),
    Case("WAV, size 0x7FFFFFFF as sox's pipes", patched(b"data", "<I", 0x7FFFFFFF - 36)),
    Case("WAV, RIFF size 0", patched(4, "<I", 0)),
    Case("WAV, RIFF size too large", patched(4, "<I", 0x10000000)),
    Case("WAV, 0 Hz", content(wave_of(0)), "says 0 Hz|cannot be read"),
    Case("WAV, 1 Hz", content(wave_of(1)), "says 1 Hz, which is not between 1000 and 768000"),
    Case("WAV, 999 Hz", content(wave_of(999)), "says 999 Hz"),
    Case("WAV, 768001 Hz", content(wave_of(768001)), "says 768001 Hz"),
    Case("WAV, 4 GHz", content(wave_of(0xFFFFFFFF)), r"says -?\d+ Hz|cannot be read"),
    Case("WAV, 0 channels", content(wave_of(channels=0)), "cannot be read|zero length"),
    Case("WAV, 300 channels", content(wave_of(channels=300, data=bytes(6000))), "says 300 channels, more than 256"),
    Case("WAV, 65535 channels", content(wave_of(channels=65535)), "cannot be read"),
    Case("WAV, 0 bits", content(wave_of(bits=0)), "cannot be read"),
    Case("WAV, 17 bits, which stand in 3 bytes", content(wave_of(bits=17)), None, ""),
    Case("WAV, unknown codec", content(wave_of(codec=0x1234)), "cannot be read"),
    Case("WAV, odd number of bytes without padding", content(wave_of(bits=8, data=b"\x90" * 16001)), None, ""),
    Case("WAV, LIST before the data", stored(chunk_before_data(b"LIST\x04\0\0\0INFO"))),
    Case("WAV, odd chunk before the data", stored(chunk_before_data(b"junk\x03\0\0\0abc\0"))),
    Case("WAV, chunk of 4 GiB before the data", stored(chunk_before_data(b"junk\xfe\xff\xff\xff")), UNREADABLE),
    Case("WAV, LIST after the data", stored(lambda data: data + b"LIST\x04\0\0\0INFO")),
    Case("WAV, junk after the data", stored(lambda data: data + b"\0" * 777)),
    Case("WAV, thousands of empty chunks", content(b"RIFF\xff\xff\xff\x7fWAVE" + b"junk\0\0\0\0" * 50000), UNREADABLE),
    Case("WAV, not a number", scaled(placed(9000, np.nan)), None, r"not finite numbers \(first at 0\.56\d s\)"),
    Case("WAV, infinite", scaled(placed(100, -np.inf)), None, "not finite numbers"),
    Case("WAV, silent", scaled(placed(slice(None), 0)), None, ""),
    Case("WAV, louder than full scale", scaled(placed(100, 7.5)), None, ""),
    Case("WAV, mu-law", stored(bytes, subtype="ULAW"), None, ""),
    Case("WAV, GSM, which libsndfile cannot seek in", stored(bytes, subtype="GSM610"), None, ""),
    Case("WAV, big-endian", content(
        b"RIFX" + struct.pack(">I", 36 + 32000) + b"WAVEfmt " + struct.pack(">IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
        + b"data" + struct.pack(">I", 32000) + b"\0\1" * 16000), None, ""),
    Case("WAV, no RIFF before it", stored(lambda data: data[12:]), UNREADABLE),
]  # fmt: skip

OTHERS = [
    Case("RF64", stored(bytes, "RF64")),
    Case("RF64, half", kept(0.5, "RF64"), CUT),
    Case("RF64, size 0 as writers to a pipe leave it", patched(28, "<Q", 0, kind="RF64"), "zero length|tells of no"),
    Case("RF64, size of 2^60", patched(28, "<Q", 1 << 60, kind="RF64"), CUT),
    Case("Wave64", stored(bytes, "W64")),
    Case("Wave64, half", kept(0.5, "W64"), CUT),
    Case("Wave64, 2^61 bytes", patched(b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a", "<Q", 1 << 61, kind="W64"),
         CUT),
    Case("AIFF", stored(bytes, "AIFF")),
    Case("AIFF, half", kept(0.5, "AIFF"), CUT),
    Case("AU", stored(bytes, "AU")),
    Case("AU, size unknown", patched(8, ">I", 0xFFFFFFFF, kind="AU")),
    Case("AU, size 0", patched(8, ">I", 0, kind="AU"), NO_SIZE),
    Case("AU, half", kept(0.5, "AU"), CUT),
    Case("CAF", stored(bytes, "CAF")),
    Case("CAF, half", kept(0.5, "CAF"), CUT),
    Case("FLAC", stored(bytes, "FLAC")),
    Case("FLAC, length unknown", stored(flac_total(0), "FLAC")),
    Case("FLAC, length unknown, half", stored(lambda d: flac_total(0)(d)[: len(d) // 2], "FLAC"), "cannot be read"),
    Case("FLAC, 49 days told", stored(flac_total((1 << 36) - 1), "FLAC"), r"says \d+ s of audio, more than 7 days"),
    Case("FLAC, 6 days told", stored(flac_total(6 * 86400 * 16000), "FLAC"), None, "cannot be read|cut short"),
    Case("FLAC, fewer samples told than there are", stored(flac_total(16000), "FLAC"), None, ""),
    Case("FLAC, half", kept(0.5, "FLAC"), None, "cannot be read|cut short"),
    Case("FLAC, cut in its header", stored(lambda data: data[:30], "FLAC"), UNREADABLE),
    Case("FLAC, its first four letters", content(b"fLaC"), UNREADABLE),
    Case("FLAC, audio overwritten by zeros", stored(lambda d: d[:9000] + bytes(len(d) - 9000), "FLAC"), None,
         "cannot be read|cut short"),
    Case("SPH", stored(bytes, "NIST")),
    Case("SPH, half", kept(0.5, "NIST"), CUT),
    Case("SPH, a byte short", stored(lambda data: data[:-1], "NIST"), CUT + ", 1 too few"),
    Case("SPH, count 0", stored(lambda d: sph_field(d, b"sample_count -i 0"), "NIST")),
    Case("SPH, no count", stored(lambda d: d.replace(b"sample_count", b"xample_count"), "NIST")),
    Case("SPH, count too long", stored(lambda d: sph_field(d, b"sample_count -i " + b"9" * 30), "NIST"), None, ""),
    Case("SPH, count smaller than the file", stored(lambda d: sph_field(d, b"sample_count -i 900"), "NIST"), None, ""),
    Case("SPH, compressed", replaced(b"sample_coding -s3 pcm\nsample_byte_format",
                                     b"sample_coding -s26 pcm,embedded-shorten-v2.00\nsample_byte", "NIST"),
         r"compressed by shorten-v2\.00.*`sph2pipe -f wav FILE \|`"),
    Case("SPH, size of the header not a number", stored(lambda d: d[:8] + b"   many\n" + d[16:], "NIST"), None, ""),
    Case("SPH, no end of the header", stored(lambda d: d.replace(b"end_head", b"xxx_xxxx"), "NIST"), None, ""),
    Case("OGG", stored(bytes, "OGG"), None, ""),
    Case("OGG, half", kept(0.5, "OGG"), "audio is cut short"),
    Case("OGG, a byte short", stored(lambda data: data[:-1], "OGG"), "audio is cut short"),
    Case("Opus, half", kept(0.5, "OGG", "OPUS"), "audio is cut short|cannot be read"),
    Case("OGG, a byte changed", stored(lambda d: d[:-2000] + bytes([d[-2000] ^ 255]) + d[-1999:], "OGG"), None, ""),
    Case("MP3", stored(bytes, "MP3"), None, ""),
    Case("MP3, half", kept(0.5, "MP3"), CUT),
    Case("MP3 of varying rate that does not state its length", mp3_of_varying_rate, "MP3 of varying bit rate.*`ffmpeg"),
    Case("a text", content(b"not audio at all\n" * 50), UNREADABLE),
    Case("a web page", content(b"<!DOCTYPE html><html><body>404</body></html>"), UNREADABLE),
    Case("zeros", content(bytes(5000)), UNREADABLE),
    Case("random bytes", content(np.random.default_rng(0).bytes(5000)), UNREADABLE),
    Case("gzip", content(b"\x1f\x8b\x08\0" + bytes(100)), UNREADABLE),
]  # fmt: skip


NAMES = [
    Case("a FIFO without a writer", fifo, NOT_REGULAR + "FIFO"),
    Case("a FIFO as an archive", fifo_archive, NOT_REGULAR + "FIFO"),
    Case("a folder", lambda folder, samples: str(folder), NOT_REGULAR + "folder"),
    Case("a socket", listening, NOT_REGULAR + "socket"),
    Case("an endless device", lambda folder, samples: "/dev/zero", NOT_REGULAR + "device"),
    Case("an empty device", lambda folder, samples: "/dev/null", NOT_REGULAR + "device"),
    Case("no file", lambda folder, samples: str(folder / "gone.wav"), "no such audio file"),
    Case("a link to nothing", dangling, "no such audio file"),
    Case("a link to itself", link_to_itself, "no such audio file|cannot be read"),
    Case("a file as a folder", written("{folder}/u.wav/u.wav"), "no such audio file|cannot be read"),
    Case("a name of 5000 letters", lambda folder, samples: "x" * 5000, "cannot be read: File name too long"),
    Case("DIR//u.wav", written("{folder}//u.wav")),
    Case("DIR/./u.wav", written("{folder}/./u.wav")),
    Case("DIR/../DIR/u.wav", written("{folder}/../{base}/u.wav")),
    Case("./u.wav", written("./{base}/u.wav")),
    Case("u.wav, relative", written("{base}/u.wav")),
    Case("a file whose name looks like an archive", written("{folder}/{name}")),
    Case("archive", archive()),
    Case("archive, named by a path with ./", lambda *given: archive()(*given).replace("/a.ark", "/.//a.ark")),
    Case("archive, no such file", archive(value="{path}x:{offset}"), "no such audio file"),
    Case("archive, offset of twenty digits", archive(value="{path}:99999999999999999999"), "no audio at that offset"),
    Case("archive, offset of 2^63", archive(value="{path}:9223372036854775808"), "no audio at that offset"),
    Case("archive, offset of 300 digits", archive(value="{path}:" + "9" * 300), "no audio at that offset"),
    Case("archive, offset in the audio", archive(value="{path}:{offset}1"), "no audio at that offset"),
    Case("archive, offset 0", archive(value="{path}:0"), "no audio at that offset"),
    Case("archive, cut", archive(lambda data: data[:20000]), CUT),
    Case("archive of a matrix", matrix, "no audio at that offset"),
    Case("archive of a pickle", archive(entry=lambda samples: b"PKL" + bytes(50)), "no audio at that offset"),
    Case("archive, entry of unknown length",
         archive(entry=lambda s: encoded(s).replace(struct.pack("<I", 2 * len(s)), b"\xff" * 4)), ENDLESS),
    Case("archive of FLAC", flac_entries()),
    Case("archive of FLAC of unknown length", flac_entries(0), ENDLESS),
    Case("archive of kaldiio's own kind", kaldiio_entry),
    Case("archive, length of an entry too large",
         archive(entry=lambda s: b"AUDIO\x08" + struct.pack("<Q", 1 << 62) + encoded(s, "FLAC")), CUT),
    Case("archive, length of an entry missing", archive(lambda d: d[: d.index(b"AUDIO") + 5], entry=lambda s: b"AUDIO"),
         "zero length|cut short"),
]  # fmt: skip

PIPES = [
    Case("pipe", pipe("cat {path} |")),
    Case("pipe with a space after it", pipe("cat {path} | ")),
    Case("pipe of a pipe", pipe("cat {path} | cat |")),
    Case("pipe without a length", pipe("(head -c 40 {path}; printf '\\377\\377\\377\\377'; tail -c +45 {path}) |")),
    Case("pipe, cut short", pipe("head -c 20000 {path} |"), CUT),
    Case("pipe that fails", pipe("echo no tape >&2; exit 3 |"), "status 3, 0 bytes: no tape"),
    Case("pipe that fails after its output", pipe("cat {path}; exit 4 |"), r"status 4, \d+ bytes"),
    Case("pipe that is killed", pipe("kill -9 $$ |"), "status -9, 0 bytes"),
    Case("pipe without output", pipe("true |"), "status 0, 0 bytes"),
    Case("pipe without a command", pipe("|"), "status 0, 0 bytes"),
    Case("pipe of a command that is not there", pipe("no-such-command {path} |"), "status 127, 0 bytes: .*not found"),
    Case("pipe with a fault in its shell", pipe("( |"), "the pipe ended with status 2, 0 bytes: "),
    Case("pipe of text", pipe("echo not audio |"), UNREADABLE),
    Case("pipe that never writes", pipe("sleep 1000 |"), r"nothing for 0\.3 s \(0 bytes in all\) and was stopped"),
    Case("pipe that stops writing", pipe("echo a; sleep 1000 |"), r"nothing for 0\.3 s \(\d+ bytes in all\)"),
    Case("pipe that stays open behind its command", pipe("sleep 1000 & cat {path} |"), r"nothing for 0\.3 s"),
    Case("pipe that closes its output", pipe("exec sleep 1000 >&- 2>&- |"), r"(does not end,|nothing for) 0\.3 s"),
    Case("pipe that writes without end", pipe("cat {path} /dev/zero |"), "writes more than 2 MB and was stopped"),
    Case("pipe that complains without end", pipe("yes >&2 |"), r"nothing for 0\.3 s"),
    Case("pipe that complains in bytes", pipe("printf '\\033[31m\\0\\377\\n' >&2; exit 1 |"), "status 1, 0 bytes"),
    Case("pipe from a FIFO", pipe("mkfifo {path}.fifo; cat {path}.fifo |"), r"nothing for 0\.3 s"),
]  # fmt: skip

CASES = WAVE + OTHERS + NAMES + PIPES
