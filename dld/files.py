"""Read text and JSON files, write files whole or not at all, and lock folders."""

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
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

from dld.errors import DldError, describe_os_error

Pathlike = str | os.PathLike[str]
Kinds = type | tuple[type, ...]

#: The file that locks a folder, see `alone_in`.
IN_USE = ".in_use"

# Temporary files of `atomic_write` (and folders of exports), and the age in seconds from which one must be of a process
# that was killed.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_FORGOTTEN, _FORGOTTEN_FOLDER = 3600, 86_400


class InUse(DldError):
    """Another process has locked a folder."""


# The open IN_USE files of folders that this process has locked.
_locks: set[TextIO] = set()


def _release_in_child() -> None:
    # A forked child, such as a worker that loads data, must not keep the lock when its parent is killed.
    for lock in _locks:
        lock.close()
    _locks.clear()


os.register_at_fork(after_in_child=_release_in_child)


def sync(path: Pathlike) -> None:
    """Flush a file or folder to the disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Pathlike, older_than: float = 0.0) -> None:
    """Remove the temporary files that killed processes left in a folder, and temporary folders older than a day.

    Parameters
    ----------
    folder : str or Path
    older_than : float
        Age in seconds; another process may still write a younger file.
    """
    for path in Path(folder).iterdir():
        # In a folder of several people, those of others stay.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if not _TEMPORARY.fullmatch(path.name):
                continue
            status = path.lstat()
            age = time.time() - status.st_mtime
            if stat.S_ISDIR(status.st_mode):
                if age >= _FORGOTTEN_FOLDER:
                    shutil.rmtree(path, ignore_errors=True)
            elif age >= older_than:
                path.unlink()


@contextlib.contextmanager
def atomic_folder(folder: Pathlike) -> Iterator[Path]:
    """Yield a temporary folder next to `folder`, and rename it to `folder` if the block succeeds.

    What has the name is removed only after that. Temporary folders older than a day, of killed processes, are removed.
    """
    folder = Path(os.path.abspath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent, _FORGOTTEN)
    work, former = (
        Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:48]}.", suffix=".part")) for _ in range(2)
    )
    try:
        yield work
        umask = os.umask(0)
        os.umask(umask)
        work.chmod(0o777 & ~umask)
        if os.path.lexists(folder):
            folder.rename(former / "former")
        work.rename(folder)
    except BaseException:
        if os.path.lexists(former / "former"):
            (former / "former").rename(folder)
        raise
    finally:
        for path in (work, former):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def atomic_write(path: Pathlike, mode: str = "w") -> Iterator[IO[Any]]:
    r"""Open a temporary file next to `path` and rename it to `path` if the block succeeds.

    Its content is on the disk before it gets the name. Temporary files in the same folder that are older than an hour,
    left by killed processes, are removed.

    Parameters
    ----------
    path : str or Path
        The file to write. Missing parent folders are made.
    mode : {"w", "wb"}
        Text (UTF-8, lines end with "\n") or bytes.

    Yields
    ------
    file object

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with atomic_write(folder / "text") as out:
    ...     _ = out.write("utt1 one two\n")
    >>> (folder / "text").read_text()
    'utt1 one two\n'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, _FORGOTTEN)
    # A part of the name: all of it and more could be longer than the file system takes.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:48]}.", suffix=".part")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as out:
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
def alone_in(folder: Pathlike, option: str = "exp_dir", remove: bool = False) -> Iterator[TextIO]:
    """Lock a folder for this process, until the block ends or the process does, however it ends.

    Temporary files that killed processes left in it are removed.

    Parameters
    ----------
    folder : str or Path
        Made if it is missing. Its file `IN_USE` names the process that has it.
    option : str
        Option by which the user chooses another folder, for the message.
    remove : bool
        At the end, remove the file, and the folder if nothing else is in it.

    Yields
    ------
    file object
        The locked file. A process that inherits its descriptor has the lock, too.

    Raises
    ------
    InUse
        Another process has locked it.
    """
    path = Path(folder) / IN_USE
    with _lock(path, option) as lock:
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        _locks.add(lock)
        try:
            sweep(folder)
            yield lock
        finally:
            _locks.discard(lock)
            if remove:
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()


def _lock(path: Path, option: str) -> TextIO:
    """Open and lock the file `IN_USE` of a folder."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _open_lock(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that had the folder may have removed the file after it was opened here.
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                return lock
        except BlockingIOError:
            owner = lock.read().strip() or "another process"
            lock.close()
            raise InUse(
                f"{path.parent}: {owner} is at work in it; "
                f"wait until it ends, stop it, or take another folder ({option})"
            ) from None
        except FileNotFoundError:
            pass
        lock.close()


def _open_lock(path: Path) -> TextIO:
    # Through a link some other file would be emptied.
    if path.is_symlink() or path.exists() and not path.is_file():
        raise DldError(f"{path}: is not a file of this program; remove it")
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+", encoding="utf-8")


def remove_folder(path: Pathlike) -> None:
    """Remove a folder with its content, or a symbolic link but not its target; do nothing if neither is there."""
    path = Path(path)
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def writable_folder(path: Pathlike) -> Path:
    """Check before any work that files can be written into a folder, or that it can be made.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Path
        The same path; the folder is not made.

    Raises
    ------
    DldError
        It is a file, or nothing can be written into it or, if it is missing, into the nearest folder above it.
    """
    path = there = Path(path)
    try:
        while not _exists(there):
            there = there.parent
        if not there.is_dir():
            where = "" if there == path else f"{there} "
            raise DldError(f"{path}: {where}is a file, a folder was expected; give another path, or remove it")
        # Permissions do not say enough: the file system may be read-only, and a server may restrict even root.
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        error.filename, error.filename2 = str(there), None
        reason = describe_os_error(error)
        raise DldError(reason if there == path else f"{path}: cannot be made: {reason}") from None
    except ValueError as error:
        raise DldError(f"{str(path)!r}: {error}") from None
    return path


def writable_file(path: Pathlike) -> Path:
    """Check before any work that a file can be written; see `writable_folder`."""
    path = Path(path)
    if path.is_dir():
        raise DldError(f"{path}: is a folder, a file was expected; give the name of a file")
    try:
        writable_folder(path.parent)
    except DldError as error:
        raise DldError(f"{path}: cannot be written: {error}") from None
    return path


def _exists(path: Path) -> bool:
    """Return whether a path exists; unlike `Path.exists`, raise an `OSError` if that cannot be found out."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        # The root and the current folder always exist.
        return path == path.parent
    return True


def read_lines(path: Pathlike, faulty: Callable[[int, str], object] | None = None) -> Iterator[tuple[int, str]]:
    """Yield `(line number, line without its end)` of a UTF-8 text file, without a byte order mark.

    Parameters
    ----------
    path : str or Path
    faulty : callable, optional
        Called with (line number, what is wrong) for a line that is not text; the line is left out.

    Raises
    ------
    DldError
        The file cannot be read or, without `faulty`, a line is not UTF-8 or has a NUL byte (the message has its
        number).
    """

    def refuse(number: int, what: str) -> None:
        raise DldError(f"{path}:{number}: {what}") from None

    faulty = faulty or refuse
    try:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                if number == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                        raise DldError(f"{path}: is UTF-16 text; save it as UTF-8")
                if b"\0" in raw:
                    faulty(number, "has a NUL byte; the file is damaged or not text, make it again")
                    continue
                try:
                    line = raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    faulty(number, f"not UTF-8 text ({error.reason} at byte {error.start})")
                    continue
                yield number, line
    except FileNotFoundError:
        raise DldError(f"{path}: no such file") from None
    except OSError as error:
        raise DldError(describe_os_error(error, path)) from None


def write_json(path: Pathlike, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    with atomic_write(path) as out:
        json.dump(value, out, indent=1, ensure_ascii=False)
        out.write("\n")


def open_file(path: Pathlike) -> BinaryIO:
    """Open a file to read its bytes.

    Raises
    ------
    DldError
        It is missing, cannot be opened, or is not a regular file.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DldError(f"the path of a file was expected, not {type(path).__name__}")
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


def read_bytes(path: Pathlike, most: int | None = None) -> bytes:
    """Read a whole file.

    Raises
    ------
    DldError
        It cannot be read, or has more than `most` bytes.
    """
    with open_file(path) as stream:
        try:
            raw = stream.read() if most is None else stream.read(most + 1)
        except OSError as error:
            raise DldError(describe_os_error(error, path)) from None
    if most is not None and len(raw) > most:
        raise DldError(f"{path}: has more than {most} bytes, which a file of its kind never has")
    return raw


def read_json(path: Pathlike) -> Any:
    """Read a JSON file.

    Raises
    ------
    DldError
        It cannot be read or is not JSON; the message names the file and, where it applies, the line.
    """
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


def read_record(
    path: Pathlike, kinds: Mapping[str, Kinds], advice: str = "copy the file again, or make it again"
) -> dict[str, Any]:
    """Read a JSON object that a command of dld wrote, and check the keys that the caller needs.

    Parameters
    ----------
    path : str or Path
    kinds : mapping of str to type or tuple of types
        Required keys and the types of their values. Numbers must be finite, and `true` is not a number.
    advice : str
        End of the messages: what to do.

    Returns
    -------
    dict

    Raises
    ------
    DldError
        The file cannot be read, is not a JSON object, lacks a key, or a value has another type.
    """
    record = read_json(path)
    check_keys(record, kinds, str(path), advice)
    return record


def check_keys(record: Any, kinds: Mapping[str, Kinds], where: str, advice: str) -> None:
    """Raise a `DldError` if a value from JSON is not an object with the given keys; see `read_record`."""
    if not isinstance(record, dict):
        raise DldError(f"{where}: an object was expected, not {_kind(record)}; {advice}")
    for key, kind in kinds.items():
        if key not in record:
            raise DldError(f"{where}: lacks {key}; {advice}")
        check_kind(record[key], kind, f"{where}: {key}", advice)


def check_kind(value: Any, kind: Kinds, where: str, advice: str) -> None:
    """Raise a `DldError` if a value from JSON is not of a type, or of one of several; see `read_record`."""
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


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def file_hash(path: Pathlike, algorithm: str) -> str:
    """Return the hexadecimal hash of a file's bytes; the algorithm is one of `hashlib`."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def sha256(path: Pathlike) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    return file_hash(path, "sha256")
