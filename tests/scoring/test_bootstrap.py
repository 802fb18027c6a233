"""Bootstrap intervals at the edges: single words, draws without errors, the smallest p, and what is refused."""

import numpy as np
import pytest

from dld.scoring.bootstrap import _bounds, paired_bootstrap, wer_interval


@pytest.mark.parametrize(
    "errors, words, message",
    [
        ([], [], "at least one utterance"),
        ([1, 2], [0, 0], "no reference words"),
    ],
)
def test_what_has_no_error_rate_is_refused(errors, words, message):
    with pytest.raises(ValueError, match=message):
        wer_interval(errors, words)
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(errors, errors, words)


def test_at_least_one_draw_is_needed():
    with pytest.raises(ValueError, match="replicates must be at least 1, got 0"):
        wer_interval([1], [1], replicates=0)
    assert wer_interval([1], [4], replicates=1) == (25.0, 25.0)


def test_a_single_word_has_its_error_rate():
    assert wer_interval([1], [1], replicates=10) == (100.0, 100.0)
    assert paired_bootstrap([0], [1], [1], replicates=10).delta == -100.0


def test_the_smallest_p_is_two_of_all_draws_and_one_more():
    result = paired_bootstrap([0] * 20, [1] * 20, [5] * 20, replicates=9)
    assert result.p == pytest.approx(0.2)
    assert (result.low, result.high) == (-20.0, -20.0)
    assert (result.relative_low, result.relative_high) == (-100.0, -100.0)


def test_draws_in_which_the_baseline_makes_no_error_have_no_relative_difference():
    result = paired_bootstrap([0, 2], [0, 1], [5, 5], replicates=200)
    assert (result.relative, result.relative_low, result.relative_high) == (100.0, 100.0, 100.0)
    result = paired_bootstrap([0, 2], [0, 0], [5, 5], replicates=200)
    assert (result.relative, result.relative_low, result.relative_high) == (None, None, None)
    assert _bounds(np.array([np.nan, np.inf]), 0.95) == (None, None)


def test_the_interval_holds_the_share_of_the_draws_that_was_asked_for():
    values = np.arange(101.0)
    assert _bounds(values, 0.9) == (pytest.approx(5.0), pytest.approx(95.0))
    errors, words = [0, 1, 3, 0, 2] * 10, [4, 5, 6, 7, 8] * 10
    narrow, wide = (wer_interval(errors, words, level=level) for level in (0.5, 0.95))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_many_draws_are_made_in_parts_of_which_none_is_lost(monkeypatch):
    monkeypatch.setattr("dld.scoring.bootstrap.CHUNK", 7)
    from dld.scoring.bootstrap import _resampled_sums

    sums = _resampled_sums([[1, 2, 3], [1, 1, 1]], replicates=11, seed=0)
    assert sums.shape == (2, 11)
    assert set(sums[1]) == {3}
    assert len(set(sums[0])) > 1
