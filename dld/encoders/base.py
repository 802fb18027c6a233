"""What every gated encoder shares: running its blocks under gate vectors."""

from dataclasses import dataclass

import torch
from torch import nn

from dld.gates import check_gates


@dataclass
class Embedded:
    """What enters the block stack; computed once, whatever the gates.

    Attributes
    ----------
    hidden : Tensor (batch, frames, width)
    lengths : LongTensor (batch,)
        Valid frames of each utterance.
    padding : BoolTensor (batch, frames) or None
        True on padded frames; None where there are none.
    positions : Tensor or None
        What the blocks' attention needs to know of positions, computed outside the gates.
    """

    hidden: torch.Tensor
    lengths: torch.Tensor
    padding: torch.Tensor | None
    positions: torch.Tensor | None = None


class GatedEncoder(nn.Module):
    """An encoder of N blocks, each behind a gate.

    A subclass gives `embed` (everything before the blocks), `run_block`, `finish` (everything after them), and where a
    closed gate is more than the identity, `skip_block`. It sets `num_blocks`, `output_size`, `subsampling` (input
    steps for each output frame) and, where the end of an utterance gives no frame of its own, `overlap` (input steps
    that a frame sees beyond those). `max_seconds` is the longest utterance it takes, None where any will do. With
    `input_size`, features of another size are refused when the network is built.
    """

    num_blocks: int
    output_size: int
    subsampling: int
    input_size: int | None = None
    overlap: int = 0
    max_seconds: float | None = None

    @property
    def description(self):
        """What tables call the encoder: its kind, blocks and width, as `conformer-12x256`."""
        return f"{type(self).__name__.removeprefix('Gated').lower()}-{self.num_blocks}x{self.output_size}"

    def embed(self, features, lengths):
        """Everything before the blocks: (batch, time, size), (batch,) → `Embedded`."""
        raise NotImplementedError

    def run_block(self, index, hidden, embedded):
        """Output of block `index`, shape as `hidden`."""
        raise NotImplementedError

    def skip_block(self, index, hidden):
        """What goes on where gate `index` is closed: by the DLD equation the input itself."""
        return hidden

    def finish(self, hidden):
        """Everything after the blocks."""
        return hidden

    def finish_path(self, path):
        """The same, for encoders whose output takes in more than the last: `path` is what every block put out."""
        return self.finish(path[-1])

    def parameter_groups(self):
        """Parameters for an optimizer, in groups with their share of the learning rate, `lr_scale`."""
        return [{"params": list(self.parameters()), "lr_scale": 1.0}]

    def on_update(self, update):
        """Called before each training batch with the number of updates made so far, for what is frozen at first."""

    def encode(self, embedded, gate_vectors, share_prefix=None):
        """Run the blocks under each of several gate vectors.

        In evaluation, vectors with a common prefix share its blocks; the result is the same as
        running each by itself. In training each runs by itself, with dropout of its own, unless `share_prefix` is true.

        Parameters
        ----------
        embedded : Embedded
        gate_vectors : list of gate vectors
            Each of `num_blocks` booleans with at least one open.
        share_prefix : bool, optional
            Run a common prefix once (default: in evaluation only).

        Returns
        -------
        list of Tensor (batch, frames, output_size), in the order of `gate_vectors`
        """
        vectors = [check_gates(gates, self.num_blocks) for gates in gate_vectors]
        share_prefix = not self.training if share_prefix is None else share_prefix
        outputs = [None] * len(vectors)
        path, previous = [embedded.hidden], ()
        for place in sorted(range(len(vectors)), key=vectors.__getitem__):
            gates = vectors[place]
            shared = _common_prefix(gates, previous) if share_prefix else 0
            del path[shared + 1 :]
            for index in range(shared, self.num_blocks):
                hidden = path[-1]
                path.append(self.run_block(index, hidden, embedded) if gates[index] else self.skip_block(index, hidden))
            outputs[place] = self.finish_path(path)
            previous = gates
        return outputs

    def forward(self, features, lengths, gates):
        """Encode a batch with one gate vector.

        Parameters
        ----------
        features : Tensor (batch, time, input_size)
            Or waveforms (batch, samples) for encoders that take them.
        lengths : LongTensor (batch,)
            Valid input steps of each utterance.
        gates : sequence of N booleans
            True runs the block; a closed gate runs no code of its block.

        Returns
        -------
        hidden : Tensor (batch, frames, output_size)
        lengths : LongTensor (batch,)
            Valid frames of each utterance.
        """
        embedded = self.embed(features, lengths)
        return self.encode(embedded, [gates])[0], embedded.lengths


def _common_prefix(first, second):
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count
