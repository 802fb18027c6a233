"""Weights of a language model, chosen on a dev set."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence

from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.settings import ALPHAS, BETAS
from dld.errors import DldError
from dld.scoring import wer

logger = logging.getLogger(__name__)


def parse_grid(text: str, name: str) -> list[float]:
    """Return the values of an option such as `0.2,0.4`, in rising order.

    Examples
    --------
    >>> parse_grid("0.4,0.2", "--alphas")
    [0.2, 0.4]
    """
    try:
        values = sorted({float(value) for value in text.split(",")})
    except ValueError:
        raise DldError(f"{name} {text}: numbers separated by commas were expected, such as 0.2,0.4") from None
    return values


def choose_weights(
    texts_of: Callable[[Weights], list[str]],
    references: list[str],
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    unknown: float = 0.0,
    start: Weights | None = None,
) -> tuple[Weights, float, list[list[float]]]:
    """Search a grid of weights for the lowest WER; among equals take the smallest alpha, then the smallest |beta|.

    From one point the search continues with the best of its four neighbours until none is better, which takes a
    fraction of the decodes that the whole grid would.

    Parameters
    ----------
    texts_of : callable
        `Weights` → list of str, the hypotheses of a dev set.
    references : list of str
    alphas, betas : sequence of float
        In rising order.
    unknown : float
        See `Weights`; not searched.
    start : Weights, optional
        Weights on the grid, such as those of another depth (default: its middle).

    Returns
    -------
    weights : Weights
    wer : float
        Percent, with these weights.
    tried : list of [alpha, beta, wer]

    Examples
    --------
    >>> texts = {0.2: "one to", 0.4: "one two", 0.6: "one two"}
    >>> weights, error, _ = choose_weights(lambda weights: [texts[weights.alpha]], ["one two"], (0.2, 0.4, 0.6), (0,))
    >>> weights.alpha, error
    (0.4, 0.0)
    """
    tried: dict[tuple[int, int], float] = {}

    def order(point: tuple[int, int]) -> tuple[float, float, float]:
        alpha, beta = alphas[point[0]], betas[point[1]]
        if point not in tried:
            tried[point] = wer(references, texts_of(Weights(alpha, beta, unknown)))
        return tried[point], alpha, abs(beta)

    best, point = None, (len(alphas) // 2, len(betas) // 2)
    if start is not None:
        point = alphas.index(start.alpha), betas.index(start.beta)
    while point != best:
        best = i, j = point
        around = [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
        inside = [(a, b) for a, b in around if 0 <= a < len(alphas) and 0 <= b < len(betas)]
        point = min([best, *inside], key=order)
    for name, index, values in (("alpha", best[0], alphas), ("beta", best[1], betas)):
        at_end = len(values) > 1 and index in (0, len(values) - 1) and values[index] != 0
        if at_end and any(error != tried[best] for error in tried.values()):
            logger.warning("the best %s, %g, is at an end of its grid; try values beyond", name, values[index])
    rows = [[alphas[i], betas[j], error] for (i, j), error in tried.items()]
    return Weights(alphas[best[0]], betas[best[1]], unknown), tried[best], rows


def ids_sha256(ids: Iterable[str]) -> str:
    """Return the hexadecimal SHA-256 of a set of utterance ids, which finds a data set under another name."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def check_vocabulary(model: LanguageModel, references: list[str], where: str) -> float:
    """Return the percentage of the words of references that a language model does not know.

    Raises
    ------
    DldError
        More than half are unknown: the model is of another language, or spelled otherwise.
    """
    words = [word for text in references for word in text.split()]
    unknown = [word for word in words if word not in model]
    if len(unknown) > len(words) / 2:
        raise DldError(
            f"{model.path} knows {len(words) - len(unknown)} of the {len(words)} words of {where} (not: "
            f"{', '.join(sorted(set(unknown))[:3])}); its words must be spelled as the transcripts' are (case?)"
        )
    return 100 * len(unknown) / max(1, len(words))
