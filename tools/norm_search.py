"""Search for a kernel whose layer exceeds k: structured kernels first, then gradient ascent on the exact norm.

    python -m tools.norm_search [STEPS]

For every layer with a kernel and several settings it prints the largest exact norm (explicit float64 matrix of the
stored `wbar`) over k that the search found. None may exceed 1 + 1e-6; the exit status is 1 where one does.
"""

import sys

import numpy as np
from keras import ops

from lipviz.layers import (
    FrobeniusConv2D,
    FrobeniusDense,
    SpectralConv1D,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
)
from tests.support import KINDS, convolution_matrix, gradient, make_kernel

SETTINGS = ({}, {"eps_bjorck": None}, {"beta_bjorck": 0.05, "maxiter_bjorck": 1}, {"maxiter_spectral": 0})
TIGHT = {"bound": "tight"}
ALSO_TIGHT = (*SETTINGS, TIGHT, TIGHT | {"eps_bjorck": None})
ROUGH = {"kernel_size": 3, "filters": 3}
# Class, arguments, shape of a sample, settings.
LAYERS = (
    (SpectralDense, {"units": 5}, (8,), SETTINGS),
    (FrobeniusDense, {"units": 5, "disjoint_neurons": False}, (8,), ({},)),
    (SpectralConv1D, ROUGH, (7, 2), ALSO_TIGHT),
    (SpectralConv2D, ROUGH, (5, 4, 2), ALSO_TIGHT),
    (SpectralConv2D, ROUGH | {"strides": 2, "kernel_size": 4}, (5, 6, 2), ALSO_TIGHT),
    (SpectralConv2D, ROUGH | {"padding": "valid"}, (5, 6, 2), ({}, TIGHT)),
    (SpectralConv2DTranspose, ROUGH, (4, 3, 2), ALSO_TIGHT),
    (SpectralConv2DTranspose, ROUGH | {"strides": 3, "kernel_size": 4}, (3, 2, 2), SETTINGS),
    (FrobeniusConv2D, ROUGH, (5, 4, 2), ({}, TIGHT)),
)
STARTS = 3


def operators(layer, shape):
    """The explicit matrix of the layer for each entry of the kernel: (entries, outputs, inputs)."""
    size = int(np.prod(layer.kernel.shape))
    basis = np.eye(size).reshape(size, *layer.kernel.shape)
    if not hasattr(layer, "strides"):
        return np.stack([w.T for w in basis])
    transposed = layer.transposed
    return np.stack([convolution_matrix(w, shape[:-1], layer.strides, layer.padding, transposed) for w in basis])


def norm_and_direction(layer, matrices):
    """The exact norm of what inference uses, and its derivative with respect to `wbar`."""
    wbar = np.asarray(layer.wbar, np.float64).ravel()
    left, values, right = np.linalg.svd(np.tensordot(wbar, matrices, 1))
    return values[0], np.einsum("koi,o,i->k", matrices, left[:, 0], right[0]).reshape(layer.wbar.shape)


def ascend(layer, matrices, steps):
    """The largest norm along a path of gradient ascent on the raw kernel."""
    largest = 0.0
    for step in range(steps + 1):
        layer.refresh()
        norm, direction = norm_and_direction(layer, matrices)
        largest = max(largest, norm)
        kernel = ops.convert_to_numpy(layer.kernel)
        weights = ops.convert_to_tensor(direction.astype("float32"))
        slope = gradient(lambda w, weights=weights: ops.sum(weights * layer.parametrization.constrain(w)[0]), kernel)
        length = np.linalg.norm(slope)
        if not 0 < length < np.inf or step == steps:
            break
        layer.kernel.assign(kernel + 0.3 / (1 + step / 10) * np.linalg.norm(kernel) * slope / length)
    return largest


def search(cls, arguments, shape, settings, steps):
    """The largest norm over k that was found for a layer."""
    layer = cls(use_bias=False, **arguments, **settings)
    layer.build((None, *shape))
    matrices = operators(layer, shape)
    flat = (int(np.prod(layer.kernel.shape[:-1])), layer.kernel.shape[-1])
    found = []
    for kind in KINDS:
        for scale in (1e-12, 1.0, 1e12):
            layer.kernel.assign(make_kernel(kind, flat, scale).reshape(layer.kernel.shape))
            layer.refresh()
            found.append(norm_and_direction(layer, matrices)[0])
    for seed in range(STARTS):
        layer.kernel.assign(make_kernel("gaussian", flat, seed=seed).reshape(layer.kernel.shape))
        found.append(ascend(layer, matrices, steps))
    return max(found) / layer.k_coef_lip


def main(steps=25):
    worst = 0.0
    for cls, arguments, shape, all_settings in LAYERS:
        for settings in all_settings:
            largest = search(cls, arguments, shape, settings, steps)
            worst = max(worst, largest)
            said = ", ".join(f"{key}={value}" for key, value in (arguments | settings).items())
            print(f"{cls.__name__:24s} {largest:.9f}  {said}  on {shape}", flush=True)
    return 0 if worst <= 1 + 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
