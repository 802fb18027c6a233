"""ARPA files: written from an estimate, and read as far as decoding needs it."""

import codecs
import contextlib
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from dld.decoding.ngram.counting import BEGIN, END, UNKNOWN
from dld.decoding.ngram.text import read_begin, read_text_lines
from dld.errors import DldError
from dld.files import atomic_write

if TYPE_CHECKING:
    from dld.decoding.ngram.smoothing import Estimate

# By convention, the logarithm of zero.
_NO_PROBABILITY = -99.0
_BINARY = b"mmap lm http://kheafield.com/code"


@contextlib.contextmanager
def write_packed(path: str | Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file as `atomic_write` does; what is written is compressed where the name ends in .gz."""
    with atomic_write(path, "wb") as raw:
        # Without name and time of day in the header the same text has the same bytes.
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if str(path).endswith(".gz") else None
        yield packed or raw
        if packed:
            packed.close()


def lines_of(model: "Estimate") -> Iterator[str]:
    """Yield the lines of an estimated model as ARPA."""
    yield "\\data\\\n"
    for k, number in enumerate(model.counts, 1):
        yield f"ngram {k}={number}\n"
    names = model.words
    for k, ngrams in enumerate(model.ngrams, 1):
        yield f"\n\\{k}-grams:\n"
        if k > 1:
            names = [f"{names[c]} {model.words[w]}" for c, w in zip(ngrams.context, ngrams.word, strict=True)]
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log10(model.probabilities[k - 1]), _NO_PROBABILITY).tolist()
        if k == len(model.ngrams):
            columns = [""] * len(names)
        else:
            columns = [f"\t{value:.7g}" for value in np.log10(model.backoffs[k - 1])]
        for name, log, column, kept in zip(names, logs, columns, model.kept[k - 1].tolist(), strict=True):
            if kept:
                yield f"{log:.7g}\t{name}{column}\n"
    yield "\n\\end\\\n"


def is_binary_model(path: str | Path) -> bool:
    """Return whether a file is a model in KenLM's binary format."""
    return read_begin(path).startswith(_BINARY)


def arpa_counts(path: str | Path) -> list[int]:
    """Return the number of n-grams of each order, as an ARPA file's head states them.

    Raises
    ------
    DldError
        The file is missing, empty or does not begin as ARPA does.
    """
    begin = read_begin(path)
    if begin.startswith(codecs.BOM_UTF8):
        raise DldError(f"{path}: begins with a byte order mark (U+FEFF), which KenLM does not read; take it out")
    if not begin:
        raise DldError(f"{path}: is empty; make a language model with dld lm")
    counts = {}
    with contextlib.suppress(DldError):  # of a file that is not text
        for number, line in read_text_lines(path):
            if match := re.fullmatch(r"ngram\s+([0-9]+)\s*=\s*([0-9]+)\s*", line):
                counts[int(match[1])] = int(match[2])
            elif line.rstrip() == "\\1-grams:":
                if sorted(counts) == list(range(1, len(counts) + 1)) and counts:
                    return [counts[k] for k in sorted(counts)]
                break
            elif number > 1000:
                break
    raise DldError(f"{path}: not an ARPA file; make one with dld lm")


def arpa_words(path: str | Path) -> set[str]:
    """Return the words of an ARPA file's unigrams, symbols of the model left out.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "lm.arpa"
    >>> from dld.decoding.ngram import estimate
    >>> estimate([["one", "two"]], order=2).write(path)
    >>> sorted(arpa_words(path))
    ['one', 'two']
    """
    expected = arpa_counts(path)[0]
    words, inside = set(), False
    for number, line in read_text_lines(path):
        if line.startswith("\\"):
            if inside:
                break
            inside = line.rstrip() == "\\1-grams:"
        elif inside and line.strip():
            fields = line.split()
            if len(fields) not in (2, 3):
                raise DldError(f"{path}:{number}: not a unigram: '{line.rstrip()[:60]}'")
            words.add(fields[1])
    if len(words) != expected:
        raise DldError(f"{path}: {len(words)} unigrams, its head says {expected}; the file is damaged")
    return words - {UNKNOWN, UNKNOWN.upper(), BEGIN, END}
