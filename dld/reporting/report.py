"""The report of an experiment folder: `README.md`, `results.json`, pictures and transcripts in one folder."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from dld import provenance
from dld.errors import DldError
from dld.files import atomic_write, read_lines
from dld.reporting import compare, plots, tables, transcripts
from dld.reporting.collect import ScoredDecode, collect, latencies, row, system_order, training_curves
from dld.reporting.results import Environment, Results

PAGE, NUMBERS, NOTES = "README.md", "results.json", "notes.md"


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes
    ----------
    systems : list of str, optional
        Default: all that are there.
    baselines : list of str, optional
        What the other systems are compared with; the first one's last validation error rate is the target of training.
        Default: ld, where it is there.
    title : str
        Title of page and pictures.
    transcripts : int
        Sample utterances of each test set.
    replicates, seed : int
        Draws and seed of the bootstrap.
    """

    systems: list[str] | None = None
    baselines: list[str] | None = None
    title: str = "Error rate and compute at every depth"
    transcripts: int = 8
    replicates: int = 10000
    seed: int = 0


def make_report(exp: str | Path, output: Path, options: ReportOptions, command: str, notes: str = "") -> Results:
    """Write the report of an experiment folder; `results.json` comes last, so where it is the report is whole.

    Parameters
    ----------
    exp : str or Path
        Holds `<run>/decode_<set>_n<depth>[_<variant>]/`, scored, and the runs' logs.
    output : Path
        Folder for the files.
    options : ReportOptions
    command : str
        What made it, for the page.
    notes : str
        Markdown that follows the page's head.

    Raises
    ------
    DldError
        As `collect` and `training_curves`, or a baseline has no decodes.
    """
    decodes = collect(exp, options.systems)
    results = measure(exp, decodes, options, command)
    with atomic_write(output / "transcripts.md") as out:
        out.write(transcripts.page(decodes, results.title, options.transcripts))
    render(results, output, notes)
    results.save(output / NUMBERS)
    return results


def measure(exp: str | Path, decodes: list[ScoredDecode], options: ReportOptions, command: str) -> Results:
    """Return the numbers of a report."""
    baselines = [_line_of(decodes, name) for name in options.baselines or ()] or ["ld"]
    curves = training_curves(exp, decodes)
    sampling = (options.replicates, options.seed)
    return Results(
        title=options.title,
        rows=[row(decode, *sampling) for decode in decodes],
        summary=compare.summary(decodes, *sampling),
        comparisons=[entry for name in baselines for entry in compare.comparisons(decodes, name, *sampling)],
        training=curves,
        convergence=compare.convergence(curves, baselines[0]),
        equal_transcripts=compare.equal_transcripts(decodes),
        environment=Environment(
            git=provenance.git_hash(),
            date=datetime.date.today().isoformat(),
            versions=provenance.versions(),
            cpu=provenance.processor(),
            command=command,
            replicates=options.replicates,
            seed=options.seed,
        ),
        latency=latencies(exp, decodes) or None,
    )


def _line_of(decodes: list[ScoredDecode], name: str) -> str:
    """Return the line that a baseline's name is of: that of a line, without the mark of a stopped run, or of a run."""
    present = sorted({decode.record.system for decode in decodes}, key=system_order)
    runs = {decode.run: decode.record.system for decode in decodes}
    marked = [line for line in present if line.partition(" (")[0] == name]
    if name not in runs and not marked:
        raise DldError(f"--baseline {name}: no decodes of that system; there are {', '.join(present)}")
    return marked[0] if marked else runs[name]


def render(results: Results, output: Path, notes: str = "") -> None:
    """Write the page and the pictures of results."""
    systems = {rate.system for rate in results.summary} | {curve.system for curve in results.training}
    order = sorted(systems, key=system_order)
    pictures = plots.draw(results, order, output)
    with atomic_write(output / PAGE) as out:
        out.write(tables.page(results, pictures, notes))


def read_notes(path: str | Path | None, output: Path) -> str:
    """Return the Markdown of a file, by default of `notes.md` in the output folder where there is one."""
    if path is None:
        path = output / NOTES
        if not path.is_file():
            return ""
    return "\n".join(line for _, line in read_lines(path)) + "\n"
