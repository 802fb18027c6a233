"""The queen recipe: from a miniature of the game's file and a miniature Whisper to trained networks."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file

from dld.bin.decode import main as decode
from dld.config import load_config
from dld.data import kaldi
from dld.data.tokenizer import Tokenizer
from dld.encoders import GatedWhisper
from dld.errors import DldError
from dld.experiment import load_trained
from dld.training.brain import DynamicBrain
from dld.training.run import train

SHAPE = {"num_blocks": 3, "d_model": 64, "encoder.d_ffn": 64}
TINY = {**SHAPE, "vocab_size": 32, "num_epochs": 1, "max_batch_seconds": 20, "network.blank_bias": -2.0, "warmup": 2}


@pytest.fixture(scope="module")
def game(root, tiny_corpus, tmp_path_factory):
    """A miniature of the game's file, in which numbers are spoken."""
    spec = importlib.util.spec_from_file_location("queen_archive", root / "tests/data/corpora/queen_archive.py")
    archives = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(archives)
    return archives.game(tmp_path_factory.mktemp("game") / "queen.1c", tiny_corpus, number=4)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A checkpoint of a Whisper of the shape `SHAPE`."""
    folder = tmp_path_factory.mktemp("whisper")
    state = GatedWhisper(num_blocks=3, d_model=64, d_ffn=64, num_heads=1).state_dict()
    state["embed_positions.weight"] = state.pop("positions")
    save_file(state, folder / "model.safetensors")
    config = {"model_type": "whisper", "num_mel_bins": 80, "encoder_layers": 3, "d_model": 64}
    config |= {"encoder_ffn_dim": 64, "encoder_attention_heads": 1, "max_source_positions": 1500}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def run(root):
    """Runs a script of the recipe: `run("run.sh", "--help") -> CompletedProcess`."""

    def call(script, *options):
        environment = {**os.environ, "DLD_VENV": sys.prefix}
        command = [root / "recipes/queen" / script, *map(str, options)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return call


@pytest.fixture(scope="module")
def prepared(run, game, whisper, tmp_path_factory):
    """Folder in which the driver ran up to the teacher."""
    folder = tmp_path_factory.mktemp("queen")
    overrides = " ".join(f"--{key} {value}" for key, value in TINY.items())
    result = run(
        *("run.sh", "--corpus", game, "--data", folder / "data", "--exp", folder / "exp", "--device", "cpu"),
        *("--whisper", whisper, "--systems", "static", "--stop-stage", "4", "--train-args", overrides),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def build(files, name, folder, exp, **overrides):
    settings = {**TINY, "data": str(folder / "data"), "exp": str(exp), "pretrained": "null", **overrides}
    return load_config(files(f"queen/{name}"), settings)


def test_the_student_of_the_drivers_teacher_decodes_at_every_depth(files, prepared, whisper, tmp_path):
    teacher = str(prepared / "exp/static")
    config = build(files, "dld", prepared, tmp_path, teacher=teacher, init_from=teacher)
    folder = train(config, {"device": "cpu", "noprogressbar": True})
    arguments = ["--exp", str(folder), "--data", str(prepared / "data/test"), "--policy", "evenly-spaced"]
    assert decode([*arguments, "--rtf-utterances", "1"]) == 0
    ids = {u.id for u in kaldi.load(prepared / "data/test")}
    compute = []
    for n in (1, 2, 3):
        assert set(kaldi.read_text(folder / f"decode_test_n{n}/text")) == ids
        compute.append(json.loads((folder / f"decode_test_n{n}/decode.json").read_text())["gmacs_per_s"])
    assert compute[1] - compute[0] == pytest.approx(compute[2] - compute[1], rel=1e-3)
    assert 0 < compute[0] < compute[1]


def test_librispeech_becomes_a_second_test_set_in_lower_case(run, root, game, tmp_path):
    done = run(
        *("local/data.sh", "--corpus", game, "--librispeech", root / "egs_data/librispeech", tmp_path / "data"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    texts = kaldi.read_text(tmp_path / "data/test_other/text")
    assert list(texts.values()) == ["the mill stood silent", "no one worked there any more"]
    assert len(kaldi.load(tmp_path / "data/test_other")) == 2
    assert all(text == text.lower() for text in kaldi.read_text(tmp_path / "data/train_librispeech/text").values())


def test_a_trained_network_needs_the_checkpoint_no_more(prepared, whisper):
    assert str(whisper) in (prepared / "exp/static/hyperparams.yaml").read_text()
    elsewhere = whisper.with_name("elsewhere")
    whisper.rename(elsewhere)
    try:
        trained = load_trained(prepared / "exp/static")
    finally:
        elsewhere.rename(whisper)
    assert trained.network.num_blocks == 3


@pytest.mark.parametrize(("system", "source"), [("static", True), ("ld", True), ("static", False)])
def test_training_starts_from_the_checkpoint(files, prepared, whisper, tmp_path, system, source):
    # With a learning rate of nothing the weights stay what they were at the start.
    still = {
        "lr": 0.0,
        "optimizer.weight_decay": 0.0,
        "init_from": "null",
        "pretrained": str(whisper) if source else "null",
    }
    folder = train(build(files, system, prepared, tmp_path, **still), {"device": "cpu", "noprogressbar": True})
    weights = load_file(folder / "model.safetensors")["encoder.layers.1.fc1.weight"]
    assert load_file(whisper / "model.safetensors")["layers.1.fc1.weight"].equal(weights) == source


def test_the_encoder_learns_slower_than_the_head(files, prepared, tmp_path):
    values = build(files, "static", prepared, tmp_path, lr=0.01, warmup=1).values
    brain = DynamicBrain(values, Tokenizer.load(values["lang_dir"]), {"device": "cpu"})
    brain.init_optimizers()
    brain.progress.total_updates = 10**6
    brain.set_learning_rate()
    rates = {id(p): group["lr"] for group in brain.optimizer.param_groups for p in group["params"]}
    assert rates[id(brain.network.head.weight)] == pytest.approx(0.01)
    assert rates[id(brain.network.encoder.layers[2].fc1.weight)] == pytest.approx(0.001)
    assert len(rates) == len(list(brain.network.parameters()))


def test_a_checkpoint_of_another_shape_stops_the_training(files, prepared, whisper, tmp_path):
    config = build(files, "ld", prepared, tmp_path, pretrained=str(whisper), init_from="null", num_blocks=2)
    with pytest.raises(DldError, match="does not fit this GatedWhisper: weights 15 unknown: layers.2"):
        train(config, {"device": "cpu", "noprogressbar": True})


@pytest.mark.parametrize("system", ["static", "ld", "dld"])
@pytest.mark.parametrize(("blocks", "width"), [(4, 384), (6, 512)])
def test_the_experiment_files_have_the_shapes_of_whisper(files, system, blocks, width):
    network = load_config(files(f"queen/{system}"), {"num_blocks": blocks, "d_model": width}).values["network"]
    assert network.num_blocks == blocks
    assert network.encoder.config.num_heads == width // 64
    assert network.encoder.layers[0].fc1.out_features == 4 * width
    assert network.encoder.subsampling * network.frontend.hop == 16000 // 25


def test_extra_data_is_trained_on_as_well(run, prepared, tiny_corpus):
    result = run("local/data.sh", "--extra-data", f"{tiny_corpus}/dev {tiny_corpus}/test", prepared / "data")
    assert result.returncode == 0, result.stderr
    assert "kept the complete corpus" in result.stdout
    joined = kaldi.load(prepared / "data/train_extra")
    parts = [prepared / "data/train", tiny_corpus / "dev", tiny_corpus / "test"]
    assert sorted(u.id for u in joined) == sorted(u.id for part in parts for u in kaldi.load(part))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--size", "huge"], "--size takes tiny, base or small, not 'huge'"),
        (["--sizes", "tiny"], "unknown option --sizes"),
        (["data"], "unexpected argument 'data'"),
    ],
)
def test_wrong_options_are_refused(run, options, complaint):
    result = run("run.sh", *options)
    assert result.returncode == 1 and complaint in result.stderr


def test_help_names_every_option_of_the_driver(run):
    result = run("run.sh", "--help")
    assert result.returncode == 0
    for option in ("--corpus", "--extra-data", "--size", "--whisper", "--systems", "--train-args", "--stage", "--data"):
        assert option in result.stdout
