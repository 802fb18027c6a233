"""Bootstrap intervals and significance for word error rates.

Utterances are drawn with replacement and the error rate of each draw is computed, as in M. Bisani and H. Ney,
"Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dld.records import Record

# Numbers drawn at a time: keeps the draws of a large test set within some tens of megabytes.
CHUNK = 1 << 21


def _resampled_sums(columns, replicates, seed):
    """Sum every column over `replicates` draws of its n entries: (columns, n) -> (columns, replicates)."""
    columns = np.stack([np.asarray(column, dtype=np.int64) for column in columns])
    if columns.ndim != 2 or columns.shape[1] == 0:
        raise ValueError("errors and words must be lists of the same length with at least one utterance")
    if columns[-1].sum() == 0:
        raise ValueError("there are no reference words")
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}")
    number = columns.shape[1]
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK // number)
    sums = [
        columns[:, generator.integers(number, size=(min(step, replicates - start), number))].sum(axis=-1)
        for start in range(0, replicates, step)
    ]
    return np.concatenate(sums, axis=1)


def _bounds(values, level):
    """Return the percentile interval of `values`, without the draws where the value is undefined."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def wer_interval(
    errors: ArrayLike, words: ArrayLike, replicates: int = 10000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap interval of a word error rate.

    Parameters
    ----------
    errors, words : sequence of int, shape (utterances,)
        Errors and reference words of each utterance.
    replicates : int
        Draws of the test set.
    seed : int
        The same seed returns the same interval.
    level : float
        Part of the draws between the two bounds.

    Returns
    -------
    low, high : float
        Percent.

    Raises
    ------
    ValueError
        Lengths differ, or there are no utterances or reference words.

    Examples
    --------
    >>> low, high = wer_interval([0, 1, 0, 2] * 50, [10] * 200)
    >>> 5.5 < low < 7.5 < high < 9.5
    True
    """
    sums, total = _resampled_sums([errors, words], replicates, seed)
    return _bounds(100.0 * sums / np.maximum(total, 1), level)


@dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """Difference of two word error rates, a − b.

    Attributes
    ----------
    delta, low, high : float
        Percentage points, with its interval.
    relative, relative_low, relative_high : float or None
        100·delta / WER_b, negative where a is better, with its interval; None where b makes no error.
    p : float
        Two-sided.
    """

    delta: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p: float


def paired_bootstrap(
    errors_a: ArrayLike,
    errors_b: ArrayLike,
    words: ArrayLike,
    replicates: int = 10000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Compare system a with baseline b on the same utterances.

    Each draw takes the same utterances for both systems, so what is hard for both cancels out. With B draws, of which
    `l` have WER_a ≤ WER_b and `g` have WER_a ≥ WER_b, the two-sided p is `min(1, 2·(1 + min(l, g)) / (B + 1))`: twice
    the part of the draws in which the sign of the difference is the rarer one. No p below 2 / (B + 1) can be reported.

    Parameters
    ----------
    errors_a, errors_b, words : sequence of int, shape (utterances,)
        Errors of both systems and the reference words, utterance by utterance.
    replicates, seed, level
        As in `wer_interval`.

    Returns
    -------
    Difference

    Examples
    --------
    >>> result = paired_bootstrap([1, 0, 1, 0] * 40, [2, 1, 1, 0] * 40, [8] * 160)
    >>> result.delta, result.relative, result.p < 0.001
    (-6.25, -50.0, True)
    >>> paired_bootstrap([1, 0], [1, 0], [3, 3]).p
    1.0
    """
    a, b, total = _resampled_sums([errors_a, errors_b, words], replicates, seed)
    delta = 100.0 * (a - b) / np.maximum(total, 1)
    low, high = _bounds(delta, level)
    relative = np.divide(100.0 * (a - b), b, out=np.full(len(b), np.nan), where=b > 0)
    sum_a, sum_b, sum_words = int(np.sum(errors_a)), int(np.sum(errors_b)), int(np.sum(words))
    relative_low, relative_high = _bounds(relative, level) if sum_b else (None, None)
    rarer = min(np.count_nonzero(delta <= 0), np.count_nonzero(delta >= 0))
    return Difference(
        delta=100.0 * (sum_a - sum_b) / sum_words,
        low=low,
        high=high,
        relative=100.0 * (sum_a - sum_b) / sum_b if sum_b else None,
        relative_low=relative_low,
        relative_high=relative_high,
        p=min(1.0, 2.0 * (1 + int(rarer)) / (replicates + 1)),
    )
