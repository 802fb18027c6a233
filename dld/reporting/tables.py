"""Result tables and sample transcripts in Markdown."""

import re

from dld.reporting.report import choose_utterances, group_lines
from dld.scoring.alignment import CORRECT, DELETION, INSERTION

NONE = "–"
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def table(heads, rows, right_from=1):
    """A Markdown table; the columns from `right_from` on are aligned to the right.

    Examples
    --------
    >>> print(table(["depth", "WER"], [[2, "9.1"]]))
    | depth | WER |
    |---|--:|
    | 2 | 9.1 |
    """
    rule = ["---" if index < right_from else "--:" for index in range(len(heads))]
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in [heads, *rows]]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def gate_string(gates):
    """Gates as tables show them.

    Examples
    --------
    >>> gate_string([1, 0, 1])
    '1-0-1'
    """
    return "-".join(str(int(gate)) for gate in gates)


def _p_value(p):
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}"


def _label(row):
    return row["system"] + (f" ({row['variant']})" if row["variant"] else "")


def _shared(values):
    """The one value of a column that several systems share, or a range."""
    low, high = min(values), max(values)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f}–{high:.3f}"


def _overview(entries):
    labels = list(dict.fromkeys(_label(entry) for entry in entries))
    cells = {
        (entry["depth"], _label(entry)): f"{entry['wer']:.2f} [{entry['wer_low']:.2f}, {entry['wer_high']:.2f}]"
        for entry in entries
    }
    body = []
    for depth in sorted({entry["depth"] for entry in entries}):
        costs = _shared([entry["gmacs_per_s"] for entry in entries if entry["depth"] == depth])
        body.append([depth, costs, *(cells.get((depth, label), NONE) for label in labels)])
    return table(["depth", "GMAC/s", *labels], body)


def _details(rows):
    several = len({row.get("seed") for row in rows}) > 1
    body = []
    for row in sorted(rows, key=lambda row: row["depth"]):
        active = row.get("params_active")
        body.append(
            [
                row["depth"],
                _label(row),
                *([row.get("seed", NONE)] if several else []),
                gate_string(row["gates"]),
                row["policy"],
                f"{row['wer']:.2f}",
                f"{row['ins']} / {row['del']} / {row['sub']}",
                NONE if row["cer"] is None else f"{row['cer']:.2f}",
                f"{row['gmacs_per_s']:.3f}",
                f"{row['rtf']:.4f}",
                NONE if active is None else f"{active / 1e6:.2f} M",
            ]
        )
    heads = ["depth", "system", *(["seed"] if several else []), "active blocks", "policy"]
    figures = ["WER %", "ins / del / sub", "CER %", "GMAC/s", "RTF", "params"]
    return table([*heads, *figures], body, right_from=len(heads))


def _where(entry):
    if entry["range"] == "depth":
        return f"depth {entry['depths'][0]}"
    if entry["range"] == "high dropping":
        depths = entry["depths"]
        which = f"depth {depths[0]}" if len(depths) == 1 else f"mean of depths {', '.join(map(str, depths))}"
        return f"high dropping ({which})"
    return entry["range"]


def _change(entry):
    if entry["relative"] is None:
        return f"{NONE}, p {_p_value(entry['p'])}"
    interval = f"[{entry['relative_low']:+.1f}, {entry['relative_high']:+.1f}]"
    return f"{entry['relative']:+.1f} % {interval}, p {_p_value(entry['p'])}"


def _comparison_table(entries):
    """Systems across; down the two ranges of depths of which papers speak, then every depth."""
    order = {"high dropping": 0, "no dropping": 1, "depth": 2}
    places = sorted({(order[entry["range"]], tuple(entry["depths"]), _where(entry)) for entry in entries})
    systems = list(dict.fromkeys(_label(entry) for entry in entries))
    cells = {(_where(entry), _label(entry)): _change(entry) for entry in entries}
    body = [[where, *(cells.get((where, system), NONE) for system in systems)] for _, _, where in places]
    return table(["where", *systems], body)


def _training_table(rows, convergence):
    """Every training run: what it took, and when it reached the baseline's last validation error rate."""
    reached = {entry["run"]: entry for entry in convergence}
    runs = {row["run"]: row for row in rows}.values()
    commits = {"trained_git": "trained at git", "git": "decoded at git"}
    commits = {name: head for name, head in commits.items() if any(row.get(name) for row in runs)}
    body = []
    for row in runs:
        entry = reached.get(row["run"])
        seconds = row.get("train_seconds")
        body.append(
            [
                row["run"],
                row.get("model", NONE),
                row.get("seed", NONE),
                row.get("updates", NONE),
                NONE if seconds is None else f"{seconds / 60:.1f}",
                NONE if entry is None else _reached(entry, "updates"),
                NONE if entry is None else _reached(entry, "seconds"),
                *(row.get(name) or NONE for name in commits),
            ]
        )
    there = ["there after, updates", "there after, time"]
    heads = ["run", "model", "seed", "updates", "minutes", *there, *commits.values()]
    return table(heads, body, right_from=2)


def _reached(entry, name):
    return "never" if entry[name] is None else f"{100 * entry[f'{name}_share']:.0f} %"


def results_markdown(results, pictures, notes=""):
    """The page of a `results.json`.

    Parameters
    ----------
    results : dict
        What `results.json` holds.
    pictures : list of str
        File names beside the page.
    notes : str
        Markdown that follows the head.

    Returns
    -------
    str
    """
    environment = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    seeds = max(len(entry["seeds"]) for entry in results["summary"])
    parts = [
        f"# {results['title']}",
        f"`git {environment['git']}` · {environment['date']} · {environment['cpu']} · {versions}",
        *([notes.strip()] if notes.strip() else []),
        "Word error rates in percent with 95 % bootstrap intervals over utterances (Bisani and Ney, 2004). GMAC/s: "
        "10⁹ multiply-accumulates per second of audio. RTF: decoding time over audio time on one thread, measured here."
        + (" Where a system has several seeds, rate and interval are those of their mean." if seeds > 1 else ""),
        *(f"![{name.partition('.')[0]}]({name})" for name in pictures),
    ]
    for test_set in dict.fromkeys(row["test_set"] for row in results["rows"]):
        rows, entries, compared = (
            [entry for entry in results[name] if entry["test_set"] == test_set]
            for name in ("rows", "summary", "comparisons")
        )
        parts += [
            f"## {test_set}",
            f"{rows[0]['words']} words in {rows[0]['utterances']} utterances.",
            _overview(entries),
        ]
        for baseline in dict.fromkeys(entry["baseline"] for entry in compared):
            parts += [
                f"Change of the word errors against {baseline}, with 95 % interval; paired bootstrap, two-sided "
                f"(negative: fewer errors). p is not corrected for the number of comparisons; "
                f"{environment['replicates']} draws can show none below {2 / (environment['replicates'] + 1):.1g}.",
                _comparison_table([entry for entry in compared if entry["baseline"] == baseline]),
            ]
        parts += [
            "What ran for each of these (1: the block ran, 0: it was skipped; params: those that ran):",
            _details(rows),
        ]
        parts += [
            f"**Look closer:** {pair['label']} at depths {pair['depths'][0]} and {pair['depths'][1]} gives the same "
            "transcripts although the gates differ; do the gates reach the model?"
            for pair in results["twins"]
            if pair["test_set"] == test_set
        ]
    parts += ["## Training", _training_text(results), _training_table(results["rows"], results["convergence"])]
    parts.append(
        f"Made by `{environment['command']}` from the scored decode directories; nothing here is typed by hand."
        if not notes.strip()
        else f"Tables and pictures: `{environment['command']}`, from the scored decode directories."
    )
    return "\n\n".join(parts) + "\n"


def _training_text(results):
    if not results["convergence"] or not results["comparisons"]:
        return "What was trained, and for how long."
    first = results["comparisons"][0]["baseline"]
    return (
        "What was trained, and for how long. A run is there when its validation error rate, mean over the depths, is "
        f"down to the last of {first} with the same seed: after what part of {first}'s updates and time, in whole "
        "epochs, a teacher's training not included."
    )


def mark_errors(alignment):
    """A hypothesis as Markdown: wrong words bold, inserted ones bold with a plus, deleted ones struck out.

    Examples
    --------
    >>> from dld.scoring import align
    >>> mark_errors(align(["one", "two", "three"], ["one", "too", "three", "four"]))
    'one **too** three **+four**'
    >>> mark_errors(align(["one"], []))
    '~~one~~'
    """
    marked = []
    for op, ref, hyp in alignment.ops:
        word = MARKUP.sub(r"\\\1", ref if op == DELETION else hyp)
        if op == DELETION:
            word = f"~~{word}~~"
        elif op != CORRECT:
            word = f"**{'+' if op == INSERTION else ''}{word}**"
        marked.append(word)
    return " ".join(marked)


def transcripts_markdown(decodes, title, number=8):
    """The page `transcripts.md`: some utterances of each test set as every system and depth hears them.

    Where a system has several seeds, its first run speaks for it: that with the shortest name.
    """
    speakers = [
        min(runs, key=lambda decode: (len(decode.run), decode.run))
        for by_depth in group_lines(decodes).values()
        for runs in by_depth.values()
    ]
    parts = [
        f"# {title}: transcripts",
        "What the error rates sound like: utterances from the easiest to the hardest. **Bold**: a wrong word; "
        "**+bold**: a word too many; ~~struck out~~: a word that was missed.",
    ]
    for test_set in dict.fromkeys(decode.info["test_set"] for decode in speakers):
        chosen = [decode for decode in speakers if decode.info["test_set"] == test_set]
        parts.append(f"## {test_set}")
        for utterance in choose_utterances(chosen, number):
            reference = [ref for op, ref, _ in chosen[0].alignments[utterance].ops if op != INSERTION]
            body = [
                [
                    decode.label,
                    decode.info["depth"],
                    f"{decode.alignments[utterance].errors} / {len(reference)}",
                    mark_errors(decode.alignments[utterance]),
                ]
                for decode in chosen
            ]
            said = MARKUP.sub(r"\\\1", " ".join(reference))
            parts.append(f"`{utterance}`: {said}")
            parts.append(table(["system", "depth", "errors", "hypothesis"], body, right_from=9))
    return "\n\n".join(parts) + "\n"
