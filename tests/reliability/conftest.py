"""How the tables of broken inputs run a command and sort what came of it."""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

#: Seconds after which a case counts as a hang.
LIMIT = 60


@dataclass(frozen=True)
class Outcome:
    """What a command did with an input.

    Attributes
    ----------
    kind : {"error", "accepted", "traceback", "hang"}
        "error" is the contract: status above 0 and one line on standard error that begins `NAME: error: `.
    status : int or None
        Exit status; None where the command raised or hung.
    message : str
        The line of the error, the exception, or "".
    out, err : str
        All of standard output and standard error.
    """

    kind: str
    status: int | None
    message: str
    out: str
    err: str


class _Hang(BaseException):
    pass


def _alarm(*_):
    raise _Hang


@pytest.fixture
def outcome(capsys, record_property):
    """Run a command in this process: `outcome("data", ["validate", folder]) -> Outcome`.

    `table` names the table that the case is counted in; the counts of all tables are printed when the tests end.
    """

    def run(command, arguments, table="broken inputs", limit=LIMIT):
        main = importlib.import_module(f"dld.bin.{command}").main
        capsys.readouterr()
        status, raised = None, None
        before = signal.signal(signal.SIGALRM, _alarm)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            status = stop.code
        except _Hang:
            raised = f"no answer within {limit} s"
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        out, err = capsys.readouterr()
        errors = [line for line in err.splitlines() if line.startswith("dld") and ": error: " in line]
        if raised:
            kind, message = ("hang" if raised.startswith("no answer") else "traceback"), raised
        elif status == 0:
            kind, message = "accepted", ""
        elif len(errors) == 1 and "Traceback" not in err:
            kind, message = "error", errors[0]
        else:
            kind, message = "traceback", f"status {status} without one line of error: {err[-300:]}"
        record_property("outcome", [table, kind])
        return Outcome(kind, status, message, out, err)

    return run


@contextlib.contextmanager
def serving(root, script, *arguments):
    """Run a script that answers one JSON line with another, and give the function that asks it."""
    server = subprocess.Popen(
        [sys.executable, root / "tests/reliability" / script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        text=True,
    )

    def send(request):
        print(json.dumps(request), file=server.stdin, flush=True)
        return json.loads(server.stdout.readline())

    try:
        yield send
    finally:
        server.stdin.close()
        server.wait(timeout=60)


@pytest.fixture(scope="module")
def ask(root, tmp_path_factory):
    """Train in a child that can be killed: `ask(request) -> answer`, see trainer.py."""
    with serving(root, "trainer.py", tmp_path_factory.mktemp("trainer") / "events") as send:
        yield send


@pytest.fixture(scope="module")
def unprivileged(root):
    """Run a command as nobody: `unprivileged("data", arguments, folder) -> (status, output)`, see nobody.py."""
    with serving(root, "nobody.py") as send:
        yield lambda name, arguments, folder: send([name, [str(argument) for argument in arguments], str(folder)])


@pytest.fixture(scope="module")
def tiny_request(files, trained_pair, tiny_corpus):
    """Make a request to train a tiny system: `tiny_request("dld", exp_dir, lr=1e-3, after=2) -> dict`.

    Keys of requests (trainer.py) are those of the request, others are settings of the experiment.
    """
    cached = {"dld": False, "dld_cached": True}

    def make(system, folder, **extra):
        name = {"dld_cached": "dld"}.get(system, system)
        request = {
            "experiments": files(f"mini/{name}"),
            "log": str(folder.parent / f"{folder.name}.log"),
        }
        own = ("after", "event", "batch", "validation", "signal", "largest_file", "log")
        request |= {key: extra.pop(key) for key in own if key in extra}
        settings = {
            "data": tiny_corpus,
            "exp": folder.parent,
            "exp_dir": folder,
            "num_blocks": 3,
            "d_model": 16,
            "valid_depths": [1, 3],
            "decode_depths": [1, 3],
            "num_epochs": 3,
            "max_batch_seconds": 20,
            "average_checkpoints": 2,
            "lr_schedule.warmup": 2,
            "ckpt_interval_minutes": 0.001,
        }
        if system in cached:
            settings["teacher_input"] = "clean" if cached[system] else "augmented"
            settings["teacher_cache"] = str(cached[system]).lower()
        if system.startswith("dld"):
            settings["teacher"] = trained_pair / "static"
        if system == "dld_plus":
            settings["init_from"] = trained_pair / "static"
        return {**request, "overrides": {key: str(value) for key, value in {**settings, **extra}.items()}}

    return make
