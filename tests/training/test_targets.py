"""Sources of soft targets: what they hold before they are loaded, and which output they take."""

import copy
import shutil
from types import SimpleNamespace

import pytest
import torch

from dld.config import load_config
from dld.encoders import GatedConformer
from dld.errors import DldError
from dld.experiment import state_hash
from dld.frontends import LogMel
from dld.gates import Draw
from dld.network import GatedCTC, Output
from dld.training import targets
from dld.training.targets import FrozenTeacher, FullDepth, Inputs, TargetSource

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
        ({"experiment": "exp", "cache": "no"}, "true or false, or the path of a folder; write false"),
        ({"experiment": "exp", "cache": True, "input": "clean", "top_k": 0}, "top_k is 0; it must be a whole number"),
        ({"experiment": "exp", "cache": True}, "teacher_cache needs teacher_input: clean"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(settings, message):
    with pytest.raises(DldError, match=message):
        FrozenTeacher(**settings)


@pytest.fixture
def teacher(monkeypatch, tmp_path):
    """A teacher that was never trained, loaded: `teacher(input="clean")`."""

    def load(folder):
        torch.manual_seed(0)
        encoder = GatedConformer(
            num_blocks=2, input_size=8, d_model=8, num_heads=2, d_ffn=8, kernel_size=3, subsampling_channels=4
        )
        network = GatedCTC(LogMel(n_mels=8), encoder, vocab_size=5)
        about = SimpleNamespace(state_sha256=state_hash(network))
        settings = {"network": {"!new:dld.network.GatedCTC": {"vocab_size": 5}}}
        tokenizer = SimpleNamespace(sha256="5" * 64)
        return SimpleNamespace(network=network, tokenizer=tokenizer, folder=tmp_path, about=about, settings=settings)

    monkeypatch.setattr(targets, "load_trained", load)

    def make(**settings):
        made = FrozenTeacher(str(tmp_path), **settings)
        made.load(SimpleNamespace(sha256="5" * 64))
        return made

    return make


@pytest.mark.parametrize("digit", "0f")
def test_any_other_tokenizer_than_the_teachers_is_refused(teacher, digit):
    with pytest.raises(DldError, match="teacher and student have different tokenizers"):
        teacher().load(SimpleNamespace(sha256=digit * 64))


def test_loading_a_teacher_draws_no_random_numbers(teacher):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    teacher()
    assert torch.equal(torch.rand(3), expected)


def test_a_teacher_gives_what_its_input_gives_in_evaluation_mode(teacher):
    inputs = Inputs(torch.randn(2, 40, 8), torch.randn(2, 40, 8).requires_grad_(), torch.tensor([40, 30]))
    for source, features in ((teacher(input="clean"), inputs.clean), (teacher(), inputs.features)):
        source.network.train()
        target = source(["a", "b"], inputs, Draw.even([(True, True)]), None)
        again, frames = source.target(features, inputs.lengths)
        assert torch.equal(target.logits, again.logits) and torch.equal(target.hidden, again.hidden)
        # No gradient goes to a student's features through its teacher.
        assert not source.network.training and not target.logits.requires_grad
        assert frames.tolist() == sorted(frames.tolist(), reverse=True)


def test_a_front_end_with_other_settings_or_other_statistics_is_refused(teacher):
    source = teacher()
    source.check_front_end(copy.deepcopy(source.network.frontend))
    weights = copy.deepcopy(source.network.frontend)
    weights.register_buffer("mean", torch.ones(8))
    settings = LogMel(n_mels=8, hop_ms=12.5)
    assert state_hash(settings) == state_hash(source.network.frontend) and weights.same_as(source.network.frontend)
    for frontend in (settings, weights):
        with pytest.raises(DldError, match="different front ends"):
            source.check_front_end(frontend)


@pytest.mark.parametrize("change", [-0.5, 0.5, 1e-6])
def test_a_teacher_that_changed_is_noticed(teacher, change):
    source = teacher()
    source.check_unchanged()
    with torch.no_grad():
        source.network.head.bias += change
    with pytest.raises(RuntimeError, match="changed while its student was trained"):
        source.check_unchanged()


@pytest.mark.parametrize("digit", "0f")
def test_a_teacher_of_another_hash_is_noticed(teacher, digit):
    source = teacher()
    source.sha256 = digit * 64
    with pytest.raises(RuntimeError, match="changed while its student was trained"):
        source.check_unchanged()


def test_a_source_must_say_what_it_gives():
    with pytest.raises(NotImplementedError):
        TargetSource()([], INPUTS, Draw.even([(True,)]), None)


def test_a_run_of_an_older_version_is_refused_in_one_line(experiment, trained_pair, tmp_path):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    settings = tmp_path / "static/hyperparams.yaml"
    text = settings.read_text()
    start, end = text.index("objectives:"), text.index("soft_targets:")
    settings.write_text(f"{text[:start]}brain: !name:dld.brains.StaticBrain\n{text[end:]}")
    with pytest.raises(DldError, match="holds a run that an older version of dld began") as caught:
        experiment("static", tmp_path)
    assert "\n" not in str(caught.value)
