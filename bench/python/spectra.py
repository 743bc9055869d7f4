"""What a Python user does to see the spectra of a model's weights, in one of three ways.

Usage:  python3 bench/python/spectra.py svd|gram|weightwatcher <model.onnx>

svd            numpy.linalg.svd(compute_uv=False) in float32 on every weight as out x (in * kernel): the usual way
gram           eigenvalues of the float64 Gram matrix, numpy.linalg.eigvalsh: the fastest by hand
weightwatcher  what WeightWatcher's analyze() computes for a layer with its defaults, transcribed: WeightWatcher itself is not
               packaged for Debian. A convolution is its kh * kw matrices of in x out, scaled by sqrt(kh * kw / 2),
               whose singular values are pooled; of the eigenvalues the norms, and the power law fitted with every
               eigenvalue as a candidate of x_min, as the powerlaw package does.

Weights are the constant second inputs of Gemm, MatMul and Conv. Prints one JSON object: a summary of each weight by name.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
from onnx import TensorProto

from peer import values

WEIGHTED = ("Gemm", "MatMul", "Conv")


def weights(path: str) -> dict[str, np.ndarray]:
    """Every weight once, by the name of its initializer, as it is stored."""
    graph = onnx.load(path).graph
    constants = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    for node in graph.node:  # exporters read equal weights through Identity nodes
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    found = {}
    for node in graph.node:
        if node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in constants:
            tensor = constants[node.input[1]]
            if len(tensor.dims) >= 2:
                found[tensor.name] = values(tensor)
    return found


def matrix(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(weight.shape[0], -1)


def entropy(s: np.ndarray) -> float:
    p = s[s > 0].astype(np.float64)
    p /= p.sum()
    return float(-(p * np.log(p)).sum())


def summary(s: np.ndarray) -> dict[str, float]:
    s = s.astype(np.float64)
    energy = float((s**2).sum())
    return {
        "effectiveRank": float(np.exp(entropy(s))),
        "stableRank": energy / float(s[0] ** 2) if s[0] > 0 else 0.0,
        "spectralNorm": float(s[0]),
        "frobeniusNorm": energy**0.5,
    }


def svd(weight: np.ndarray) -> dict[str, float]:
    return summary(np.linalg.svd(matrix(weight), compute_uv=False))


def gram(weight: np.ndarray) -> dict[str, float]:
    w = matrix(weight).astype(np.float64)
    g = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    return summary(np.sqrt(np.clip(np.linalg.eigvalsh(g), 0, None))[::-1])


def power_law(eigenvalues: np.ndarray) -> tuple[float, float, float]:
    """alpha, x_min and the Kolmogorov-Smirnov distance of the best tail; every eigenvalue but the last is a candidate."""
    x = np.sort(eigenvalues[eigenvalues > 0])
    logs = np.log(x)
    best = (np.inf, 0.0, 0.0)
    for start in range(len(x) - 1):
        n = len(x) - start
        total = (logs[start:] - logs[start]).sum()
        if total <= 0:
            continue
        alpha = 1 + n / total
        theory = 1 - (x[start:] / x[start]) ** (1 - alpha)
        actual = np.arange(n) / n
        distance = np.abs(theory - actual).max()
        best = min(best, (distance, alpha, x[start]))
    return best[1], best[2], best[0]


def weightwatcher(weight: np.ndarray) -> dict[str, float] | None:
    if weight.ndim > 2:
        offsets = weight.astype(np.float64).reshape(*weight.shape[:2], -1).transpose(2, 1, 0) * np.sqrt(np.prod(weight.shape[2:]) / 2)
    else:
        offsets = weight[None]
    values = np.concatenate([np.linalg.svd(w.astype(np.float64), compute_uv=False) for w in offsets])
    eigenvalues = np.sort(values**2)
    if len(eigenvalues) < 10:  # its min_evals
        return None
    alpha, x_min, distance = power_law(eigenvalues)
    top = float(eigenvalues[-1])
    norm = float(eigenvalues.sum())
    return {
        "alpha": alpha,
        "xmin": x_min,
        "D": distance,
        "log_norm": float(np.log10(norm)),
        "log_spectral_norm": float(np.log10(top)),
        "alpha_weighted": alpha * float(np.log10(top)),
        "log_alpha_norm": float(np.log10(((eigenvalues / top) ** alpha).sum()) + alpha * np.log10(top)),
        "stable_rank": norm / top,
        "entropy": float(-(p := eigenvalues / norm) @ np.log(np.maximum(p, 1e-300)) / np.log(len(p))),
    }


WAYS = {"svd": svd, "gram": gram, "weightwatcher": weightwatcher}


def main() -> None:
    way, path = sys.argv[1:]
    print(json.dumps({name: WAYS[way](weight) for name, weight in weights(path).items()}))


if __name__ == "__main__":
    main()
