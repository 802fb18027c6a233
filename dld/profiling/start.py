"""Time from starting a program to its first text, and the program's memory; each time in a process of its own.

`started` runs this module as a program, which imports at its top what Python itself has.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dld.errors import DldError
from dld.records import Record


@dataclass(frozen=True, kw_only=True)
class Start(Record):
    """What a process needs that transcribes with one model, in milliseconds and MiB.

    Attributes
    ----------
    import_ms, load_ms, first_ms : float
        Wall time until Python has started and the libraries are imported, of loading the model, and of the first text.
    total_ms, cpu_ms : float
        Wall and processor time from the start of the process to the first text.
    peak_mib : float, optional
        Largest memory of the process after all utterances; None where the operating system does not say it.
    """

    import_ms: float
    load_ms: float
    first_ms: float
    total_ms: float
    cpu_ms: float
    peak_mib: float | None


def started(model: str | Path, gates: str, threads: int, waveforms: Path) -> Start:
    """Return what a new process needs that loads a model and transcribes under a gate vector.

    Parameters
    ----------
    model : str or Path
        Folder of an experiment or a pack.
    gates : str
    threads : int
    waveforms : Path
        A file of `numpy.savez`.
    """
    command = [sys.executable, "-m", "dld.profiling.start", str(model), gates, str(threads), str(waveforms)]
    done = subprocess.run([*command, repr(time.monotonic())], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise DldError(f"{model}: cannot be run in a new process: {lines[-1]}")
    return Start.from_json(json.loads(done.stdout.splitlines()[-1]), str(model))


def peak_mib() -> float | None:
    """Return the largest memory of this process.

    `resource.getrusage` would let it begin with the memory of the process that started it.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        return None


def main(argv: Sequence[str]) -> None:
    """Transcribe, and print a `Start` as JSON."""
    model, gates, threads, waveforms, began = argv
    marks = [float(began)]
    from dld.packs.metadata import is_pack

    packed = is_pack(model)
    if packed:
        import onnxruntime  # noqa: F401

        import dld.recognition.pack  # noqa: F401
    else:
        import torch

        import dld.recognition.eager  # noqa: F401

        torch.set_num_threads(int(threads))
    from dld.recognition.loading import load_model

    marks.append(time.monotonic())
    recognizer = load_model(model, threads=int(threads) if packed else None)
    marks.append(time.monotonic())
    import numpy as np

    with np.load(waveforms) as arrays:
        audio = [arrays[name] for name in arrays.files]
    recognizer.transcribe(audio[0], gates=gates, sample_rate=recognizer.sample_rate)
    marks.append(time.monotonic())
    used = time.process_time()
    for waveform in audio[1:]:
        recognizer.transcribe(waveform, gates=gates, sample_rate=recognizer.sample_rate)
    importing, loading, first = (
        round(1e3 * (after - before), 1) for before, after in zip(marks[:-1], marks[1:], strict=True)
    )
    start = Start(
        import_ms=importing,
        load_ms=loading,
        first_ms=first,
        total_ms=round(1e3 * (marks[-1] - marks[0]), 1),
        cpu_ms=round(1e3 * used, 1),
        peak_mib=peak_mib(),
    )
    print(json.dumps(start.to_json()))


if __name__ == "__main__":
    main(sys.argv[1:])
