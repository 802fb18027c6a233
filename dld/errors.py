"""The one exception that users are meant to see."""

import re


class DldError(Exception):
    """A problem that the user can fix.

    The message says in one line what is wrong, where (file, line or id) and what to do about it.
    Commands print it without a traceback and exit with status 1.
    """


def worker_died(error):
    """Return what to tell the user where a process that loads data was killed, None for any other exception.

    PyTorch raises this in whatever its main process does at that moment.

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
