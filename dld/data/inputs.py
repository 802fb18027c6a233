"""What a command line names as audio: files, folders, and standard input; the standard library alone."""

import logging
import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dld.data.pipes import MEGABYTES, TIMEOUT, limit_of
from dld.errors import DldError

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
#: Ends of the names that files of a folder are taken for audio by; a file that is named itself may have any.
SUFFIXES = {
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".nist", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".sph", ".w64", ".wav", ".wave"),
}
#: Files left out that a message names.
_NAMED = 5
_BLOCK = 1 << 20


class Input(NamedTuple):
    """A recording: the path that is read, what messages and results call it, and its name within what was given."""

    path: str
    name: str
    inner: Path


def expand(paths: Sequence[str], folder: Path) -> list[Input]:
    """Return the recordings that paths name; of folders all audio files below, in the order of their names.

    What is in a folder and is not audio, by its name, is reported once.

    Parameters
    ----------
    paths : sequence of str
        `-` is standard input.
    folder : Path
        Where the content of standard input is kept.

    Raises
    ------
    DldError
        A folder has no audio, or standard input cannot be read.
    """
    if list(paths).count(STANDARD_INPUT) > 1:
        raise DldError("standard input (-) was given more than once; it can be read only once")
    found = []
    for path in paths:
        if path == STANDARD_INPUT:
            found.append(Input(str(keep_standard_input(folder)), STANDARD_INPUT, Path("stdin")))
        elif os.path.isdir(path):
            found += _audio_below(path)
        else:
            found.append(Input(path, path, Path(os.path.basename(path))))
    return found


def _audio_below(folder: str) -> list[Input]:
    def unreadable(error: OSError) -> None:
        raise error

    inner = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder, onerror=unreadable)
        for name in names
    ]
    audio = sorted(path for path in inner if os.path.splitext(path)[1].lower() in SUFFIXES)
    others = sorted(set(inner) - set(audio))
    if not audio:
        raise DldError(f"{folder}: no audio file in it or below; names of audio end in .wav, .flac, .ogg, .mp3, .sph …")
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        logger.warning("%s: left out, by their names not audio: %s%s", folder, ", ".join(others[:_NAMED]), more)
    return [Input(os.path.join(folder, path), os.path.join(folder, path), Path(path)) for path in audio]


def keep_standard_input(folder: Path) -> Path:
    """Write standard input to a file, so that it can be read as any other, and return its path.

    Raises
    ------
    DldError
        It is a terminal, closed or empty, sends nothing for `DLD_PIPE_TIMEOUT` seconds (60), or more than
        `DLD_PIPE_MEGABYTES` (1024).
    """
    if sys.stdin is None or sys.stdin.closed:
        raise DldError("standard input is closed; give a file, or pipe audio into the command")
    source = sys.stdin.fileno()
    if os.isatty(source):
        raise DldError("standard input is a terminal; pipe audio into the command, or give a file")
    path = folder / "stdin"
    with path.open("wb") as out:
        size = _copy(source, out, limit_of(TIMEOUT), limit_of(MEGABYTES))
    if not size:
        raise DldError("standard input is empty: what should write audio into it has written nothing")
    return path


def _copy(source: int, out: BinaryIO, seconds: float, megabytes: float) -> int:
    """Copy what an open file gives; return the bytes."""
    size, endless = 0, not stat.S_ISREG(os.fstat(source).st_mode)
    while True:
        began = time.monotonic()
        if endless and not select.select([source], [], [], seconds)[0]:
            raise DldError(
                f"standard input: nothing came for {time.monotonic() - began:.0f} s ({size} bytes in all); correct the "
                f"command that writes it, or raise {TIMEOUT}"
            )
        data = os.read(source, _BLOCK)
        if not data:
            return size
        size += len(data)
        if size > megabytes * 1e6:
            raise DldError(f"standard input: more than {megabytes:g} MB; write it to a file, or raise {MEGABYTES}")
        out.write(data)
