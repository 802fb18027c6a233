"""The first line of a report: what small depths cost and lose, in words."""

from collections.abc import Sequence

from dld.reporting.results import Rate, Results

# Networks of one depth each.
OF_ONE_DEPTH = ("static", "dedicated")


def headline(results: Results) -> str:
    """Return in a sentence for each test set what a small depth saves and what error rate it has.

    The small depth is the greatest one up to a third of the blocks, or else the least; the system is the one with the
    fewest errors there, named with the error rate at full depth of the static network, or else its own.
    """
    lines = [_sentence(results, test_set) for test_set in dict.fromkeys(rate.test_set for rate in results.summary)]
    return "  \n".join(f"**{line}**" for line in lines if line)


def _sentence(results, test_set):
    rates = [rate for rate in results.summary if rate.test_set == test_set]
    dynamic = [rate for rate in rates if rate.system not in OF_ONE_DEPTH and rate.depth < rate.num_blocks]
    if not dynamic:
        best = min(rates, key=lambda rate: rate.wer)
        return f"{best.depth} of {best.num_blocks} blocks: {best.wer:.1f} % WER ({best.label} on {test_set})"
    small = [rate for rate in dynamic if 3 * rate.depth <= rate.num_blocks]
    depth = max(rate.depth for rate in small) if small else min(rate.depth for rate in dynamic)
    ours = min((rate for rate in dynamic if rate.depth == depth), key=lambda rate: rate.wer)
    full = _full(rates, ours)
    if full is not None and full.gmacs_per_s <= 0:
        full = None
    begin = f"{depth} of {ours.num_blocks} blocks: "
    if full is None:
        return f"{begin}{ours.wer:.1f} % WER ({ours.label} on {test_set})"
    parts = [f"{100 * ours.gmacs_per_s / full.gmacs_per_s:.0f} % of the compute"]
    times = [results.milliseconds(rate) for rate in (ours, full)]
    if None not in times:
        parts.append(f"{times[0]:.1f} against {times[1]:.1f} ms for an utterance")
    parts.append(f"{ours.wer:.1f} against {full.wer:.1f} % WER")
    against = f" against {full.label} at all {full.num_blocks}" if full.label != ours.label else ""
    return f"{begin}{', '.join(parts)} ({ours.label}{against}, on {test_set}{_others(results, rates, ours)})"


def _full(rates: Sequence[Rate], ours: Rate) -> Rate | None:
    """Return the full-depth network that a small depth is compared with: the static one, or the system itself."""
    whole = [rate for rate in rates if rate.depth == rate.num_blocks == ours.num_blocks]
    static = [rate for rate in whole if rate.system == "static" and rate.variant in (ours.variant, "")]
    static.sort(key=lambda rate: rate.variant != ours.variant)
    return next(iter([*static, *(rate for rate in whole if rate.label == ours.label)]), None)


def _others(results, rates, ours):
    """Return what the dynamic baselines have at the same depth."""
    names = [name for name in dict.fromkeys(entry.baseline for entry in results.comparisons) if name != ours.system]
    found = [
        f"{rate.label} {rate.wer:.1f} %"
        for name in names
        for rate in rates
        if (rate.system, rate.variant, rate.depth) == (name, ours.variant, ours.depth)
    ]
    return f"; at {ours.depth}: {', '.join(found)}" if found else ""
