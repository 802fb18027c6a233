"""A recogniser whose network is a pack: ONNX graphs, run without torch."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dld.data.tokenizer import Tokenizer
from dld.errors import DldError
from dld.gates import GateTable
from dld.packs.chain import Chain
from dld.packs.metadata import AGAIN, TOKENIZER, read
from dld.recognition.base import Recognizer


class PackRecognizer(Recognizer):
    """A `Recognizer` around a pack; see `dld.load_model`.

    Parameters
    ----------
    folder : str or Path
        Of the pack. All of its files are checked.
    threads : int
        Threads of the computation.
    spinning : bool
        See `dld.packs.chain.Chain`.

    Attributes
    ----------
    metadata : Metadata
        What the pack says of itself.

    Raises
    ------
    DldError
        It is not a pack, or a file of it is damaged, hostile or of another pack.
    """

    def __init__(self, folder: str | os.PathLike, threads: int = 1, spinning: bool = False):
        folder = Path(folder)
        self.metadata = read(folder)
        self.chain = Chain(folder, self.metadata, threads, spinning)
        tokenizer = Tokenizer(folder / TOKENIZER)
        if tokenizer.sha256 != self.metadata.files[TOKENIZER]["sha256"]:
            raise DldError(f"{folder / TOKENIZER}: changed while the pack was loaded; {AGAIN}")
        if len(tokenizer) != self.metadata.vocab_size:
            raise DldError(f"{folder}: {self.metadata.vocab_size} outputs, but {len(tokenizer)} tokens; {AGAIN}")
        super().__init__(
            tokenizer,
            sample_rate=self.metadata.sample_rate,
            channel=self.metadata.channel,
            policy=self.metadata.policy,
            depths="all" if self.metadata.decode_depths is None else self.metadata.decode_depths,
            state_sha256=self.metadata.model.state_sha256,
            folder=folder,
        )
        self.max_seconds = self.metadata.max_seconds

    @property
    def num_blocks(self) -> int:
        """Blocks of the encoder, open or closed."""
        return self.metadata.num_blocks

    @property
    def frame_seconds(self) -> float:
        """Seconds between the frames of the logits."""
        return self.metadata.frame_seconds

    def gate_table(self) -> GateTable | None:
        """Return the gate table of the pack."""
        return self.metadata.table()

    def has_exit_heads(self) -> bool:
        """Return whether each depth has a head of its own."""
        return len(self.metadata.graphs.heads) > 1

    def compute(self) -> dict[int, float]:
        """Return the compute of each depth, as a part of full depth."""
        return {record.depth: record.compute for record in self.metadata.depths}

    def logits(self, waveforms: Sequence[np.ndarray], gate_vectors: Sequence[Sequence[bool]]) -> list[list[np.ndarray]]:
        """Return the logits of utterances under each of several gate vectors; see `Recognizer.logits`.

        They run one by one: on a processor, batches save nothing and cost padding.
        """
        found = [self.chain.run(waveform, gate_vectors) for waveform in waveforms]
        return [list(rows) for rows in zip(*found, strict=True)]
