"""A network in pieces, each an ONNX graph: what is before the blocks, each block, and what is after them.

They are traced once, and hold the only copy of the weights. A pack runs them in a chain; `compose.chain` makes one
graph of them.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from dld.encoders import GatedConformer, GatedEncoder, GatedWavLM, GatedWhisper, kernels
from dld.encoders.base import Embedded
from dld.errors import DldError
from dld.export.frontends import Restored, graph_of, length_of
from dld.network import GatedCTC

OPSET = 17
#: Samples of the noise that is traced; graphs take any number.
TRACED = 12_000


@dataclass
class Pieces:
    """The graphs of a network.

    Attributes
    ----------
    front : ModelProto
        Inputs → `hidden` and the `context`; see `INPUTS`.
    blocks : list of ModelProto
        `hidden` and context → `out`.
    skips : list of ModelProto
        The same for a closed gate; empty where that is the identity.
    heads : list of ModelProto
        What reads the output of the blocks, → `logits`: one, or one for each depth. The inputs are `hidden`, or where
        `reads_path` is true `hidden_0` … `hidden_N`, what enters the first block and the output of each.
    context : list of str
        Names of what blocks read next to `hidden`: `padding` (batch, frames), `positions`.
    inputs : list of str
        Of `front`: `waveform`, or `x` and `x_lens`.
    """

    front: onnx.ModelProto
    blocks: list[onnx.ModelProto]
    heads: list[onnx.ModelProto]
    context: list[str]
    inputs: list[str]
    skips: list[onnx.ModelProto] = field(default_factory=list)
    reads_path: bool = False

    def all(self) -> list[onnx.ModelProto]:
        """Return every graph."""
        return [self.front, *self.blocks, *self.skips, *self.heads]


def trace(network: GatedCTC, takes: str = "waveform") -> Pieces:
    """Return the graphs of a network.

    Parameters
    ----------
    network : GatedCTC
    takes : {"waveform", "restored", "features"}
        What the first graph takes: the waveform of one utterance; one that sherpa-onnx has normalised (see `Restored`);
        or a batch of features before their normalisation, with their lengths.

    Raises
    ------
    DldError
        Front end or encoder is of a class that cannot be exported.
    """
    encoder = network.encoder
    stack = stack_of(encoder)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), kernels.use(False), _quiet():
            pieces = _trace(network, stack, takes)
    finally:
        network.train(was_training)
    return pieces


def _trace(network: GatedCTC, stack: "Stack", takes: str) -> Pieces:
    encoder, batched = network.encoder, takes == "features"
    if batched:
        front: nn.Module = _FeaturesFront(network, stack)
        inputs = {"x": (torch.randn(2, 75, network.frontend.output_size), {0: "batch", 1: "time"})}
        inputs["x_lens"] = (torch.tensor([75, 60]), {0: "batch"})
    else:
        graph = graph_of(network.frontend)
        front = _WaveformFront(Restored(graph) if takes == "restored" else graph, stack)
        inputs = {"waveform": (torch.randn(1, TRACED) / 10, {1: "samples"})}
    given = [tensor for tensor, _ in inputs.values()]
    hidden, *context = front(*given)
    lengths = context.pop() if batched else None
    names = (["padding"] if batched else []) + (["positions"] if len(context) > batched else [])
    axes = {name: free for name, (_, free) in inputs.items()}
    axes["hidden"] = {0: "batch", 1: "frames"} if batched else {1: "frames"}
    axes["padding"] = {0: "batch", 1: "frames"}
    axes["positions"] = stack.position_axes
    outputs = ["hidden", *names] + (["lengths"] if lengths is not None else [])
    pieces = Pieces(_export(front, given, list(inputs), outputs, axes), [], [], names, list(inputs))
    for index in range(network.num_blocks):
        block = _Block(stack, index, batched)
        pieces.blocks.append(_export(block, [hidden, *context], ["hidden", *names], ["out"], axes))
        if getattr(encoder, "config", None) is not None and getattr(encoder.config, "closed_norm", False):
            pieces.skips.append(_export(_Skip(encoder, index), [hidden], ["hidden"], ["out"], axes))
    pieces.reads_path = getattr(encoder, "layer_weights", None) is not None
    reads = [f"hidden_{index}" for index in range(network.num_blocks + 1)] if pieces.reads_path else ["hidden"]
    for linear in [*network.exit_heads, network.head]:
        head_axes = dict.fromkeys(reads, axes["hidden"])
        pieces.heads.append(_export(_Head(encoder, linear), [hidden] * len(reads), reads, ["logits"], head_axes))
    return pieces


# ------------------------------------------------------------ what encoders differ in


class Stack:
    """How an encoder of one class is traced: its blocks on tensors alone.

    Parameters
    ----------
    encoder : GatedEncoder
    """

    position_axes: dict[int, str] = {}

    def __init__(self, encoder: GatedEncoder):
        self.encoder = encoder

    def embed(self, features: Tensor, lengths: Tensor) -> Embedded:
        """Compute what enters the blocks; its positions are a tensor or None."""
        return self.encoder.embed(features, lengths)

    def embed_whole(self, features: Tensor) -> Embedded:
        """Compute the same of one utterance without padding."""
        return self.embed(features, length_of(features))

    def block(self, index: int, hidden: Tensor, padding: Tensor | None, positions: Tensor | None) -> Tensor:
        """Compute a block."""
        return self.encoder.run_block(index, hidden, Embedded(hidden, hidden, padding, positions))

    def samples_needed(self) -> int:
        """Return the samples or features of the shortest utterance that has a frame."""
        return 1


class ConformerStack(Stack):
    """`GatedConformer`: positions are rotations or encodings of offsets."""

    def __init__(self, encoder: GatedConformer):
        super().__init__(encoder)
        self.position_axes = {0: "frames"} if encoder.config.attention == "rotary" else {1: "offsets"}

    def embed_whole(self, features: Tensor) -> Embedded:
        """Compute what enters the blocks, without masks: with 64 channels they take as long as a block of int8."""
        hidden = self.encoder.front.convolved(features, None)
        return Embedded(hidden, hidden, None, self.encoder.positions_of(hidden))


class WavLMStack(Stack):
    """`GatedWavLM`: positions are the bias of attention, expanded once for all blocks."""

    position_axes = {2: "frames", 3: "frames"}

    def embed(self, features: Tensor, lengths: Tensor) -> Embedded:
        """Compute what enters the blocks."""
        embedded = self.encoder.embed(features, lengths)
        embedded.positions = self.encoder.positions.expand(embedded.positions)
        return embedded

    def block(self, index: int, hidden: Tensor, padding: Tensor | None, positions: Tensor | None) -> Tensor:
        """Compute a block."""
        return self.encoder.layers[index](hidden, position_bias=positions, key_padding_mask=padding)[0]

    def samples_needed(self) -> int:
        """Return the samples that the first frame sees."""
        return self.encoder.extractor.window


_STACKS: dict[type[GatedEncoder], type[Stack]] = {
    GatedConformer: ConformerStack,
    GatedWavLM: WavLMStack,
    GatedWhisper: Stack,
}


def stack_of(encoder: GatedEncoder) -> Stack:
    """Return how an encoder is traced; a `DldError` where its class cannot be exported."""
    if type(encoder) not in _STACKS:
        names = ", ".join(cls.__name__ for cls in _STACKS)
        raise DldError(f"{type(encoder).__name__} cannot be exported; encoders that can are {names}")
    return _STACKS[type(encoder)](encoder)


# ------------------------------------------------------------ what is traced


class _WaveformFront(nn.Module):
    """(1, samples) → hidden (1, frames, width), and positions where blocks need them."""

    def __init__(self, graph: nn.Module, stack: Stack):
        super().__init__()
        self.graph, self.encoder, self.stack = graph, stack.encoder, stack

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        features = self.graph(waveform)
        if (needed := self.stack.samples_needed()) > 1:
            missing = (needed - length_of(features)).clamp_min(0)
            features = functional.pad(features, (0, missing[0]))  # type: ignore[arg-type]
        embedded = self.stack.embed_whole(features)
        return (embedded.hidden, *([] if embedded.positions is None else [embedded.positions]))


class _FeaturesFront(nn.Module):
    """(batch, time, bins) and (batch,) → hidden, padding, positions where blocks need them, lengths."""

    def __init__(self, network: GatedCTC, stack: Stack):
        super().__init__()
        self.normalisation, self.encoder, self.stack = network.frontend.normalisation, network.encoder, stack

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        if self.normalisation is not None:
            features = self.normalisation(features, lengths)
        embedded = self.stack.embed(features, lengths)
        positions = [] if embedded.positions is None else [embedded.positions]
        return embedded.hidden, embedded.padding, *positions, embedded.lengths


class _Block(nn.Module):
    def __init__(self, stack: Stack, index: int, padded: bool):
        super().__init__()
        self.layer, self.stack, self.index, self.padded = stack.encoder.layers[index], stack, index, padded

    def forward(self, hidden: Tensor, *context: Tensor) -> Tensor:
        padding = context[0] if self.padded else None
        positions = context[-1] if len(context) > self.padded else None
        return self.stack.block(self.index, hidden, padding, positions)


class _Skip(nn.Module):
    def __init__(self, encoder: GatedEncoder, index: int):
        super().__init__()
        self.encoder, self.index = encoder, index

    def forward(self, hidden: Tensor) -> Tensor:
        return self.encoder.skip_block(self.index, hidden)


class _Head(nn.Module):
    def __init__(self, encoder: GatedEncoder, linear: nn.Linear):
        super().__init__()
        self.encoder, self.linear = encoder, linear

    def forward(self, *path: Tensor) -> Tensor:
        return self.linear(self.encoder.finish_path(list(path)))


def _export(
    module: nn.Module,
    given: Sequence[Tensor],
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> onnx.ModelProto:
    """Trace a module with some inputs; `axes` are those of any length, by tensor."""
    named = {name: axes.get(name, axes["hidden"] if name == "out" else {}) for name in [*inputs, *outputs]}
    if "logits" in outputs:
        named["logits"] = axes[inputs[0]]
    written = io.BytesIO()
    torch.onnx.export(
        module.eval(),
        tuple(given),
        written,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=OPSET,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=named,
    )
    return onnx.load_model_from_string(written.getvalue())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's warnings, which are about what is meant to be constant, off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
