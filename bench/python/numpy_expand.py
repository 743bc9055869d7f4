"""The NumPy peer of `onnx-overparam expand`: every Conv, Gemm and MatMul becomes a balanced chain of two.

Usage:  python3 bench/python/numpy_expand.py <model.onnx> <expanded.onnx>

With W = U S V' the matrix of a weight (out x in; for a Conv out/group x in/group * kh * kw, one matrix per group),
the factors are W1 = S^(1/2) V' and W2 = U S^(1/2), computed in float64 from the eigenvectors of the smaller Gram
matrix and rounded to float32 once. The hidden width is the output width; where the rank is smaller the rest is
zero. Handles float32 weights stored as initializers. Prints one JSON line: seconds by phase and peak memory.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from peer import LINEAR, Clock, attributes, drop, fill, replace_all, save, set_attributes, values

NEGLIGIBLE = 1e-8  # singular values below this share of the largest are beyond what float32 weights can carry


def factor(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W1 [groups, out, in] and W2 [groups, out, out] of the matrices [groups, out, in]; W2 @ W1 = matrix."""
    w = matrix.astype(np.float64)
    groups, rows, columns = w.shape
    wide = rows <= columns
    transposed = w.transpose(0, 2, 1)
    squares, vectors = np.linalg.eigh(w @ transposed if wide else transposed @ w)
    squares, vectors = squares[:, ::-1], vectors[:, :, ::-1]  # largest first
    s = np.sqrt(np.maximum(squares, 0))[:, None, :]
    alive = s > NEGLIGIBLE * s[:, :, :1]
    root = np.sqrt(np.where(alive, s, 0))
    inverse = np.divide(1, root, out=np.zeros_like(root), where=alive)
    if wide:
        return (vectors * inverse).transpose(0, 2, 1) @ w, vectors * root
    first, second = np.zeros((groups, rows, columns)), np.zeros((groups, rows, rows))
    first[:, :columns] = (vectors * root).transpose(0, 2, 1)
    np.matmul(w, vectors * inverse, out=second[:, :, :columns])
    return first, second


def factors(node: NodeProto, weight: np.ndarray) -> list[np.ndarray]:
    """The two weights of the chain, in the layout in which the node stores its own."""
    if node.op_type == "Conv":
        group = attributes(node).get("group", 1)
        out = weight.shape[0]
        first, second = factor(weight.reshape(group, out // group, -1))
        return [first.reshape(weight.shape), second.reshape(out, out // group, *[1] * (weight.ndim - 2))]
    out_first = node.op_type == "Gemm" and attributes(node).get("transB", 0)
    pair = factor((weight if out_first else weight.T)[None])
    return [f[0] if out_first else f[0].T for f in pair]


def chain(node: NodeProto, names: list[str], rank: int) -> list[NodeProto]:
    """The nodes that replace the node; `names` are those of the two weights, `rank` the weights' rank."""
    hidden = f"{node.output[0]}/hidden"
    first, second = NodeProto(), NodeProto()
    first.CopyFrom(node)
    second.CopyFrom(node)
    first.name, second.name = f"{node.name}/1", f"{node.name}/2"
    first.input[:], first.output[:] = [node.input[0], names[0]], [hidden]
    second.input[:2] = [hidden, names[1]]
    if node.op_type == "Conv":
        replace_all(second.attribute, [])
        set_attributes(second, kernel_shape=[1] * (rank - 2), group=attributes(node).get("group", 1))
    elif node.op_type == "Gemm":
        set_attributes(first, alpha=None, beta=None)
        set_attributes(second, transA=None)
    return [first, second]


def expand(model: onnx.ModelProto) -> int:
    graph = model.graph
    weights = {t.name: t for t in graph.initializer if len(t.dims) >= 2 and t.data_type == TensorProto.FLOAT}
    done: dict[tuple[str, ...], list[str]] = {}  # a weight that several nodes use alike is factored once
    elsewhere: set[str] = set()
    nodes: list[NodeProto] = []
    for node in graph.node:
        weight = weights.get(node.input[1]) if node.op_type in LINEAR else None
        if weight is None or (node.op_type != "Conv" and len(weight.dims) != 2):
            elsewhere.update(node.input)
            nodes.append(node)
            continue
        given = attributes(node)
        key = (weight.name, node.op_type, str(given.get("group", 1)), str(given.get("transB", 0)))
        if key not in done:
            label = weight.name if all(k[0] != weight.name for k in done) else f"{weight.name}/{len(done)}"
            done[key] = [f"{label}/1", f"{label}/2"]
            for name, array in zip(done[key], factors(node, values(weight))):
                fill(graph.initializer.add(), name, array)
        nodes += chain(node, done[key], len(weight.dims))
    drop(graph, {key[0] for key in done} - elsewhere)
    replace_all(graph.node, nodes)
    return len(done)


def main() -> None:
    source, target = sys.argv[1:]
    clock = Clock()
    model = onnx.load(source)
    clock.lap("read")
    count = expand(model)
    clock.lap("compute")
    save(model, target)
    clock.lap("write")
    clock.report(expanded=count)


if __name__ == "__main__":
    main()
