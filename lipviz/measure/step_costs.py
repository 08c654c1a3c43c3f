"""What a training step with a layer costs, beside a plain layer of the same shape."""

import dataclasses
import time
from typing import Literal

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.measure.layer_kinds import LayerKind
from lipviz.types import Array

WIDTH = 256  # inputs and outputs of a dense layer
IMAGE, CHANNELS = 16, 32  # of a convolution
BATCH = 256  # of a dense layer; of a convolution, an eighth


@dataclasses.dataclass(frozen=True, eq=False)
class StepCost:
    """CPU time of training steps with one layer, and with Keras's plain layer of the same shape.

    CPU time adds up over all threads, so it hardly depends on what else the machine does.

    Attributes:
        kind: The `LayerKind`.
        seconds: CPU seconds of a step in each of the turns, of shape (turns,).
        plain_seconds: The same with the plain layer, of shape (turns,).
    """

    kind: LayerKind
    seconds: np.ndarray = dataclasses.field(repr=False)
    plain_seconds: np.ndarray = dataclasses.field(repr=False)

    @property
    def ratios(self) -> Array:
        """CPU time of a step over that of the plain layer in the same turn, of shape (turns,)."""
        return self.seconds / self.plain_seconds

    @property
    def ratio(self) -> float:
        """How many times the CPU time of the plain layer a step takes: the median over the turns."""
        return float(np.median(self.ratios))


def step_cost(
    kind: LayerKind,
    turns: int = 15,
    steps: int = 4,
    *,
    batch: int = BATCH,
    jit_compile: bool | Literal["auto"] = "auto",
) -> StepCost:
    """Measure the CPU time of a training step of a network of one layer, and of the plain layer of Keras, in turns.

    Dense layers map 256 to 256 numbers, with a batch of 256. Convolutions of 3 × 3 map 32 to 32 channels of images of
    16 × 16, with a batch of 32. The step is compiled, with gradient descent on squared errors.

    Args:
        kind: A `LayerKind`.
        turns: Number of turns, at least 1. Every second turn begins with the plain layer.
        steps: Number of steps in a turn, at least 1.
        batch: Size of a batch of a dense layer, at least 1; a batch of images is an eighth of it, at least one.
        jit_compile: See `keras.Model.compile`. By default, XLA compiles the step.

    Returns:
        A `StepCost`.

    Raises:
        ValueError: If a count is smaller than 1.
    """
    for name, value in (("turns", turns), ("steps", steps), ("batch", batch)):
        if nm.check_count(name, value) < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {name}={value!r}")
    timed = [_Step(kind, make, batch, jit_compile) for make in (kind.make, kind.make_plain)]
    seconds = np.empty((turns, 2))
    for turn in range(turns):
        # The order changes: a step that always follows the same other one would always find its caches.
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds[turn, which] = timed[which].seconds(steps)
    return StepCost(kind, seconds[:, 0], seconds[:, 1])


class _Step:
    """A compiled training step of a network of one layer, which has run once."""

    def __init__(self, kind, make, batch, jit_compile):
        shape = (WIDTH,) if kind.is_dense else (IMAGE, IMAGE, CHANNELS)
        layer = make(shape[-1], kernel_initializer=keras.initializers.GlorotUniform(0))
        self._model = keras.Sequential([keras.Input(shape), layer])
        self._model.compile("sgd", "mse", jit_compile=jit_compile)
        size = batch if kind.is_dense else max(batch // 8, 1)
        values = np.random.default_rng(0).standard_normal((size, *shape))
        self._batch = keras.ops.convert_to_tensor(values.astype("float32"))
        self.seconds(1)

    def seconds(self, steps):
        """CPU seconds of one of some steps."""
        start = time.process_time()
        for _ in range(steps):
            self._model.train_on_batch(self._batch, self._batch)
        return (time.process_time() - start) / steps
