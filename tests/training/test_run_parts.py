"""What a run is put together from, each part without a training."""

import contextlib
import copy
import errno
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dld.data import kaldi
from dld.data.tokenizer import Tokenizer
from dld.encoders import GatedConformer
from dld.errors import DldError
from dld.experiment import load_trained
from dld.files import read_json
from dld.frontends import GlobalCMVN, LogMel, SpeedPerturb
from dld.network import GatedCTC
from dld.training import run as runs
from dld.training.run import Data, _finish, load_first_weights, prepare_front_end, training_limits


@pytest.fixture
def values(tiny_corpus):
    """The values of an experiment file that the parts read."""
    sizes = {"d_model": 8, "d_ffn": 8, "num_heads": 2, "kernel_size": 3, "subsampling_channels": 4}
    encoder = GatedConformer(num_blocks=2, input_size=8, **sizes)
    return {
        "network": GatedCTC(LogMel(n_mels=8, normalisation=GlobalCMVN(8)), encoder, vocab_size=32),
        "soft_targets": None,
        "init_from": None,
        "speed_perturb": None,
        "sample_rate": 16000,
        "channel": None,
        "min_duration": 0.5,
        "max_duration": 30.0,
        "max_batch_seconds": 20,
        "eval_batch_seconds": 10,
        "num_workers": 0,
        "seed": 5,
        "system": "static",
        "num_epochs": 4,
        "average_checkpoints": 3,
    }


@pytest.fixture
def data(values, tiny_corpus):
    tokenizer = Tokenizer.load(tiny_corpus / "lang")
    return Data.load(values, tokenizer, kaldi.load(tiny_corpus / "train"), kaldi.load(tiny_corpus / "dev"))


# ---------------------------------------------------------------- data


def test_training_utterances_must_be_long_enough_for_their_text_at_the_fastest(values):
    limits = training_limits(values)
    # A frame of 10 ms, of which the encoder keeps every fourth.
    expected = {"frames_per_second": 25.0, "overlap": 0.0, "min_duration": 0.5, "max_duration": 30.0, "max_speed": 1.0}
    assert limits == expected
    values["speed_perturb"] = SpeedPerturb((0.9, 1.0, 1.2))
    assert training_limits(values)["max_speed"] == 1.2


def test_what_a_run_trains_and_validates_on(data, tiny_corpus, values):
    train, dev = (kaldi.load(tiny_corpus / name) for name in ("train", "dev"))
    kept = {u.id for u in train if u.duration >= 0.5}
    assert {u.id for u in data.utterances} == kept
    assert {name for batch in data.train for name in batch.id} == kept
    assert {name for batch in data.dev for name in batch.id} == {u.id for u in dev}
    assert data.without_loss == []
    # Making an iterator draws nothing from the global generator.
    before = torch.get_rng_state()
    iter(data.train)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("limit", ["min_duration", "max_duration"])
def test_utterances_outside_the_limits_are_left_out(values, tiny_corpus, limit):
    train = kaldi.load(tiny_corpus / "train")
    values[limit] = middle = sorted(u.duration for u in train)[len(train) // 2]
    tokenizer = Tokenizer.load(tiny_corpus / "lang")
    data = Data.load(values, tokenizer, train, kaldi.load(tiny_corpus / "dev"))
    inside = [u.id for u in train if (u.duration >= middle if limit == "min_duration" else 0.5 <= u.duration <= middle)]
    assert sorted(u.id for u in data.utterances) == sorted(inside)


# ---------------------------------------------------------------- start


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"init_from": "exp/static"}, [("start", "exp/static")]),
        ({"init_from": "exp/static", "pretrained": "wavlm"}, [("start", "exp/static")]),
        ({"pretrained": "wavlm"}, [("pretrained", "wavlm")]),
        ({}, []),
    ],
)
def test_a_run_starts_from_a_model_or_pretrained_weights_or_from_scratch(values, monkeypatch, given, told):
    seen = []
    monkeypatch.setattr(runs, "load_start", lambda network, start, tokenizer: seen.append(("start", start)))
    values["network"].encoder.load_pretrained = lambda path: seen.append(("pretrained", path))
    load_first_weights({**values, **given}, None)
    assert seen == told


class Source(SimpleNamespace):
    """Soft targets with a front end; it notes what is checked."""

    experiment, cache, sha256 = "exp/static", False, "5" * 64

    def check_front_end(self, frontend):
        self.checked = frontend

    def check_unchanged(self):
        self.compared = True


def test_statistics_are_those_of_the_training_data(values, data):
    frontend = values["network"].frontend
    assert frontend.needs_statistics
    prepare_front_end(values, data, "cpu")
    assert not frontend.needs_statistics
    total, count = torch.zeros(8, dtype=torch.double), 0
    for batch in data.train:
        log_mel = LogMel(n_mels=8)
        waveforms, lengths = runs.unpack(batch.signal)
        features, frames = log_mel(waveforms, lengths)
        for row, length in zip(features, frames.tolist(), strict=True):
            total, count = total + row[:length].double().sum(0), count + length
    batch = next(iter(data.train))
    waveforms, lengths = runs.unpack(batch.signal)
    ours, frames = frontend(waveforms, lengths)
    plain, _ = LogMel(n_mels=8)(waveforms, lengths)
    # A normalised feature is zero where the plain one is the mean over all frames.
    slope = (ours[0, 0] - ours[0, 1]) / (plain[0, 0] - plain[0, 1])
    torch.testing.assert_close(plain[0, 0] - ours[0, 0] / slope, (total / count).float(), atol=1e-3, rtol=1e-3)


def test_statistics_are_those_of_the_teacher_where_there_is_one(values, data):
    prepare_front_end(values, data, "cpu")
    teacher = copy.deepcopy(values["network"].frontend)
    for buffer in teacher.buffers():
        if buffer.shape == (8,):
            buffer += 1.0
    student = LogMel(n_mels=8, normalisation=GlobalCMVN(8))
    source = Source(frontend=teacher)
    prepare_front_end({**values, "network": SimpleNamespace(frontend=student), "soft_targets": source}, data, "cpu")
    assert source.checked is student
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(student.state_dict()[name], tensor)


def test_a_front_end_without_statistics_is_compared_with_the_teachers(values):
    frontend = LogMel(n_mels=8)
    source = Source(frontend=copy.deepcopy(frontend))
    prepare_front_end({**values, "network": SimpleNamespace(frontend=frontend), "soft_targets": source}, None, "cpu")
    assert source.checked is frontend
    prepare_front_end({**values, "network": SimpleNamespace(frontend=frontend)}, None, "cpu")
    source = Source(frontend=None)
    prepare_front_end({**values, "network": SimpleNamespace(frontend=frontend), "soft_targets": source}, None, "cpu")
    assert not hasattr(source, "checked")


# ---------------------------------------------------------------- end


@pytest.fixture
def brain(values):
    """A brain at its end, whose best epochs are 2 and 3."""
    asked = []

    def average_best(loader, number):
        asked.append((loader, number))
        return [2, 3], {"wer": {"2": 8.0}, "mean_wer": 8.0}

    progress = SimpleNamespace(history=[{"epoch": 3, "updates": 40, "seconds": 12.345}])
    network = values["network"]
    return SimpleNamespace(
        soft_targets=None, average_best=average_best, progress=progress, network=network, asked=asked
    )


@pytest.mark.parametrize("source", [None, Source()])
def test_the_final_model_says_how_it_was_made(values, brain, tmp_path, tiny_corpus, source):
    (tmp_path / "bpe.model").write_bytes((tiny_corpus / "lang/bpe.model").read_bytes())
    brain.soft_targets = source
    _finish(tmp_path, values, brain, "dev")
    assert brain.asked == [("dev", 3)]
    about = read_json(tmp_path / "model.json")
    made = {name: about[name] for name in ("system", "seed", "updates", "train_seconds", "averaged_epochs", "dev_wer")}
    expected = {"system": "static", "seed": 5, "updates": 40, "train_seconds": 12.3, "averaged_epochs": [2, 3]}
    assert made == {**expected, "dev_wer": {"2": 8.0}}
    assert about["teacher_sha256"] == (source and "5" * 64)
    assert source is None or source.compared


def test_a_full_disk_at_the_end_says_that_the_training_is_safe(values, brain, tmp_path, monkeypatch):
    def full(folder, network, about):
        raise OSError(errno.ENOSPC, "No space left on device", str(Path(folder) / "model.safetensors"))

    monkeypatch.setattr(runs, "save_model", full)
    with pytest.raises(
        DldError, match="no space left .*; the training is done and its checkpoints are safe in .*/save"
    ):
        _finish(tmp_path, values, brain, "dev")


def test_nothing_is_removed_unless_asked_for():
    assert inspect.signature(runs.train).parameters["restart"].default is False


def test_a_run_estimates_the_statistics_that_its_front_end_needs(experiment, tmp_path):
    settings = {"frontend.normalisation": "!new:dld.frontends.GlobalCMVN {n_features: 80}", "num_epochs": 1}
    assert not load_trained(experiment("static", tmp_path, **settings)).network.frontend.needs_statistics


@pytest.mark.parametrize(("bar", "interval"), [(True, 0), (False, 60)])
def test_there_are_lines_where_there_is_no_progress_bar(tmp_path, bar, interval):
    brain = SimpleNamespace(noprogressbar=not bar)
    with runs._watch(brain, tmp_path, {"log_interval": 60}, None):
        assert brain.watch.interval.seconds == interval and brain.watch.curves is None


@pytest.mark.parametrize("failure", [None, DldError("stopped")])
def test_curves_end_with_the_run(tmp_path, monkeypatch, failure):
    asked = []
    curves = SimpleNamespace(close=lambda: asked.append("closed"))
    monkeypatch.setattr(runs, "open_curves", lambda *given: asked.append(given) or curves)
    newest = SimpleNamespace(meta={"updates": 30})
    values = {"logger": "tensorboard"}
    with contextlib.suppress(DldError), runs._watch(SimpleNamespace(noprogressbar=True), tmp_path, values, newest):
        if failure:
            raise failure
    assert asked == [("tensorboard", tmp_path, values, 30), "closed"]
