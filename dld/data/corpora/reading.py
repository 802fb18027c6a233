"""What reading a corpus as it is distributed needs: problems counted, audio checked to its end, a table of counts."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dld.data import audio as audio_reader
from dld.errors import DldError
from dld.files import read_lines
from dld.progress import bar

logger = logging.getLogger(__name__)

SHOWN = 10
"""Problems of one kind that are logged one by one."""


class Problems:
    """Faults of a corpus, collected so that one run reports them all.

    Parameters
    ----------
    corpus : str or Path
        Named in messages.
    allow_partial : bool
        Leave out what is faulty and continue. Otherwise `finish` ends the command.

    Examples
    --------
    >>> problems = Problems("corpus", allow_partial=False)
    >>> problems.add("no audio", "a.stm:3", "talk X has no recording")
    >>> problems.finish()
    Traceback (most recent call last):
    dld.errors.DldError: corpus: 1 problem (no audio: 1), first a.stm:3: talk X has no recording; ...
    """

    def __init__(self, corpus: str | Path, allow_partial: bool = False):
        self.corpus = corpus
        self.allow_partial = allow_partial
        self.found: dict[str, list[str]] = {}

    def add(self, kind: str, where: str | Path, what: str) -> None:
        """Note a problem of a kind; `where` is a file with a line, a folder or an id."""
        self.found.setdefault(kind, []).append(f"{where}: {what}")

    def lines(self, path: str | Path) -> Iterator[tuple[int, str]]:
        """Yield `(line number, line)` of a UTF-8 file; a line that is not UTF-8 becomes a problem of its own."""
        for number, line in read_lines(path, lambda number, what: self.add("not UTF-8", f"{path}:{number}", what)):
            yield number, line.strip()

    @property
    def total(self) -> int:
        """Number of problems so far."""
        return sum(map(len, self.found.values()))

    def finish(self) -> None:
        """Log the problems.

        Raises
        ------
        DldError
            There are some, and a partial corpus was not allowed.
        """
        for kind, messages in self.found.items():
            for message in messages[:SHOWN]:
                logger.warning("%s", message)
            if len(messages) > SHOWN:
                logger.warning("%s: %d more problems of this kind (%s)", self.corpus, len(messages) - SHOWN, kind)
        if not self.total:
            return
        kinds = ", ".join(f"{kind}: {len(messages)}" for kind, messages in self.found.items())
        if self.allow_partial:
            logger.warning("%s: partial corpus (%s), as allowed", self.corpus, kinds)
            return
        first = next(iter(self.found.values()))[0]
        raise DldError(
            f"{self.corpus}: {self.total} problem{'s' * (self.total > 1)} ({kinds}), first {first}; "
            "complete or correct the corpus, or leave out what is faulty with --allow-partial true"
        )


def check_recordings(sources: dict[str, str], problems: Problems) -> dict[str, float]:
    """Return the seconds of each recording; one that is missing, cut short or unreadable becomes a problem instead.

    A header states the length, also of a file whose end is missing; so the last samples are decoded too.

    Parameters
    ----------
    sources : dict of str to str
        Recording id → `wav.scp` value.
    problems : Problems

    Returns
    -------
    dict of str to float
    """

    def check(item):
        name, source = item
        try:
            info = audio_reader.info(source)
            if not audio_reader.is_pipe(source):
                last = max(0.0, info.duration - 0.01)
                audio_reader.read_audio(source, start=last, sample_rate=info.sample_rate, channel=0)
            return name, info.duration
        except DldError as error:
            return name, error

    lengths = {}
    logger.info("checking %d recordings (first: %s)", len(sources), next(iter(sources.values()), None))
    # Opening is mostly waiting for the disk, so threads pay even on one core.
    with ThreadPoolExecutor(8) as pool:
        for name, length in bar(pool.map(check, sources.items()), "recordings", len(sources), "file"):
            if isinstance(length, DldError):
                problems.add("audio", name, str(length))
            else:
                lengths[name] = length
    return lengths


def format_counts(rows: dict[str, dict]) -> str:
    """Return a table of counts, one row per data directory.

    Parameters
    ----------
    rows : dict of str to dict
        Name → counts; `seconds` is shown as hours, other fractions with one digit.

    Examples
    --------
    >>> print(format_counts({"dev": {"utterances": 507, "seconds": 5760.0}}))
         utterances  hours
    dev         507   1.60
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    heads = ["hours" if name == "seconds" else name for name in names]
    width = max(map(len, rows))
    lines = [" ".join([" " * width, *(f" {head}" for head in heads)])]
    for label, row in rows.items():
        cells = []
        for name, head in zip(names, heads, strict=True):
            value = row.get(name, "-")
            if name == "seconds" and value != "-":
                value = f"{value / 3600:.2f}"
            text = f"{value:.1f}" if isinstance(value, float) else str(value)
            cells.append(f" {text:>{len(head)}}")
        lines.append(" ".join([label.ljust(width), *cells]))
    return "\n".join(lines)
