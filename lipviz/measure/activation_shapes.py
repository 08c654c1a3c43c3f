"""What an activation does to vectors of a few channels: along a line, and to a picture of the plane.

An activation that sorts, reflects or parts signs has a Jacobian whose singular values are all 1, so that lengths of
small changes are kept; ReLU and tanh lose some (Anil, Lucas and Grosse 2019, Sorting out Lipschitz function
approximation, section 3).
"""

import dataclasses
import itertools
from collections.abc import Callable

import keras
import numpy as np

from lipviz import layers
from lipviz import normalizers as nm
from lipviz.measure.layer_measurement import float64_layer
from lipviz.operators.autodiff import Pullback
from lipviz.operators.precision import float64_scope, outputs
from lipviz.rules.used import as_float64
from lipviz.types import Array, Tensor

RANGE = 3.0  # how far lines and pictures reach, in units of the input
_MOST_CHANNELS = 64
_ORTHOGONAL = 1e-6  # JAX computes a few functions in float32

# From the outline of a letter F, which no turn makes its own mirror image.
_LETTER = np.array(
    [(0, 0), (0, 5), (3, 5), (3, 4.1), (1, 4.1), (1, 3), (2.4, 3), (2.4, 2.1), (1, 2.1), (1, 0), (0, 0)], float
)


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationPlane:
    """What an activation makes of a picture of the plane: lines of a lattice, and a letter.

    Attributes:
        lines: Of the lattice, those of constant second channel first, of shape (2, lines, points, 2).
        images: Their images, of the same shape: the first two outputs.
        letter: Outline of a letter, of shape (points, 2).
        letter_image: Its image, of the same shape.
        outputs: Number of outputs of the activation, of which the first two are kept.
    """

    lines: np.ndarray = dataclasses.field(repr=False)
    images: np.ndarray = dataclasses.field(repr=False)
    letter: np.ndarray = dataclasses.field(repr=False)
    letter_image: np.ndarray = dataclasses.field(repr=False)
    outputs: int


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationShape:
    """An activation of c channels along the line x(t) = offset + t·direction, at n places.

    Attributes:
        name: Name of the activation.
        places: The numbers t, increasing, of shape (n,).
        inputs: x(t), of shape (n, c).
        outputs: Of shape (n, d).
        values: Singular values of the Jacobian d × c, descending, of shape (n, min(c, d)).
        kept: Share of its norm that a random gradient of the outputs keeps on its way back, root mean square over its
            direction: ‖J‖_F/√d, of shape (n,).
        kept_by_relu: The same of a ReLU on the same line, for comparison, of shape (n,).
        plane: `ActivationPlane` of an activation of two channels; None of others.
    """

    name: str
    places: np.ndarray = dataclasses.field(repr=False)
    inputs: np.ndarray = dataclasses.field(repr=False)
    outputs: np.ndarray = dataclasses.field(repr=False)
    values: np.ndarray = dataclasses.field(repr=False)
    kept: np.ndarray = dataclasses.field(repr=False)
    kept_by_relu: np.ndarray = dataclasses.field(repr=False)
    plane: ActivationPlane | None = dataclasses.field(repr=False, default=None)

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs) of the Jacobian."""
        return self.outputs.shape[1], self.inputs.shape[1]

    @property
    def is_isometry(self) -> Array:
        """At each place, whether all singular values are 1: no small change gets shorter or longer. Shape (n,)."""
        return (np.abs(self.values - 1) <= _ORTHOGONAL).all(axis=1) & (self.shape[0] >= self.shape[1])

    def nearest(self, place: float) -> int:
        """Number of the place that is nearest to t."""
        return int(np.abs(self.places - place).argmin())


class ActivationProbe:
    """Measures one activation of a number of channels again and again, along other lines or with another parameter.

    Outputs and Jacobians are those of the layer itself, computed in float64; at a kink those of the branch that the
    backend takes.

    Args:
        activation: Keras layer, built for this number of channels or not built; or whatever Keras takes as an
            `activation`, such as "tanh" or a function.
        channels: Number of input channels, from 1 to 64.
        points: Number of places on a line, at least 2.
        name: Name of the activation; the layer's by default.

    Raises:
        TypeError: If it is no activation.
        ValueError: If an argument is out of range, or the layer was built for another number of channels or is not for
            vectors.
    """

    def __init__(
        self,
        activation: keras.Layer | Callable[[Tensor], Tensor] | str,
        channels: int = 4,
        points: int = 201,
        name: str | None = None,
    ) -> None:
        for argument, value, least in (("channels", channels, 1), ("points", points, 2)):
            if nm.check_count(argument, value) < least:
                raise ValueError(f"`{argument}` must be at least {least}. Received: {argument}={value!r}")
        if channels > _MOST_CHANNELS:
            raise ValueError(f"Expected at most {_MOST_CHANNELS} channels. Received: channels={channels}")
        self._channels, self._places = channels, np.linspace(-RANGE, RANGE, points)
        with float64_scope():
            self._layer = _in_float64(activation, channels)
            self._network = keras.Sequential([keras.layers.Input((channels,)), self._layer])
            shape = self._network.output_shape
            if len(shape) != 2 or None in shape[1:]:
                raise ValueError(f"Expected an activation of vectors. '{self._layer.name}' gives the shape {shape}")
            self._pullback = Pullback(self._network, (points * shape[1], channels), shape[1])
        self.name = name or self._layer.name

    def measure(self, angle: float | None = None, slope: float | None = None, seed: int = 0) -> ActivationShape:
        """Measure along a random line, and for two channels what becomes of the plane.

        Args:
            angle: θ of a `Householder`, in radians; the layer's present one by default.
            slope: α of a `PReLUlip` for negative inputs; the layer's present one by default.
            seed: Seed of the line.

        Returns:
            An `ActivationShape`.

        Raises:
            ValueError: If an output or a derivative is not finite.
        """
        self._set(angle, slope)
        inputs = _line(self._places, self._channels, seed)
        images = as_float64(outputs(self._network, inputs), f"The outputs of '{self.name}'")
        points, size = images.shape
        with float64_scope():
            rows = self._pullback.gradients(np.repeat(inputs, size, axis=0), np.tile(np.eye(size), (points, 1)))
        jacobians = as_float64(rows, f"The derivatives of '{self.name}'").reshape(points, size, -1)
        return ActivationShape(
            name=self.name,
            places=self._places,
            inputs=inputs,
            outputs=images,
            values=np.linalg.svd(jacobians, compute_uv=False),
            kept=np.linalg.norm(jacobians, axis=(1, 2)) / np.sqrt(size),
            kept_by_relu=np.sqrt((inputs > 0).mean(axis=1)),
            plane=_plane(self._network) if self._channels == 2 and size >= 2 else None,
        )

    def _set(self, angle, slope):
        for name, wanted, kind in (("theta", angle, layers.Householder), ("alpha", slope, keras.layers.PReLU)):
            if wanted is not None and isinstance(self._layer, kind):
                variable = getattr(self._layer, name)
                variable.assign(np.full(variable.shape, float(as_float64(wanted, f"`{name}`"))))


def activation_shape(
    activation: keras.Layer | Callable[[Tensor], Tensor] | str,
    channels: int = 4,
    *,
    angle: float | None = None,
    slope: float | None = None,
    points: int = 201,
    seed: int = 0,
    name: str | None = None,
) -> ActivationShape:
    """Measure an activation once, see `ActivationProbe` and its `measure` for the arguments.

    Returns:
        An `ActivationShape`.

    Raises:
        TypeError: If it is no activation.
        ValueError: If an argument is out of range, the layer was built for another number of channels or is not
            for vectors, or an output is not finite.
    """
    return ActivationProbe(activation, channels, points, name).measure(angle, slope, seed)


def _line(places, channels, seed):
    """x(t): nearly through the middle, so that every channel changes its sign somewhere."""
    rng = np.random.default_rng(nm.check_seed("seed", seed))
    direction = rng.standard_normal(channels)
    return 0.7 * rng.standard_normal(channels) + places[:, None] * direction / np.linalg.norm(direction)


def _in_float64(activation, channels):
    """The activation as a layer that computes in float64, with the weights that it has; a copy."""
    if isinstance(activation, keras.Model):
        raise TypeError(f"Expected a layer or a function as activation. Received a model: '{activation.name}'")
    if not isinstance(activation, keras.layers.Layer):
        function = keras.activations.get(activation) if isinstance(activation, str) else activation
        if not callable(function):
            raise TypeError(f"Expected a layer, a function or a name as activation. Received: {activation!r}")
        return keras.layers.Activation(function, name=_layer_name(activation), dtype="float64")
    return float64_layer(activation, (channels,))


def _layer_name(activation):
    return getattr(activation, "__name__", str(activation)).strip("<>_")


def _plane(network, lines=13, points=97):
    fine, coarse = np.linspace(-RANGE, RANGE, points), np.linspace(-RANGE, RANGE, lines)
    along, across = np.meshgrid(fine, coarse)  # each row a line of constant second channel
    lattice = np.stack([np.stack([along, across], -1), np.stack([across, along], -1)])
    letter = _outline() * 0.42 + (0.35, -2.35)
    both = np.concatenate([lattice.reshape(-1, 2), letter])
    images = outputs(network, both)
    cut = len(both) - len(letter)
    return ActivationPlane(lattice, images[:cut, :2].reshape(lattice.shape), letter, images[cut:, :2], images.shape[1])


def _outline(steps=12):
    """The letter with points between its corners, so that its edges may bend."""
    shares = np.arange(steps)[:, None] / steps
    edges = [start + shares * (end - start) for start, end in itertools.pairwise(_LETTER)]
    return np.concatenate([*edges, _LETTER[-1:]])
