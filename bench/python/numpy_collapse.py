"""The NumPy peer of `onnx-overparam collapse`: chains of linear nodes are multiplied out to one node each.

Usage:  python3 bench/python/numpy_collapse.py <expanded.onnx> <collapsed.onnx>

A chain is a run of Gemm, MatMul or Conv nodes of one kind with constant float32 weights, each the only consumer of
the one before. Two Convs fold if they have the same groups and one of them is a plain 1 x 1 convolution (as the
first of the two it must have no bias, since padding would not pad that). Two layers of the original network may
stand in line too, a bottleneck between them: a fold that would leave more weights than it found is not made.
Products run in float64 and are rounded to float32 once. Prints one JSON line: seconds by phase and peak memory.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from peer import LINEAR, Clock, attributes, drop, fill, replace_all, save, set_attributes, values


@dataclass
class Linear:
    """A node, or a run of nodes folded so far: x -> weight x + bias."""

    node: NodeProto
    weight: np.ndarray  # [groups, out / groups, in / groups, taps]; taps is 1 but for Conv
    bias: np.ndarray | None
    kernel: tuple[int, ...]
    length: int = 1

    @property
    def pointwise(self) -> bool:
        """A Conv of one tap that neither strides nor pads (a Gemm and a MatMul are that too)."""
        given = attributes(self.node)
        steps = [*given.get("strides", []), *self.kernel]
        return all(n == 1 for n in steps) and not any(given.get("pads", []))


def linear(node: NodeProto, constants: dict[str, TensorProto]) -> Linear | None:
    """The node as an affine map; None if it is not one that this script folds."""
    names = list(node.input[1:])
    if node.op_type not in LINEAR or any(n not in constants for n in names):
        return None
    given = attributes(node)
    stored, *rest = (values(constants[n]) for n in names)
    bias = rest[0].reshape(-1) * given.get("beta", 1.0) if rest else None
    if node.op_type == "Conv":
        group, kernel = given.get("group", 1), stored.shape[2:]
        weight = stored.reshape(group, stored.shape[0] // group, stored.shape[1], -1)
        return Linear(node, weight, bias, kernel)
    if stored.ndim != 2:
        return None
    matrix = stored if given.get("transB", 0) else stored.T
    if given.get("alpha", 1.0) != 1:
        matrix = matrix * given["alpha"]
    return Linear(node, matrix[None, :, :, None], bias, ())


def fold(a: Linear, b: Linear) -> Linear | None:
    """b after a as one map, in float64; None if they do not fold."""
    kinds = a.node.op_type == b.node.op_type and len(a.weight) == len(b.weight)
    if not kinds or attributes(b.node).get("transA", 0):
        return None
    if not (b.pointwise or (a.pointwise and a.bias is None)):
        return None
    groups, out, inner, taps = *b.weight.shape[:2], a.weight.shape[2], max(a.weight.shape[3], b.weight.shape[3])
    if groups * out * inner * taps > a.weight.size + b.weight.size:
        return None
    first, second = a.weight.astype(np.float64, copy=False), b.weight.astype(np.float64, copy=False)
    if b.pointwise:
        weight = second[..., 0] @ first.reshape(*first.shape[:2], -1)
    else:  # first is 1 x 1: every tap of the second is multiplied by the same matrix
        weight = (second.transpose(0, 1, 3, 2) @ first[:, None, :, :, 0]).transpose(0, 1, 3, 2)
    weight = weight.reshape(groups, out, inner, taps)
    bias = b.bias
    if a.bias is not None:
        moved = (second[..., 0] @ a.bias.reshape(groups, -1, 1).astype(np.float64)).reshape(-1)
        bias = moved if bias is None else moved + bias
    shape = a if b.pointwise else b  # whose attributes the fold keeps
    node = NodeProto()
    node.CopyFrom(shape.node)
    node.name = b.node.name
    node.input[0], node.output[0] = a.node.input[0], b.node.output[0]
    return Linear(node, weight, bias, shape.kernel, a.length + b.length)


def emit(run: Linear, graph: onnx.GraphProto) -> NodeProto:
    """The node of a folded run; its weight and bias become initializers."""
    node, name = run.node, run.node.output[0]
    groups, out, inner, _ = run.weight.shape
    inputs = [node.input[0], f"{name}/weight"]
    if node.op_type == "Conv":
        array = run.weight.reshape(groups * out, inner, *run.kernel)
    else:
        array = run.weight[0, :, :, 0] if node.op_type == "Gemm" else run.weight[0, :, :, 0].T
    fill(graph.initializer.add(), inputs[1], array)
    if run.bias is not None:
        inputs.append(f"{name}/bias")
        fill(graph.initializer.add(), inputs[2], run.bias)
    node.input[:] = inputs
    if node.op_type == "Gemm":
        set_attributes(node, alpha=None, beta=None, transB=1)
    return node


def collapse(model: onnx.ModelProto) -> int:
    graph = model.graph
    constants = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    for node in graph.node:  # PyTorch writes equal biases once and reads them through Identity nodes
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    reader = {name: node.op_type for node in graph.node for name in node.input}
    nodes: list[NodeProto | Linear] = []
    made_by: dict[str, int] = {}  # output name -> index in nodes
    for node in graph.node:
        item: NodeProto | Linear = linear(node, constants) or node
        before = made_by.get(node.input[0]) if len(node.input) else None
        if isinstance(item, Linear) and before is not None and uses[node.input[0]] == 1:
            previous = nodes[before]
            folded = fold(previous, item) if isinstance(previous, Linear) else None
            if folded:
                item, nodes[before] = folded, NodeProto()
                if reader.get(node.output[0]) not in LINEAR:  # complete: no need to hold it in float64
                    item.weight = item.weight.astype(np.float32)
        made_by[node.output[0]] = len(nodes)
        nodes.append(item)
    out: list[NodeProto] = []
    folds = 0
    for index, item in enumerate(nodes):
        if isinstance(item, Linear) and item.length > 1:
            folds += 1
            out.append(emit(item, graph))
            nodes[index] = out[-1]  # the array can go
        else:
            node = item.node if isinstance(item, Linear) else item
            if node.op_type:
                out.append(node)
    left = {name for node in out for name in node.input} | {output.name for output in graph.output}
    out = [n for n in out if n.op_type != "Identity" or n.output[0] in left]
    left = {name for node in out for name in node.input}
    drop(graph, constants.keys() - left - {i.name for i in graph.input})
    replace_all(graph.node, out)
    return folds


def main() -> None:
    source, target = sys.argv[1:]
    clock = Clock()
    model = onnx.load(source)
    clock.lap("read")
    count = collapse(model)
    clock.lap("compute")
    save(model, target)
    clock.lap("write")
    clock.report(collapsed=count)


if __name__ == "__main__":
    main()
