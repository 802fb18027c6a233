"""CTC beam search over SentencePiece tokens, with or without a word n-gram language model."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from speechbrain.decoders.ctc import CTCBeamSearcher

from dld.data.tokenizer import UNKNOWN
from dld.decoding.best_path import log_softmax
from dld.decoding.lm import LanguageModel, Weights, WordScorer
from dld.decoding.settings import BeamSettings, Search
from dld.errors import DldError


class _Searcher(CTCBeamSearcher):
    """SpeechBrain's searcher, which leaves the end of the sentence unscored, with it scored."""

    def finalize_decoding(self, beams: Any, cached_lm_scores: dict, *arguments: Any, **options: Any) -> Any:
        beams = super().finalize_decoding(beams, cached_lm_scores, *arguments, **options)
        if self.lm is not None:
            for beam in beams:
                beam.lm_score += self.lm.end_score(cached_lm_scores[beam.text, False][1])
        return self.sort_beams(beams)


class BeamSearch:
    """Best text of each utterance under CTC and, if there is one, a language model.

    The search is SpeechBrain's `CTCBeamSearcher` (after pyctcdecode): frame by frame it adds up paths of the
    same text, scores each word when the next one begins, and the sentence's end. The vocabulary is open unless the
    weights close it (`Weights.unknown`). The token `<unk>`, which no transcript has, is not searched. With a beam of 1
    and no model the result is that of `greedy`.

    Parameters
    ----------
    tokens : sequence of str
        Names of the tokenizer's tokens, the blank first.
    model : LanguageModel, optional
    weights : Weights, optional
        Needed with a model.
    settings : BeamSettings

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
    ):
        settings = settings or BeamSettings()
        if (model is None) != (weights is None):
            raise DldError("a language model and its weights go together; give both or none")
        self.searcher = _Searcher(
            blank_index=0,
            vocab_list=list(tokens),
            beam_size=settings.size,
            beam_prune_logp=settings.beam_logp,
            token_prune_min_logp=settings.token_logp,
            # Histories may be pruned only where there is a model, and at its order.
            prune_history=model is not None,
        )
        if model is not None:
            self.searcher.lm = WordScorer(model, weights)
        self._unsearched = [number for number, token in enumerate(tokens) if token == UNKNOWN]

    def text(self, log_probs: np.ndarray) -> str:
        """Return the text of one utterance: array (frames, tokens) of log probabilities (nats), valid frames only."""
        log_probs = np.array(log_probs, dtype=np.float64)
        log_probs[:, self._unsearched] = -np.inf
        # One utterance at a time: from relative lengths the searcher's own batches lose a frame by rounding down.
        return self.searcher.decode_log_probs(log_probs, len(log_probs))[0].text

    def __call__(self, logits: Sequence[np.ndarray]) -> list[str]:
        """Return the texts of utterances, each of logits (frames, tokens)."""
        return [self.text(log_softmax(rows)) for rows in logits]


class SearchPool:
    """Beam searches of many utterances, in one process or several.

    Parameters
    ----------
    tokens : sequence of str
    search : Search, optional
        Each process loads the language model by itself.
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
        self._tokens, self._settings, self._jobs = tokens, search.beam, jobs
        self._pool = None
        if jobs > 1:
            # Not forked: threads of torch may hold locks that a forked process would wait for.
            context = multiprocessing.get_context("spawn")
            given = tokens, Search(search.lm, beam=search.beam)
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
        return BeamSearch(self._tokens, self.model, weights, self._settings)

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
