"""Wrong options of the commands: each is one line that names the option and what is allowed, before any work."""

import pytest
import torch

TABLE = "wrong options"
DECODE, TUNE = ["--data", "d", "--exp", "e"], ["--data", "d", "--exp", "e", "--lm", "l"]
LIBRISPEECH, TEDLIUM3 = ["librispeech", "o", "--corpus", "c"], ["tedlium3", "o", "--corpus", "c"]
SCORE, REPORT = ["--ref", "r", "--hyp", "h"], ["--exp", "e", "--output", "o"]
ABOVE_0, COUNT = "it must be a number above 0", "it must be a whole number of at least 1"
PROCESSES = "it must be a whole number from 1 to 1024"

WRONG = [
    *[
        (command, [*needed, *options], message)
        for command, needed in (("decode", DECODE), ("tune_lm", TUNE))
        for options, message in (
            (["--batch-seconds", "0"], f"argument --batch-seconds: '0' is not allowed; {ABOVE_0}"),
            (["--batch-seconds", "inf"], f"argument --batch-seconds: 'inf' is not allowed; {ABOVE_0}"),
            (["--batch-seconds", "nan"], "argument --batch-seconds: 'nan'"),
            (["--batch-seconds", "long"], "argument --batch-seconds: 'long'"),
            (["--batch-size", "0"], f"argument --batch-size: '0' is not allowed; {COUNT}"),
            (["--batch-size", "1.5"], "argument --batch-size: '1.5'"),
            (["--beam-size", "0"], f"argument --beam-size: '0' is not allowed; {COUNT}"),
            (["--beam-size", "-1"], "argument --beam-size: '-1'"),
            (["--beam-logp", "1"], "argument --beam-logp: '1' is not allowed; it must be a number below 0"),
            (["--token-logp", "nan"], "argument --token-logp: 'nan'"),
            (["--jobs", "0"], f"argument --jobs: '0' is not allowed; {PROCESSES}"),
            (["--jobs", "100000"], "argument --jobs: '100000'"),
            (["--policy", "middle"], "argument --policy: invalid choice: 'middle'"),
            (["--policy-seed", "1.5"], "argument --policy-seed: '1.5' is not allowed; it must be a whole number"),
            (["--precision", "fp8"], "argument --precision: invalid choice: 'fp8'"),
            (["--lm-unknown", "inf"], "argument --lm-unknown: 'inf' is not allowed; it must be a number"),
            (["--dept", "3"], "unrecognized arguments: --dept 3"),
        )
    ],
    ("decode", [*DECODE, "--rtf-utterances", "-1"], f"argument --rtf-utterances: '-1' is not allowed; {COUNT}"),
    ("decode", [*DECODE, "--rtf-utterances", "0"], "argument --rtf-utterances: '0'"),
    ("decode", [*DECODE, "--lm-alpha", "-1"], "argument --lm-alpha: '-1' is not allowed; it must be a number of at"),
    ("decode", [*DECODE, "--lm-beta", "nan"], "argument --lm-beta: 'nan' is not allowed; it must be a number"),
    ("decode", ["--exp", "e"], "the following arguments are required: --data"),
    ("tune_lm", [*TUNE, "--max-utterances", "0"], f"argument --max-utterances: '0' is not allowed; {COUNT}"),
    ("tune_lm", [*TUNE, "--alphas", "a"], "--alphas a: numbers separated by commas were expected"),
    ("tune_lm", [*TUNE, "--alphas", "nan"], "--alphas and --betas: finite numbers were expected"),
    ("tune_lm", [*TUNE, "--betas=-inf"], "--alphas and --betas: finite numbers were expected"),
    ("gate_table", [*DECODE, "--batch-seconds", "-1"], f"argument --batch-seconds: '-1' is not allowed; {ABOVE_0}"),
    ("score", [*SCORE, "--replicates", "-1"], f"argument --replicates: '-1' is not allowed; {COUNT}"),
    ("score", [*SCORE, "--replicates", "0"], "argument --replicates: '0'"),
    ("score", [*SCORE, "--replicates", "1e3"], "argument --replicates: '1e3'"),
    (
        "score",
        [*SCORE, "--seed", "-1"],
        "argument --seed: '-1' is not allowed; it must be a whole number of at least 0",
    ),
    ("score", [*SCORE, "--units", "phone"], "argument --units: invalid choice: 'phone'"),
    ("report", [*REPORT, "--replicates", "0"], f"argument --replicates: '0' is not allowed; {COUNT}"),
    ("report", [*REPORT, "--transcripts", "-1"], "argument --transcripts: '-1' is not allowed; it must be a whole"),
    ("report", [*REPORT, "--seed", "x"], "argument --seed: 'x' is not allowed"),
    ("report", [*REPORT, "--results", "r"], "not allowed with argument"),
    (
        "tokenizer",
        ["--text", "t", "--output", "o", "--vocab-size", "0"],
        "argument --vocab-size: '0' is not allowed; it",
    ),
    ("tokenizer", ["--text", "t", "--output", "o", "--vocab-size", "-5"], "argument --vocab-size: '-5'"),
    ("tokenizer", ["--text", "t", "--output", "o", "--vocab-size", "many"], "argument --vocab-size: 'many'"),
    ("tokenizer", ["--text", "t", "--output", "o", "--model-type", "word"], "argument --model-type: invalid choice"),
    ("lm", ["--sentences", "s", "--output", "o.arpa", "--order", "0"], "argument --order: '0' is not allowed; it must"),
    ("lm", ["--sentences", "s", "--output", "o.arpa", "--order", "9"], "it must be a whole number from 2 to 6"),
    ("lm", ["--sentences", "s", "--output", "o.arpa", "--prune", "x"], "--prune x: whole numbers separated by commas"),
    ("lm", ["--sentences", "s", "--output", "o.arpa", "--tool", "srilm"], "argument --tool: invalid choice: 'srilm'"),
    ("prepare", ["mini", "o", "--jobs", "0"], f"argument --jobs: '0' is not allowed; {PROCESSES}"),
    ("prepare", ["mini", "o", "--scale", "0"], "argument --scale: '0' is not allowed; it must be a number above 0"),
    ("prepare", ["mini", "o", "--scale", "1e9"], "argument --scale: '1e9' is not allowed"),
    ("prepare", ["mini", "o", "--snr-low", "nan"], "argument --snr-low: 'nan' is not allowed"),
    ("prepare", ["mini", "o", "--snr-low", "30", "--snr-high", "20"], "SNR range 30.0…20.0 dB: needs -30 ≤ low ≤ high"),
    (
        "prepare",
        ["mini", "o", "--noises", "purple"],
        "'purple' is not allowed; it must be words out of",
    ),
    ("prepare", ["mini", "o", "--seed", "-1"], "argument --seed: '-1' is not allowed"),
    ("prepare", ["mini", "o", "--flite", "yes"], "argument --flite: expected true or false, got 'yes'"),
    ("prepare", ["queen", "o", "--jobs", "0"], f"argument --jobs: '0' is not allowed; {PROCESSES}"),
    ("prepare", [*LIBRISPEECH, "--held-out", "-1"], "argument --held-out: '-1' is not allowed; it must be a"),
    (
        "prepare",
        [*LIBRISPEECH, "--train-set", "500"],
        "argument --train-set: invalid choice: '500'",
    ),
    ("prepare", ["librispeech", "o"], "--corpus DIR or --downloads DIR is needed"),
    (
        "prepare",
        [*TEDLIUM3, "--start-padding", "-1"],
        "argument --start-padding: '-1' is not allowed; it",
    ),
    (
        "prepare",
        [*TEDLIUM3, "--end-padding", "inf"],
        "argument --end-padding: 'inf' is not allowed",
    ),
    (
        "prepare",
        [*TEDLIUM3, "--sph2pipe", "1"],
        "argument --sph2pipe: expected true or false, got '1'",
    ),
    ("data", ["validate", "--per-kind", "0", "d"], f"argument --per-kind: '0' is not allowed; {COUNT}"),
    ("data", ["subset", "--number", "0", "s", "o"], f"argument --number: '0' is not allowed; {COUNT}"),
    ("data", ["subset", "--first", "-1", "s", "o"], "argument --first: '-1' is not allowed"),
    ("data", ["subset", "--shortest", "x", "s", "o"], "argument --shortest: 'x' is not allowed"),
    ("data", ["subset", "--speakers", "1.5", "s", "o"], "argument --speakers: '1.5' is not allowed"),
    ("data", ["subset", "s", "o"], "one of the arguments --number --first --shortest --speakers --ids is required"),
    ("data", ["repair", "d"], "invalid choice: 'repair'"),
    ("data", [], "the following arguments are required: ACTION"),
]


@pytest.mark.parametrize(("command", "arguments", "message"), WRONG)
def test_a_wrong_option_is_one_line(outcome, tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    found = outcome(command, arguments, table=TABLE)
    assert found.kind == "error", found.message
    assert found.err.count("\n") == 1
    assert message in found.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "decode", "gate_table", "tune_lm"])
@pytest.mark.parametrize("device", ["cuda", "cuda:7", "foo", "cpu:1", "", "CUDA"])
def test_a_device_that_is_not_there_is_the_same_line_everywhere(outcome, monkeypatch, command, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    needed = {"train": ["x.yaml"], "tune_lm": TUNE}.get(command, DECODE)
    found = outcome(command, [*needed, "--device", device], table=TABLE)
    line = f"argument --device: {device!r} is not available; it must be cpu: torch finds no GPU on this machine"
    assert (found.kind, found.err.count("\n")) == ("error", 1)
    assert line in found.message


def test_a_gpu_beyond_the_last_is_refused_with_their_numbers(outcome, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = outcome("decode", [*DECODE, "--device", "cuda:2"], table=TABLE)
    assert "'cuda:2' is not available; it must be cpu, or cuda with a number from 0 to 1" in found.message
