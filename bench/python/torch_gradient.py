"""The gradient of a torchvision network by PyTorch, for bench/fine-tuning.ts.

    python3 torch_gradient.py <network> <dir> [batch [seed]]

Writes <dir>/<network>-bn.onnx, as export_zoo.py --keep-batchnorm does, and <dir>/<network>-gradient.npz: a batch, its
cross-entropy and the gradient of every parameter in float32 and float64, with BatchNorm in training mode (and the
running statistics after it) and in inference mode.

The gradient jumps where an activation changes its sign: on most batches one of a million is so near to zero that float32
and float64 take different sides, and are then 1e-3 apart; on others, such as that of seed 3 for ResNet-18, 1e-6.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.models as zoo
from export_zoo import export, fill_zero_weights, perturb_batchnorm


def main(name: str, directory: Path, batch: int, seed: int) -> None:
    path = directory / f"{name}-bn.onnx"
    if not path.exists():
        export(name, path, keep_batchnorm=True, train=False)
    # The same as `export` begins with.
    torch.manual_seed(0)
    model = getattr(zoo, name)(weights=None).eval()
    generator = torch.Generator().manual_seed(0)
    fill_zero_weights(model, generator)
    perturb_batchnorm(model, generator)
    rng = np.random.default_rng(seed)
    arrays = {
        "input": rng.standard_normal((batch, 3, 224, 224), dtype=np.float32),
        "labels": rng.integers(0, 1000, batch),
    }
    start = {key: value.clone() for key, value in model.state_dict().items()}
    for kind, dtype, mode in [
        (f"{mode}/{kind}", getattr(torch, kind), mode) for mode in ("training", "inference") for kind in ("float32", "float64")
    ]:
        model.to(dtype)
        model.train(mode == "training")
        model.load_state_dict(start)
        for parameter in model.parameters():
            parameter.grad = None
        loss = F.cross_entropy(model(torch.from_numpy(arrays["input"]).to(dtype)), torch.from_numpy(arrays["labels"]))
        loss.backward()
        arrays[f"{kind}/loss"] = np.array(float(loss))
        for key, parameter in model.named_parameters():
            arrays[f"{kind}/gradient/{key}"] = parameter.grad.numpy().copy()
        for key, value in model.named_buffers():
            if value.is_floating_point():
                arrays[f"{kind}/state/{key}"] = value.numpy().copy()
    np.savez(directory / f"{name}-gradient.npz", **arrays)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[3:]]
    main(sys.argv[1], Path(sys.argv[2]), *(numbers + [2, 3][len(numbers) :]))
