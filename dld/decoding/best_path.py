"""Best-path CTC decoding."""

import numpy as np

#: Id of the blank, as every `Tokenizer` has it.
BLANK = 0


def greedy(logits: np.ndarray, blank: int = BLANK) -> list[int]:
    """Return the best token of each frame, repeats merged and blanks removed.

    Parameters
    ----------
    logits : array (frames, tokens)
    blank : int

    Examples
    --------
    >>> greedy(np.eye(3)[[1, 1, 0, 1, 2, 2]])
    [1, 1, 2]
    """
    best = np.asarray(logits).argmax(-1)
    first = np.ones(len(best), dtype=bool)
    first[1:] = best[1:] != best[:-1]
    return best[first & (best != blank)].tolist()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log probabilities (nats) of logits, over the last axis, in float32.

    Examples
    --------
    >>> log_softmax(np.zeros((1, 2))).round(3)
    array([[-0.693, -0.693]], dtype=float32)
    """
    shifted = np.asarray(logits, np.float32)
    shifted = shifted - shifted.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
