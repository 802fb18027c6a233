"""Sample transcripts in Markdown, errors marked."""

from collections.abc import Sequence

import numpy as np

from dld.reporting.collect import ScoredDecode, group_lines
from dld.reporting.markdown import escape, table
from dld.scoring.alignment import CORRECT, DELETION, INSERTION, Alignment

# Words that a sample utterance has at least.
LONG_ENOUGH = 4


def choose_utterances(decodes: Sequence[ScoredDecode], number: int = 8) -> list[str]:
    """Return utterances spread evenly over the error rates (all decodes together), from the easiest to the hardest.

    Utterances that every decode gets right are represented once, the rest by quantiles of their error rate. One word or
    two show little: where enough utterances are longer, only those are taken.
    """
    words = {utterance: alignment.words for utterance, alignment in decodes[0].alignments.items() if alignment.words}
    longer = {utterance: count for utterance, count in words.items() if count >= LONG_ENOUGH}
    rates = {
        utterance: sum(decode.alignments[utterance].errors for decode in decodes) / count
        for utterance, count in (longer if len(longer) >= number else words).items()
    }
    ranked = sorted(rates, key=lambda utterance: (rates[utterance], utterance))
    perfect = [utterance for utterance in ranked if rates[utterance] == 0]
    wrong = ranked[len(perfect) :]
    room = min(len(wrong), number - len(perfect[:1]))
    indices = np.linspace(0, len(wrong) - 1, room).round().astype(int) if room else []
    return perfect[:1] + [wrong[index] for index in indices]


def mark_errors(alignment: Alignment) -> str:
    """Return a hypothesis as Markdown: wrong words bold, inserted ones bold with a plus, deleted ones struck out.

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
        word = escape(ref if op == DELETION else hyp)
        if op == DELETION:
            word = f"~~{word}~~"
        elif op != CORRECT:
            word = f"**{'+' if op == INSERTION else ''}{word}**"
        marked.append(word)
    return " ".join(marked)


def _table(aligned, words):
    """Return the hypotheses of an utterance, each once, with the systems and depths that have it."""
    rows: dict[str, tuple[int, dict[str, list[str]]]] = {}
    for decode, alignment in aligned:
        _, who = rows.setdefault(mark_errors(alignment), (alignment.errors, {}))
        who.setdefault(decode.label, []).append(str(decode.record.depth))
    body = [
        ["; ".join(f"{label} {', '.join(depths)}" for label, depths in who.items()), f"{errors} / {words}", hypothesis]
        for hypothesis, (errors, who) in rows.items()
    ]
    return table(["system and depths", "errors", "hypothesis"], body, right_from=9)


def page(decodes: Sequence[ScoredDecode], title: str, number: int = 8) -> str:
    """Return the page `transcripts.md`: some utterances of each test set, transcribed by every system at every depth.

    Of a system with several seeds the first run is shown: that with the shortest name. Equal hypotheses are one row.
    """
    shown = [
        min(runs, key=lambda decode: (len(decode.run), decode.run))
        for by_depth in group_lines(decodes).values()
        for runs in by_depth.values()
    ]
    parts = [
        f"# {title}: transcripts",
        "What the error rates look like in text: utterances from the easiest to the hardest. **Bold**: a wrong word; "
        "**+bold**: a word too many; ~~struck out~~: a word that was missed.",
    ]
    for test_set in dict.fromkeys(decode.record.test_set for decode in shown):
        chosen = [decode for decode in shown if decode.record.test_set == test_set]
        parts.append(f"## {test_set}")
        for utterance in choose_utterances(chosen, number):
            reference = [ref for op, ref, _ in chosen[0].alignments[utterance].ops if op != INSERTION]
            parts.append(f"`{utterance}`: {escape(' '.join(reference))}")
            parts.append(_table([(decode, decode.alignments[utterance]) for decode in chosen], len(reference)))
    return "\n\n".join(parts) + "\n"
