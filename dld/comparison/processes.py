"""Child processes of a driver: some at a time, each with a log, ended when the driver gets a signal or dies."""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dld.errors import DldError

#: Seconds that processes have to save their work before they are killed.
GRACE = 50
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_CHILD = Path(__file__).with_name("child.py")


class Interrupted(Exception):
    """The driver received a signal to end.

    Attributes
    ----------
    signal : int
        Its number; the exit status is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command resumes")
        self.signal = number


class Failed(DldError):
    """A command ended with a status other than 0.

    Attributes
    ----------
    status : int
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Processes:
    """The processes that run, from any thread, and how they are ended.

    Each has a session of its own, so that Ctrl-C reaches the driver alone and what a process leaves behind is found. On
    Linux it gets SIGTERM when the driver is killed.

    Parameters
    ----------
    inherited : sequence of int
        File descriptors that the processes keep open, such as a lock: it lasts as long as any of them runs.

    Attributes
    ----------
    signal : int or None
        Number of the signal that asked for the end, see `listening`.
    """

    def __init__(self, inherited: Sequence[int] = ()) -> None:
        self.signal: int | None = None
        self._stopped = False
        self._inherited = tuple(inherited)
        self._running: dict[int, subprocess.Popen] = {}
        self._lock = threading.Lock()

    def call(self, command: Sequence[str], log=None, cwd=None, env=None) -> int:
        """Run a command and return its exit status, negative where a signal ended it.

        What it prints is appended to the file `log`, or goes where the driver's own output goes.
        """
        with contextlib.ExitStack() as stack:
            out = None if log is None else stack.enter_context(open(log, "ab"))
            with self._lock:
                if self._stopped:
                    return -signal.SIGTERM
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=None if out is None else subprocess.STDOUT,
                    cwd=cwd,
                    env=env,
                    start_new_session=True,
                    pass_fds=self._inherited,
                )
                self._running[process.pid] = process
        try:
            return process.wait()
        finally:
            _end_group(process.pid)
            with self._lock:
                del self._running[process.pid]

    def stop(self) -> None:
        """Ask all processes to end; no other one is started from now on."""
        with self._lock:
            self._stopped = True
            for process in self._running.values():
                process.terminate()

    def kill(self) -> None:
        """Kill all processes and what they started."""
        with self._lock:
            for pid in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let the signals that ask for an end set `signal` within the block."""

        def note(number, _):
            self.signal = number

        before = {number: signal.signal(number, note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _end_group(group: int) -> None:
    """End what a process that has ended left in its group."""
    for number, seconds in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0)):
        end = time.monotonic() + seconds
        try:
            os.killpg(group, number)
            while time.monotonic() < end:
                time.sleep(0.02)
                os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return


@dataclass(frozen=True)
class Task:
    """What a worker thread does.

    Attributes
    ----------
    work : callable
        Raises a `DldError` where it fails.
    needs : tuple of str
        Names of the tasks that must be done before.
    """

    work: Callable[[], None]
    needs: tuple[str, ...] = ()


@dataclass
class Progress:
    """How far `run_tasks` is: names of tasks."""

    waiting: list[str]
    running: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    failed: dict[str, DldError] = field(default_factory=dict)
    stopping: bool = False


def run_tasks(
    tasks: Mapping[str, Task],
    processes: Processes,
    jobs: int,
    show: Callable[[Progress], None] = lambda progress: None,
    go_on: bool = True,
) -> Progress:
    """Run tasks, `jobs` at a time, each after those that it needs.

    Parameters
    ----------
    tasks : mapping of str to Task
    processes : Processes
        Where the processes of the tasks are registered.
    jobs : int
    show : callable
        Called with the `Progress` several times a second, and at the end.
    go_on : bool
        Run the other tasks after one has failed, except those that need it; otherwise the running ones are stopped.

    Returns
    -------
    Progress
        At the end. Tasks that need a failed one are among the failed.

    Raises
    ------
    Interrupted
        A signal came; all processes have ended.
    """
    progress = Progress(list(tasks))
    futures: dict[concurrent.futures.Future, str] = {}
    stopped_at = None
    with processes.listening(), concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        while futures or (progress.waiting and stopped_at is None):
            if stopped_at is None and (processes.signal is not None or (progress.failed and not go_on)):
                processes.stop()
                progress.stopping = True
                stopped_at = time.monotonic()
            if stopped_at is None:
                for name in _ready(tasks, progress)[: jobs - len(futures)]:
                    progress.waiting.remove(name)
                    progress.running.append(name)
                    futures[pool.submit(tasks[name].work)] = name
            elif time.monotonic() > stopped_at + GRACE:
                processes.kill()
            show(progress)
            finished, _ = concurrent.futures.wait(futures, timeout=0.1)
            for future in finished:
                _finish(progress, futures.pop(future), future)
        show(progress)
    if processes.signal is not None:
        raise Interrupted(processes.signal)
    return progress


def _finish(progress: Progress, name: str, future: concurrent.futures.Future) -> None:
    progress.running.remove(name)
    error = future.exception()
    if error is None:
        progress.done.append(name)
    elif isinstance(error, DldError):
        progress.failed[name] = error
    else:
        raise error


def _ready(tasks: Mapping[str, Task], progress: Progress) -> list[str]:
    """Return the tasks that can begin; move those whose needs have failed."""
    ready = []
    for name in list(progress.waiting):
        bad = [need for need in tasks[name].needs if need in progress.failed]
        if bad:
            progress.waiting.remove(name)
            progress.failed[name] = DldError(f"{name} was not made: it needs {bad[0]}")
        elif all(need in progress.done for need in tasks[name].needs):
            ready.append(name)
    return ready


def tail(path, lines: int = 5) -> list[str]:
    """Return the last lines of a log."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.path.getsize(path) - 10_000))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.replace("\r", "\n").rstrip().splitlines()[-lines:]
