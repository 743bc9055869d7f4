"""Trajectories of PyTorch's optimizers, clipped gradients and learning rates, for test/training.

    python3 test/reference/optimizers.py > test/reference/optimizers.json && npx biome format --write test/reference/optimizers.json

Weights and gradients follow from a formula that the tests repeat, so that only results are stored. Everything is in
float64; learning rates and decays that pass through float32 in the graph are exact in it.
"""

import json
import math
import sys
import warnings

import torch

torch.set_default_dtype(torch.float64)
warnings.filterwarnings("ignore")

STEPS = 10
LR = 1 / 64


def wave(seed, shape, scale=1.0, shift=0.0):
    """The numbers that test/passes/gradient/networks.ts makes too."""
    size = math.prod(shape)
    numbers = [shift + scale * math.sin((i + 1) * 0.7548776662466927 * (1 + 0.1 * seed) + seed) for i in range(size)]
    return torch.tensor(numbers).reshape(shape)


def gradient(step, shape):
    return wave(step + 10, shape, 1.5, 0.25)


OPTIMIZERS = [
    ("sgd", {}, 0.0),
    ("sgd", {}, 0.125),
    ("sgd", {"momentum": 0.9}, 0.0),
    ("sgd", {"momentum": 0.9, "dampening": 0.25}, 0.125),
    ("sgd", {"momentum": 0.9, "nesterov": True}, 0.125),
    ("adam", {}, 0.0),
    ("adam", {"betas": [0.5, 0.99], "epsilon": 1e-3}, 0.125),
    ("adamw", {}, 0.125),
    ("adamw", {"betas": [0.0, 0.9]}, 0.0),
    ("rmsprop", {}, 0.0),
    ("rmsprop", {"alpha": 0.9, "epsilon": 1e-3, "momentum": 0.8}, 0.125),
    ("rmsprop", {"centered": True}, 0.0),
    ("rmsprop", {"centered": True, "alpha": 0.5, "momentum": 0.9}, 0.125),
    ("adagrad", {}, 0.0),
    ("muon", {}, 0.0),
    ("muon", {}, 0.0, (6, 3)),
    ("muon", {"momentum": 0.5, "nesterov": False, "iterations": 3}, 0.125),
    ("adagrad", {"learningRateDecay": 0.1, "initialAccumulator": 0.5, "epsilon": 1e-3}, 0.125),
]
TORCH = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "muon": torch.optim.Muon,
}
NAMES = {"epsilon": "eps", "learningRateDecay": "lr_decay", "initialAccumulator": "initial_accumulator_value", "iterations": "ns_steps"}

# PyTorch computes Newton-Schulz iterations in bfloat16; for figures to compare to the last digits, here they stay in float64.
torch.bfloat16 = torch.float64


def trajectory(name, options, weight_decay, shape=(3, 4)):
    parameter = torch.nn.Parameter(wave(1, shape))
    named = {NAMES.get(key, key): value for key, value in options.items()}
    optimizer = TORCH[name]([parameter], lr=LR, weight_decay=weight_decay, **named)
    # The learning rate changes on the way, as a schedule has it.
    found = []
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = LR * (2 if step > 5 else 1)
        parameter.grad = gradient(step, shape)
        optimizer.step()
        found.append(parameter.detach().flatten().tolist())
    return {"name": name, "options": options, "weightDecay": weight_decay, "shape": shape, "parameters": found}


def clip(limit):
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), ())]
    for index, parameter in enumerate(parameters):
        parameter.grad = gradient(index, tuple(parameter.shape))
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    return {"limit": limit, "norm": float(norm), "gradients": [p.grad.flatten().tolist() for p in parameters]}


def rates(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


S = torch.optim.lr_scheduler


def warm(optimizer, steps, then):
    first = S.LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
    return S.SequentialLR(optimizer, [first, then], milestones=[steps])


def one_cycle(optimizer, **options):
    return S.OneCycleLR(optimizer, max_lr=0.5, cycle_momentum=False, **options)


SCHEDULES = {
    "constant": lambda o: S.ConstantLR(o, factor=1),
    "step": lambda o: S.StepLR(o, 6, gamma=0.5),
    "milestones": lambda o: S.MultiStepLR(o, [3, 11, 15], gamma=0.1),
    "cosine": lambda o: S.CosineAnnealingLR(o, 20),
    "cosine final": lambda o: S.CosineAnnealingLR(o, 20, eta_min=0.05),
    "one-cycle": lambda o: one_cycle(o, total_steps=21),
    "one-cycle linear": lambda o: one_cycle(
        o, total_steps=21, pct_start=0.45, div_factor=10, final_div_factor=100, anneal_strategy="linear"
    ),
    "warm cosine": lambda o: warm(o, 5, S.CosineAnnealingLR(o, 15)),
    "warm step": lambda o: warm(o, 4, S.StepLR(o, 6, gamma=0.5)),
}

json.dump(
    {
        "torch": torch.__version__,
        "optimizers": [trajectory(*case) for case in OPTIMIZERS],
        "clip": [clip(limit) for limit in (0.5, 2.0, 100.0)],
        "schedules": {name: rates(make, 20) for name, make in SCHEDULES.items()},
    },
    sys.stdout,
)
