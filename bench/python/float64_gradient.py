"""Runs a graph of gradients in float64, by the reference implementation of ONNX's operators in NumPy.

    python3 float64_gradient.py <step.onnx> <feeds.npz> <results.npz>

Needs onnx >= 1.16 (its ReferenceEvaluator), no PyTorch. onnxruntime has no float64 kernels of Conv and others: so here every
float32 of the graph, weights, constants and casts, becomes a float64, and each operator is what the standard's authors
wrote for it.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


class LayerNormalization(OpRun):
    """The reference implementation computes it in float32 whatever the input is."""

    def _run(self, x, scale, bias=None, axis=-1, epsilon=1e-5, stash_type=1):
        axes = tuple(range(axis % x.ndim, x.ndim))
        mean = x.mean(axes, keepdims=True)
        inverse = 1 / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)
        y = (x - mean) * inverse * scale
        return (y if bias is None else y + bias), mean, inverse


def double(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)


def widen(graph: onnx.GraphProto) -> None:
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    for tensor in graph.initializer:
        tensor.CopyFrom(double(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                attribute.t.CopyFrom(double(attribute.t))
            if attribute.HasField("g"):
                widen(attribute.g)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE


def main(model_path: str, feeds_path: str, results_path: str) -> None:
    model = onnx.load(model_path)
    widen(model.graph)
    feeds = {
        name: value.astype(np.float64) if value.dtype == np.float32 else value
        for name, value in np.load(feeds_path).items()
    }
    outputs = [output.name for output in model.graph.output]
    results = ReferenceEvaluator(model, new_ops=[LayerNormalization]).run(outputs, feeds)
    np.savez(results_path, **dict(zip(outputs, results)))


if __name__ == "__main__":
    main(*sys.argv[1:4])
