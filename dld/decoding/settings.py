"""Settings of the search for the best text; quick to import, so that commands can show them as defaults."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dld.checks import COUNT, POSITIVE, Number, require, shown
from dld.errors import DldError

if TYPE_CHECKING:
    from dld.decoding.hotwords import Bonus, Given
    from dld.decoding.lm import LanguageModel, Weights
    from dld.decoding.lm_weights import LmWeights

#: File of the weights of a language model, in the folder of the model that they were chosen for.
LM_WEIGHTS = "lm_weights.json"
#: File of the calibrated confidences, in the folder of the model that they were fitted for.
CONFIDENCE = "confidence.json"
#: What `dld tune-lm` tries by default.
ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
BETAS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


@dataclass(frozen=True)
class BeamSettings:
    """Limits of the beam search.

    Attributes
    ----------
    size : int
        Hypotheses that are kept after each frame.
    beam_logp : float
        Hypotheses that are worse than the best by this much (nats) are pruned.
    token_logp : float
        Tokens with a lower log probability in a frame (nats) are not tried there, except the best one.
    """

    size: int = 50
    beam_logp: float = -12.0
    token_logp: float = -6.0

    def __post_init__(self) -> None:
        """Raise a `DldError` for a setting out of its range."""
        require(self, COUNT, size=self.size)
        require(self, Number(below=0), beam_logp=self.beam_logp, token_logp=self.token_logp)


@dataclass(frozen=True)
class Search:
    """Beam search, with or without an n-gram language model and hotwords; a `Recognizer` takes it as `search=`.

    Attributes
    ----------
    lm : str or Path, optional
        File of the language model: ARPA, or KenLM's binary format. It is loaded once, when it is first needed.
    weights : Weights or LmWeights, optional
        Weights of the language model, for every gate vector or for each of some (default: those that `dld tune-lm`
        stored with the acoustic model).
    beam : BeamSettings
    hotwords : path, list of str, or mapping of str to float, optional
        Phrases to expect, or phrases with weights of their own; the path of a file with a phrase per line, see
        `dld.decoding.hotwords.read_hotwords`.
    hotword_weight : float
        What each character of a phrase without a weight of its own adds to the score of a text in which the phrase
        occurs, in nats.
    """

    lm: str | os.PathLike | None = None
    weights: Weights | LmWeights | None = None
    beam: BeamSettings = field(default_factory=BeamSettings)
    hotwords: Given | None = None
    hotword_weight: float = 0.5

    def __post_init__(self) -> None:
        """Raise a `DldError` for weights without a model, and for what is of another type."""
        require(self, POSITIVE, hotword_weight=self.hotword_weight)
        if not isinstance(self.hotwords, (str, os.PathLike, Sequence, Mapping, type(None))):
            raise DldError(
                f"Search: hotwords is {shown(self.hotwords)}; it must be a list of phrases, or a file's path"
            )
        if not isinstance(self.beam, BeamSettings):
            raise DldError(
                f"Search: beam is {shown(self.beam)}; it must be a BeamSettings, such as BeamSettings(size=8)"
            )
        if not isinstance(self.lm, (str, os.PathLike, type(None))):
            raise DldError(f"Search: lm is {shown(self.lm)}; it must be the path of a language model")
        if self.weights is not None and not hasattr(self.weights, "alpha") and not hasattr(self.weights, "weights"):
            raise DldError(
                f"Search: weights is {shown(self.weights)}; it must be Weights(alpha, beta), or an LmWeights"
            )
        if self.weights is not None and self.lm is None:
            raise DldError("weights of a language model need the model; give lm, too")

    @functools.cached_property
    def model(self) -> LanguageModel | None:
        """The language model."""
        from dld.decoding.lm import LanguageModel

        return None if self.lm is None else LanguageModel(self.lm)

    def bonus(self, tokens: Sequence[str]) -> Bonus | None:
        """Return what the hotwords add to texts of a model's tokens, None without hotwords."""
        from dld.decoding.hotwords import Bonus, read_hotwords

        return None if self.hotwords is None else Bonus(read_hotwords(self.hotwords, self.hotword_weight), tokens)
