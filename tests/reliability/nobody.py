"""Run commands as a user without rights: a server with one JSON request a line, `[command, arguments, folder]`.

The answer is the exit status and what was written. Each command runs in a fork of a process that has imported the
commands and used torch for nothing yet: a process that has threads cannot be forked safely.
"""

import concurrent.futures.process  # noqa: F401
import io
import json
import os
import pkgutil
import sys
from importlib import import_module

import torch

import dld

NOBODY = 65534


def run(name, arguments, folder):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 99
        sys.stderr = sys.stdout = io.StringIO()
        try:
            os.chdir(folder)
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            status = import_module(f"dld.bin.{name}").main(arguments)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
        finally:
            os.write(write, json.dumps([status, sys.stderr.getvalue()]).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        content = answer.read()
    os.waitpid(child, 0)
    return content.decode()


if __name__ == "__main__":
    # What is imported when it is needed: nobody may not read it where Python belongs to root.
    for module in pkgutil.walk_packages(dld.__path__, "dld."):
        import_module(module.name)
    "".encode("utf-8-sig")
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    for line in sys.stdin:
        print(run(*json.loads(line)), flush=True)
