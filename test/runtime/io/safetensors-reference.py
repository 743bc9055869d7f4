"""Writes safetensors-reference.json beside this file: what the reference implementation writes for known tensors.

Needs `pip install safetensors numpy`; the tests read the JSON only.
"""

import base64
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

TENSORS = {
    "bool": np.array([[True, False], [False, True]]),
    "f16": np.array([1.5, -2.0, 65504.0], np.float16),
    "f32/weights": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "f64": np.array(np.pi),
    "i64 ü": np.array([-(2**62), 2**62], np.int64),
    "empty": np.zeros((0, 4), np.int32),
    "u8": np.arange(5, dtype=np.uint8),
}


def main() -> None:
    file = save(TENSORS, metadata={"made by": "the reference"})
    assert all(np.array_equal(value, TENSORS[name]) for name, value in load(file).items())
    cases = {
        name: {"shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode()}
        for name, array in TENSORS.items()
    }
    text = json.dumps({"file": base64.b64encode(file).decode(), "tensors": cases}, indent=1)
    Path(__file__).with_name("safetensors-reference.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
