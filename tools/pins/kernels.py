"""`wbar` of every layer with a kernel, for fixed kernels and settings, and the numbers beside it.

Of each case

- `wbar`: what `refresh` makes of the kernel;
- `step`: what a step of training predicts with;
- `iterated`: of dense layers, the same by products instead of eigenvalues, as XLA and GPUs compute it;
- `coef_lip`, `k` and, of spectral layers, `sig`.

`rounding_margin` of some matrices is an entry of its own: it is about as large as what rounding may do to `wbar`.
Not pinned: `u`, which follows a singular vector, and may turn freely where two singular values are close.

On JAX, which compiles each operation for each shape, every fifth case is measured.
"""

import functools

import keras
import numpy as np
from keras import ops

from lipviz import layers
from lipviz import normalizers as nm
from tools.pins import draws, rounding

FILE = "wbar.npz"

# Shapes of inputs, and arguments that make a tall and a wide matrix of the kernel.
_SHAPES = {
    "SpectralDense": {"tall": ((24,), 8), "wide": ((8,), 24), "square": ((16,), 16)},
    "FrobeniusDense": {"tall": ((24,), 8), "wide": ((8,), 24)},
    "SpectralConv1D": {"tall": ((8, 4), 5), "wide": ((8, 2), 12)},
    "SpectralConv2D": {"tall": ((6, 6, 2), 5), "wide": ((6, 6, 1), 12)},
    "SpectralConv2DTranspose": {"tall": ((5, 5, 5), 2), "wide": ((5, 5, 12), 1)},
    "FrobeniusConv2D": {"tall": ((6, 6, 2), 5), "wide": ((6, 6, 1), 12)},
    "AOLDense": {"tall": ((24,), 8), "wide": ((8,), 24)},
    "AOLConv2D": {"tall": ((6, 6, 2), 5), "wide": ((6, 6, 1), 12)},
    "AOCConv2D": {"tall": ((6, 6, 2), 3)},
    "AOCConv2DTranspose": {"tall": ((4, 4, 2), 3)},
    "BROConv2D": {"tall": ((3, 4, 2), 3)},
    "CayleyDense": {"tall": ((12,), 8)},
    "BRODense": {"tall": ((12,), 8)},
    "SLLDense": {"tall": ((8,), 6)},
    "SLLConv2D": {"tall": ((6, 6, 2), 3)},
    "SpectralDepthwiseConv2D": {"tall": ((6, 6, 3), 2), "wide": ((6, 6, 2), 12), "column": ((6, 6, 3), 1)},
}
_ONCE = (
    *("AOLDense", "AOLConv2D", "AOCConv2D", "AOCConv2DTranspose"),
    *("CayleyDense", "BRODense", "BROConv2D", "SLLDense", "SLLConv2D"),
)
_UNITS = {
    **{name: "units" for name in _SHAPES if name.endswith("Dense")},
    "SpectralDepthwiseConv2D": "depth_multiplier",
}
_BJORCK = {
    "": {},
    "k 2.5": {"k_coef_lip": 2.5},
    "no Björck": {"eps_bjorck": None},
    "no power iteration": {"eps_bjorck": None, "maxiter_spectral": 0},
    "beta 0.05": {"beta_bjorck": 0.05},
    "two iterations": {"maxiter_bjorck": 2},
    "eps 0.1": {"eps_bjorck": 0.1},
    "float64": {"dtype": "float64"},
    "mixed_bfloat16": {"dtype": "mixed_bfloat16"},
}
_BRIEFLY = {name: _BJORCK[name] for name in ("", "no Björck", "float64")}
_CONVOLUTION = {
    "strides 2": {"strides": 2},
    "valid": {"padding": "valid"},
    "tight": {"bound": "tight"},
    "tight strides 2 float64": {"bound": "tight", "strides": 2, "dtype": "float64"},
}
_AVERAGE = {"unsound_average": {"bound": "unsound_average"}}
_FROBENIUS = {"": {}, "k 2.5": {"k_coef_lip": 2.5}, "float64": {"dtype": "float64"}}
_SETTINGS = {
    "SpectralDense": _BJORCK,
    "FrobeniusDense": _FROBENIUS | {"whole": {"disjoint_neurons": False}},
    "SpectralConv1D": _BRIEFLY | _CONVOLUTION | _AVERAGE,
    "SpectralConv2D": _BJORCK | _CONVOLUTION | _AVERAGE,
    "SpectralConv2DTranspose": _BRIEFLY | _CONVOLUTION,
    "FrobeniusConv2D": _FROBENIUS | _CONVOLUTION | _AVERAGE,
    **{name: {"": {}} for name in _ONCE},
    "SpectralDepthwiseConv2D": {name: value for name, value in _BJORCK.items() if name != "no power iteration"}
    | _CONVOLUTION
    | {"dilation 2": {"dilation_rate": 2}, "tight dilation 2": {"bound": "tight", "dilation_rate": 2}},
}
# Of other shapes than tall, and of ill-conditioned kernels, what code tells apart.
_OF_OTHER_SHAPES = ("", "no Björck", "whole", "tight")
_OF_ILL_ONES = ("", "no Björck", "beta 0.05", "float64")
_MARGINS = [(shape, dtype) for shape in ((4, 4), (64, 64), (27, 512)) for dtype in ("float32", "float64")]


@functools.cache
def cases():
    """{name: (name of a class, arguments, shape of the input, "well" or "ill" conditioned)}."""
    found = {}
    for kind, shapes in _SHAPES.items():
        for shape, (inputs, units) in shapes.items():
            needed = {_UNITS.get(kind, "filters"): units} | ({} if "Dense" in kind else {"kernel_size": 3})
            for title, settings in _SETTINGS[kind].items():
                if shape != "tall" and title not in _OF_OTHER_SHAPES:
                    continue
                found[f"{kind} {shape} well {title}".strip()] = kind, needed | settings, inputs, "well"
                if "Spectral" in kind and title in _OF_ILL_ONES:
                    found[f"{kind} {shape} ill {title}".strip()] = kind, needed | settings, inputs, "ill"
    return found


def present():
    """Entries by the name of a case."""
    names = list(cases())[:: 1 if keras.backend.backend() == "tensorflow" else 5]
    margins = {f"{shape} {dtype}": np.float64(nm.rounding_margin(shape, dtype)) for shape, dtype in _MARGINS}
    return {"rounding_margin": margins, **{name: _measured(name, *cases()[name]) for name in names}}


def _measured(name, kind, arguments, inputs, condition):
    cls = getattr(layers, kind)
    layer = cls(**{f"{cls.kernel_prefix}_initializer": "zeros"}, **arguments)
    layer.build((None, *inputs))
    parametrization = layer.parametrization
    layer.kernel.assign(_kernel(name, layer.kernel.shape, condition).astype(layer.kernel.dtype))
    if hasattr(parametrization, "u"):
        parametrization.u.assign(draws.uniform(name + " u", parametrization.u.shape))
    layer.refresh()
    entry = {"wbar": _numpy(layer.wbar), "coef_lip": np.float64(layer.coef_lip), "k": _numpy(parametrization.k)}
    if hasattr(parametrization, "sig"):
        entry["sig"] = _numpy(parametrization.sig)
    entry["step"] = _numpy(parametrization.constrain(layer.kernel)[0])
    if kind == "SpectralDense" and _takes_eigenvalues(parametrization):
        with nm.without_eigenvalues():
            entry["iterated"] = _numpy(parametrization.constrain(layer.kernel)[0])
    return entry


def _takes_eigenvalues(parametrization):
    return (
        parametrization.eps_bjorck is not None
        and parametrization.beta_bjorck == 0.5
        and parametrization.maxiter_bjorck > 0
    )


def _kernel(name, shape, condition):
    """Uniform entries; for an ill-conditioned kernel a thousandth of them, on a matrix of rank one."""
    kernel = draws.uniform(name, shape)
    if condition == "well":
        return kernel
    ones = draws.uniform(name + " rows", (*shape[:-1], 1)) * draws.uniform(name + " columns", shape[-1:])
    return ones + 1e-3 * kernel


def _numpy(value):
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(value)))


@functools.cache
def tolerance(name, key):
    """Four products to scale and bound a kernel, two an iteration, eight of a Fourier bound, and Björck's factor."""
    if name == "rounding_margin" or key in ("coef_lip", "k"):
        return rounding.of_products("float64", 4, 1)
    kind, arguments, inputs, condition = cases()[name]
    channels = arguments[_UNITS.get(kind, "filters")]
    shape = (*inputs, channels) if "Dense" in kind else (*(3,) * (len(inputs) - 1), inputs[-1], channels)
    matrices = _matrices(kind, _kernel(name, _stored(kind, shape), condition))
    values = np.linalg.svd(matrices, compute_uv=False)
    steps = arguments.get("maxiter_bjorck", nm.DEFAULT_MAXITER_BJORCK)
    has_bjorck = "Spectral" in kind and arguments.get("eps_bjorck", 1.0) is not None and key != "sig"
    beta = arguments.get("beta_bjorck", nm.DEFAULT_BETA_BJORCK) if has_bjorck else None
    count = 4 + (2 * steps if has_bjorck else 0) + (8 if arguments.get("bound") == "tight" else 0)
    amplification = rounding.bjorck_amplification(steps, beta, (values[:, 0] / values[:, -1]).max())
    dtype = "float64" if arguments.get("dtype") == "float64" else "float32"
    return rounding.of_products(dtype, count, max(matrices.shape[1:]), amplification)


def _matrices(kind, kernel):
    """What is constrained, of shape (matrices, rows, columns): one matrix, or one of each channel."""
    channels = kernel.shape[-2] if "Depthwise" in kind else 1
    return np.swapaxes(kernel.reshape(-1, channels, kernel.shape[-1]), 0, 1)


def _stored(kind, shape):
    """Keras keeps the kernel of a transposed convolution with its channels the other way round."""
    return (*shape[:-2], shape[-1], shape[-2]) if kind.endswith("Transpose") else shape
