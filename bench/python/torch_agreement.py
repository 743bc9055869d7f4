"""The PyTorch side of bench/training-agreement.ts: an MLP and a CNN on MNIST.

    python3 torch_agreement.py <dir> <network> <epochs> [<expanded>]

Reads <dir>/mnist.npz (images, labels, order, and the test set), trains in the order given, prints the test accuracy of
each epoch as a line of JSON. With NUDGE=1e-7 in the environment every weight begins that much, relatively, beside itself: how
far apart two trainings that differ by rounding alone end.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch_training import build, chained, initializers


def main(directory: str, name: str, epochs: int, expanded: str | None) -> None:
    torch.set_num_threads(2)
    network = build(name)
    if expanded:
        chained(network, initializers(os.path.join(directory, f"{name}.onnx")), initializers(expanded))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            nudge = torch.empty_like(parameter).uniform_(-1, 1, generator=generator)
            parameter.mul_(1 + float(os.environ.get("NUDGE", "0")) * nudge)
    data = {key: torch.from_numpy(value) for key, value in np.load(os.path.join(directory, "mnist.npz")).items()}
    optimize = torch.optim.SGD(network.parameters(), lr=float(os.environ.get("RATE", "0.02")), momentum=0.9)
    for epoch in range(epochs):
        for batch in data["order"][epoch]:
            optimize.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(data["images"][batch]), data["labels"][batch])
            loss.backward()
            optimize.step()
        with torch.no_grad():
            correct = (network(data["test_images"]).argmax(1) == data["test_labels"]).sum()
        print(json.dumps({"accuracy": float(correct) / len(data["test_labels"]), "loss": float(loss)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None)
