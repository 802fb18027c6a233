"""How well gate vectors do on a dev set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.utils.data import DataLoader

from dld.ctc import feasible_ctc_loss
from dld.data.dataset import unpack
from dld.distributed import first_decides, in_order
from dld.gates.search import Quality
from dld.padding import unpadded
from dld.progress import Interval, Lines
from dld.scoring import wer

if TYPE_CHECKING:
    from dld.recognition.eager import EagerRecognizer


class Evaluator:
    """Runs gate vectors over a data set whose front-end output is computed once and kept.

    Of several processes each takes the batches that its loader has. The first one asks for
    qualities, the others `serve`.

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
        references = []
        for batch in loader:
            embedded = recognizer.embed(*unpack(batch.signal, recognizer.device))
            self.batches.append((embedded, *unpack(batch.tokens, recognizer.device)))
            references.append(batch.words)
            self.lines.step()
        self.references = [text for texts in in_order(references) for text in texts]

    def __call__(self, gate_vectors: Sequence[Sequence[bool]]) -> list[Quality]:
        """Return the `Quality` of each gate vector; a common prefix is computed once."""
        first_decides(gate_vectors)
        texts: list[list[str]] = [[] for _ in gate_vectors]
        losses = [0.0] * len(gate_vectors)
        for batch in in_order(self._results(gate_vectors)):
            for index, (found, loss) in enumerate(batch):
                texts[index] += found
                losses[index] += loss
        return [
            Quality(wer(self.references, rows), loss / len(self.references))
            for rows, loss in zip(texts, losses, strict=True)
        ]

    def serve(self) -> None:
        """Run what the first process asks for, until it asks for nothing more."""
        while gate_vectors := first_decides(None):
            in_order(self._results(gate_vectors))

    def finish(self) -> None:
        """Let the other processes end."""
        first_decides(None)

    def _results(self, gate_vectors: Sequence[Sequence[bool]]) -> list[list[tuple[list[str], float]]]:
        """Return texts and summed loss under each gate vector, for each batch of this process."""
        results = []
        self.lines.begin(f"{len(gate_vectors)} candidates", len(self.batches))
        for embedded, tokens, token_lengths in self.batches:
            output = self.recognizer.outputs(embedded, gate_vectors)
            batch = []
            for logits in output.logits:
                blank = self.recognizer.network.blank
                loss, count = feasible_ctc_loss(logits, output.lengths, tokens, token_lengths, blank)
                batch.append((self.recognizer.texts(unpadded(logits, output.lengths)), loss.item() * count))
            results.append(batch)
            self.lines.step()
        return results
