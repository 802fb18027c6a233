"""Sources of soft targets: what they hold before they are loaded, and which output they take."""

import shutil

import pytest
import torch

from dld.config import load_config
from dld.errors import DldError
from dld.gates import Draw
from dld.network import Output
from dld.training.targets import FrozenTeacher, FullDepth, Inputs

INPUTS = Inputs(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.tensor([2]))


def test_reading_an_experiment_file_loads_no_teacher(files, tmp_path):
    values = load_config(files("mini/dld"), {"exp": str(tmp_path)}).values
    source = values["soft_targets"]
    assert source.network is None and source.experiment == f"{tmp_path}/static"
    assert values["objectives"]["kd"].weight == 1.0


@pytest.mark.parametrize("full", [0, 2])
def test_the_full_network_teaches_wherever_it_is_in_the_step(full):
    vectors = [(True, False)] * 3
    vectors[full] = (True, True)
    logits = [torch.full((1, 2, 4), float(index), requires_grad=True) for index in range(3)]
    target = FullDepth()(["a"], INPUTS, Draw.even(vectors), Output(logits, torch.tensor([2]), logits))
    assert torch.equal(target.logits, logits[full]) and not target.logits.requires_grad
    with pytest.raises(DldError, match="draws the full network in every step"):
        FullDepth().check_draw(Draw.even([(True, False)]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experiment": None}, "needs a teacher"),
        ({"experiment": "exp", "input": "loud"}, "input is 'loud'; it must be augmented or clean"),
        ({"experiment": "exp", "cache": "no"}, "cache is 'no'; it must be true or false"),
        ({"experiment": "exp", "cache": True}, "teacher_cache needs teacher_input: clean"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(settings, message):
    with pytest.raises(DldError, match=message):
        FrozenTeacher(**settings)


def test_a_run_of_an_older_version_is_refused_in_one_line(experiment, trained_pair, tmp_path):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    settings = tmp_path / "static/hyperparams.yaml"
    text = settings.read_text()
    start, end = text.index("objectives:"), text.index("soft_targets:")
    settings.write_text(f"{text[:start]}brain: !name:dld.brains.StaticBrain\n{text[end:]}")
    with pytest.raises(DldError, match="holds a run that an older version of dld began") as caught:
        experiment("static", tmp_path)
    assert "\n" not in str(caught.value)
