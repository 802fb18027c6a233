"""What reading a corpus as it is distributed needs, whatever the corpus: problems counted, audio checked to its end."""

import logging
from concurrent.futures import ThreadPoolExecutor

from dld.data import audio as audio_reader
from dld.errors import DldError

logger = logging.getLogger(__name__)

SHOWN = 10
"""Problems of one kind that are told one by one."""


class Problems:
    """Faults of a corpus, collected so that one run tells of them all.

    Parameters
    ----------
    place : str or Path
        The corpus, named in messages.
    allow_partial : bool
        Leave out what is faulty and go on. Otherwise `finish` ends the command.

    Examples
    --------
    >>> problems = Problems("corpus", allow_partial=False)
    >>> problems.add("no audio", "a.stm:3", "talk X has no recording")
    >>> problems.finish()
    Traceback (most recent call last):
    dld.errors.DldError: corpus: 1 problem (no audio: 1), first a.stm:3: talk X has no recording; ...
    """

    def __init__(self, place, allow_partial=False):
        self.place = place
        self.allow_partial = allow_partial
        self.found = {}

    def add(self, kind, where, what):
        """Note a problem of a kind; `where` is a file with a line, a folder or an id."""
        self.found.setdefault(kind, []).append(f"{where}: {what}")

    @property
    def total(self):
        """Number of problems so far."""
        return sum(map(len, self.found.values()))

    def finish(self):
        """Tell of the problems.

        Raises
        ------
        DldError
            There are some, and a partial corpus was not allowed.
        """
        for kind, messages in self.found.items():
            for message in messages[:SHOWN]:
                logger.warning("%s", message)
            if len(messages) > SHOWN:
                logger.warning("%s: %d more problems of this kind (%s)", self.place, len(messages) - SHOWN, kind)
        if not self.total:
            return
        kinds = ", ".join(f"{kind}: {len(messages)}" for kind, messages in self.found.items())
        if self.allow_partial:
            logger.warning("%s: partial corpus (%s), as allowed", self.place, kinds)
            return
        first = next(iter(self.found.values()))[0]
        raise DldError(
            f"{self.place}: {self.total} problem{'s' * (self.total > 1)} ({kinds}), first {first}; "
            "complete or correct the corpus, or leave out what is faulty with --allow-partial true"
        )


def decoded_lines(path, problems):
    """Yield `(line number, line)` of a UTF-8 file; a line that is not UTF-8 becomes a problem of its own."""
    with open(path, "rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                yield number, raw.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                problems.add("not UTF-8", f"{path}:{number}", f"not UTF-8 text ({error.reason} at byte {error.start})")


def check_recordings(sources, problems):
    """Seconds of each recording; one that is missing, cut short or unreadable becomes a problem and is left out.

    A header tells the length, also of a file whose end is missing; so the last samples are decoded too.

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
        for name, length in pool.map(check, sources.items()):
            if isinstance(length, DldError):
                problems.add("audio", name, str(length))
            else:
                lengths[name] = length
    return lengths


def format_counts(rows):
    """A table of counts, one row per data directory.

    Parameters
    ----------
    rows : dict of str to dict
        Name → counts; `seconds` is shown as hours.

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
            text = f"{value / 3600:.2f}" if name == "seconds" and value != "-" else str(value)
            cells.append(f" {text:>{len(head)}}")
        lines.append(" ".join([label.ljust(width), *cells]))
    return "\n".join(lines)
