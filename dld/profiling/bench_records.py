"""What `bench.json` holds: time, memory, size and start of models at each depth."""

from dataclasses import dataclass
from pathlib import Path

from dld.errors import DldError
from dld.files import read_json, write_json
from dld.profiling.records import busy
from dld.profiling.start import Start
from dld.records import Record, optional

AGAIN = "measure again (dld bench)"


@dataclass(frozen=True, kw_only=True)
class Ratio(Record):
    """A time over another one: wall time, and processor time, which other programs on the machine hardly change."""

    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Subject(Record):
    """What was measured.

    Attributes
    ----------
    name : str
        Folder of the model; of a single graph with `, one graph` after it.
    kind : {"network", "pack", "one graph"}
        In PyTorch; the graphs of a pack; the same joined to one, which runs at full depth only.
    precision : str
    bytes : int
        Of the files that are read.
    num_blocks : int
    state_sha256 : str, optional
        Of the weights, see `ModelRecord`.
    """

    name: str
    kind: str
    precision: str
    bytes: int
    num_blocks: int
    state_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row(Record):
    """A model under one gate vector and a number of threads.

    Attributes
    ----------
    name, kind : str
        As in its `Subject`.
    spinning : bool
        Whether threads of a graph spin while they wait. A single thread does not wait.
    p50_ms, p95_ms, p99_ms : float
        Quantiles of the wall time of an utterance, from waveform to text, over all utterances and rounds.
    cpu_ms : float
        Median of the processor time of all threads.
    rtf : float
        Wall time over the duration of the audio, in the median round.
    spread_percent : float
        Range of the rounds' medians, relative to the median.
    over_first : Ratio, optional
        Over the time of the first model at this depth and number of threads: the median over utterances and rounds, in
        which both took turns.
    over_full : Ratio, optional
        Over the time of the same model at full depth, likewise.
    over_sleeping : Ratio, optional
        Of threads that spin: median over the median where they sleep, which was measured just before.
    start : Start, optional
        In a process of its own.
    """

    name: str
    kind: str
    depth: int
    gates: str
    threads: int
    spinning: bool
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    rtf: float
    spread_percent: float
    over_first: Ratio | None = optional()
    over_full: Ratio | None = optional()
    over_sleeping: Ratio | None = optional()
    start: Start | None = optional()


@dataclass(frozen=True, kw_only=True)
class Bench(Record):
    """One measurement.

    `seconds` are the durations of `utterances`; `wall_over_cpu` is the wall time of one thread over its processor time,
    None where only several threads were measured; `load` is the system's load average when it began.
    """

    test_set: str
    utterances: list[str]
    seconds: list[float]
    rounds: int
    cpu: str
    load: float | None
    wall_over_cpu: float | None
    versions: dict
    git: str
    date: str
    subjects: list[Subject]
    rows: list[Row]

    def __post_init__(self) -> None:
        """Raise a `DldError` if nothing was measured."""
        if not self.rows or not self.subjects or len(self.utterances) != len(self.seconds):
            raise DldError(f"rows, subjects, utterances and seconds must have values, the last two as many; {AGAIN}")

    @classmethod
    def load_file(cls, path: str | Path) -> "Bench":
        """Read a `bench.json`; a `DldError` names what it lacks or what is wrong in it."""
        return cls.from_json(read_json(path), str(path), AGAIN)

    def save(self, path: str | Path) -> None:
        """Write a `bench.json`."""
        write_json(path, self.to_json())

    def warning(self) -> str | None:
        """Return what is wrong with the machine in a sentence; None where it was idle."""
        return busy(self.wall_over_cpu, max(row.spread_percent for row in self.rows))
