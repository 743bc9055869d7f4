"""The PyTorch side of bench/training.ts: small networks, their gradients, and milliseconds a training step.

    python3 torch_training.py export <dir>                          the networks as ONNX files, and the data
    python3 torch_training.py serve <dir> <network> [<expanded>]    trains when told to by lines on stdin

`serve` writes the loss and the gradients of the first batch, in float32 and float64, to <dir>/<network>.npz under the
names of the ONNX initializers; given the file that `onnx-overparam expand` made of the network, it trains the same
chains, from the same factors. Then each line on stdin is a number of steps, answered by the milliseconds they took.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn
from exporting import export_onnx

THREADS = int(os.environ.get("THREADS", "2"))
BATCH = 64
BATCHES = 20


class Mlp(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
        )


class Cnn(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
        )  # fmt: skip


class Block(nn.Module):
    """A transformer block that normalizes first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attention = torch.softmax(q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5, -1)
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Vit(nn.Module):
    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 50, width) * 0.02)
        self.blocks = nn.Sequential(Block(width, heads), Block(width, heads))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def normalized(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = normalized(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.second = normalized(nn.Conv2d(width, width, 3, padding=1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class ResNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            normalized(nn.Conv2d(1, 16, 3, padding=1, bias=False)), nn.ReLU(), Residual(16),
            normalized(nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16, bias=False)), nn.ReLU(),
            normalized(nn.Conv2d(16, 32, 1, bias=False)), nn.ReLU(), Residual(32),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip


class Lstm(nn.Module):
    """Reads an image row by row."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.rows = nn.LSTM(28, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rows(x.flatten(1, 2))[0][:, -1])


NETWORKS = {
    "mlp-256": lambda: Mlp(256),
    "mlp-1024": lambda: Mlp(1024),
    "cnn": Cnn,
    "vit": Vit,
    "resnet": ResNet,
    "lstm": Lstm,
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[name]().train()
    with torch.no_grad():
        for parameter in network.parameters():
            # Where two are the same the exporter keeps one, and it would be trained as one.
            parameter.add_(0.01 * torch.randn_like(parameter))
    return network


def optimizer(name: str, parameters) -> torch.optim.Optimizer:
    if name in ("vit", "lstm"):
        return torch.optim.Adam(parameters, lr=1e-3)
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def export(directory: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCHES, BATCH, 1, 28, 28), dtype=np.float32)
    labels = rng.integers(0, 10, (BATCHES, BATCH))
    np.savez(os.path.join(directory, "data.npz"), images=images, labels=labels)
    for name in NETWORKS:
        # PRESERVE keeps BatchNormalization apart from the convolutions.
        export_onnx(
            build(name).eval(), torch.zeros(BATCH, 1, 28, 28), os.path.join(directory, f"{name}.onnx"), opset_version=17,
            input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "batch"}},
            training=torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip


def initializers(path: str) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in onnx.load(path).graph.initializer}


def onnx_name(name: str, value: np.ndarray, found: dict[str, np.ndarray]) -> tuple[str, bool]:
    """The initializer that holds a parameter, and whether transposed: the exporter renames those that it turned."""
    if name in found and found[name].shape == value.shape:
        return name, False
    for other, tensor in found.items():
        if value.ndim == 2 and tensor.shape == value.T.shape and np.array_equal(tensor, value.T):
            return other, True
    raise KeyError(name)


def gates(value: np.ndarray) -> np.ndarray:
    """A parameter of an LSTM as ONNX has it: input, output, forget and cell gate, of one direction."""
    i, f, c, o = np.split(value, 4)
    return np.concatenate([i, o, f, c])[np.newaxis]


def place(name: str, value: np.ndarray, found: dict[str, np.ndarray]) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """The initializer that holds a parameter, or a part of one behind those before it, and what the exporter made of it."""
    if "_ih_l" in name or "_hh_l" in name:
        own = gates(value)
        for other, tensor in found.items():
            # Both biases are one initializer.
            halves = np.split(tensor, 2, axis=1) if own.ndim == 2 and tensor.shape == (1, 2 * own.size) else [tensor]
            if any(np.array_equal(half, own) for half in halves):
                return other, gates
        raise KeyError(name)
    target, turned = onnx_name(name, value, found)
    return target, np.transpose if turned else np.asarray


def put(arrays: dict[str, np.ndarray], key: str, value: np.ndarray) -> None:
    arrays[key] = np.concatenate([arrays[key], value], axis=1) if key in arrays else np.ascontiguousarray(value)


def chained(network: nn.Module, plain: dict[str, np.ndarray], factors: dict[str, np.ndarray]) -> dict[str, tuple]:
    """Puts the chains of an expanded file in place of layers; returns where each factor is, by parameter."""
    places: dict[str, tuple] = {}
    for path, module in list(network.named_modules()):
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        name, turned = onnx_name(f"{path}.weight", module.weight.detach().numpy(), plain)
        if f"{name}/overparam/0" not in factors:
            continue
        count = sum(1 for key in factors if key.startswith(f"{name}/overparam/"))
        layers = []
        for i in range(count):
            key = f"{name}/overparam/{i}"
            weight = torch.from_numpy(np.ascontiguousarray(factors[key].T if turned else factors[key]))
            is_last = i == count - 1
            if isinstance(module, nn.Linear):
                layer = nn.Linear(weight.shape[1], weight.shape[0], bias=is_last and module.bias is not None)
            else:
                spatial = dict(stride=module.stride, padding=module.padding) if i == 0 else {}
                layer = nn.Conv2d(
                    weight.shape[1] * module.groups, weight.shape[0], weight.shape[2:], groups=module.groups,
                    bias=is_last and module.bias is not None, **spatial,
                )  # fmt: skip
            layer.weight = nn.Parameter(weight)
            if is_last and module.bias is not None:
                layer.bias = module.bias
                places[f"{path}.{i}.bias"] = (f"{path}.bias", np.asarray)
            layers.append(layer)
            places[f"{path}.{i}.weight"] = (key, np.transpose if turned else np.asarray)
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Sequential(*layers))
    return places


def first_gradient(network: nn.Module, image: torch.Tensor, label: torch.Tensor) -> tuple[float, dict[str, np.ndarray]]:
    loss = F.cross_entropy(network(image), label)
    loss.backward()
    gradients = {name: parameter.grad.numpy().copy() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = None
    return float(loss), gradients


def serve(directory: str, name: str, expanded: str | None) -> None:
    torch.set_num_threads(THREADS)
    network = build(name)
    plain = initializers(os.path.join(directory, f"{name}.onnx"))
    places = chained(network, plain, initializers(expanded)) if expanded else {}
    for key, parameter in network.named_parameters():
        if key not in places:
            places[key] = place(key, parameter.detach().numpy(), plain)
    data = np.load(os.path.join(directory, "data.npz"))
    images = [torch.from_numpy(image) for image in data["images"]]
    labels = [torch.from_numpy(label) for label in data["labels"]]

    start = {key: value.clone() for key, value in network.state_dict().items()}
    loss32, single = first_gradient(network, images[0], labels[0])
    network.double()
    network.load_state_dict(start)
    loss64, double = first_gradient(network, images[0].double(), labels[0])
    network.float()
    network.load_state_dict(start)
    arrays = {}
    for key, _ in network.named_parameters():
        target, view = places[key]
        put(arrays, f"float32/{target}", view(single[key]))
        put(arrays, f"float64/{target}", view(double[key]))
    suffix = "-expanded" if expanded else ""
    np.savez(os.path.join(directory, f"{name}{suffix}.npz"), **arrays)
    del single, double, arrays, start

    optimize = optimizer(name, network.parameters())
    done = 0
    print(json.dumps({"loss32": loss32, "loss64": loss64}), flush=True)
    for line in sys.stdin:
        steps = int(line)
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            optimize.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(images[done % BATCHES]), labels[done % BATCHES])
            loss.backward()
            optimize.step()
            done += 1
        seconds, used = time.perf_counter() - begin, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        assert math.isfinite(float(loss))
        print(json.dumps({"ms": 1000 * seconds / steps, "cpuMs": 1000 * used / steps, "loss": float(loss), "megabytes": peak}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(sys.argv[2])
    else:
        serve(sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None)
