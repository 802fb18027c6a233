"""n-gram language models from text: interpolated modified Kneser–Ney, written as ARPA."""

import bz2
import codecs
import contextlib
import gzip
import logging
import lzma
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dld.data.symbols import RESERVED
from dld.errors import DldError
from dld.files import atomic_write

logger = logging.getLogger(__name__)

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
# What KenLM reads, unless it was built for more.
ORDERS = range(2, 7)
# Where counts of counts say nothing, as in small or artificial text: the values that lmplz falls back on.
FALLBACK = (0.5, 1.0, 1.5)
NO_WORDS = "the text of the language model has no words"
# By convention, what stands for the logarithm of zero.
_NO_PROBABILITY = -99.0


@dataclass
class Ngrams:
    """The n-grams of one order, as arrays with one entry each.

    Attributes
    ----------
    context : int array
        Place, in the order below, of the n-gram's first k - 1 words.
    suffix : int array
        Place, in the order below, of its last k - 1 words.
    word : int array
        Its last word.
    count : int array
        How often it occurs.
    first : bool array
        It begins with the start of a sentence.
    """

    context: np.ndarray
    suffix: np.ndarray
    word: np.ndarray
    count: np.ndarray
    first: np.ndarray

    def __len__(self):
        return len(self.word)


def check_order(order, prune=()):
    """Check an order and its pruning thresholds; a `DldError` says what is wrong."""
    if order not in ORDERS:
        raise DldError(f"order {order} of the language model is outside {ORDERS[0]}…{ORDERS[-1]}, which KenLM can read")
    if prune and (len(prune) != order or prune[0] != 0 or list(prune) != sorted(prune)):
        raise DldError(f"--prune {','.join(map(str, prune))}: one threshold an order, {order} of them, rising from 0")


def check_words(sentence):
    """Raise a `DldError` where a symbol of the model is among the words."""
    for symbol in RESERVED:
        if symbol in sentence:
            raise DldError(f"the text has {symbol}, a symbol of the model, in '{' '.join(sentence)[:60]}'; take it out")


def count_ngrams(sentences, order):
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
        Of the orders 1, 2 …; those of order 1 are in the order of `words`.

    Raises
    ------
    DldError
        There are no words, or one of them is a symbol of the model.
    """
    numbers = {UNKNOWN: 0, BEGIN: 1, END: 2}
    stream, places = [], []
    for sentence in filter(None, sentences):
        check_words(sentence)
        stream.append(1)
        stream += [numbers.setdefault(word, len(numbers)) for word in sentence]
        stream.append(2)
        places.append(len(stream))
    if not stream:
        raise DldError(NO_WORDS)
    stream = np.array(stream, dtype=np.int64)
    sentence = np.zeros(len(stream), dtype=np.int64)
    sentence[places[:-1]] = 1
    sentence = sentence.cumsum()

    size = len(numbers)
    nothing = np.zeros(size, dtype=np.int64)
    found = [Ngrams(nothing, nothing, np.arange(size), np.bincount(stream, minlength=size), np.arange(size) == 1)]
    # For every place of the text, which n-gram of the present order begins there.
    beginning = stream
    for k in range(2, order + 1):
        places = np.flatnonzero(sentence[k - 1 :] == sentence[: 1 - k])
        last = stream[places + k - 1]
        keys, first_place, inverse, counts = np.unique(
            beginning[places] * size + last, return_index=True, return_inverse=True, return_counts=True
        )
        here = places[first_place]
        found.append(Ngrams(keys // size, beginning[here + 1], keys % size, counts, stream[here] == 1))
        beginning = np.full(len(stream), -1, dtype=np.int64)
        beginning[places] = inverse
    return list(numbers), found


def adjusted_counts(ngrams):
    """Kneser–Ney's counts, per order: in how many contexts an n-gram occurs, except where nothing can precede it.

    The highest order and n-grams that begin a sentence keep their own counts; `<s>` itself is never predicted and
    has none.
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


def discounts(adjusted):
    """Discounts of n-grams with adjusted count 1, 2 and 3 or more (Chen and Goodman 1998, equation 26).

    Returns
    -------
    list of float, or None
        None where the counts of counts do not give them: nothing has count 1, 2 or 3, or a discount is not above 0.

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
        Per order but the last: the share that a context leaves to words not seen in it; 1 where it is no context.
    kept : list of bool array
        Per order, what pruning left.
    discounts : list of list of float
        Per order.
    """

    words: list
    ngrams: list
    probabilities: list
    backoffs: list
    kept: list
    discounts: list

    @property
    def counts(self):
        """Number of n-grams that will be written, per order."""
        return [int(kept.sum()) for kept in self.kept]

    def write(self, path):
        """Write the model as ARPA, compressed where the name ends in .gz."""
        with atomic_write(path, "wb") as raw:
            # Without name and time of day in the header the same text gives the same bytes.
            packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if str(path).endswith(".gz") else None
            out = packed or raw
            for chunk in self._lines():
                out.write(chunk.encode())
            if packed:
                packed.close()

    def _lines(self):
        yield "\\data\\\n"
        for k, number in enumerate(self.counts, 1):
            yield f"ngram {k}={number}\n"
        names = None
        for k, ngrams in enumerate(self.ngrams, 1):
            yield f"\n\\{k}-grams:\n"
            if k == 1:
                names = self.words
            else:
                names = [f"{names[c]} {self.words[w]}" for c, w in zip(ngrams.context, ngrams.word, strict=True)]
            with np.errstate(divide="ignore"):
                logs = np.maximum(np.log10(self.probabilities[k - 1]), _NO_PROBABILITY).tolist()
            if k == len(self.ngrams):
                columns = [""] * len(names)
            else:
                columns = [f"\t{value:.7g}" for value in np.log10(self.backoffs[k - 1])]
            for name, log, column, kept in zip(names, logs, columns, self.kept[k - 1].tolist(), strict=True):
                if kept:
                    yield f"{log:.7g}\t{name}{column}\n"
        yield "\n\\end\\\n"


def estimate(sentences, order, prune=()):
    """Interpolated modified Kneser–Ney (Chen and Goodman 1998, section 3; interpolated as in lmplz, Heafield 2013).

    With adjusted counts a and discounts D, p(w | c) = (a(c w) - D) / a(c ·) + b(c) p(w | c without its first word),
    where b(c) is what the discounts took; below the unigrams lies the uniform distribution over the words of the
    text, `</s>` and `<unk>`. So every context's probabilities sum to 1, and an unknown word has a share.

    Everything is held in memory, at order 3 about half a gigabyte for a million words; for large texts take lmplz.

    Parameters
    ----------
    sentences : iterable of list of str
    order : int
        2…6.
    prune : sequence of int, optional
        Per order: n-grams that occur so often or less are left out, their share goes to the context's backoff.
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
        share = np.maximum(counts - np.array([0.0, *found])[np.minimum(counts, 3)], 0.0) * keep
        share /= totals[grams.context]
        is_context = totals > 0
        left = np.where(is_context, 1 - np.bincount(grams.context, weights=share, minlength=size), 1.0)
        if k > 1:
            # A context all of whose n-grams were pruned leaves everything to the order below.
            backoffs.append(left)
            lower = probabilities[-1][grams.suffix]
        probabilities.append(np.where(predicted[grams.word], share + left[grams.context] * lower, 0.0))
        kept.append(keep)
    return Estimate(words, ngrams, probabilities, backoffs, kept, used)


# ---------------------------------------------------------------- other estimators


def lmplz():
    """Path of KenLM's lmplz, None where it is not installed."""
    return shutil.which("lmplz")


def irstlm():
    """Folder of IRSTLM's programs (Debian's package irstlm, or the variable IRSTLM), None where it is not installed."""
    folder = Path(os.environ.get("IRSTLM", "/usr/lib/irstlm"))
    return folder if (folder / "bin/build-lm.sh").is_file() else None


def available_tool():
    """The estimator that "auto" stands for: lmplz, irstlm, or our own."""
    return "lmplz" if lmplz() else "irstlm" if irstlm() else "own"


def run_lmplz(text, arpa, order, prune=()):
    """Estimate with lmplz; discounts that a small text does not give are its fallback ones."""
    if not lmplz():
        raise DldError("lmplz is not installed; build it from KenLM's sources, or take --tool own")
    command = [lmplz(), "--order", str(order), "--discount_fallback", "--text", str(text), "--arpa", str(arpa)]
    if prune:
        command += ["--prune", *map(str, prune)]
    with tempfile.TemporaryDirectory() as scratch:
        _run([*command, "--temp_prefix", f"{scratch}/"])


def run_irstlm(text, arpa, order, prune=()):
    """Estimate with IRSTLM: its improved-shift-beta smoothing, a relative of modified Kneser–Ney."""
    home = irstlm()
    if home is None:
        raise DldError("irstlm is not installed (Debian: apt-get install irstlm); or take --tool own")
    if prune:
        raise DldError("--prune needs --tool own or lmplz")
    environment = {**os.environ, "IRSTLM": str(home)}
    with tempfile.TemporaryDirectory() as scratch:
        marked, intermediate = f"{scratch}/text", f"{scratch}/lm.ilm.gz"
        _run([home / "bin/add-start-end.sh"], environment, stdin=text, stdout=marked)
        build = [home / "bin/build-lm.sh", "-i", f"cat {shlex.quote(marked)}", "-n", order, "-o", intermediate]
        _run([*build, "-k", 1, "-s", "improved-shift-beta", "-t", f"{scratch}/stat"], environment)
        _run([home / "bin/compile-lm", intermediate, "--text=yes", str(arpa)], environment)


def _run(command, environment=None, stdin=os.devnull, stdout=os.devnull):
    with open(stdin, "rb") as source, open(stdout, "wb") as sink:
        done = subprocess.run(
            list(map(str, command)), stdin=source, stdout=sink, stderr=subprocess.PIPE, env=environment, check=False
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").split("\n")
        words = [line.strip() for line in said if re.search(r"\w", line)]
        raise DldError(f"{command[0]} failed (status {done.returncode}): {words[-1] if words else 'it said nothing'}")


def write_arpa(sentences, path, order=3, prune=(), tool="auto"):
    """Estimate a model and write it as ARPA.

    Parameters
    ----------
    sentences : iterable of list of str
    path : str or Path
        Ends in .arpa or .arpa.gz.
    order : int
    prune : sequence of int, optional
        See `estimate`.
    tool : {"auto", "own", "lmplz", "irstlm"}
        "auto" is lmplz where it is installed, else irstlm where that is, else `estimate`. lmplz gives the same
        probabilities as `estimate` and takes texts that do not fit the memory.

    Returns
    -------
    dict
        `tool`, `order`, `prune`, `sentences`, `words` (tokens of the text), `empty` (sentences without words) and, of
        `estimate`, `discounts`.
    """
    path = Path(path)
    if not path.name.endswith((".arpa", ".arpa.gz")):
        raise DldError(f"{path}: the model's name must end in .arpa or .arpa.gz")
    check_order(order, prune)
    tool = available_tool() if tool == "auto" else tool
    about = {"tool": tool, "order": order, "prune": list(prune), "sentences": 0, "words": 0, "empty": 0}

    def counted():
        for sentence in sentences:
            check_words(sentence)
            about["sentences" if sentence else "empty"] += 1
            about["words"] += len(sentence)
            yield sentence

    if tool == "own":
        model = estimate(counted(), order, prune)
        model.write(path)
        about["discounts"] = model.discounts
        return about
    programs = {"lmplz": run_lmplz, "irstlm": run_irstlm}
    if tool not in programs:
        raise DldError(f"unknown estimator {tool!r}; there are auto, own, {', '.join(programs)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lm.") as scratch:
        text, arpa = Path(scratch) / "text", Path(scratch) / "lm.arpa"
        with open(text, "w", encoding="utf-8") as out:
            out.writelines(" ".join(sentence) + "\n" for sentence in counted() if sentence)
        if not about["words"]:
            raise DldError(NO_WORDS)
        programs[tool](text, arpa, order, prune)
        with open(arpa, "rb") as source, atomic_write(path, "wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as out:
                    shutil.copyfileobj(source, out)
            else:
                shutil.copyfileobj(source, raw)
    return about


# ---------------------------------------------------------------- reading


# What compressed files begin with, whatever their names are; KenLM reads these.
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_BINARY = b"mmap lm http://kheafield.com/code"


def read_begin(path, size=64):
    """Return the first bytes of a file, unpacked where it is compressed; a `DldError` where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            begin = stream.read(size)
        for magic, unpacked in _PACKED.items():
            if begin.startswith(magic):
                with unpacked(path, "rb") as stream:
                    return stream.read(size)
        return begin
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DldError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def is_binary_model(path):
    """Whether a file is a model in KenLM's binary format."""
    return read_begin(path).startswith(_BINARY)


def open_text(path):
    """Open a text file for reading, compressed or not; one that cannot be read is a `DldError`."""
    read_begin(path, 1)
    with open(path, "rb") as stream:
        begin = stream.read(8)
    unpacked = next((unpacked for magic, unpacked in _PACKED.items() if begin.startswith(magic)), open)
    return unpacked(path, "rt", encoding="utf-8")


def read_text_lines(path):
    """Yield `(line number, line)` of a UTF-8 text file, compressed or not.

    Raises
    ------
    DldError
        The file is missing, cut short or not text; the message names the line.
    """
    number = 0
    with open_text(path) as lines:
        try:
            for number, line in enumerate(lines, 1):  # noqa: B007
                yield number, line
        except (UnicodeDecodeError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise DldError(f"{path}:{number + 1}: not text ({error})") from None


def read_sentences(path):
    """Yield the words of each line of plain text, one sentence a line; reads compressed text as well."""
    for number, line in read_text_lines(path):
        yield (line.removeprefix("\ufeff") if number == 1 else line).split()


def arpa_counts(path):
    """Number of n-grams of each order, as an ARPA file's head states them.

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


def arpa_words(path):
    """The words of an ARPA file's unigrams, symbols of the model left out.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "lm.arpa"
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
