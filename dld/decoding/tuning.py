"""Weights of a language model, chosen on a dev set and kept with the acoustic model they were chosen for."""

import hashlib
import logging
from pathlib import Path

from dld.decoding.lm import Weights
from dld.decoding.settings import ALPHAS, BETAS, LM_WEIGHTS
from dld.errors import DldError
from dld.files import check_keys, read_record, write_json
from dld.gates import format_gates
from dld.scoring import wer

logger = logging.getLogger(__name__)


def parse_grid(text, name):
    """Values of an option such as `0.2,0.4`, in rising order.

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


def choose_weights(texts_of, references, alphas=ALPHAS, betas=BETAS, unknown=0.0, start=None):
    """Climb over a grid of weights to the lowest WER; among equals to the smallest alpha, then the smallest |beta|.

    From one point it goes on to the best of the four beside it until none is better, which takes a fraction of the
    decodes that the whole grid would.

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
        Of the grid, such as those of another depth (default: its middle).

    Returns
    -------
    weights : Weights
    wer : float
        Percent, with these weights.
    tried : list of [alpha, beta, wer]

    Examples
    --------
    >>> heard = {0.2: "one to", 0.4: "one two", 0.6: "one two"}
    >>> weights, error, _ = choose_weights(lambda weights: [heard[weights.alpha]], ["one two"], (0.2, 0.4, 0.6), (0,))
    >>> weights.alpha, error
    (0.4, 0.0)
    """
    tried = {}

    def order(place):
        alpha, beta = alphas[place[0]], betas[place[1]]
        if place not in tried:
            tried[place] = wer(references, texts_of(Weights(alpha, beta, unknown)))
        return tried[place], alpha, abs(beta)

    best, here = None, (len(alphas) // 2, len(betas) // 2)
    if start is not None:
        here = alphas.index(start.alpha), betas.index(start.beta)
    while here != best:
        best = here
        around = [(best[0] + 1, best[1]), (best[0] - 1, best[1]), (best[0], best[1] + 1), (best[0], best[1] - 1)]
        inside = [(i, j) for i, j in around if 0 <= i < len(alphas) and 0 <= j < len(betas)]
        here = min([best, *inside], key=order)
    for name, place, values in (("alpha", best[0], alphas), ("beta", best[1], betas)):
        at_end = len(values) > 1 and place in (0, len(values) - 1) and values[place] != 0
        if at_end and any(error != tried[best] for error in tried.values()):
            logger.warning("the best %s, %g, is at an end of its grid; try values beyond", name, values[place])
    rows = [[alphas[i], betas[j], error] for (i, j), error in tried.items()]
    return Weights(alphas[best[0]], betas[best[1]], unknown), tried[best], rows


def ids_sha256(ids):
    """Hexadecimal SHA-256 of a set of utterance ids, by which a data set is known again under another name."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def check_vocabulary(model, references, place):
    """Count the words of references that a language model does not know.

    Returns
    -------
    float
        Their share, in percent.

    Raises
    ------
    DldError
        More than half are unknown: the model is of another language, or spelled otherwise.
    """
    words = [word for text in references for word in text.split()]
    unknown = [word for word in words if word not in model]
    if len(unknown) > len(words) / 2:
        raise DldError(
            f"{model.path} knows {len(words) - len(unknown)} of the {len(words)} words of {place} (not: "
            f"{', '.join(sorted(set(unknown))[:3])}); its words must be spelled as the transcripts' are (case?)"
        )
    return 100 * len(unknown) / max(1, len(words))


class LmWeights:
    """Weights per depth, and all that they hold for.

    Parameters
    ----------
    about : dict
        The content of `lm_weights.json`: `lm` (`LanguageModel.describe`), `model_sha256` (the acoustic model's),
        `policy`, `data`, `ids_sha256`, and `depths`: by depth `gates`, `alpha`, `beta`, `unknown`, `wer` and more.
    path : str or Path
        The file, for messages.
    """

    def __init__(self, about, path=LM_WEIGHTS):
        self.about = about
        self.path = Path(path)

    def save(self):
        """Write the file."""
        write_json(self.path, self.about)

    @classmethod
    def load(cls, path):
        """Read a file that `save` wrote."""
        if not Path(path).exists():
            raise DldError(
                f"{path}: no such file; choose weights on dev with dld tune-lm, or give --lm-alpha and --lm-beta"
            )
        again = "choose them again with dld tune-lm"
        kinds = {"lm": dict, "model_sha256": str, "depths": dict, "ids_sha256": str, "data": str}
        about = read_record(path, kinds, again)
        check_keys(about["lm"], {"path": str, "sha256": str}, f"{path}: lm", again)
        number = (int, float)
        for depth, row in about["depths"].items():
            kinds = {"gates": str, "alpha": number, "beta": number, "unknown": number}
            check_keys(row, kinds, f"{path}: depth {depth}", again)
        return cls(about, path)

    def weights(self, model, model_sha256, depth, gates):
        """`Weights` for a depth.

        Raises
        ------
        DldError
            They were chosen for another language model, acoustic model or gate vector, or not at that depth.
        """
        again = "choose them again with dld tune-lm"
        if self.about["lm"]["sha256"] != model.sha256:
            raise DldError(f"{self.path}: chosen with another language model, {self.about['lm']['path']}; {again}")
        if self.about["model_sha256"] != model_sha256:
            raise DldError(f"{self.path}: chosen for other weights of the acoustic model; {again}")
        row = self.about["depths"].get(str(depth))
        if row is None:
            raise DldError(
                f"{self.path}: no weights for depth {depth}, only for {', '.join(self.about['depths'])}; {again}"
            )
        if row["gates"] != format_gates(gates):
            raise DldError(
                f"{self.path}: at depth {depth} chosen with gates {row['gates']}, not {format_gates(gates)}; {again}"
            )
        return Weights(row["alpha"], row["beta"], row["unknown"])
