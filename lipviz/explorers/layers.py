"""Explore one layer: any layer, its arguments, its exact spectrum."""

import contextlib
import functools
import math
import random
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ipywidgets as widgets
import keras
import numpy as np

from lipviz import layers
from lipviz import normalizers as nm
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import Raw, call, picture_of
from lipviz.explorers.shell.controls import choice, log_slider, slider
from lipviz.explorers.shell.result_cache import ResultCache
from lipviz.measure.layer_measurement import LayerMeasurement, measure_layer
from lipviz.parametrizations import unfilled
from lipviz.plots import alt_text
from lipviz.plots.layer_measurement import plot_layer_gains, plot_layer_spectrum
from lipviz.plots.style import number

_BJORCK = ("bjorck", "maxiter", "beta")
_DENSE, _IMAGE = ("inputs", "units"), ("image", "channels")
_CONV = (*_IMAGE, "units", "kernel_size", "stride", "padding", "raw_kernel", "seed")

# The controls that have an effect on each layer.
_LAYERS = {
    "SpectralDense": (*_DENSE, "raw_kernel", "seed", "k", *_BJORCK),
    "FrobeniusDense": (*_DENSE, "raw_kernel", "seed", "k", "disjoint"),
    "SpectralConv2D": (*_CONV, "k", "bound", *_BJORCK),
    "SpectralConv1D": (*_CONV, "k", "bound", *_BJORCK),
    "SpectralConv2DTranspose": (*_CONV, "k", "bound", *_BJORCK),
    "FrobeniusConv2D": (*_CONV, "k", "bound"),
    "AOLDense": (*_DENSE, "raw_kernel", "seed", "k"),
    "AOLConv2D": (*_CONV, "k"),
    "AOCConv2D": (*_CONV, "k"),
    "AOCConv2DTranspose": (*_CONV, "k"),
    "CayleyDense": (*_DENSE, "raw_kernel", "seed", "k"),
    "BRODense": (*_DENSE, "raw_kernel", "seed", "k"),
    "BROConv2D": (*_IMAGE, "units", "kernel_size", "raw_kernel", "seed", "k"),
    "SLLDense": (*_DENSE, "raw_kernel", "seed", "k"),
    "SLLConv2D": (*_IMAGE, "units", "kernel_size", "raw_kernel", "seed", "k"),
    "ScaledAveragePooling2D": (*_IMAGE, "pool", "k"),
    "ScaledL2NormPooling2D": (*_IMAGE, "pool", "k", "seed"),
    "ScaledGlobalAveragePooling2D": (*_IMAGE, "k"),
    "ScaledGlobalL2NormPooling2D": (*_IMAGE, "k", "seed"),
    "InvertibleDownSampling": (*_IMAGE, "pool", "k"),
    "InvertibleUpSampling": (*_IMAGE, "pool", "k"),
    "SpatialShift": (*_IMAGE, "k"),
    "LayerCentering": (*_IMAGE, "k"),
    "BatchCentering": (*_IMAGE, "k"),
    "BatchLipNorm": (*_IMAGE, "k", "variance"),
    "Dense": (*_DENSE, "raw_kernel", "seed"),
    "Conv2D": _CONV,
}
_PLAIN = ("Dense", "Conv2D")  # of Keras, for comparison
_LOCK = threading.Lock()
_BOUNDS = (
    ("counting patches", "coverage"),
    ("Fourier (tight)", "tight"),
    ("reference's average (unsound)", "unsound_average"),
)


class LayerExplorer(Explorer):
    """Choose a layer and its arguments, and see the singular values of the whole layer, its promise and its bound.

    Args:
        layer: Your own layer, in addition to those that the explorer offers, built for inputs of a known size with at
            most 2048 entries. It is shown first, and measured again at each `refresh()`.

    A layer that cannot be measured gives a message in the explorer.
    """

    title = "Layer explorer: what a layer promises, and what it does"
    help_text = (
        "Choose a layer and its arguments. The left panel shows the singular values of the whole layer as a map of its "
        "inputs, the right panel by how much it stretches random inputs, and the bound that no input can exceed."
    )
    panels = 2
    essentials = ("layer", "k", "raw_kernel", "maxiter")
    _renamed = MappingProxyType({"free": "raw_kernel"})

    def __init__(self, layer: keras.Layer | None = None):
        self._own = layer
        self._measured = ResultCache(_measured, size=128)
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        own = [] if self._own is None else [(f"yours: {getattr(self._own, 'name', self._own)}", "yours")]
        options = [(f"{name} (Keras, no constraint)" if name in _PLAIN else name, name) for name in _LAYERS]
        beta, maxiter = nm.DEFAULT_BETA_BJORCK, nm.DEFAULT_MAXITER_BJORCK
        return {
            "Layer": {
                "layer": choice("Layer", [*own, *options], "What is measured"),
                "k": log_slider("Lipschitz constant k", 1.0, -1, 1, "What is asked for (k_coef_lip)"),
                "bound": choice("Bound of the norm", _BOUNDS, "How the norm of a convolution is bounded (bound)"),
                "bjorck": choice(
                    "Björck", [("on", True), ("off", False)], "Whether the kernel is made orthogonal (eps_bjorck)"
                ),
                "maxiter": slider("Björck iterations", maxiter, 0, 50, 1, "Largest number (maxiter_bjorck)"),
                "beta": slider("Björck step size β", beta, 0.01, 0.5, 0.01, "Of each iteration (beta_bjorck)"),
                "disjoint": choice(
                    "Disjoint neurons",
                    [("yes", True), ("no", False)],
                    "Whether each output has a constraint of its own (disjoint_neurons)",
                ),
                "variance": log_slider(
                    "Running variance", 1.0, -3, 2, "The largest one of BatchLipNorm (moving_variance)"
                ),
            },
            "Input": {
                "inputs": slider("Inputs", 24, 1, 64, 1, "Entries of a dense layer's input"),
                "image": slider("Image size", 6, 1, 8, 1, "Height and width, or length"),
                "channels": slider("Channels", 2, 1, 4, 1, "Of the input"),
            },
            "Shape": {
                "units": slider(
                    "Units or filters", 16, 1, 64, 1, "Outputs (units), or channels of a convolution (filters)"
                ),
                "kernel_size": slider("Kernel size", 3, 1, 5, 1, "Of a convolution (kernel_size)"),
                "stride": slider("Stride", 1, 1, 3, 1, "Of a convolution (strides)"),
                "padding": choice(
                    "Padding", [("same (zeros)", "same"), ("valid (none)", "valid")], "At the border (padding)"
                ),
                "pool": slider("Pool size", 2, 1, 4, 1, "Window of poolings and resamplings (pool_size)"),
                "raw_kernel": choice(
                    "Raw kernel",
                    [("Glorot uniform", "glorot"), ("all ones", "ones"), ("orthogonal", "orthogonal")],
                    "What the constraint starts from (kernel_initializer)",
                ),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives another kernel or input"),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        if state["layer"] == "yours":
            return {"layer"}
        used = {"layer", *_LAYERS[state["layer"]]}
        return used if state["bjorck"] else used - {"maxiter", "beta"}

    def measured(self, layer: str, **arguments: Any) -> LayerMeasurement | None:
        if layer == "yours":
            return None
        used = self.enabled({"layer": layer, **arguments}) - {"layer"}
        # Pages and Python differ in the last bit of a power of ten.
        arguments |= {name: float(f"{arguments[name]:.12g}") for name in ("k", "variance")}
        return self._measured(layer, *((name, value) for name, value in arguments.items() if name in used))

    def compute(self, layer: str, **arguments: Any) -> LayerMeasurement:
        kept = self.measured(layer=layer, **arguments)
        return measure_layer(self._own) if kept is None else kept

    def draw(self, data: LayerMeasurement, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        plot_layer_spectrum(data, ax=left)
        plot_layer_gains(data, ax=right)

    def alt_text(self, data: LayerMeasurement) -> str:
        return alt_text(data)

    def statement(self, data: LayerMeasurement) -> str:
        return f"{_promise(data)} {_certificate(data)}"

    def numbers(self, data: LayerMeasurement) -> list[tuple[str, str]]:
        low, middle, high = np.quantile(data.gains, (0.05, 0.5, 0.95))
        return [
            ("input → output", f"{_shape(data.input_shape)} → {_shape(data.output_shape)}"),
            ("k", "none" if data.k is None else number(data.k, 5)),
            ("largest singular value", f"{data.largest:.7f}"),
            ("smallest singular value", f"{data.smallest:.7f}"),
            ("largest of the raw kernel", f"{data.spectrum.raw[0]:.7f}" if data.has_kernel else "no kernel"),
            (f"certified ({data.bound.method})", _bound(data.bound.upper)),
            ("gain of random inputs, median", f"{middle:.4f}"),
            ("the same, 5 to 95 %", f"{low:.4f} to {high:.4f}"),
        ]

    def table(self, data: LayerMeasurement) -> tuple[list[str], list[list[Any]]]:
        spectra = {"raw": data.spectrum.raw, "normalized": data.spectrum.normalized, "used": data.spectrum.used}
        count = len(data.spectrum.used)  # a raw kernel of another shape has another number of values
        stages = {name: values for name, values in spectra.items() if values is not None and len(values) == count}
        ranks = np.arange(1, count + 1)
        return ["rank", *stages], np.column_stack([ranks, *stages.values()]).tolist()

    def code_lines(self, data: LayerMeasurement, state: Mapping[str, Any]) -> list[str]:
        used = {name: value for name, value in state.items() if name in self.enabled(state)}
        made = ["layer"] if state["layer"] == "yours" else _layer_code(**{**_UNUSED, **used})
        seed = used.get("seed", 0)
        return [
            *made[:-1],
            call("result = measure.measure_layer", made[-1], seed=seed),
            *picture_of([f"plots.plot_layer_{kind}(result, ax={{ax}})" for kind in ("spectrum", "gains")]),
        ]


# Values of controls that have no effect on a layer.
_UNUSED = {"raw_kernel": None, "variance": None, "bjorck": True}


def _layer_code(layer, raw_kernel, variance, bjorck, **values):
    """Lines that build a layer, and the name of the variable that holds it."""
    kind = f"{'keras.layers' if layer in _PLAIN else 'layers'}.{layer}"
    named = {argument: values[name] for name, argument in _ARGUMENTS.items() if name in values}
    if "Conv" in layer:
        named = {"filters": named.pop("units"), **named}
    if not bjorck:
        named["eps_bjorck"] = None
    if raw_kernel is not None:
        named["kernel_initializer"] = Raw(_INITIALIZERS[raw_kernel].format(**values))
    image, channels = values.get("image"), values.get("channels")
    shape = (values["inputs"],) if image is None else (image, channels) if "1D" in layer else (image, image, channels)
    lines = [call(f"layer = {kind}", **named, dtype="float32"), f"layer.build({(None, *shape)})"]
    if "Spectral" in layer:
        start = f"np.random.default_rng({values['seed']}).standard_normal(layer.parametrization.u.shape)"
        lines += ["# The power iteration starts from a vector of this seed, not of Keras's."]
        lines += [f"layer.parametrization.u.assign({start})", "layer.refresh()"]
    if variance is not None:
        lines += [f"layer.moving_variance.assign(np.full({channels}, {variance!r}))"]
    return [*lines, "layer"]


# Names of the constructors' arguments, by those of the controls.
_ARGUMENTS = {
    "units": "units",
    "kernel_size": "kernel_size",
    "stride": "strides",
    "padding": "padding",
    "pool": "pool_size",
    "k": "k_coef_lip",
    "bound": "bound",
    "disjoint": "disjoint_neurons",
    "maxiter": "maxiter_bjorck",
    "beta": "beta_bjorck",
}
_INITIALIZERS = {
    "glorot": "keras.initializers.GlorotUniform(seed={seed})",
    "ones": "keras.initializers.Ones()",
    "orthogonal": "keras.initializers.Orthogonal(seed={seed})",
}


def _measured(layer, *arguments):
    settings = {"seed": 0, **dict(arguments)}
    with _LOCK, _same_randomness():  # all explorers, in all threads, share the layers that are kept and set anew
        return measure_layer(_built(layer, **settings), seed=settings["seed"])


@contextlib.contextmanager
def _same_randomness():
    """Restore the state of Python's random generator: Keras draws seeds from it for initializers that have none."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _built(
    name,
    *,
    seed,
    inputs=1,
    image=1,
    channels=1,
    units=1,
    kernel_size=1,
    stride=1,
    padding="same",
    pool=1,
    raw_kernel="glorot",
    variance=1.0,
    **own,
):
    """A built layer of that name. `own` holds the arguments of lipviz's constraint."""
    shape = (inputs,) if name.endswith("Dense") else (image, channels) if "1D" in name else (image, image, channels)
    kind = getattr(keras.layers if name in _PLAIN else layers, name)
    settings = {"dtype": "float32"}  # whatever the default is in the calling thread
    settings |= {"k_coef_lip": own["k"]} if "k" in own else {}
    settings |= {"bound": own["bound"]} if "bound" in own else {}
    settings |= {"disjoint_neurons": own["disjoint"]} if "disjoint" in own else {}
    if "Dense" in name or "Conv" in name:
        settings["units" if "Dense" in name else "filters"] = units
    if "Conv" in name:
        settings |= {"kernel_size": kernel_size, "strides": stride}
        settings["padding"] = "circular" if name == "BROConv2D" else padding
    if "Sampling" in name or ("Pooling" in name and "Global" not in name):
        settings["pool_size"] = pool
    if "Spectral" in name:
        return _spectral(kind, settings, shape, raw_kernel, seed, own)
    if "Dense" in name or "Conv" in name:
        settings["kernel_initializer"] = _initializer(raw_kernel, seed)
    layer = kind(**settings)
    layer.build((None, *shape))
    if name == "BatchLipNorm":
        layer.moving_variance.assign(np.full(channels, variance))
    return layer


def _spectral(kind, settings, shape, raw_kernel, seed, own):
    """A layer with Björck. To build it takes time, so one layer of each shape is kept, and gets new settings."""
    k = settings.pop("k_coef_lip")
    layer = _blank(kind, tuple(settings.items()), shape)
    layer.kernel.assign(_initializer(raw_kernel, seed)(layer.kernel.shape, layer.kernel.dtype))
    p = layer.parametrization
    p.maxiter_spectral = nm.DEFAULT_MAXITER_SPECTRAL
    p.eps_bjorck, p.beta_bjorck = nm.DEFAULT_EPS_BJORCK, nm.check_beta(own["beta"]) if own["bjorck"] else None
    p.maxiter_bjorck = nm.check_count("maxiter_bjorck", own["maxiter"] if own["bjorck"] else 0)
    p.u.assign(np.random.default_rng(seed).standard_normal(p.u.shape))
    p.set_klip_factor(k)
    layer.refresh()
    return layer


@functools.lru_cache(maxsize=32)
def _blank(kind, settings, shape):
    """A layer of that shape, whose `wbar` waits for a `refresh`."""
    layer = kind(**dict(settings))
    with unfilled():  # its initial kernel is never used
        layer.build((None, *shape))
    return layer


def _initializer(raw_kernel, seed):
    return {
        "glorot": lambda: keras.initializers.GlorotUniform(seed=seed),
        "ones": keras.initializers.Ones,
        "orthogonal": lambda: keras.initializers.Orthogonal(seed=seed),
    }[raw_kernel]()


def _shape(shape):
    return " × ".join(map(str, shape))


def _bound(value):
    return "infinity" if value == math.inf else number(value, 7)


def _promise(data):
    """The constant that the layer promises, and the largest singular value, in words."""
    where = "" if data.is_linear else " at a random input"
    found = f"its largest singular value{where} is {data.largest:.7f}"
    if data.k is None:
        return f"This layer promises no constant: {found}."
    k = f"{number(data.k, 4)}"
    if data.kind == "FrobeniusDense" and not data.keeps_k:
        return f"Each output by itself is {k}-Lipschitz; the layer as a whole is not, {found}."
    if not data.keeps_k:
        return f"This layer does not keep k = {k}: {found} (its `is_sound` is {data.is_sound})."
    if data.is_sound:
        share = data.largest / data.k
        whole = "all of it" if share > 1 - 1e-3 else f"{100 * share:.0f} % of it"
        return f"The layer keeps k = {k}: {found}, {whole}."
    return f"This layer makes no sound promise (`is_sound` is False); here {found}, within k = {k}."


def _certificate(data):
    if data.bound.upper == math.inf:
        return "There is no rule that certifies a bound for it."
    words = f"Its rule ({data.bound.method}) certifies at most {number(data.bound.upper, 7)}."
    values, largest = data.spectrum.used, data.largest
    if largest > 0 and values[-1] >= largest * (1 - 1e-3):
        inputs = math.prod(data.input_shape)
        which = "every direction" if inputs <= len(values) else "every direction that it does not drop"
        return f"{words} All {len(values)} singular values are equal to 0.1 %: {which} is stretched alike."
    return f"{words} Random inputs are stretched by {np.median(data.gains):.3f}, the median of {len(data.gains)}."
