"""Pipes of a Kaldi `wav.scp`: commands whose output is audio, run with limits, or refused."""

import contextlib
import functools
import os
import selectors
import signal
import subprocess
import time

from dld.errors import DldError

#: Environment variables. They are what switches pipes off, so that worker processes and whole pipelines obey as well.
ALLOW = "DLD_ALLOW_PIPES"
TIMEOUT = "DLD_PIPE_TIMEOUT"
MEGABYTES = "DLD_PIPE_MEGABYTES"

_LIMITS = {TIMEOUT: 60, MEGABYTES: 1024}
# A command that trickles is stopped after this many times the seconds that it may be silent.
_TOTAL = 60
_BLOCK = 1 << 20


class PipesRefused(DldError):
    """Pipes may not run, or what limits them is not a number: no fault of the audio, so nothing may be left out."""


def is_pipe(source: object) -> bool:
    """Return whether a `wav.scp` value is a command whose output is the audio."""
    return str(source).rstrip().endswith("|")


def allow_pipes(allowed: bool) -> None:
    """Let pipes in `wav.scp` run, in this process and those it starts, or refuse them.

    Parameters
    ----------
    allowed : bool
    """
    os.environ[ALLOW] = "true" if allowed else "false"


def pipes_allowed() -> bool:
    """Return whether pipes may run: the environment variable `DLD_ALLOW_PIPES`, by default yes, as in Kaldi.

    Raises
    ------
    PipesRefused
        The variable is neither `true` nor `false`: a guess could run a command.
    """
    value = os.environ.get(ALLOW, "true")
    if value not in ("true", "false"):
        raise PipesRefused(f"the environment variable {ALLOW} is {value!r}; it must be true or false")
    return value == "true"


def read_pipe(source: str, where: str) -> bytes:
    """Run a pipe and return what it writes.

    A command that writes nothing for `DLD_PIPE_TIMEOUT` seconds (60), runs for 60 times as long, or writes more than
    `DLD_PIPE_MEGABYTES` (1024), is killed together with all it has started.

    Parameters
    ----------
    source : str
        Ending in `|`.
    where : str
        What error messages begin with.

    Returns
    -------
    bytes

    Raises
    ------
    DldError
        Pipes are not allowed, the command fails, writes nothing, or exceeds a limit.
    """
    if not pipes_allowed():
        raise PipesRefused(
            f"{where}: this pipe is a command, and none is run ({ALLOW} or --allow-pipes is false); "
            "write its output to a file, or allow pipes if you trust wav.scp"
        )
    try:
        return _run(source, limit_of(TIMEOUT), limit_of(MEGABYTES))
    except _PipeError as error:
        # The command's result is kept between calls, the name of the utterance is not part of it.
        raise DldError(f"{where}: {error}") from None


class _PipeError(Exception):
    """What is wrong with a pipe, without where."""


def limit_of(name: str) -> float:
    """Return the limit that the environment variable `DLD_PIPE_TIMEOUT` or `DLD_PIPE_MEGABYTES` sets.

    Raises
    ------
    PipesRefused
        It is not a positive number.
    """
    value = os.environ.get(name, str(_LIMITS[name]))
    with contextlib.suppress(ValueError):
        if 0 < float(value) < float("inf"):
            return float(value)
    raise PipesRefused(f"the environment variable {name} is {value!r}; it must be a positive number")


# Segments of one piped recording are usually read one after the other: run its command once for them. A failure is an
# exception and is not kept.
@functools.lru_cache(maxsize=1)
def _run(source, seconds, megabytes):
    command = source.rstrip().removesuffix("|")
    try:
        # A session of its own, so that the command can be killed with all that it has started.
        process = subprocess.Popen(
            command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise _PipeError(f"the pipe cannot be run: {error}") from None
    try:
        with process.stdout, process.stderr:
            output, said = _collect(process, seconds, megabytes)
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise _PipeError(f"the pipe does not end, {seconds:g} s after its output did; correct the command") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status != 0 or not output:
        lines = "".join(c if c.isprintable() or c in "\r\n" else " " for c in said.decode("utf-8", "replace"))
        why = f": {lines.strip().splitlines()[-1]}" if lines.strip() else ""
        raise _PipeError(f"the pipe ended with status {status}, {len(output)} bytes{why}")
    return output


def _collect(process, seconds, megabytes):
    """Return standard output and the end of standard error; raise `_PipeError` at a limit."""
    blocks, size, said = [], 0, b""
    began = last = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, last + seconds - time.monotonic()))
            for key, _ in ready:
                data = os.read(key.fd, _BLOCK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    said = (said + data)[-4096:]
                else:
                    blocks.append(data)
                    size += len(data)
                    last = time.monotonic()
            now = time.monotonic()
            if size > megabytes * 1e6:
                raise _PipeError(
                    f"the pipe writes more than {megabytes:g} MB and was stopped; correct it, or raise {MEGABYTES}"
                )
            if selector.get_map() and now >= last + seconds:
                raise _PipeError(
                    f"the pipe has written nothing for {seconds:g} s ({size} bytes in all) and was stopped; "
                    f"correct the command, or raise {TIMEOUT}"
                )
            if now > began + _TOTAL * seconds:
                raise _PipeError(
                    f"the pipe runs for {_TOTAL * seconds:g} s and was stopped; correct the command, or raise {TIMEOUT}"
                )
    return b"".join(blocks), said
