"""End a training on request: finish the update, save, leave."""

import contextlib
import signal
import threading


class Stopped(Exception):
    """A signal ended the work.

    Attributes
    ----------
    signal : int
        Its number; the exit status is 128 more, as shells have it.
    """

    def __init__(self, number, where="the last checkpoint is whole"):
        super().__init__(f"stopped by {signal.Signals(number).name} ({where}); the same command resumes")
        self.signal = number


class StopRequest:
    """Receive the signals by which a user, or the system that runs the job, ends this process.

    They are SIGTERM, SIGINT (Ctrl-C), and SIGUSR2, by which a cluster says that the time is soon over. Within
    `deferred()` a signal only sets `requested`, and the code there looks at it where its work can be saved; a second
    signal, and one outside of it, raises `Stopped` at once.
    """

    def __init__(self):
        self.requested = None
        self._deferring = False

    @contextlib.contextmanager
    def listening(self):
        """Handle the signals within the block; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self):
        """Let signals wait for `raise_if_requested` within the block."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def raise_if_requested(self):
        """Raise `Stopped` if a signal has come."""
        if self.requested is not None:
            raise Stopped(self.requested)

    def _handle(self, number, _):
        again, self.requested = self.requested is not None, number
        if again or not self._deferring:
            raise Stopped(number)
