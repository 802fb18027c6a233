"""How well gate vectors do on a dev set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.utils.data import DataLoader

from dld.ctc import feasible_ctc_loss
from dld.data.dataset import unpack
from dld.gates.search import Quality
from dld.padding import unpadded
from dld.progress import Interval, Lines
from dld.scoring import wer

if TYPE_CHECKING:
    from dld.recognition.eager import EagerRecognizer


class Evaluator:
    """Runs gate vectors over a data set whose front-end output is computed once and kept.

    Parameters
    ----------
    recognizer : EagerRecognizer
    loader : DataLoader
        Of batches with signal, words and tokens.
    interval : float
        Seconds between lines on how far it is; 0: none.
    """

    def __init__(self, recognizer: "EagerRecognizer", loader: DataLoader, interval: float = 0.0):
        self.recognizer = recognizer
        self.lines = Lines(Interval(interval))
        self.lines.begin("front end", len(loader))
        self.batches = []
        self.references = []
        for batch in loader:
            embedded = recognizer.embed(*unpack(batch.signal, recognizer.device))
            self.batches.append((embedded, *unpack(batch.tokens, recognizer.device)))
            self.references += batch.words
            self.lines.step()

    def __call__(self, gate_vectors: Sequence[Sequence[bool]]) -> list[Quality]:
        """Return the `Quality` of each gate vector; a common prefix is computed once."""
        texts: list[list[str]] = [[] for _ in gate_vectors]
        losses = [0.0] * len(gate_vectors)
        self.lines.begin(f"{len(gate_vectors)} candidates", len(self.batches))
        for embedded, tokens, token_lengths in self.batches:
            output = self.recognizer.outputs(embedded, gate_vectors)
            for index, logits in enumerate(output.logits):
                texts[index] += self.recognizer.texts(unpadded(logits, output.lengths))
                blank = self.recognizer.network.blank
                loss, count = feasible_ctc_loss(logits, output.lengths, tokens, token_lengths, blank)
                losses[index] += loss.item() * count
            self.lines.step()
        return [
            Quality(wer(self.references, rows), loss / len(self.references))
            for rows, loss in zip(texts, losses, strict=True)
        ]
