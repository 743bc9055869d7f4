"""Reference figures by NumPy and SciPy: heavy tails, random-matrix fits and spectra of convolutions.

Usage:  python3 test/reference/heavy_tail.py fixtures/shapes.onnx > test/reference/heavy-tail.json
        npx biome check --write test/reference/heavy-tail.json

Written to be obviously right, not fast: every candidate xmin, every number of spikes and every frequency is tried, maximum
likelihood is scipy.stats.pareto's, the Marchenko-Pastur distribution is integrated by scipy.integrate.quad. alpha, D,
xmin, sigma, num_pl_spikes, log_norm, alpha_weighted, log_alpha_norm and rand_distance are as WeightWatcher defines them,
of eigenvalues s^2 (its fit='PL' without fix_fingers; its threshold of 1e-5 on eigenvalues is not applied).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from scipy import integrate, optimize, stats
from scipy.spatial import distance

TRACY_WIDOM = 3.2724  # its 99.9 % quantile
RESOLUTION = 1e-7


def power_law(values: np.ndarray) -> dict[str, Any]:
    data = np.sort(values[values >= RESOLUTION * values.max()]) ** 2
    best: dict[str, Any] = {"D": np.inf}
    for xmin in np.unique(data)[:-1]:
        tail = data[data >= xmin]
        shape, _, _ = stats.pareto.fit(tail, floc=0, fscale=xmin)
        law = stats.pareto(shape, scale=xmin)
        n = len(tail)
        d = float(np.abs(law.cdf(tail) - np.arange(n) / n).max())
        if d < best["D"]:
            best = {
                "alpha": float(shape + 1),
                "D": d,
                "twoSidedD": float(stats.kstest(tail, law.cdf).statistic),
                "xmin": float(xmin),
                "sigma": float(shape / np.sqrt(n)),
                "num_pl_spikes": n,
            }
    eigenvalues = values**2
    best["alpha_weighted"] = float(best["alpha"] * np.log10(eigenvalues.max()))
    best["log_alpha_norm"] = float(np.log10(np.sum(eigenvalues ** best["alpha"])))
    return best


def law(n: int, m: int, variance: float) -> tuple[float, float, float, Callable[[float], float]]:
    """Edges, threshold of spikes and distribution function of the eigenvalues of an n x m matrix."""
    low, edge = (variance * (np.sqrt(n) + sign * np.sqrt(m)) ** 2 for sign in (-1, 1))
    centre = variance * (np.sqrt(n - 1) + np.sqrt(m)) ** 2
    scale = variance * (np.sqrt(n - 1) + np.sqrt(m)) * (1 / np.sqrt(n - 1) + 1 / np.sqrt(m)) ** (1 / 3)

    def density(x: float) -> float:
        return np.sqrt(max(0.0, (edge - x) * (x - low))) / (2 * np.pi * variance * m * x)

    def probability(x: float) -> float:
        return integrate.quad(density, low, min(max(x, low), edge), limit=200)[0]

    return low, edge, max(edge, centre + TRACY_WIDOM * scale), probability


def marchenko_pastur(values: np.ndarray, rows: int, columns: int) -> dict[str, Any]:
    small, large = sorted((rows, columns))
    descending = np.sort(values)[::-1] ** 2
    for spikes in range(small // 2 + 1):
        n, m = large - spikes, small - spikes
        variance = descending[spikes:].sum() / (n * m)
        low, edge, threshold, probability = law(n, m, variance)
        if (descending > threshold).sum() == spikes:
            method = "bulk"
            break
    else:
        low, edge, _, probability = law(large, small, 1.0)
        median = optimize.brentq(lambda x: probability(x) - 0.5, low, edge)
        variance = np.median(values) ** 2 / median
        low, edge, threshold, probability = law(large, small, variance)
        spikes = int((descending > threshold).sum())
        method = "median"
    return {
        "method": method,
        "sigma": float(np.sqrt(variance)),
        "bulk_min": float(low),
        "bulk_max": float(edge),
        "num_spikes": spikes,
        "mp_softrank": float(edge / descending[0]),
        "distance": float(stats.kstest(descending[spikes:], np.vectorize(probability)).statistic),
    }


def figures(values: np.ndarray, rows: int, columns: int) -> dict[str, Any]:
    eigenvalues = values**2
    return {
        "rows": rows,
        "columns": columns,
        "participation_ratio": float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum()),
        "log_norm": float(np.log10(eigenvalues.sum())),
        "log_spectral_norm": float(np.log10(eigenvalues.max())),
        "power_law": power_law(values),
        "marchenko_pastur": marchenko_pastur(values, rows, columns),
    }


def singular(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.svd(matrix.astype(np.float64), compute_uv=False)


def synthetic() -> dict[str, Any]:
    random = np.random.default_rng(20090101)
    gaussian = random.standard_normal((200, 120))
    spiked = random.standard_normal((300, 100))
    for strength in (60, 45, 35):
        u, v = random.standard_normal(300), random.standard_normal(100)
        spiked += strength * np.outer(u / np.linalg.norm(u), v / np.linalg.norm(v))
    heavy = random.standard_normal((128, 128)) @ random.standard_normal((128, 128)) @ random.standard_normal((128, 150))
    student = random.standard_t(3, (160, 90)) * 1e-3
    cases = {"gaussian": gaussian, "spiked": spiked, "product": heavy, "student": student}
    report = {}
    for name, matrix in cases.items():
        values = singular(matrix)
        permuted = singular(random.permutation(matrix.ravel()).reshape(matrix.shape))
        report[name] = {
            **figures(values, *matrix.shape),
            "rand_distance": float(distance.jensenshannon(values**2, permuted**2)),
            "singularValues": values.tolist(),
            "permuted": permuted.tolist(),
        }
    pareto = np.sqrt(stats.pareto(1.5).rvs(300, random_state=random))
    report["pareto"] = {**figures(pareto, 300, 400), "singularValues": pareto.tolist()}
    return report


def operator(weight: np.ndarray, groups: int, size: int) -> np.ndarray:
    """Sedghi, Gupta & Long, figure 1 (NumPy), group by group."""
    values = []
    for block in np.split(weight.astype(np.float64), groups):
        kernel = np.transpose(block, (2, 3, 0, 1))
        values.append(np.linalg.svd(np.fft.fft2(kernel, (size, size), axes=(0, 1)), compute_uv=False).ravel())
    return np.sort(np.concatenate(values))[::-1]


def fixture(path: str) -> dict[str, Any]:
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    matrices: dict[str, Any] = {}
    operators: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        name = node.input[1]
        weight = numpy_helper.to_array(constants[name])
        matrix = weight.reshape(len(weight), -1)
        matrices[name] = figures(singular(matrix), *matrix.shape)
        if node.op_type == "Conv":
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            size = 5
            values = operator(weight, groups, size)
            step = max(1, len(values) // 100)
            operators[name] = {
                "groups": groups,
                "size": size,
                "count": len(values),
                "step": step,
                "everyStep": values[::step].tolist(),
            }
    return {"matrices": matrices, "operators": operators}


if __name__ == "__main__":
    json.dump({"synthetic": synthetic(), "shapes.onnx": fixture(sys.argv[1])}, sys.stdout, indent=1)
    print()
