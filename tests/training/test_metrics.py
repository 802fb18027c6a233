"""Running means and word errors, and what they leave of a run that is interrupted."""

import json

import pytest
import torch

from dld.training import metrics
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


@pytest.fixture
def two_processes(monkeypatch):
    """Two processes, of which the other has three times the numbers; returns the devices that numbers are sent from."""
    devices = []

    def summed(numbers, device):
        devices.append(device.type)
        return [4 * number for number in numbers]

    monkeypatch.setattr(metrics, "processes", lambda: 2)
    monkeypatch.setattr(metrics, "summed", summed)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    return devices


def test_a_mean_is_that_of_all_processes(two_processes):
    means = Means()
    for value in (1.0, 2.0):
        means.add({"loss": torch.tensor(value)})
    assert means.compute() == {"loss": 12 / 8}
    # What the first one keeps in a checkpoint serves all of them when they resume.
    means.share()
    assert means.state_dict() == {"sums": {"loss": 12 / 2}, "count": 2}


def test_one_process_has_nothing_to_share(monkeypatch):
    monkeypatch.setattr(metrics, "summed", lambda *_: pytest.fail("numbers were sent"))
    means = Means({"loss": 3.0}, 2)
    means.share()
    assert means.sums == {"loss": 3.0}


@pytest.mark.parametrize(("backend", "device"), [("gloo", "cpu"), ("nccl", "cuda")])
def test_processes_send_from_a_device_that_their_backend_can_read(two_processes, monkeypatch, backend, device):
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    errors = WordErrors([1])
    errors.add(["a b"], [["a"]])
    assert errors.compute() == {"1": 50.0}
    Means().compute()
    assert two_processes == [device, device]


def test_word_errors_are_counted_at_each_depth():
    errors = WordErrors([1, 2])
    errors.add(["a b", "c d"], [["", "c"], ["a b", "c x"]])
    errors.add(["e"], [["e"], [""]])
    assert errors.compute() == {"1": 60.0, "2": 40.0}
    assert errors.empty_share() == pytest.approx(1 / 3)
    errors.reset()
    assert errors.compute() == {"1": 0.0, "2": 0.0}


def test_the_share_of_empty_texts_is_that_of_the_last_depth():
    errors = WordErrors([1, 2, 3])
    errors.add(["a", "b"], [["a", "b"], ["", ""], ["", "b"]])
    assert errors.empty_share() == 0.5


def test_errors_without_a_reference_word_are_infinitely_many():
    errors = WordErrors([1, 2])
    errors.add([""], [["a"], [""]])
    assert errors.compute() == {"1": float("inf"), "2": 0.0}


def test_a_depth_without_its_hypotheses_is_an_error():
    with pytest.raises(ValueError):
        WordErrors([1, 2]).add(["a"], [["a"]])
    errors = WordErrors([1])
    errors.add(["a", "b"], [["a"]])
    with pytest.raises(ValueError):
        errors.compute()
