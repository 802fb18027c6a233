"""Counts of n-grams, and Kneser–Ney's counts of their contexts."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dld.data.symbols import RESERVED
from dld.errors import DldError

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
NO_WORDS = "the text of the language model has no words"


@dataclass
class Ngrams:
    """The n-grams of one order, as arrays with one entry each.

    Attributes
    ----------
    context : int array
        Index, in the order below, of the n-gram's first k - 1 words.
    suffix : int array
        Index, in the order below, of its last k - 1 words.
    word : int array
        Its last word.
    count : int array
        How often it occurs.
    first : bool array
        Whether it begins with the start of a sentence.
    """

    context: np.ndarray
    suffix: np.ndarray
    word: np.ndarray
    count: np.ndarray
    first: np.ndarray

    def __len__(self):
        """Return the number of words."""
        return len(self.word)


def check_words(sentence: list[str]) -> None:
    """Raise a `DldError` where a symbol of the model is among the words."""
    for symbol in RESERVED:
        if symbol in sentence:
            raise DldError(f"the text has {symbol}, a symbol of the model, in '{' '.join(sentence)[:60]}'; take it out")


def count_ngrams(sentences: Iterable[list[str]], order: int) -> tuple[list[str], list[Ngrams]]:
    """Count the n-grams of all orders up to `order`.

    Parameters
    ----------
    sentences : iterable of list of str
        Words; sentences without any are passed over.
    order : int

    Returns
    -------
    words : list of str
        The vocabulary: `<unk>`, `<s>`, `</s>`, then the words of the text in the order of their first occurrence.
    ngrams : list of Ngrams
        N-grams of the orders 1, 2 …; those of order 1 are in the order of `words`.

    Raises
    ------
    DldError
        There are no words, or one of them is a symbol of the model.
    """
    numbers = {UNKNOWN: 0, BEGIN: 1, END: 2}
    text: list[int] = []
    ends: list[int] = []
    for sentence in filter(None, sentences):
        check_words(sentence)
        text.append(1)
        text += [numbers.setdefault(word, len(numbers)) for word in sentence]
        text.append(2)
        ends.append(len(text))
    if not text:
        raise DldError(NO_WORDS)
    stream = np.array(text, dtype=np.int64)
    # For every position of the text, the number of its sentence.
    sentence_of = np.zeros(len(stream), dtype=np.int64)
    sentence_of[ends[:-1]] = 1
    sentence_of = sentence_of.cumsum()

    size = len(numbers)
    none = np.zeros(size, dtype=np.int64)
    found = [Ngrams(none, none, np.arange(size), np.bincount(stream, minlength=size), np.arange(size) == 1)]
    # For every position of the text, which n-gram of the present order begins there.
    beginning = stream
    for k in range(2, order + 1):
        positions = np.flatnonzero(sentence_of[k - 1 :] == sentence_of[: 1 - k])
        last = stream[positions + k - 1]
        keys, first, inverse, counts = np.unique(
            beginning[positions] * size + last, return_index=True, return_inverse=True, return_counts=True
        )
        here = positions[first]
        found.append(Ngrams(keys // size, beginning[here + 1], keys % size, counts, stream[here] == 1))
        beginning = np.full(len(stream), -1, dtype=np.int64)
        beginning[positions] = inverse
    return list(numbers), found


def adjusted_counts(ngrams: list[Ngrams]) -> list[np.ndarray]:
    """Return Kneser–Ney's counts, per order: in how many contexts an n-gram occurs.

    Where nothing can precede an n-gram it keeps its own count, as do all of the highest order. `<s>` itself is never
    predicted and has none.
    """
    counts = []
    for lower, higher in zip(ngrams, [*ngrams[1:], None], strict=True):
        if higher is None:
            adjusted = lower.count.copy()
        else:
            adjusted = np.where(lower.first, lower.count, np.bincount(higher.suffix, minlength=len(lower)))
        if lower is ngrams[0]:
            adjusted[1] = 0
        counts.append(adjusted)
    return counts
