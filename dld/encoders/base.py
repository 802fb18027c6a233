"""The interface of every gated encoder, and what all have in common: running blocks under gate vectors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from dld.gates import check_gates

GateVector = Sequence[bool | int]


@dataclass
class Embedded:
    """Input of the block stack; computed once for all gate vectors.

    Attributes
    ----------
    hidden : Tensor (batch, frames, width)
    lengths : LongTensor (batch,)
        Valid frames of each utterance in the encoder's output.
    padding : BoolTensor (batch, frames) or None
        True on padded frames; None where there are none.
    positions : object
        Positions as the blocks' attention needs them, computed outside the gates; None if it needs none.
    """

    hidden: Tensor
    lengths: Tensor
    padding: Tensor | None
    positions: Any = None


class Encoded(NamedTuple):
    """The output of an encoder for a batch under one gate vector.

    Attributes
    ----------
    hidden : Tensor (batch, frames, output_size)
    lengths : LongTensor (batch,)
        Valid frames of each utterance.
    """

    hidden: Tensor
    lengths: Tensor


class GatedEncoder(nn.Module, ABC):
    """An encoder of N blocks, each behind a gate: the contract that all encoders keep.

    A subclass must

    - call this constructor with what networks, tables and timing need to know of it,
    - set `layers`, an `nn.ModuleList` of its blocks, which holds all of their parameters,
    - implement `embed` (everything before the blocks) and `run_block`.

    It may replace `finish` (everything after the blocks) or `finish_path`, `skip_block` where a closed gate is more
    than the identity, `parameter_groups`, and `on_update`. What `embed` and `run_block` compute for an utterance must
    not depend on the padding, nor on the other utterances of the batch; `tests/encoders/test_gated.py` checks that and
    the rest for every encoder.

    Parameters
    ----------
    num_blocks : int
    output_size : int
        Width of what `finish` returns.
    subsampling : int
        Input steps for each output frame.
    input_size : int, optional
        Width of the input; features of another size are refused when the network is built.
    overlap : int
        Input steps that a frame sees beyond `subsampling`, where the end of an utterance has no frame of its own.
    max_seconds : float, optional
        The longest utterance that it takes; by default there is no limit.

    Raises
    ------
    TypeError
        When a subclass is built that lacks one of the methods or one of the required arguments.

    Examples
    --------
    >>> import torch
    >>> class Residual(GatedEncoder):
    ...     def __init__(self, width, num_blocks):
    ...         super().__init__(num_blocks=num_blocks, output_size=width, subsampling=1, input_size=width)
    ...         self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(num_blocks))
    ...     def embed(self, features, lengths):
    ...         return Embedded(features, lengths, padding=None)
    ...     def run_block(self, index, hidden, embedded):
    ...         return hidden + self.layers[index](hidden)
    >>> encoder = Residual(width=4, num_blocks=3)
    >>> encoder(torch.randn(1, 5, 4), torch.tensor([5]), gates=(True, False, True)).hidden.shape
    torch.Size([1, 5, 4])
    """

    layers: nn.ModuleList

    def __init__(
        self,
        *,
        num_blocks: int,
        output_size: int,
        subsampling: int,
        input_size: int | None = None,
        overlap: int = 0,
        max_seconds: float | None = None,
    ):
        super().__init__()
        self.num_blocks = num_blocks
        self.output_size = output_size
        self.subsampling = subsampling
        self.input_size = input_size
        self.overlap = overlap
        self.max_seconds = max_seconds

    @property
    def description(self) -> str:
        """What tables call the encoder: its kind, blocks and width, as `conformer-12x256`."""
        return f"{type(self).__name__.removeprefix('Gated').lower()}-{self.num_blocks}x{self.output_size}"

    # ------------------------------------------------------------ what a subclass must define

    @abstractmethod
    def embed(self, features: Tensor, lengths: Tensor) -> Embedded:
        """Compute everything before the blocks: (batch, time, input_size), (batch,) → `Embedded`."""

    @abstractmethod
    def run_block(self, index: int, hidden: Tensor, embedded: Embedded) -> Tensor:
        """Return the output of block `index`, shape as `hidden`."""

    # ------------------------------------------------------------ what it may define

    def skip_block(self, index: int, hidden: Tensor) -> Tensor:
        """Return the output where gate `index` is closed: by the DLD equation (arXiv 2601.16117) the input itself."""
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Compute everything after the blocks: (batch, frames, width) → (batch, frames, output_size)."""
        return hidden

    def finish_path(self, path: list[Tensor]) -> Tensor:
        """Compute the same from what enters the first block and the output of every block, open or closed."""
        return self.finish(path[-1])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters for an optimizer, in groups with their factor on the learning rate.

        Returns
        -------
        list of dict
            With "params" and "lr_scale"; every parameter is in one group.
        """
        return [{"params": list(self.parameters()), "lr_scale": 1.0}]

    def on_update(self, update: int) -> None:
        """Prepare for the next update, given the number of updates made so far: for what is frozen at first."""

    # ------------------------------------------------------------ what all have in common

    def encode(
        self, embedded: Embedded, gate_vectors: Sequence[GateVector], share_prefix: bool | None = None
    ) -> list[Tensor]:
        """Run the blocks under each of several gate vectors.

        In evaluation, the blocks of a common prefix run once; the result is the same as
        running each by itself. In training each runs by itself, with dropout of its own, unless `share_prefix` is true.

        Parameters
        ----------
        embedded : Embedded
        gate_vectors : sequence of gate vectors
            Each of `num_blocks` booleans with at least one open.
        share_prefix : bool, optional
            Run a common prefix once (default: in evaluation only).

        Returns
        -------
        list of Tensor (batch, frames, output_size)
            In the order of `gate_vectors`.

        Raises
        ------
        DldError
            A gate vector is of another length, or has no open gate.
        """
        vectors = [check_gates(gates, self.num_blocks) for gates in gate_vectors]
        share_prefix = not self.training if share_prefix is None else share_prefix
        outputs: dict[int, Tensor] = {}
        path, previous = [embedded.hidden], ()
        for position in sorted(range(len(vectors)), key=vectors.__getitem__):
            gates = vectors[position]
            shared = _common_prefix(gates, previous) if share_prefix else 0
            del path[shared + 1 :]
            for index in range(shared, self.num_blocks):
                hidden = path[-1]
                path.append(self.run_block(index, hidden, embedded) if gates[index] else self.skip_block(index, hidden))
            outputs[position] = self.finish_path(path)
            previous = gates
        return [outputs[position] for position in range(len(vectors))]

    def forward(self, features: Tensor, lengths: Tensor, gates: GateVector) -> Encoded:
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
        Encoded
        """
        embedded = self.embed(features, lengths)
        return Encoded(self.encode(embedded, [gates])[0], embedded.lengths)


def _common_prefix(first: GateVector, second: GateVector) -> int:
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count
