"""A miniature WavLM, from training to the table: the mini recipe's experiments with another encoder."""

import json
import shutil

import pytest
import torch

from dld.bin import decode, gate_table, report, score
from dld.config import load_config
from dld.encoders import GatedWavLM
from dld.errors import DldError
from dld.experiment import load_trained
from dld.files import read_json
from dld.gates import GateTable, depth
from dld.training.engine import Engine
from dld.training.run import train

BLOCKS = 3
# Steps of 320 samples, as in the published models, in three convolutions.
WAVLM = """!new:dld.encoders.GatedWavLM
    num_blocks: !ref <num_blocks>
    d_model: 80
    d_ffn: 160
    num_heads: 4
    conv_layers: [[48, 10, 5], [48, 8, 8], [48, 8, 8]]
    positional_kernel: 16
    positional_groups: 4
    mask_time_share: 0.1
    mask_channel_share: 0.1
    mask_channel_width: 8
    freeze_extractor: false
"""
MINIATURE = {
    "encoder": WAVLM,
    "frontend": "!new:dld.frontends.Waveform {}",
    "spec_augment": None,
    "num_blocks": BLOCKS,
    "num_epochs": 2,
}


@pytest.fixture(scope="module")
def systems(experiment, tmp_path_factory):
    """Folder with a static network, LD and DLD."""
    exp = tmp_path_factory.mktemp("wavlm")
    for system in ("static", "ld", "dld"):
        experiment(system, exp, **MINIATURE)
    return exp


@pytest.mark.parametrize("system", ["static", "ld", "dld"])
def test_training_lowers_the_loss(systems, system):
    log = [json.loads(line) for line in (systems / system / "train_log.jsonl").read_text().splitlines()]
    assert log[1]["train_loss"] < log[0]["train_loss"]
    assert ("train_kd" in log[1]) == (system == "dld")
    network = load_trained(systems / system).network
    assert isinstance(network.encoder, GatedWavLM)
    assert 1e5 < sum(p.numel() for p in network.parameters()) < 1e6


def test_from_gate_table_to_report(systems, tiny_corpus, tmp_path):
    for system in ("static", "ld", "dld"):
        folder = systems / system
        if system != "static":
            arguments = ["--exp", str(folder), "--data", str(tiny_corpus / "dev"), "--progress", "false"]
            assert gate_table.main(arguments) == 0
            table = GateTable.load(folder / "gate_table.json")
            assert [depth(table.gates(n)) for n in range(1, BLOCKS + 1)] == [1, 2, 3]
        depths = "3" if system == "static" else "1,3"
        options = ["--depths", depths, "--rtf-utterances", "1", "--progress", "false"]
        assert decode.main(["--exp", str(folder), "--data", str(tiny_corpus / "test"), *options]) == 0
        for output in folder.glob("decode_test_n*"):
            assert score.main(["--ref", str(tiny_corpus / "test/text"), "--hyp", str(output / "text")]) == 0
    names = "static,ld,dld"
    assert report.main(["--exp", str(systems), "--output", str(tmp_path), "--systems", names]) == 0
    assert all(name in (tmp_path / "README.md").read_text() for name in names.split(","))
    shallow, full = (read_json(path) for path in sorted((systems / "dld").glob("decode_test_n*/decode.json")))
    assert shallow["gmacs_per_s"] < full["gmacs_per_s"]
    assert shallow["params_active"] < full["params_active"]


def test_hypotheses_do_not_depend_on_the_batch(experiment, tiny_corpus, tmp_path):
    folder = experiment("ld", tmp_path, **MINIATURE, lr=0.0, **{"network.blank_bias": -5.0})
    texts = []
    for size in (1, 16):
        output = tmp_path / str(size)
        options = ["--depths", "1,3", "--policy", "evenly-spaced", "--batch-size", str(size), "--batch-seconds", "1000"]
        arguments = ["--exp", str(folder), "--data", str(tiny_corpus / "test"), "--output", str(output)]
        assert decode.main([*arguments, *options, "--rtf-utterances", "1", "--progress", "false"]) == 0
        texts.append([path.read_text() for path in sorted(output.glob("decode_*/text"))])
    assert texts[0] == texts[1]
    assert all(len(line.split()) > 1 for text in texts[0] for line in text.splitlines())


def test_a_student_may_start_from_the_teacher(experiment, systems, tmp_path):
    shutil.copytree(systems / "static", tmp_path / "static")
    settings = {**MINIATURE, "lr": 0.0, "num_epochs": 1}
    student = load_trained(experiment("dld", tmp_path, init_from=str(tmp_path / "static"), **settings)).network
    teacher = load_trained(systems / "static").network
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(student.state_dict()[name], tensor), name


def test_the_encoder_is_frozen_for_the_first_updates_and_has_a_rate_of_its_own(experiment, tmp_path, monkeypatch):
    seen = []
    real = Engine.optimizers_step

    def look(brain):
        encoder = brain.network.encoder
        rates = {p: group["lr"] for group in brain.optimizer.param_groups for p in group["params"]}
        seen.append(
            (
                brain.network.head.weight.grad is not None,
                any(p.grad is not None for p in encoder.parameters()),
                rates[encoder.layers[2].layer_norm.weight] / rates[brain.network.head.weight],
                rates[encoder.layers[1].layer_norm.weight] / rates[brain.network.head.weight],
            )
        )
        real(brain)

    monkeypatch.setattr(Engine, "optimizers_step", look)
    encoder = WAVLM + "    freeze_updates: 3\n    lr_scale: 0.1\n    layer_decay: 0.5\n"
    experiment("static", tmp_path, **{**MINIATURE, "encoder": encoder, "num_epochs": 1})
    assert [(head, body) for head, body, _, _ in seen[:5]] == [(True, False)] * 3 + [(True, True)] * 2
    assert all(row[2:] == (pytest.approx(0.1), pytest.approx(0.05)) for row in seen)


def test_published_weights_that_are_not_there_stop_the_run(files, tiny_corpus, tmp_path):
    settings = {"data": str(tiny_corpus), "exp": str(tmp_path), "vocab_size": 32, "pretrained": "nowhere"}
    small = {"num_blocks": 2, "d_model": 16, "d_ffn": 16, "num_heads": 2, "conv_layers": [[8, 10, 320]]}
    config = load_config(files("librispeech/static wavlm"), {**settings, **small})
    with pytest.raises(DldError, match="nowhere: no such folder"):
        train(config, {"device": "cpu", "noprogressbar": True})
    assert not (tmp_path / "static/model.json").exists()
