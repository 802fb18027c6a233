"""Time, memory, size and start of models at each depth, all of them taking turns."""

import contextlib
import datetime
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dld import provenance
from dld.errors import DldError
from dld.gates import depth, format_gates
from dld.packs.metadata import METADATA, is_pack
from dld.profiling.bench_records import Bench, Ratio, Row, Subject
from dld.profiling.latency import Times, take_turns, threads, transcribing
from dld.profiling.start import started
from dld.recognition.base import Recognizer
from dld.recognition.pack import PackRecognizer

#: What `dld.load_model` reads of an experiment's folder.
READ = ("hyperparams.yaml", "model.json", "model.safetensors", "bpe.model")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes
    ----------
    depths : list of int
        Full depth is always measured.
    policy : str, optional
        Gate policy (default: that of each model).
    threads : list of int
    rounds : int
    seconds : float
        No further round of a number of threads begins after this time.
    starts : int
        Processes that are started for each model, depth and number of threads; the one of the median time counts.
    whole : bool
        Whether the graphs of each pack are also joined to one.
    """

    depths: Sequence[int]
    policy: str | None = None
    threads: Sequence[int] = (1, 2)
    rounds: int = 5
    seconds: float = 60.0
    starts: int = 1
    whole: bool = True


@dataclass(frozen=True)
class Sample:
    """Utterances of a test set, as float32 arrays (samples,)."""

    test_set: str
    ids: list[str]
    waveforms: list[np.ndarray]
    sample_rate: int

    @property
    def seconds(self) -> list[float]:
        """Durations."""
        return [len(waveform) / self.sample_rate for waveform in self.waveforms]


class Candidate(NamedTuple):
    """A model that is measured: what it is, its folder, and what loads it with a number of threads, spinning or not."""

    subject: Subject
    folder: Path
    load: Callable[[int, bool], Recognizer]


class Entry(NamedTuple):
    """One call that takes turns with others."""

    candidate: Candidate
    recognizer: Recognizer
    gates: tuple[bool, ...]


def candidates(models: Sequence[str | Path], whole: bool = True) -> list[Candidate]:
    """Return what is measured of some models: each of them, and for packs the single graph, if `whole`.

    Parameters
    ----------
    models : list of str or Path
        Folders of experiments and packs.
    whole : bool
    """
    names = [Path(os.path.abspath(model)).name for model in models]
    found = []
    for model, name in zip(models, names, strict=True):
        name = name if names.count(name) == 1 else str(model)
        found += _of_pack(Path(model), name, whole) if is_pack(model) else [_of_experiment(Path(model), name)]
    return found


def _of_experiment(folder: Path, name: str) -> Candidate:
    from dld.recognition.eager import load_experiment

    recognizer = load_experiment(folder)
    size = sum((folder / file).stat().st_size for file in READ)
    subject = Subject(
        name=name,
        kind="network",
        precision="float32",
        bytes=size,
        num_blocks=recognizer.num_blocks,
        state_sha256=recognizer.state_sha256,
    )
    # Its threads are those of torch.
    return Candidate(subject, folder, lambda threads, spinning: recognizer)


def _of_pack(folder: Path, name: str, whole: bool) -> list[Candidate]:
    about = PackRecognizer(folder).metadata
    size = (folder / METADATA).stat().st_size + sum(record["bytes"] for record in about.files.values())
    subject = Subject(
        name=name,
        kind="pack",
        precision=about.precision,
        bytes=size,
        num_blocks=about.num_blocks,
        state_sha256=about.model.state_sha256,
    )
    found = [Candidate(subject, folder, partial(PackRecognizer, folder))]
    if whole:
        from dld.profiling.whole import WholeGraph

        graph = replace(subject, name=f"{name}, one graph", kind="one graph", bytes=WholeGraph(folder).bytes)
        found.append(Candidate(graph, folder, partial(WholeGraph, folder)))
    return found


def bench(models: Sequence[str | Path], sample: Sample, plan: Plan) -> Bench:
    """Measure models on a sample.

    For each number of threads all models and depths take turns on each utterance, and afterwards the packs alone with
    threads that spin: those would take time from others.

    Raises
    ------
    DldError
        A model cannot be loaded or has not that depth, or the models have different numbers of blocks.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = candidates(models, plan.whole)
    blocks = {candidate.subject.num_blocks for candidate in found}
    if len(blocks) > 1:
        raise DldError(f"the models have {' and '.join(map(str, sorted(blocks)))} blocks; measure them separately")
    rows: list[Row] = []
    rounds, ratios = plan.rounds, []
    for number in plan.threads:
        times, some = _group(found, sample, plan, number, spinning=False)
        rounds = min(rounds, len(times.wall))
        if number == 1:
            ratios.append(float(times.wall.sum() / times.cpu.sum()))
        graphs = [candidate for candidate in found if candidate.subject.kind != "network"]
        if number > 1 and graphs:
            _, spun = _group(graphs, sample, plan, number, spinning=True)
            some += [_over_sleeping(row, some) for row in spun]
        rows += some
    if plan.starts:
        rows = _with_starts(rows, found, sample, plan.starts)
    return Bench(
        test_set=sample.test_set,
        utterances=sample.ids,
        seconds=[round(seconds, 3) for seconds in sample.seconds],
        rounds=rounds,
        cpu=provenance.processor(),
        load=load,
        wall_over_cpu=round(ratios[0], 4) if ratios else None,
        versions=provenance.versions(),
        git=provenance.git_hash(),
        date=datetime.date.today().isoformat(),
        subjects=[candidate.subject for candidate in found],
        rows=rows,
    )


def _group(
    found: Sequence[Candidate], sample: Sample, plan: Plan, number: int, spinning: bool
) -> tuple[Times, list[Row]]:
    """Return the times of all models and depths with a number of threads, and their rows."""
    entries = []
    for candidate in found:
        recognizer = candidate.load(number, spinning)
        if recognizer.sample_rate != sample.sample_rate:
            raise DldError(
                f"{candidate.folder}: takes {recognizer.sample_rate} Hz, the first model {sample.sample_rate}"
            )
        full = recognizer.num_blocks
        depths = [full] if candidate.subject.kind == "one graph" else sorted({*plan.depths, full})
        for n in depths:
            entries.append(Entry(candidate, recognizer, recognizer.gate_vector(depth=n, policy=plan.policy)))
    calls = [transcribing(entry.recognizer, sample.waveforms, entry.gates) for entry in entries]
    eager = any(entry.candidate.subject.kind == "network" for entry in entries)
    with threads(number) if eager else contextlib.nullcontext():
        times = take_turns(calls, len(sample.ids), plan.rounds, plan.seconds, time.process_time)
    return times, [_row(entries, times, index, sample, number, spinning) for index in range(len(entries))]


def _row(entries: Sequence[Entry], times: Times, index: int, sample: Sample, number: int, spinning: bool) -> Row:
    entry = entries[index]

    def over(other: Callable[[Entry], bool]) -> Ratio | None:
        position = next((i for i, one in enumerate(entries) if other(one)), index)
        if position == index:
            return None
        wall, cpu = (float(np.median(part[:, index] / part[:, position])) for part in (times.wall, times.cpu))
        return Ratio(wall=round(wall, 4), cpu=round(cpu, 4))

    first = entries[0].candidate
    return Row(
        name=entry.candidate.subject.name,
        kind=entry.candidate.subject.kind,
        depth=depth(entry.gates),
        gates=format_gates(entry.gates),
        threads=number,
        spinning=spinning,
        p50_ms=round(times.median_ms(index), 3),
        p95_ms=round(times.percentile_ms(index, 95), 3),
        p99_ms=round(times.percentile_ms(index, 99), 3),
        cpu_ms=round(times.cpu_ms(index), 3),
        rtf=round(float(np.median(times.wall[:, index].sum(axis=1))) / sum(sample.seconds), 5),
        spread_percent=round(times.spread_percent(index), 2),
        over_first=over(lambda one: one.candidate is first and depth(one.gates) == depth(entry.gates)),
        over_full=over(lambda one: one.candidate is entry.candidate and all(one.gates)),
    )


def _over_sleeping(row: Row, others: Sequence[Row]) -> Row:
    sleeping = next(one for one in others if (one.name, one.gates) == (row.name, row.gates))
    ratio = Ratio(wall=round(row.p50_ms / sleeping.p50_ms, 4), cpu=round(row.cpu_ms / sleeping.cpu_ms, 4))
    return replace(row, over_first=None, over_sleeping=ratio)


def _with_starts(rows: Sequence[Row], found: Sequence[Candidate], sample: Sample, number: int) -> list[Row]:
    """Return the rows with what a new process needs; the models take turns in that, too."""
    folders = {candidate.subject.name: candidate.folder for candidate in found}
    timed = [index for index, row in enumerate(rows) if row.kind != "one graph" and not row.spinning]
    with tempfile.TemporaryDirectory(prefix="dld-") as folder:
        waveforms = Path(folder) / "waveforms.npz"
        np.savez(waveforms, *sample.waveforms)
        turns = [
            [started(folders[rows[i].name], rows[i].gates, rows[i].threads, waveforms) for i in timed]
            for _ in range(number)
        ]
    rows = list(rows)
    for index, starts in zip(timed, zip(*turns, strict=True), strict=True):
        middle = sorted(starts, key=lambda start: start.cpu_ms)[len(starts) // 2]
        rows[index] = replace(rows[index], start=middle)
    return rows
