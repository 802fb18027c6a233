"""Phrases that a search is told to expect: reading them, and the bonus that they add to a text.

Needs only the standard library.
"""

import functools
import os
import stat
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dld.checks import POSITIVE, shown
from dld.errors import DldError
from dld.files import read_lines

#: What begins a word in the names of SentencePiece's tokens.
WORD = "\u2581"

#: Phrases, phrases with weights, or the path of a file.
Given = str | os.PathLike | Sequence[str] | Mapping[str, float]


class Hotword(NamedTuple):
    """A phrase, its weight in nats per character, and where it was read, for messages."""

    phrase: str
    weight: float
    where: str


def read_hotwords(given: Given, weight: float) -> list[Hotword]:
    r"""Return the phrases of a list, of a mapping from phrase to weight, or of a file.

    Parameters
    ----------
    given : path, sequence of str, or mapping of str to float
        A file has a phrase per line, optionally its weight after a tab; empty lines and lines that begin with `#` are
        left out.
    weight : float
        In nats per character, of the phrases without one of their own.

    Raises
    ------
    DldError
        There is no phrase, a weight is not a number above 0, or a phrase has two different weights; the message names
        the line.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "names.txt"
    >>> _ = path.write_text("# who calls\nada lovelace\nbabbage\t1.5\n")
    >>> [(word.phrase, word.weight) for word in read_hotwords(path, 0.5)]
    [('ada lovelace', 0.5), ('babbage', 1.5)]
    """
    rows: list[tuple[object, object, str]]
    if isinstance(given, Mapping):
        rows = [(phrase, own, f"hotword {shown(phrase)}") for phrase, own in given.items()]
    elif isinstance(given, (str, os.PathLike)):
        # A pipe may be given, such as <(…), but a device such as /dev/zero has no end.
        if stat.S_ISCHR(_mode(given)) or stat.S_ISBLK(_mode(given)):
            raise DldError(f"{given}: is a device, a file of hotwords was expected")
        rows = [_parsed(line, weight, f"{given}:{number}") for number, line in read_lines(given) if _is_phrase(line)]
    else:
        rows = [(phrase, weight, f"hotword {number}") for number, phrase in enumerate(given, 1)]
    found: dict[str, Hotword] = {}
    for phrase, own, where in rows:
        if not isinstance(phrase, str) or not phrase.split():
            raise DldError(f"{where}: {shown(phrase)} is not a phrase; write the words as the transcripts spell them")
        if not isinstance(own, (int, float)) or not POSITIVE.accepts(own):
            raise DldError(
                f"{where}: weight {shown(own)} of {phrase.strip()!r}; it must be {POSITIVE}, in nats per character"
            )
        word = Hotword(" ".join(phrase.split()), float(own), where)
        first = found.setdefault(word.phrase, word)
        if first.weight != word.weight:
            raise DldError(
                f"{where}: {word.phrase!r} has weight {word.weight:g}, but {first.weight:g} at {first.where}; keep one"
            )
    if not found:
        name = f"{given}: " if isinstance(given, (str, os.PathLike)) else ""
        raise DldError(f"{name}no hotwords; write a phrase per line, or leave them out")
    return list(found.values())


def _mode(path: str | os.PathLike) -> int:
    """Return the mode of a file, 0 where there is none that can be asked."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return 0


def _is_phrase(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _parsed(line: str, weight: float, where: str) -> tuple[str, object, str]:
    phrase, tab, own = line.rstrip().partition("\t")
    try:
        return phrase, float(own) if tab else weight, where
    except ValueError:
        return phrase, own, where


class Bonus:
    """The bonus of texts under hotwords: an automaton over their characters (Aho and Corasick, 1975).

    Each time that a phrase occurs in a text as whole words, it adds its weight times its number of characters: the
    longer a phrase, the more it costs where the acoustic model takes it for something else. While a search builds a
    text, the beginning of a phrase at its end counts its characters so far, and no longer when the text continues
    otherwise; so a word that takes several tokens survives pruning until it is whole. The automaton reads characters,
    not tokens, because a search may spell a word with other tokens than the tokenizer does.

    A state is a number; `START` is that of an empty text.

    Parameters
    ----------
    hotwords : sequence of Hotword
    tokens : sequence of str
        Names of the tokens, which must be able to spell the phrases.

    Attributes
    ----------
    pending : callable
        `(state, text="")` → what the beginning of a phrase at the end counts after more characters, in nats.

    Raises
    ------
    DldError
        No token has a character of a phrase; the message names line and characters.

    Examples
    --------
    >>> bonus = Bonus(read_hotwords(["one two"], 0.5), ["<blk>", "<unk>", "▁one", "▁", "t", "w", "o"])
    >>> state, found = bonus.read(bonus.START, "one t")
    >>> found, bonus.pending(state)
    (0.0, 2.5)
    >>> state, found = bonus.read(state, "wo ")
    >>> found, bonus.pending(state)
    (3.5, 0.0)
    """

    # The space before the first word has been read: phrases begin with it, and end with one.
    START = 1

    def __init__(self, hotwords: Sequence[Hotword], tokens: Sequence[str]):
        known = {c for token in tokens[2:] for c in token.replace(WORD, "")}
        self._next: list[dict[str, int]] = [{" ": 1}, {}]
        self._pending, self._found = [0.0, 0.0], [0.0, 0.0]
        for hotword in hotwords:
            if unknown := sorted(set(hotword.phrase) - known - {" "}):
                named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown)
                raise DldError(
                    f"{hotword.where}: no token of the model has {named} of {hotword.phrase!r}; spell it as the "
                    "transcripts do, or leave it out"
                )
            self._add(hotword)
        self._fallback = [0] * len(self._next)
        self._link()
        # The search asks for the same few thousand again and again.
        self.pending = functools.lru_cache(maxsize=2**16)(self._pending_after)

    def _add(self, hotword: Hotword) -> None:
        """Add the states of a phrase."""
        state = self.START
        for number, character in enumerate(hotword.phrase + " ", 1):
            if character not in self._next[state]:
                self._next[state][character] = len(self._next)
                self._next.append({})
                self._pending.append(0.0)
                self._found.append(0.0)
            state = self._next[state][character]
            if number <= len(hotword.phrase):
                self._pending[state] = max(self._pending[state], number * hotword.weight)
        self._found[state] += len(hotword.phrase) * hotword.weight

    def _link(self) -> None:
        """Set where each state falls back to: the longest end of what it has read that is the beginning of a phrase."""
        waiting = deque(self._next[0].values())
        while waiting:
            state = waiting.popleft()
            for character, after in self._next[state].items():
                fallback = self._step(self._fallback[state], character)
                self._fallback[after] = fallback
                self._found[after] += self._found[fallback]
                self._pending[after] = max(self._pending[after], self._pending[fallback])
                waiting.append(after)

    def _step(self, state: int, character: str) -> int:
        while state and character not in self._next[state]:
            state = self._fallback[state]
        return self._next[state].get(character, 0)

    def read(self, state: int, text: str) -> tuple[int, float]:
        """Return the state after more characters, and what the phrases that they complete add, in nats."""
        found = 0.0
        for character in text:
            state = self._step(state, character)
            found += self._found[state]
        return state, found

    def _pending_after(self, state: int, text: str = "") -> float:
        """Return what the beginning of a phrase at the end of the text counts, in nats, after more characters."""
        return self._pending[self.read(state, text)[0]]
