"""Text and JSON files, written whole or not at all, and folders that one process has to itself."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import socket
import tempfile
import time
from pathlib import Path

from dld.errors import DldError

IN_USE = ".in_use"

# Temporary files of `atomic_write`, and the seconds after which one must be of a process that was killed.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_FORGOTTEN = 3600

# The IN_USE files of folders that this process has to itself, open.
_held = set()


def _release_in_child():
    # A forked child, such as a worker that loads data, must not hold the folder when its parent is killed.
    for holder in _held:
        holder.close()
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)


def sync(path):
    """Flush a file or folder to the disk, so that it is there after a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder, older_than=0.0):
    """Remove what writes that were killed left in a folder.

    Parameters
    ----------
    folder : str or Path
    older_than : float
        Seconds; a younger file may be one that another process is writing.
    """
    for path in Path(folder).iterdir():
        with contextlib.suppress(FileNotFoundError):
            if _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime >= older_than:
                path.unlink()


@contextlib.contextmanager
def atomic_write(path, mode="w"):
    """Open a temporary file next to `path`; it takes the name `path` only if the block succeeds.

    What is written is on the disk before it takes the name. Temporary files that killed processes left there an hour
    ago or earlier are removed.

    Parameters
    ----------
    path : str or Path
        The file to write. Missing parent folders are made.
    mode : {"w", "wb"}
        Text (UTF-8, "\\n" line ends) or bytes.

    Yields
    ------
    file object

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with atomic_write(folder / "text") as out:
    ...     _ = out.write("utt1 one two\\n")
    >>> (folder / "text").read_text()
    'utt1 one two\\n'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, _FORGOTTEN)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with os.fdopen(handle, mode, **text) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def alone_in(folder):
    """Keep a folder to this process; the hold ends with the block, or with the process however that ends.

    What killed processes left half-written in it is removed.

    Parameters
    ----------
    folder : str or Path
        Made where it is missing. A file in it, IN_USE, says who has it.

    Raises
    ------
    DldError
        Another process has it.
    """
    path = Path(folder) / IN_USE
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as holder:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder.seek(0)
            raise DldError(
                f"{folder}: {holder.read().strip() or 'another process'} is at work in it; "
                "wait until it ends, stop it, or take another folder (exp_dir)"
            ) from None
        holder.truncate(0)
        holder.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        holder.flush()
        _held.add(holder)
        try:
            sweep(folder)
            yield
        finally:
            _held.discard(holder)


def read_lines(path):
    """Yield `(line number, line without its end)` of a UTF-8 text file.

    Raises
    ------
    DldError
        The file is missing, or a line is not UTF-8 (the message gives its number).
    """
    try:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                try:
                    yield number, raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise DldError(f"{path}:{number}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except FileNotFoundError:
        raise DldError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DldError(f"{path}: is a folder, a file was expected") from None


def write_json(path, value):
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as out:
        json.dump(value, out, indent=1, ensure_ascii=False)
        out.write("\n")


def read_json(path):
    """Read a JSON file; a missing or malformed one is a `DldError` naming the place."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        raise DldError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise DldError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None


def file_hash(path, algorithm):
    """Hexadecimal hash of a file's bytes, by one of the algorithms of `hashlib`."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def sha256(path):
    """Hexadecimal SHA-256 of a file's bytes."""
    return file_hash(path, "sha256")
