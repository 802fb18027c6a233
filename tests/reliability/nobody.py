"""Run commands as a user without rights: a server with one JSON request a line, `[command, arguments, folder]`.

The answer is the exit status and what was written. Each command runs in a fork of a process that has imported the
commands and used torch for nothing yet: a process that has threads cannot be forked safely.
"""

import io
import json
import os
import pkgutil
import sys
from importlib import import_module

import torch

import dld.training.brain  # noqa: F401  experiment files name it
from dld.data import corpora

NOBODY = 65534
COMMANDS = (
    "data",
    "decode",
    "gate_table",
    "lm",
    "prepare",
    "report",
    "score",
    "tokenizer",
    "train",
    "tune_lm",
)


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
    for command in COMMANDS:
        import_module(f"dld.bin.{command}")
    # Modules that are imported when they are needed: nobody may not read them where Python belongs to root.
    for module in pkgutil.walk_packages(corpora.__path__, f"{corpora.__name__}."):
        import_module(module.name)
    "".encode("utf-8-sig")
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    for line in sys.stdin:
        print(run(*json.loads(line)), flush=True)
