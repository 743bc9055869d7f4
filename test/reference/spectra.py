"""Reference spectra by NumPy: what the tests of the analysis compare against.

Usage:  python3 test/reference/spectra.py fixtures/shapes.onnx > test/reference/spectra-shapes.json

For every constant weight of a Conv, Gemm or MatMul, keyed by the weight's name in the file: the singular values of
its matricization by numpy.linalg.svd in float64, and the figures derived from them. A Conv weight is the matrix
out x (in/group * kh * kw), the groups stacked; a Gemm or MatMul weight is taken as stored.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


def energy_rank(values: np.ndarray, share: float) -> int:
    """The smallest r whose first r singular values hold the share of the sum of squares."""
    energy = np.cumsum(values**2)
    return int(np.searchsorted(energy, share * energy[-1])) + 1


def figures(matrix: np.ndarray) -> dict[str, Any]:
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    p = values[values > 0] / values.sum()
    entropy = float(-(p * np.log(p)).sum())
    tolerance = values[0] * max(matrix.shape) * float(np.finfo(np.float32).eps)
    return {
        "shape": list(matrix.shape),
        "spectralEntropy": entropy,
        "effectiveRank": float(np.exp(entropy)),
        "stableRank": float((values**2).sum() / values[0] ** 2),
        "numericalRank": int(np.linalg.matrix_rank(matrix.astype(np.float64), tol=tolerance)),
        "spectralNorm": float(values[0]),
        "frobeniusNorm": float(np.sqrt((values**2).sum())),
        "nuclearNorm": float(values.sum()),
        "conditionNumber": float(values[0] / values[-1]) if values[-1] > 0 else None,  # null: singular
        "rank90": energy_rank(values, 0.90),
        "rank95": energy_rank(values, 0.95),
        "rank99": energy_rank(values, 0.99),
        "singularValues": values.tolist(),
    }


def main() -> None:
    graph = onnx.load(sys.argv[1]).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    report: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants:
            weight = numpy_helper.to_array(constants[node.input[1]])
            matrix = weight.reshape(len(weight), -1) if node.op_type == "Conv" else weight
            report[node.input[1]] = {"node": node.name, "opType": node.op_type, **figures(matrix)}
    json.dump(report, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
