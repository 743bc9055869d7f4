"""Export the benchmark zoo: twelve torchvision networks with seeded random weights, as ONNX files.

Usage:  python3 bench/python/export_zoo.py <dir> [--only NAME ...] [--keep-batchnorm | --train]

Needs torch 1.13, torchvision 0.14 and onnx. Every model is exported in evaluation mode at opset 14 with constant
folding, a static 1 x 3 x 224 x 224 input called `input` and an output called `logits`. A file that exists is skipped.

In evaluation mode the exporter itself folds each BatchNormalization that follows a Conv. `--keep-batchnorm` exports
the networks that have BatchNorm with their BatchNormalization nodes intact, as <name>-bn.onnx. `--train` exports them
in training mode, preserved: each BatchNormalization computes the statistics of its batch; as <name>-train.onnx.
The weights are the same in all three.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
import torchvision.models as zoo
from torch import nn
from exporting import export_onnx

NAMES = [
    "alexnet", "vit_b_16", "mobilenet_v2", "resnet18", "resnet50", "vgg11", "efficientnet_b0", "regnet_y_400mf",
    "shufflenet_v2_x1_0", "squeezenet1_1", "convnext_tiny", "swin_t",
]  # fmt: skip
OPSET = 14


def perturb_batchnorm(model: nn.Module, generator: torch.Generator) -> bool:
    """Give every BatchNorm statistics and affine parameters that do something. False if the model has none.

    A fresh BatchNorm (mean 0, variance 1, weight 1, bias 0) is the identity, so folding it would test nothing.
    Statistics drawn blindly let deep networks blow up: the draw is therefore relative to the mean and variance that
    each layer sees on one random batch, measured layer by layer, behind the layers already perturbed.
    """

    def calibrate(layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        layer.running_mean = mean + var.sqrt() * torch.empty_like(mean).normal_(0, 0.1, generator=generator)
        layer.running_var = var * torch.empty_like(var).uniform_(0.5, 1.5, generator=generator)

    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = []
    for layer in layers:
        layer.weight.data.uniform_(0.5, 1.5, generator=generator)
        layer.bias.data.normal_(0, 0.1, generator=generator)
        hooks.append(layer.register_forward_pre_hook(calibrate))
    if layers:
        with torch.no_grad():
            model(torch.randn(2, 3, 224, 224, generator=generator))
    for hook in hooks:
        hook.remove()
    return bool(layers)


def fill_zero_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the weight matrices that torchvision starts at zero (the head of ViT); a zero matrix has no spectrum."""
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            parameter.data.normal_(0, 0.02, generator=generator)


def disable_attention_fast_path(model: nn.Module) -> None:
    """Make nn.MultiheadAttention take its ordinary path.

    In evaluation mode it calls one fused operator, aten::_native_multi_head_attention, which the exporter does not
    know. It does so only when the number of heads is even and it believes that it is not training; with a dropout
    of zero the training path computes the same, so only these modules are told that they train.
    """
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            assert module.dropout == 0
            module.training = True


def export(name: str, path: Path, keep_batchnorm: bool, train: bool) -> None:
    torch.manual_seed(0)
    model = getattr(zoo, name)(weights=None).eval()
    generator = torch.Generator().manual_seed(0)
    fill_zero_weights(model, generator)
    has_batchnorm = perturb_batchnorm(model, generator)
    if (keep_batchnorm or train) and not has_batchnorm:
        print(f"{name}: no BatchNorm, skipped", flush=True)
        return
    disable_attention_fast_path(model)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        logits = model(image)
    assert torch.isfinite(logits).all()
    if train:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0  # the exporter runs the model, which is not to move the running statistics
        model.train()
    # PRESERVE leaves each module's mode as it is here (evaluation, but for the attention modules above) and skips
    # the exporter's own Conv + BatchNorm fusion; EVAL is what a user gets by default.
    attention = any(isinstance(m, nn.MultiheadAttention) for m in model.modules())
    preserve = keep_batchnorm or attention or train
    mode = torch.onnx.TrainingMode.PRESERVE if preserve else torch.onnx.TrainingMode.EVAL
    start = time.perf_counter()
    partial = path.with_suffix(".partial")  # a file that exists under its own name is always complete
    export_onnx(
        model, image, str(partial), opset_version=OPSET, do_constant_folding=True, training=mode,
        input_names=["input"], output_names=["logits"],
    )  # fmt: skip
    os.replace(partial, path)
    seconds = time.perf_counter() - start
    print(
        f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, logits std {logits.std():.3g}, {seconds:.1f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--keep-batchnorm", action="store_true")
    parser.add_argument("--train", action="store_true")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.dir / f"{name}{'-train' if args.train else '-bn' if args.keep_batchnorm else ''}.onnx"
        if path.exists():
            print(f"{path.name}: exists, skipped", flush=True)
        else:
            export(name, path, args.keep_batchnorm, args.train)


if __name__ == "__main__":
    main()
