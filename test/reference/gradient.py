"""Losses and gradients of three small networks by PyTorch in float64, for test/passes/gradient/models.test.ts.

    python3 test/reference/gradient.py > test/reference/gradient.json && npx biome format --write test/reference/gradient.json

Weights and data follow from a formula that the test repeats, so that only results are stored: of each gradient its
norm and some of its elements.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def wave(seed, shape, scale=1.0, shift=0.0):
    """The numbers that test/passes/gradient/networks.ts makes too."""
    size = math.prod(shape)
    numbers = [shift + scale * math.sin((i + 1) * 0.7548776662466927 * (1 + 0.1 * seed) + seed) for i in range(size)]
    return torch.tensor(numbers).reshape(shape)


def labels(count, classes):
    return torch.tensor([(7 * i + 3) % classes for i in range(count)])


def mlp():
    weights = {
        "w1": wave(1, (12, 16), 0.3), "b1": wave(2, (16,), 0.1),
        "w2": wave(3, (16, 16), 0.3), "b2": wave(4, (16,), 0.1),
        "w3": wave(5, (16, 5), 0.3), "b3": wave(6, (5,), 0.1),
    }

    def run(p, x):
        h = F.relu(x @ p["w1"] + p["b1"])
        h = torch.tanh(h @ p["w2"] + p["b2"])
        return h @ p["w3"] + p["b3"]

    return weights, {}, wave(20, (8, 12)), run, 5, 0.1


def cnn():
    weights = {
        "c1": wave(1, (6, 2, 3, 3), 0.3), "g1": wave(2, (6,), 0.2, 1.0), "h1": wave(3, (6,), 0.1),
        "c2": wave(4, (6, 1, 3, 3), 0.4), "g2": wave(5, (6,), 0.2, 1.0), "h2": wave(6, (6,), 0.1),
        "c3": wave(7, (8, 6, 1, 1), 0.4), "b3": wave(8, (8,), 0.1),
        "w": wave(9, (4, 8), 0.4), "b": wave(10, (4,), 0.1),
    }
    state = {
        "m1": wave(11, (6,), 0.1), "v1": wave(12, (6,), 0.2, 1.0),
        "m2": wave(13, (6,), 0.1), "v2": wave(14, (6,), 0.2, 1.0),
    }

    def run(p, x):
        h = F.conv2d(x, p["c1"], padding=1)
        h = F.relu(F.batch_norm(h, state["m1"], state["v1"], p["g1"], p["h1"], True, 0.1, 1e-5))
        h = F.max_pool2d(h, 3, 2, 1)
        h = F.conv2d(h, p["c2"], stride=2, padding=1, groups=6)
        h = F.relu6(F.batch_norm(h, state["m2"], state["v2"], p["g2"], p["h2"], True, 0.1, 1e-5))
        h = F.relu(F.conv2d(h, p["c3"], p["b3"]))
        h = h.mean((2, 3))
        return F.linear(h, p["w"], p["b"])

    return weights, state, wave(20, (4, 2, 9, 9)), run, 4, 0.0


def vit():
    d, heads, tokens = 8, 2, 5
    weights = {
        "patch": wave(1, (d, 1, 4, 4), 0.3), "patch_b": wave(2, (d,), 0.1),
        "cls": wave(3, (1, 1, d), 0.5), "pos": wave(4, (1, tokens, d), 0.5),
        "n1": wave(5, (d,), 0.2, 1.0), "n1_b": wave(6, (d,), 0.1),
        "qkv": wave(7, (d, 3 * d), 0.4), "qkv_b": wave(8, (3 * d,), 0.1),
        "proj": wave(9, (d, d), 0.4), "proj_b": wave(10, (d,), 0.1),
        "n2": wave(11, (d,), 0.2, 1.0), "n2_b": wave(12, (d,), 0.1),
        "up": wave(13, (d, 2 * d), 0.4), "up_b": wave(14, (2 * d,), 0.1),
        "down": wave(15, (2 * d, d), 0.4), "down_b": wave(16, (d,), 0.1),
        "head": wave(17, (d, 3), 0.5), "head_b": wave(18, (3,), 0.1),
    }

    def run(p, x):
        h = F.conv2d(x, p["patch"], p["patch_b"], stride=4).flatten(2).transpose(1, 2)
        h = torch.cat([p["cls"].expand(x.shape[0], 1, d), h], 1) + p["pos"]
        y = F.layer_norm(h, (d,), p["n1"], p["n1_b"], 1e-5)
        q, k, v = (y @ p["qkv"] + p["qkv_b"]).reshape(-1, tokens, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(-2, -1) * (d // heads) ** -0.5, -1)
        h = h + (attention @ v).transpose(1, 2).reshape(-1, tokens, d) @ p["proj"] + p["proj_b"]
        y = F.layer_norm(h, (d,), p["n2"], p["n2_b"], 1e-5)
        h = h + F.gelu(y @ p["up"] + p["up_b"]) @ p["down"] + p["down_b"]
        return h[:, 0] @ p["head"] + p["head_b"]

    return weights, {}, wave(20, (4, 1, 8, 8)), run, 3, 0.0


def figures(tensor):
    flat = tensor.flatten().tolist()
    places = range(len(flat)) if len(flat) <= 10 else [(i * 7919) % len(flat) for i in range(10)]
    return {"norm": float(tensor.norm()), "at": {str(i): flat[i] for i in sorted(set(places))}}


def record(make):
    weights, state, x, run, classes, smoothing = make()
    parameters = {name: value.clone().requires_grad_() for name, value in weights.items()}
    loss = F.cross_entropy(run(parameters, x), labels(x.shape[0], classes), label_smoothing=smoothing)
    loss.backward()
    return {
        "loss": float(loss),
        "gradients": {name: figures(value.grad) for name, value in parameters.items()},
        "state": {name: value.tolist() for name, value in state.items()},
    }


def losses():
    """Values and gradients of the losses themselves."""
    prediction, target = wave(1, (6, 5), 2.0), wave(2, (6, 5), 2.0)
    soft = torch.softmax(wave(3, (6, 5)), 1)
    some = torch.tensor([3, 255, 2, 255, 1, 4])
    cases = {
        "mse": lambda x: F.mse_loss(x, target),
        "l1": lambda x: F.l1_loss(x, target),
        "huber": lambda x: F.huber_loss(x, target, delta=0.7),
        "bce": lambda x: F.binary_cross_entropy_with_logits(x, soft),
        "labels": lambda x: F.cross_entropy(x, labels(6, 5)),
        "smooth": lambda x: F.cross_entropy(x, labels(6, 5), label_smoothing=0.2),
        "ignored": lambda x: F.cross_entropy(x, some, ignore_index=255),
        "ignored smooth": lambda x: F.cross_entropy(x, some, ignore_index=255, label_smoothing=0.2),
        "ignored -1": lambda x: F.cross_entropy(x, some.where(some < 5, -1), ignore_index=-1),
        "ignored pixels": lambda x: F.cross_entropy(x.reshape(2, 5, 3), some.reshape(2, 3), ignore_index=255),
        "soft": lambda x: F.cross_entropy(x, soft),
        "distilled": lambda x: 9 * F.cross_entropy(x / 3, soft),
    }
    found = {}
    for name, loss_of in cases.items():
        x = prediction.clone().requires_grad_()
        loss = loss_of(x)
        loss.backward()
        found[name] = {"loss": float(loss), "gradient": x.grad.flatten().tolist()}
    return found


json.dump(
    {"torch": torch.__version__, "mlp": record(mlp), "cnn": record(cnn), "vit": record(vit), "losses": losses()},
    sys.stdout,
)
