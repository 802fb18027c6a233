"""The network that is trained, decoded and exported: front end, gated encoder, CTC head."""

import torch
from torch import nn

from dld.errors import DldError


class GatedCTC(nn.Module):
    """Front end, gated encoder and a linear CTC head.

    Parameters
    ----------
    frontend : Module
        (waveforms, lengths) → (features, lengths), such as `dld.features.LogMel`.
    encoder : GatedEncoder
    vocab_size : int
        Units of the tokenizer, the blank (id 0) included.
    blank_bias : float
        Initial bias of the blank. CTC first learns to write blanks; where the head begins there, the encoder need not
        change for it.
    """

    blank = 0

    def __init__(self, frontend, encoder, vocab_size, blank_bias=2.0):
        super().__init__()
        self.frontend = frontend
        self.encoder = encoder
        self.head = nn.Linear(encoder.output_size, vocab_size)
        with torch.no_grad():
            self.head.bias[self.blank] = blank_bias

    @property
    def num_blocks(self):
        """Blocks of the encoder, open or closed."""
        return self.encoder.num_blocks

    @property
    def vocab_size(self):
        """Outputs of the head, the blank included."""
        return self.head.out_features

    def forward(self, features, lengths, gate_vectors):
        """Logits of a batch under each of several gate vectors.

        Parameters
        ----------
        features : Tensor (batch, time, size)
            From `frontend`; they are computed once, whatever the number of gate vectors.
        lengths : LongTensor (batch,)
        gate_vectors : list of gate vectors

        Returns
        -------
        logits : list of Tensor (batch, frames, vocab_size)
        lengths : LongTensor (batch,)
            Valid frames.
        """
        if isinstance(gate_vectors[0], (bool, int)):
            raise DldError("forward takes a list of gate vectors; put a single one in a list")
        embedded = self.encoder.embed(features, lengths)
        return [self.head(hidden) for hidden in self.encoder.encode(embedded, gate_vectors)], embedded.lengths

    def parameter_counts(self, gates):
        """Parameters in all, and those that work under a gate vector.

        Returns
        -------
        total, active : int
        """
        closed = set()
        for block, gate in zip(self.encoder.layers, gates, strict=True):
            if not gate:
                closed.update(map(id, block.parameters()))
        total = sum(p.numel() for p in self.parameters())
        return total, sum(p.numel() for p in self.parameters() if id(p) not in closed)
