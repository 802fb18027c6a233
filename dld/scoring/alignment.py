"""Word alignments and error counts by jiwer, every edit costing 1 as in Kaldi's compute-wer.

The number of errors is the least possible, and the alignment shows just these errors. Where several alignments have
that number, which one is shown is not promised, as with Kaldi: the counts of insertions, deletions and substitutions
can differ from another program's, their sum cannot.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CORRECT, SUBSTITUTION, INSERTION, DELETION = "C", "S", "I", "D"
GAP = "***"


@dataclass(frozen=True)
class Alignment:
    """One aligned reference and hypothesis.

    Attributes
    ----------
    ops : tuple of (str, str, str)
        `(operation, reference word, hypothesis word)` with operation one of C, S, I, D; the missing side of an
        insertion or deletion is `***`.
    """

    ops: tuple[tuple[str, str, str], ...]

    def _count(self, operation):
        return sum(op[0] == operation for op in self.ops)

    @property
    def correct(self) -> int:
        """Words that are right."""
        return self._count(CORRECT)

    @property
    def subs(self) -> int:
        """Words of the reference that another word replaces."""
        return self._count(SUBSTITUTION)

    @property
    def ins(self) -> int:
        """Words that only the hypothesis has."""
        return self._count(INSERTION)

    @property
    def dels(self) -> int:
        """Words that only the reference has."""
        return self._count(DELETION)

    @property
    def words(self) -> int:
        """Words of the reference."""
        return len(self.ops) - self.ins

    @property
    def errors(self) -> int:
        """Insertions, deletions and substitutions together."""
        return len(self.ops) - self.correct

    @property
    def counts(self) -> "ErrorCounts":
        """The same as `ErrorCounts` of one sentence."""
        return ErrorCounts(self.words, self.ins, self.dels, self.subs, 1, int(self.errors > 0))


@dataclass(frozen=True)
class ErrorCounts:
    """Counts that add up over sentences.

    Attributes
    ----------
    words, ins, dels, subs : int
        Reference words and the three kinds of error.
    sentences, sentence_errors : int
        Sentences, and those of them with at least one error.

    Examples
    --------
    >>> total = ErrorCounts(words=3, subs=1, sentences=1, sentence_errors=1) + ErrorCounts(words=5, sentences=1)
    >>> total.wer, total.ser
    (12.5, 50.0)
    """

    words: int = 0
    ins: int = 0
    dels: int = 0
    subs: int = 0
    sentences: int = 0
    sentence_errors: int = 0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        """Return the counts of both together."""
        return ErrorCounts(
            self.words + other.words,
            self.ins + other.ins,
            self.dels + other.dels,
            self.subs + other.subs,
            self.sentences + other.sentences,
            self.sentence_errors + other.sentence_errors,
        )

    @property
    def errors(self) -> int:
        """Insertions, deletions and substitutions together."""
        return self.ins + self.dels + self.subs

    @property
    def wer(self) -> float:
        """Word error rate in percent; without reference words 0 if there is no error, else infinity."""
        return _percent(self.errors, self.words)

    @property
    def ser(self) -> float:
        """Sentence error rate in percent."""
        return _percent(self.sentence_errors, self.sentences)

    def __str__(self) -> str:
        """Return Kaldi's line: `%WER 12.34 [ 12 / 345, 1 ins, 2 del, 9 sub ]`."""
        return f"%WER {self.wer:.2f} [ {self.errors} / {self.words}, {self.ins} ins, {self.dels} del, {self.subs} sub ]"


def _percent(part, whole):
    if whole:
        return 100.0 * part / whole
    return float("inf") if part else 0.0


def _process(refs, hyps):
    """Align lists of sentences, each a list of words, with jiwer, which is kept from splitting or changing them."""
    import jiwer  # only this needs it: reading the records of decodes does not

    return jiwer.process_words(refs, hyps, reference_transform=_unchanged, hypothesis_transform=_unchanged)


def _unchanged(sentences):
    return sentences


def align(ref: Sequence[str], hyp: Sequence[str]) -> Alignment:
    """Align two token sequences with the fewest edits.

    Parameters
    ----------
    ref, hyp : sequence of str
        Tokens (words or characters).

    Returns
    -------
    Alignment

    Examples
    --------
    >>> alignment = align("one two three".split(), "one too three four".split())
    >>> alignment.ops
    (('C', 'one', 'one'), ('S', 'two', 'too'), ('C', 'three', 'three'), ('I', '***', 'four'))
    >>> alignment.words, alignment.errors
    (3, 2)
    """
    ref, hyp = list(ref), list(hyp)
    ops = []
    for chunk in _process([ref], [hyp]).alignments[0]:
        left, right = ref[chunk.ref_start_idx : chunk.ref_end_idx], hyp[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "equal":
            ops.extend((CORRECT, a, b) for a, b in zip(left, right, strict=True))
        elif chunk.type == "substitute":
            ops.extend((SUBSTITUTION, a, b) for a, b in zip(left, right, strict=True))
        elif chunk.type == "delete":
            ops.extend((DELETION, a, GAP) for a in left)
        else:
            ops.extend((INSERTION, GAP, b) for b in right)
    return Alignment(tuple(ops))


def error_counts(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> ErrorCounts:
    """Return the summed errors of `(reference tokens, hypothesis tokens)` pairs.

    Examples
    --------
    >>> str(error_counts([(["a", "b"], ["a"]), (["c"], ["d"])]))
    '%WER 66.67 [ 2 / 3, 0 ins, 1 del, 1 sub ]'
    """
    return sum((align(ref, hyp).counts for ref, hyp in pairs), ErrorCounts())


def wer(refs: Iterable[str], hyps: Iterable[str]) -> float:
    """Return the word error rate in percent of parallel lists of sentences.

    Parameters
    ----------
    refs, hyps : iterable of str
        Sentences, words separated by white space.

    Raises
    ------
    ValueError
        The lists differ in length.

    Examples
    --------
    >>> wer(["one two", "three four"], ["one too", "three four"])
    25.0
    """
    found = _process([ref.split() for ref in refs], [hyp.split() for hyp in hyps])
    errors = found.substitutions + found.deletions + found.insertions
    return _percent(errors, found.hits + found.substitutions + found.deletions)
