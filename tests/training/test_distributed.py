"""Two processes train one model."""

import json
import os
import subprocess
import sys

import pytest

from dld.config import load_config
from dld.data.dataset import make_batch_sampler, make_dataset
from dld.errors import DldError
from dld.experiment import load_trained
from dld.training.run import train


def test_two_processes_share_the_batches_and_make_one_model(root, files, tiny_corpus, tmp_path):
    tiny = {"num_blocks": 3, "d_model": 16, "num_epochs": 1, "valid_depths": "[1,3]", "max_batch_seconds": 10}
    tiny |= {"data": tiny_corpus, "exp": tmp_path, "decode_depths": "[1,3]"}
    experiment = files("mini/ld")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "dld.bin.train", *experiment),
        *("--distributed-backend", "gloo", "--device", "cpu"),
        *(f"--{key}={value}" for key, value in tiny.items()),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    [entry] = map(json.loads, (tmp_path / "ld/train_log.jsonl").read_text().splitlines())
    batches = len(make_batch_sampler(make_dataset(tiny_corpus / "train"), 10, seed=1234))
    assert entry["updates"] == -(-batches // 2)
    assert load_trained(tmp_path / "ld").about.updates == entry["updates"]
    # One line for the epoch, not one for each process.
    assert result.stderr.count("epoch 1/1") == 1
    assert len(json.loads((tmp_path / "ld/run.json").read_text())["starts"]) == 1
    # Batches and learning rates were planned for two processes.
    (tmp_path / "ld/model.json").unlink()
    with pytest.raises(DldError, match=r"began on 2 process\(es\).* resume it on 2 instead of 1 \(--ngpu 2\)"):
        train(load_config(experiment, {key: str(value) for key, value in tiny.items()}), {"device": "cpu"})
    assert not (tmp_path / "ld/model.json").exists()
