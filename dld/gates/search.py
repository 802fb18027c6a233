"""Search of a gate table on the dev set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from dld.gates.table import GateTable
from dld.gates.vectors import depth, evenly_spaced, format_gates


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


def search_gate_table(
    evaluate: Callable[[Sequence[Sequence[bool]]], list[Quality]], num_blocks: int, progress: bool = True
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
        Show a progress bar.

    Returns
    -------
    GateTable
        Table of all depths; `about` holds the WER and loss on dev and where each vector came from.
    """
    current = (True,) * num_blocks
    vectors, found = {}, {}
    bar = tqdm(range(num_blocks, 0, -1), desc="gate table", disable=not progress, dynamic_ncols=True)
    for n in bar:
        if n < num_blocks:
            candidates = [
                tuple(gate and index != closed for index, gate in enumerate(current))
                for closed in range(num_blocks)
                if current[closed]
            ]
        else:
            candidates = [current]
        even = evenly_spaced(num_blocks, n)
        *qualities, even_quality = evaluate([*candidates, even])
        best, current = min(zip(qualities, candidates, strict=True))
        greedy_is_better = best <= even_quality
        vectors[n], quality = (current, best) if greedy_is_better else (even, even_quality)
        found[str(n)] = {
            "gates": format_gates(vectors[n]),
            "source": "greedy" if greedy_is_better else "evenly-spaced",
            "wer": quality.wer,
            "loss": quality.loss,
            "evenly_spaced_wer": even_quality.wer,
        }
        assert depth(vectors[n]) == n
        bar.set_postfix(depth=n, wer=f"{quality.wer:.2f}")
    return GateTable(num_blocks, vectors, {"search": "greedy removal", "depths": found})
