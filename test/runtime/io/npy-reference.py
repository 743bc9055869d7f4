"""Writes npy-reference.json: files as NumPy makes them, with their elements as text. Run: python3 npy-reference.py"""

import base64
import io
import json
import os

import numpy as np
from numpy.lib import format as npy

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(0)


def base(buffer):
    return base64.b64encode(buffer.getvalue()).decode()


def case(name, array, version=None, allow=True):
    buffer = io.BytesIO()
    if version is None:
        np.save(buffer, array)
    else:
        npy.write_array(buffer, array, version=version)
    flat = array.ravel(order="C")
    if array.dtype.kind == "S":
        values = [item.decode() for item in flat]
    elif array.dtype.kind == "f":
        values = [float(item).hex() for item in flat]
    else:
        values = [str(item) for item in flat]
    return {"name": name, "shape": list(array.shape), "values": values, "base64": base(buffer)}


cases = []
for code in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]:
    if code[0] == "f":
        array = rng.standard_normal((2, 3)).astype(code)
    else:
        info = np.iinfo(code)
        array = np.array([[info.min, info.max, 0], [1, 2, 3]], dtype=code)
    cases.append(case(code, array))
    if code[1] != "1":
        cases.append(case(f"big-endian {code}", array.astype(">" + code)))
cases.append(case("bool", np.array([True, False, True])))
cases.append(case("scalar", np.array(1.5, dtype=np.float32)))
cases.append(case("empty", np.zeros((0, 3), dtype=np.int64)))
cases.append(case("Fortran order", np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))))
cases.append(case("rank 5", np.arange(32, dtype=np.int32).reshape(2, 2, 2, 2, 2)))
cases.append(case("text", np.array([["abc", "d"], ["", "\u00e9\U0001f600"]])))
cases.append(case("big-endian text", np.array(["abc", "\u00e9"]).astype(">U3")))
cases.append(case("bytes", np.array([b"abc", b"d"])))
cases.append(case("version 2", np.arange(3, dtype=np.float32), version=(2, 0)))
cases.append(case("version 3", np.arange(3, dtype=np.float32), version=(3, 0)))

refused = []
for name, array in [
    ("complex", np.zeros(2, dtype=np.complex64)),
    ("records", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")])),
    ("dates", np.zeros(2, dtype="datetime64[s]")),
    ("objects", np.array([None, {}], dtype=object)),
]:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    refused.append({"name": name, "base64": base(buffer)})

archives = []
tensors = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "ids/0": np.array([1, 2, 3])}
for name, save in [("stored", np.savez), ("deflated", np.savez_compressed)]:
    buffer = io.BytesIO()
    save(buffer, **tensors)
    archives.append({"name": name, "base64": base(buffer)})

with open(os.path.join(HERE, "npy-reference.json"), "w") as file:
    json.dump({"numpy": np.__version__, "cases": cases, "refused": refused, "archives": archives}, file, indent=1)
    file.write("\n")
