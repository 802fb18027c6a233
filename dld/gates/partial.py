"""What an interrupted search of a gate table leaves: the depths that it finished."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dld.errors import DldError
from dld.files import read_record, write_json
from dld.gates.vectors import parse_gates
from dld.records import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row(Record):
    """Result of the search at one depth.

    Attributes
    ----------
    gates : str
        The vector in the table.
    source : str
        "greedy" or "evenly-spaced".
    wer, loss : float
    evenly_spaced_wer : float
    greedy : str
        The vector from which the search closes the next gate.
    """

    gates: str
    source: str
    wer: float
    loss: float
    evenly_spaced_wer: float
    greedy: str

    def described(self) -> dict[str, Any]:
        """Return what the gate table says about the depth."""
        return {name: value for name, value in self.to_json().items() if name != "greedy"}


class Partial:
    """The finished depths of a search, on the disk.

    Parameters
    ----------
    path : Path
    made_from : mapping
        What the results depend on: hashes of model and data, batches, device. Results of others are not taken.
    """

    def __init__(self, path: Path, made_from: Mapping[str, Any]):
        self.path = path
        self.made_from = dict(made_from)

    def load(self, num_blocks: int) -> dict[int, Row]:
        """Return depth → result, from full depth downwards; empty where the file is missing, damaged or of others."""
        if not self.path.exists():
            return {}
        try:
            content = read_record(self.path, {"num_blocks": int, "made_from": dict, "depths": dict})
            if content["made_from"] != self.made_from or content["num_blocks"] != num_blocks:
                logger.info("%s is of another model or other data; the search begins at full depth", self.path)
                return {}
            rows = {}
            for n in range(num_blocks, num_blocks - len(content["depths"]), -1):
                row = Row.from_json(content["depths"][str(n)], f"{self.path}: depth {n}")
                for gates in (row.gates, row.greedy):
                    if sum(parse_gates(gates, num_blocks)) != n:
                        raise DldError(f"{self.path}: depth {n}: {gates} has another")
                rows[n] = row
        except (DldError, KeyError) as error:
            logger.warning("what an interrupted search left cannot be used, it begins at full depth: %s", error)
            return {}
        return rows

    def save(self, num_blocks: int, rows: Mapping[int, Row]) -> None:
        """Write the results so far, whole or not at all."""
        depths = {str(n): row.to_json() for n, row in rows.items()}
        write_json(self.path, {"num_blocks": num_blocks, "made_from": self.made_from, "depths": depths})

    def remove(self) -> None:
        """Remove the file, when the table is safe."""
        self.path.unlink(missing_ok=True)
