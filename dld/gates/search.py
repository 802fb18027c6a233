"""Search of a gate table on the dev set."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from dld.gates.partial import Partial, Row
from dld.gates.table import GateTable
from dld.gates.vectors import depth, evenly_spaced, format_gates, parse_gates
from dld.progress import spell

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Quality:
    """How well a gate vector does on the dev set; smaller is better, the loss decides between equal WERs.

    Attributes
    ----------
    wer : float
        Percent.
    loss : float
        CTC loss, nats per token.
    """

    wer: float
    loss: float


#: List of gate vectors → their qualities.
Evaluate = Callable[[Sequence[Sequence[bool]]], list[Quality]]


def search_gate_table(
    evaluate: Evaluate,
    num_blocks: int,
    progress: bool = True,
    partial: Partial | None = None,
) -> GateTable:
    """Search by greedy removal from full depth: at each depth close the gate whose closing hurts least.

    Every candidate takes one pass over the dev set, N(N+1)/2 passes in all, less the common prefixes of candidates. At
    each depth the evenly spaced vector is a candidate for the table too, since greedy steps cannot be taken back.

    Parameters
    ----------
    evaluate : callable
        List of gate vectors → list of `Quality`, such as a `dld.decoding.evaluation.Evaluator`.
    num_blocks : int
    progress : bool
        Show a progress bar, instead of a line for each depth.
    partial : Partial, optional
        Depths that an interrupted search finished, which are not searched again; it keeps those of this one.

    Returns
    -------
    GateTable
        Table of all depths; `about` holds the WER and loss on dev and where each vector came from.
    """
    rows: dict[int, Row] = partial.load(num_blocks) if partial is not None else {}
    if rows:
        logger.info("depths %d to %d are there from an interrupted search", min(rows), num_blocks)
    # The greedy vector of the depth before, which need not be the one in the table.
    current = parse_gates(rows[min(rows)].greedy, num_blocks) if rows else (True,) * num_blocks
    clock = _Clock(sum(_candidates(n, num_blocks) for n in range(1, num_blocks + 1) if n not in rows))
    bar = tqdm(range(num_blocks, 0, -1), desc="gate table", disable=not progress, dynamic_ncols=True)
    for n in bar:
        if n not in rows:
            current, rows[n] = _search_depth(evaluate, current, n)
            clock.done += _candidates(n, num_blocks)
            if partial is not None:
                partial.save(num_blocks, rows)
            if not progress:
                row, tried = rows[n], _candidates(n, num_blocks)
                logger.info(
                    "depth %*d/%d: best %s with %.2f %% of %d candidates (evenly spaced %.2f %%)%s",
                    *(len(str(num_blocks)), n, num_blocks, row.gates, row.wer, tried, row.evenly_spaced_wer),
                    clock.left(),
                )
        bar.set_postfix(depth=n, wer=f"{rows[n].wer:.2f}")
    vectors = {n: parse_gates(rows[n].gates, num_blocks) for n in sorted(rows, reverse=True)}
    found = {str(n): rows[n].described() for n in vectors}
    return GateTable(num_blocks, vectors, {"search": "greedy removal", "depths": found})


def _candidates(n: int, num_blocks: int) -> int:
    """Return how many gate vectors are tried at a depth."""
    return n + 2 if n < num_blocks else 2


def _search_depth(evaluate: Evaluate, above: tuple[bool, ...], n: int) -> tuple[tuple[bool, ...], Row]:
    """Return the best vector with one gate fewer open than `above` (at full depth: with all open), and the result."""
    num_blocks = len(above)
    candidates = [above]
    if n < num_blocks:
        closing = [index for index, gate in enumerate(above) if gate]
        candidates = [tuple(gate and index != closed for index, gate in enumerate(above)) for closed in closing]
    even = evenly_spaced(num_blocks, n)
    *qualities, even_quality = evaluate([*candidates, even])
    best, greedy = min(zip(qualities, candidates, strict=True))
    greedy_is_better = best <= even_quality
    vector, quality = (greedy, best) if greedy_is_better else (even, even_quality)
    assert depth(vector) == n
    return greedy, Row(
        gates=format_gates(vector),
        source="greedy" if greedy_is_better else "evenly-spaced",
        wer=quality.wer,
        loss=quality.loss,
        evenly_spaced_wer=even_quality.wer,
        greedy=format_gates(greedy),
    )


class _Clock:
    """Tell how long a search still takes, by the candidates tried."""

    def __init__(self, size: int):
        self.size, self.done, self.began = size, 0, time.monotonic()

    def left(self) -> str:
        if self.done == self.size:
            return ""
        seconds = (time.monotonic() - self.began) / self.done * (self.size - self.done)
        return f"; {self.done} of {self.size} candidates tried, {spell(seconds)} left"
