"""Export networks of other kinds than classifiers, with random weights, as ONNX files: detection, segmentation, optical
flow, video, speech, sequences.

Usage:  python3 bench/python/export_more.py <dir> [NAME ...]

Needs torch 1.13, torchvision 0.14 and torchaudio 0.13 (Debian's python3-torch, python3-torchvision, python3-torchaudio). A
file that exists is skipped.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchaudio.models as audio
import torchvision.models as vision
from torch import nn
from torchvision.ops import FrozenBatchNorm2d
from exporting import export_onnx

warnings.filterwarnings("ignore")


class Cell(nn.Module):
    """A cell that Python's loop calls step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(16, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(x.shape[0], 32)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.head(state)


class Scripted(nn.Module):
    """A loop and a branch that stay in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x, count: int):
        for _ in range(count):
            x = torch.relu(self.body(x))
        if x.sum() > 0:
            x = self.head(x)
        else:
            x = self.head(-x)
        return x


def normalize(backbone: nn.Module, image: torch.Tensor) -> None:
    """Gives each frozen normalization the statistics of what it sees: blocks of random weights blow activations up."""

    def calibrate(layer, inputs) -> None:
        var, layer.running_mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
        layer.running_var = var.clamp(min=1e-2)

    layers = [layer for layer in backbone.modules() if isinstance(layer, (FrozenBatchNorm2d, nn.BatchNorm2d))]
    hooks = [layer.register_forward_pre_hook(calibrate) for layer in layers]
    with torch.no_grad():
        backbone.eval()(image)
    for hook in hooks:
        hook.remove()


def detector(name: str, height: int = 160, width: int = 200, **settings) -> Callable:
    def make():
        network = getattr(vision.detection, name)(weights=None, weights_backbone=None, **settings)
        image = torch.rand(3, height, width)
        if not hasattr(network, "roi_heads"):  # Of normalized features, untrained proposals are none.
            normalize(network.backbone, image[None])
        return network, ([image],)

    return make


SMALL = {"min_size": 160, "max_size": 200}
# Untrained scores are low: everything counts.
ALL = {"score_thresh": 0.0}
# name: (network and arguments, operator set)
NETWORKS: dict[str, tuple[Callable, int]] = {
    "fasterrcnn_mobilenet": (detector("fasterrcnn_mobilenet_v3_large_320_fpn", 200, 240), 11),
    "maskrcnn_resnet50": (detector("maskrcnn_resnet50_fpn", **SMALL), 11),
    "retinanet_resnet50": (detector("retinanet_resnet50_fpn", **SMALL, **ALL), 13),
    "fcos_resnet50": (detector("fcos_resnet50_fpn", **SMALL, **ALL), 13),
    "ssdlite_mobilenet": (detector("ssdlite320_mobilenet_v3_large", 320, 320, **ALL), 12),
    "lraspp_mobilenet": (
        lambda: (vision.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None), torch.randn(1, 3, 224, 224)),
        13,
    ),
    "raft_small": (lambda: (vision.optical_flow.raft_small(), (torch.randn(1, 3, 128, 128), torch.randn(1, 3, 128, 128))), 16),
    "maxvit_t": (lambda: (vision.maxvit_t(), torch.randn(1, 3, 224, 224)), 16),
    "efficientnet_v2_s": (lambda: (vision.efficientnet_v2_s(), torch.randn(1, 3, 224, 224)), 11),
    "r3d_18": (lambda: (vision.video.r3d_18(), torch.randn(1, 3, 8, 56, 56)), 14),
    "r2plus1d_18": (lambda: (vision.video.r2plus1d_18(), torch.randn(1, 3, 8, 56, 56)), 14),
    "s3d": (lambda: (vision.video.s3d(), torch.randn(1, 3, 16, 224, 224)), 14),
    "wav2vec2_base": (lambda: (audio.wav2vec2_base(aux_num_out=32), torch.randn(1, 8000)), 14),
    "conformer": (lambda: (audio.Conformer(80, 4, 128, 2, 31), (torch.randn(2, 50, 80), torch.tensor([50, 40]))), 14),
    "conv_tasnet": (lambda: (audio.ConvTasNet(), torch.randn(1, 1, 4000)), 14),
    "deepspeech": (lambda: (audio.DeepSpeech(64), torch.randn(2, 1, 50, 64)), 14),
    "wav2letter": (lambda: (audio.Wav2Letter(), torch.randn(1, 1, 8000)), 14),
    "tacotron2_encoder": (lambda: (audio.Tacotron2().encoder, (torch.randn(1, 512, 30), torch.tensor([30]))), 14),
    "transformer": (lambda: (nn.Transformer(64, 4, 2, 2, 128), (torch.randn(10, 2, 64), torch.randn(8, 2, 64))), 17),
    "gru_cell": (lambda: (Cell(), torch.randn(2, 5, 16)), 13),
    "scripted": (lambda: (torch.jit.script(Scripted()), (torch.randn(2, 16), torch.tensor(3))), 14),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, []])
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    for name in given.names or NETWORKS:
        path = given.directory / f"{name}.onnx"
        if path.exists():
            continue
        make, opset = NETWORKS[name]
        torch.manual_seed(0)
        network, arguments = make()
        export_onnx(network.eval(), arguments, str(path), opset_version=opset)
        print(name)


if __name__ == "__main__":
    main()
