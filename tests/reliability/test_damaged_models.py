"""Files of a finished experiment that are cut, empty or another model's: one line, before the work."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import stat
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from dld.bin import decode as decode_command
from dld.bin import gate_table as gate_table_command
from dld.bin import lm as lm_command
from dld.bin import score as score_command
from dld.bin import tune_lm as tune_lm_command
from dld.data.tokenizer import train as train_tokenizer
from dld.experiment import load_trained, tensors_hash
from dld.files import read_json, write_json
from dld.training.folder import save_model

TABLE = "damaged models"
DEPTHS = ["--depths", "1,3", "--progress", "false", "--rtf-utterances", "1"]


@pytest.fixture(scope="module")
def number_lm(tiny_corpus, tmp_path_factory):
    """A bigram model of the tiny corpus' training text."""
    path = tmp_path_factory.mktemp("lm") / "2gram.arpa"
    text = str(tiny_corpus / "train/text")
    assert lm_command.main(["--text", text, "--output", str(path), "--order", "2", "--tool", "own"]) == 0
    return path


@pytest.fixture(scope="module")
def whole(trained_pair, tiny_corpus, number_lm, tmp_path_factory):
    """Folder of an experiment with everything that belongs to it: gate table, LM weights, scored decodes."""
    exp = tmp_path_factory.mktemp("whole")
    shutil.copytree(trained_pair / "dld", exp / "dld")
    shutil.copytree(trained_pair / "static", exp / "static", ignore=shutil.ignore_patterns("save"))
    folder, common = exp / "dld", ["--exp", str(exp / "dld"), "--progress", "false"]
    assert gate_table_command.main([*common, "--data", str(tiny_corpus / "dev")]) == 0
    if importlib.util.find_spec("kenlm"):
        grid = ["--alphas", "0,0.5", "--betas", "0", "--beam-size", "2", "--depths", "1,3", "--lm", str(number_lm)]
        assert tune_lm_command.main([*common, "--data", str(tiny_corpus / "dev"), *grid]) == 0
    assert decode_command.main([*common[:2], "--data", str(tiny_corpus / "test"), *DEPTHS]) == 0
    for depth in (1, 3):
        text = folder / f"decode_test_n{depth}/text"
        assert score_command.main(["--ref", str(tiny_corpus / "test/text"), "--hyp", str(text)]) == 0
    return exp


@pytest.fixture
def exp(whole, tmp_path):
    """A copy of it to damage."""
    shutil.copytree(whole, tmp_path / "exp")
    return tmp_path / "exp"


# ------------------------------------------------------------ what is done to a file


def write(content):
    return lambda path: path.write_bytes(content)


def cut(part):
    return lambda path: path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def remove(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 64
    path.write_bytes(raw)


def header_length(value):
    return lambda path: path.write_bytes(struct.pack("<Q", value) + path.read_bytes()[8:])


def without(*keys):
    def damage(path):
        record = read_json(path)
        target = record
        for key in keys[:-1]:
            target = target[key]
        del target[keys[-1]]
        write_json(path, record)

    return damage


def with_value(value, *keys):
    def damage(path):
        record = read_json(path)
        target = record
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value
        path.write_text(json.dumps(record))

    return damage


def tensors(change):
    """Other weights, with the hash that belongs to them: a fault that the hash alone does not show."""

    def damage(path):
        state = load_file(path)
        change(state)
        save_file(state, path)
        about = read_json(path.with_name("model.json"))
        with contextlib.suppress(TypeError):
            write_json(path.with_name("model.json"), {**about, "state_sha256": tensors_hash(state)})

    return damage


def retype(kind):
    return tensors(lambda state: state.update({"head.weight": state["head.weight"].to(kind)}))


def not_finite(state):
    state["head.bias"][1] = float("nan")


def replace_text(old, new):
    def damage(path):
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return damage


# ------------------------------------------------------------ the table: (file, damage) → message

NO_JSON = {
    "empty": (write(b""), "not JSON"),
    "cut": (cut(0.5), "not JSON"),
    "list": (write(b"[]"), "an object was expected, not a list"),
    "null": (write(b"null"), "an object was expected, not null"),
    "number": (write(b"5"), "an object was expected, not a whole number"),
    "text": (write(b'"x"'), "an object was expected, not text"),
    "no keys": (write(b"{}"), "lacks "),
    "not UTF-8": (write(b'{\n"a": "\xff"}'), ":2: not UTF-8 text"),
    "nested": (write(b"[" * 100000), "not JSON that this program writes"),
    "long number": (write(b'{"a": ' + b"9" * 5000 + b"}"), "not JSON that this program writes"),
    "folder": (folder, "is a folder, a file was expected"),
    "pipe": (fifo, "is a pipe or a device"),
}
WEIGHTS = {
    "empty": (write(b""), "not a whole safetensors file"),
    "four bytes": (write(b"abcd"), "not a whole safetensors file"),
    "cut": (cut(0.5), "not a whole safetensors file"),
    "last byte missing": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "not a whole safetensors file"),
    "bytes after the end": (lambda path: path.write_bytes(path.read_bytes() + b"abc"), "not a whole safetensors file"),
    "header of 2^60 bytes": (header_length(1 << 60), "not a whole safetensors file"),
    "header of no bytes": (header_length(0), "not a whole safetensors file"),
    "header too short": (header_length(100), "not a whole safetensors file"),
    "text": (write(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"), "not a whole safetensors"),
    "no tensors": (write(save({})), "the weights are not those that model.json describes"),
    "flipped bit": (flip, "the weights are not those that model.json describes"),
    "double precision": (retype(torch.float64), "does not fit the weights.*head.weight"),
    "whole numbers": (retype(torch.int32), "does not fit the weights.*head.weight"),
    "bfloat16": (retype(torch.bfloat16), "numbers are of another type|not those that"),
    "not finite": (tensors(not_finite), "head.bias has values that are not finite"),
    "tensor missing": (tensors(lambda state: state.pop("head.bias")), "does not fit the weights.*1 tensors"),
    "tensor too many": (tensors(lambda state: state.update(x=torch.zeros(2))), "does not fit the weights.*'x'"),
    "other shape": (tensors(lambda state: state.update({"head.bias": torch.zeros(5)})), "does not fit.*head.bias"),
    "missing": (remove, "no finished model there.*dld train"),
    "folder": (folder, "is a folder, a file was expected"),
    "pipe": (fifo, "is a pipe or a device"),
}
ABOUT = {
    "missing": (remove, r"no finished model there \(model.json is missing\); its training was stopped .*resume it: "),
    **NO_JSON,
    **{
        f"no {key}": (without(key), f"lacks {key}") for key in ("state_sha256", "tokenizer_sha256", "system", "updates")
    },
    "hash is a number": (with_value(5, "state_sha256"), "state_sha256 is 5, expected text"),
    "another hash": (with_value("0" * 64, "state_sha256"), "the weights are not those that model.json describes"),
    "another tokenizer": (with_value("0" * 64, "tokenizer_sha256"), "is not the tokenizer that the model was trained"),
    "other blocks": (with_value(4, "num_blocks"), "num_blocks is 4, the network's is 3"),
    "blocks are true": (with_value(True, "num_blocks"), "num_blocks is True, expected a whole number"),
    "other units": (with_value(33, "vocab_size"), "vocab_size is 33, the network's is 32"),
    "seed is text": (with_value("x", "seed"), "seed is text, expected a whole number"),
    "seconds not finite": (with_value(float("nan"), "train_seconds"), "train_seconds is nan, expected a whole number"),
}
SETTINGS = {
    "missing": (remove, "no such file"),
    "empty": (write(b""), "a mapping of keys"),
    "list": (write(b"- a\n- b\n"), "a mapping of keys"),
    "number": (write(b"5"), "a mapping of keys"),
    "not UTF-8": (write(b"# x\na: \xff\n"), ":2: not UTF-8 text"),
    "control characters": (write(b"a: \x00\n"), "not YAML"),
    "not YAML": (write(b"a: b: c\n"), ":1: not YAML"),
    "cut within a list": (write(b"a: 1\nb: [1, 2"), "not YAML"),
    "no network": (replace_text("\nnetwork:", "\nnetwerk:"), "missing key 'network'"),
    "network of null": (replace_text("network: !new:dld.network.GatedCTC", "network:"), "not a dld.network.GatedCTC"),
    "no sample_rate": (replace_text("\nsample_rate:", "\nsample_rat:"), "missing key 'sample_rate'"),
    "sample_rate of text": (replace_text("\nsample_rate: 16000", "\nsample_rate: a"), "sample_rate is text, expected"),
    "sample_rate below 1": (replace_text("\nsample_rate: 16000", "\nsample_rate: -1"), "sample_rate is not a number"),
    "other width": (replace_text("  d_model: 16", "  d_model: 32"), "does not fit the weights next to it"),
    "other blocks": (replace_text("  num_blocks: 3", "  num_blocks: 2"), "does not fit the weights next to it"),
    "no blocks": (replace_text("  num_blocks: 3", "  num_blocks: 0"), "num_blocks must be a number from 1 to 1000"),
    "heads that do not divide": (replace_text("  num_heads: 4", "  num_heads: 3"), "cannot be built|does not fit"),
    "decode_depths beyond": (replace_text("\ndecode_depths:", "\ndecode_depths: 9\nx:"), "depth 9 is outside 1…3"),
    "unknown policy": (replace_text("\ndecode_policy: table", "\ndecode_policy: nope"), "nope"),
    "folder": (folder, "is a folder"),
    "pipe": (fifo, "is a pipe or a device"),
}
TOKENIZER = {
    "missing": (remove, "no such file"),
    "empty": (write(b""), "is not the tokenizer that the model was trained with"),
    "cut": (cut(0.5), "is not the tokenizer that the model was trained with"),
    "text": (write(b"hello\n"), "is not the tokenizer that the model was trained with"),
    "folder": (folder, "is a folder"),
    "pipe": (fifo, "is a pipe or a device"),
}
GATES = {
    **NO_JSON,
    "no table": (without("table"), "lacks table"),
    "table is a list": (with_value([], "table"), "table is a list, expected an object"),
    "table is empty": (with_value({}, "table"), "without depths"),
    "depth is text": (with_value("111", "table", "x"), "not a gate table"),
    "vector is a number": (with_value(5, "table", "1"), "not a gate table"),
    "vector is null": (with_value(None, "table", "1"), "gate vector None is not made of 0 and 1"),
    "vector too long": (with_value("1000", "table", "1"), "has 4 gates, the encoder has 3 blocks"),
    "vector of another depth": (with_value("110", "table", "1"), "opens 2 gates"),
    "no depth 3": (without("table", "3"), "no depth 3"),
    "other blocks": (with_value(4, "num_blocks"), "3 gates, the encoder has 4 blocks"),
    "of other weights": (with_value("0" * 64, "about", "state_sha256"), "searched for other weights than this model's"),
    "hash is a number": (with_value(5, "about", "state_sha256"), "searched for other weights than this model's"),
}
LM_WEIGHTS = {
    "missing": (remove, "no such file; choose weights on dev with dld tune-lm"),
    **NO_JSON,
    "no depths": (without("depths"), "lacks depths"),
    "lm is text": (with_value("x", "lm"), "lm is text, expected an object"),
    "lm without hash": (without("lm", "sha256"), "lm: lacks sha256"),
    "of another language model": (with_value("0" * 64, "lm", "sha256"), "chosen with another language model"),
    "of another model": (with_value("0" * 64, "model_sha256"), "chosen for other weights of the acoustic model"),
    "row is a list": (with_value([], "depths", "1"), "depth 1: an object was expected"),
    "row without alpha": (without("depths", "1", "alpha"), "depth 1: lacks alpha"),
    "alpha is text": (with_value("x", "depths", "1", "alpha"), "alpha is text, expected"),
    "alpha is not finite": (with_value(float("inf"), "depths", "1", "alpha"), "alpha is inf, expected"),
    "other gates": (with_value("011", "depths", "1", "gates"), "chosen with gates 011"),
    "no depth 1": (without("depths", "1"), "no weights for depth 1"),
}
RUN = {
    **NO_JSON,
    "starts is null": (with_value(None, "starts"), "starts is null, expected a list"),
    "made_from is text": (with_value("x", "made_from"), "made_from is text, expected an object"),
    "made_from without data": (without("made_from", "dev_data"), "made_from: lacks dev_data"),
    "fingerprint without ids": (without("made_from", "train_data", "ids"), "train_data: lacks ids"),
    "another teacher": (with_value("0" * 64, "made_from", "teacher"), "began with another teacher"),
}
DECODE = {
    **NO_JSON,
    "no gates": (without("gates"), "lacks gates"),
    "gates are a number": (with_value(100, "gates"), "gates is 100, expected text"),
    "gates are not 0 and 1": (with_value([{}, 0, 0], "gates"), "not a list of 0 and 1"),
    "depth is text": (with_value("1", "depth"), "depth is text, expected a whole number"),
    "rtf is null": (with_value(None, "rtf"), "rtf is null, expected"),
    "rtf is not finite": (with_value(float("nan"), "rtf"), "rtf is nan, expected"),
}
FILES = {
    "model.safetensors": WEIGHTS,
    "model.json": ABOUT,
    "hyperparams.yaml": SETTINGS,
    "bpe.model": TOKENIZER,
    "gate_table.json": GATES,
    "lm_weights.json": LM_WEIGHTS,
    "run.json": RUN,
    "decode_test_n1/decode.json": DECODE,
}
CASES = {f"{file}: {name}": (file, *row) for file, rows in FILES.items() for name, row in rows.items()}


def use(outcome, files, corpus, exp, file, lm):
    """Run the command that reads a file."""
    if file == "lm_weights.json":
        pytest.importorskip("kenlm", reason="KenLM is not installed (extra [lm])")
    if file == "run.json":
        small = ["--num_blocks", 3, "--d_model", 16, "--valid_depths", "[1, 3]", "--decode_depths", "[1, 3]"]
        more = [
            "--average_checkpoints",
            2,
            "--num_epochs",
            2,
            "--max_batch_seconds",
            20,
            "--lr_schedule.warmup",
            2,
            "--device",
            "cpu",
        ]
        return outcome("train", [*files("mini/dld"), "--data", corpus, "--exp", exp, *small, *more], TABLE)
    if file.endswith("decode.json"):
        return outcome("report", ["--exp", exp, "--output", exp / "report", "--replicates", 10], TABLE)
    search = ["--lm", lm, "--beam-size", 2] if file == "lm_weights.json" else []
    # Without --depths the settings say which; they may be wrong, too.
    depths = [] if file == "hyperparams.yaml" else DEPTHS[:2]
    options = [*depths, *DEPTHS[2:], *search, "--output", exp / "out"]
    return outcome("decode", ["--exp", exp / "dld", "--data", corpus / "test", *options], TABLE)


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_one_line_before_the_work(outcome, files, tiny_corpus, exp, number_lm, name):
    file, damage, message = CASES[name]
    path = exp / "dld" / file
    if file == "lm_weights.json":
        pytest.importorskip("kenlm", reason="KenLM is not installed (extra [lm])")
    damage(path)
    result = use(outcome, files, tiny_corpus, exp, file, number_lm)
    assert result.kind == "error" and re.search(message, result.message), result.message or result.err
    assert "exp/dld" in result.message or re.search("depth|policy", result.message)
    assert not (exp / "out").exists() and not (exp / "report").exists()


@pytest.mark.parametrize("file", FILES)
def test_the_undamaged_file_is_accepted(outcome, files, tiny_corpus, exp, number_lm, file):
    result = use(outcome, files, tiny_corpus, exp, file, number_lm)
    assert result.kind == "accepted", result.message or result.err


@pytest.fixture
def as_nobody():
    """Give up the rights of root, who may read everything, for the length of a call."""

    def run(call):
        if os.geteuid() != 0:
            return call()
        os.seteuid(65534)
        try:
            return call()
        finally:
            os.seteuid(0)

    return run


@pytest.mark.parametrize("file", [file for file in FILES if file not in ("run.json", "lm_weights.json")])
def test_a_file_that_may_not_be_read_is_one_line(outcome, files, tiny_corpus, whole, number_lm, as_nobody, file):
    # Not below pytest's folder, which nobody but its owner may enter.
    with tempfile.TemporaryDirectory() as exp:
        os.chmod(exp, 0o755)
        exp = Path(shutil.copytree(whole, Path(exp) / "exp"))
        exp.chmod(0o755)
        (exp / "dld" / file).chmod(0)
        result = as_nobody(lambda: use(outcome, files, tiny_corpus, exp, file, number_lm))
    assert result.kind == "error" and re.search("[Pp]ermission", result.message), result.message or result.err


@pytest.mark.parametrize("name", [*NO_JSON, "rows are null"])
def test_damaged_results_are_one_line(outcome, tmp_path, name):
    results = tmp_path / "results.json"
    lists = ("rows", "summary", "comparisons", "training", "convergence", "equal_transcripts")
    write_json(results, {"title": "x", **dict.fromkeys(lists, []), "environment": {}})
    damage, message = {**NO_JSON, "rows are null": (with_value(None, "rows"), "rows is null, expected a list")}[name]
    damage(results)
    result = outcome("report", ["--results", results, "--output", tmp_path / "report"], TABLE)
    assert result.kind == "error" and re.search(f"results.json.*{message}", result.message), result.message
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("key", ["teacher", "init_from"])
@pytest.mark.parametrize("name", ["model.safetensors: cut", "model.json: list", "model.json: another hash"])
def test_a_damaged_teacher_or_start_is_refused(outcome, files, tiny_corpus, exp, key, name):
    file, damage, message = CASES[name]
    shutil.copytree(exp / "static", exp / "other")
    damage(exp / "other" / file)
    arguments = [*files("mini/dld"), "--data", tiny_corpus, "--exp", exp, "--exp_dir", exp / "new"]
    small = ["--num_blocks", 3, "--d_model", 16, "--valid_depths", "[1, 3]", "--decode_depths", "[1, 3]"]
    small += ["--device", "cpu", f"--{key}", exp / "other"]
    result = outcome("train", [*arguments, *small], TABLE)
    assert result.kind == "error" and re.search(message, result.message), result.message or result.err


def test_another_tokenizer_in_the_folder_is_refused(outcome, tiny_corpus, exp, tmp_path):
    lines = ["nine nine eight", "seven eight five", "x" * 30 + " zero one two three four six ten hundred"] * 3
    train_tokenizer(lines, tmp_path / "lang", vocab_size=32)
    shutil.copy(tmp_path / "lang/bpe.model", exp / "dld/bpe.model")
    for command in ("decode", "gate_table"):
        result = outcome(command, ["--exp", exp / "dld", "--data", tiny_corpus / "test", "--progress", "false"], TABLE)
        assert (
            result.kind == "error"
            and "bpe.model: is not the tokenizer that the model was trained with" in result.message
        )


def test_a_gate_table_of_another_model_is_refused(outcome, tiny_corpus, exp):
    shutil.copy(exp / "dld/gate_table.json", exp / "static/gate_table.json")
    options = ["--policy", "table", "--output", exp / "out"]
    result = outcome("decode", ["--exp", exp / "static", "--data", tiny_corpus / "test", *options], TABLE)
    assert result.kind == "error" and "searched for other weights" in result.message


def test_a_gate_table_of_the_first_version_is_taken_with_a_warning(outcome, tiny_corpus, exp, caplog):
    without("about", "state_sha256")(exp / "dld/gate_table.json")
    result = outcome("decode", ["--exp", exp / "dld", "--data", tiny_corpus / "test", *DEPTHS], TABLE)
    assert result.kind == "accepted"
    assert "does not say which weights it was searched for" in caplog.text


def test_a_model_without_newer_keys_still_loads(exp):
    path = exp / "dld/model.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != "init_sha256"})
    assert load_trained(exp / "dld").network.num_blocks == 3


def test_weights_have_the_permissions_that_the_umask_gives(exp):
    trained = load_trained(exp / "static")
    before = os.umask(0o022)
    try:
        about = {name: getattr(trained.about, name) for name in ("system", "seed", "updates", "train_seconds")}
        save_model(exp / "static", trained.network, about)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((exp / "static" / name).stat().st_mode) for name in ("model.safetensors", "model.json")}
    assert modes == {0o644}
    assert load_trained(exp / "static").about.state_sha256 == trained.about.state_sha256
