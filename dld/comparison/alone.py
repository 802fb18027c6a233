"""Run a command that has a data folder to itself: `python -m dld.comparison.alone PROGRAM FOLDER COMMAND…`.

The lock is the command's as well: as long as it, or anything that it started, runs, no other driver is let into the
folder, even where this process was killed. PROGRAM is whose error message a refusal is.
"""

import sys

from dld.comparison.processes import Interrupted, Processes, Task, run_tasks
from dld.errors import DldError, describe_os_error
from dld.files import alone_in


def main(arguments: list[str]) -> int:
    """Return the exit status of the command."""
    program, folder, *command = arguments
    status = 1
    try:
        with alone_in(folder, option="--data", remove=True) as holder:
            processes = Processes([holder.fileno()])

            def work():
                nonlocal status
                status = processes.call(command)

            run_tasks({"command": Task(work)}, processes, jobs=1)
    except Interrupted as stopped:
        return 128 + stopped.signal
    except (DldError, OSError) as error:
        message = describe_os_error(error, folder) if isinstance(error, OSError) else error
        print(f"{program}: error: {message}", file=sys.stderr)
        return 1
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
