"""The network that is trained, decoded and exported: front end, gated encoder, CTC head."""

import copy
from typing import NamedTuple

import torch
from torch import nn

from dld.checks import FLAG, Number, Whole, require
from dld.encoders import GatedEncoder
from dld.errors import DldError
from dld.frontends import FrontEnd
from dld.gates import depth


def precision_context(device, precision):
    """Return a context that runs a network in "fp32", or in "bf16" by autocast; front ends stay outside of it."""
    if precision not in ("fp32", "bf16"):
        raise DldError(f"precision must be fp32 or bf16, got {precision!r}")
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


class Output(NamedTuple):
    """The output of a network for a batch under several gate vectors.

    Attributes
    ----------
    logits : list of Tensor (batch, frames, vocab_size)
        In the order of the gate vectors.
    lengths : LongTensor (batch,)
        Valid frames.
    hidden : list of Tensor (batch, frames, width)
        What the heads read.
    """

    logits: list[torch.Tensor]
    lengths: torch.Tensor
    hidden: list[torch.Tensor]


class GatedCTC(nn.Module):
    """Front end, gated encoder and a linear CTC head.

    Parameters
    ----------
    frontend : FrontEnd
        (waveforms, lengths) → (features, lengths), such as `dld.frontends.LogMel`.
    encoder : GatedEncoder
    vocab_size : int
        Tokens of the tokenizer, the blank (id 0) included.
    blank_bias : float
        Initial bias of the blank. CTC first learns to write blanks; where the head begins there, the encoder need not
        change for it.
    exit_heads : bool
        A linear layer of its own for every depth, as early exit has (arXiv 2309.09546), instead of one for all.
    """

    blank = 0

    def __init__(self, frontend, encoder, vocab_size, blank_bias=2.0, exit_heads=False):
        super().__init__()
        require(self, Whole(low=2), vocab_size=vocab_size)
        require(self, Number(), blank_bias=blank_bias)
        require(self, FLAG, exit_heads=exit_heads)
        for name, part, kind in (("frontend", frontend, FrontEnd), ("encoder", encoder, GatedEncoder)):
            if not isinstance(part, kind):
                raise DldError(f"GatedCTC: {name} is a {type(part).__name__}; it must be a {kind.__name__}")
        if encoder.input_size not in (None, frontend.output_size):
            raise DldError(
                f"the encoder's input_size is {encoder.input_size}; it must be {frontend.output_size}, the width of "
                f"{type(frontend).__name__}'s output"
            )
        self.frontend = frontend
        self.encoder = encoder
        self.head = nn.Linear(encoder.output_size, vocab_size)
        exits = encoder.num_blocks - 1 if exit_heads else 0
        # All begin with the same weights, so that networks with one head and with many use the same random numbers.
        self.exit_heads = nn.ModuleList(copy.deepcopy(self.head) for _ in range(exits))
        with torch.no_grad():
            for head in (self.head, *self.exit_heads):
                head.bias[self.blank] = blank_bias

    @property
    def num_blocks(self):
        """Blocks of the encoder, open or closed."""
        return self.encoder.num_blocks

    @property
    def vocab_size(self):
        """Outputs of the head, the blank included."""
        return self.head.out_features

    def head_of(self, gates):
        """Return the linear layer that reads the encoder's output under a gate vector."""
        exits = [*self.exit_heads, self.head] if self.exit_heads else [self.head] * self.num_blocks
        return exits[depth(gates) - 1]

    def forward(self, features, lengths, gate_vectors, share_prefix=None):
        """Return the logits of a batch under each of several gate vectors.

        Parameters
        ----------
        features : Tensor (batch, time, size)
            From `frontend`; they are computed once, whatever the number of gate vectors.
        lengths : LongTensor (batch,)
        gate_vectors : list of gate vectors
        share_prefix : bool, optional
            As in `GatedEncoder.encode`.

        Returns
        -------
        Output
        """
        return self.outputs(self.encoder.embed(features, lengths), gate_vectors, share_prefix)

    def outputs(self, embedded, gate_vectors, share_prefix=None):
        """Return the `Output` for a result of `encoder.embed`, which may be kept for other vectors; see `forward`."""
        if isinstance(gate_vectors[0], (bool, int)):
            raise DldError("a list of gate vectors is needed; put a single one in a list")
        outputs = self.encoder.encode(embedded, gate_vectors, share_prefix)
        logits = [self.head_of(gates)(hidden) for gates, hidden in zip(gate_vectors, outputs, strict=True)]
        return Output(logits, embedded.lengths, outputs)

    def parameter_counts(self, gates):
        """Return the number of all parameters, and of those that run under a gate vector.

        Returns
        -------
        total, active : int
        """
        idle = [head for head in (self.head, *self.exit_heads) if head is not self.head_of(gates)]
        closed = {id(p) for head in idle for p in head.parameters()}
        for block, gate in zip(self.encoder.layers, gates, strict=True):
            if not gate:
                closed.update(map(id, block.parameters()))
        total = sum(p.numel() for p in self.parameters())
        return total, sum(p.numel() for p in self.parameters() if id(p) not in closed)
