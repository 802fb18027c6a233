"""Times in words, and lines on a long task at their interval."""

import io
import logging
import sys

import pytest

from dld import progress
from dld.progress import Interval, Lines, spell


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3569, "59 min"), (3571, "1 h 0 min"), (172740, "47 h 59 min")]
    + [(172800, "2 d 0 h"), (277200, "3 d 5 h")],
)
def test_a_span_of_time_has_two_units_at_most(seconds, text):
    assert spell(seconds) == text


def test_an_interval_is_due_once_when_it_is_over():
    clock = Clock()
    interval = Interval(10, clock)
    seen = []
    for clock.now in (105.0, 110.0, 111.0, 119.0, 121.0):
        seen.append(interval.due())
    assert seen == [False, True, False, False, True]


def test_an_interval_of_0_is_never_due():
    clock = Clock()
    interval = Interval(0, clock)
    clock.now = 1e9
    assert not interval.due()


def test_a_task_says_how_far_it_is_and_how_long_it_takes(caplog):
    clock = Clock()
    lines = Lines(Interval(10, clock))
    with caplog.at_level(logging.INFO):
        lines.begin("cache", 60)
        for _ in range(25):
            clock.now += 1.0
            lines.step()
    assert caplog.messages == ["cache: batch 10/60, 50 s left", "cache: batch 20/60, 40 s left"]
    assert lines.seconds == 25


def test_work_of_some_seconds_has_a_bar_on_a_terminal_and_nowhere_else(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0)
    assert list(progress.bar([1, 2, 3], "words")) == [1, 2, 3]
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress.bar(iter([1, 2, 3]), "words", 3, "word")) == [1, 2, 3]
    assert "words: 100%" in terminal.getvalue() and "3/3" in terminal.getvalue()
    quick = Terminal()
    monkeypatch.setattr(sys, "stderr", quick)
    monkeypatch.setattr(progress, "PATIENCE", 60)
    list(progress.bar([1, 2, 3], "words"))
    assert quick.getvalue() == ""


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self):
        return True
