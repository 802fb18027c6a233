"""Which runs make up one line of a table or picture, and its name.

Runs of one system whose settings differ in nothing but the seed (or, of dedicated networks, the depth) are one line: it
shows their mean. Its name is that of the system; where the runs of a system are several lines, each is named after
the folder of its run. A run that was stopped before its last epoch is marked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dld.config.differences import NOT_OF_TRAINING, differences
from dld.config.plain import PlainSettings
from dld.errors import DldError
from dld.scoring.decodes import DecodeRecord

SETTINGS = "hyperparams.yaml"
# What may differ within a line, and what follows from it.
_FREE = ("seed", "depth")
# The order in which a reader meets the systems: the static network, the baseline, the method; then the alphabet.
ORDER = ("static", "dedicated", "ld", "dld", "dld_plus")


def system_order(name: str) -> tuple[int, str]:
    """Return the sort key of a system's name."""
    plain = name.partition(" (")[0]
    return (ORDER.index(plain) if plain in ORDER else len(ORDER), name)


class Lines:
    """The lines that the decodes of an experiment folder make up.

    Parameters
    ----------
    records : mapping of Path to DecodeRecord
        By decode directory; the folder above it is that of the run.

    Attributes
    ----------
    of_run : dict of Path to str
        Folder of a run → name of its line.
    """

    def __init__(self, records: Mapping[Path, DecodeRecord]) -> None:
        self._system: dict[Path, str] = {}
        self._stopped: dict[Path, str] = {}
        self._keys: dict[Path, set] = {}
        for path, record in records.items():
            run = path.parent
            self._system.setdefault(run, record.system)
            self._stopped[run] = record.stopped
            # The folder's name has set, depth and variant.
            self._keys.setdefault(run, set()).add((path.name, record.seed))
        self._settings = {run: _settings(run) for run in self._system}
        self.of_run: dict[Path, str] = {}
        for system in sorted(set(self._system.values())):
            self._name(system, self._grouped([run for run, own in self._system.items() if own == system]))

    def named(self, name: str) -> list[str]:
        """Return the lines that a name is of: that of a line, of a run's folder, or of a system."""
        lines = dict.fromkeys(self.of_run.values())
        found = [line for line in lines if line.partition(" (")[0] == name]
        found = found or [line for run, line in self.of_run.items() if run.name == name]
        found = found or [line for run, line in self.of_run.items() if self._system[run] == name]
        if not found:
            raise DldError(f"no decodes of system '{name}'; there are {', '.join(sorted(lines, key=system_order))}")
        return found

    def _grouped(self, runs: list[Path]) -> list[list[Path]]:
        """Return runs of one system, those of a line together; the shorter name comes first."""
        groups: list[list[Path]] = []
        for run in sorted(runs, key=lambda run: (len(run.name), run.name)):
            group = next((group for group in groups if all(self._fit(run, other) for other in group)), None)
            if group is None:
                groups.append([run])
            else:
                group.append(run)
        return groups

    def _fit(self, run: Path, other: Path) -> bool:
        """Return whether two runs of a system may be one line."""
        return not self._keys[run] & self._keys[other] and _alike(self._settings[run], self._settings[other])

    def _name(self, system: str, groups: list[list[Path]]) -> None:
        for group in groups:
            folders = [run.name for run in group]
            name = system if system in folders or len(groups) == 1 else folders[0]
            stopped = list(filter(None, (self._stopped[run] for run in group)))
            if stopped:
                name += f" ({stopped[0]})" if len(group) == 1 else f" ({len(stopped)} of {len(group)} runs stopped)"
            if name in self.of_run.values():
                name = f"{folders[0]} ({system})"
            self.of_run |= dict.fromkeys(group, name)


def _settings(run: Path) -> dict[str, Any] | None:
    """Return the settings of a run, None where they are not there or cannot be read."""
    try:
        return PlainSettings(run / SETTINGS, finished=False).values
    except DldError:
        return None


def _alike(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Return whether settings differ in nothing but the seed, the depth and what follows from them; unknown ones do."""
    if one is None or other is None:
        return True
    free = [(one.get(key), other.get(key)) for key in _FREE]
    free += [([old], [new]) for old, new in free]
    found = differences(one, other, other, NOT_OF_TRAINING)
    return all((difference.old, difference.new) in free for difference in found)
