"""The report of an experiment folder: `README.md`, `results.json`, pictures and transcripts in one folder."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dld import provenance
from dld.errors import DldError
from dld.files import atomic_write, read_lines
from dld.reporting import compare, folds, plots, tables, transcripts
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


def make_report(
    exps: Sequence[str | Path], output: Path, options: ReportOptions, command: str, notes: str = ""
) -> Results:
    """Write the report of an experiment folder; `results.json` comes last, so where it is the report is whole.

    Parameters
    ----------
    exps : sequence of str or Path
        Holds `<run>/decode_<set>_n<depth>[_<variant>]/`, scored, and the runs' logs. Several: the folds of a
        cross-validation, with the same runs in each.
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
        As `collect`, `training_curves` and `folds.pooled`, or a baseline has no decodes.
    """
    folders = folds.names_of([Path(exp) for exp in exps]) if len(exps) > 1 else {"": Path(exps[0])}
    parts = {name: collect(folder, options.systems) for name, folder in folders.items()}
    decodes = folds.pooled(parts) if len(parts) > 1 else parts[""]
    results = measure(folders, parts, decodes, options, command)
    with atomic_write(output / "transcripts.md") as out:
        out.write(transcripts.page(decodes, results.title, options.transcripts))
    render(results, output, notes)
    results.save(output / NUMBERS)
    return results


def measure(
    folders: Mapping[str, Path],
    parts: Mapping[str, list[ScoredDecode]],
    decodes: list[ScoredDecode],
    options: ReportOptions,
    command: str,
) -> Results:
    """Return the numbers of a report.

    Parameters
    ----------
    folders, parts : mapping
        Name of the fold ("" where there is one experiment) → its folder, and its decodes.
    decodes : list of ScoredDecode
        What is compared: those of the experiment, or pooled ones.
    options, command
        As in `make_report`.
    """
    baselines = [_line_of(decodes, name) for name in options.baselines or ()] or ["ld"]
    sampling = (options.replicates, options.seed)
    curves = {
        name: [folds.of_fold(name, curve) for curve in training_curves(folders[name], own)]
        for name, own in parts.items()
    }
    # The time of an utterance is not that of a fold.
    first, *_ = parts
    timed = [folds.of_fold(first, latency) for latency in latencies(folders[first], parts[first])]
    return Results(
        title=options.title,
        rows=[folds.of_fold(name, row(decode, *sampling)) for name, own in parts.items() for decode in own],
        summary=compare.summary(decodes, *sampling),
        comparisons=[entry for name in baselines for entry in compare.comparisons(decodes, name, *sampling)],
        training=[curve for own in curves.values() for curve in own],
        convergence=[entry for own in curves.values() for entry in compare.convergence(own, baselines[0])],
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
        latency=timed or None,
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
