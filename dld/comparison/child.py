"""Run a command that receives SIGTERM when the process that started it dies, however that happens.

Called by its path, as `python child.py PARENT COMMAND…`; PARENT is a process id. It imports nothing of dld, so that it
needs no time and no search path.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments):
    """Take over the process: set the signal, then become the command."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # It may have died before.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: cannot be run: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
