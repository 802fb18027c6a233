"""Every experiment file of every recipe is known here, is built, and makes a training step."""

from pathlib import Path

import pytest
import torch

from dld.comparison.driver import Driver
from dld.comparison.runs import read_comparison
from dld.config import load_config, parse_overrides
from dld.data import kaldi
from dld.data.tokenizer import train as train_tokenizer
from dld.experiment import load_trained
from dld.training.run import train

FIRST = ("static", "ld", "dld")
BASELINES = ("dld_plus", "dedicated", "early_exit", "interctc_sd", "self_kd")
# Experiments that run, in the order in which they need one another, and the kind of what makes them tiny.
RUN = {
    **{f"mini/{name}": "mini" for name in (*FIRST, *BASELINES)},
    **{f"mini/dld_{name}": "mini" for name in ("even", "uniform", "rising", "sandwich", "interctc", "hidden", "exits")},
    **{f"mini/{name} wavlm": "mini" for name in (*FIRST, "dld_plus")},
    **{f"{recipe}/{name}": "paper" for recipe in ("librispeech", "tedlium3") for name in FIRST},
    **{f"{recipe}/{name} wavlm": "wavlm" for recipe in ("librispeech", "tedlium3") for name in FIRST},
    **{f"an4/{name}": "mini" for name in (*FIRST, *BASELINES)},
    **{f"kaldi/{name} small": "mini" for name in (*FIRST, *BASELINES)},
    **{f"queen/{name}": "whisper" for name in (*FIRST, "dld_even", "dld_sandwich", *BASELINES)},
    **{f"queen/{name} conformer": "paper" for name in (*FIRST, *BASELINES)},
}
# What the ablations of mini set by themselves: names of runs, whose files are those of another system.
ABLATIONS = ("start", "even_start", "ramp", "temperature", "lambda", "augmented", "closed_norm", "blank")
# Files that others extend; they are tested with those.
LAYERS = {f"common/hparams/{name}.yaml" for name in ("defaults", "conformer", "systems/dld_even")}


def test_every_experiment_file_is_listed(root, files):
    there = {str(path.relative_to(root / "recipes")) for path in (root / "recipes").glob("*/hparams/**/*.yaml")}
    trained = {str(Path(path).relative_to(root / "recipes")) for name in RUN for path in files(name)}
    assert there == trained | LAYERS, "name its experiment in tests/recipes/test_hparams.py"


def test_every_layer_is_extended(root):
    texts = [path.read_text() for path in (root / "recipes").glob("*/hparams/**/*.yaml")]
    for layer in LAYERS:
        name = layer.rpartition("/")[2]
        assert any(name in text.partition("extends:")[2].partition("\n")[0] for text in texts), layer


def test_the_settings_of_the_ablations_are_listed(root):
    runs = read_comparison(root / "recipes/mini/runs/ablations.yaml").runs
    assert {run.name for run in runs if "system" in run.settings} == {f"dld_{name}" for name in ABLATIONS}
    files = {name.removeprefix("mini/") for name in RUN if name.startswith("mini/dld_")} - {
        "dld_plus",
        "dld_plus wavlm",
        "dld_exits",
    }
    assert {run.name for run in runs} == {*FIRST, *files, *(f"dld_{name}" for name in ABLATIONS)}


@pytest.fixture(scope="module")
def corpus(tiny_corpus, tmp_path_factory):
    """A handful of utterances with a tokenizer for each size of the vocabulary."""
    folder = tmp_path_factory.mktemp("hparams")
    for split in ("train", "dev"):
        kaldi.subset(tiny_corpus / split, folder / "data32" / split, number=4)
        kaldi.subset(tiny_corpus / split, folder / "data64" / split, number=4)
    lines = list(kaldi.read_text(tiny_corpus / "train/text").values())
    train_tokenizer(lines, folder / "data32/lang", 32)
    train_tokenizer(lines, folder / "data64/lang", 64)
    return folder


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    """One folder for all: the students find the teachers there."""
    return tmp_path_factory.mktemp("exp")


def overrides_for(settings, corpus, exp, **more):
    """Overrides that make an experiment tiny."""
    data = str(corpus / f"data{settings.get('vocab_size', 32)}")
    return {**settings, "data": data, "exp": str(exp), "precision": "fp32", **more}


def check_training(files, overrides, system, name):
    """Train and load an experiment; `name` is that of its folder."""
    folder = train(load_config(files, overrides), {"device": "cpu", "noprogressbar": True})
    trained = load_trained(folder)
    assert trained.about.system == system
    assert trained.about.updates >= 1
    assert folder.name == name
    assert all(torch.isfinite(p).all() for p in trained.network.parameters())


@pytest.mark.parametrize("name", RUN)
def test_a_file_is_built_and_trains(files, corpus, exp, tiny, name):
    recipe, system, *model = name.replace("/", " ").split()
    depth = {"depth": 1} if system == "dedicated" else {}
    overrides = overrides_for(tiny[RUN[name]], corpus, exp / recipe / "".join(model), **depth)
    check_training(files(name), overrides, system, "dedicated_n1" if system == "dedicated" else system)


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_settings_of_an_ablation_train(root, corpus, exp, tiny, monkeypatch, name):
    comparison = read_comparison(root / "recipes/mini/runs/ablations.yaml")
    run = comparison.run(f"dld_{name}")
    words = Driver(comparison).train(run)
    given = parse_overrides([word for word in words if word.startswith("--") and "=" in word])
    monkeypatch.chdir(comparison.recipe)
    overrides = {**given, **overrides_for(tiny["mini"], corpus, exp / "mini")}
    for key in {"exp_dir", "teacher", "init_from"} & set(given):
        overrides[key] = f"{exp}/mini/{given[key].rpartition('/')[2]}"
    check_training([*comparison.files, *run.files], overrides, run.name, run.name)


@pytest.mark.parametrize("recipe", ["librispeech", "tedlium3"])
def test_the_full_network_has_the_size_that_the_readme_states(root, files, recipe):
    network = load_config(files(f"{recipe}/static")).values["network"]
    total, shallow = (network.parameter_counts((True,) * n + (False,) * (12 - n))[i] for n, i in ((12, 0), (2, 1)))
    text = (root / f"recipes/{recipe}/README.md").read_text(encoding="utf-8")
    assert f"{total / 1e6:.1f} million parameters" in text
    assert f"{shallow / 1e6:.1f} million" in text
    assert total == 31_305_408
