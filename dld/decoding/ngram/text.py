"""Text files for language models, compressed or not."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from dld.errors import DldError

# What compressed files begin with, whatever their names are; KenLM reads these.
_PACKED: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def read_begin(path: str | Path, size: int = 64) -> bytes:
    """Return the first bytes of a file, unpacked where it is compressed; a `DldError` where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            begin = stream.read(size)
        for magic, unpacked in _PACKED.items():
            if begin.startswith(magic):
                with unpacked(path, "rb") as stream:
                    return stream.read(size)
        return begin
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DldError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def open_text(path: str | Path) -> TextIO:
    """Open a text file for reading, compressed or not; one that cannot be read is a `DldError`."""
    read_begin(path, 1)
    with open(path, "rb") as stream:
        begin = stream.read(8)
    unpacked = next((unpacked for magic, unpacked in _PACKED.items() if begin.startswith(magic)), open)
    return unpacked(path, "rt", encoding="utf-8")


def read_text_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield `(line number, line)` of a UTF-8 text file, compressed or not.

    Raises
    ------
    DldError
        The file is missing, cut short or not text; the message names the line.
    """
    number = 0
    with open_text(path) as lines:
        try:
            for number, line in enumerate(lines, 1):  # noqa: B007
                yield number, line
        except (UnicodeDecodeError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise DldError(f"{path}:{number + 1}: not text ({error})") from None


def read_sentences(path: str | Path) -> Iterator[list[str]]:
    """Yield the words of each line of plain text, one sentence a line; reads compressed text as well."""
    for number, line in read_text_lines(path):
        yield (line.removeprefix("\ufeff") if number == 1 else line).split()
