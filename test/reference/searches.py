"""L-BFGS of PyTorch and SciPy on a convex problem, and what CMA-ES of pycma takes, for test/training/search.

    python3 test/reference/searches.py > test/reference/searches.json && npx biome format --write test/reference/searches.json

The samples follow from a formula that the test repeats. All in float64.
"""

import json
import math
import sys

import cma
import numpy as np
import scipy
import torch
from scipy.optimize import minimize

torch.set_default_dtype(torch.float64)

SAMPLES, FEATURES, CLASSES, DECAY = 40, 4, 3, 0.125


def wave(seed, shape, scale=1.0, shift=0.0):
    size = math.prod(shape)
    numbers = [shift + scale * math.sin((i + 1) * 0.7548776662466927 * (1 + 0.1 * seed) + seed) for i in range(size)]
    return torch.tensor(numbers).reshape(shape)


X = wave(1, (SAMPLES, FEATURES), 2.0, 0.3)
LABELS = torch.tensor([(5 * i + (i * i) % 7) % CLASSES for i in range(SAMPLES)])


def loss_of(weight, bias):
    return torch.nn.functional.cross_entropy(X @ weight.T + bias, LABELS) + DECAY / 2 * (weight**2).sum()


def lbfgs(steps):
    weight = torch.nn.Parameter(wave(2, (CLASSES, FEATURES)))
    bias = torch.nn.Parameter(torch.zeros(CLASSES))
    optimizer = torch.optim.LBFGS(
        [weight, bias], lr=1, max_iter=1, max_eval=1000, history_size=5, line_search_fn="strong_wolfe",
        tolerance_grad=0, tolerance_change=0,
    )

    def closure():
        optimizer.zero_grad()
        loss = loss_of(weight, bias)
        loss.backward()
        return loss

    found = []
    for _ in range(steps):
        optimizer.step(closure)
        found.append({
            "loss": loss_of(weight, bias).item(),
            "weight": weight.detach().flatten().tolist(),
            "bias": bias.detach().tolist(),
        })
    return found


def optimum():
    def objective(flat):
        weight = torch.tensor(flat[: CLASSES * FEATURES].reshape(CLASSES, FEATURES), requires_grad=True)
        bias = torch.tensor(flat[CLASSES * FEATURES :], requires_grad=True)
        loss = loss_of(weight, bias)
        loss.backward()
        return loss.item(), np.concatenate([weight.grad.numpy().ravel(), bias.grad.numpy()])

    start = np.concatenate([wave(2, (CLASSES, FEATURES)).numpy().ravel(), np.zeros(CLASSES)])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-12})
    return {"loss": found.fun, "weight": found.x[: CLASSES * FEATURES].tolist()}


def ellipsoid(x):
    return sum(10 ** (4 * i / (len(x) - 1)) * v * v for i, v in enumerate(x))


def rosenbrock(x):
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def generations(function, n, diagonal):
    """Generations until the value is below 1e-8, by seed."""
    found = []
    for seed in range(1, 12):
        options = {"seed": seed, "verbose": -9, "ftarget": 1e-8, "CMA_active": False, "CMA_diagonal": diagonal}
        strategy = cma.CMAEvolutionStrategy([0.5] * n, 0.3, options)
        strategy.optimize(function)
        found.append(strategy.countiter)
    return {"n": n, "median": float(np.median(found)), "least": min(found), "most": max(found)}


json.dump(
    {
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "cma": cma.__version__.split()[0],
        "lbfgs": lbfgs(10),
        "optimum": optimum(),
        "cma-es": {
            "ellipsoid": generations(ellipsoid, 8, False),
            "rosenbrock": generations(rosenbrock, 6, False),
            "ellipsoid, diagonal": generations(ellipsoid, 40, True),
        },
    },
    sys.stdout,
)
