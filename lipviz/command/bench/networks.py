"""The two networks of the benchmark, each in several kinds, and their training steps and predictions."""

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
from keras import layers as plain

import lipviz.layers as own
from lipviz.model import Sequential
from lipviz.types import Array, Tensor

SEED = 0


def cnn(kind: str, peer: Any = None, width: int = 1) -> keras.Sequential:
    """conv16-3, pool, conv32-3, pool, dense128, dense10 on 28×28 images, not compiled.

    Args:
        kind: "plain" (ReLU, average pooling), "lipviz" (constrained, GroupSort2, l2-norm pooling), "sorting" (plain
            except for GroupSort2), "constrained" (plain except for the constraints), or "peer".
        peer: Module with the layers of the kind "peer", under the names that the reference uses.
        width: Factor of the numbers of channels and of hidden units.
    """
    k = _Kind(kind, peer)
    return k.model(
        keras.Input((28, 28, 1)),
        *(k.conv(16 * width, 3, padding="same"), k.sort(), k.pool((2, 2))),
        *(k.conv(32 * width, 3, padding="same"), k.sort(), k.pool((2, 2))),
        *(plain.Flatten(), k.dense(128 * width), k.sort(), k.dense(10)),
    )


def mlp(kind: str, peer: Any = None) -> keras.Sequential:
    """256-128-64-1 on points of the plane; see `cnn`."""
    k = _Kind(kind, peer)
    hidden = [layer for units in (256, 128, 64) for layer in (k.dense(units), k.sort())]
    return k.model(keras.Input((2,)), *hidden, k.dense(1))


class _Kind:
    def __init__(self, kind, peer):
        self.kind = kind
        layers = {"lipviz": own, "constrained": own, "peer": peer}.get(kind)
        self.conv = layers.SpectralConv2D if layers else plain.Conv2D
        self.dense = layers.SpectralDense if layers else plain.Dense
        sorting = {"lipviz": own, "sorting": own, "peer": peer}.get(kind)
        self.sort = sorting.GroupSort2 if sorting else plain.ReLU
        pooling = {"lipviz": own, "peer": peer}.get(kind)
        self.pool = pooling.ScaledL2NormPooling2D if pooling else plain.AveragePooling2D

    def model(self, *layers):
        keras.utils.set_random_seed(SEED)
        return (Sequential if self.kind == "lipviz" else keras.Sequential)(list(layers))


def compiled(model: keras.Model, jit_compile: bool) -> keras.Model:
    """Compile a model for training with Adam: with cross-entropy for several outputs, squared error for one.

    Args:
        model: Model of `cnn` or `mlp`.
        jit_compile: Whether XLA compiles TensorFlow's graphs. Other backends keep Keras's choice: with False, JAX would
            run each operation by itself.
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if model.output_shape[-1] > 1 else "mse"
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=chosen_jit(jit_compile))
    return model


def chosen_jit(jit_compile: bool) -> bool | Literal["auto"]:
    """The argument `jit_compile` of `Model.compile`, see `compiled`."""
    return jit_compile if keras.backend.backend() == "tensorflow" else "auto"


def batch(model: keras.Model, size: int) -> tuple[Tensor, Tensor]:
    """A batch of random inputs and targets that fit a model, as tensors."""
    rng = np.random.default_rng(SEED)
    x = rng.uniform(size=(size, *model.input_shape[1:])).astype("float32")
    outputs = model.output_shape[-1]
    y = rng.integers(0, outputs, size) if outputs > 1 else rng.standard_normal((size, 1)).astype("float32")
    return keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)


def training_step(model: keras.Model, size: int) -> Callable[[], Any]:
    """A function that makes one training step, always on the same batch, with `train_on_batch`.

    On tensors, this is a whole step: forward, backward and the optimizer. It has nothing of what `fit` does before and
    after its steps: `fit` makes an input pipeline, and may wait for a thread of it at the end.
    """
    x, y = batch(model, size)
    return lambda: model.train_on_batch(x, y)


def in_plain_model(model: keras.Model, moved: bool = False) -> keras.Sequential:
    """A `keras.Sequential` with the layers of a model.

    Args:
        model: Sequential model with lipviz layers.
        moved: Whether to change each kernel, as an optimizer does, so that its `wbar` is out of date and not used.
    """
    plain_model = keras.Sequential([keras.Input(model.input_shape[1:]), *model.layers])
    constrained: list[Any] = [layer for layer in plain_model.layers if isinstance(layer, own.ConstrainedKernel)]
    for layer in constrained if moved else ():
        layer.kernel.assign(1.01 * layer.kernel)
    return plain_model


def predictions(model: keras.Model, size: int, batches: int = 16) -> Callable[[], Array]:
    """A function that runs `predict` over several batches."""
    x, _ = batch(model, size * batches)
    x = keras.ops.convert_to_numpy(x)
    return lambda: model.predict(x, batch_size=size, verbose=0)


def prediction(model: keras.Model, size: int) -> Callable[[], Array]:
    """A function that predicts for the same batch."""
    x, _ = batch(model, size)
    return lambda: model.predict_on_batch(x)
