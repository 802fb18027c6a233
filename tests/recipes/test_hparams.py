"""Every experiment file of every recipe is known here, is built, and makes a training step."""

import pytest
import torch

from dld.config import load_config
from dld.data import kaldi
from dld.data.tokenizer import train as train_tokenizer
from dld.experiment import load_trained
from dld.training.run import train

RIVALS = ("dld_plus", "dedicated", "early_exit", "interctc_sd", "self_kd")
ABLATIONS = (
    *("start", "uniform", "even", "even_start", "rising", "ramp", "sandwich", "temperature", "lambda", "augmented"),
    *("closed_norm", "interctc", "hidden", "blank"),
)
# Files that run, in the order in which they need one another, and the kind of what makes them tiny.
RUN = {
    "mini/hparams/static.yaml": "mini",
    "mini/hparams/ld.yaml": "mini",
    "mini/hparams/dld.yaml": "mini",
    **{f"mini/hparams/{name}.yaml": "mini" for name in RIVALS},
    **{f"mini/hparams/{name}_wavlm.yaml": "mini" for name in ("static", "ld", "dld", "dld_plus")},
    **{f"mini/hparams/ablations/dld_{name}.yaml": "mini" for name in ABLATIONS},
    "librispeech/hparams/static.yaml": "paper",
    "librispeech/hparams/ld.yaml": "paper",
    "librispeech/hparams/dld.yaml": "paper",
    "tedlium3/hparams/static.yaml": "paper",
    "tedlium3/hparams/ld.yaml": "paper",
    "tedlium3/hparams/dld.yaml": "paper",
    "librispeech/hparams/static_wavlm.yaml": "wavlm",
    "librispeech/hparams/ld_wavlm.yaml": "wavlm",
    "librispeech/hparams/dld_wavlm.yaml": "wavlm",
    "tedlium3/hparams/static_wavlm.yaml": "wavlm",
    "tedlium3/hparams/ld_wavlm.yaml": "wavlm",
    "tedlium3/hparams/dld_wavlm.yaml": "wavlm",
    "queen/hparams/static.yaml": "whisper",
    "queen/hparams/ld.yaml": "whisper",
    "queen/hparams/dld.yaml": "whisper",
    "queen/hparams/ablations/dld_even.yaml": "whisper",
    **{f"queen/hparams/{name}.yaml": "whisper" for name in RIVALS},
    **{f"queen/hparams/{name}_conformer.yaml": "paper" for name in ("static", "ld", "dld", *RIVALS)},
}
# Files that others extend; they are tested with those.
LAYERS = {
    "mini/hparams/base.yaml",
    "mini/hparams/base_wavlm.yaml",
    "librispeech/hparams/base.yaml",
    "tedlium3/hparams/base.yaml",
    "queen/hparams/base.yaml",
    "queen/hparams/base_conformer.yaml",
    "common/hparams/conformer.yaml",
    "common/hparams/wavlm.yaml",
    "common/hparams/static.yaml",
    "common/hparams/ld.yaml",
    "common/hparams/dld.yaml",
    "common/hparams/dld_even.yaml",
    *(f"common/hparams/{name}.yaml" for name in RIVALS),
}


def test_every_experiment_file_is_listed(root):
    there = {str(path.relative_to(root / "recipes")) for path in (root / "recipes").glob("*/hparams/**/*.yaml")}
    assert there == set(RUN) | LAYERS, "list the file in tests/recipes/test_hparams.py with what tests it"


def test_every_layer_is_extended(root):
    texts = [(root / "recipes" / path).read_text() for path in (*RUN, *LAYERS)]
    for layer in LAYERS:
        name = layer.rpartition("/")[2]
        assert any(name in text.partition("extends:")[2].partition("\n")[0] for text in texts), layer


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


@pytest.mark.parametrize("path", RUN)
def test_a_file_is_built_and_trains(root, corpus, exp, tiny, path):
    settings = tiny[RUN[path]]
    recipe, name = path.removesuffix(".yaml").split("/hparams/")
    model = next((model for model in ("wavlm", "conformer") if name.endswith(f"_{model}")), "")
    system = name.removesuffix(f"_{model}").rpartition("/")[2]
    overrides = {
        **settings,
        "data": str(corpus / f"data{settings.get('vocab_size', 32)}"),
        "exp": str(exp / recipe / model),
        "precision": "fp32",
        **({"depth": 1} if system == "dedicated" else {}),
    }
    folder = train(load_config(root / "recipes" / path, overrides), {"device": "cpu", "noprogressbar": True})
    trained = load_trained(folder)
    assert trained.about["system"] == system
    assert trained.about["updates"] >= 1
    assert folder.name == ("dedicated_n1" if system == "dedicated" else trained.about["system"])
    assert all(torch.isfinite(p).all() for p in trained.network.parameters())


@pytest.mark.parametrize("recipe", ["librispeech", "tedlium3"])
def test_the_full_network_has_the_size_that_the_readme_states(root, recipe):
    network = load_config(root / f"recipes/{recipe}/hparams/static.yaml").values["network"]
    total, shallow = (network.parameter_counts((True,) * n + (False,) * (12 - n))[i] for n, i in ((12, 0), (2, 1)))
    text = (root / f"recipes/{recipe}/README.md").read_text(encoding="utf-8")
    assert f"{total / 1e6:.1f} million parameters" in text
    assert f"{shallow / 1e6:.1f} million" in text
    assert total == 32_097_984
