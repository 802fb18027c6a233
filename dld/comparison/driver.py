"""Make the runs of a comparison, side by side, and resume what was broken off.

Each run is trained, gets a gate table where its policy is `table`, and is decoded and scored: commands of dld, called
in the recipe's folder. What they print is in `EXP/log/RUN.log`.
"""

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dld
from dld.comparison.processes import Failed, Processes, Progress, Task, run_tasks, tail
from dld.comparison.runs import Comparison, Run, words
from dld.errors import DldError
from dld.files import alone_in, write_json

STAMP = ".compared"
# Tasks that are not runs; the name of a run has no blank.
CORPUS, REPORT = "the corpus", "the report"


@dataclass(frozen=True)
class Options:
    """Options of the user that extend the list.

    Attributes
    ----------
    jobs : int
        Runs at a time.
    train, decode, corpus : tuple of str
        Further words for `dld train`, `dld decode`, and for the recipe's run.sh where it makes the data.
    """

    jobs: int = 1
    train: tuple[str, ...] = ()
    decode: tuple[str, ...] = ()
    corpus: tuple[str, ...] = ()


@dataclass
class Driver:
    """The commands of a comparison; of one with folds, only those of its report: its `parts` have drivers of their own.

    Parameters
    ----------
    comparison : Comparison
    options : Options
    """

    comparison: Comparison
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        """Derive the folders from the comparison."""
        self.recipe = self.comparison.recipe
        self.exp = self.recipe / self.comparison.exp
        self.logs = self.exp / "log"

        self.report_folder = f"{self.comparison.exp}/{self.comparison.report.output}"

    # ------------------------------------------------------------ commands

    def train(self, run: Run) -> list[str]:
        """Return the command that trains a run."""
        own = {"exp_dir": f"{self.comparison.exp}/{run.name}"}
        own |= {name: value for name in ("seed", "depth") if (value := getattr(run, name)) is not None}
        needs = {"teacher": run.teacher, "init_from": run.start}
        own |= {key: f"{self.comparison.exp}/{name}" for key, name in needs.items() if name}
        settings = {**self.comparison.settings, **run.settings, **own}
        folders = {"data": self.comparison.data, "exp": self.comparison.exp}
        return [
            *(*_python("train"), *self.comparison.files, *run.files, *self._device()),
            *words({**folders, **settings}, dashes=False),
            *self.options.train,
        ]

    def search(self, run: Run) -> list[str]:
        """Return the command that searches a run's gate table."""
        data = f"{self.comparison.data}/{self.comparison.dev_set}"
        return [*_python("gate_table"), "--exp", self._folder(run), "--data", data, *self._device()]

    def decode(self, run: Run, test_set: str) -> list[str]:
        """Return the command that decodes a test set with a run at all depths."""
        data = f"{self.comparison.data}/{test_set}"
        return [
            *(*_python("decode"), "--exp", self._folder(run), "--data", data, *self._device()),
            *(*words(self.comparison.decode), *self.options.decode),
        ]

    def score(self, run: Run, test_set: str) -> list[str]:
        """Return the command that scores a run's decodes of a test set."""
        data = self.comparison.data
        return ["local/score.sh", "--all", "true", f"{data}/{test_set}", f"{data}/lang", self._folder(run)]

    def corpus(self) -> list[list[str]]:
        """Return the commands that make, validate and tokenize the data: stages 1 to 3 of the recipe."""
        settings = [*words(self.comparison.settings, dashes=False), *self.options.train]
        common = [
            *("--data", self.comparison.data, "--exp", self.comparison.exp),
            *("--test-sets", " ".join(self.comparison.test_sets), "--train-args", shlex.join(settings)),
            *(*words(self.comparison.corpus), *self.options.corpus),
        ]
        prepare = [[*self.comparison.prepare, self.comparison.data]] if self.comparison.prepare else []
        return [
            ["./run.sh", "--stop-stage", "1", *common],
            *prepare,
            ["./run.sh", "--stage", "2", "--stop-stage", "3", *common],
        ]

    def latency(self) -> list[str]:
        """Return the command that times an utterance of the first test set under all finished runs, taking turns."""
        data = f"{self.comparison.data}/{self.comparison.test_sets[0]}"
        runs = [self._folder(run) for run in self.comparison.runs if (self.exp / run.name / "model.json").exists()]
        return [*_python("latency"), *runs, "--data", data]

    def report(self) -> list[str]:
        """Return the command that writes the report."""
        report = self.comparison.report
        given = {
            "output": self.report_folder,
            "systems": ",".join(report.order),
            "baseline": ",".join(report.baseline),
            "title": report.title,
            "notes": report.notes,
        }
        folders = [part.exp for part in self.comparison.parts()]
        source = ["--exp", *folders] if self.comparison.folds else words({"exp": self.comparison.exp})
        return [*_python("report"), *source, *words({k: v for k, v in given.items() if v})]

    def commands(self, run: Run) -> list[list[str]]:
        """Return all commands of a run, as `--dry-run` shows them."""
        sets = self.comparison.test_sets
        return [
            self.train(run),
            self.search(run),
            *[command for name in sets for command in (self.decode(run, name), self.score(run, name))],
        ]

    def _device(self) -> list[str]:
        return ["--device", self.comparison.device] if self.comparison.device else []

    def _folder(self, run: Run) -> str:
        return f"{self.comparison.exp}/{run.name}"

    def check(self, run: Run) -> None:
        """Raise a `DldError` where a run's files cannot be read, or a setting is unknown or has a wrong value."""
        from dld.config import layered, parse_overrides

        settings = [word for word in self.train(run)[3:] if word.startswith("--") and "=" in word]
        more = parse_overrides(self.options.train)
        files = [os.path.relpath(self.recipe / file) for file in (*self.comparison.files, *run.files)]
        try:
            layered(files, {**parse_overrides(settings), **more})
        except DldError as error:
            raise DldError(f"{self.comparison.path}: runs: {run.name}: {error}") from None

    # ------------------------------------------------------------ work

    def make(self, names: Sequence[str], show: Callable[[Progress], None]) -> Progress:
        """Make runs, and the data where they are missing; see `run_tasks`.

        Raises
        ------
        DldError
            A run is unknown, or needs one that is neither among them nor finished; another driver is at work.
        """
        runs = [self.comparison.run(name) for name in names]
        for run in runs:
            for need in run.needs:
                if need not in names and not (self.exp / need / "model.json").exists():
                    raise DldError(f"{run.name} needs the run {need}, which is not finished; add it to --runs")
        self.logs.mkdir(parents=True, exist_ok=True)
        with alone_in(self.logs, option="--exp") as holder:
            processes = Processes([holder.fileno()])
            tasks = {}
            if not self._has_data():
                tasks[CORPUS] = Task(partial(self._call, processes, CORPUS, self.corpus(), "w"))
            first = tuple(tasks)
            waiting = [run for run in runs if not self.is_done(run)]
            unfinished = {run.name for run in waiting}
            for run in waiting:
                needs = (*first, *(need for need in run.needs if need in unfinished))
                tasks[run.name] = Task(partial(self._make_run, processes, run), needs)
            return run_tasks(tasks, processes, self.options.jobs, show)

    def make_report(self, show: Callable[[Progress], None]) -> Progress:
        """Time the runs (of folds, those of the first) and write the report."""
        processes = Processes()
        self.logs.mkdir(parents=True, exist_ok=True)
        timed = Driver(self.comparison.parts()[0], self.options)
        task = Task(lambda: self._call(processes, REPORT, [timed.latency(), self.report()], "w"))
        return run_tasks({REPORT: task}, processes, jobs=1, show=show)

    def is_done(self, run: Run) -> bool:
        """Return whether a run was made as the list says, and its model is still the one that was decoded."""
        folder = self.exp / run.name
        try:
            stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
            made, results = stamp["made"], stamp["results"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        newer = [name for name in ("model.json", "gate_table.json") if _is_newer(folder / name, folder / STAMP)]
        return made == self._made(run) and not newer and all((folder / name).exists() for name in results)

    def _made(self, run: Run) -> dict:
        """Return what a run's results depend on: commands without the device, settings, the models that it needs."""
        from dld.config import layered

        commands = [[word for word in command[1:] if word not in self._device()] for command in self.commands(run)]
        settings = layered([self.recipe / file for file in (*self.comparison.files, *run.files)])
        return {
            "commands": commands,
            "settings_sha256": hashlib.sha256(settings.encode()).hexdigest(),
            "needs": {name: _model_hash(self.exp / name) for name in run.needs},
        }

    def _has_data(self) -> bool:
        data = self.recipe / self.comparison.data
        sets = (self.comparison.dev_set, *self.comparison.test_sets)
        return all((data / name).exists() for name in ("lang/bpe.model", *(f"{name}/text" for name in sets)))

    def _make_run(self, processes: Processes, run: Run) -> None:
        folder = self.exp / run.name
        self._call(processes, run.name, [self.train(run)], "w")
        if self._policy(run) == "table" and not _is_newer(folder / "gate_table.json", folder / "model.json"):
            self._call(processes, run.name, [self.search(run)])
        for name in self.comparison.test_sets:
            self._call(processes, run.name, [self.decode(run, name), self.score(run, name)])
        self.keep(run)

    def keep(self, run: Run) -> None:
        """Write down that a run is done, and what its results are and depend on."""
        folder = self.exp / run.name
        results = ["model.json", *(f"{path.name}/decode.json" for path in sorted(folder.glob("decode_*")))]
        write_json(folder / STAMP, {"made": self._made(run), "results": results})

    def _policy(self, run: Run) -> str:
        """Return the gate policy by which `dld decode` will decode a trained run."""
        from dld.config.plain import PlainSettings

        return PlainSettings(self.exp / run.name / "hyperparams.yaml").values.get("decode_policy")

    def _call(self, processes: Processes, name: str, commands: list[list[str]], mode: str = "a") -> None:
        log = log_of(self.logs, name)
        for command in commands:
            with open(log, mode, encoding="utf-8") as out:
                out.write(f"$ {shlex.join(command)}  # {time.strftime('%F %T')}\n")
            mode = "a"
            status = processes.call(command, log, cwd=self.recipe, env=_environment())
            if status:
                raise Failed(status if status > 0 else 128 - status, f"{name} failed; see {log}")


def log_of(logs: Path, name: str) -> Path:
    """Return the log of a task."""
    return logs / f"{name.replace(' ', '_')}.log"


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", f"dld.bin.{module}"]


def _model_hash(folder: Path) -> str | None:
    """Return the hash of a finished model's weights, None where there is none."""
    try:
        return json.loads((folder / "model.json").read_text(encoding="utf-8"))["state_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_newer(path: Path, other: Path) -> bool:
    return path.exists() and path.stat().st_mtime_ns > other.stat().st_mtime_ns


def _environment() -> dict[str, str]:
    """Return the variables of the commands: one thread each, this dld, and this Python for the recipe's scripts."""
    root = str(Path(dld.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    fixed = {"PYTHONPATH": path, "LC_ALL": "C", "PYTHONUTF8": "1"}
    return {"OMP_NUM_THREADS": "1", "DLD_VENV": sys.prefix, **os.environ, **fixed}


class Status:
    """Print what has started, ended and failed, and on a terminal, in one line, what runs.

    Parameters
    ----------
    logs : Path
    out : file object
    """

    def __init__(self, logs: Path, out=None) -> None:
        self._logs, self._out = logs, out or sys.stdout
        self._terminal = self._out.isatty()
        self._begun: dict[str, float] = {}
        self._told: set[str] = set()
        self._shown = 0.0
        self._stopping = False

    def __call__(self, progress: Progress) -> None:
        """Print what has changed since the last call."""
        if progress.stopping and not self._stopping:
            self._stopping = True
            self._say("== stopping; what runs saves its work")
        for name in progress.running:
            if name not in self._begun:
                self._begun[name] = time.monotonic()
                self._say(f"== {name} ({time.strftime('%T')})")
        for name in progress.done:
            self._tell(name, f"== {name} is done ({_minutes(time.monotonic() - self._begun[name])})")
        for name, error in progress.failed.items():
            first = not any(other in self._told for other in progress.failed if other != name)
            self._tell(name, f"== {error}", tail(log_of(self._logs, name)) if first else [])
        if self._terminal and progress.running and time.monotonic() - self._shown > 1:
            self._shown = time.monotonic()
            every = len(progress.waiting) + len(progress.running) + len(progress.done) + len(progress.failed)
            now = [f"{name} {_minutes(self._shown - self._begun[name])}" for name in progress.running]
            line = f"{len(progress.done)} of {every} done; running: {', '.join(now)}"
            width = os.get_terminal_size(self._out.fileno()).columns
            self._out.write(f"\r\033[K{line[: width - 1]}")
            self._out.flush()

    def _tell(self, name: str, line: str, more: Sequence[str] = ()) -> None:
        if name not in self._told:
            self._told.add(name)
            self._say(line)
            for text in more:
                self._say(f"   {text}")

    def _say(self, line: str) -> None:
        print(f"\r\033[K{line}" if self._terminal else line, file=self._out, flush=True)


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02}"
