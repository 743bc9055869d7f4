"""The TorchScript exporter of whichever PyTorch is installed: from 2.9 on another is the default."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch


def export_onnx(*arguments: Any, **options: Any) -> None:
    """torch.onnx.export, by TorchScript, as all releases have it from 1.13 on."""
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(*arguments, **options)
