"""How sure a recogniser is of a word: from the posteriors of its tokens, calibrated on a dev set; needs NumPy alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dld.decoding.settings import CONFIDENCE
from dld.errors import DldError
from dld.files import read_record, write_json
from dld.gates import format_gates
from dld.records import Record

_AGAIN = "calibrate again with dld calibrate"
#: Probabilities this near to 0 and 1 are as good as those: their log odds stay finite.
_EDGE = 1e-6
#: Words are few: a weak pull of slope and offset towards 0, in units of words, keeps them finite where all are right.
_PULL = 0.01


def raw_confidence(scores: np.ndarray) -> float:
    """Return the geometric mean of the posteriors of a word's tokens, each in its most probable frame.

    Of the measures that were tried on dev (sum, least and mean of tokens' log posteriors, the best path's, entropies,
    the distance to the second best) it separates right from wrong words best.

    Parameters
    ----------
    scores : array (tokens,)
        Log probabilities, see `dld.decoding.alignment.Spans`.
    """
    return float(np.exp(np.mean(scores)))


@dataclass(frozen=True)
class Curve(Record):
    """The confidence of words under a gate vector: `1 / (1 + exp(-(slope · log odds of the raw one + offset)))`.

    This is Platt's method (1999) on log odds.

    Attributes
    ----------
    gates : str
    slope, offset : float
    words : int
        Words that it was fitted on.
    accuracy : float
        Share of them that is right.
    ece_before, ece_after : float
        Expected calibration error, see `calibration_error`, of raw and of calibrated confidences: fitted on one half
        of the utterances and measured on the other, both ways.
    """

    gates: str
    slope: float
    offset: float
    words: int
    accuracy: float
    ece_before: float
    ece_after: float

    @property
    def depth(self) -> int:
        """Open gates."""
        return self.gates.count("1")

    def __call__(self, raw: float) -> float:
        """Return the calibrated confidence for a raw one."""
        return float(_applied(np.array([self.slope, self.offset]), np.array([raw]))[0])


def calibration_error(confidences: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error (ECE): the mean distance between confidence and accuracy.

    Parameters
    ----------
    confidences : array (words,)
        In [0, 1].
    right : array (words,), bool
    bins : int
        Of equal width; each counts by its words.

    Examples
    --------
    >>> round(calibration_error(np.array([0.9, 0.9, 0.2]), np.array([True, False, False])), 3)
    0.333
    """
    if not len(confidences):
        return 0.0
    bin_of = np.minimum((np.asarray(confidences) * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=np.asarray(confidences) - np.asarray(right), minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))


def fit(raw: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return slope and offset of the logistic regression of `right` on the log odds of `raw` (Newton's method).

    Parameters
    ----------
    raw : array (words,)
    right : array (words,), bool
    """
    inputs, wanted = _inputs(raw), np.asarray(right, float)
    weights = np.zeros(2)
    for _ in range(100):
        found = _sigmoid(inputs @ weights)
        slope = inputs.T @ (found - wanted) + _PULL * weights
        curvature = (inputs * (found * (1 - found))[:, None]).T @ inputs + _PULL * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        # Far from the solution Newton's steps may overshoot.
        weights = weights - step * min(1.0, 4.0 / max(1e-12, np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return weights


def calibrate(gates: Sequence[bool], raw: np.ndarray, right: np.ndarray, utterances: np.ndarray) -> Curve:
    """Return the `Curve` of words.

    Parameters
    ----------
    gates : gate vector
    raw : array (words,)
        At least one.
    right : array (words,), bool
    utterances : array (words,), int
        Index of each word's utterance; those of even and of odd index are the two halves.
    """
    raw, right, half = np.asarray(raw, float), np.asarray(right, bool), np.asarray(utterances) % 2
    measured = raw.copy()
    for one, other in ((0, 1), (1, 0)):
        if (half == one).any():
            measured[half == other] = _applied(fit(raw[half == one], right[half == one]), raw[half == other])
    slope, offset = fit(raw, right)
    return Curve(
        gates=format_gates(gates),
        slope=float(slope),
        offset=float(offset),
        words=len(raw),
        accuracy=float(right.mean()),
        ece_before=calibration_error(raw, right),
        ece_after=calibration_error(measured, right),
    )


@dataclass
class Calibration:
    """The calibrated confidences of a model, stored next to its gate table.

    Attributes
    ----------
    state_sha256 : str or None
        Hash of the weights that it was fitted for.
    curves : list of Curve
        One for each gate vector that was calibrated.
    about : dict
        The data, kept in the file and not used otherwise.
    """

    state_sha256: str | None
    curves: list[Curve]
    about: dict = field(default_factory=dict)

    def curve(self, gates: Sequence[bool]) -> Curve | None:
        """Return the curve of a gate vector; None where it was not calibrated."""
        return next((curve for curve in self.curves if curve.gates == format_gates(gates)), None)

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON."""
        depths = {str(curve.depth): curve.to_json() for curve in sorted(self.curves, key=lambda curve: curve.depth)}
        write_json(path, {"state_sha256": self.state_sha256, "depths": depths, "about": self.about})

    @classmethod
    def load(cls, path: str | Path, state_sha256: str | None = None) -> "Calibration":
        """Read a calibration that `save` wrote.

        Raises
        ------
        DldError
            The file is not one, or it is of other weights than those of the given hash.
        """
        content = read_record(path, {"state_sha256": (str, type(None)), "depths": dict}, _AGAIN)
        curves = [Curve.from_json(entry, f"{path}: depth {n}", _AGAIN) for n, entry in content["depths"].items()]
        if state_sha256 not in (None, content["state_sha256"]):
            raise DldError(f"{path}: fitted for other weights than this model's (by their hashes); {_AGAIN}")
        return cls(content["state_sha256"], curves, content.get("about", {}))


def stored_calibration(folder: Path | None, state_sha256: str | None) -> Calibration | None:
    """Return the calibration in the folder of a model; None where there is none."""
    if folder is None or not (folder / CONFIDENCE).exists():
        return None
    return Calibration.load(folder / CONFIDENCE, state_sha256)


def _inputs(raw: np.ndarray) -> np.ndarray:
    probability = np.clip(raw, _EDGE, 1 - _EDGE)
    return np.stack([np.log(probability / (1 - probability)), np.ones(len(probability))], 1)


def _applied(weights: np.ndarray, raw: np.ndarray) -> np.ndarray:
    return _sigmoid(_inputs(raw) @ weights)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -500, 500)))
