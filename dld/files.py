"""Text and JSON files, written whole or not at all, and folders that one process has to itself."""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import tempfile
from pathlib import Path

from dld.errors import DldError, describe_os_error

IN_USE = ".in_use"


@contextlib.contextmanager
def atomic_write(path, mode="w"):
    """Open a temporary file beside `path`; it takes the name `path` only if the block succeeds.

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
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with os.fdopen(handle, mode, **text) as out:
            yield out
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
        yield


def writable_folder(path):
    """Find out before any work whether files can be written into a folder, which is made later if it is missing.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Path
        The same; nothing is made.

    Raises
    ------
    DldError
        It is a file, or the folder, or the first one above it that is there, cannot be written.
    """
    path = there = Path(path)
    try:
        while not _exists(there):
            there = there.parent
        if not there.is_dir():
            where = "" if there == path else f"{there} "
            raise DldError(f"{path}: {where}is a file, a folder was expected; give another path, or remove it")
        # Permissions alone do not tell: the file system may be read-only, the user may be root, or not on a server.
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        error.filename, error.filename2 = str(there), None
        reason = describe_os_error(error)
        raise DldError(reason if there == path else f"{path}: cannot be made: {reason}") from None
    except ValueError as error:
        raise DldError(f"{str(path)!r}: {error}") from None
    return path


def writable_file(path):
    """Find out before any work whether a file can be written; see `writable_folder`."""
    path = Path(path)
    if path.is_dir():
        raise DldError(f"{path}: is a folder, a file was expected; give the name of a file")
    try:
        writable_folder(path.parent)
    except DldError as error:
        raise DldError(f"{path}: cannot be written: {error}") from None
    return path


def _exists(path):
    """Return whether there is anything; unlike `Path.exists`, say so where it cannot be found out."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        # The root and the current folder are always there.
        return path == path.parent
    return True


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
