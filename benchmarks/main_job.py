"""What `./run.sh` takes once it is set up, stage by stage, from a fresh clone: processor seconds and wall time.

The clone is of the present commit, in a temporary folder; the Python environment is the one that runs this.

    python benchmarks/main_job.py --output benchmarks/results/main_job.json
    python benchmarks/main_job.py --quick true
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dld.bin import boolean
from dld.files import write_json
from dld.provenance import git_hash, processor, versions

ROOT = Path(__file__).parents[1]
STAGE = re.compile(r"== stage (\d+): (.*) \(\d+ s\)$")


@dataclass
class Stage:
    """A stage: its number, what it is called, and the seconds that it took."""

    number: int
    name: str
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds of a process and of those of its descendants that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def run(folder: Path, arguments: list[str]) -> list[Stage]:
    """Run the driver of a clone to its end and return its stages."""
    environment = {**os.environ, "DLD_VENV": sys.prefix, "PYTHONPATH": str(folder)}
    # Not ./run.sh: it would install the clone into the environment.
    command = ["recipes/mini/run.sh", *arguments]
    driver = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    stages = [Stage(0, "before the first stage")]
    cpu, wall = 0.0, time.perf_counter()
    for line in driver.stdout:
        print(line, end="", flush=True)
        found = STAGE.match(line)
        if found or line.startswith("== done"):
            now = cpu_seconds(driver.pid), time.perf_counter()
            stages[-1].cpu_seconds, stages[-1].wall_seconds = now[0] - cpu, now[1] - wall
            cpu, wall = now
            if found:
                stages.append(Stage(int(found[1]), found[2]))
    if driver.wait():
        sys.exit(f"main_job.py: error: {' '.join(command)} ended with status {driver.returncode}")
    return stages


def main() -> None:
    """Clone, run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", type=boolean, default=False, help="`./run.sh mini --quick true`")
    parser.add_argument("--output", help="JSON file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        stages = run(Path(folder), ["--quick", "true"] if arguments.quick else [])
    print("\n| stage | processor seconds | wall seconds |\n|---|--:|--:|")
    for stage in stages:
        print(f"| {stage.number}: {stage.name} | {stage.cpu_seconds:.0f} | {stage.wall_seconds:.0f} |")
    total = sum(stage.cpu_seconds for stage in stages)
    print(f"| all | {total:.0f} | {sum(stage.wall_seconds for stage in stages):.0f} |")
    if arguments.output:
        about = {"git": git_hash(), "processor": processor(), "versions": versions(), "quick": arguments.quick}
        write_json(arguments.output, {**about, "cpu_seconds": total, "stages": [vars(stage) for stage in stages]})


if __name__ == "__main__":
    main()
