"""Interpolated modified Kneser–Ney smoothing."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dld.decoding.ngram import arpa
from dld.decoding.ngram.counting import Ngrams, adjusted_counts, count_ngrams
from dld.errors import DldError

logger = logging.getLogger(__name__)

# What KenLM reads, unless it was built for more.
ORDERS = range(2, 7)
# Where counts of counts say nothing, as in small or artificial text: the values that lmplz falls back on.
FALLBACK = (0.5, 1.0, 1.5)


def check_order(order: int, prune: Sequence[int] = ()) -> None:
    """Raise a `DldError` where an order or its pruning thresholds make no sense."""
    if order not in ORDERS:
        raise DldError(f"order {order} of the language model is outside {ORDERS[0]}…{ORDERS[-1]}, which KenLM can read")
    if prune and (len(prune) != order or prune[0] != 0 or list(prune) != sorted(prune)):
        raise DldError(f"--prune {','.join(map(str, prune))}: one threshold an order, {order} of them, rising from 0")


def discounts(adjusted: np.ndarray) -> list[float] | None:
    """Return the discounts of n-grams with adjusted count 1, 2 and 3 or more (Chen and Goodman 1998, equation 26).

    Returns
    -------
    list of float, or None
        None where the counts of counts do not suffice: nothing has count 1, 2 or 3, or a discount is not above 0.

    Examples
    --------
    >>> discounts(np.repeat([1, 2, 3, 4], [8, 4, 2, 1]))
    [0.5, 1.25, 2.0]
    >>> discounts(np.array([1, 1, 2, 7]))
    """
    n = [int((adjusted == j).sum()) for j in range(5)]
    if 0 in n[1:4]:
        return None
    y = n[1] / (n[1] + 2 * n[2])
    values = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
    return values if min(values) > 0 else None


@dataclass
class Estimate:
    """An estimated model, ready to be written.

    Attributes
    ----------
    words : list of str
    ngrams : list of Ngrams
    probabilities : list of float array
        Per order, of each n-gram's last word given the others.
    backoffs : list of float array
        Per order but the last: the part that a context leaves to words not seen in it; 1 where it is not a context.
    kept : list of bool array
        Per order, what pruning left.
    discounts : list of list of float
        Per order.
    """

    words: list[str]
    ngrams: list[Ngrams]
    probabilities: list[np.ndarray]
    backoffs: list[np.ndarray]
    kept: list[np.ndarray]
    discounts: list[list[float]]

    @property
    def counts(self) -> list[int]:
        """Number of n-grams that will be written, per order."""
        return [int(kept.sum()) for kept in self.kept]

    def write(self, path: str | Path) -> None:
        """Write the model as ARPA, compressed where the name ends in .gz."""
        with arpa.write_packed(path) as out:
            for chunk in arpa.lines_of(self):
                out.write(chunk.encode())


def estimate(sentences: Iterable[list[str]], order: int, prune: Sequence[int] = ()) -> Estimate:
    """Estimate a model by interpolated modified Kneser–Ney smoothing.

    Chen and Goodman 1998, section 3; interpolated as in lmplz (Heafield 2013).

    With adjusted counts a and discounts D, p(w | c) = (a(c w) - D) / a(c ·) + b(c) p(w | c without its first word),
    where b(c) is what the discounts took; below the unigrams is the uniform distribution over the words of the
    text, `</s>` and `<unk>`. So every context's probabilities sum to 1, and an unknown word has a probability.

    Everything is in memory at once, at order 3 about half a gigabyte for a million words; for large texts use lmplz.

    Parameters
    ----------
    sentences : iterable of list of str
    order : int
        2…6.
    prune : sequence of int, optional
        Per order: n-grams that occur so often or less are left out, their probability goes to the context's backoff.
        Unigrams always stay, and thresholds never fall.

    Returns
    -------
    Estimate

    Raises
    ------
    DldError
        The text has no words or symbols of the model; order or thresholds make no sense.

    Examples
    --------
    >>> model = estimate([["one", "two"], ["one"]], order=2)
    >>> model.counts
    [5, 4]
    >>> round(float(model.probabilities[0].sum()), 6)
    1.0
    """
    check_order(order, prune)
    words, ngrams = count_ngrams(sentences, order)
    adjusted = adjusted_counts(ngrams)
    predicted = np.ones(len(words), dtype=bool)
    predicted[1] = False
    lower = np.where(predicted, 1 / predicted.sum(), 0.0)
    probabilities, backoffs, kept, used = [], [], [], []
    for k, (grams, counts) in enumerate(zip(ngrams, adjusted, strict=True), 1):
        found = discounts(counts)
        if found is None:
            logger.warning("too few different counts of %d-grams to estimate discounts; taking %s", k, FALLBACK)
            found = list(FALLBACK)
        used.append(found)
        keep = np.ones(len(grams), dtype=bool)
        if k > 1 and prune:
            keep = grams.count > prune[k - 1]
        size = 1 if k == 1 else len(ngrams[k - 2])
        totals = np.bincount(grams.context, weights=counts, minlength=size)
        # An n-gram that was never seen, as <unk>, has nothing to take a discount from.
        part = np.maximum(counts - np.array([0.0, *found])[np.minimum(counts, 3)], 0.0) * keep
        part /= totals[grams.context]
        is_context = totals > 0
        left = np.where(is_context, 1 - np.bincount(grams.context, weights=part, minlength=size), 1.0)
        if k > 1:
            # A context all of whose n-grams were pruned leaves everything to the order below.
            backoffs.append(left)
            lower = probabilities[-1][grams.suffix]
        probabilities.append(np.where(predicted[grams.word], part + left[grams.context] * lower, 0.0))
        kept.append(keep)
    return Estimate(words, ngrams, probabilities, backoffs, kept, used)
