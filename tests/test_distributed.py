"""Two processes train one model."""

import json
import os
import subprocess
import sys

from dld.data.dataset import make_batch_sampler, make_dataset
from dld.experiment import load_trained


def test_two_processes_share_the_batches_and_make_one_model(root, tiny_corpus, tmp_path):
    tiny = ["--num_blocks=3", "--d_model=16", "--num_epochs=1", "--valid_depths=[1,3]", "--decode_depths=[1,3]"]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "dld.bin.train", str(root / "recipes/mini/hparams/ld.yaml")),
        *("--distributed-backend", "gloo", "--device", "cpu"),
        *("--data", str(tiny_corpus), "--exp", str(tmp_path), "--max_batch_seconds=10", *tiny),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    [entry] = map(json.loads, (tmp_path / "ld/train_log.jsonl").read_text().splitlines())
    batches = len(make_batch_sampler(make_dataset(tiny_corpus / "train"), 10, seed=1234))
    assert entry["updates"] == -(-batches // 2)
    assert load_trained(tmp_path / "ld").about["updates"] == entry["updates"]
    # One line for the epoch, not one for each process.
    assert result.stderr.count("epoch 1/1") == 1
    assert len(json.loads((tmp_path / "ld/run.json").read_text())["starts"]) == 1
