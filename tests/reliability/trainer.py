"""Train in forked children that can be killed: a server with one JSON request a line on standard input.

A request holds `experiments` (files), `overrides`, and optionally

- `after`: seconds after which the child is killed;
- `event`: number of the event inside the saving and pruning of checkpoints at which it kills itself, from 1;
- `batch`: number of the training batch, over the epochs of this start, before which the child sends itself `signal`;
- `validation`: number of the validation batch, likewise;
- `signal`: what `after`, `batch` and `validation` send (default: SIGKILL);
- `largest_file`: bytes after which a file cannot grow, as on a full disk;
- `log`: file for standard error.

The answer has `status` (negative: the number of the signal that ended the child), `events` (how many there were) and
`seconds`. A child is a fork of a process that has imported everything, so that it starts at once.
"""

import builtins
import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from dld.bin.train import main as train_main
from dld.training.checkpoints import WholeCheckpointer
from dld.training.engine import Engine


class Events:
    """Counts what changes the disk while a checkpoint is saved or old ones are deleted, and kills at one event."""

    def __init__(self, kill_at, count_file):
        self.kill_at = kill_at
        self.count_file = count_file
        self.count = 0
        self.depth = 0

    def happen(self):
        if self.depth:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def inside(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            Path(self.count_file).write_text(str(self.count))

    def watch(self, module, name, counts=lambda *args: True):
        real = getattr(module, name)

        def watched(*args, **kwargs):
            if counts(*args):
                self.happen()
            return real(*args, **kwargs)

        setattr(module, name, watched)

    def install(self):
        for name in ("save_checkpoint", "prune"):
            real = getattr(WholeCheckpointer, name)

            def counted(*args, real=real, **kwargs):
                with self.inside():
                    return real(*args, **kwargs)

            setattr(WholeCheckpointer, name, counted)
        self.watch(builtins, "open", lambda path, mode="r", *_: "w" in mode)
        for module, name in ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "unlink"), (shutil, "rmtree")):
            self.watch(module, name)


def signal_at(name, number, what):
    """Let a process send itself a signal before a method of its Brain is called for the number-th time."""
    real, calls = getattr(Engine, name), iter(range(1, sys.maxsize))

    def counted(*args, **kwargs):
        if next(calls) == number:
            os.kill(os.getpid(), what)
        return real(*args, **kwargs)

    setattr(Engine, name, counted)


def child(request, count_file):
    log = os.open(request.get("log", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    Events(request.get("event"), count_file).install()
    for key, method in (("batch", "fit_batch"), ("validation", "evaluate_batch")):
        if key in request:
            signal_at(method, request[key], request.get("signal", signal.SIGKILL))
    if "largest_file" in request:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    settings = [f"--{key}={value}" for key, value in request["overrides"].items()]
    os._exit(train_main([*request["experiments"], "--device", "cpu", "--progress", "false", *settings]))


def serve(request, count_file):
    Path(count_file).unlink(missing_ok=True)
    began = time.time()
    pid = os.fork()
    if pid == 0:
        try:
            child(request, count_file)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(70)
    if "after" in request:
        while time.time() < began + request["after"]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            time.sleep(0.005)
        else:
            os.kill(pid, request.get("signal", signal.SIGKILL))
            status = os.waitpid(pid, 0)[1]
    else:
        status = os.waitpid(pid, 0)[1]
    events = int(Path(count_file).read_text() or 0) if Path(count_file).exists() else 0
    return {"status": os.waitstatus_to_exitcode(status), "events": events, "seconds": time.time() - began}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line), sys.argv[1])), flush=True)
