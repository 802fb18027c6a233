"""The page of a report: its tables in Markdown."""

from collections.abc import Sequence

from dld.reporting.markdown import NONE, table
from dld.reporting.results import Comparison, Convergence, Environment, Rate, Results, Row

ABOUT = (
    "Word error rates in percent with 95 % bootstrap intervals over utterances (Bisani and Ney, 2004). GMAC/s: 10⁹ "
    "multiply-accumulates per second of audio. RTF: decoding time over audio time on one thread, measured here."
)
WHAT_RAN = "What ran for each of these (1: the block ran, 0: it was skipped; params: those that ran):"
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
        f"`git {environment.git}` · {environment.date} · {environment.cpu} · {versions}",
        *([notes.strip()] if notes.strip() else []),
        ABOUT + (SEVERAL_SEEDS if several else ""),
        *(f"![{name.partition('.')[0]}]({name})" for name in pictures),
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
    parts = [f"## {test_set}", f"{rows[0].words} words in {rows[0].utterances} utterances.", _overview(rates)]
    for baseline in dict.fromkeys(entry.baseline for entry in compared):
        parts += [
            _comparison_text(baseline, results.environment),
            _comparison_table([entry for entry in compared if entry.baseline == baseline]),
        ]
    parts += [
        "What ran for each of these (1: the block ran, 0: it was skipped; params: those that ran):",
        _details(rows),
    ]
    parts += [
        f"**Look closer:** {pair.label} at depths {' and '.join(map(str, pair.depths))} has the same transcripts "
        "although the gates differ; do the gates reach the model?"
        for pair in equal
    ]
    return parts


def _range(values):
    """Return the one value that several systems have in a column, or the least and the greatest."""
    low, high = min(values), max(values)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f}–{high:.3f}"


def _overview(rates: list[Rate]):
    labels = list(dict.fromkeys(rate.label for rate in rates))
    cells = {(rate.depth, rate.label): f"{rate.wer:.2f} [{rate.wer_low:.2f}, {rate.wer_high:.2f}]" for rate in rates}
    body = []
    for depth in sorted({rate.depth for rate in rates}):
        costs = _range([rate.gmacs_per_s for rate in rates if rate.depth == depth])
        body.append([depth, costs, *(cells.get((depth, label)) for label in labels)])
    return table(["depth", "GMAC/s", *labels], body)


def _details(rows: list[Row]):
    several = len({row.seed for row in rows}) > 1
    body = []
    for row in sorted(rows, key=lambda row: row.depth):
        body.append(
            [
                row.depth,
                row.label,
                *([row.seed] if several else []),
                row.gates,
                row.policy,
                f"{row.wer:.2f}",
                f"{row.ins} / {row.del_} / {row.sub}",
                None if row.cer is None else f"{row.cer:.2f}",
                f"{row.gmacs_per_s:.3f}",
                f"{row.rtf:.4f}",
                None if row.params_active is None else f"{row.params_active / 1e6:.2f} M",
            ]
        )
    heads = ["depth", "system", *(["seed"] if several else []), "gates", "policy"]
    figures = ["WER %", "ins / del / sub", "CER %", "GMAC/s", "RTF", "params"]
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


def _comparison_table(entries: list[Comparison]):
    """Return a table with a column per system: first the two ranges of depths that papers report, then every depth."""
    order = {"high dropping": 0, "no dropping": 1, "depth": 2}
    lines = sorted({(order[entry.range], tuple(entry.depths), _where(entry)) for entry in entries})
    systems = list(dict.fromkeys(entry.label for entry in entries))
    cells = {(_where(entry), entry.label): _change(entry) for entry in entries}
    return table(
        ["where", *systems], [[where, *(cells.get((where, name)) for name in systems)] for _, _, where in lines]
    )


def _training_text(results: Results):
    if not results.convergence or not results.comparisons:
        return "What was trained, and for how long."
    first = results.comparisons[0].baseline
    return (
        "What was trained, and for how long. The target of a run is the last validation error rate of "
        f"{first} with the same seed, mean over the depths: after what part of {first}'s updates and time the run "
        "reaches it, in whole epochs, a teacher's training not included."
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
                row.seed,
                row.updates,
                None if row.train_seconds is None else f"{row.train_seconds / 60:.1f}",
                None if entry is None else _percent(entry.updates_share),
                None if entry is None else _percent(entry.seconds_share),
                *(getattr(row, name) or None for name in commits),
            ]
        )
    target = ["updates to target", "time to target"]
    heads = ["run", "model", "seed", "updates", "minutes", *target, *commits.values()]
    return table(heads, body, right_from=2)


def _percent(fraction):
    return "never" if fraction is None else f"{100 * fraction:.0f} %"
