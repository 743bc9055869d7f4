"""Holds rank-report's figures against NumPy's and against WeightWatcher's formulas.

Usage:  python3 bench/python/agreement.py <model.onnx> <report.json> <slices.json>

The reports are `rank-report --format json --spectra`, the second with `--conv-view slices`. NumPy computes the singular values of
each weight in float64 (numpy.linalg.svd), and the figures from their definitions; WeightWatcher's are those of spectra.py,
brought to the scale of the weights where it multiplies the slices of a convolution by sqrt(kh * kw / 2). Prints JSON: of
each quantity, how many weights have it and the largest deviation, relative unless it says otherwise.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from spectra import entropy, matrix, weights, weightwatcher

EPS = float(np.finfo(np.float32).eps)


def rank_of(s: np.ndarray, share: float) -> int:
    energy = np.cumsum(s**2)
    return int(np.argmax(energy >= share * energy[-1] * (1 - 1e-12))) + 1


def by_numpy(w: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    m = matrix(w).astype(np.float64)
    s = np.linalg.svd(m, compute_uv=False)
    return s, {
        "spectralEntropy": entropy(s),
        "effectiveRank": float(np.exp(entropy(s))),
        "stableRank": float((s**2).sum() / s[0] ** 2),
        "spectralNorm": float(s[0]),
        "frobeniusNorm": float(np.linalg.norm(m)),
        "nuclearNorm": float(s.sum()),
        "conditionNumber": float(s[0] / s[-1]) if s[-1] > 1e-7 * s[0] else np.nan,
        "numericalRank": int((s > s[0] * max(m.shape) * EPS).sum()),
        **{f"rank{int(100 * share)}": rank_of(s, share) for share in (0.9, 0.95, 0.99)},
    }


def by_weightwatcher(w: np.ndarray) -> dict[str, float]:
    found = weightwatcher(w)
    if found is None:
        return {}
    scale = float(np.prod(w.shape[2:]) / 2) if w.ndim > 2 else 1.0
    log = float(np.log10(scale))
    return {
        "alpha": found["alpha"],
        "alphaDistance": found["D"],
        "xMin": found["xmin"] / scale,
        "logNorm": found["log_norm"] - log,
        "logSpectralNorm": found["log_spectral_norm"] - log,
        "alphaWeighted": found["alpha_weighted"] - found["alpha"] * log,
        "logAlphaNorm": found["log_alpha_norm"] - found["alpha"] * log,
        "stableRank": found["stable_rank"],
    }


class Deviations:
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: dict[str, list[float]] = {}

    def add(self, key: str, ours: float | None, theirs: float, unit: float | None = None) -> None:
        if ours is None or not np.isfinite(theirs):
            return
        scale = abs(theirs) if unit is None else unit
        self.found.setdefault(key, []).append(abs(ours - theirs) / (scale or 1.0))

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"source": self.source, "quantity": key, "weights": len(all), "deviation": max(all)}
            for key, all in self.found.items()
        ]


def main() -> None:
    model, *reports = sys.argv[1:]
    ours, slices = ({row["weight"]: row for row in json.load(open(path))["weights"]} for path in reports)
    numpy, ww = Deviations("NumPy"), Deviations("WeightWatcher's formulas")
    for name, w in weights(model).items():
        row = ours.get(name)
        if row is None or row["metrics"] is None:
            continue
        s, figures = by_numpy(w)
        numpy.add("singularValues", float(np.abs(np.array(row["singularValues"]) - s).max()), 0.0, float(s[0]))
        for key, value in figures.items():
            if key == "conditionNumber" and row["metrics"]["conditionNumberIsLowerBound"]:
                continue
            numpy.add(key, row["metrics"][key], value)
        for key, value in by_weightwatcher(w).items():
            # Logarithms of norms are near zero where the norm is near one.
            ww.add(key, slices[name]["metrics"][key], value, 1.0 if key.startswith("log") else None)
    print(json.dumps(numpy.rows() + ww.rows()))


if __name__ == "__main__":
    main()
