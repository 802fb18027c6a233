"""The tables of `dld bench`, in Markdown."""

from dld.profiling.bench_records import Bench, Ratio, Row
from dld.reporting.markdown import escape, table


def page(bench: Bench, picture: str | None = None) -> str:
    """Return what `dld bench` prints and writes; `picture` is the name of a file next to it."""
    seconds = bench.seconds
    lines = [
        "# Bench",
        f"{len(seconds)} utterances of {bench.test_set}, {min(seconds):.1f} to {max(seconds):.1f} s, from waveform to "
        f"text, one at a time; {bench.rounds} rounds in which all took turns; {bench.cpu}, commit `{bench.git}`.",
    ]
    if warning := bench.warning():
        lines.append(f"**Warning:** {warning}. Processor times and their ratios are less affected.")
    if picture:
        lines.append(f"![Time of an utterance at each depth]({picture})")
    lines += ["## Files", _files(bench)]
    for threads in sorted({row.threads for row in bench.rows}):
        rows = [row for row in bench.rows if row.threads == threads]
        lines += [f"## {threads} thread{'s' if threads > 1 else ''}", _times(rows)]
        if any(row.spinning for row in rows):
            lines += ["Threads that spin while they wait, over threads that sleep:", _spinning(rows)]
    if any(row.start for row in bench.rows):
        lines += ["## Start", "A new process, until its first text; memory after all utterances.", _starts(bench)]
    return "\n\n".join(lines) + "\n"


def _files(bench):
    first = bench.subjects[0]
    heads = ["model", "what", "precision", "MB", "times the first"]
    return table(
        heads,
        (
            [escape(one.name), one.kind, one.precision, f"{one.bytes / 1e6:.2f}", f"{one.bytes / first.bytes:.2f}"]
            for one in bench.subjects
        ),
        right_from=3,
    )


def _times(rows: list[Row]) -> str:
    heads = [
        "model",
        "depth",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "RTF",
        "processor, ms",
        "over the first",
        "over full depth",
    ]
    return table(
        heads,
        (
            [escape(row.name), row.depth, *(f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms))]
            + [f"{row.rtf:.4f}", f"{row.cpu_ms:.1f}", _ratio(row, row.over_first), _ratio(row, row.over_full)]
            for row in rows
            if not row.spinning
        ),
    )


def _spinning(rows: list[Row]) -> str:
    heads = ["model", "depth", "p50, ms", "p99, ms", "processor, ms", "wall, times", "processor, times"]
    return table(
        heads,
        (
            [escape(row.name), row.depth, f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", f"{row.cpu_ms:.1f}"]
            + [f"{row.over_sleeping.wall:.2f}", f"{row.over_sleeping.cpu:.2f}"]
            for row in rows
            if row.over_sleeping
        ),
    )


def _ratio(row: Row, ratio: Ratio | None) -> str | None:
    """Return a ratio of one thread's processor time, or of several threads' wall time."""
    return None if ratio is None else f"{ratio.cpu if row.threads == 1 else ratio.wall:.3f}"


def _starts(bench):
    heads = [
        "model",
        "depth",
        "threads",
        "import, s",
        "load, s",
        "first text, s",
        "all, s",
        "processor, s",
        "peak, MiB",
    ]
    return table(
        heads,
        (
            [escape(row.name), row.depth, row.threads]
            + [f"{ms / 1e3:.2f}" for ms in (row.start.import_ms, row.start.load_ms, row.start.first_ms)]
            + [f"{row.start.total_ms / 1e3:.2f}", f"{row.start.cpu_ms / 1e3:.2f}"]
            + [None if row.start.peak_mib is None else f"{row.start.peak_mib:.0f}"]
            for row in bench.rows
            if row.start
        ),
    )
