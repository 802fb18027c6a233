"""Run commands side by side, for the recipes' drivers; the first that fails ends the others.

`python -m dld.comparison.side_by_side JOBS LOGS --- NAME COMMAND… --- NAME COMMAND…` runs JOBS of them at a time. What
a command prints goes to LOGS/NAME.log, and to standard output when it has ended.
"""

import os
import sys
from collections.abc import Iterator

from dld.comparison.processes import Failed, Interrupted, Processes, Task, run_tasks
from dld.errors import DldError

SEPARATOR = "---"


def main(arguments: list[str]) -> int:
    """Return 0, or the exit status of the first command that failed."""
    jobs, logs, commands = int(arguments[0]), arguments[1], dict(_commands(arguments[2:]))
    processes = Processes()
    os.makedirs(logs, exist_ok=True)
    tasks = {name: Task(_work(processes, name, f"{logs}/{name}.log", command)) for name, command in commands.items()}
    try:
        progress = run_tasks(tasks, processes, jobs, go_on=False)
    except Interrupted as stopped:
        return 128 + stopped.signal
    for error in progress.failed.values():
        print(error, file=sys.stderr)
        return error.status if isinstance(error, Failed) else 1
    return 0


def _commands(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    while words:
        end = words.index(SEPARATOR, 1) if SEPARATOR in words[1:] else len(words)
        yield words[1], words[2:end]
        words = words[end:]


def _work(processes: Processes, name: str, log: str, command: list[str]):
    def work() -> None:
        # One write: threads take turns between writes.
        sys.stdout.write(f"{name}: its log is {log}\n")
        sys.stdout.flush()
        with open(log, "wb"):
            pass
        status = processes.call(command, log)
        with open(log, "rb") as text:
            sys.stdout.buffer.write(text.read())
        sys.stdout.flush()
        if status:
            raise Failed(status if status > 0 else 128 - status, f"{name} failed; its log is above and in {log}")

    return work


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (DldError, OSError) as error:
        sys.exit(f"run.sh: error: {error}")
