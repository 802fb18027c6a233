"""Pipes of `wav.scp` at their limits; `tests/reliability/test_broken_audio.py` has those that fail."""

import pytest

from dld.data import pipes
from dld.data.pipes import read_pipe
from dld.errors import DldError


def test_a_pipe_that_trickles_is_stopped(monkeypatch):
    monkeypatch.setenv(pipes.TIMEOUT, "0.5")
    monkeypatch.setattr(pipes, "_TOTAL", 2)
    with pytest.raises(DldError, match="u1: the pipe runs for 1 s and was stopped.*DLD_PIPE_TIMEOUT"):
        read_pipe("while true; do echo x; sleep 0.1; done |", "u1")


@pytest.mark.parametrize("command", ["cat a\0b |", f"cat {'a' * (1 << 20)} |"], ids=["NUL", "too long"])
def test_a_command_that_no_shell_takes_is_one_line(command):
    with pytest.raises(DldError, match="u1: the pipe cannot be run: ") as caught:
        read_pipe(command, "u1")
    assert "\n" not in str(caught.value)


def test_the_last_line_of_a_long_complaint_is_shown():
    with pytest.raises(DldError, match="status 3, 0 bytes: the reason$"):
        read_pipe("seq 5000 >&2; echo the reason >&2; exit 3 |", "u1")
