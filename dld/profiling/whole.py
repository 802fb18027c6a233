"""A pack whose graphs are joined to a single one: what a chain of graphs is compared with."""

import os
from collections.abc import Sequence

import numpy as np

from dld.errors import DldError
from dld.export.compose import shortened, whole
from dld.export.pack import pieces_of
from dld.packs.chain import session_options
from dld.recognition.pack import PackRecognizer


class WholeGraph(PackRecognizer):
    """A `PackRecognizer` that runs one graph, at full depth only; see there for the parameters.

    Attributes
    ----------
    bytes : int
        Size of the graph.
    """

    def __init__(self, folder: str | os.PathLike, threads: int = 1, spinning: bool = False):
        super().__init__(folder, threads, spinning)
        joined = whole(pieces_of(self.chain.folder, self.metadata), (True,) * self.num_blocks)
        content = shortened(joined).SerializeToString()
        self.bytes = len(content)
        runtime = self.chain.runtime
        self.session = runtime.InferenceSession(
            content, session_options(runtime, threads, spinning), providers=["CPUExecutionProvider"]
        )

    def logits(self, waveforms: Sequence[np.ndarray], gate_vectors: Sequence[Sequence[bool]]) -> list[list[np.ndarray]]:
        """Return the logits of utterances at full depth; see `Recognizer.logits`."""
        if not all(map(all, gate_vectors)):
            raise DldError("a single graph has no gates; it runs at full depth")
        found = [self.session.run(["logits"], {"waveform": waveform[None]})[0][0] for waveform in waveforms]
        return [found for _ in gate_vectors]
