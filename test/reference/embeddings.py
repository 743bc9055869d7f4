"""Figures of embeddings by NumPy, straight from the definitions: python3 test/reference/embeddings.py > test/reference/embeddings.json

The embeddings are h[i, j] = spread * sin(0.7 i j + i + 0.3 j) + sin(1.3 c(i) (j + 1)) + mean, of class c(i): formulas, so that
the tests make the same ones. S_W and S_B are d x d here; the Gram matrix appears only for its own effective rank.
"""

from __future__ import annotations

import json

import numpy as np

CASES = {
    "more features than samples": dict(n=24, d=70, k=3, spread=0.8, mean=0.0, skew=1),
    "more samples than features": dict(n=60, d=9, k=4, spread=1.5, mean=2.0, skew=1),
    "classes of unequal size": dict(n=50, d=30, k=5, spread=0.5, mean=-1.0, skew=2),
    "nearly collapsed, far from the origin": dict(n=40, d=64, k=4, spread=1e-3, mean=30.0, skew=1),
}


def entropy(values: np.ndarray) -> float:
    p = values[values > 0] / values[values > 0].sum()
    return float(-(p * np.log(p)).sum())


def figures(n: int, d: int, k: int, spread: float, mean: float, skew: int) -> dict[str, float]:
    i, j = np.arange(n)[:, None], np.arange(d)[None, :]
    # A skew of 2 makes class 0 the largest.
    labels = np.where(np.arange(n) % skew == 0, np.arange(n) // skew % k, 0)
    h = spread * np.sin(0.7 * i * j + i + 0.3 * j) + np.sin(1.3 * labels[:, None] * (j + 1)) + mean
    centre = h.mean(0)
    means = np.stack([h[labels == c].mean(0) for c in range(k)])
    sizes = np.bincount(labels, minlength=k)
    within = (h - means[labels]).T @ (h - means[labels]) / n
    between = (means - centre).T @ np.diag(sizes / n) @ (means - centre)
    total = (h - centre).T @ (h - centre) / n
    gram = np.linalg.eigvalsh(h @ h.T)[::-1][: min(n, d)]
    spectrum = np.linalg.svd(h - centre, compute_uv=False) ** 2
    spectrum = spectrum[spectrum > spectrum[0] * 1e-14]
    falling = np.log(spectrum[spectrum > spectrum[0] * 1e-6])
    raw = np.linalg.svd(h, compute_uv=False)
    norms = np.linalg.norm(h, axis=1)
    cosine = np.abs(np.linalg.eigvalsh(1 - h @ h.T / np.outer(norms, norms)))
    values, vectors = np.linalg.eigh(within + 1e-4 * np.trace(total) / d * np.eye(d))
    root = vectors / np.sqrt(values) @ vectors.T
    lidar = np.linalg.eigvalsh(root @ between @ root)[::-1][:k]
    return {
        "gramEntropy": entropy(gram),
        "gramEffectiveRank": float(np.exp(entropy(gram))),
        "gramEffectiveRankRatio": float(np.exp(entropy(gram)) / min(n, d)),
        "centredEffectiveRank": float(np.exp(entropy(spectrum))),
        "centredParticipationRatio": float(spectrum.sum() ** 2 / (spectrum**2).sum()),
        "cosineEntropy": entropy(cosine),
        "cosineEffectiveRank": float(np.exp(entropy(cosine))),
        "rankMe": float(np.exp(entropy(raw))),
        "tunnelRank": int((raw > 1e-3 * raw[0]).sum()),
        "spectrumSlope": float(-np.polyfit(np.log(np.arange(len(falling)) + 1), falling, 1)[0]),
        "lidar": float(np.exp(entropy(lidar))),
        "totalVariation": float(np.trace(total)),
        "clusterVariation": float(np.trace(within)),
        "clusterVariationRatio": float(np.trace(within) / np.trace(total)),
        "nc1": float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10, hermitian=True)) / k),
    }


if __name__ == "__main__":
    print(json.dumps({name: {"case": case, "figures": figures(**case)} for name, case in CASES.items()}, indent=2))
