"""Text and JSON files, written whole or not at all, and folders that one process has to itself."""

import codecs
import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path

from dld.errors import DldError, describe_os_error

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
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and not isinstance(error.filename, str):
            error.filename = str(path)
        raise


@contextlib.contextmanager
def alone_in(folder, option="exp_dir", remove=False):
    """Keep a folder to this process; the hold ends with the block, or with the process however that ends.

    What killed processes left half-written in it is removed.

    Parameters
    ----------
    folder : str or Path
        Made where it is missing. A file in it, IN_USE, says who has it.
    option : str
        By which the user gives another folder, for the message.
    remove : bool
        Remove the file in the end, and the folder where nothing else is in it.

    Yields
    ------
    file object
        The locked file. A process that inherits its descriptor holds the folder as well.

    Raises
    ------
    DldError
        Another process has it.
    """
    path = Path(folder) / IN_USE
    with _locked_mark(path, option) as holder:
        holder.truncate(0)
        holder.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        holder.flush()
        _held.add(holder)
        try:
            sweep(folder)
            yield holder
        finally:
            _held.discard(holder)
            if remove:
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()


def _locked_mark(path, option):
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = _open_mark(path)
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the folder may have removed the file in between.
            if os.path.samestat(os.fstat(holder.fileno()), os.stat(path)):
                return holder
        except BlockingIOError:
            owner = holder.read().strip() or "another process"
            holder.close()
            raise DldError(
                f"{path.parent}: {owner} is at work in it; wait until it ends, stop it, or take another folder ({option})"
            ) from None
        except FileNotFoundError:
            pass
        holder.close()


def _open_mark(path):
    # A link would make some other file the mark, and empty it.
    if path.is_symlink() or path.exists() and not path.is_file():
        raise DldError(f"{path}: is not a file of this program; remove it")
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+", encoding="utf-8")


def remove_folder(path):
    """Remove a folder with all in it, or a symbolic link to one, whose target stays; nothing there is fine."""
    path = Path(path)
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


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
    """Yield `(line number, line without its end)` of a UTF-8 text file; a byte order mark at its beginning is left out.

    Raises
    ------
    DldError
        The file cannot be read, or a line is not UTF-8 or has a NUL byte (the message gives its number).
    """
    try:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                if number == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                        raise DldError(f"{path}: is UTF-16 text; save it as UTF-8")
                if b"\0" in raw:
                    raise DldError(f"{path}:{number}: has a NUL byte; the file is damaged or not text, make it again")
                try:
                    yield number, raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise DldError(f"{path}:{number}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except FileNotFoundError:
        raise DldError(f"{path}: no such file") from None
    except OSError as error:
        raise DldError(describe_os_error(error, path)) from None


def write_json(path, value):
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as out:
        json.dump(value, out, indent=1, ensure_ascii=False)
        out.write("\n")


def open_file(path):
    """Open a file to read its bytes; a `DldError` says why what is there cannot be opened, or is not a file."""
    try:
        if os.path.isdir(path):
            raise DldError(f"{path}: is a folder, a file was expected")
        if os.path.exists(path) and not os.path.isfile(path):
            raise DldError(f"{path}: is a pipe or a device, a file was expected")
        return open(path, "rb")
    except FileNotFoundError:
        raise DldError(f"{path}: no such file") from None
    except OSError as error:
        raise DldError(describe_os_error(error, path)) from None


def read_bytes(path, most=None):
    """Read a file whole; a `DldError` names one that cannot be read, or that has more than `most` bytes."""
    with open_file(path) as stream:
        try:
            raw = stream.read() if most is None else stream.read(most + 1)
        except OSError as error:
            raise DldError(describe_os_error(error, path)) from None
    if most is not None and len(raw) > most:
        raise DldError(f"{path}: has more than {most} bytes, which a file of its kind never has")
    return raw


def read_json(path):
    """Read a JSON file; one that is missing, cannot be read or is malformed is a `DldError` that names it."""
    raw = read_bytes(path)
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DldError(f"{path}:{line}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise DldError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise DldError(f"{path}: not JSON that this program writes: nested too deeply, or a number too long") from None


def read_record(path, kinds, advice="copy the file again, or make it again"):
    """Read a JSON object that a program of dld wrote, and check what is read of it.

    Parameters
    ----------
    path : str or Path
    kinds : dict of str to type or tuple of types
        Keys that must be there, and what their values are. Numbers must be finite, and `true` is not a number.
    advice : str
        End of the messages: what to do.

    Returns
    -------
    dict

    Raises
    ------
    DldError
        The file cannot be read, is not a JSON object, lacks a key or has a value of another type there.
    """
    record = read_json(path)
    check_keys(record, kinds, str(path), advice)
    return record


def check_keys(record, kinds, where, advice):
    """Raise if a value that was read from JSON is not an object with certain keys; see `read_record`."""
    if not isinstance(record, dict):
        raise DldError(f"{where}: an object was expected, not {_kind(record)}; {advice}")
    for key, kind in kinds.items():
        if key not in record:
            raise DldError(f"{where}: lacks {key}; {advice}")
        check_kind(record[key], kind, f"{where}: {key}", advice)


def check_kind(value, kind, where, advice):
    """Raise if a value that was read from JSON is not of a type, or of one of several; see `read_record`."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    good = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
    if good and isinstance(value, float):
        good = math.isfinite(value)
    if not good:
        wanted = " or ".join(_KINDS[name] for name in kinds)
        found = f"{value!r}"[:40] if isinstance(value, int | float) else _kind(value)
        raise DldError(f"{where} is {found}, expected {wanted}; {advice}")


_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


def _kind(value):
    return _KINDS.get(type(value), type(value).__name__)


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
