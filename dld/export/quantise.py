"""Weights of eight bits."""

import logging
import tempfile
from pathlib import Path

import onnx

from dld.export.pieces import Pieces


def quantise(pieces: Pieces) -> Pieces:
    """Return the pieces of a network with the matrices of its blocks in int8.

    Every output channel has a scale of its own; activations get theirs when the graph runs. Only products of matrices
    are quantised, and only in the blocks: the front end, the subsampling, the convolutions and the head, which lose
    most and are small, stay in float32. Weights take seven of the eight bits, since the sums of two products with eight
    overflow on processors without instructions for dot products.
    """
    logging.disable(logging.WARNING)  # the advice to prepare graphs, which is of no use to these
    try:
        blocks = [_quantised(block) for block in pieces.blocks]
    finally:
        logging.disable(logging.NOTSET)
    return Pieces(pieces.front, blocks, pieces.heads, pieces.context, pieces.inputs, pieces.skips, pieces.reads_path)


def _quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            # Products of activations alone, as in attention, have no weights.
            extra_options={"MatMulConstBOnly": True, "DisableShapeInference": True},
        )
        return onnx.load(target)
