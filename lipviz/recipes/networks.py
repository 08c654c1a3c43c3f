"""The network of a recipe: convolutions for images and series, dense layers, and one unit per class.

Images are halved by poolings by l2 norms, and series by strides.
"""

from collections.abc import Mapping
from typing import Any

import keras

from lipviz import layers
from lipviz.layers.blocks import ResidualBlock
from lipviz.model import Sequential

FILTERS, MOST_FILTERS, UNITS = 16, 128, 128
LOGITS = "logits"  # name of the last layer
LAST = ("FrobeniusDense", "SpectralDense")
# What a hidden layer is told beside its size: to bound its outputs together, or the only padding that it has.
_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "FrobeniusDense": {"disjoint_neurons": False},
    "BROConv2D": {"padding": "circular"},
}


def _constrained(base):
    kinds = {name: getattr(layers, name) for name in layers.__all__}
    return tuple(
        name for name, kind in kinds.items() if issubclass(kind, layers.ConstrainedKernel) and issubclass(kind, base)
    )


CONVOLUTIONS = _constrained(keras.layers.Conv2D)
"""Names of the convolutions in `lipviz.layers` that a network can be built of."""
OF_SERIES = _constrained(keras.layers.Conv1D)
"""Names of the convolutions in `lipviz.layers` that a network for series can be built of."""
DENSE = _constrained(keras.layers.Dense)
"""Names of the dense layers in `lipviz.layers` that a network can be built of."""


def possible(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the layers that a network for samples of this shape can be built of."""
    return DENSE + {1: (), 2: OF_SERIES, 3: CONVOLUTIONS}[len(shape)]


def layers_of_kind(layer: str, axes: int = 2) -> tuple[str, str]:
    """Names of the convolutions and of the hidden dense layers of a network that one name stands for.

    The name of a convolution stands for dense layers of the same kind too, where there are any, and for `SpectralDense`
    otherwise. With the name of a dense layer, convolutions are `SpectralConv2D`, or `SpectralConv1D` for series.

    Args:
        layer: The name.
        axes: Number of axes that convolutions move along: 2 for images, 1 for series.
    """
    if layer in DENSE:
        return f"SpectralConv{axes}D", layer
    partner = layer.removesuffix("Conv2D").removesuffix("Conv1D") + "Dense"
    return layer, partner if partner in DENSE else "SpectralDense"


def poolings(shape: tuple[int, ...]) -> int:
    """How often a sample is halved until its smaller side, or the length of a series, is 8 or less.

    It is 2 from 8×8 on, and 1 from 4×4 on, at least.
    """
    side = min(shape[:-1])
    fewest = (side >= 4) + (side >= 8)
    return max(fewest, sum(side >> count > 8 for count in range(side.bit_length())))


def filters(shape: tuple[int, ...], width: int) -> list[int]:
    """Number of filters of each convolution: twice as many after each halving. None for rows."""
    if len(shape) == 1:
        return []
    return [width * min(FILTERS * 2**stage, MOST_FILTERS) for stage in range(poolings(shape))]


def build_network(
    shape: tuple[int, ...],
    classes: int,
    layer: str,
    layer_arguments: Mapping[str, Any],
    last: str,
    width: int,
) -> Sequential:
    """A network that is 1-Lipschitz up to its last layer, not compiled.

    Args:
        shape: Shape of one sample: (features,), (length, channels) or (height, width, channels).
        classes: Number of outputs.
        layer: One of `possible`, see `layers_of_kind`.
        layer_arguments: Further arguments of this layer.
        last: "FrobeniusDense", each of whose outputs is 1-Lipschitz, or "SpectralDense", all of whose outputs are
            1-Lipschitz together.
        width: Factor of the numbers of filters and units.
    """

    def made(name, **sizes):
        further = layer_arguments if name == layer else {}
        return getattr(layers, name)(**{**sizes, **_ARGUMENTS.get(name, {}), **further})

    def block(name, plain, **sizes):
        """A layer with its activation. A residual block keeps its size, so a layer before it changes that."""
        if issubclass(getattr(layers, name), ResidualBlock):
            return [made(plain, **sizes), made(name, **sizes)]
        return [made(name, **sizes, activation=layers.GroupSort2())]

    convolution, dense = layers_of_kind(layer, len(shape) - 1)
    parts: list[keras.Layer] = []
    for count in filters(shape, width):
        if len(shape) == 3:
            parts += block(convolution, "SpectralConv2D", filters=count, kernel_size=3, padding="same")
            parts.append(layers.ScaledL2NormPooling2D(2))
        else:
            parts += block(convolution, "SpectralConv1D", filters=count, kernel_size=4, strides=2, padding="same")
    if len(shape) > 1:
        parts.append(keras.layers.Flatten())
    for _ in range(2 if len(shape) == 1 else 1):
        parts += block(dense, "SpectralDense", units=UNITS * width)
    return Sequential([keras.Input(shape), *parts, getattr(layers, last)(classes, name=LOGITS)])


def words(shape: tuple[int, ...], classes: int, layer: str, last: str, width: int) -> dict[str, str]:
    """The layers of `build_network`, in words."""
    convolution, dense = layers_of_kind(layer, len(shape) - 1)
    units = [UNITS * width] * (2 if len(shape) == 1 else 1)
    counts = filters(shape, width)
    halved = "l2 pooling after each" if len(shape) == 3 else "each with stride 2"
    found = {"convolutions": f"{convolution} {' - '.join(map(str, counts))}, {halved}"} if counts else {}
    return {**found, "dense layers": f"{dense} {' - '.join(map(str, units))}, {last} {classes}"}
