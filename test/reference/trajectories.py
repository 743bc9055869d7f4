"""Losses and weights of a few training steps by PyTorch in float64, for test/training/trajectory.test.ts.

    python3 test/reference/trajectories.py > test/reference/trajectories.json && npx biome format --write test/reference/trajectories.json

The networks, their weights and the data are those of gradient.py.
"""

import contextlib
import io
import json
import sys

import torch
import torch.nn.functional as F

with contextlib.redirect_stdout(io.StringIO()):
    import gradient

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
}
STEPS = 6
CLIP = 0.15


def trajectory(make, kind):
    weights, state, x, run, classes, _ = make()
    parameters = {name: value.clone().requires_grad_() for name, value in weights.items()}
    optimizer = OPTIMIZERS[kind](parameters.values())
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        # Another batch each step, by the same formula.
        batch = gradient.wave(20 + step, x.shape)
        loss = F.cross_entropy(run(parameters, batch), gradient.labels(x.shape[0], classes))
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)))
        optimizer.step()
        losses.append(float(loss))
    return {
        "losses": losses,
        "norms": norms,
        "weights": {name: gradient.figures(value.detach()) for name, value in parameters.items()},
        "state": {name: value.tolist() for name, value in state.items()},
    }


json.dump(
    {f"{name} {kind}": trajectory(make, kind) for name, make in (("mlp", gradient.mlp), ("cnn", gradient.cnn), ("vit", gradient.vit)) for kind in OPTIMIZERS},
    sys.stdout,
)
