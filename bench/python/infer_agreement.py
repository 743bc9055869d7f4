"""Holds types and shapes of bench/infer.ts against onnx.shape_inference, value by value.

Usage:  python3 bench/python/infer_agreement.py <dir> ours.jsonl [--verbose]

Both see the models without their value_info. onnx runs without data propagation (its default) and not strictly. Of each
value of the main graph that onnx gives a type: do type, rank and every size that onnx knows agree?
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import onnx
from onnx import TensorProto, shape_inference

NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}
directory, path = Path(sys.argv[1]), sys.argv[2]
verbose = "--verbose" in sys.argv
total: Counter[str] = Counter()
lacking: Counter[str] = Counter()
wrong: list[str] = []
models = 0
for line in open(path, encoding="utf8"):
    ours = json.loads(line)
    if "problem" in ours:
        total["models that we do not read"] += 1
        continue
    try:
        model = onnx.load(directory / ours["name"], load_external_data=False)
        del model.graph.value_info[:]
        theirs = shape_inference.infer_shapes(model).graph
    except Exception as error:  # noqa: BLE001: what onnx refuses has no answer
        if verbose:
            print("refused:", ours["name"], str(error)[:100])
        total["models that onnx refuses"] += 1
        continue
    models += 1
    made = {output: node for node in model.graph.node for output in node.output}
    known = {name: (kind, shape) for name, kind, shape in ours["values"]}
    for value in [*theirs.value_info, *theirs.output]:
        if value.name not in made or not value.type.HasField("tensor_type"):
            continue
        tensor = value.type.tensor_type
        if tensor.elem_type == 0:
            continue
        kind = TensorProto.DataType.Name(tensor.elem_type)
        kind = NAMES.get(kind, kind.lower())
        dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        own_kind, own = known.get(value.name, (None, None))
        op = made[value.name].op_type
        total["values"] += 1
        if own_kind is None:
            total["type untold"] += 1
            lacking[f"{op} (type)"] += 1
            continue
        if own_kind != kind:
            total["type differs"] += 1
            wrong.append(f"{ours['name']} {value.name} {op}: {kind} here {own_kind}")
            continue
        if not tensor.HasField("shape"):
            total["same type, no shape there"] += 1
            continue
        if own is None:
            total["shape untold"] += 1
            lacking[f"{op} (shape)"] += 1
            continue
        if len(own) != len(dims) or any(isinstance(a, int) and b is not None and a != b for a, b in zip(own, dims)):
            total["shape differs"] += 1
            wrong.append(f"{ours['name']} {value.name} {op}: {dims} here {own}")
        elif any(b is not None and not isinstance(a, int) for a, b in zip(own, dims)):
            total["sizes untold"] += 1
            lacking[f"{op} (sizes)"] += 1
        else:
            total["agree"] += 1
print(f"{models} models")
for key, count in sorted(total.items()):
    print(f"{count:8d} {key}")
print("untold, by operator:", dict(lacking.most_common(25)))
for text in wrong if verbose else wrong[:20]:
    print("differs:", text)
