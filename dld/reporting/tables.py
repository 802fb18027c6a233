"""The page of a report: its tables in Markdown."""

from collections.abc import Sequence

from dld.profiling.records import Latency, Timing
from dld.reporting.captions import caption
from dld.reporting.headline import headline
from dld.reporting.markdown import NONE, table
from dld.reporting.results import Comparison, Convergence, Environment, Rate, Results, Row

ABOUT = (
    "Word error rates in percent with 95 % bootstrap intervals over utterances (Bisani and Ney, 2004). GMAC/s: 10⁹ "
    "multiply-accumulates per second of audio."
)
WHAT_RAN = (
    "What ran for each of these (1: the block ran, 0: it was skipped; start: whose weights were the "
    "start, scratch: nobody's; params: those that ran):"
)
SEVERAL_SEEDS = " Where a system has several seeds, rate and interval are those of their mean."


def page(results: Results, pictures: Sequence[str], notes: str = "") -> str:
    """Return the page of a `results.json`.

    Parameters
    ----------
    results : Results
    pictures : sequence of str
        Names of files next to the page.
    notes : str
        Markdown that follows the head.
    """
    environment = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    several = max(len(rate.seeds) for rate in results.summary) > 1
    parts = [
        f"# {results.title}",
        headline(results),
        f"`git {environment.git}` · {environment.date} · {environment.cpu} · {versions}",
        *([notes.strip()] if notes.strip() else []),
        ABOUT + (SEVERAL_SEEDS if several else ""),
        *(part for name in pictures for part in (f"![{name.partition('.')[0]}]({name})", caption(results, name))),
    ]
    for test_set in dict.fromkeys(row.test_set for row in results.rows):
        parts += _test_set(results, test_set)
    parts += ["## Training", _training_text(results), _training_table(results.rows, results.convergence)]
    parts.append(
        f"Made by `{environment.command}` from the scored decode directories; nothing here is typed by hand."
        if not notes.strip()
        else f"Tables and pictures: `{environment.command}`, from the scored decode directories."
    )
    return "\n\n".join(parts) + "\n"


def _test_set(results, test_set):
    """Return the paragraphs of one test set."""
    rows, rates, compared, equal = (
        [entry for entry in entries if entry.test_set == test_set]
        for entries in (results.rows, results.summary, results.comparisons, results.equal_transcripts)
    )
    parts = [
        f"## {test_set}",
        _size(rows),
        _overview(rates, rows, results),
        _latency_text(results.latency_of(test_set)),
    ]
    for baseline in dict.fromkeys(entry.baseline for entry in compared):
        parts += [
            _comparison_text(baseline, results.environment),
            _comparison_table([entry for entry in compared if entry.baseline == baseline], rows),
        ]
    parts += [WHAT_RAN, _details(rows, results)]
    parts += [
        f"**Look closer:** {pair.label} at depths {' and '.join(map(str, pair.depths))} has the same transcripts "
        "although the gates differ; do the gates reach the model?"
        for pair in equal
    ]
    return parts


def _size(rows):
    """Return how much a test set holds: that of all folds together."""
    folds = {row.fold: row for row in rows}
    words, utterances = (sum(getattr(row, name) for row in folds.values()) for name in ("words", "utterances"))
    said = f"{words} words in {utterances} utterances"
    if len(folds) == 1:
        return f"{said}."
    return (
        f"{said}: the test sets of {len(folds)} folds ({', '.join(folds)}) together. Every rate counts the errors on "
        "all of them, each utterance decoded by a network of its fold, which was not trained on it."
    )


def _range(values, digits=3):
    """Return the one value that several systems have in a column, or the least and the greatest."""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def _starts(labels, rows):
    """Return what the runs of each line started from: the cells of a table's last row."""
    starts = {label: dict.fromkeys(row.start or "unknown" for row in rows if row.label == label) for label in labels}
    return [", ".join(found) or None for found in starts.values()]


def _overview(rates: list[Rate], rows: list[Row], results: Results):
    labels = list(dict.fromkeys(rate.label for rate in rates))
    cells = {(rate.depth, rate.label): f"{rate.wer:.2f} [{rate.wer_low:.2f}, {rate.wer_high:.2f}]" for rate in rates}
    timed = any(results.latency_of(rate.test_set) for rate in rates)
    body = []
    for depth in sorted({rate.depth for rate in rates}):
        there = [rate for rate in rates if rate.depth == depth]
        times = [time for time in map(results.milliseconds, there) if time is not None]
        time = [_range(times, 1) if times else None] if timed else []
        body.append([depth, _range([r.gmacs_per_s for r in there]), *time, *(cells.get((depth, x)) for x in labels)])
    body.append(["start", None, *([None] if timed else []), *_starts(labels, rows)])
    return table(["depth", "GMAC/s", *(["ms"] if timed else []), *labels], body)


def _latency_text(latency: Latency | None):
    """Return how the milliseconds of a test set were measured, and a warning where the machine was busy."""
    if latency is None:
        return "The time of an utterance was not measured (`dld latency` does)."
    threads = f"{latency.threads} thread{'s' if latency.threads > 1 else ''}"
    shortest, longest = min(latency.seconds), max(latency.seconds)
    torch = latency.versions.get("torch", "unknown")
    text = (
        f"Milliseconds: from waveform to text, one utterance at a time, {latency.precision}, on {threads} of "
        f"{latency.cpu} ({latency.device}, torch {torch}). All networks and depths took turns on "
        f"{len(latency.utterances)} utterances of {shortest:.1f} to {longest:.1f} s in "
        f"{latency.rounds} rounds. Median and 95th percentile of the wall time; ±: half the range of the rounds' "
        "medians; CPU: median of the processor time. Search with a language model or a beam is not timed."
    )
    warning = latency.warning()
    return f"{text}\n\n**Warning:** {warning}." if warning else text


def _times(timing: Timing | None):
    """Return the cells of a timing: median with half the range of the rounds, 95th percentile, processor time."""
    if timing is None:
        return [None, None, None]
    half = (max(timing.round_medians_ms) - min(timing.round_medians_ms)) / 2
    return [f"{timing.median_ms:.1f} ± {half:.1f}", f"{timing.p95_ms:.1f}", f"{timing.cpu_ms:.1f}"]


def _details(rows: list[Row], results: Results):
    several = len({row.seed for row in rows}) > 1
    folds = rows[0].fold is not None
    timed = results.latency_of(rows[0].test_set) is not None
    body = []
    for row in sorted(rows, key=lambda row: row.depth):
        body.append(
            [
                row.depth,
                row.label,
                *([row.fold] if folds else []),
                *([row.seed] if several else []),
                row.gates,
                row.policy,
                row.start,
                f"{row.wer:.2f}",
                f"{row.ins} / {row.del_} / {row.sub}",
                None if row.cer is None else f"{row.cer:.2f}",
                f"{row.gmacs_per_s:.3f}",
                *(_times(results.timing(row)) if timed else []),
                None if row.params_active is None else f"{row.params_active / 1e6:.2f} M",
            ]
        )
    heads = [
        "depth",
        "system",
        *(["fold"] if folds else []),
        *(["seed"] if several else []),
        "gates",
        "policy",
        "start",
    ]
    times = ["ms", "95 %", "CPU ms"] if timed else []
    figures = ["WER %", "ins / del / sub", "CER %", "GMAC/s", *times, "params"]
    return table([*heads, *figures], body, right_from=len(heads))


def _p_value(p):
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}"


def _where(entry: Comparison):
    if entry.range == "depth":
        return f"depth {entry.depths[0]}"
    if entry.range == "high dropping":
        depths = entry.depths
        which = f"depth {depths[0]}" if len(depths) == 1 else f"mean of depths {', '.join(map(str, depths))}"
        return f"high dropping ({which})"
    if entry.range == "all depths":
        return f"mean of depths {', '.join(map(str, entry.depths))}"
    return entry.range


def _change(entry: Comparison):
    if entry.relative is None:
        return f"{NONE}, p {_p_value(entry.p)}"
    interval = f"[{entry.relative_low:+.1f}, {entry.relative_high:+.1f}]"
    return f"{entry.relative:+.1f} % {interval}, p {_p_value(entry.p)}"


def _comparison_text(baseline: str, environment: Environment):
    smallest = 2 / (environment.replicates + 1)
    return (
        f"Change of the word errors against {baseline}, with 95 % interval; paired bootstrap, two-sided (negative: "
        f"fewer errors). p is not corrected for the number of comparisons; {environment.replicates} draws can show "
        f"none below {smallest:.1g}."
    )


def _comparison_table(entries: list[Comparison], rows: list[Row]):
    """Return a table with a column per system: first the ranges of depths that papers report, then every depth."""
    order = {"high dropping": 0, "no dropping": 1, "all depths": 2, "depth": 3}
    lines = sorted({(order[entry.range], tuple(entry.depths), _where(entry)) for entry in entries})
    systems = list(dict.fromkeys(entry.label for entry in entries))
    cells = {(_where(entry), entry.label): _change(entry) for entry in entries}
    body = [[where, *(cells.get((where, name)) for name in systems)] for _, _, where in lines]
    return table(["where", *systems], [*body, ["start", *_starts(systems, rows)]])


def _training_text(results: Results):
    if not results.convergence or not results.comparisons:
        return "What was trained, and for how long."
    first = results.comparisons[0].baseline
    of_fold = " and of the same fold" if results.rows[0].fold else ""
    return (
        "What was trained, and for how long. The target of a run is the last validation error rate of "
        f"{first} with the same seed{of_fold}, mean over the depths: after what part of {first}'s updates and time the "
        "run reaches it, in whole epochs, a teacher's training not included."
    )


def _training_table(rows: list[Row], convergence: list[Convergence]):
    """Return a table of the training runs: what each took, and when it reached the baseline's last error rate."""
    reached = {entry.run: entry for entry in convergence}
    runs = {row.run: row for row in rows}.values()
    commits = {"trained_git": "trained at git", "git": "decoded at git"}
    commits = {name: head for name, head in commits.items() if any(getattr(row, name) for row in runs)}
    body = []
    for row in runs:
        entry = reached.get(row.run)
        body.append(
            [
                row.run,
                row.model,
                row.start,
                row.seed,
                row.updates,
                None if row.train_seconds is None else f"{row.train_seconds / 60:.1f}",
                None if entry is None else _percent(entry.updates_share),
                None if entry is None else _percent(entry.seconds_share),
                *(getattr(row, name) or None for name in commits),
            ]
        )
    target = ["updates to target", "time to target"]
    heads = ["run", "model", "start", "seed", "updates", "minutes", *target, *commits.values()]
    return table(heads, body, right_from=3)


def _percent(fraction):
    return "never" if fraction is None else f"{100 * fraction:.0f} %"
