"""Weights of eight bits."""

import logging
import math
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dld.export.pieces import Pieces

#: Weights from which on a matrix or convolution before the blocks is in int8. Those of "conv2d" take as long as a block
#: of int8; those of small networks are not worth it.
LARGE = 2**15
#: Largest weight: seven of the eight bits, since the sums of two products with eight overflow on processors without
#: instructions for dot products.
HIGHEST = 63


def quantise(pieces: Pieces) -> Pieces:
    """Return the pieces of a network with its large matrices in int8.

    Every output channel has a scale of its own; activations get theirs when the graph runs. These are the products with
    matrices in the blocks, and of the subsampling what is large, its convolution included, as a product. The front end,
    the other convolutions and the head, which lose most and are small, stay in float32.
    """
    logging.disable(logging.WARNING)  # the advice to prepare graphs, which is of no use to these
    try:
        blocks = [_quantised(block, _products(block)) for block in pieces.blocks]
        # That of the subsampling, by its path in the network; the front end has matrices, too.
        large = [name for name in _products(pieces.front, LARGE) if "project" in name.split("/")]
        front = _quantised(pieces.front, large) if large else pieces.front
    finally:
        logging.disable(logging.NOTSET)
    front = _with_quantised_convolutions(front)
    return Pieces(front, blocks, pieces.heads, pieces.context, pieces.inputs, pieces.skips, pieces.reads_path)


def _products(model: onnx.ModelProto, weights: int = 1) -> list[str]:
    """Return the names of products with a constant matrix that has at least `weights` elements."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    return [
        node.name for node in model.graph.node if node.op_type == "MatMul" and sizes.get(node.input[1], 0) >= weights
    ]


def _quantised(model: onnx.ModelProto, nodes: list[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True, "DisableShapeInference": True},
        )
        return onnx.load(target)


def _with_quantised_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph, whose large convolutions over time and frequency are products of int8, or the graph as it is.

    ONNX Runtime's own `ConvInteger` gains little over float32. The input is quantised first, so that what is laid out
    for the product are bytes.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes = {name: tensor.dims for name, tensor in weights.items()}
    convs = [node for node in model.graph.node if node.op_type == "Conv" and len(shapes.get(node.input[1], ())) == 4]
    large = [node for node in convs if math.prod(shapes[node.input[1]]) >= LARGE]
    if not large:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:]
    for node in model.graph.node:
        nodes, tensors = _product_of(node, weights) if node in large else ([node], [])
        made.graph.node.extend(nodes)
        made.graph.initializer.extend(tensors)
    read = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(tensor for name, tensor in weights.items() if name in read)
    return made


def _product_of(
    conv: onnx.NodeProto, weights: dict[str, onnx.TensorProto]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes that compute a 2-D convolution as a product of int8, and their constants."""
    kernel = numpy_helper.to_array(weights[conv.input[1]])  # (out, in, height, width)
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in conv.attribute}
    assert options["group"] == 1 and set(options["dilations"]) == {1}
    name, (top, left, bottom, right) = conv.output[0], options["pads"]
    scale = np.maximum(np.abs(kernel).max((1, 2, 3)), np.finfo(np.float32).tiny) / HIGHEST
    matrix = np.round(kernel / scale[:, None, None, None]).transpose(2, 3, 1, 0).reshape(-1, len(kernel))
    constants = {
        "pads": np.array([0, top, left, 0, 0, bottom, right, 0], np.int64),
        "axes": np.array([1, 2], np.int64),
        "strides": np.array(options["strides"], np.int64),
        "matrix": matrix.astype(np.int8),
        "scale": scale.astype(np.float32),
    }
    of = {key: f"{name}/{key}" for key in constants}
    nodes = [
        helper.make_node("Transpose", [conv.input[0]], [f"{name}/last"], perm=[0, 2, 3, 1]),
        helper.make_node("DynamicQuantizeLinear", [f"{name}/last"], [f"{name}/bytes", f"{name}/step", f"{name}/zero"]),
        helper.make_node("Pad", [f"{name}/bytes", of["pads"], f"{name}/zero"], [f"{name}/padded"]),
    ]
    seen = []
    for place in product(*map(range, kernel.shape[2:])):
        key = "{}_{}".format(*place)
        # From the place in the kernel to as far from the end as what follows it.
        ends = [at - size + 1 or np.iinfo(np.int64).max for at, size in zip(place, kernel.shape[2:], strict=True)]
        constants |= {f"from_{key}": np.array(place, np.int64), f"to_{key}": np.array(ends, np.int64)}
        bounds = [f"{name}/from_{key}", f"{name}/to_{key}"]
        nodes.append(
            helper.make_node("Slice", [f"{name}/padded", *bounds, of["axes"], of["strides"]], [f"{name}/at_{key}"])
        )
        seen.append(f"{name}/at_{key}")
    nodes += [
        helper.make_node("Concat", seen, [f"{name}/seen"], axis=3),
        helper.make_node("MatMulInteger", [f"{name}/seen", of["matrix"], f"{name}/zero"], [f"{name}/sums"]),
        helper.make_node("Cast", [f"{name}/sums"], [f"{name}/float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}/step", of["scale"]], [f"{name}/steps"]),
        helper.make_node("Mul", [f"{name}/float", f"{name}/steps"], [f"{name}/scaled"]),
        helper.make_node("Add", [f"{name}/scaled", conv.input[2]], [f"{name}/shifted"]),
        helper.make_node("Transpose", [f"{name}/shifted"], [name], perm=[0, 3, 1, 2]),
    ]
    return nodes, [numpy_helper.from_array(value, f"{name}/{key}") for key, value in constants.items()]
