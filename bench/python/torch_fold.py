"""The PyTorch peer of `onnx-overparam collapse`: the chains of an expanded file as nn.Linear and nn.Conv2d layers,
multiplied out as training code that made such chains does it (float32, layer by layer).

Usage:  python3 bench/python/torch_fold.py <expanded.onnx> <collapsed.onnx>

Chains are found by the names that `expand` gives: <site>/overparam/<i>, of Gemm, MatMul and 2D Conv. Prints one JSON
line: seconds by phase (reading the file, building the layers, multiplying out, writing) and peak memory.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import onnx
import torch
import torch.nn.functional as functional
from onnx import NodeProto, TensorProto
from torch import Tensor, nn

from peer import Clock, attributes, drop, fill, replace_all, save, values

MARK = "/overparam/"


def layer(node: NodeProto, constants: dict[str, TensorProto]) -> nn.Module:
    """The node as a PyTorch layer of the same weight and bias."""
    given = attributes(node)
    weight, *rest = (torch.from_numpy(values(constants[name]).copy()) for name in node.input[1:])
    bias = rest[0] * given.get("beta", 1.0) if rest else None
    if node.op_type == "Conv":
        groups = given.get("group", 1)
        made: nn.Module = nn.utils.skip_init(
            nn.Conv2d, weight.shape[1] * groups, len(weight), tuple(weight.shape[2:]), groups=groups, bias=bias is not None
        )
    else:
        weight = weight if given.get("transB", 0) else weight.T
        if given.get("alpha", 1.0) != 1:
            weight = weight * given["alpha"]
        made = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight), bias=bias is not None)
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


def after(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """The kernel of one convolution that is `second` after `first`."""
    parts = []
    for a, b in zip(first.chunk(groups), second.chunk(groups)):
        pads = [size - 1 for size in b.shape[2:]]
        parts.append(functional.conv2d(a.transpose(0, 1), b.flip(2, 3), padding=pads).transpose(0, 1))
    return torch.cat(parts)


@torch.no_grad()
def multiply_out(chain: list[nn.Module]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the one layer that a chain is."""
    weight, bias = chain[0].weight, chain[0].bias
    for step in chain[1:]:
        if isinstance(step, nn.Conv2d):
            if bias is not None:
                bias = functional.conv2d(bias.view(1, -1, 1, 1), step.weight.sum((2, 3), keepdim=True), groups=step.groups)
                bias = bias.flatten()
            weight = after(weight, step.weight, step.groups)
        else:
            bias = None if bias is None else step.weight @ bias
            weight = step.weight @ weight
        if step.bias is not None:
            bias = step.bias if bias is None else bias + step.bias
    return weight, bias


def folded(nodes: list[NodeProto], weight: Tensor, bias: Tensor | None, graph: onnx.GraphProto) -> NodeProto:
    """The node in the place of a chain; attributes come from the factor that has the kernel, the first."""
    first, last = nodes[0], nodes[-1]
    node = NodeProto()
    node.CopyFrom(first if first.op_type == "Conv" else last)
    node.name = first.name.rsplit(MARK, 1)[0]
    name = first.input[1].rsplit(MARK, 1)[0]
    is_turned = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes(last).get("transB", 0))
    fill(graph.initializer.add(), name, (weight.T if is_turned else weight).numpy())
    node.input[:] = [first.input[0], name]
    node.output[:] = last.output
    if bias is not None:
        fill(graph.initializer.add(), f"{name}/bias", bias.numpy())
        node.input.append(f"{name}/bias")
    return node


def main() -> None:
    source, target = sys.argv[1:]
    clock = Clock()
    model = onnx.load(source)
    graph = model.graph
    clock.lap("read")
    constants = {t.name: t for t in graph.initializer}
    for node in graph.node:  # PyTorch writes equal biases once and reads them through Identity nodes
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    chains: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        if MARK in node.name:
            chains[node.name.rsplit(MARK, 1)[0]].append(node)
    layers = {site: [layer(node, constants) for node in nodes] for site, nodes in chains.items()}
    clock.lap("build")
    products = {site: multiply_out(chain) for site, chain in layers.items()}
    clock.lap("compute")
    del layers
    last = {nodes[-1].name: site for site, nodes in chains.items()}
    out = []
    for node in graph.node:
        if node.name in last:
            site = last[node.name]
            out.append(folded(chains[site], *products.pop(site), graph))
        elif MARK not in node.name:
            out.append(node)
    drop(graph, {name for nodes in chains.values() for node in nodes for name in node.input[1:]} & {*constants})
    replace_all(graph.node, out)
    save(model, target)
    clock.lap("write")
    clock.report(collapsed=len(chains))


if __name__ == "__main__":
    main()
