"""What comes at the end of a training: the mean of the best checkpoints, or the best one alone."""

from types import SimpleNamespace

import pytest
import torch

from dld.errors import DldError
from dld.training.checkpoints import WholeCheckpointer, save_state
from dld.training.engine import Engine


@pytest.fixture
def brain(tmp_path):
    """A stand-in with five checkpoints whose weight is 10 times the epoch; `measured` are the weights it measured."""
    network = torch.nn.Linear(1, 1, bias=False)
    checkpointer = WholeCheckpointer(tmp_path / "save")
    checkpointer.add_recoverable("network", network, custom_save_hook=save_state)
    for epoch, wer in enumerate((50.0, 20.0, 40.0, 10.0, 30.0), 1):
        torch.nn.init.constant_(network.weight, 10.0 * epoch)
        checkpointer.save_checkpoint({"epoch": epoch, "mean_wer": wer})
    made = SimpleNamespace(checkpointer=checkpointer, criterion="mean_wer", measured=[], wers={})

    def measure(state, loader):
        made.measured.append(state["weight"].item())
        wers = made.wers.get(made.measured[-1], {2: 8.0, 4: 6.0})
        return {"wer": wers, "mean_wer": sum(wers.values()) / len(wers)}

    made.measure = measure
    return made


def test_the_mean_of_the_best_checkpoints_is_taken(brain):
    result = Engine.average_best(brain, None, 3)
    assert brain.measured == [pytest.approx(10 * (4 + 2 + 5) / 3)]
    assert result == ([2, 4, 5], {"wer": {2: 8.0, 4: 6.0}, "mean_wer": 7.0})


def test_the_best_checkpoint_is_taken_where_the_mean_is_worse(brain):
    brain.wers = {30.0: {2: 60.0, 4: 80.0}, 40.0: {2: 9.0, 4: 11.0}}
    result = Engine.average_best(brain, None, 2)
    assert brain.measured == [30.0, 40.0]
    assert result == ([4], {"wer": {2: 9.0, 4: 11.0}, "mean_wer": 10.0})


def test_a_mean_that_is_as_good_is_taken(brain):
    brain.wers = {30.0: {2: 10.0}}
    assert Engine.average_best(brain, None, 2)[0] == [2, 4]


def test_damaged_checkpoints_do_not_go_into_the_mean(brain):
    best = brain.checkpointer.find_checkpoint(min_key="mean_wer")
    best.paramfiles["network"].write_bytes(b"")
    assert Engine.average_best(brain, None, 2)[0] == [2]
    assert brain.measured == [20.0]
    for checkpoint in brain.checkpointer.list_checkpoints():
        checkpoint.paramfiles["network"].write_bytes(b"")
    with pytest.raises(DldError, match="none of the best checkpoints is whole"):
        Engine.average_best(brain, None, 2)
