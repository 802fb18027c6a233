"""Confidences: the fit, the error measure, and the file."""

import json

import numpy as np
import pytest

from dld.decoding.confidence import Calibration, calibrate, calibration_error, fit, raw_confidence, stored_calibration
from dld.errors import DldError

GATES = (True, False, True)


def words(number=4000, seed=0, slope=0.5, offset=-0.4):
    """Raw confidences, and words that are right with the probability that a known curve gives."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(0.02, 0.999, number)
    odds = slope * np.log(raw / (1 - raw)) + offset
    return raw, rng.uniform(size=number) < 1 / (1 + np.exp(-odds)), np.arange(number) // 8


def test_raw_confidence_is_the_geometric_mean():
    assert raw_confidence(np.log([0.5, 0.125])) == pytest.approx(0.25)


def test_the_known_curve_is_found():
    raw, right, _ = words(40000)
    assert fit(raw, right) == pytest.approx([0.5, -0.4], abs=0.05)


def test_calibration_lowers_the_error_on_words_it_was_not_fitted_on():
    curve = calibrate(GATES, *words())
    assert curve.gates == "101" and curve.words == 4000
    assert curve.ece_before > 0.1 > 0.03 > curve.ece_after
    raw, right, _ = words(seed=1)
    assert calibration_error(np.array([curve(value) for value in raw]), right) < 0.03
    assert 0 <= curve(0.0) < curve(0.5) < curve(1.0) <= 1


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("number", [1, 2, 50])
def test_words_that_are_all_alike_give_finite_curves(right, number):
    curve = calibrate(GATES, np.full(number, 0.9), np.full(number, right), np.arange(number))
    assert np.isfinite([curve.slope, curve.offset]).all()
    assert (curve(0.9) > 0.5) == right


def test_the_error_by_hand():
    # Bins 0.9…1: confidence 0.95, accuracy 0.5; bin 0.1…0.2: confidence 0.15, accuracy 0.
    assert calibration_error(np.array([0.95, 0.95, 0.15]), np.array([1, 0, 0])) == pytest.approx((0.9 + 0.15) / 3)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    assert calibration_error(np.zeros(0), np.zeros(0)) == 0


def test_the_file_holds_what_was_saved(tmp_path):
    curve = calibrate(GATES, *words(100))
    Calibration("abc", [curve], {"data": "dev"}).save(tmp_path / "confidence.json")
    found = stored_calibration(tmp_path, "abc")
    assert found.curve(GATES) == curve and found.about == {"data": "dev"}
    assert found.curve((True, True, False)) is None
    assert stored_calibration(tmp_path / "other", "abc") is None and stored_calibration(None, "abc") is None
    with pytest.raises(DldError, match="fitted for other weights .*; calibrate again with dld calibrate"):
        stored_calibration(tmp_path, "def")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("depths"), "lacks depths"),
        (lambda content: content["depths"]["2"].pop("slope"), "depth 2: lacks slope"),
        (lambda content: content["depths"]["2"].update(offset="x"), "offset is text"),
        (lambda content: content.update(depths=[]), "depths is a list"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, change, message):
    path = tmp_path / "confidence.json"
    Calibration("abc", [calibrate(GATES, *words(100))]).save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DldError, match=message) as caught:
        Calibration.load(path, "abc")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
