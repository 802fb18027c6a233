"""What a run says while it trains, by a clock that the tests move."""

import logging

import pytest

from dld.training.curves import Curves
from dld.training.watch import Position, Watch


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


class Points(Curves):
    """Keeps what it is given."""

    def __init__(self):
        self.points, self.flushed = [], 0

    def write(self, update, meta, train=None, valid=None):
        self.points.append((update, meta, train, valid))

    def flush(self):
        self.flushed += 1


@pytest.fixture
def clock():
    return Clock()


def run(watch, clock, updates, seconds=1.0, per_epoch=50, epochs=4):
    """Let updates go by, each of two batches with 8 s of audio in all."""
    for update in updates:
        clock.now += seconds
        epoch, step = divmod(update - 1, per_epoch)
        at = Position(epoch + 1, epochs, update, epochs * per_epoch, per_epoch - step - 1, 1.2e-3)
        values = [{"loss": float(update), "ctc": 1.0}, {"loss": update + 1.0, "ctc": 2.0}]
        watch.updated(at, values, [{"gates/block_01": 1.0}, {"gates/block_01": 0.0}], 8.0)


def test_a_line_at_each_interval_has_means_speed_and_the_time_left(clock, caplog):
    watch = Watch(10, unit="s of audio", clock=clock)
    with caplog.at_level(logging.INFO):
        run(watch, clock, range(1, 26))
    # The mean over the updates since the last line: 1 to 10, each with batches of loss u and u + 1.
    assert caplog.messages == [
        "epoch 1/4, update  10/200: loss 6.000 (ctc 1.500), lr 1.20e-03, 8 s of audio per second, "
        "left: epoch 40 s, run 3 min",
        "epoch 1/4, update  20/200: loss 16.000 (ctc 1.500), lr 1.20e-03, 8 s of audio per second, "
        "left: epoch 30 s, run 3 min",
    ]


def test_without_an_interval_there_is_no_line(clock, caplog):
    watch = Watch(clock=clock)
    with caplog.at_level(logging.INFO):
        run(watch, clock, range(1, 200), seconds=100)
    assert caplog.messages == []


def test_validations_are_in_the_time_left_and_not_in_the_speed(clock, caplog):
    watch = Watch(30, unit="s of audio", clock=clock)
    run(watch, clock, range(1, 51))
    watch.lines.begin("epoch 1/4, dev", 2)
    clock.now += 600
    watch.validation_seconds = watch.lines.seconds
    assert watch.left_after_epoch() == " | 32 min left"  # 150 updates, three validations
    watch.begin_training()
    with caplog.at_level(logging.INFO):
        run(watch, clock, [51])
    [line] = caplog.messages
    assert "8 s of audio per second, left: epoch 11 min, run 32 min" in line


def test_after_the_last_epoch_and_before_the_first_update_nothing_is_said_of_the_time_left(clock):
    watch = Watch(clock=clock)
    assert watch.left_after_epoch() == ""
    run(watch, clock, range(151, 201))
    assert watch.left_after_epoch() == ""


def test_a_resumed_run_counts_its_own_updates_for_the_time_left(clock):
    watch = Watch(clock=clock)
    run(watch, clock, [101, 102], seconds=2.0)
    assert watch.left(watch.position) == (2.0 * 48, 2.0 * 98)


def test_curves_get_the_means_of_ten_updates_and_what_is_left_before_a_checkpoint(clock):
    curves = Points()
    watch = Watch(curves=curves, clock=clock)
    run(watch, clock, range(1, 14))
    watch.flush()
    watch.flush()
    assert curves.flushed == 2
    train = {"loss": 6.0, "ctc": 1.5, "gates/block_01": 0.5}
    assert curves.points[0] == (10, {"lr": 1.2e-3, "speed": 8.0, "epoch": 1.0}, train, None)
    assert [point[0] for point in curves.points] == [10, 13]
    assert curves.points[1][2]["loss"] == 12.5


def test_curves_of_a_validation_are_its_scores(clock):
    curves = Points()
    watch = Watch(curves=curves, clock=clock)
    entry = {"epoch": 2, "updates": 40, "seconds": 1.5, "lr": 0.1, "train_loss": 3.0, "valid_loss": 2.0}
    watch.validated({**entry, "wer": {"2": 50.0, "12": 25.0}, "mean_wer": 37.5, "without_loss": 3})
    watch.validated({**entry, "valid_loss": None, "wer": {}})
    scores = {"loss": 2.0, "wer/n2": 50.0, "wer/n12": 25.0, "mean_wer": 37.5}
    assert curves.points == [(40, {}, None, scores), (40, {}, None, {})]
    assert curves.flushed == 2
