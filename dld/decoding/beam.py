"""CTC beam search over SentencePiece tokens, with or without a word n-gram language model and hotwords.

Needs NumPy alone; language models need KenLM.
"""

import dataclasses
import math
import multiprocessing
import operator
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from dld.decoding.best_path import BLANK, log_softmax
from dld.decoding.hotwords import WORD, Bonus
from dld.decoding.lm import LanguageModel, Weights, WordScorer
from dld.decoding.settings import BeamSettings, Search
from dld.errors import DldError

# As `dld.data.tokenizer` has it, which needs SentencePiece.
_UNKNOWN = "<unk>"
# Frames after which words that are in no hypothesis any more are forgotten.
_KEPT_FRAMES = 500


class Hypothesis(NamedTuple):
    """A text that the search has found.

    Attributes
    ----------
    text : str
    acoustic : float
        Log probability (nats) of all paths of the text that were searched.
    score : float
        The same and what language model and hotwords add to it; hypotheses are in its order.
    """

    text: str
    acoustic: float
    score: float


class _Words:
    """The complete words of a hypothesis: a linked list that shares its beginning with others, one object per text.

    Attributes
    ----------
    before : _Words or None
        All but the last word.
    score : float
        What language model and hotwords add to the acoustic score.
    state : object
        State of the language model after the words; `hot` is that of the hotwords' automaton.
    history : tuple
        Equal where the same continuations get the same scores.
    """

    __slots__ = ("before", "history", "hot", "score", "state", "word")

    def __init__(self, before: "_Words | None", word: str, score: float, state: Any, hot: int, recent: tuple[str, ...]):
        self.before, self.word, self.score, self.state, self.hot = before, word, score, state, hot
        self.history = recent, hot

    def chain(self) -> "Iterator[_Words]":
        """Yield these words, those without the last one, and so on to none."""
        words: _Words | None = self
        while words is not None:
            yield words
            words = words.before

    def __str__(self) -> str:
        """Return the words with spaces between them."""
        return " ".join(reversed([words.word for words in self.chain() if words.word]))


#: Complete words and the incomplete one after them ("" between words), whatever tokens spell it.
_Prefix = tuple[_Words, str]
#: A hypothesis in progress: score with what is added, acoustic score, prefix, token of the last frame.
_Beam = tuple[float, float, _Prefix, int]


class BeamSearch:
    """Best texts of each utterance under CTC and, if they are given, a language model and hotwords.

    Frame by frame the search extends each hypothesis by each likely token and adds up the probabilities of paths that
    have the same text and the same token in the last frame, whatever tokens spell the text. A word is scored when the
    next one begins, the sentence's end at the end. Of hypotheses that differ only in words which the language model
    no longer looks at, the best one is kept. The vocabulary is open unless the weights close it (`Weights.unknown`).
    The token `<unk>`, which no transcript has, is not searched. With a beam of 1 and nothing else the result is that
    of `greedy`.

    Texts and scores are those of SpeechBrain's `CTCBeamSearcher` (after pyctcdecode), which leaves two things undone:
    it never scores the sentence's end, which a language model needs to tell whole sentences from parts, and it
    prunes the finished hypotheses without that score, so that the best one may be lost.

    Parameters
    ----------
    tokens : sequence of str
        Names of the tokenizer's tokens, the blank first.
    model : LanguageModel, optional
    weights : Weights, optional
        Needed with a model.
    settings : BeamSettings
    hotwords : Bonus, optional
        What hotwords add to the score of a text.

    Examples
    --------
    >>> search = BeamSearch(["<blk>", "<unk>", "▁", "a", "b"])
    >>> search([np.log([[.1, .1, .6, .1, .1], [.1, .1, .1, .6, .1]])])
    ['a']
    """

    def __init__(
        self,
        tokens: Sequence[str],
        model: LanguageModel | None = None,
        weights: Weights | None = None,
        settings: BeamSettings | None = None,
        hotwords: Bonus | None = None,
    ):
        self.settings = settings or BeamSettings()
        if (model is None) != (weights is None):
            raise DldError("a language model and its weights go together; give both or none")
        self._scorer = None if model is None or weights is None else WordScorer(model, weights)
        self._hotwords = hotwords
        self._pieces = [(token.startswith(WORD), token.removeprefix(WORD)) for token in tokens]
        # A language model scores the beginnings of words only where unknown words are penalised.
        self._scores_parts = hotwords is not None or bool(weights and weights.unknown)
        self._known: dict[tuple[_Words, str], _Words] = {}
        self._unsearched = [number for number, token in enumerate(tokens) if token == _UNKNOWN]

    def __call__(self, logits: Sequence[np.ndarray]) -> list[str]:
        """Return the texts of utterances, each of logits (frames, tokens)."""
        return [self.text(log_softmax(rows)) for rows in logits]

    def text(self, log_probs: np.ndarray) -> str:
        """Return the text of one utterance: array (frames, tokens) of log probabilities (nats), valid frames only."""
        return self.hypotheses(log_probs)[0].text

    def hypotheses(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Return all texts of one utterance that are left at its end, the best first; see `text`."""
        start = _Words(None, "", 0.0, self._scorer.get_start_state() if self._scorer else None, Bonus.START, ())
        self._known = {}
        beams: list[_Beam] = [(0.0, 0.0, (start, ""), -1)]
        for frame, active in enumerate(self._active(log_probs), 1):
            beams = self._pruned(self._extended(beams, active))
            if frame % _KEPT_FRAMES == 0:
                self._forget_others(beams)
        return self._finished(beams)

    def _active(self, log_probs: np.ndarray) -> Iterator[list[tuple[int, float]]]:
        """Yield for each frame the tokens to try and their log probabilities."""
        log_probs = np.array(log_probs, dtype=np.float64)
        if np.isnan(log_probs).any():
            raise DldError("the log probabilities have NaN: the weights or the audio are damaged; check both")
        log_probs[:, self._unsearched] = -np.inf
        active = log_probs > self.settings.token_logp
        active[np.arange(len(log_probs)), log_probs.argmax(-1)] = True
        for row, chosen in zip(log_probs, active, strict=True):
            tokens = chosen.nonzero()[0]
            yield list(zip(tokens.tolist(), row[tokens].tolist(), strict=True))

    def _extended(self, beams: list[_Beam], active: list[tuple[int, float]]) -> list[_Beam]:
        """Return all hypotheses after one more frame; equal ones are added up."""
        found: list[_Beam] = []
        # Plain Python: few tokens are likely in a frame, and arrays would cost more than they save.
        for token, log_prob in active:
            begins_word, piece = self._pieces[token]
            sums: dict[_Prefix, float] = {}
            for _, acoustic, prefix, last in beams:
                if token != BLANK and token != last:
                    words, part = prefix
                    prefix = (self._with_word(words, part), piece) if begins_word else (words, part + piece)
                acoustic += log_prob
                before = sums.get(prefix)
                sums[prefix] = acoustic if before is None else _log_add(before, acoustic)
            if self._scores_parts:
                found += [
                    (acoustic + self._added(prefix), acoustic, prefix, token) for prefix, acoustic in sums.items()
                ]
            else:
                found += [(acoustic + prefix[0].score, acoustic, prefix, token) for prefix, acoustic in sums.items()]
        return found

    def _pruned(self, beams: list[_Beam]) -> list[_Beam]:
        """Return the hypotheses that are kept, the best first."""
        kept = self._best(beams, _score)
        if self._hotwords:
            # What is right must survive the beginning of a phrase that is then not continued.
            kept = sorted(dict.fromkeys(kept + self._best(beams, _settled)), key=_score, reverse=True)
        if self._scorer is None:
            return kept
        first: dict[object, _Beam] = {}
        for beam in kept:
            words, part = beam[2]
            first.setdefault((words.history, part, beam[3]), beam)
        return list(first.values())

    def _best(self, beams: list[_Beam], key: Callable[[_Beam], float]) -> list[_Beam]:
        """Return the hypotheses that the settings allow, by one of their scores, the best first."""
        scores = list(map(key, beams))
        worst = max(scores) + self.settings.beam_logp
        kept = [index for index, score in enumerate(scores) if score >= worst]
        kept.sort(key=scores.__getitem__, reverse=True)
        return [beams[index] for index in kept[: self.settings.size]]

    def _with_word(self, words: _Words, word: str) -> _Words:
        """Return words and one more; the same words if it is empty."""
        if not word:
            return words
        longer = self._known.get((words, word))
        if longer is None:
            score, state, hot, recent = words.score, words.state, words.hot, words.history[0]
            if self._scorer:
                added, state = self._scorer.score(state, word)
                score += added
                recent = (*recent, word)[-max(1, self._scorer.order - 1) :]
            if self._hotwords:
                hot, completed = self._hotwords.read(hot, word + " ")
                score += completed
            self._known[words, word] = longer = _Words(words, word, score, state, hot, recent)
        return longer

    def _added(self, prefix: _Prefix) -> float:
        """Return what language model and hotwords add to the acoustic score of a prefix."""
        words, part = prefix
        partly = self._scorer.score_partial_token(part) if self._scorer and part else 0.0
        if self._hotwords:
            partly += self._hotwords.pending(words.hot, part)
        return words.score + partly

    def _forget_others(self, beams: list[_Beam]) -> None:
        """Forget all words that no hypothesis begins with, so that memory does not grow with the utterance."""
        kept = {words for _, _, (last, _), _ in beams for words in last.chain()}
        self._known = {(words.before, words.word): words for words in kept if words.before is not None}

    def _finished(self, beams: list[_Beam]) -> list[Hypothesis]:
        """Return the hypotheses with their last words complete, the best first."""
        sums: dict[_Words, float] = {}
        for _, acoustic, prefix, _ in beams:
            words = self._with_word(*prefix)
            sums[words] = _log_add(sums[words], acoustic) if words in sums else acoustic
        found = []
        for words, acoustic in sums.items():
            end = self._scorer.end_score(words.state) if self._scorer else 0.0
            found.append(Hypothesis(str(words), acoustic, acoustic + words.score + end))
        return sorted(found, key=lambda hypothesis: hypothesis.score, reverse=True)


_score: Callable[[_Beam], float] = operator.itemgetter(0)


def _settled(beam: _Beam) -> float:
    """Return the score of a hypothesis without what its last, incomplete word adds."""
    return beam[1] + beam[2][0].score


def _log_add(first: float, second: float) -> float:
    """Return ln(exp(first) + exp(second))."""
    if first == second:
        return first + math.log(2)
    larger, smaller = (first, second) if first > second else (second, first)
    return larger + math.log1p(math.exp(smaller - larger))


class SearchPool:
    """Beam searches of many utterances, in one process or several.

    Parameters
    ----------
    tokens : sequence of str
    search : Search, optional
        Each process loads language model and hotwords by itself.
    jobs : int
        Processes; with 1 the search runs in this one.

    Attributes
    ----------
    model : LanguageModel or None
        As this process has loaded it.
    """

    def __init__(self, tokens: Sequence[str], search: Search | None = None, jobs: int = 1):
        if jobs < 1:
            raise DldError(f"--jobs {jobs}: must be at least 1")
        search = search or Search()
        self.model = search.model
        self._hotwords = search.bonus(tokens)
        self._tokens, self._settings, self._jobs = tokens, search.beam, jobs
        self._pool = None
        if jobs > 1:
            # Not forked: threads of torch may hold locks that a forked process would wait for.
            context = multiprocessing.get_context("spawn")
            given = tokens, dataclasses.replace(search, weights=None)
            self._pool = ProcessPoolExecutor(jobs, context, _begin_worker, given)

    def __enter__(self) -> "SearchPool":
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; searches that have not begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def search(self, weights: Weights | None = None) -> BeamSearch:
        """Return the search with these weights in this process alone."""
        return BeamSearch(self._tokens, self.model, weights, self._settings, self._hotwords)

    def spread(self, weights: Weights | None = None) -> Callable[[Sequence[np.ndarray]], list[str]]:
        """Return the search with these weights over all processes, as `BeamSearch` is called."""
        return lambda logits: self.texts(logits, weights)

    def texts(self, utterances: Sequence[np.ndarray], weights: Weights | None = None) -> list[str]:
        """Return texts in the order of the utterances: logits, each (frames, tokens)."""
        if self._pool is None:
            return self.search(weights)(utterances)
        size = -(-len(utterances) // (4 * self._jobs))
        parts = [utterances[start : start + size] for start in range(0, len(utterances), size or 1)]
        return [text for found in self._pool.map(_work, parts, [weights] * len(parts)) for text in found]


_worker: SearchPool | None = None


def _begin_worker(tokens: Sequence[str], search: Search) -> None:
    global _worker
    _worker = SearchPool(tokens, search)


def _work(utterances: Sequence[np.ndarray], weights: Weights | None) -> list[str]:
    assert _worker is not None
    return _worker.texts(utterances, weights)
