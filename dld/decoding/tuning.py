"""Weights of a language model, chosen on a dev set and kept with the acoustic model that they were chosen for."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.settings import ALPHAS, BETAS, LM_WEIGHTS
from dld.errors import DldError
from dld.files import check_keys, read_record, write_json
from dld.gates import depth, format_gates
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


class LmWeights:
    """Weights of a language model per depth, and what they were chosen for.

    Parameters
    ----------
    about : dict
        The content of `lm_weights.json`: `lm` (`LanguageModel.describe`), `model_sha256` (the acoustic model's),
        `policy`, `data`, `ids_sha256`, and `depths`: by depth `gates`, `alpha`, `beta`, `unknown`, `wer` and more.
    path : str or Path
        The file, for messages.
    """

    def __init__(self, about: dict, path: str | Path = LM_WEIGHTS):
        self.about = about
        self.path = Path(path)

    def save(self) -> None:
        """Write the file."""
        write_json(self.path, self.about)

    @classmethod
    def load(cls, path: str | Path) -> "LmWeights":
        """Read a file that `save` wrote."""
        if not Path(path).exists():
            raise DldError(f"{path}: no such file; choose weights on dev with dld tune-lm, or give weights yourself")
        again = "choose them again with dld tune-lm"
        about = read_record(
            path, {"lm": dict, "model_sha256": str, "depths": dict, "ids_sha256": str, "data": str}, again
        )
        check_keys(about["lm"], {"path": str, "sha256": str}, f"{path}: lm", again)
        number = (int, float)
        kinds: dict[str, type | tuple[type, ...]] = {"gates": str, "alpha": number, "beta": number, "unknown": number}
        for n, row in about["depths"].items():
            check_keys(row, kinds, f"{path}: depth {n}", again)
        return cls(about, path)

    def weights(self, model: LanguageModel, model_sha256: str, gates: Sequence[bool]) -> Weights:
        """Return the `Weights` for a gate vector.

        Raises
        ------
        DldError
            They were chosen for another language model, acoustic model or gate vector, or not at its depth.
        """
        n = depth(gates)
        again = "choose them again with dld tune-lm"
        if self.about["lm"]["sha256"] != model.sha256:
            raise DldError(f"{self.path}: chosen with another language model, {self.about['lm']['path']}; {again}")
        if self.about["model_sha256"] != model_sha256:
            raise DldError(f"{self.path}: chosen for other weights of the acoustic model; {again}")
        row = self.about["depths"].get(str(n))
        if row is None:
            raise DldError(
                f"{self.path}: no weights for depth {n}, only for {', '.join(self.about['depths'])}; {again}"
            )
        if row["gates"] != format_gates(gates):
            raise DldError(
                f"{self.path}: at depth {n} chosen with gates {row['gates']}, not {format_gates(gates)}; {again}"
            )
        return Weights(row["alpha"], row["beta"], row["unknown"])
