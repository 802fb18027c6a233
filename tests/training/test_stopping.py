"""Signals: deferred while work can be saved, at once otherwise, and the handlers put back at the end."""

import os
import signal
import threading

import pytest

from dld.training.stopping import Stopped, StopRequest

NUMBERS = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_outside_a_deferral_stops_at_once(number):
    stop = StopRequest()
    with (
        pytest.raises(Stopped, match=f"stopped by {number.name} .the last checkpoint is whole"),
        stop.listening() as same,
    ):
        assert same is stop
        os.kill(os.getpid(), number)
        pytest.fail("the signal was not noticed")


@pytest.mark.parametrize("number", NUMBERS)
def test_a_deferred_signal_waits_until_it_is_asked_for(number):
    stop, reached = StopRequest(), []
    with pytest.raises(Stopped) as stopped, stop.listening(), stop.deferred():
        stop.raise_if_requested()
        os.kill(os.getpid(), number)
        reached.append("the work at hand")
        stop.raise_if_requested()
        reached.append("more work")
    assert reached == ["the work at hand"]
    assert stopped.value.signal == number == stop.requested


def test_a_second_signal_does_not_wait():
    stop, reached = StopRequest(), []
    with pytest.raises(Stopped), stop.listening(), stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("first")
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("second")
    assert reached == ["first"]


def test_after_a_deferral_a_signal_stops_at_once():
    stop = StopRequest()
    with pytest.raises(ZeroDivisionError), stop.deferred():
        raise ZeroDivisionError
    with pytest.raises(Stopped), stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal was not noticed")


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in NUMBERS]
    with pytest.raises(ZeroDivisionError), StopRequest().listening():
        assert [signal.getsignal(number) for number in NUMBERS] != before
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_another_thread_can_listen_but_handles_nothing():
    handlers, stop = [], StopRequest()

    def work():
        with stop.listening() as same:
            handlers.append((same is stop, signal.getsignal(signal.SIGTERM)))
        handlers.append("left without an error")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [(True, signal.getsignal(signal.SIGTERM)), "left without an error"]


def test_the_message_says_where_it_stopped():
    said = "stopped by SIGINT (after update 6); the same command resumes"
    assert str(Stopped(signal.SIGINT, "after update 6")) == said
