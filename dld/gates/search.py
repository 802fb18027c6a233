"""Search of a gate table on the dev set."""

import logging
from dataclasses import dataclass

import torch
from tqdm import tqdm

from dld.data.dataset import unpack
from dld.decoding import greedy
from dld.gates import GateTable, depth, evenly_spaced, format_gates
from dld.scoring import wer
from dld.training.objectives import feasible_ctc_loss

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


class Evaluator:
    """Runs gate vectors over a data set whose front-end output is computed once and kept.

    Parameters
    ----------
    network : GatedCTC
    tokenizer : Tokenizer
    loader : iterable of PaddedBatch
        With signal, words and tokens.
    """

    def __init__(self, network, tokenizer, loader):
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.batches = []
        self.references = []
        device = next(network.parameters()).device
        with torch.no_grad():
            for batch in loader:
                embedded = network.encoder.embed(*network.frontend(*unpack(batch.signal, device)))
                self.batches.append((embedded, *unpack(batch.tokens, device)))
                self.references += batch.words

    @torch.no_grad()
    def __call__(self, gate_vectors):
        """`Quality` of each gate vector; those that begin alike share that part of the work."""
        texts = [[] for _ in gate_vectors]
        losses = [0.0] * len(gate_vectors)
        for embedded, tokens, token_lengths in self.batches:
            for place, hidden in enumerate(self.network.encoder.encode(embedded, gate_vectors)):
                logits = self.network.head_of(gate_vectors[place])(hidden)
                rows = greedy(logits, embedded.lengths, self.network.blank)
                texts[place] += [self.tokenizer.decode(ids) for ids in rows]
                loss, count = feasible_ctc_loss(logits, embedded.lengths, tokens, token_lengths, self.network.blank)
                losses[place] += loss.item() * count
        return [
            Quality(wer(self.references, rows), loss / len(self.references))
            for rows, loss in zip(texts, losses, strict=True)
        ]


def search_gate_table(evaluate, num_blocks, progress=True):
    """Greedy removal from full depth: at each depth close the gate whose closing hurts least.

    Every candidate takes one pass over the dev set, N(N+1)/2 passes in all, less what candidates share. At each depth
    the evenly spaced vector is a candidate for the table too, since greedy steps cannot be taken back.

    Parameters
    ----------
    evaluate : callable
        List of gate vectors → list of `Quality`, such as an `Evaluator`.
    num_blocks : int
    progress : bool
        Show a progress bar.

    Returns
    -------
    GateTable
        Of all depths; `about` holds the WER and loss on dev and where each vector came from.
    """
    current = (True,) * num_blocks
    vectors, found = {}, {}
    bar = tqdm(range(num_blocks, 0, -1), desc="gate table", disable=not progress, dynamic_ncols=True)
    for n in bar:
        if n < num_blocks:
            candidates = [
                tuple(gate and place != closed for place, gate in enumerate(current))
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
