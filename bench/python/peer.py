"""What numpy_expand.py and numpy_collapse.py share: weights as arrays, attributes, and the figures they print."""

from __future__ import annotations

import json
import resource
import time
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

LINEAR = ("Conv", "Gemm", "MatMul")


class Clock:
    """Wall-clock seconds by phase, printed as one JSON line together with the peak resident memory."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.figures: dict[str, Any] = {}

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.figures[phase] = round(now - self.last, 3)
        self.last = now

    def report(self, **counts: int) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**self.figures, "peakRssMiB": round(peak), **counts}))


def values(tensor: TensorProto) -> np.ndarray:
    """The tensor as a float32 array; a view of its raw bytes, without a copy, where it stores raw bytes."""
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, dtype="<f4").reshape(tensor.dims)
    return numpy_helper.to_array(tensor)


def fill(tensor: TensorProto, name: str, array: np.ndarray) -> None:
    """Make the (empty) tensor the float32 tensor of the array, rounded once."""
    tensor.name, tensor.data_type = name, TensorProto.FLOAT
    tensor.dims.extend(array.shape)
    tensor.raw_data = array.astype("<f4", order="C", copy=False).tobytes()


def drop(graph: GraphProto, names: set[str]) -> None:
    """Delete the initializers of these names, in place: no other tensor is copied."""
    for index in range(len(graph.initializer) - 1, -1, -1):
        if graph.initializer[index].name in names:
            del graph.initializer[index]


def attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def set_attributes(node: NodeProto, **changes: Any) -> None:
    """Replace the named attributes; None removes one."""
    kept: list[AttributeProto] = [a for a in node.attribute if a.name not in changes]
    added = [helper.make_attribute(k, v) for k, v in changes.items() if v is not None]
    del node.attribute[:]
    node.attribute.extend(kept + added)


def replace_all(field: Any, items: list[Any]) -> None:
    """Set a repeated field of messages to the given ones."""
    del field[:]
    field.extend(items)


def save(model: onnx.ModelProto, path: str) -> None:
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
