"""Low-rank baselines on an ONNX classifier of Gemm (transB), Conv, BatchNormalization, Relu, pooling, Add and Flatten.

Usage: baselines.py model.onnx <IDX folder> --shares 0.75 0.5 0.25 --samples 1024 [--indices indices.json]

Each method picks ranks for all matrices, convolutions as outputs x (inputs * kernel), R outputs of the same kernel and then 1 x 1. The
product of the factors takes the place of the weight, and parameters are counted for the factors; biases and normalizations stay.

uniform   plain SVD, the same share of parameters in each layer but the last, which stays
energy    plain SVD, the same share of the sum of squares in each layer
global    plain SVD, singular values dropped over all layers by their square for each parameter
asvd      columns scaled by the root of the mean absolute input (ASVD, arXiv 2312.05821, alpha 0.5), uniform
fwsvd     rows of the input weighed by the root of the Fisher information (FWSVD, arXiv 2207.00112), uniform
svdllm    whitened by the Cholesky factor of X X^T (SVD-LLM, arXiv 2403.07378), uniform
vbmf      plain SVD, ranks in the proportions that empirical variational Bayes finds (Nakajima et al., JMLR 14, 2013, the analytic
          solution), made smaller by one factor, or larger towards the full rank, until the budget is met: by
          itself it knows none
Prints one JSON line a method and share.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


def idx(path):
    data = gzip.open(path).read()
    dims = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)


def load(folder, part):
    first = next(Path(folder).glob(f"{part}-images*.gz"), None)
    if first is None and part == "t10k":
        return load(folder, "test")
    images, labels = first, next(Path(folder).glob(f"{part}-labels*.gz"))
    return idx(images).astype(np.float32) / 255, idx(labels).astype(np.int64)


class Network:
    """Runs the graph in PyTorch with weights that can be replaced, and notes what linear layers read."""

    def __init__(self, path):
        self.graph = onnx.load(path).graph
        self.weights = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in self.graph.initializer}
        self.input = self.graph.input[0].name
        self.shape = [d.dim_value for d in self.graph.input[0].type.tensor_type.shape.dim][1:]
        self.layers = [n for n in self.graph.node if n.op_type in ("Gemm", "Conv")]

    def __call__(self, x, weights=None, seen=None):
        w = {**self.weights, **(weights or {})}
        v = {self.input: x.reshape(len(x), *self.shape)}
        for n in self.graph.node:
            a = {p.name: onnx.helper.get_attribute_value(p) for p in n.attribute}
            i = [v[name] if name in v else w[name] for name in n.input]
            if seen is not None and n.op_type in ("Gemm", "Conv"):
                seen(n, i[0], a)
            if n.op_type == "Gemm":
                y = i[0] @ i[1].T + i[2]
            elif n.op_type == "Conv":
                pads = a.get("pads", [0, 0, 0, 0])
                assert pads[:2] == pads[2:]
                y = F.conv2d(i[0], i[1], i[2] if len(i) > 2 else None, a.get("strides", [1, 1]), pads[:2])
            elif n.op_type == "BatchNormalization":
                y = F.batch_norm(i[0], i[3], i[4], i[1], i[2], eps=a.get("epsilon", 1e-5))
            elif n.op_type == "Relu":
                y = F.relu(i[0])
            elif n.op_type == "MaxPool":
                y = F.max_pool2d(i[0], a["kernel_shape"], a["strides"])
            elif n.op_type == "GlobalAveragePool":
                y = i[0].mean((2, 3), keepdim=True)
            elif n.op_type == "Flatten":
                y = i[0].flatten(1)
            elif n.op_type == "Add":
                y = i[0] + i[1]
            else:
                raise SystemExit(f"{n.op_type} is not known here")
            v[n.output[0]] = y
        return v[self.graph.output[0].name]

    def evaluate(self, x, labels, weights=None):
        losses, right = [], 0
        with torch.no_grad():
            for start in range(0, len(x), 500):
                logits = self(x[start : start + 500], weights)
                target = labels[start : start + 500]
                losses.append(F.cross_entropy(logits, target, reduction="none").double())
                right += (logits.argmax(1) == target).sum().item()
        losses = torch.cat(losses)
        return losses.mean().item(), right / len(x), losses


def matrix(net, node):
    w = net.weights[node.input[1]].double()
    return w.reshape(len(w), -1)


def moments(net, x):
    """X X^T and the mean absolute input of each layer."""
    grams, sizes = {}, {}

    def seen(node, value, a):
        if node.op_type == "Conv":
            k, pads, strides = a["kernel_shape"], a.get("pads", [0, 0, 0, 0]), a.get("strides", [1, 1])
            value = F.unfold(value, k, padding=pads[:2], stride=strides).transpose(1, 2).flatten(0, 1)
        value = value.double()
        key = node.name
        grams[key] = grams.get(key, 0) + value.T @ value
        sizes[key] = sizes.get(key, 0) + value.abs().mean(0) * len(value)

    with torch.no_grad():
        for start in range(0, len(x), 32):
            net(x[start : start + 32], None, seen)
    return grams, sizes


def fisher(net, x, labels):
    """The sum of squared gradients of each weight, sample by sample."""
    names = [n.input[1] for n in net.layers]
    sums = {name: torch.zeros_like(net.weights[name]) for name in names}
    for start in range(len(x)):
        weights = {name: net.weights[name].clone().requires_grad_() for name in names}
        loss = F.cross_entropy(net(x[start : start + 1], weights), labels[start : start + 1])
        for name, g in zip(names, torch.autograd.grad(loss, list(weights.values()))):
            sums[name] += g**2
    return sums


def decompose(w, scale):
    """SVD of W S with what brings the right side back."""
    u, s, vt = torch.linalg.svd(w @ scale, full_matrices=False)
    return u * s, torch.linalg.solve(scale.T, vt.T).T, s


def within_budget(mats, total, budget, rank_of):
    """Ranks rank_of(name, shape, share), where they save anything, of the largest share from 0 to 1 that keeps the budget."""
    fixed = total - sum(m.numel() for m in mats.values())

    def ranks(share):
        made = {}
        for name, m in mats.items():
            r = rank_of(name, m.shape, share)
            made[name] = None if r * sum(m.shape) >= m.numel() else max(1, r)
        return made

    return bisect(ranks, lambda r: fixed + cost(mats, r), budget)


def uniform_ranks(mats, total, budget, last):
    """Ranks of the same share of each layer's parameters, the last left out."""

    def rank_of(name, shape, share):
        a, b = shape
        r = int(share * a * b / (a + b))
        return a * b if name == last or r >= min(a, b) else r

    return within_budget(mats, total, budget, rank_of)


def cost(mats, ranks):
    return sum(m.numel() if ranks[n] is None else ranks[n] * sum(m.shape) for n, m in mats.items())


def bisect(ranks, cost_of, budget):
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if cost_of(ranks(middle)) <= budget:
            low = middle
        else:
            high = middle
    return ranks(low)


def energy_ranks(mats, values, total, budget):
    def rank_of(name, shape, share):
        kept = torch.cumsum(values[name] ** 2, 0) / (values[name] ** 2).sum()
        return max(1, int((kept < share).sum()) + 1) if share < 1 else min(shape)

    return within_budget(mats, total, budget, rank_of)


def global_ranks(mats, values, total, budget):
    fixed = total - sum(m.numel() for m in mats.values())
    order = []
    for name, m in mats.items():
        a, b = m.shape
        order += [((s.item() ** 2) / (a + b), name) for s in values[name]]
    order.sort(reverse=True)

    def ranks(share):
        counts = dict.fromkeys(mats, 0)
        for _, name in order[: max(1, int(share * len(order)))]:
            counts[name] += 1
        return {
            n: None if c * sum(mats[n].shape) >= mats[n].numel() else max(1, c) for n, c in counts.items()
        }

    return bisect(ranks, lambda r: fixed + cost(mats, r), budget)


def vbmf_rank(values, shape):
    """The rank that empirical variational Bayesian matrix factorization keeps of singular values, all of them."""
    low, high = min(shape), max(shape)
    alpha = low / high
    tau = 2.5129 * alpha**0.5
    bound = (1 + tau) * (1 + alpha / tau)
    s2 = values.double() ** 2

    def free_energy(variance):
        x = s2 / (high * variance)
        noise, signal = x[x <= bound].clamp_min(1e-300), x[x > bound]
        b = signal - (1 + alpha)
        t = 0.5 * (b + (b**2 - 4 * alpha).sqrt())
        lost = (noise - noise.log()).sum() + (signal - t).sum()
        return (lost + ((t + 1) / signal).log().sum() + alpha * (t / alpha + 1).log().sum()).item()

    most = min(int(np.ceil(low / (1 + alpha))) - 1, low) - 1
    rest = s2[most + 1 :]
    least = max((rest[0] / (high * bound)).item(), (rest.mean() / high).item(), 1e-300)
    grid = np.geomspace(least, max(least, s2.sum().item() / (low * high)), 4000)
    variance = min(grid, key=free_energy)
    return int((s2 > high * variance * bound).sum())


def vbmf_ranks(mats, found, total, budget):
    def rank_of(name, shape, half):
        share = 2 * half - 1
        # Up to all of the rank, for budgets that the ranks as found do not use up.
        r = found[name] ** (1 - share) * min(shape) ** share if share >= 0 else found[name] * (1 + share)
        return max(1, round(r))

    return within_budget(mats, total, budget, rank_of)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.75, 0.5, 0.25])
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--indices", help="JSON list of the training samples to calibrate on")
    parser.add_argument("--losses", help="folder for the loss of each test sample, as .npy")
    args = parser.parse_args()
    torch.set_num_threads(2)
    net = Network(args.model)
    images, labels = (torch.tensor(a) for a in load(args.data, "train"))
    test, test_labels = (torch.tensor(a) for a in load(args.data, "t10k"))
    if args.indices:
        chosen = torch.tensor(json.load(open(args.indices)))
    else:
        chosen = torch.tensor(np.random.default_rng(0).choice(len(images), args.samples, replace=False))
    x, y = images[chosen], labels[chosen]
    total = sum(w.numel() for w in net.weights.values())
    mats = {n.name: matrix(net, n) for n in net.layers}
    names = {n.name: n.input[1] for n in net.layers}
    last = net.layers[-1].name
    base_loss, base_accuracy, base = net.evaluate(test, test_labels)
    print(json.dumps({"method": "original", "share": 1, "parameters": total, "loss": base_loss, "accuracy": base_accuracy}), flush=True)

    start = time.perf_counter()
    grams, sizes = moments(net, x)
    seconds = {"moments": time.perf_counter() - start}
    start = time.perf_counter()
    information = fisher(net, x, y)
    seconds["fisher"] = time.perf_counter() - start
    eye = {n: torch.eye(m.shape[1], dtype=torch.double) for n, m in mats.items()}
    scales = {"plain": eye, "asvd": {}, "fwsvd": {}, "svdllm": {}}
    for n, m in mats.items():
        size = sizes[n] / sizes[n].mean()
        scales["asvd"][n] = torch.diag(size.clamp_min(1e-3) ** 0.5)
        rows = information[names[n]].double().reshape(m.shape).sum(0)
        scales["fwsvd"][n] = torch.diag((rows / rows.mean()).clamp_min(1e-6) ** 0.5)
        g = grams[n]
        jitter = 1e-6 * g.diagonal().mean()
        scales["svdllm"][n] = torch.linalg.cholesky(g + jitter * torch.eye(len(g), dtype=torch.double))
    parts = {}
    for kind, by in scales.items():
        start = time.perf_counter()
        parts[kind] = {n: decompose(m, by[n]) for n, m in mats.items()}
        seconds[kind] = time.perf_counter() - start
    plain = {n: part[2] for n, part in parts["plain"].items()}
    start = time.perf_counter()
    found = {n: max(1, vbmf_rank(plain[n], m.shape)) for n, m in mats.items()}
    seconds["vbmf"] = time.perf_counter() - start
    methods = {
        "uniform": ("plain", lambda b: uniform_ranks(mats, total, b, last)),
        "energy": ("plain", lambda b: energy_ranks(mats, plain, total, b)),
        "global": ("plain", lambda b: global_ranks(mats, plain, total, b)),
        "asvd": ("asvd", lambda b: uniform_ranks(mats, total, b, last)),
        "fwsvd": ("fwsvd", lambda b: uniform_ranks(mats, total, b, last)),
        "svdllm": ("svdllm", lambda b: uniform_ranks(mats, total, b, last)),
        "vbmf": ("plain", lambda b: vbmf_ranks(mats, found, total, b)),
    }
    for share in args.shares:
        for method, (kind, ranks_for) in methods.items():
            ranks = ranks_for(share * total)
            replaced = {}
            for n, r in ranks.items():
                if r is None:
                    continue
                left, right, _ = parts[kind][n]
                product = left[:, :r] @ right[:r]
                replaced[names[n]] = product.float().reshape(net.weights[names[n]].shape)
            loss, accuracy, losses = net.evaluate(test, test_labels, replaced)
            if args.losses:
                np.save(Path(args.losses) / f"{method}-{share}.npy", losses.numpy())
            parameters = total - sum(m.numel() for m in mats.values()) + cost(mats, ranks)
            need = {"svdllm": ["moments"], "asvd": ["moments"], "fwsvd": ["fisher"], "vbmf": ["vbmf"]}.get(method, []) + [kind]
            print(json.dumps({
                "method": method, "share": share, "parameters": parameters, "loss": loss, "accuracy": accuracy,
                "increase": loss - base_loss, "error": ((losses - base).std() / len(losses) ** 0.5).item(),
                "seconds": sum(seconds[k] for k in need), "ranks": ranks,
            }), flush=True)


if __name__ == "__main__":
    main()
