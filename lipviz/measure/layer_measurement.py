"""One layer as a map: the constant that it is asked to keep, the certified bound, and the singular values."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from lipviz import _moved
from lipviz import normalizers as nm
from lipviz.measure.network_spectra import operator_spectra
from lipviz.measure.spectra import LayerSpectrum
from lipviz.operators.convolution_spectrum import conv_singular_values
from lipviz.operators.linear import input_shape, linear_operator
from lipviz.operators.precision import float64_scope
from lipviz.operators.weights import raw_kernel
from lipviz.rules import Bound
from lipviz.rules.registry import layer_bound
from lipviz.rules.used import as_float64, to_numpy
from lipviz.types import Shape

MOST_ENTRIES = 2048  # of an input, and of an output
_STEP = 1e-5  # of central differences: their error is about 1e-10 where the layer is not linear
_LINEAR = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class LayerMeasurement:
    """A layer as a map at inference, without its activation.

    Attributes:
        name: Name of the layer.
        kind: Name of its class.
        input_shape: Without the batch.
        output_shape: Without the batch.
        spectrum: `LayerSpectrum` with the view "operator". Of a layer without a kernel, `raw` holds the singular values
            of the layer itself.
        has_kernel: Whether it has one.
        is_linear: Whether it is an affine map; else the singular values are those of its Jacobian at one
            random input.
        k: The Lipschitz constant that the layer is asked to keep; None for layers without one.
        is_sound: Whether the layer says that it keeps k.
        bound: `Bound` of its Lipschitz constant by the rule that `certify` uses, with its activation.
        gains: ‖J x‖/‖x‖ of random inputs, of shape (samples,).
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    spectrum: LayerSpectrum = dataclasses.field(repr=False)
    has_kernel: bool
    is_linear: bool
    k: float | None
    is_sound: bool
    bound: Bound
    gains: np.ndarray = dataclasses.field(repr=False)

    @property
    def largest(self) -> float:
        """Largest singular value."""
        return self.spectrum.largest

    @property
    def smallest(self) -> float:
        """Smallest of the min(outputs, inputs) singular values."""
        return self.spectrum.smallest

    @property
    def keeps_k(self) -> bool | None:
        """Whether the largest singular value is at most k, up to 1e-6; None where there is no k."""
        return None if self.k is None else bool(self.largest <= self.k * (1 + 1e-6))


def measure_layer(layer: keras.Layer, samples: int = 300, seed: int | None = 0) -> LayerMeasurement:
    """Measure a built layer: its linear map, or its Jacobian at a random input.

    Args:
        layer: Keras layer with one input, of lipviz or plain, built for inputs of a known size. Inputs and outputs
            have at most 2048 entries each.
        samples: Number of random inputs for the gains.
        seed: Seed of the inputs; None draws other ones each time.

    Returns:
        A `LayerMeasurement`. Singular values are exact to about 1e-15·σ1 for layers with a kernel, poolings and
        normalizations known to be linear, and to 1e-9 for others.

    Raises:
        TypeError: If it is no Keras layer, or a model.
        ValueError: If it is not built, has several inputs or an unknown or too large size, or its weights are not
            finite.
    """
    if isinstance(layer, keras.Model) or not isinstance(layer, keras.layers.Layer):
        raise TypeError(f"Expected a single Keras layer. Received: {type(layer).__name__}")
    shape = input_shape(layer)
    behind = _output_shape(layer, shape)
    if max(math.prod(shape), math.prod(behind)) > MOST_ENTRIES:
        raise ValueError(
            f"Expected a layer with at most {MOST_ENTRIES} entries of an input and of an output. '{layer.name}' maps "
            f"{shape} to {behind}: build it for smaller ones."
        )
    rng = np.random.default_rng(nm.check_seed("seed", seed))
    operator, spectrum, is_linear = _decomposed(layer, shape, rng)
    x = rng.standard_normal((operator.shape[1], samples))
    promised = hasattr(layer, "k_coef_lip")
    return LayerMeasurement(
        name=layer.name,
        kind=type(layer).__name__,
        input_shape=tuple(shape),
        output_shape=behind,
        spectrum=spectrum,
        has_kernel=spectrum.normalized is not None or raw_kernel(layer) is not None,
        is_linear=is_linear,
        k=float(layer.k_coef_lip) if promised else None,
        is_sound=bool(promised and layer.is_sound),
        bound=layer_bound(layer, tuple(shape), 2),
        gains=np.linalg.norm(operator @ x, axis=0) / np.linalg.norm(x, axis=0),
    )


def _output_shape(layer, shape):
    """Shape of the output, without the batch. A layer that cannot compute it is called on a symbolic input."""
    try:
        return tuple(layer.compute_output_shape((1, *shape)))[1:]
    except NotImplementedError:
        return tuple(layer(keras.Input(batch_shape=(1, *shape))).shape)[1:]


def _decomposed(layer, shape, rng):
    """The operator, its spectrum, and whether the layer is linear."""
    try:
        operator = linear_operator(layer)
    except TypeError:
        return _jacobian(layer, shape, rng)
    if raw_kernel(layer) is not None:
        return operator, operator_spectra(layer), True
    return operator, _plain_spectrum(layer, operator.shape, conv_singular_values(operator)), True


def _plain_spectrum(layer, shape, values):
    k = float(getattr(layer, "k_coef_lip", 1.0))
    return LayerSpectrum(layer.name, tuple(shape), values, None, None, k, "operator")


def _jacobian(layer, shape, rng):
    """The Jacobian at a random input, by central differences in float64."""
    wide = float64_layer(layer, shape)
    x, move, size = rng.standard_normal(shape), rng.standard_normal(shape), math.prod(shape)
    steps = _STEP * np.eye(size).reshape(size, *shape)
    batch = np.concatenate([x + steps, x - steps, x[None], x[None] + move])
    with float64_scope():
        images = to_numpy(ops.convert_to_numpy(wide(ops.convert_to_tensor(batch), training=False)))
    images = as_float64(images, f"The output of '{layer.name}'").reshape(len(batch), -1)
    matrix = (images[:size] - images[size : 2 * size]).T / (2 * _STEP)
    expected = images[-1] - images[-2]
    is_linear = np.abs(matrix @ move.reshape(-1) - expected).max() <= _LINEAR * (1 + np.abs(expected).max())
    values = np.linalg.svd(matrix, compute_uv=False)
    return matrix, _plain_spectrum(layer, matrix.shape, values), bool(is_linear)


def float64_layer(layer: keras.Layer, shape: Shape) -> keras.Layer:
    """Copy a layer into one that computes in float64, with the weights that it has.

    Args:
        layer: Keras layer that can be rebuilt from its `get_config`, built or not.
        shape: Shape of its input, without the batch.

    Returns:
        A built layer of the same class. It shares nothing with `layer`, which is not changed.

    Raises:
        ValueError: If a weight holds NaN or Inf, or the layer was built for another shape.
    """
    values = [as_float64(weight, f"The weight '{weight.path}'") for weight in layer.weights]
    with float64_scope():
        copy = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
        copy.build((None, *shape))
        if values and [tuple(w.shape) for w in copy.weights] != [value.shape for value in values]:
            built_for = ((layer.get_build_config() or {}).get("input_shape") or (None,))[1:]
            raise ValueError(
                f"'{layer.name}' was built for inputs of shape {tuple(built_for)}. Expected {tuple(shape)}, or a "
                "layer that is not built."
            )
        for variable, value in zip(copy.weights, values, strict=bool(values)):
            variable.assign(value.astype(variable.dtype))
    return copy


def __getattr__(name):
    return _moved.name_of(__name__, name)
