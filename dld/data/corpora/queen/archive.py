"""The game's file `queen.1c`, which holds clips and texts.

What follows was found by reading it; all integers are big-endian.

- **Table.** The file begins with `QTBL`. A u16 at byte 13 is the number of entries; from byte 15 on each takes 21
  bytes: name (12 bytes, NUL-padded), one byte, u32 offset and u32 size, both into the whole file.
- **Clips.** Entries `*.SB` are complete MP3 streams (11 025 Hz, mono, 16 kbit/s).
- **Segments.** A text is cut at every stage command: `*`, two characters, two digits and `(x,y)`; or `*` and one or two
  characters; or a closing `*`. The k-th piece, from 1 and as one hexadecimal digit, belongs to the clip whose name ends
  in k. `@@` is not a text. Pieces without a letter have no clip. Where two texts claim one clip, the first found holds.
- **Dialogues.** `NAME.DOG`, without its first 20 bytes: s16 at 0 the number of levels (absolute value), s16 at 4 the
  key, s16 at 6 and 8 the numbers of hero lines and of partner lines. Hero lines start at 32 + levels · 96, two tables
  of partner lines at the offsets u16 at 22 and u16 at 26; the second may end before its count, with the entry. A line:
  two bytes, u16 id, u8 length L, L bytes of latin-1 text, then, where L > 0, padding up to a position that 4 divides.
  Its clips: key (2 decimal digits), id (4 hexadecimal digits), `J` for the hero (Joe) or `P` for the partner (NAME),
  segment digit; in upper case.
- **Cut scenes.** `NAME.CUT`, without its first 20 bytes: records from u16 at 8 to u16 at 10; each u8 length L, L bytes
  of text, then, where L > 0, padding up to an even position. Its clips: NAME cut or padded with `_` to five characters,
  number of the record from 0 (2 decimal digits), segment digit.
- **Joe's remarks.** `QUEEN2.JAS`, plain text. Clip of line i, from 0: `JOE`, i + 41 (4 decimal digits), segment digit.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from dld.errors import DldError

CORPUS = "queen.1c"
CORPUS_SHA256 = "cc91960d133fcd4173eda4bac304e80d2bbdbaa085640287ab9e0507bd603f67"
# What the file with that checksum holds: clips, clips with a text, and those of them whose text has words.
KNOWN_COUNTS = {"clips": 6745, "texts": 6316, "utterances": 6302}

HERO, SCENES = "JOE", "CUT"

# Chosen once, before anything was trained: both sexes in each, 15 and 30 minutes, few appearances in cut scenes.
DEV_CHARACTERS = ("HENRY", "KLUNK", "LOLA", "ZOMBIE")
TEST_CHARACTERS = ("AND", "NAOMI", "ORACLE", "SEC", "SPARKY", "TAM")

_HEADER = 20
_NAME = re.compile(r"[A-Za-z0-9_~!#$%&'()@^`{}-]+(?:\.[A-Za-z0-9_]+)?")
_COMMAND = re.compile(r"\*(?:..\d\d\(\d+,\d+\)|.{0,2})", re.DOTALL)


@dataclass(frozen=True)
class Clip:
    """One clip that has a text.

    Attributes
    ----------
    name : str
        Name of its entry in the file, without `.SB`.
    speaker : str
        Name of the dialogue, `JOE`, or `CUT` where a cut scene does not say who speaks.
    source : str
        Entry that holds the text.
    text : str
        As it is in the file.
    """

    name: str
    speaker: str
    source: str
    text: str

    @property
    def character(self) -> str:
        """The speaker without a trailing number: one character has several dialogues."""
        return self.speaker.rstrip("0123456789")

    @property
    def split(self) -> str:
        """Which split its character belongs to."""
        if self.character in TEST_CHARACTERS:
            return "test"
        return "dev" if self.character in DEV_CHARACTERS else "train"

    @property
    def id(self) -> str:
        """Utterance id; clips of cut scenes, whose speakers are unknown, have that of their scene."""
        return f"{self.kaldi_speaker}-{self.name}"

    @property
    def kaldi_speaker(self) -> str:
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

    def __init__(self, path: str | Path):
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

    def read(self, name: str) -> bytes:
        """Return the bytes of an entry."""
        offset, size = self._entries[name]
        return self._data[offset : offset + size]

    def names(self, ending: str) -> list[str]:
        """Return the names of the entries with this ending, without it, in the order of the table."""
        return [name.removesuffix(ending) for name in self._entries if name.endswith(ending)]

    def clips(self) -> dict[str, Clip]:
        """Return all clips that have a text, by name.

        Returns
        -------
        dict of str to Clip
        """
        voiced = set(self.names(".SB"))
        found: dict[str, Clip] = {}
        for source, speaker, name, text in self._texts():
            for number, piece in enumerate(_COMMAND.split(text), 1):
                clip, words = f"{name}{number:X}".upper(), piece.replace("@@", "").strip()
                if clip in voiced and any(map(str.isalpha, words)):
                    found.setdefault(clip, Clip(clip, speaker, source, words))
        return {name: found[name] for name in sorted(found)}

    def _texts(self):
        """Return every text: (source, speaker, name of its clips without the segment digit, text)."""
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
    """Return where a text of `length` bytes at `position` ends, with its padding; an empty one has none."""
    return -(-(position + length) // multiple) * multiple if length else position
