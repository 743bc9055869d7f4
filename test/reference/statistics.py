"""Reference figures of statistics by SciPy: what test/study/statistics.test.ts compares against.

Usage:  python3 test/reference/statistics.py > test/reference/statistics.json
"""

from __future__ import annotations

import json

import numpy as np
from scipy import stats

random = np.random.default_rng(0)


def holm(ps: list[float]) -> list[float]:
    """By its definition: the k-th smallest of m times m - k, none below the one before."""
    order = np.argsort(ps, kind="stable")
    out, most = [0.0] * len(ps), 0.0
    for place, index in enumerate(order):
        most = max(most, min(1.0, (len(ps) - place) * ps[index]))
        out[index] = most
    return out


means = []
for n in (2, 3, 5, 32, 200):
    values = random.normal(3, 2, n)
    interval = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    means.append({"values": values.tolist(), "mean": values.mean(), "low": interval[0], "high": interval[1]})

pairs = []
for n in (2, 5, 40):
    a, b = random.normal(0, 1, n), random.normal(0.4, 1, n)
    pairs.append({"differences": (a - b).tolist(), "p": stats.ttest_rel(a, b).pvalue})

trends = []
for n, digits in ((5, 1), (20, 0), (60, 2)):
    x = np.round(random.normal(0, 2, n), digits)
    y = np.round(-0.5 * x + random.normal(0, 2, n), digits)
    found = stats.spearmanr(x, y)
    trends.append({"xs": x.tolist(), "ys": y.tolist(), "rho": found.statistic, "p": found.pvalue})

corrections = []
for n in (1, 4, 9):
    ps = (random.uniform(0, 1, n) ** 3).tolist()
    corrections.append({"ps": ps, "holm": holm(ps)})

quantiles = [
    {"p": p, "freedom": freedom, "t": stats.t.ppf(p, freedom)}
    for p in (0.75, 0.975, 0.9995)
    for freedom in (1, 2, 7, 31, 1000)
]

print(
    json.dumps(
        {
            "means": means,
            "pairs": pairs,
            "trends": trends,
            "corrections": corrections,
            "quantiles": quantiles,
        },
        indent=1,
    )
)
