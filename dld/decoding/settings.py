"""Settings of the search, quick to import for the options of commands."""

from dataclasses import dataclass

from dld.errors import DldError

#: The tuned weights of a language model, in the folder of an experiment, and the grid that they are chosen from.
LM_WEIGHTS = "lm_weights.json"
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
        Hypotheses so much worse than the best (nats) are given up.
    token_logp : float
        Units with a lower log probability in a frame (nats) are not tried there, except the best one.
    """

    size: int = 50
    beam_logp: float = -12.0
    token_logp: float = -6.0

    def __post_init__(self):
        if self.size < 1:
            raise DldError(f"beam size {self.size}: must be at least 1")
        if not (self.beam_logp < 0 and self.token_logp < 0):
            raise DldError(
                f"beam limits {self.beam_logp:g} and {self.token_logp:g}: both are log probabilities, below 0"
            )
