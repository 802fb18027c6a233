"""n-gram language models in use: scores of words through KenLM, perplexity, and the interface of the beam search."""

import contextlib
import functools
import math
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from dld.decoding.ngram import UNKNOWN, arpa_counts, arpa_words, is_binary_model
from dld.errors import DldError
from dld.files import sha256

_LN10 = math.log(10)
# KenLM's log10 probability of an unknown word where the model has no <unk>.
_MISSING = -99.0


def require_kenlm():
    """Import KenLM's Python module; a `DldError` says how to install it."""
    try:
        import kenlm
    except ImportError as error:
        raise DldError(
            f"decoding with a language model needs KenLM ({error}); install it: pip install 'dld[lm]', or pip install "
            "kenlm (builds from source: needs a C++ compiler and cmake)"
        ) from None
    return kenlm


class LanguageModel:
    """A word n-gram model that KenLM reads.

    Parameters
    ----------
    path : str or Path
        ARPA (also compressed) or KenLM's binary format (faster to load: `build_binary lm.arpa lm.bin`), under any name.

    Attributes
    ----------
    order : int
    name : str
        File name without its extensions.
    counts : list of int, or None
        n-grams of each order; None for a binary model, which does not state them.

    Raises
    ------
    DldError
        KenLM is not installed, the file is missing or is not a model, or it has no `<unk>`: then no word outside it
        could be recognised.
    """

    def __init__(self, path):
        kenlm = require_kenlm()
        self.path = Path(path)
        if not self.path.is_file():
            raise DldError(f"{path}: no such language model; estimate one with dld lm")
        # By its content: names say little, and KenLM does not use them.
        self.is_arpa = not is_binary_model(path)
        self.counts = arpa_counts(path) if self.is_arpa else None
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        try:
            with _quiet():
                self.model = kenlm.Model(str(path), config)
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            # What comes before is the position in KenLM's own sources.
            said = re.sub(r".* threw \w+( because `.*?'\.)?", "", " ".join(str(error).split()))
            raise DldError(f"{path}: KenLM cannot read it: {said.strip(' .)')[:200]}") from None
        self._new_state = kenlm.State
        self.order = self.model.order
        self.name = self.path.name.split(".")[0] if self.is_arpa else self.path.stem
        if self.log10(self.begin(sentence=False), UNKNOWN)[0] <= _MISSING:
            raise DldError(
                f"{path}: has no {UNKNOWN}, so that no word outside it could be recognised; add that unigram, or "
                "estimate the model with dld lm"
            )

    @functools.cached_property
    def sha256(self):
        """Hexadecimal SHA-256 of the file."""
        return sha256(self.path)

    def __contains__(self, word):
        """Return whether a word is in the model."""
        return word in self.model

    def words(self):
        """Return the words of the model, as a set; a `DldError` for a binary model, which cannot list them."""
        if not self.is_arpa:
            raise DldError(f"{self.path}: KenLM's binary format does not list its words; give the ARPA file")
        return arpa_words(self.path)

    def begin(self, sentence=True):
        """Return the state at the beginning of a sentence, or (`sentence=False`) without any context."""
        state = self._new_state()
        if sentence:
            self.model.BeginSentenceWrite(state)
        else:
            self.model.NullContextWrite(state)
        return state

    def log10(self, state, word):
        """Return the log10 probability of a word after a state, and the state after both."""
        after = self._new_state()
        return self.model.BaseScore(state, word, after), after

    def perplexity(self, sentences):
        """Return the perplexity of a text, ends of sentences included.

        Parameters
        ----------
        sentences : iterable of list of str

        Returns
        -------
        dict
            `sentences`, `words`, `oov` (words that the model does not know), `perplexity` (all words, unknown ones by
            `<unk>`) and `perplexity_known` (without unknown words).
        """
        about = {"sentences": 0, "words": 0, "oov": 0}
        total = unknown = 0.0
        for words in sentences:
            about["sentences"] += 1
            about["words"] += len(words)
            for log, _, is_unknown in self.model.full_scores(" ".join(words)):
                total += log
                if is_unknown:
                    about["oov"] += 1
                    unknown += log
        events = about["words"] + about["sentences"]
        if not about["words"]:
            raise DldError("the text to measure the perplexity of has no words")
        about["perplexity"] = 10 ** (-total / events)
        about["perplexity_known"] = 10 ** (-(total - unknown) / (events - about["oov"]))
        return about

    def describe(self):
        """Return what result files say of the model."""
        return {"name": self.name, "path": str(self.path), "order": self.order, "sha256": self.sha256}


@contextlib.contextmanager
def _quiet():
    """Keep KenLM's library from writing to standard error while it loads; what is wrong it raises as well."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@dataclass(frozen=True)
class Weights:
    """How the beam search weighs a language model: acoustic + alpha · (ln p of the words) + beta · (number of words).

    Attributes
    ----------
    alpha : float
        Weight of the language model.
    beta : float
        Bonus for each word, in nats; a negative one is a penalty.
    unknown : float
        What a word outside the model gets next to the model's own probability of `<unk>`, in log10 units, at most 0.
        At 0 the vocabulary is open: any sequence of tokens can be a word. A great penalty closes it.
    """

    alpha: float = 0.0
    beta: float = 0.0
    unknown: float = 0.0

    def __post_init__(self):
        """Raise a `DldError` for a weight out of its range."""
        for name, value in asdict(self).items():
            if not math.isfinite(value):
                raise DldError(f"language-model weight {name} is {value}; a finite number was expected")
        if self.alpha < 0 or self.unknown > 0:
            raise DldError(
                f"language-model weights alpha {self.alpha:g}, unknown {self.unknown:g}: alpha must not be "
                "negative, and the score of unknown words must not be positive"
            )


class WordScorer:
    """A language model as SpeechBrain's CTC searchers call it, instead of their `KenlmScorer`.

    That one applies its penalty for unknown words to parts of words without the weight alpha and takes no model
    without a list of its words; this one scores parts of words only where unknown words are penalised, and then as
    the whole word will be.

    Parameters
    ----------
    model : LanguageModel
    weights : Weights
    """

    def __init__(self, model, weights):
        self.model = model
        self.weights = weights
        self._beginnings = None

    @property
    def order(self):
        """Order of the model, by which the searcher prunes histories."""
        return self.model.order

    def get_start_state(self):
        """Return the state at the beginning of a sentence."""
        return self.model.begin()

    def score(self, state, word, is_last_word=False):
        """Return the weighted score of a word in nats, and the state after it; no word scores 0."""
        if not word:
            return (self.end_score(state) if is_last_word else 0.0), state
        log, after = self.model.log10(state, word)
        if word not in self.model:
            log += self.weights.unknown
        score = self.weights.alpha * _LN10 * log + self.weights.beta
        return score + (self.end_score(after) if is_last_word else 0.0), after

    def end_score(self, state):
        """Return the weighted score of the sentence's end, in nats."""
        return self.weights.alpha * _LN10 * self.model.log10(state, "</s>")[0]

    def score_partial_token(self, beginning):
        """Return the weighted score of the beginning of a word, zero unless it must become a penalised one."""
        if not self.weights.unknown:
            return 0.0
        if self._beginnings is None:
            self._beginnings = {word[:end] for word in self.model.words() for end in range(1, len(word) + 1)}
        return 0.0 if beginning in self._beginnings else self.weights.alpha * _LN10 * self.weights.unknown
