"""Running means and word errors, and what they leave of a run that is interrupted."""

import json

import pytest
import torch

from dld.training.metrics import Means, WordErrors


def test_a_mean_is_that_of_all_batches_in_double_precision():
    means, values = Means(), torch.rand(1000)
    for value in values:
        means.add({"loss": value, "ctc": 2 * value})
    assert means.compute() == {"loss": sum(values.tolist()) / 1000, "ctc": sum((2 * values).tolist()) / 1000}
    means.reset()
    assert means.compute() == {}


def test_a_mean_goes_on_from_its_saved_state_as_if_nothing_had_happened():
    values = torch.rand(10)
    whole, first, second = Means(), Means(), Means()
    for value in values:
        whole.add({"loss": value})
    for value in values[:4]:
        first.add({"loss": value})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for value in values[4:]:
        second.add({"loss": value})
    assert second.compute() == whole.compute()


def test_adding_keeps_no_graph():
    means, value = Means(), torch.ones((), requires_grad=True)
    means.add({"loss": 2 * value})
    assert not means.sums["loss"].requires_grad


def test_word_errors_are_counted_at_each_depth():
    errors = WordErrors([1, 2])
    errors.add(["a b", "c d"], [["", "c"], ["a b", "c x"]])
    errors.add(["e"], [["e"], [""]])
    assert errors.compute() == {"1": 60.0, "2": 40.0}
    assert errors.empty_share() == pytest.approx(1 / 3)
    errors.reset()
    assert errors.compute() == {"1": 0.0, "2": 0.0}
