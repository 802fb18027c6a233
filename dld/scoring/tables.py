"""Result tables and sample transcripts in Markdown."""

import re

from dld.scoring.alignment import CORRECT, DELETION, INSERTION
from dld.scoring.report import choose_utterances

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


def _overview(rows):
    labels = list(dict.fromkeys(_label(row) for row in rows))
    cells = {
        (row["depth"], _label(row)): f"{row['wer']:.2f} [{row['wer_low']:.2f}, {row['wer_high']:.2f}]" for row in rows
    }
    body = []
    for depth in sorted({row["depth"] for row in rows}):
        costs = _shared([row["gmacs_per_s"] for row in rows if row["depth"] == depth])
        body.append([depth, costs, *(cells.get((depth, label), NONE) for label in labels)])
    return table(["depth", "GMAC/s", *labels], body)


def _details(rows):
    body = []
    for row in sorted(rows, key=lambda row: row["depth"]):
        active = row.get("params_active")
        body.append(
            [
                row["depth"],
                _label(row),
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
    heads = [
        "depth",
        "system",
        "active blocks",
        "policy",
        "WER %",
        "ins / del / sub",
        "CER %",
        "GMAC/s",
        "RTF",
        "params",
    ]
    return table(heads, body, right_from=4)


def _comparison_table(entries):
    body = []
    for entry in entries:
        where = f"depth {entry['depths'][0]}" if entry["range"] == "depth" else entry["range"]
        if entry["range"] == "high dropping":
            where += f" (mean of depths {', '.join(map(str, entry['depths']))})"
        change = NONE
        if entry["relative"] is not None:
            change = f"{entry['relative']:+.1f} % [{entry['relative_low']:+.1f}, {entry['relative_high']:+.1f}]"
        name = entry["system"] + (f" ({entry['variant']})" if entry["variant"] else "")
        body.append(
            [
                where,
                f"{name} : {entry['baseline']}",
                f"{entry['wer']:.2f}",
                f"{entry['baseline_wer']:.2f}",
                change,
                _p_value(entry["p"]),
            ]
        )
    return table(["where", "systems", "WER %", "baseline %", "relative change [95 %]", "p"], body, right_from=2)


def results_markdown(results, twins, title, pictures):
    """The page `results.md`.

    Parameters
    ----------
    results : dict
        What `results.json` holds.
    twins : list of (Decode, Decode)
        From `dld.scoring.report.twins`.
    title : str
    pictures : list of str
        File names beside the page.

    Returns
    -------
    str
    """
    environment = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    parts = [
        f"# {title}",
        f"`git {environment['git']}` · {environment['date']} · {environment['cpu']} · {versions}",
        "Word error rates in percent with 95 % bootstrap intervals over utterances (Bisani and Ney, 2004). GMAC/s: "
        "10⁹ multiply-accumulates per second of audio. RTF: decoding time over audio time, as measured here.",
        *(f"![{name.partition('.')[0]}]({name})" for name in pictures),
    ]
    for test_set in dict.fromkeys(row["test_set"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["test_set"] == test_set]
        parts += [
            f"## {test_set}",
            f"{rows[0]['words']} words in {rows[0]['utterances']} utterances.",
            _overview(rows),
            "What ran for each of these (1: the block ran, 0: it was skipped; params: those that ran):",
            _details(rows),
        ]
        entries = [entry for entry in results["comparisons"] if entry["test_set"] == test_set]
        if entries:
            parts += [
                f"Paired bootstrap against {entries[0]['baseline']}, two-sided (negative: fewer errors). p is not "
                f"corrected for the number of comparisons; {environment['replicates']} draws can show none below "
                f"{2 / (environment['replicates'] + 1):.1g}.",
                _comparison_table(entries),
            ]
        parts += [
            f"**Look closer:** {one.label} at depths {one.info['depth']} and {two.info['depth']} gives the same "
            "transcripts although the gates differ; do the gates reach the model?"
            for one, two in twins
            if one.info["test_set"] == test_set
        ]
    parts.append(
        f"Made by `{environment['command']}` from the scored decode directories; nothing here is typed by hand."
    )
    return "\n\n".join(parts) + "\n"


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
    """The page `transcripts.md`: some utterances of each test set as every system and depth hears them."""
    parts = [
        f"# {title}: transcripts",
        "What the error rates sound like: utterances from the easiest to the hardest. **Bold**: a wrong word; "
        "**+bold**: a word too many; ~~struck out~~: a word that was missed.",
    ]
    for test_set in dict.fromkeys(decode.info["test_set"] for decode in decodes):
        chosen = [decode for decode in decodes if decode.info["test_set"] == test_set]
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
