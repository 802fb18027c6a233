"""Settings of finished experiments, read as data."""

import shutil

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from safetensors.torch import load_file

from dld import saved
from dld.bin.config import show
from dld.config import load_config
from dld.errors import DldError
from dld.experiment import load_trained
from dld.frontends import UtteranceCMVN
from dld.saved import Settings

# One of each kind of network.
NETWORKS = ["mini/dld", "mini/early_exit", "mini/dld wavlm", "queen/dld", "queen/dld conformer", "librispeech/dld",
            "tedlium3/dld wavlm"]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_what_training_stores_is_what_is_shown_and_its_network_can_be_built(files, name):
    paths = files(name)
    text, settings = show(paths, {"exp": "elsewhere"})
    assert text.startswith("# Resolved") and settings.values["exp_dir"].startswith("elsewhere/")
    Settings(paths[0], text.encode()).check_network()


def test_shown_and_stored_text_are_the_same(files):
    paths = files("mini/dld")
    stored = load_config(paths, {"lr": "1e-4"}).text
    assert show(paths, {"lr": "1e-4"})[0] == stored
    network = Settings(paths[0], stored.encode()).network()
    again = load_config(paths).values["network"]
    assert repr(network) == repr(again)
    assert [(n, t.shape) for n, t in network.state_dict().items()] == [
        (n, t.shape) for n, t in again.state_dict().items()
    ]


def test_training_warns_of_a_network_that_cannot_be_loaded_later(experiment, tmp_path, monkeypatch, caplog):
    monkeypatch.delitem(saved.CLASSES, "dld.frontends.UtteranceCMVN")
    folder = experiment("static", tmp_path, num_epochs=1)
    assert "dld decode will not load it" in caplog.text and "normalisation" in caplog.text
    with pytest.raises(DldError, match="normalisation: '!new:dld.frontends.UtteranceCMVN' is not one of the classes"):
        load_trained(folder)


def test_settings_are_plain_values_and_loading_draws_no_random_numbers(trained_pair):
    before = torch.get_rng_state()
    trained = load_trained(trained_pair / "dld")
    assert torch.equal(before, torch.get_rng_state())
    assert trained.settings["decode_depths"] == [1, 3]
    assert trained.settings["optimizer"]["!name:torch.optim.AdamW"]["betas"] == [0.9, 0.98]
    assert trained.settings["soft_targets"]["!new:dld.training.targets.FrozenTeacher"]["input"] == "clean"
    assert trained.settings["network"]["!new:dld.network.GatedCTC"]["vocab_size"] == 32
    stored = load_file(trained_pair / "dld/model.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in trained.network.state_dict().items())


def test_merge_keys_tuples_and_numbers_are_read_as_training_reads_them(tmp_path):
    text = (
        "a: (0.9, 0.98)\nb: !tuple (1, 2)\nc: yes\ne: 1e-3\nf: 0o17\ng: 1_000\nh: &x {q: 1, r: 1}\ni: {<<: *x, r: 2}\n"
        "j: .inf\nk: ~\nl: [true, False]\nm: '5'\nn: 0x1F\no: -3\n"
    )
    (tmp_path / "hyperparams.yaml").write_text(text)
    expected = load_hyperpyyaml(text)
    assert Settings(tmp_path / "hyperparams.yaml").values == expected


def test_a_class_of_ones_own_can_be_allowed(trained_pair, tmp_path, monkeypatch):
    shutil.copytree(trained_pair / "static", tmp_path / "static")
    settings = tmp_path / "static/hyperparams.yaml"
    settings.write_text(settings.read_text().replace("dld.frontends.UtteranceCMVN", f"{__name__}.Own"))
    with pytest.raises(DldError, match="not one of the classes.*dld.saved.allow"):
        load_trained(tmp_path / "static")
    monkeypatch.setitem(saved.CLASSES, f"{__name__}.Own", Own)
    assert type(load_trained(tmp_path / "static").network.frontend.normalisation) is Own


class Own(UtteranceCMVN):
    """A class that is not dld's."""
