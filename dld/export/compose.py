"""One ONNX graph out of pieces, for one gate vector."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from dld.export.pieces import Pieces
from dld.gates import depth

#: Version of the file format that the runtimes of phones still read.
IR_VERSION = 8


class Composer:
    """Joins graphs by the names of their tensors.

    Attributes
    ----------
    nodes, initializers : list
        Of the graph so far.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, model: onnx.ModelProto, prefix: str, names: Mapping[str, str]) -> None:
        """Append a graph.

        Parameters
        ----------
        model : ModelProto
        prefix : str
            Put before the names of its nodes and inner tensors.
        names : mapping of str to str
            What its inputs and outputs are called in the whole graph.
        """

        def renamed(name: str) -> str:
            return names.get(name, prefix + name) if name else ""

        for tensor in model.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = renamed(tensor.name)
            self.initializers.append(copy)
        for node in model.graph.node:
            new = onnx.NodeProto()
            new.CopyFrom(node)
            new.name = prefix + node.name
            new.input[:] = [renamed(name) for name in node.input]
            new.output[:] = [renamed(name) for name in node.output]
            self.nodes.append(new)

    def node(self, operator: str, inputs: Iterable[str], outputs: Iterable[str], **attributes: Any) -> None:
        """Append a node."""
        outputs = list(outputs)
        self.nodes.append(
            helper.make_node(operator, list(inputs), outputs, name=f"{operator}/{outputs[0]}", **attributes)
        )

    def constant(self, name: str, array: np.ndarray | np.float32) -> str:
        """Append a constant and return its name."""
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], opset: int
    ) -> onnx.ModelProto:
        """Return the whole graph, checked."""
        graph = helper.make_graph(self.nodes, "dld", inputs, outputs, self.initializers)
        model = helper.make_model(
            graph, producer_name="dld", opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model)
        return model


def add_network(composer: Composer, pieces: Pieces, gates: Sequence[bool]) -> None:
    """Append a network under a gate vector: inputs as in `pieces.inputs` → `logits`, and `lengths` of a batch."""
    same = {name: name for name in [*pieces.inputs, *pieces.context, "lengths"]}
    composer.add(pieces.front, "front/", {**same, "hidden": "hidden_0"})
    hidden, path = "hidden_0", ["hidden_0"]
    for index, gate in enumerate(gates):
        following = f"hidden_{index + 1}"
        if gate:
            composer.add(pieces.blocks[index], f"block{index}/", {**same, "hidden": hidden, "out": following})
            hidden = following
        elif pieces.skips:
            composer.add(pieces.skips[index], f"skip{index}/", {"hidden": hidden, "out": following})
            hidden = following
        path.append(hidden)
    head = pieces.heads[depth(gates) - 1 if len(pieces.heads) > 1 else 0]
    names = {f"hidden_{index}": name for index, name in enumerate(path)} if pieces.reads_path else {"hidden": hidden}
    composer.add(head, "head/", {**names, "logits": "logits"})


def whole(pieces: Pieces, gates: Sequence[bool]) -> onnx.ModelProto:
    """Return the network under a gate vector as one graph: inputs as in `pieces.inputs` → `logits`."""
    composer = Composer()
    add_network(composer, pieces, gates)
    outputs = list(pieces.heads[0].graph.output)
    if "x_lens" in pieces.inputs:
        outputs += [value for value in pieces.front.graph.output if value.name == "lengths"]
    return composer.model(list(pieces.front.graph.input), outputs, pieces.front.opset_import[0].version)


def shortened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose nodes have no names and whose inner tensors have short ones, for small files.

    The tracer names everything by its path in the network, which makes a fifth of a small quantised block.
    """
    short = onnx.ModelProto()
    short.CopyFrom(model)
    graph = short.graph
    del graph.value_info[:]
    kept = {value.name: value.name for value in [*graph.input, *graph.output]}
    names = {"": "", **kept}
    for node in graph.node:
        node.name = node.doc_string = ""
        for tensors in (node.input, node.output):
            tensors[:] = [names.setdefault(name, f"t{len(names)}") for name in tensors]
    for tensor in graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"t{len(names)}")
    return short
