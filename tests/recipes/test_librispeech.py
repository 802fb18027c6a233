"""The LibriSpeech recipe's driver on the miniature, from the corpus to the report, with a tiny model."""

import json

import pytest


@pytest.fixture(scope="module")
def finished(root, drive, tiny_args, tmp_path_factory):
    """Folder in which all ten stages ran."""
    folder = tmp_path_factory.mktemp("librispeech")
    done = drive(
        root / "recipes/librispeech/run.sh",
        *("--corpus", str(root / "egs_data/librispeech"), "--allow-partial", "true", "--train-set", "100"),
        *("--test-sets", "test-clean", "--device", "cpu"),
        *("--data", str(folder / "data"), "--exp", str(folder / "exp")),
        *("--train-args", tiny_args("paper"), "--decode-args", "--rtf-utterances 1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_all_stages_lead_to_a_table(finished):
    rows = json.loads((finished / "exp/report/results.json").read_text())["rows"]
    assert {(row["system"], row["depth"]) for row in rows} == {(s, n) for s in ("static", "ld", "dld") for n in (1, 3)}
    assert {(row["test_set"], row["words"]) for row in rows} == {("test-clean", 16)}


def test_the_same_driver_trains_wavlm(root, drive, finished, tiny_args, tmp_path):
    done = drive(
        root / "recipes/librispeech/run.sh",
        *("--model", "wavlm", "--train-set", "100", "--stage", "4", "--systems", "static dld"),
        *("--data", str(finished / "data"), "--exp", str(tmp_path), "--device", "cpu", "--test-sets", "test-clean"),
        *("--train-args", tiny_args("wavlm", vocab_size=64, **{"network.blank_bias": -2})),
        *("--decode-args", "--rtf-utterances 1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "report/results.json").read_text())["rows"]
    assert {(row["system"], row["depth"], row["model"]) for row in rows} == {
        (system, n, "wavlm-3x16") for system in ("static", "dld") for n in (1, 3)
    }


def test_a_language_model_of_the_training_text(root, drive, finished, with_known_words):
    pytest.importorskip("kenlm")
    folder = with_known_words(finished, "test-clean")
    done = drive(
        root / "recipes/librispeech/run.sh",
        *("--train-set", "100", "--stage", "7", "--systems", "ld", "--test-sets", "test-clean", "--lm", "train"),
        *("--data", str(folder / "data"), "--exp", str(folder / "exp"), "--device", "cpu"),
        *("--decode-args", "--rtf-utterances 1 --beam-size 2 --token-logp=-1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((folder / "exp/report/results.json").read_text())["rows"]
    assert {(row["variant"], row["depth"]) for row in rows} == {(v, n) for v in ("beam", "lm") for n in (1, 3)}


def test_the_train_set_decides_data_and_settings(finished):
    assert len((finished / "data/train/text").read_text().splitlines()) == 11
    assert len((finished / "data/dev/text").read_text().splitlines()) == 4
    settings = (finished / "exp/static/hyperparams.yaml").read_text()
    assert "\ngrad_accumulation_factor: 2\n" in settings
    assert "\nprecision: fp32\n" in settings


def test_several_gpus_share_the_batches_of_an_update(root, drive, tmp_path):
    machines = ((0, 1), (1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (2, 2))
    lines = [
        f"ngpu={g} nnodes={n} device=cuda launcher=local; fit_to_machine 4; echo ${{fitted[*]}}" for g, n in machines
    ]
    probe = tmp_path / "probe.sh"
    probe.write_text("\n".join(["#!/bin/bash", "set -eu", f'. "{root}/recipes/common/steps.sh"', *lines]))
    probe.chmod(0o755)
    factors = [line.split()[-1] for line in drive(probe).stdout.splitlines()]
    assert factors == ["4", "4", "2", "1", "1", "2", "1"]


@pytest.mark.parametrize(
    ("machine", "command"),
    [
        ("ngpu=1 nnodes=1 device=cpu", "python -m dld.bin.train FILES --device cpu"),
        ("ngpu=2 nnodes=1 device=cuda", "torchrun --standalone --nproc-per-node=2 -m dld.bin.train FILES"),
        (
            "ngpu=2 nnodes=1 device=cpu",
            "torchrun --standalone --nproc-per-node=2 -m dld.bin.train FILES --device cpu --distributed-backend gloo",
        ),
        (
            "ngpu=4 nnodes=3 device=cuda node_rank=2 master=first:29500",
            "torchrun --nnodes=3 --node-rank=2 --nproc-per-node=4 --master-addr=first --master-port=29500 "
            "-m dld.bin.train FILES",
        ),
        (
            "ngpu=4 nnodes=2 device= launcher=slurm slurm='partition=gpu time=60'",
            "python -m dld.bin.train FILES --launcher slurm --slurm nodes=2 gpus-per-node=4 partition=gpu time=60",
        ),
        (
            "ngpu=2 nnodes=1 device=cpu launcher=slurm",
            "python -m dld.bin.train FILES --launcher slurm --slurm nodes=1 ntasks-per-node=2 "
            "--device cpu --distributed-backend gloo",
        ),
    ],
)
def test_several_processes_are_started_by_torchrun(root, drive, tmp_path, machine, command):
    common = root / "recipes/common"
    lines = [f". {common}/{name}.sh" for name in ("words", "steps")]
    lines += [
        f"launcher=local slurm= {machine} restart=false finish=false data=data exp=exp hparams_suffix= setting_words=()"
    ]
    lines += ["hparams_of() { hparams=(FILES); }", "make_train_command ld", "echo ${train_command[*]}"]
    probe = tmp_path / "probe.sh"
    probe.write_text("\n".join(["#!/bin/bash", "set -eu", *lines]))
    probe.chmod(0o755)
    assert drive(probe).stdout.strip() == f"{command} --data data --exp exp --exp_dir exp/ld"


@pytest.mark.parametrize(
    ("machine", "command"),
    [
        ("ngpu=1 launcher=local", "python -m"),
        ("ngpu=4 launcher=local", "torchrun --standalone --nproc-per-node=4 -m"),
        ("ngpu=4 launcher=slurm", "python -m"),
    ],
)
def test_decoding_and_gate_search_take_the_gpus_of_this_machine(root, drive, tmp_path, machine, command):
    common = root / "recipes/common"
    lines = [
        f". {common}/steps.sh",
        f"{machine} device=cuda data=data exp=exp decode_words=() lm=",
        "need_model() { :; }",
    ]
    lines += ["need() { :; }", 'run() { echo "$@"; }', "decode ld test"]
    probe = tmp_path / "probe.sh"
    probe.write_text("\n".join(["#!/bin/bash", "set -eu", *lines]))
    probe.chmod(0o755)
    words = "dld.bin.decode --exp exp/ld --data data/test --device cuda"
    assert drive(probe).stdout.strip() == f"{command} {words}"


@pytest.mark.parametrize(
    ("recipe", "suffix", "system", "files"),
    [
        ("librispeech", "", "ld", "hparams/base.yaml ../common/hparams/systems/ld.yaml"),
        ("librispeech", "_wavlm", "ld", "../common/hparams/wavlm.yaml ../common/hparams/systems/ld.yaml"),
        ("mini", "", "static", "hparams/base.yaml hparams/static.yaml"),
        ("mini", "_wavlm", "static", "hparams/base_wavlm.yaml hparams/static_wavlm.yaml"),
        ("mini", "_wavlm", "ld", "hparams/base_wavlm.yaml ../common/hparams/systems/ld.yaml"),
        ("queen", "_conformer", "static", "hparams/base_conformer.yaml ../common/hparams/systems/static.yaml"),
    ],
)
def test_a_model_has_experiment_files_of_its_own(root, drive, tmp_path, recipe, suffix, system, files):
    probe = tmp_path / "probe.sh"
    lines = [f'. "{root}/recipes/common/steps.sh"', f"hparams_suffix={suffix}; hparams_of {system}"]
    probe.write_text("\n".join(["#!/bin/bash", "set -eu", *lines, "echo ${hparams[*]}"]))
    probe.chmod(0o755)
    assert drive(probe, cwd=root / "recipes" / recipe).stdout.split() == files.split()


@pytest.mark.parametrize("option", ["restart", "finish", "none"])
def test_a_run_has_the_folder_of_its_name_and_the_options_of_the_driver(root, drive, tmp_path, option):
    probe = tmp_path / "probe.sh"
    lines = [f'. "{root}/recipes/common/{name}.sh"' for name in ("options", "steps")]
    lines += [f"{option}=true", "exp='my exp' setting_words=(--lr 1)", "make_train_command ld"]
    probe.write_text("\n".join(["#!/bin/bash", "set -eu", *lines, 'printf "%s\\n" "${train_command[@]}"']))
    probe.chmod(0o755)
    command = drive(probe, cwd=root / "recipes/mini").stdout.splitlines()
    given = [] if option == "none" else [f"--{option}", "true"]
    folders = ["--data", "data", "--exp", "my exp", "--exp_dir", "my exp/ld", "--lr", "1"]
    assert command[3:] == ["hparams/base.yaml", "../common/hparams/systems/ld.yaml", *given, *folders]


def test_a_system_without_a_file_is_named(root, drive, tmp_path):
    probe = tmp_path / "probe.sh"
    parts = "".join(f'. "{root}/recipes/common/{name}.sh"\n' for name in ("needs", "steps"))
    probe.write_text(f"#!/bin/bash\nset -eu\n{parts}hparams_suffix=\nhparams_of dlt\n")
    probe.chmod(0o755)
    done = drive(probe, cwd=root / "recipes/librispeech")
    expected = "there is no system 'dlt': neither hparams/dlt.yaml nor ../common/hparams/systems/dlt.yaml"
    assert (done.returncode, done.stderr) == (1, f"probe.sh: error: {expected}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train-set", "200"], "--train-set takes 100, 460 or 960, not '200'"),
        (["--model", "rnn"], "--model takes conformer or wavlm, not 'rnn'"),
        (["--train_sett", "100"], "unknown option --train_sett"),
        (["extra"], "unexpected argument 'extra'"),
        (["--stage", "4", "--data", "/nowhere/data"], "/nowhere/data/dev/text is missing; stage 1 makes it"),
    ],
)
def test_what_the_driver_cannot_do_it_says(root, drive, options, message):
    done = drive(root / "recipes/librispeech/run.sh", "--device", "cpu", *options)
    assert done.returncode == 1
    assert message in done.stderr
