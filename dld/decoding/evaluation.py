"""How well gate vectors do on a dev set."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dld.ctc import feasible_ctc_loss
from dld.data.dataset import unpack
from dld.gates.search import Quality
from dld.scoring import wer

if TYPE_CHECKING:
    from dld.recognizer import Recognizer


class Evaluator:
    """Runs gate vectors over a data set whose front-end output is computed once and kept.

    Parameters
    ----------
    recognizer : Recognizer
    loader : iterable of PaddedBatch
        With signal, words and tokens.
    """

    def __init__(self, recognizer: "Recognizer", loader: Iterable):
        self.recognizer = recognizer
        self.batches = []
        self.references = []
        for batch in loader:
            embedded = recognizer.embed(*unpack(batch.signal, recognizer.device))
            self.batches.append((embedded, *unpack(batch.tokens, recognizer.device)))
            self.references += batch.words

    def __call__(self, gate_vectors: Sequence[Sequence[bool]]) -> list[Quality]:
        """Return the `Quality` of each gate vector; a common prefix is computed once."""
        texts: list[list[str]] = [[] for _ in gate_vectors]
        losses = [0.0] * len(gate_vectors)
        for embedded, tokens, token_lengths in self.batches:
            output = self.recognizer.outputs(embedded, gate_vectors)
            for index, logits in enumerate(output.logits):
                texts[index] += self.recognizer.texts(logits, output.lengths)
                blank = self.recognizer.network.blank
                loss, count = feasible_ctc_loss(logits, output.lengths, tokens, token_lengths, blank)
                losses[index] += loss.item() * count
        return [
            Quality(wer(self.references, rows), loss / len(self.references))
            for rows, loss in zip(texts, losses, strict=True)
        ]
