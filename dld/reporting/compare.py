"""Comparisons of scored decodes: means over seeds, paired bootstrap against a baseline, time to its error rate."""

import dataclasses
import logging
import math
from collections.abc import Sequence

from dld.reporting.collect import ScoredDecode, group_lines, interval
from dld.reporting.results import Comparison, Convergence, Curve, EqualTranscripts, Rate
from dld.scoring.bootstrap import paired_bootstrap

logger = logging.getLogger(__name__)


def summary(decodes: Sequence[ScoredDecode], replicates: int = 10000, seed: int = 0) -> list[Rate]:
    """Return the error rate of every system, variant and depth: the mean over its seeds, with that mean's interval.

    The interval says how far the mean over these seeds would vary with other utterances, not with other seeds; `wers`,
    the error rate of each seed, indicates that.
    """
    found = []
    for (test_set, system, variant), by_depth in group_lines(decodes).items():
        for depth, runs in by_depth.items():
            low, high = interval(runs, replicates, seed)
            wers = [decode.total.wer for decode in runs]
            found.append(
                Rate(
                    test_set=test_set,
                    system=system,
                    variant=variant,
                    depth=depth,
                    num_blocks=runs[0].record.num_blocks,
                    seeds=[decode.record.seed for decode in runs],
                    wers=[round(value, 4) for value in wers],
                    wer=round(sum(wers) / len(wers), 4),
                    wer_low=round(low, 4),
                    wer_high=round(high, 4),
                    gmacs_per_s=sum(decode.record.gmacs_per_s for decode in runs) / len(runs),
                )
            )
    return found


def comparisons(
    decodes: Sequence[ScoredDecode], baseline: str, replicates: int = 10000, seed: int = 0
) -> list[Comparison]:
    """Compare every system with `baseline` by paired bootstrap, wherever both have the same set, variant and depth.

    Next to each depth there are aggregates, two of them as in arXiv 2601.16117: "high dropping", the mean error rate
    over the depths n ≤ N/3 that both have, and "no dropping", depth N; and "all depths", the mean over all that both
    have. A mean over depths is resampled over utterances with all their depths together, since one utterance's errors
    at two depths are not independent. Of a system with several seeds it is the mean over the seeds that is compared.

    Parameters
    ----------
    decodes : sequence of ScoredDecode
        From `dld.reporting.collect.collect`.
    baseline : str
        Name of a system.
    replicates, seed : int
        Draws and seed of the bootstrap.
    """
    lines = group_lines(decodes)
    found = []
    for (test_set, system, variant), ours in lines.items():
        theirs = lines.get((test_set, baseline, variant), {})
        if system == baseline:
            continue
        for name, depths in _ranges(ours, theirs):
            a, b, words = _sums(ours, theirs, depths)
            difference = paired_bootstrap(a, b, words, replicates, seed)
            found.append(
                Comparison(
                    system=system,
                    baseline=baseline,
                    test_set=test_set,
                    variant=variant,
                    range=name,
                    depths=depths,
                    wer=100.0 * int(a.sum()) / int(words.sum()),
                    baseline_wer=100.0 * int(b.sum()) / int(words.sum()),
                    **dataclasses.asdict(difference),
                )
            )
    return found


def _ranges(ours, theirs):
    """Return the depths that two systems have in common, one by one, then those of the aggregates."""
    depths = sorted(ours.keys() & theirs.keys())
    blocks = {d.record.num_blocks for depth in depths for d in (*ours[depth], *theirs[depth])}
    ranges = [("depth", [depth]) for depth in depths]
    if len(blocks) == 1:
        size = blocks.pop()
        ranges.append(("high dropping", [depth for depth in depths if 3 * depth <= size]))
        ranges.append(("no dropping", [depth for depth in depths if depth == size]))
        ranges.append(("all depths", depths if len(depths) > 1 else []))
    return [(name, chosen) for name, chosen in ranges if chosen]


def _sums(ours, theirs, depths):
    """Return the errors of both sides and the words of each utterance, summed over depths and seeds.

    The numbers are whole: every depth counts as often as the least common multiple of the numbers of seeds says.
    """
    first = ours[depths[0]][0]
    utterances = list(first.alignments)
    times = math.lcm(*(len(side[depth]) for side in (ours, theirs) for depth in depths))
    a, b = (
        sum(times // len(side[depth]) * d.errors(utterances) for depth in depths for d in side[depth])
        for side in (ours, theirs)
    )
    return a, b, times * len(depths) * first.words(utterances)


def equal_transcripts(decodes: Sequence[ScoredDecode]) -> list[EqualTranscripts]:
    """Return the pairs of decodes of one run, with different gates, whose hypotheses are equal word for word.

    At a high error rate that means that the gates did not reach the model. Perfect transcripts are left out.
    """
    seen, pairs = {}, []
    for decode in decodes:
        hypotheses = tuple(tuple(op[2] for op in alignment.ops) for alignment in decode.alignments.values())
        other = seen.setdefault((decode.run, decode.record.test_set, hypotheses), decode)
        if other.record.gates != decode.record.gates and decode.total.errors:
            depths = [other.record.depth, decode.record.depth]
            pairs.append(EqualTranscripts(test_set=decode.record.test_set, label=other.label, depths=depths))
            logger.warning("%s and %s: different gates, equal hypotheses", other.directory, decode.directory)
    return pairs


def convergence(curves: Sequence[Curve], baseline: str) -> list[Convergence]:
    """Return how much of the baseline's training each run needed to reach the baseline's last validation error rate.

    A run is measured against the baseline's run of the same seed, or else its first, and at ends of epochs, so what is
    found is an upper bound. The time of a separate teacher is not counted.
    """
    goals = [curve for curve in curves if curve.system == baseline]
    found = []
    for curve in curves:
        same = [goal for goal in goals if goal.seed == curve.seed] or goals
        if not same or curve.depths != same[0].depths:
            continue
        goal = same[0]
        target = goal.mean_wer[-1]
        index = next((i for i, value in enumerate(curve.mean_wer) if value <= target), None)
        reached: dict = dict.fromkeys(("epoch", "updates", "seconds", "updates_share", "seconds_share"))
        if index is not None:
            reached = {
                "epoch": curve.epoch[index],
                "updates": curve.updates[index],
                "seconds": curve.seconds[index],
                "updates_share": curve.updates[index] / goal.updates[-1],
                "seconds_share": curve.seconds[index] / goal.seconds[-1],
            }
        found.append(Convergence(run=curve.run, system=curve.system, seed=curve.seed, target=target, **reached))
    return found
