"""Where in an utterance the tokens and words of a text are, from CTC posteriors; needs NumPy alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dld.decoding.best_path import BLANK, log_softmax
from dld.errors import DldError

#: SentencePiece's sign for a space; a piece that begins with it begins a word.
SPACE = "\u2581"


class Spans(NamedTuple):
    """The frames of each token of an utterance, in order.

    Attributes
    ----------
    tokens : array (n,), int
    starts, ends : array (n,), int
        First frame of each token, and the frame after its last.
    scores : array (n,), float
        Log probability (nats) of each token in the frame where it is most probable.
    """

    tokens: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray

    def after(self, frames: int) -> "Spans":
        """Return the same spans, `frames` later."""
        return self._replace(starts=self.starts + frames, ends=self.ends + frames)


_NONE = Spans(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros(0))


class WordSpan(NamedTuple):
    """A word, its first frame, the frame after its last, and the log probabilities of its tokens (see `Spans`)."""

    text: str
    start: int
    end: int
    scores: np.ndarray


@dataclass(frozen=True)
class Graph:
    """The CTC paths of a text.

    Attributes
    ----------
    labels : array (states,), int
        What each state emits: a token, or the blank.
    before : array (states, most), int
        States that each state may follow, itself first; -1 where there are fewer.
    first, last : array of int
        States that a path may begin and end with.
    """

    labels: np.ndarray
    before: np.ndarray
    first: np.ndarray
    last: np.ndarray


def token_graph(tokens: Sequence[int]) -> Graph:
    """Return the `Graph` of a sequence of tokens."""
    return _graph([(index, index + 1, int(token)) for index, token in enumerate(tokens)], len(tokens))


def text_graph(text: str, pieces: Sequence[str]) -> Graph:
    """Return the `Graph` of a text, however it is cut into tokens.

    Parameters
    ----------
    text : str
        Words separated by single spaces.
    pieces : sequence of str
        Names of the tokenizer's tokens, the blank first.
    """
    written = SPACE + text.replace(" ", SPACE) if text else ""
    numbers = {piece: number for number, piece in enumerate(pieces) if number != BLANK}
    longest = max(map(len, numbers), default=0)
    arcs = [
        (start, end, numbers[written[start:end]])
        for start in range(len(written))
        for end in range(start + 1, min(start + longest, len(written)) + 1)
        if written[start:end] in numbers
    ]
    return _graph(arcs, len(written))


def _graph(arcs: Sequence[tuple[int, int, int]], size: int) -> Graph:
    """Return the graph of arcs (from position, to position, token) that lead from position 0 to position `size`.

    A blank may be emitted at each position, and must be between two equal tokens.
    """
    order = sorted([(position, position, BLANK) for position in range(size + 1)] + list(arcs))
    arriving: dict[int, list[int]] = {}
    blanks = {}
    for state, (start, end, _) in enumerate(order):
        if start == end:
            blanks[start] = state
        else:
            arriving.setdefault(end, []).append(state)
    before = []
    for state, (start, end, token) in enumerate(order):
        others = [other for other in arriving.get(start, ()) if start == end or order[other][2] != token]
        before.append([state, *([] if start == end else [blanks[start]]), *others])
    most = max(map(len, before))
    return Graph(
        labels=np.array([token for _, _, token in order]),
        before=np.array([row + [-1] * (most - len(row)) for row in before]),
        first=np.array([state for state, (start, _, _) in enumerate(order) if start == 0]),
        last=np.array([state for state, (_, end, _) in enumerate(order) if end == size]),
    )


def align(log_probs: np.ndarray, graph: Graph) -> Spans:
    """Return the frames of the most probable CTC path of a text (Viterbi).

    Parameters
    ----------
    log_probs : array (frames, tokens)
        In nats.
    graph : Graph

    Raises
    ------
    DldError
        There are fewer frames than the text needs, or it has characters that no token has.

    Examples
    --------
    >>> found = align(np.log([[.1, .8, .1], [.1, .8, .1], [.8, .1, .1], [.2, .2, .6]]), token_graph([1, 2]))
    >>> found.starts, found.ends
    (array([0, 3]), array([2, 4]))
    """
    rows = np.asarray(log_probs, np.float64)
    states = np.arange(len(graph.labels))
    # The last score stands for states that are not there: index -1.
    scores = np.full(len(states) + 1, -np.inf)
    choices = np.zeros((len(rows), len(states)), np.int16)
    if len(rows):
        scores[graph.first] = rows[0, graph.labels[graph.first]]
    for frame in range(1, len(rows)):
        options = scores[graph.before]
        choices[frame] = options.argmax(1)
        scores[:-1] = options[states, choices[frame]] + rows[frame, graph.labels]
    state = graph.last[scores[graph.last].argmax()]
    if not len(rows) or scores[state] == -np.inf:
        raise DldError(f"the text cannot be aligned with {len(rows)} frames: it needs more, or has unknown characters")
    path = np.empty(len(rows), int)
    for frame in range(len(rows) - 1, -1, -1):
        path[frame] = state
        state = graph.before[state, choices[frame, state]]
    return _spans(path, graph.labels[path], rows)


def best_path(logits: np.ndarray) -> Spans:
    """Return the frames of the tokens that `dld.decoding.best_path.greedy` finds.

    Parameters
    ----------
    logits : array (frames, tokens)
    """
    best = np.asarray(logits).argmax(-1)
    return _spans(best, best, log_softmax(logits))


def _spans(path: np.ndarray, labels: np.ndarray, log_probs: np.ndarray) -> Spans:
    """Return the runs of equal states of a path, with their labels and without the blank's."""
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    starts, ends = edges[:-1], edges[1:]
    if not len(starts):
        return _NONE
    scores = np.maximum.reduceat(log_probs[np.arange(len(labels)), labels], starts)
    keep = labels[starts] != BLANK
    return Spans(labels[starts][keep], starts[keep], ends[keep], np.asarray(scores, float)[keep])


def join(parts: Sequence[Spans]) -> Spans:
    """Return the spans of consecutive parts of an utterance; a token that a cut has halved is one again."""
    joined = Spans(*(np.concatenate(values) for values in zip(_NONE, *parts, strict=True)))
    halved = np.zeros(len(joined.tokens), bool)
    halved[1:] = (joined.tokens[1:] == joined.tokens[:-1]) & (joined.starts[1:] == joined.ends[:-1])
    if not halved.any():
        return joined
    first = np.flatnonzero(~halved)
    ends = np.append(first[1:], len(halved)) - 1
    scores = np.maximum.reduceat(joined.scores, first)
    return Spans(joined.tokens[first], joined.starts[first], joined.ends[ends], scores)


def words_of(spans: Spans, pieces: Sequence[str]) -> list[WordSpan]:
    """Return the words that tokens spell: each from the first frame of its first token to the last of its last.

    Examples
    --------
    >>> spans = Spans(np.array([1, 2, 1]), np.array([0, 3, 7]), np.array([2, 4, 8]), np.zeros(3))
    >>> [(word.text, word.start, word.end) for word in words_of(spans, ["<blk>", "▁a", "b"])]
    [('ab', 0, 4), ('a', 7, 8)]
    """
    words, text, first = [], "", 0

    def close(end: int) -> None:
        if text:
            begin, stop = int(spans.starts[first]), int(spans.ends[end - 1])
            words.append(WordSpan(text, begin, stop, spans.scores[first:end]))

    for index, token in enumerate(spans.tokens.tolist()):
        piece = pieces[token]
        if piece.startswith(SPACE):
            close(index)
            text, first = "", index
        text += piece.removeprefix(SPACE)
    close(len(spans.tokens))
    return words
