"""Learning-rate schedules at their edges; what they are in between is a property (`tests/reliability`)."""

import pytest

from dld.errors import DldError
from dld.training.optim import Noam, WarmupCosine


@pytest.mark.parametrize("update, rate", [(1, 0.1), (9, 0.9), (10, 1.0), (11, 0.2), (99, 0.2)])
def test_a_run_that_ends_with_its_warm_up_goes_from_the_peak_to_the_floor(update, rate):
    assert WarmupCosine(1.0, warmup=10, floor=0.2)(update, total=10) == pytest.approx(rate)


def test_without_warm_up_the_rate_falls_from_the_first_update():
    schedule = WarmupCosine(2.0)
    assert [schedule(update, total=100) for update in (0, 50, 100, 200)] == pytest.approx([2.0, 1.01, 0.02, 0.02])


def test_a_peak_of_zero_leaves_the_weights_as_they_are():
    assert WarmupCosine(0.0, warmup=2)(1, total=10) == Noam(0.0, warmup=2)(1, total=10) == 0.0


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: WarmupCosine(-1.0), "peak"),
        (lambda: WarmupCosine(1.0, warmup=-1), "warmup"),
        (lambda: WarmupCosine(1.0, floor=1.5), "floor"),
        (lambda: Noam(-1.0, warmup=1), "peak"),
        (lambda: Noam(1.0, warmup=0), "warmup"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, name):
    with pytest.raises(DldError, match=name):
        make()
