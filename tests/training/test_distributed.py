"""Several processes train one model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dld.config import load_config
from dld.data.dataset import make_batch_sampler, make_dataset
from dld.errors import DldError
from dld.experiment import load_trained
from dld.files import read_json
from dld.training.run import train

RANK = Path(__file__).with_name("rank.py")
STANDALONE = ("--standalone",)


@pytest.fixture
def launch(root, files, tiny_corpus, tmp_path):
    """Train by torchrun: `launch("ld", "exp", processes=2, lr=1e-3) -> (result, notes of each process)`."""

    def command(system, exp, processes, kill="none", rendezvous=STANDALONE, **settings):
        tiny = {"num_blocks": 3, "d_model": 16, "num_epochs": 1, "valid_depths": "[1,3]", "decode_depths": "[1,3]"}
        tiny |= {"max_batch_seconds": 10, "data": tiny_corpus, "exp": tmp_path / exp, **settings}
        notes = tmp_path / f"{exp}_notes"
        notes.mkdir(exist_ok=True)
        return [
            *(sys.executable, "-m", "torch.distributed.run", *rendezvous, f"--nproc-per-node={processes}"),
            *(str(RANK), str(notes), kill, *files(f"mini/{system}")),
            *("--distributed-backend", "gloo", "--device", "cpu"),
            *(f"--{key}={value}" for key, value in tiny.items()),
        ]

    def run(*args, **settings):
        result = subprocess.run(
            command(*args, **settings), capture_output=True, text=True, env=environment, check=False
        )
        found = {p.stem: json.loads(p.read_text()) for p in (tmp_path / f"{args[1]}_notes").iterdir()}
        return result, [found[name] for name in sorted(found)]

    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    run.command, run.environment = command, environment
    return run


def log_of(folder):
    """The log of a run without its times."""
    lines = (folder / "train_log.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def outcome(folder):
    return read_json(folder / "model.json")["state_sha256"], log_of(folder)


def test_two_processes_share_the_batches_and_make_one_model(launch, files, tiny_corpus, tmp_path):
    result, notes = launch("ld", "exp", 2)
    assert result.returncode == 0, result.stderr
    [entry] = log_of(tmp_path / "exp/ld")
    batches = len(make_batch_sampler(make_dataset(tiny_corpus / "train"), 10, seed=1234))
    assert entry["updates"] == -(-batches // 2)
    assert load_trained(tmp_path / "exp/ld").about.updates == entry["updates"]
    # One line for the epoch, not one for each process.
    assert result.stderr.count("epoch 1/1") == 1
    # Threads that send messages are still there, and one of them could abort an interpreter that ends.
    assert result.stderr.count("atexit is called") == 2
    assert "the module is freed" not in result.stderr
    assert len(json.loads((tmp_path / "exp/ld/run.json").read_text())["starts"]) == 1
    check_equal(notes, 2)
    # Batches and learning rates were planned for two processes.
    (tmp_path / "exp/ld/model.json").unlink()
    settings = {"num_blocks": 3, "d_model": 16, "num_epochs": 1, "valid_depths": "[1,3]", "decode_depths": "[1,3]"}
    settings |= {"max_batch_seconds": 10, "data": tiny_corpus, "exp": tmp_path / "exp"}
    config = load_config(files("mini/ld"), {key: str(value) for key, value in settings.items()})
    with pytest.raises(DldError, match=r"began on 2 process\(es\).* resume it on 2 instead of 1 \(--ngpu 2\)"):
        train(config, {"device": "cpu"})
    assert not (tmp_path / "exp/ld/model.json").exists()


def check_equal(notes, processes):
    """All processes have the same weights, drew the same gates, and saw equally many batches of their own."""
    assert len(notes) == processes
    assert len({note["weights"] for note in notes}) == 1
    assert all(note["gates"] == notes[0]["gates"] for note in notes)
    assert len({len(note["batches"]) for note in notes}) == 1
    first = [set(map(tuple, note["batches"])) for note in notes]
    # A batch may be taken twice where they do not divide evenly.
    assert len(set.union(*first)) > sum(map(len, first)) - processes


@pytest.mark.slow
def test_three_processes_end_with_equal_weights(launch):
    result, notes = launch("ld", "exp", 3)
    assert result.returncode == 0, result.stderr
    check_equal(notes, 3)


@pytest.mark.slow
def test_two_processes_learn_as_one_with_twice_the_batch(launch, tiny_corpus, tmp_path):
    # Without random numbers in the forward pass, and with an even number of batches.
    data = make_dataset(tiny_corpus / "train")
    choices = (seconds / 4 for seconds in range(24, 80))
    seconds = next(s for s in choices if not any(n % 2 for n in numbers_of_batches(data, s, epochs=2)))
    quiet = {"dropout": 0.0, "spec_augment": "null", "num_epochs": 2, "max_batch_seconds": seconds}
    two, notes = launch("static", "two", 2, **quiet)
    assert two.returncode == 0, two.stderr
    one, alone = launch("static", "one", 1, grad_accumulation_factor=2, **quiet)
    assert one.returncode == 0, one.stderr
    [note] = alone
    assert [b for pair in zip(*(n["batches"] for n in notes), strict=True) for b in pair] == note["batches"]
    curves = [log_of(tmp_path / exp / "static") for exp in ("two", "one")]
    for key in ("updates", "lr", "train_loss", "valid_loss", "train_ctc"):
        assert [e[key] for e in curves[0]] == pytest.approx([e[key] for e in curves[1]], rel=1e-4), key


def numbers_of_batches(data, seconds, epochs):
    sampler = make_batch_sampler(data, seconds, seed=1234)
    for epoch in range(1, epochs + 1):
        sampler.set_epoch(epoch)
        yield len(sampler)


@pytest.mark.slow
def test_a_killed_process_ends_all_and_the_run_resumes(launch, tmp_path):
    # A checkpoint in every few seconds; dropout and gates draw random numbers in each process.
    settings = {"num_epochs": 2, "ckpt_interval_minutes": 0.0001}
    whole, all_notes = launch("ld", "whole", 2, **settings)
    assert whole.returncode == 0, whole.stderr
    killed, notes = launch("ld", "exp", 2, kill="1:5", **settings)
    assert killed.returncode != 0 and not notes
    assert not (tmp_path / "exp/ld/model.json").exists()
    assert "another process of this command has ended" in killed.stderr
    assert "The same command resumes from the last checkpoint" in killed.stderr
    assert list((tmp_path / "exp/ld/save").glob("CKPT*"))
    resumed, notes = launch("ld", "exp", 2, **settings)
    assert resumed.returncode == 0, resumed.stderr
    assert len({note["weights"] for note in notes}) == 1
    assert len(notes[0]["batches"]) < len(all_notes[0]["batches"])
    assert outcome(tmp_path / "exp/ld") == outcome(tmp_path / "whole/ld")


@pytest.fixture
def hosts():
    """Two hosts in network namespaces of their own, with a cable between them: (name, address) of each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the command ip")
    names = [f"dld{os.getpid()}{letter}" for letter in "ab"]
    made = [("netns", "add", name) for name in names]
    ends = [f"d{os.getpid() % 10**6}{letter}" for letter in "ab"]
    made += [("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])]
    for name, end, address in zip(names, ends, ("10.201.7.1", "10.201.7.2"), strict=True):
        made += [("-n", name, "addr", "add", f"{address}/24", "dev", end)]
        made += [("-n", name, "link", "set", device, "up") for device in ("lo", end)]
    try:
        for arguments in made:
            done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespaces here: ip {' '.join(arguments)}: {done.stderr.strip()}")
        yield [(names[0], "10.201.7.1", ends[0]), (names[1], "10.201.7.2", ends[1])]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.mark.slow
def test_two_hosts_train_one_model(launch, hosts, tmp_path):
    running = []
    for number, (namespace, _, interface) in enumerate(hosts):
        rendezvous = ("--nnodes=2", f"--node-rank={number}", f"--master-addr={hosts[0][1]}", "--master-port=29511")
        command = ["ip", "netns", "exec", namespace, *launch.command("ld", "exp", 1, rendezvous=rendezvous)]
        environment = {**launch.environment, "GLOO_SOCKET_IFNAME": interface}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, env=environment, **pipes))
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    check_equal([json.loads((tmp_path / f"exp_notes/{n}.json").read_text()) for n in (0, 1)], 2)
    assert load_trained(tmp_path / "exp/ld").about.updates


def evaluate(root, module, *arguments, processes=1):
    """Run a command in a number of processes; its standard error."""
    launcher = ("-m", "torch.distributed.run", *STANDALONE, f"--nproc-per-node={processes}") if processes > 1 else ()
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", f"dld.bin.{module}", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.slow
def test_gate_tables_and_texts_of_several_processes_are_those_of_one(trained_pair, root, tiny_corpus, tmp_path):
    # 15 s: several batches, of which one process takes fewer than the other.
    data = ("--data", tiny_corpus / "dev", "--batch-seconds", 15)
    tables, decodes = [], []
    for processes in (1, 2):
        exp = shutil.copytree(trained_pair / "dld", tmp_path / f"exp{processes}")
        errors = evaluate(root, "gate_table", "--exp", exp, *data, processes=processes)
        tables.append((exp / "gate_table.json").read_bytes())
        # Only the first process says what was found.
        assert errors.count("depth  1  ") == 1
        evaluate(root, "decode", "--exp", exp, *data, "--depths", "all", "--beam-size", 2, processes=processes)
        decodes.append({path.parent.name: path.read_bytes() for path in exp.glob("decode_*/text")})
    assert tables[0] == tables[1]
    assert len(decodes[0]) == 3 and decodes[0] == decodes[1]


@pytest.mark.slow
def test_validation_by_two_processes_is_that_of_one(launch, tmp_path):
    # A learning rate of 0 and no noise: both validate the same weights. 9 s make an odd number of batches.
    quiet = {"lr": 0.0, "spec_augment": "null", "eval_batch_seconds": 9}
    logs = []
    for processes in (1, 2):
        result, _ = launch("ld", f"exp{processes}", processes, **quiet)
        assert result.returncode == 0, result.stderr
        logs.append(log_of(tmp_path / f"exp{processes}/ld"))
    keys = ("valid_loss", "wer", "mean_wer", "blank_share", "empty_share", "without_loss")
    assert [{key: entry.get(key) for key in keys} for entry in logs[0]] == [
        {key: entry.get(key) for key in keys} for entry in logs[1]
    ]
