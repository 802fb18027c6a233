"""Fixtures of the tests of recipes: their drivers, run as a user does, and what makes the paper's network tiny."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

TINY_PAPER = {
    "num_blocks": 3,
    "d_model": 16,
    "d_ffn": 32,
    "num_heads": 2,
    "kernel_size": 3,
    "subsampling_channels": 4,
    "vocab_size": 64,
    "num_epochs": 1,
    "warmup": 2,
    "valid_depths": [1, 3],
    "decode_depths": [1, 3],
    "max_batch_seconds": 20,
    "num_workers": 0,
    "network.blank_bias": -2,
}
TINY_MINI = {"num_blocks": 3, "d_model": 16, "valid_depths": [1, 3], "decode_depths": [1, 3], "num_epochs": 1}
TINY_WAVLM = {
    **TINY_MINI,
    "d_ffn": 32,
    "num_heads": 2,
    "conv_layers": [[16, 10, 5], [16, 8, 8], [16, 8, 8]],
    "positional_kernel": 8,
    "positional_groups": 2,
    "pretrained": None,
    "freeze_updates": 1,
    "warmup": 2,
    "num_workers": 0,
    "max_batch_seconds": 20,
    "vocab_size": 32,
}


TINY = {
    "mini": TINY_MINI,
    "paper": TINY_PAPER,
    "wavlm": TINY_WAVLM,
    "whisper": {**TINY_MINI, "d_model": 64, "pretrained": None, "vocab_size": 32},
}


@pytest.fixture(scope="session")
def tiny():
    """Overrides that make a network tiny, with random weights: by the kind of its experiment file."""
    return TINY


@pytest.fixture(scope="session")
def tiny_args():
    """The same as the drivers' option --train-args wants it: `tiny_args("paper", num_epochs=1)`."""

    def words(kind, **more):
        settings = {**TINY[kind], **more}
        return " ".join(f"--{key} {json.dumps(value).replace(' ', '')}" for key, value in settings.items())

    return words


@pytest.fixture(scope="session")
def drive():
    """Runs a script with this interpreter's environment: `drive(script, *options, cwd=None) -> CompletedProcess`."""

    def call(script, *options, cwd=None):
        environment = {**os.environ, "DLD_VENV": sys.prefix, "OMP_NUM_THREADS": "1"}
        return subprocess.run([script, *options], capture_output=True, text=True, env=environment, check=False, cwd=cwd)

    return call


@pytest.fixture
def with_known_words(tmp_path):
    """Copies what a driver left, dev and a test set replaced by train: words that a language model of train knows."""

    def copy(finished, test_set):
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        for name in ("dev", test_set):
            shutil.rmtree(tmp_path / "data" / name)
            shutil.copytree(tmp_path / "data/train", tmp_path / "data" / name)
            for decode in tmp_path.glob(f"exp/*/decode_{test_set}_*"):
                shutil.rmtree(decode)
        return tmp_path

    return copy


#: What the stub does for `dld config --get`: students start from and learn from the teacher of stage 4.
ANSWER = 'print(exp + "/static" if key in ("teacher", "init_from") else "first-n")'
STUB = """#!{python} -SI
import json, os, sys
folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if len(sys.argv) > 2 and sys.argv[2].startswith("dld.comparison."):
    # What starts the commands is real.
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], {{**os.environ, "PYTHONPATH": {root!r}}})
with open(folder + "/calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if "--get" in sys.argv:
    key, exp = (sys.argv[sys.argv.index(option) + 1] if option in sys.argv else "" for option in ("--get", "--exp"))
    {answer}
if os.path.exists(folder + "/hook.py"):
    exec(open(folder + "/hook.py").read())
"""


def default_signals():
    """Undo what the process that runs the tests ignores."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Checkout:
    """The shell scripts and experiment files in a folder of their own, and a Python that writes down how it is called.

    Attributes
    ----------
    folder : Path
        The copy's top; the recipe mini is in it. Its path has blanks.
    """

    def __init__(self, root, folder):
        self.folder = folder
        tracked = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "*.sh", "recipes/*/hparams/*.yaml"],
            cwd=root,
            capture_output=True,
            text=True,
        )
        for name in tracked.stdout.split():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target)
        self.recipe = folder / "recipes/mini"
        self.environment = folder / "environment"
        self.python = self.environment / "bin/python"
        self.python.parent.mkdir(parents=True)
        self.python.write_text(STUB.format(python=sys.executable, root=str(root), answer=ANSWER))
        self.python.chmod(0o755)
        self.python.with_name("python3").symlink_to("python")
        self.variables = {"PATH": os.environ["PATH"], "DLD_VENV": str(self.environment)}

    def run(self, *command, cwd=None, **variables):
        """Run a command in the recipe's folder, or in `cwd`."""
        return subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            cwd=cwd or self.recipe,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def start(self, *command, **variables):
        """Start a command in the recipe's folder."""
        return subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.recipe,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            # Bash cannot trap what was ignored when it began, as under nohup and in background jobs.
            preexec_fn=default_signals,
        )

    def hook(self, code):
        """Let the stub run this Python code after it has written down its arguments."""
        (self.environment / "hook.py").write_text(code)

    def answer(self, text):
        """Let the stub print this text for every setting that it is asked for."""
        self.python.write_text(self.python.read_text().replace(ANSWER, f"print({text!r})"))

    def calls(self, module=""):
        """Arguments of each call of `python -m dld.bin.MODULE`, or of all calls."""
        path = self.environment / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if not module or call[:2] == ["-m", f"dld.bin.{module}"]]

    def make(self, *names):
        """Make files that stages ask for."""
        for name in names:
            path = self.recipe / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")


@pytest.fixture
def checkout(root, tmp_path):
    """A `Checkout`."""
    return Checkout(root, tmp_path / "check out")
