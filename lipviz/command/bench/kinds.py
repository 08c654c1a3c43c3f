"""What a training step costs with each kind of constrained layer, beside the plain layer of Keras of the same shape."""

from collections.abc import Callable, Iterable
from typing import Any

import keras

import lipviz.layers as own
from lipviz.command.bench import networks
from lipviz.command.bench.parts import noise
from lipviz.command.bench.timing import Timing, take_turns
from lipviz.types import Array

# Name of the class, and arguments. Layers of a group keep the shape of the input, and are compared with each other.
DENSE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("SpectralDense", {}),
    ("CayleyDense", {}),
    ("BRODense", {}),
    ("AOLDense", {}),
    ("FrobeniusDense", {"disjoint_neurons": False}),
    ("SLLDense", {}),
)
CONVOLUTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("SpectralConv2D", {}),
    ("SpectralConv2D", {"bound": "tight"}),
    ("SpectralConv2DTranspose", {}),
    ("AOLConv2D", {}),
    ("AOCConv2D", {}),
    ("AOCConv2DTranspose", {}),
    ("BROConv2D", {}),
    ("FrobeniusConv2D", {}),
    ("SLLConv2D", {}),
)
GROUPS = {"Dense": (DENSE, (256,)), "Conv2D": (CONVOLUTIONS, (16, 16, 32))}
IMAGES = 32  # in a batch of images, for 256 samples of a dense layer


def title(name: str, arguments: dict[str, Any]) -> str:
    """A layer as its call, such as SpectralConv2D(bound='tight'); its name alone without arguments."""
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"{name}({given})" if given else name


def made(name: str, channels: int, arguments: dict[str, Any], seed: int = 0) -> keras.layers.Layer:
    """A layer of Keras or lipviz, for 3×3 pixels, that keeps the number of channels, or has as many hidden ones.

    Args:
        name: Name of the class, in lipviz or, if that has none, in Keras.
        channels: Number of channels.
        arguments: Further arguments of its constructor.
        seed: Seed of its raw kernel (Glorot).
    """
    kind: Any = getattr(own, name, None) or getattr(keras.layers, name)
    start = keras.initializers.GlorotUniform(seed)
    shape: dict[str, Any] = {"units": channels}
    if not name.endswith("Dense"):
        shape = {"filters": channels, "kernel_size": 3, "padding": "circular" if name == "BROConv2D" else "same"}
    return kind(**shape, kernel_initializer=start, **arguments)


def timings(repeats: int, batch: int, jit_compile: bool, groups: Iterable[str] = GROUPS) -> list[dict[str, Timing]]:
    """Processor time of a training step of a network of one layer: a dict for each group, the plain layer first.

    Args:
        repeats: Number of rounds, in which all layers of a group take turns.
        batch: Size of a batch of dense layers; of images, an eighth.
        jit_compile: See `networks.compiled`.
        groups: Names out of `GROUPS`.
    """
    found = []
    for plain in groups:
        layers, shape = GROUPS[plain]
        size = batch if len(shape) == 1 else max(batch * IMAGES // 256, 1)
        steps = {title(*kind): _step(*kind, shape, size, jit_compile) for kind in ((plain, {}), *layers)}
        found.append(take_turns(steps, repeats, clock_of_processor=True))
    return found


def _step(name, arguments, shape, size, jit_compile) -> Callable[[], Any]:
    layer = made(name, shape[-1], arguments)
    model = keras.Sequential([keras.Input(shape), layer])
    model.compile("sgd", "mse", jit_compile=networks.chosen_jit(jit_compile))
    x, y = (keras.ops.convert_to_tensor(values) for values in _batch(model, size))
    return lambda: model.train_on_batch(x, y)


def _batch(model: keras.Model, size: int) -> tuple[Array, Array]:
    """Random inputs, and targets of the shape of the outputs."""
    return noise((size, *model.input_shape[1:])), noise((size, *model.output_shape[1:]), seed=1)
