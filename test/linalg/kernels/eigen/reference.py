"""Records LAPACK's singular values of a seeded matrix: python3 test/linalg/kernels/eigen/reference.py > test/linalg/kernels/eigen/reference.json

The generator is the linear congruential one of test/linalg/kernels/matrices.ts; entries are multiples of 2**-24, so that
float32 holds them exactly. float64 throughout (dgesdd).
"""

import json
import sys

import numpy as np

ROWS, COLUMNS, SEED = 300, 500, 20240607


def entries(count, seed):
    state = seed
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        yield (state >> 8) / 2**24 - 0.5


matrix = np.array(list(entries(ROWS * COLUMNS, SEED))).reshape(ROWS, COLUMNS)
values = np.linalg.svd(matrix, compute_uv=False)
json.dump(
    {"rows": ROWS, "columns": COLUMNS, "seed": SEED, "singularValues": values.tolist()},
    sys.stdout,
    indent=1,
)
print()
