"""How the C library hands freed memory back."""

import ctypes
import sys

# Of glibc's malloc.h: what mallopt sets, and the highest threshold that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _HIGHEST = -1, -3, 32 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep the memory that tensors free, for the tensors of the next batch.

    By default glibc returns large pieces to the system at once; each batch then waits for the system to hand out and
    clear the same memory again, a fifth of a training step on a CPU. The process stays as large as its largest batch.

    Returns
    -------
    bool
        False where the C library is not glibc; then nothing has changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _HIGHEST)) and bool(mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))
