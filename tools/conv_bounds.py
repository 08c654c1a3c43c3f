"""Hold the bounds of `lipviz.operators.convolution_bounds` against dense SVD on random convolutions.

    python -m tools.conv_bounds [CASES]

It prints how many bounds were broken (none may be; the exit status is 1 where one is), how tight they are, and how long
they take beside an SVD; then the same for five convolutions of usual sizes. No bound gets to use an explicit matrix on
the random cases.
"""

import sys
import time

import numpy as np

from lipviz.operators import Convolution, convolution_bound, size_free_bound
from lipviz.operators import convolution_bounds as convolutions
from tests.random_convolutions import bounds_of, is_broken, kernel_of, matrix_of, random_convolution

USUAL = {
    "ones 3x3, 28x28": ((3, 3, 1, 1), (28, 28), 1),
    "3x3, 16 to 16, 28x28": ((3, 3, 16, 16), (28, 28), 1),
    "3x3, 64 to 64, 8x8": ((3, 3, 64, 64), (8, 8), 1),
    "7x7, 16 to 16, 16x16": ((7, 7, 16, 16), (16, 16), 1),
    "3x3, stride 2, 16 to 32, 28x28": ((3, 3, 16, 32), (28, 28), 2),
}


def compare(cases):
    """Print the table of random cases; returns how many bounds were broken."""
    rows = {"fast": [], "exact": [], "size_free": [], "SVD": []}
    broken = 0
    for seed in range(cases):
        operator = random_convolution(seed)
        start = time.perf_counter()
        norm = np.linalg.norm(matrix_of(operator), 2)
        rows["SVD"].append((1.0, 1.0, 1e3 * (time.perf_counter() - start)))
        for name, (lower, upper, spent) in bounds_of(operator).items():
            if is_broken(lower, upper, norm):
                broken += 1
                print(f"BROKEN: case {seed}, {name}: {lower} <= {norm} <= {upper}")
            if norm > 0:
                rows[name].append((lower / norm, upper / norm, spent))
    print(f"{cases} random convolutions, {broken} bounds broken")
    print(f"{'bound':10s} {'lower: worst':>13s} {'upper: median':>14s} {'worst':>8s} {'ms: median':>11s} {'worst':>8s}")
    for name, values in rows.items():
        lower, upper, spent = np.array(values).T
        print(
            f"{name:10s} {lower.min():13.6f} {np.median(upper):14.6f} {upper.max():8.4f} "
            f"{np.median(spent):11.2f} {spent.max():8.1f}"
        )
    return broken


def usual():
    """Print the table of usual sizes; the norm is known to lie between the bounds of "exact"."""
    print(f"\n{'convolution':32s} {'fast':>8s} {'ms':>7s} {'exact':>9s} {'ms':>7s} {'size free':>10s}   of the norm")
    for name, (shape, sizes, stride) in USUAL.items():
        kernel = kernel_of("ones" if "ones" in name else "gaussian", shape)
        operator = Convolution(kernel, sizes, (stride, stride), "same")
        fast, exact = (convolution_bound(operator, mode) for mode in convolutions.MODES)
        free = size_free_bound(kernel, (stride, stride))
        print(
            f"{name:32s} {fast.upper / exact.lower:8.4f} {fast.milliseconds:7.0f} {exact.upper / exact.lower:9.6f} "
            f"{exact.milliseconds:7.0f} {free / exact.lower:10.4f}   {exact.method}",
            flush=True,
        )


def main(cases=400):
    broken = compare(cases)
    usual()
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
