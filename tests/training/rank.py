"""One process of a distributed training, for torchrun: `rank.py NOTES KILL dld-train-arguments …`.

At the end of the training it leaves the hash of its own weights in the folder NOTES, and the gates it drew. It says
when functions of `atexit` are called, and when the interpreter frees this module. KILL is `RANK:BATCH`, whose process
kills itself before that training batch, or `none`.
"""

import atexit
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import dld.training.run
from dld.bin.train import main
from dld.gates import format_gates
from dld.training.brain import DynamicBrain


def watch(notes, kill):
    rank = int(os.environ["RANK"])
    batches, gates = [], []
    fit_batch, draw, finish = DynamicBrain.fit_batch, DynamicBrain.draw, dld.training.run._finish

    def fit_one(brain, batch):
        batches.append(list(batch.id))
        if kill == f"{rank}:{len(batches)}":
            os.kill(os.getpid(), signal.SIGKILL)
        return fit_batch(brain, batch)

    def draw_one(brain):
        drawn = draw(brain)
        gates.append([format_gates(vector) for vector in drawn.vectors])
        return drawn

    def write(folder, values, brain, dev_loader):
        digest = hashlib.sha256()
        for tensor in brain.network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        note = {"weights": digest.hexdigest(), "gates": gates, "batches": batches}
        (notes / f"{rank}.json").write_text(json.dumps(note))
        finish(folder, values, brain, dev_loader)

    DynamicBrain.fit_batch, DynamicBrain.draw, dld.training.run._finish = fit_one, draw_one, write


class Freed:
    def __del__(self):
        os.write(2, b"the module is freed\n")


if __name__ == "__main__":
    watch(Path(sys.argv[1]), sys.argv[2])
    atexit.register(os.write, 2, b"atexit is called\n")
    of_this_module = Freed()
    sys.exit(main(sys.argv[3:]))
