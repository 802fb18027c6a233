"""A Conformer with chunks that runs while its input arrives."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dld.encoders.base import GateVector
from dld.encoders.conformer import GatedConformer
from dld.errors import DldError
from dld.gates import check_gates


class EncoderStream:
    """Encode one utterance that arrives in parts, under one gate vector, as if it were there as a whole.

    Memory and the work for a chunk do not depend on what came before, if the encoder has `left_chunks`.

    Parameters
    ----------
    encoder : GatedConformer
        With `chunk`; in evaluation mode.
    gates : gate vector

    Raises
    ------
    DldError
        The encoder has no chunks, or the gate vector is none of it.

    Examples
    --------
    >>> settings = {"d_model": 16, "d_ffn": 32, "num_heads": 2, "kernel_size": 3, "attention": "rotary", "chunk": 4}
    >>> encoder = GatedConformer(input_size=80, num_blocks=2, **settings).eval()
    >>> stream = EncoderStream(encoder, (True, False))
    >>> [stream.accept(torch.randn(1, 10, 80)).shape[1] for _ in range(4)], stream.end().shape[1]
    ([0, 4, 0, 4], 2)
    """

    def __init__(self, encoder: GatedConformer, gates: GateVector):
        if not isinstance(encoder, GatedConformer) or encoder.chunks is None:
            raise DldError(
                "the encoder has no chunks, so that its frames see all of an utterance; train one with encoder.chunk"
            )
        self.encoder, self.chunks = encoder, encoder.chunks
        self.gates = check_gates(gates, encoder.num_blocks)
        self._pasts = [layer.new_past() for layer in encoder.layers]
        weight = next(encoder.parameters())
        self._features = weight.new_empty(1, 0, encoder.config.input_size)
        self._begun = False

    @torch.no_grad()
    def accept(self, features: Tensor) -> Tensor:
        """Take the next features and return the frames of the chunks that they complete.

        Parameters
        ----------
        features : Tensor (1, time, input_size)

        Returns
        -------
        Tensor (1, frames, output_size)
            No frames while a chunk is not complete.
        """
        self._features = torch.cat([self._features, features], 1)
        return self._joined(self._complete())

    @torch.no_grad()
    def end(self) -> Tensor:
        """Return the frames of the last chunk, which need not be complete."""
        rest = self._features.shape[1] - self._before
        return self._joined([self._run(self._features, rest)] if rest else [])

    @property
    def _before(self) -> int:
        """Features in front of the next chunk's, which its first frame sees."""
        return self.encoder.subsampling if self._begun else 0

    def _complete(self) -> Iterator[Tensor]:
        size = self.chunks.size * self.encoder.subsampling
        while self._features.shape[1] - self._before >= size:
            needed = self._features[:, : self._before + size]
            yield self._run(needed, size)
            self._features = self._features[:, needed.shape[1] - self.encoder.subsampling :]
            self._begun = True

    def _run(self, features: Tensor, new: int) -> Tensor:
        hidden, _ = self.encoder.front(features, torch.tensor([features.shape[1]], device=features.device))
        # The frame of the features in front lacks those before it.
        hidden = hidden[:, hidden.shape[1] - -(-new // self.encoder.subsampling) :]
        for index, (past, is_open) in enumerate(zip(self._pasts, self.gates, strict=True)):
            if is_open:
                positions = self.encoder.rotations(past.attended.shape[1] + hidden.shape[1], hidden)
                hidden = self.encoder.layers[index](hidden, None, positions, past)
            else:
                hidden = self.encoder.skip_block(index, hidden)
        return self.encoder.finish(hidden)

    def _joined(self, parts) -> Tensor:
        parts = list(parts)
        return torch.cat(parts, 1) if parts else self._features.new_empty(1, 0, self.encoder.output_size)
