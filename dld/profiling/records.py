"""What `latency_<set>.json` holds, the time of an utterance under each network and depth; what a busy machine is."""

from dataclasses import dataclass
from pathlib import Path

from dld.errors import DldError
from dld.files import read_json, write_json
from dld.records import Record

AGAIN = "measure again (dld latency)"
#: Above these the machine was busy: wall time over processor time, and range of the rounds' medians over their middle.
BUSY_RATIO, BUSY_SPREAD = 1.1, 20.0


@dataclass(frozen=True, kw_only=True)
class Timing(Record):
    """Time from waveform to text of a network under one gate vector, in milliseconds for an utterance.

    Attributes
    ----------
    run, system : str
        Folder and system of the network; `seed` and `model_sha256` are as in `decode.json`.
    gates : str
        The gate vector, such as `101100`.
    median_ms, p95_ms : float
        Quantiles of the wall time over all utterances and rounds.
    cpu_ms : float
        Median of the processor time of the thread that computes.
    spread_percent : float
        Range of the rounds' medians, relative to the median.
    round_medians_ms : list of float
        The median of each round.
    """

    run: str
    system: str
    seed: int | None = None
    model_sha256: str | None = None
    depth: int
    num_blocks: int
    gates: str
    policy: str
    median_ms: float
    p95_ms: float
    cpu_ms: float
    spread_percent: float
    round_medians_ms: list[float]

    def __post_init__(self) -> None:
        """Raise a `DldError` if a time is not positive."""
        for name in ("median_ms", "p95_ms", "cpu_ms"):
            if not getattr(self, name) > 0:
                raise DldError(f"{name} is {getattr(self, name)!r}, a positive number was expected; {AGAIN}")


@dataclass(frozen=True, kw_only=True)
class Latency(Record):
    """One measurement, in which all networks and depths took turns on the same utterances.

    `seconds` are the durations of `utterances`; `wall_over_cpu` is the wall time of everything over its processor time,
    1 where nothing else ran on the processor; `load` is the system's load average over a minute, when it began.
    """

    test_set: str
    utterances: list[str]
    seconds: list[float]
    rounds: int
    threads: int
    device: str
    precision: str
    cpu: str
    load: float | None
    wall_over_cpu: float
    versions: dict
    git: str
    date: str
    timings: list[Timing]

    def __post_init__(self) -> None:
        """Raise a `DldError` if nothing was measured."""
        if not self.timings or not self.utterances or len(self.utterances) != len(self.seconds):
            raise DldError(f"timings, utterances and seconds must have values, the last two the same number; {AGAIN}")

    @classmethod
    def load_file(cls, path: str | Path) -> "Latency":
        """Read a `latency_<set>.json`; a `DldError` names what it lacks or what is wrong in it."""
        return cls.from_json(read_json(path), str(path), AGAIN)

    def save(self, path: str | Path) -> None:
        """Write a `latency_<set>.json`."""
        write_json(path, self.to_json())

    def warning(self) -> str | None:
        """Return what is wrong with the machine in a sentence; None where it was idle."""
        return busy(self.wall_over_cpu, max(timing.spread_percent for timing in self.timings))


def busy(wall_over_cpu: float | None, spread_percent: float) -> str | None:
    """Return what is wrong with a machine in a sentence; None where it was idle.

    Parameters
    ----------
    wall_over_cpu : float or None
        Of one thread, where that was measured.
    spread_percent : float
        The largest range of the rounds' medians, relative to the median.
    """
    if (wall_over_cpu or 1.0) <= BUSY_RATIO and spread_percent <= BUSY_SPREAD:
        return None
    waited = "" if wall_over_cpu is None else f"wall time was {wall_over_cpu:.2f} times the processor time, and "
    return (
        f"the machine was busy: {waited}a median varied by up to {spread_percent:.0f} % between the rounds; measure "
        "again on an idle machine"
    )
