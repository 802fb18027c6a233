"""The exceptions that users see, and what errors of the operating system mean to them."""

import errno
import os
import re


class DldError(Exception):
    """A problem that the user can fix.

    The message says in one line what is wrong, where (file, line or id) and what to do about it.
    Commands print it without a traceback and exit with status 1.
    """


class UsageError(DldError):
    """A command that is called in a wrong way: an unknown option, a missing argument. The exit status is 2."""


_OS_ERRORS: dict[int | None, str] = {
    errno.EACCES: "no permission; change it (chmod), or give another path",
    errno.EPERM: "no permission; change it (chmod), or give another path",
    errno.EROFS: "the file system is read-only; give another path",
    errno.ENOSPC: "no space left on the disk; make room and start the command again",
    errno.EDQUOT: "the disk quota is used up; make room and start the command again",
    errno.EFBIG: "the file would be larger than is allowed here (see ulimit -f)",
    errno.EISDIR: "is a folder, a file was expected",
    errno.ENOTDIR: "is a file, or has one on its way, where a folder was expected",
    errno.EEXIST: "is there already and is not a folder; give another path, or remove it",
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
    errno.ENOENT: "no such file or folder",
    errno.ELOOP: "its symbolic links point at each other",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n) or use fewer processes",
    errno.ENFILE: "too many open files on this machine; use fewer processes",
    errno.EIO: "input/output error; check the disk",
}


def describe_os_error(error: OSError, path: str | os.PathLike[str] | None = None) -> str:
    """Say in one line what an `OSError` means: the path, the reason and what to do.

    Parameters
    ----------
    error : OSError
    path : str or Path, optional
        Used if the error does not name one.

    Examples
    --------
    >>> describe_os_error(PermissionError(errno.EACCES, "Permission denied", "exp/ld"))
    'exp/ld: no permission; change it (chmod), or give another path'
    """
    reason = _OS_ERRORS.get(error.errno) or error.strerror or " ".join(str(error).split()) or type(error).__name__
    path = error.filename2 or error.filename or path
    # Some libraries put the number of an open file there.
    return f"{path}: {reason}" if isinstance(path, (str, bytes)) or hasattr(path, "__fspath__") else reason


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether it is Python's error or one of torch's, which has no class for a lack of main memory."""
    names = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return names or "DefaultCPUAllocator" in str(error)


def worker_died(error: BaseException) -> DldError | None:
    """Return the error for the user if a process that loads data was killed, None for any other exception.

    PyTorch raises it in its main process, at whatever line that happens to be.

    Examples
    --------
    >>> str(worker_died(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")))[:54]
    'a process that loads data (pid 7) was killed (Killed):'
    """
    found = re.match(r"DataLoader worker \((pid.*?)\) (?:is killed by signal: ([\w ]+)|exited)", str(error))
    if not isinstance(error, RuntimeError) or found is None:
        return None
    who, how = found[1].replace("(s)", ""), f"was killed ({found[2]})" if found[2] else "has died"
    return DldError(
        f"a process that loads data ({who}) {how}: memory or shared memory (/dev/shm) may be short; use "
        "fewer of them (--num_workers; 0 loads in the main process), and run the same command again to resume"
    )
