"""Opening what a Kaldi `wav.scp` names: files, pipes and archive entries, as recordings of known length."""

import contextlib
import io
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import soundfile

from dld.data.headers import check_complete
from dld.data.pipes import is_pipe, read_pipe
from dld.errors import DldError

logger = logging.getLogger(__name__)

#: Limits of what a header may say: a wrong one would be resampled to hundreds of millions of samples.
RATES = (1000, 768000)
MOST_CHANNELS = 256
MOST_SECONDS = 7 * 24 * 3600

_ARCHIVE = re.compile(r"(?P<path>.+):(?P<offset>[0-9]+)")
# libsndfile's number of frames where a header does not state it: the largest possible one.
_UNKNOWN = 1 << 62
_BLOCK = 1 << 20
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_ENDLESS = "the header of this archive entry does not state its length; make the archive again"
_said: set[object] = set()
_counted: dict[object, int] = {}


class Recording(soundfile.SoundFile):
    """A recording that is read forwards from any frame.

    Attributes
    ----------
    length : int
        Frames, also where the header does not state them.
    """

    def __init__(self, file, jumps=True):
        super().__init__(file)
        self._jumps = jumps and super().seekable()
        self.length = self.frames

    def seekable(self):
        """Tell soundfile not to seek after each read: at the end of a FLAC of unknown length that fails."""
        return False

    def go_to(self, frame):
        """Continue at `frame`, reading what is before it where libsndfile cannot seek; only once, and forwards."""
        if self._jumps and frame:
            self.seek(frame)
        elif frame:
            say_once(
                ("jumps", self.format),
                f"{self.format} of this kind is read from its start for each segment; convert it to FLAC",
            )
            for _ in self.blocks_of(frame):
                pass

    def blocks_of(self, frames=None):
        """Yield the next frames as float32 arrays (frames, channels), to the end if `frames` is None.

        The blocks' sizes follow the file's content, so that a wrong header costs no memory.
        """
        size = max(1, _BLOCK // self.channels)
        while frames is None or frames > 0:
            block = self.read(size if frames is None else min(size, frames), dtype="float32", always_2d=True)
            if not len(block):
                return
            yield block
            if frames is not None:
                frames -= len(block)


class _View:
    """Part of a binary stream as a file of its own, for libsndfile's callbacks: it never raises."""

    def __init__(self, stream, begin=0, end=None):
        self._stream, self._begin = stream, begin
        self._size = (stream.seek(0, os.SEEK_END) if end is None else end) - begin
        self._position = 0

    def seek(self, offset, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}.get(whence, 0)
        self._position = min(max(0, base + offset), _UNKNOWN)
        return self._position

    def tell(self):
        return self._position

    def read(self, size=-1):
        left = max(0, self._size - self._position)
        self._stream.seek(self._begin + min(self._position, self._size))
        data = self._stream.read(left if size < 0 else min(size, left))
        self._position += len(data)
        return data

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def say_once(key: object, message: str) -> None:
    """Log a warning the first time that `key` is met in this process."""
    if key not in _said:
        _said.add(key)
        logger.warning(message)


def source_path(source: str | Path) -> Path | None:
    """Return the file that a `wav.scp` value reads, or None for a pipe.

    Examples
    --------
    >>> str(source_path("data/a.ark:35")), source_path("sph2pipe -f wav a.sph |")
    ('data/a.ark', None)
    """
    return None if is_pipe(source) else _split(str(source))[0]


@contextlib.contextmanager
def opened(source: str | Path, where: str) -> Iterator[Recording]:
    """Open what a `wav.scp` value names as a `Recording`; failures become `DldError`, also those within the block.

    Parameters
    ----------
    source : str or Path
    where : str
        What error messages begin with.
    """
    try:
        with contextlib.ExitStack() as stack:
            yield _open(str(source), where, stack)
    except MemoryError:
        raise DldError(f"{where}: not enough memory to read this audio; cut the recording") from None
    except (soundfile.SoundFileError, OSError) as error:
        what = getattr(error, "error_string", None) or getattr(error, "strerror", None) or type(error).__name__
        what = what.strip().removeprefix("Error : ").rstrip(".").replace("\n", " ")
        raise DldError(f"{where}: audio cannot be read: {what}; copy or convert it again") from None


def _open(source, where, stack):
    data = path = offset = None
    jumps = bounded = True
    if is_pipe(source):
        data = read_pipe(source, where)
        file = _View(io.BytesIO(data))
    else:
        path, offset = _split(source)
        _check_regular(path, where)
        stream = stack.enter_context(path.open("rb"))
        if offset is None:
            file = _View(stream)
        else:
            file, bounded, jumps = _entry(stream, offset, where)
    end, frames = check_complete(file, where)
    if not bounded and jumps:
        if end is None:
            raise DldError(f"{where}: {_ENDLESS}")
        file = _View(file, 0, end)
    recording = stack.enter_context(Recording(file, jumps))
    _check_sane(recording, where)
    if recording.frames >= _UNKNOWN:
        if not bounded:
            raise DldError(f"{where}: {_ENDLESS}")
        length = _count(recording, _identity(source, data, path), where)
        file.seek(0)
        recording = stack.enter_context(Recording(file))
        recording.length = length
    elif frames is not None and frames < recording.frames:
        say_once("longer", f"audio after the number of samples that the header states is left out (first: {where})")
        recording.length = frames
    _check_length(recording, where)
    return recording


def _identity(source, data, path):
    """Return the key of the cache of counted lengths; another content has another key."""
    if data is not None:
        return source, hash(data)
    status = path.stat()
    return source, status.st_ino, status.st_size, status.st_mtime_ns


def _split(source):
    """Return the path that a `wav.scp` value names, and the offset in it where it is an archive."""
    archive = _ARCHIVE.fullmatch(source)
    if archive and not os.path.exists(source):
        return Path(archive["path"]), archive["offset"]
    return Path(source), None


def _check_regular(path, where):
    """Raise for all but a regular file; opening a FIFO would wait for a writer that may never come."""
    if not path.exists():
        hint = "" if path.is_absolute() else f" (relative paths start at the current folder, {os.getcwd()})"
        raise DldError(f"{where}: no such audio file{hint}")
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise DldError(f"{where}: audio cannot be read: not a regular file but {kind}; give a file of audio")


def _entry(stream, offset, where):
    """Return an archive entry as a `_View`, whether its end is known, and whether libsndfile may seek in it.

    kaldiio writes such archives (`dld.data.kaldi.archive`) but does not read them here: its `load_mat` decodes a whole
    entry for each segment, reads a FLAC entry on to the end of the archive and WAV of 8 or 16 bits only, believes
    lengths, and unpickles an entry that begins with `PKL`, which would run what an archive from elsewhere holds.
    """
    size = stream.seek(0, os.SEEK_END)
    # Compared as text first: Python refuses to convert thousands of digits.
    begin = int(offset) if len(offset) < 20 else size
    stream.seek(min(begin, size))
    tag = stream.read(5)
    if tag == b"AUDIO":
        # kaldiio's own kind of entry: the number of bytes of its length, the length, a file of any format.
        width = stream.read(1)
        length = int.from_bytes(stream.read(width[0]) if width else b"", "little")
        begin = stream.tell()
        if length > size - begin:
            raise DldError(f"{where}: audio is cut short ({size - begin} bytes of {length}); copy it again")
        return _View(stream, begin, begin + length), True, True
    if not tag.startswith((b"RIFF", b"fLaC")):
        raise DldError(f"{where}: no audio at that offset of the archive; make wav.scp and the archive together")
    # In a FLAC libsndfile would seek by what looks like its frames, and those of other entries look the same.
    return _View(stream, begin), False, tag.startswith(b"RIFF")


def _check_sane(recording, where):
    low, high = RATES
    if not low <= recording.samplerate <= high:
        raise DldError(
            f"{where}: the header says {recording.samplerate} Hz, which is not between {low} and {high}; "
            "correct the header or convert the audio again"
        )
    if not 1 <= recording.channels <= MOST_CHANNELS:
        raise DldError(
            f"{where}: the header says {recording.channels} channels, more than {MOST_CHANNELS}; convert it again"
        )


def _check_length(recording, where):
    if recording.length <= 0:
        raise DldError(f"{where}: no audio in it (zero length); in a data directory, `dld data fix` removes it")
    seconds = recording.length / recording.samplerate
    if seconds > MOST_SECONDS:
        raise DldError(
            f"{where}: the header says {seconds:.0f} s of audio, more than {MOST_SECONDS // 86400} days; "
            "correct the header, or cut the recording"
        )


def _count(recording, identity, where):
    """Decode a recording whose header does not state its length; its frames are kept for the next time."""
    if identity not in _counted:
        say_once("unknown", f"audio whose header does not state its length is decoded to count it (first: {where})")
        most, frames = MOST_SECONDS * recording.samplerate, 0
        for block in recording.blocks_of():
            frames += len(block)
            if frames > most:
                break
        _counted[identity] = frames
    return _counted[identity]
