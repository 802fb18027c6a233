"""Train as a job of SLURM: submit it, follow its log, and resume it when its time is over.

The job runs `dld train` with the same options, one task for each process; submitit writes its script. A job that is
told to end soon (SIGUSR2, before its time limit or a preemption) saves after the present update and is queued again; it
resumes exactly.
"""

from __future__ import annotations

import codecs
import importlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dld.errors import DldError, UsageError
from dld.files import read_record, write_json
from dld.records import Record

logger = logging.getLogger(__name__)

#: Folder of a run that holds what its jobs leave: the script, the logs, the result.
FOLDER = "slurm"
JOB = "job.json"

#: Seconds between two looks at the log and the queue.
LOOK = 2.0
#: Seconds that a process waits for its end after it saved: SLURM ends it, or queues the job again.
PATIENCE = 600.0
#: Seconds before the time limit at which the job is told.
LEAD = 120
#: How many times a job is queued again because its time was over.
MOST_TIMEOUTS = 1000

_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d+){0,2})")


@dataclass(frozen=True)
class Request:
    """What is asked of SLURM.

    Attributes
    ----------
    minutes : int
        Time limit.
    nodes, tasks_per_node : int
        Machines, and processes on each.
    sbatch : dict
        All other options of `sbatch`, as they are; True for one without a value.
    """

    minutes: int = 60
    nodes: int = 1
    tasks_per_node: int = 1
    sbatch: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Request:
        """Read words as `partition=gpu time=24:00:00 nodes=2 gpus-per-node=4`: options of sbatch without their dashes.

        With `gpus-per-node` there are as many processes on each node, unless `ntasks-per-node` says otherwise.

        Raises
        ------
        UsageError
            A word is not an option, or a number is none.

        Examples
        --------
        >>> Request.parse(
        ...     "partition=gpu time=1-12:00:00 nodes=2 gpus-per-node=4 requeue"
        ... )  # doctest: +NORMALIZE_WHITESPACE
        Request(minutes=2160, nodes=2, tasks_per_node=4,
                sbatch={'partition': 'gpu', 'gpus-per-node': '4', 'requeue': True})
        """
        words: dict[str, Any] = {}
        for word in text.split():
            name, equals, value = word.partition("=")
            name = name.removeprefix("--").replace("_", "-")
            if not re.fullmatch(r"[a-z][a-z-]*", name) or (equals and not value):
                raise UsageError(f"--slurm: {word!r} is not an option of sbatch, such as partition=gpu or exclusive")
            words[name] = value if equals else True
        gpus = re.search(r"\d+$", str(words.get("gpus-per-node", "1")))
        return cls(
            minutes=_minutes(words.pop("time", "60")),
            nodes=_count("nodes", words.pop("nodes", "1")),
            tasks_per_node=_count("ntasks-per-node", words.pop("ntasks-per-node", gpus[0] if gpus else "1")),
            sbatch=words,
        )

    def parameters(self, name: str) -> dict[str, Any]:
        """Return it as submitit's executor takes it, for a job of that name."""
        return {
            "job_name": name,
            "time": self.minutes,
            "nodes": self.nodes,
            "ntasks_per_node": self.tasks_per_node,
            "signal_delay_s": LEAD,
            "stderr_to_stdout": True,
            # A job that is queued again continues its log; one process that ends in error ends the others.
            "srun_args": ["--open-mode=append", "--kill-on-bad-exit=1"],
            "additional_parameters": {"requeue": True, **self.sbatch},
        }


def _count(name: str, value: Any) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", str(value)):
        raise UsageError(f"--slurm: {name}={value} must be a whole number of at least 1")
    return int(value)


def _minutes(text: Any) -> int:
    """Return the minutes of a time limit as sbatch writes it: `90`, `24:00:00`, `2-12`, `2-12:30:00`."""
    found = _TIME.fullmatch(str(text))
    if not found:
        raise UsageError(f"--slurm: time={text} is not a time limit, such as 90 (minutes), 24:00:00 or 2-12:00:00")
    parts = [int(part) for part in found["clock"].split(":")]
    if found["days"]:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        minutes += 60 * (24 * int(found["days"]) + hours)
    elif len(parts) == 3:
        minutes, seconds = 60 * parts[0] + parts[1], parts[2]
    else:
        minutes, seconds = (*parts, 0)[:2]
    return max(1, minutes + (seconds > 0))


# ------------------------------------------------------------ in the job


@dataclass(frozen=True)
class Training:
    """What a task of the job calls: `dld train` in this process, as one rank of several where there are several.

    Attributes
    ----------
    module : str
        `dld.bin.train`, whose `run` takes arguments and returns an exit status.
    arguments : tuple of str
        Those of `dld train`, without the launcher's.
    folder : str
        Where the first task leaves the exit status.
    """

    module: str
    arguments: tuple[str, ...]
    folder: str

    def __call__(self) -> int:
        """Train; return the exit status of `dld train`."""
        import submitit

        from dld.distributed import end

        environment = submitit.JobEnvironment()
        if environment.num_tasks > 1:
            os.environ.update(rendezvous(environment))
        # submitit's handler queues the job again; while it trains, dld saves first.
        queue_again = signal.getsignal(signal.SIGUSR2)
        status = importlib.import_module(self.module).run(begun_before(self.arguments))
        if status - 128 not in _SIGNALS:
            if environment.global_rank == 0:
                write_json(status_of(Path(self.folder), environment.job_id), Ended(status).to_json())
            end(status)
            return status
        if status - 128 == signal.SIGUSR2 and environment.global_rank == 0 and callable(queue_again):
            queue_again(signal.SIGUSR2, None)
        # Another process queues it again; or SLURM ends it, as it said by SIGTERM.
        time.sleep(PATIENCE)
        return status

    def checkpoint(self) -> Any:
        """Return what the job runs when it is queued again (submitit's protocol): the same, which resumes."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def rendezvous(environment: Any) -> dict[str, str]:
    """Return the environment variables by which the processes of a job find each other, as torchrun sets them."""
    return {
        "RANK": str(environment.global_rank),
        "LOCAL_RANK": str(environment.local_rank),
        "WORLD_SIZE": str(environment.num_tasks),
        "MASTER_ADDR": environment.hostnames[0],
        # The same in all processes, and another one for another job on the same machine.
        "MASTER_PORT": str(20000 + int(re.sub(r"\D", "", environment.job_id)) % 20000),
    }


def begun_before(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `--restart` where SLURM starts the job again: it must not remove its own work."""
    again = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
    return without(arguments, "--restart") if again else list(arguments)


def without(arguments: Sequence[str], *options: str) -> list[str]:
    """Return a command line without some options, each of which has a value.

    Examples
    --------
    >>> without(["ld.yaml", "--launcher", "slurm", "--slurm=time=60", "--lr", "1"], "--launcher", "--slurm")
    ['ld.yaml', '--lr', '1']
    """
    kept, words = [], iter(arguments)
    for word in words:
        if word in options:
            next(words, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


# ------------------------------------------------------------ where it is submitted


@dataclass(frozen=True)
class Submitted(Record):
    """What `slurm/job.json` of a run says: the number of its job."""

    job: str


@dataclass(frozen=True)
class Ended(Record):
    """What a job leaves when its training ends: the exit status of `dld train`."""

    status: int


def launch(module: str, arguments: Sequence[str], request: Request, exp_dir: str | Path) -> int:
    """Train as a job, show its log, and return the exit status of `dld train` there.

    A job of this run that is still in the queue is followed, instead of submitting another one. If this process ends,
    the job goes through all the same.

    Parameters
    ----------
    module, arguments
        See `Training`.
    request : Request
    exp_dir : str or Path
        The run's folder.

    Raises
    ------
    DldError
        submitit or SLURM's commands are missing, SLURM refuses the job, or the job ended without a result.
    """
    folder = Path(exp_dir).absolute() / FOLDER
    job = running_job(folder)
    if job is None:
        job = submit(Training(module, tuple(arguments), str(folder)), request, folder)
        logger.info("job %s is submitted; scancel %s ends it, and the same command follows it again", job, job)
    else:
        logger.info("job %s of this run is in the queue already; scancel %s ends it", job, job)
    logger.info("its log: %s", log_of(folder, job))
    return follow(folder, job, lambda: state_of(job))


def submit(training: Training, request: Request, folder: Path) -> str:
    """Submit the job of a run and return its number, which `job.json` keeps."""
    if shutil.which("sbatch") is None or shutil.which("squeue") is None:
        raise DldError(
            "--launcher slurm needs the commands of SLURM (sbatch, squeue), and they are not on this machine"
        )
    try:
        import submitit
    except ImportError:
        raise DldError("--launcher slurm needs the package submitit: pip install 'dld[slurm]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    executor = submitit.SlurmExecutor(folder, max_num_timeout=MOST_TIMEOUTS)
    executor.update_parameters(**request.parameters(f"dld-{folder.parent.name}"))
    try:
        job = executor.submit(training).job_id
    except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise DldError(f"SLURM refuses the job: {said[-1] if said else error}; see --slurm") from None
    write_json(folder / JOB, Submitted(job).to_json())
    return job


def running_job(folder: Path) -> str | None:
    """Return the number of a run's job that is in the queue, None where there is none."""
    path = folder / JOB
    if not path.exists():
        return None
    job = Submitted.from_json(read_record(path, {"job": str}, "remove it"), str(path), "remove it").job
    return job if state_of(job) else None


def state_of(job: str) -> str:
    """Return what the queue says of a job, as `PENDING (Resources)`, or "" where it is not in it."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%T (%R)"]
    for _ in range(5):
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode == 0 or "Invalid job id" in asked.stderr:
            return asked.stdout.strip()
        time.sleep(LOOK)  # a busy controller
    raise DldError(f"squeue says nothing of job {job}: {asked.stderr.strip()}; the same command follows the job again")


def log_of(folder: Path, job: str) -> Path:
    """Return the log of a job's first process; those of the others have their numbers instead of 0."""
    return folder / f"{job}_0_log.out"


def status_of(folder: Path, job: str) -> Path:
    """Return the file in which a job leaves the exit status of its training."""
    return folder / f"{job}_status.json"


def follow(folder: Path, job: str, state: Callable[[], str]) -> int:
    """Show the log of a job until it ends, and return the exit status of its training.

    Parameters
    ----------
    folder : Path
        Where its log and its status go.
    job : str
        Its number.
    state : callable
        As `state_of`.
    """
    log, last, path = _growing(log_of(folder, job)), "", status_of(folder, job)
    while now := "" if path.exists() else state():
        _show(log)
        # When it runs, its log says more.
        if now != last and not now.startswith("RUNNING"):
            logger.info("job %s: %s", job, now)
        last = now
        time.sleep(LOOK)
    # Files of another machine may come later than the queue's word.
    time.sleep(LOOK)
    _show(log)
    if path.exists():
        return Ended.from_json(read_record(path, {"status": int}), str(path)).status
    raise DldError(
        f"job {job} ended without a result: it was cancelled, or SLURM ended it; see {log_of(folder, job)}. The same "
        "command resumes"
    )


def _show(log: Iterator[str]) -> None:
    sys.stderr.write(next(log))
    sys.stderr.flush()


def _growing(path: Path) -> Iterator[str]:
    """Yield what was written to a file since the last time, "" where nothing was."""
    done, decoder = 0, codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        text = b""
        if path.exists():
            with open(path, "rb") as file:
                file.seek(done)
                text = file.read()
        done += len(text)
        yield decoder.decode(text)
