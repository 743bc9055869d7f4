"""A model of float16 trained by PyTorch with master weights of float32, for test/training/half.test.ts.

    python3 test/reference/half.py > test/reference/half.json && npx biome format --write test/reference/half.json

The network, its weights and the data are those of gradient.py. The steps are so small that float16 weights would stay as they
are. Forward and backward pass are of float16, the loss and the update of float32 (Micikevicius et al., "Mixed Precision
Training", ICLR 2018, section 3.1).
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
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=2e-6),
}
STEPS = 30


def trajectory(kind):
    weights, _, x, run, classes, _ = gradient.mlp()
    masters = {name: value.half().float().requires_grad_() for name, value in weights.items()}
    optimizer = OPTIMIZERS[kind](masters.values())
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        batch = gradient.wave(20 + step, x.shape).half()
        logits = run({name: value.half() for name, value in masters.items()}, batch)
        loss = F.cross_entropy(logits.float(), gradient.labels(x.shape[0], classes))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    start = {name: value.half().float() for name, value in weights.items()}
    return {
        "losses": losses,
        # What the steps changed, of every element: the weights themselves hardly move.
        "moves": {name: (value.detach() - start[name]).flatten().tolist() for name, value in masters.items()},
    }


json.dump({kind: trajectory(kind) for kind in OPTIMIZERS}, sys.stdout)
