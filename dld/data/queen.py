"""The queen corpus: the voice acting of *Flight of the Amazon Queen*, 4.4 hours with the exact text of every clip.

The game (John Passfield and Steven Stamatiadis, 1995) is freely redistributable, and a package of Debian. One file,
`queen.1c`, holds clips and texts. What follows was found by reading it; all integers are big-endian.

- **Table.** The file begins with `QTBL`. A u16 at byte 13 is the number of entries; from byte 15 on each takes 21
  bytes: name (12 bytes, NUL-padded), one byte, u32 offset and u32 size, both into the whole file.
- **Clips.** Entries `*.SB` are complete MP3 streams (11 025 Hz, mono, 16 kbit/s).
- **Segments.** A text is cut at every stage command: `*`, two characters, two digits and `(x,y)`; or `*` and one or two
  characters; or a closing `*`. The k-th piece, from 1 and as one hexadecimal digit, belongs to the clip whose name ends
  in k. `@@` is no text. Pieces without a letter have no clip. Where two texts claim one clip, the first found holds.
- **Dialogues.** `NAME.DOG`, without its first 20 bytes: s16 at 0 the number of levels (absolute value), s16 at 4 the
  key, s16 at 6 and 8 the numbers of hero lines and of partner lines. Hero lines start at 32 + levels · 96, two tables
  of partner lines at the offsets u16 at 22 and u16 at 26; the second may end before its count, with the entry. A line:
  two bytes, u16 id, u8 length L, L bytes of latin-1 text, then, where L > 0, padding up to a position that 4 divides.
  Its clips: key (2 decimal digits), id (4 hexadecimal digits), `J` for the hero (Joe) or `P` for the partner (NAME),
  segment digit; in upper case.
- **Cut scenes.** `NAME.CUT`, without its first 20 bytes: records from u16 at 8 to u16 at 10; each u8 length L, L bytes
  of text, then, where L > 0, padding up to an even position. Its clips: NAME cut or padded with `_` to five characters,
  number of the record from 0 (2 decimal digits), segment digit.
- **Joe's remarks.** `QUEEN2.JAS`, plain text: line i, from 0, gives `JOE`, i + 41 (4 decimal digits), segment digit.
"""

import gzip
import io
import logging
import lzma
import os
import re
import shutil
import struct
import subprocess
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import soundfile
from tqdm import tqdm

from dld.data import kaldi
from dld.data.audio import resample
from dld.data.download import fetch
from dld.errors import DldError
from dld.files import atomic_write, read_json, sha256, write_json

logger = logging.getLogger(__name__)

PACKAGE = "flight-of-the-amazon-queen"
PACKAGE_URL = f"https://deb.debian.org/debian/pool/main/f/{PACKAGE}/{PACKAGE}_1.0.0-9_all.deb"
PACKAGE_SHA256 = "40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1"
CORPUS = "queen.1c"
CORPUS_SHA256 = "cc91960d133fcd4173eda4bac304e80d2bbdbaa085640287ab9e0507bd603f67"
# What the file with that checksum holds: clips, clips with a text, and those of them whose text has words.
KNOWN_COUNTS = {"clips": 6745, "texts": 6316, "utterances": 6302}

SAMPLE_RATE = 16000
SPLITS = ("train", "dev", "test")
HERO, SCENES = "JOE", "CUT"

# Chosen once, before anything was trained: both sexes in each, 15 and 30 minutes, few appearances in cut scenes.
DEV_CHARACTERS = ("HENRY", "KLUNK", "LOLA", "ZOMBIE")
TEST_CHARACTERS = ("AND", "NAOMI", "ORACLE", "SEC", "SPARKY", "TAM")

# Raise it when the same file shall give other data directories, so that older ones are made again.
_REVISION = 1
_STAMP, _MANIFEST = "queen.json", "queen.tsv"
_STAGING = ".queen.partial"
_HEADER = 20
_AR_MAGIC = b"!<arch>\n"
_NAME = re.compile(r"[A-Za-z0-9_~!#$%&'()@^`{}-]+(?:\.[A-Za-z0-9_]+)?")
_COMMAND = re.compile(r"\*(?:..\d\d\(\d+,\d+\)|.{0,2})", re.DOTALL)


@dataclass(frozen=True)
class Clip:
    """One clip that has a text.

    Attributes
    ----------
    name : str
        Of its entry in the file, without `.SB`.
    speaker : str
        Name of the dialogue, `JOE`, or `CUT` where a cut scene does not say who speaks.
    source : str
        Entry that holds the text.
    text : str
        As it stands in the file.
    """

    name: str
    speaker: str
    source: str
    text: str

    @property
    def character(self):
        """The speaker without a trailing number: one character has several dialogues."""
        return self.speaker.rstrip("0123456789")

    @property
    def split(self):
        """Which split its character belongs to."""
        if self.character in TEST_CHARACTERS:
            return "test"
        return "dev" if self.character in DEV_CHARACTERS else "train"

    @property
    def id(self):
        """Utterance id; clips of cut scenes, whose speakers are unknown, go by their scene."""
        return f"{self.kaldi_speaker}-{self.name}"

    @property
    def kaldi_speaker(self):
        """Speaker id: the character, or the cut scene."""
        if self.speaker == SCENES:
            return f"cut-{self.source.rpartition('.')[0].lower()}"
        return self.character.lower()


class Archive:
    """The file `queen.1c`: its entries, and the clips among them that have a text.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    DldError
        Not such a file, cut short, or with a name that is not one of the game's files.
    """

    def __init__(self, path):
        self.path = Path(path)
        try:
            self._data = self.path.read_bytes()
        except OSError as error:
            raise DldError(f"{path}: cannot be read: {error.strerror}") from None
        if not self._data.startswith(b"QTBL"):
            raise DldError(f"{path}: not the file {CORPUS} (it does not begin with QTBL)")
        try:
            (count,) = struct.unpack_from(">H", self._data, 13)
            self._entries = dict(self._entry(15 + 21 * number) for number in range(count))
        except struct.error:
            raise DldError(f"{path}: cut short within its table of entries; copy it again") from None

    def _entry(self, position):
        name, offset, size = struct.unpack_from(">12sxII", self._data, position)
        name = name.partition(b"\0")[0].decode("latin-1")
        # Names become parts of ids and of the names of files.
        if not _NAME.fullmatch(name):
            raise DldError(f"{self.path}: entry {name!r}: not a name of a file of this game; get it again")
        if offset + size > len(self._data):
            raise DldError(f"{self.path}: cut short: entry {name} ends at byte {offset + size}; copy it again")
        return name, (offset, size)

    def read(self, name):
        """Bytes of an entry."""
        offset, size = self._entries[name]
        return self._data[offset : offset + size]

    def names(self, ending):
        """Names of the entries with this ending, without it, in the order of the table."""
        return [name.removesuffix(ending) for name in self._entries if name.endswith(ending)]

    def clips(self):
        """All clips that have a text, by name.

        Returns
        -------
        dict of str to Clip
        """
        voiced, found = set(self.names(".SB")), {}
        for source, speaker, name, text in self._texts():
            for number, piece in enumerate(_COMMAND.split(text), 1):
                clip, words = f"{name}{number:X}".upper(), piece.replace("@@", "").strip()
                if clip in voiced and any(map(str.isalpha, words)):
                    found.setdefault(clip, Clip(clip, speaker, source, words))
        return {name: found[name] for name in sorted(found)}

    def _texts(self):
        """Every text: (source, speaker, name of its clips without the segment digit, text)."""
        readers = {".DOG": self._dialogue, ".CUT": self._scene}
        for ending, reader in readers.items():
            for name in self.names(ending):
                try:
                    for speaker, prefix, text in reader(name, self.read(name + ending)[_HEADER:]):
                        yield name + ending, speaker, prefix, text
                except (struct.error, IndexError):
                    raise DldError(f"{self.path}: entry {name}{ending} is not laid out as expected") from None
        for name in self.names(".JAS"):
            if name == "QUEEN2":
                for number, line in enumerate(self.read(f"{name}.JAS").decode("latin-1").splitlines()):
                    yield f"{name}.JAS", HERO, f"JOE{number + 41:04d}", line

    @staticmethod
    def _dialogue(name, data):
        levels, key, hero_lines, partner_lines = struct.unpack_from(">h2xhhh", data)
        tables = [(HERO, "J", 32 + abs(levels) * 96, hero_lines)]
        tables += [(name, "P", start, partner_lines) for start in struct.unpack_from(">H2xH", data, 22)]
        for speaker, letter, position, lines in tables:
            for _ in range(lines):
                if position + 5 > len(data):
                    break  # the last table may end before its count, with the entry
                number, length = struct.unpack_from(">2xHB", data, position)
                text = data[position + 5 : position + 5 + length].decode("latin-1")
                yield speaker, f"{key:02d}{number:04X}{letter}", text
                position = _after(position + 5, length, 4)

    @staticmethod
    def _scene(name, data):
        position, end = struct.unpack_from(">HH", data, 8)
        record = 0
        while position < end:
            length = data[position]
            text = data[position + 1 : position + 1 + length].decode("latin-1")
            yield SCENES, f"{name[:5]:_<5}{record:02d}", text
            position = _after(position + 1, length, 2)
            record += 1


def _after(position, length, multiple):
    """Where a text of `length` bytes at `position` ends, its padding included; an empty one has none."""
    return -(-(position + length) // multiple) * multiple if length else position


# ---------------------------------------------------------------- text

_MARKS = str.maketrans({"\u2019": "'", "`": "'"})
_UNKNOWN_SPEECH = re.compile(r"\([^()]*\)|<[^<>]*>")
_ABBREVIATIONS = {"mr.": "mister", "dr.": "doctor", "vs.": "versus"}
# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_ORDINALS |= {"twelve": "twelfth"}


def cardinal(number):
    """A whole number from 0 to 9 999 in words; those that may be years are read as years.

    Examples
    --------
    >>> cardinal(24), cardinal(150), cardinal(1948), cardinal(1905), cardinal(2000)
    ('twenty four', 'one hundred fifty', 'nineteen forty eight', 'nineteen oh five', 'two thousand')
    """
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _join(_TENS[number // 10], number % 10)
    if number < 1000:
        return _join(f"{_ONES[number // 100]} hundred", number % 100)
    century, rest = divmod(number, 100)
    if century % 10 == 0:
        return _join(f"{_ONES[century // 10]} thousand", rest)
    return f"{cardinal(century)} {'hundred' if rest == 0 else 'oh ' + _ONES[rest] if rest < 10 else cardinal(rest)}"


def _join(words, rest):
    return f"{words} {cardinal(rest)}" if rest else words


def _number(match):
    digits, minutes, ending = match["digits"], match["minutes"], match["ending"] or ""
    if len(digits) > 4:
        return " ".join(_ONES[int(digit)] for digit in digits)
    words = cardinal(int(digits))
    if minutes:
        return f"{words} {'hundred' if minutes == '00' else cardinal(int(minutes))}"
    if ending.endswith("s"):  # a decade: 1940's
        return re.sub("y$", "ie", words) + "s"
    if ending:  # 13th
        *before, last = words.split()
        return " ".join([*before, _ORDINALS.get(last) or re.sub("y$", "ie", last.removesuffix("t")) + "th"])
    return f" {words} "


def normalise(text):
    r"""What is spoken, as lower-case words of `a`…`z` and apostrophes.

    Numbers and the abbreviations that occur are written out, letters with full stops are joined (`D.N.A.` → `dna`),
    hyphens part words. A text with signs that stand for something else than words, a noise such as `(sigh)` or a curse
    such as `&#$`, gives the empty string where they are all of it or cannot be read.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> normalise("Mr. King, it's only 24 Hours... for the \"D.N.A.\"!")
    "mister king it's only twenty four hours for the dna"
    >>> normalise("This is the 1940's; 13th July, at 19:00 with 'em in seat 2B.")
    "this is the nineteen forties thirteenth july at nineteen hundred with 'em in seat two b"
    >>> normalise("(sigh)"), normalise("&#($!!, he got away!")
    ('', '')
    """
    text = _UNKNOWN_SPEECH.sub(" ", text.translate(_MARKS).replace("^_", "").lower())
    text = re.sub(r"\b(?:[a-z]\.){2,}", lambda letters: letters[0].replace(".", ""), text)
    text = re.sub(r"\b[a-z]+\.", lambda word: _ABBREVIATIONS.get(word[0], word[0]), text)
    text = re.sub(r"(?P<digits>\d+)(?::(?P<minutes>\d\d))?(?P<ending>'s|th|st|nd|rd)?", _number, text)
    text = re.sub(r'[-.,;:!?"]', " ", text)
    if re.search(r"[^a-z' ]", text):
        return ""
    return " ".join(word for word in text.split() if word.strip("'"))


# ---------------------------------------------------------------- getting the file


def obtain(corpus, folder):
    """Get `queen.1c` and the notices that come with it.

    Parameters
    ----------
    corpus : str or Path, optional
        A local `queen.1c`, or the Debian package. By default the package is fetched, with `apt-get download` or else
        over HTTP, and unpacked; it is not installed, and no root is needed.
    folder : str or Path
        Receives what is unpacked; a file there with the right checksum is used again.

    Returns
    -------
    path : Path
        The file.
    notices : list of Path
        Licence and read-me files found with it.

    Raises
    ------
    DldError
        The file is missing, cannot be fetched, or has not the checksum of what was asked for.
    """
    folder = Path(folder)
    target = folder / CORPUS
    if corpus is not None and not str(corpus).endswith(".deb"):
        return Path(corpus), _notices(Path(corpus).parent)
    if corpus is not None:
        unpack_package(corpus, folder)
    elif not target.exists() or sha256(target) != CORPUS_SHA256:
        package = _fetch_package(folder)
        unpack_package(package, folder)
        package.unlink()
        if sha256(target) != CORPUS_SHA256:
            raise DldError(f"{target}: not the file that is known (SHA-256 {CORPUS_SHA256}); give one with --corpus")
    return target, _notices(folder)


def _notices(folder):
    names = re.compile(r"(readme|copyright|licen[cs]e)(\.(txt|md))?", re.IGNORECASE)
    return sorted(path for path in folder.iterdir() if path.is_file() and names.fullmatch(path.name))


def _fetch_package(folder):
    """Fetch the Debian package into a folder, over HTTP where apt cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("apt-get"):
        done = subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, capture_output=True, text=True)
        found = list(folder.glob("*.deb"))
        if done.returncode == 0 and found:
            return found[0]
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        logger.warning("apt-get download %s: %s; trying %s", PACKAGE, reason, PACKAGE_URL)
    return fetch(PACKAGE_URL, folder / f"{PACKAGE}.deb", PACKAGE_SHA256)


def unpack_package(package, folder):
    """Take `queen.1c` and the notices out of a Debian package.

    A package is an `ar` archive, one of whose members is the tar file of the contents.

    Parameters
    ----------
    package, folder : str or Path
    """
    folder = Path(folder)
    wanted = {CORPUS, "copyright", "readme.txt.gz"}
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_package_contents(Path(package)))) as contents:
            for member in contents:
                name = PurePosixPath(member.name).name
                # Nothing is written but these names, wherever in the archive they are.
                if member.isfile() and name in wanted - found.keys():
                    data = contents.extractfile(member).read()
                    found[name] = gzip.decompress(data) if name.endswith(".gz") else data
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DldError(f"{package}: its contents cannot be unpacked: {error}; get the package again") from None
    for name, data in found.items():
        with atomic_write(folder / name.removesuffix(".gz"), "wb") as out:
            out.write(data)
    if CORPUS not in found:
        raise DldError(f"{package}: {CORPUS} is not in this package; it should be {PACKAGE}")


def _package_contents(package):
    try:
        archive = package.read_bytes()
    except OSError as error:
        raise DldError(f"{package}: {error.strerror}") from None
    position = len(_AR_MAGIC)
    while archive.startswith(_AR_MAGIC) and position + 60 <= len(archive):
        name, size = archive[position : position + 16].decode("latin-1").strip(" /"), archive[position + 48 :][:10]
        start = position + 60
        if not size.strip().isdigit():
            break
        end = start + int(size)
        if name.startswith("data.tar") and end <= len(archive):
            if name.endswith(".zst"):
                raise DldError(f"{package}: unpack it with `dpkg-deb -x` and give {CORPUS} with --corpus")
            return archive[start:end]
        position = end + end % 2
    raise DldError(f"{package}: not a whole Debian package; get it again")


# ---------------------------------------------------------------- data directories

_NOTICE = f"""The recordings and texts in this folder are taken from the game Flight of the Amazon Queen.
All game content is (C) 1995 John Passfield and Steven Stamatiadis.

They may be distributed for free on any medium, and in aggregate with a larger software distribution, as long as the
game's read-me and all its copyright notices and disclaimers stay with them; no fee may be charged for the game itself.
The files {{notices}} hold the terms in full.

THIS IS A MODIFIED VERSION: the speech clips of the file {CORPUS} (SHA-256 {{digest}}) were decoded, resampled to
16 kHz and stored as FLAC, one file to a clip, and their texts turned into lower-case words.
THE GAME DATA IS PROVIDED "AS IS" AND WITHOUT ANY EXPRESS OR IMPLIED WARRANTIES.
"""


def make(destination, corpus=None, jobs=None):
    """Make Kaldi data directories, or keep those that are already there from the same file.

    Leaves `train`, `dev` and `test`, the audio (16 kHz, 16-bit FLAC) and the licence's notices under `audio`,
    `queen.tsv` (every clip that has a text, and where it went) and, last of all, `queen.json` (checksum and counts),
    without which the corpus counts as unfinished and is made again.

    Parameters
    ----------
    destination : str or Path
        Folder that receives all this; a package is unpacked into its folder `source`.
    corpus : str or Path, optional
        See `obtain`.
    jobs : int, optional
        Clips that are decoded at a time; by default the number of processors.

    Returns
    -------
    summary : dict
        `clips`, `texts`, `left_out` (reason → number) and `splits` (split → `characters`, `utterances`, `seconds`,
        `words`).
    reason : str
        Why the corpus was made; empty if the one already there was kept.
    """
    if corpus is not None and not Path(corpus).is_file():
        raise DldError(f"{corpus}: no such file; give {CORPUS} or the Debian package {PACKAGE}")
    if jobs is not None and jobs < 1:
        raise DldError(f"--jobs {jobs}: must be at least 1")
    destination = Path(destination).absolute()
    stamp = destination / _STAMP
    reason = _unfinished(destination, corpus)
    if not reason:
        return read_json(stamp)["summary"], ""
    path, notices = obtain(corpus, destination / "source")
    digest = sha256(path)
    archive = Archive(path)
    clips = archive.clips()
    if not clips:
        raise DldError(f"{path}: no clip in it has a text; it is not the talkie version of the game")
    texts = {name: normalise(clip.text) for name, clip in clips.items()}
    spoken = [clip for clip in clips.values() if texts[clip.name]]
    if digest == CORPUS_SHA256:
        _check_counts(archive, clips, spoken)
    else:
        logger.warning("%s: SHA-256 %s is not the known one; the counts may differ from those stated", path, digest)

    staging = destination / _STAGING
    stamp.unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    for split in SPLITS:
        (staging / split).mkdir(parents=True)
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        try:
            lengths = pool.map(lambda clip: _write_clip(archive, clip, staging / _audio(clip)), spoken)
            lengths = list(tqdm(lengths, "clips", len(spoken), unit="clip", disable=None))
        except BaseException:
            # Clips that have not begun are not worth waiting for.
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(staging, ignore_errors=True)
            raise
    samples = dict(zip((clip.name for clip in spoken), lengths, strict=True))
    for notice in notices:
        shutil.copyfile(notice, staging / notice.name)
    names = ", ".join(notice.name for notice in notices) or "readme.txt and copyright of the game or its package"
    with atomic_write(staging / "NOTICE.txt") as out:
        out.write(_NOTICE.format(notices=names, digest=digest))
    _publish(destination, staging, clips, texts, samples)
    summary = _summary(archive, clips, texts, samples)
    tables = {str(table.relative_to(destination)): sha256(table) for table in _tables(destination)}
    write_json(stamp, {"revision": _REVISION, "sha256": digest, "summary": summary, "files": tables})
    return summary, reason


def _check_counts(archive, clips, spoken):
    found = {"clips": len(archive.names(".SB")), "texts": len(clips), "utterances": len(spoken)}
    if found != KNOWN_COUNTS:
        raise DldError(
            f"{archive.path}: read {found} instead of {KNOWN_COUNTS}; this is a fault of the reader, report it"
        )


def _audio(clip):
    return Path(clip.split, f"{clip.id}.flac")


def _write_clip(archive, clip, path):
    """Decode a clip and write it; returns its number of samples."""
    try:
        signal, rate = soundfile.read(io.BytesIO(archive.read(f"{clip.name}.SB")), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise DldError(f"{archive.path}: clip {clip.name} cannot be decoded: {error}") from None
    if not len(signal):
        raise DldError(f"{archive.path}: clip {clip.name} is empty")
    signal = resample(signal.mean(axis=1), rate, SAMPLE_RATE)
    # Decoding and resampling may overshoot full scale: turn the clip down rather than cut its peaks.
    signal *= min(1.0, 0.999 / max(np.abs(signal).max(), 1e-9))
    soundfile.write(path, np.round(signal * 32767).astype(np.int16), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return len(signal)


def _publish(destination, staging, clips, texts, samples):
    """Move the audio into place and write the data directories and the table of clips."""
    for folder in ("audio", *SPLITS):
        shutil.rmtree(destination / folder, ignore_errors=True)
    os.replace(staging, destination / "audio")
    for split in SPLITS:
        kaldi.write(
            destination / split,
            [
                kaldi.Utterance(
                    id=clip.id,
                    speaker=clip.kaldi_speaker,
                    text=texts[clip.name],
                    recording=str(destination / "audio" / _audio(clip)),
                    duration=samples[clip.name] / SAMPLE_RATE,
                )
                for clip in clips.values()
                if clip.name in samples and clip.split == split
            ],
        )
    with atomic_write(destination / _MANIFEST) as table:
        table.write("clip\tspeaker\tsource\tsplit\tseconds\tbytes\twords\ttext\n")
        for clip in clips.values():
            row = ["left out", "0", "0", ""]
            if clip.name in samples:
                size = (destination / "audio" / _audio(clip)).stat().st_size
                row = [clip.split, f"{samples[clip.name] / SAMPLE_RATE:.3f}", str(size), texts[clip.name]]
            table.write("\t".join([clip.name, clip.speaker, clip.source, *row, clip.text]) + "\n")


def _summary(archive, clips, texts, samples):
    splits = {}
    for split in SPLITS:
        there = [clip for clip in clips.values() if clip.name in samples and clip.split == split]
        splits[split] = {
            "characters": len({clip.character for clip in there} - {SCENES}),
            "utterances": len(there),
            "seconds": round(sum(samples[clip.name] for clip in there) / SAMPLE_RATE, 2),
            "words": sum(len(texts[clip.name].split()) for clip in there),
        }
    voiced = len(archive.names(".SB"))
    left_out = {"no text": voiced - len(clips), "noise, or words not written": len(clips) - len(samples)}
    return {"clips": voiced, "texts": len(clips), "left_out": left_out, "splits": splits}


def _tables(destination):
    """The files whose SHA-256 the stamp holds."""
    split_files = [destination / split / name for split in SPLITS for name in ("wav.scp", "text", "utt2spk")]
    return [destination / _MANIFEST, *split_files]


def _unfinished(destination, corpus):
    """Why the corpus at `destination` cannot be kept; empty if it can."""
    stamp = destination / _STAMP
    if not stamp.exists():
        return "unfinished" if (destination / "audio").exists() else "not there yet"
    found = read_json(stamp)
    if not isinstance(found, dict) or not {"revision", "sha256", "summary", "files"} <= found.keys():
        return f"{stamp} is damaged"
    if found["revision"] != _REVISION:
        return "made by another version"
    if corpus is not None and not str(corpus).endswith(".deb") and sha256(corpus) != found["sha256"]:
        return f"made from another file than {corpus}"
    for table in _tables(destination):
        if not table.exists():
            return f"{table} is missing"
        if sha256(table) != found["files"].get(str(table.relative_to(destination))):
            return f"{table} has changed"
    sizes = {}
    with open(destination / _MANIFEST, encoding="utf-8") as manifest:
        columns = next(manifest).rstrip("\n").split("\t")
        for line in manifest:
            row = dict(zip(columns, line.rstrip("\n").split("\t"), strict=True))
            clip = Clip(row["clip"], row["speaker"], row["source"], row["text"])
            if row["split"] in SPLITS:
                sizes[destination / "audio" / _audio(clip)] = int(row["bytes"])
    for audio, size in sizes.items():
        if not audio.exists():
            return f"{audio} is missing"
        if audio.stat().st_size != size:
            return f"{audio} has changed"
    return ""
