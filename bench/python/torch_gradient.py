"""The gradient of a network by PyTorch, for bench/gradient-agreement.ts.

    python3 torch_gradient.py <network> <dir> [batch [seed]]

A network of torch_training.py, or one of torchvision. Writes <dir>/<network>-gradient.onnx, with random weights, no two
of them equal (exporters keep only one of such), and <dir>/<network>-gradient.npz: a batch, its cross-entropy and the
gradient of every parameter in float32 and float64, with BatchNorm in training mode (and the running statistics after it)
and, where there is any, in inference mode.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.models as zoo
from export_zoo import disable_attention_fast_path, fill_zero_weights, perturb_batchnorm
from torch import nn
from torch_training import NETWORKS, initializers, place, put
from torch_training import build as build_small
from exporting import export_onnx


def build(name: str) -> nn.Module:
    if name in NETWORKS:
        return build_small(name).eval()
    torch.manual_seed(0)
    network = getattr(zoo, name)(weights=None).eval()
    generator = torch.Generator().manual_seed(0)
    fill_zero_weights(network, generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.empty_like(parameter).normal_(generator=generator))
    perturb_batchnorm(network, generator)
    disable_attention_fast_path(network)
    return network


def main(name: str, directory: Path, batch: int, seed: int) -> None:
    network = build(name)
    shape, classes = ((1, 28, 28), 10) if name in NETWORKS else ((3, 224, 224), 1000)
    path = directory / f"{name}-gradient.onnx"
    export_onnx(
        network, torch.zeros(1, *shape), str(path), opset_version=17, input_names=["input"], output_names=["logits"],
        # Keeps BatchNormalization apart from the convolutions.
        training=torch.onnx.TrainingMode.PRESERVE,
    )  # fmt: skip
    found = initializers(str(path))
    places = {key: place(key, parameter.detach().numpy(), found) for key, parameter in network.named_parameters()}
    rng = np.random.default_rng(seed)
    arrays = {
        "input": rng.standard_normal((batch, *shape), dtype=np.float32),
        "labels": rng.integers(0, classes, batch),
    }
    start = {key: value.clone() for key, value in network.state_dict().items()}
    has_batchnorm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    for mode in ("training", "inference") if has_batchnorm else ("training",):
        for precision in ("float32", "float64"):
            dtype, kind = getattr(torch, precision), f"{mode}/{precision}"
            network.to(dtype)
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train(mode == "training")
            network.load_state_dict(start)
            network.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(torch.from_numpy(arrays["input"]).to(dtype)), torch.from_numpy(arrays["labels"]))
            loss.backward()
            arrays[f"{kind}/loss"] = np.array(float(loss))
            for key, parameter in network.named_parameters():
                target, view = places[key]
                put(arrays, f"{kind}/gradient/{target}", view(parameter.grad.numpy()))
            for key, value in network.named_buffers():
                if value.is_floating_point():
                    arrays[f"{kind}/state/{key}"] = value.numpy().copy()
    np.savez(directory / f"{name}-gradient.npz", **arrays)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[3:]]
    main(sys.argv[1], Path(sys.argv[2]), *(numbers + [2, 3][len(numbers) :]))
