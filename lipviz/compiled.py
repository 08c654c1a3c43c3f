"""Functions that XLA compiles, each by itself, in steps that TensorFlow runs on a CPU.

TensorFlow runs each operation by itself there, and each reads and writes the whole tensor, so that memory limits its
speed. XLA makes one operation of a function such as a sort, and another one of its gradient. Convolutions and products
stay with TensorFlow, which multiplies faster. Everywhere else the same functions run as they are: in eager calls, on
GPUs, on JAX, and in exported models, which programs without XLA read as well.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras

from lipviz.keras_internals import is_graph_of_step, is_training, with_noted_graph
from lipviz.types import Tensor

# With fewer entries per example, a compiled call takes longer than the operations.
_LEAST_ENTRIES = 32

_wanted: contextvars.ContextVar[bool | None] = contextvars.ContextVar("lipviz_compiled", default=None)


def compiled_where_traced(wanted: bool = True) -> AbstractContextManager[None]:
    """Within this context, functions are compiled in every graph of TensorFlow, and not only in steps; or in none.

    Args:
        wanted: False for none.
    """
    return _decided(wanted)


@contextlib.contextmanager
def _decided(wanted):
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def may_compile(layer: keras.Layer, inputs: Tensor) -> bool:
    """Whether a `Compiled` function of the inputs of a layer may be compiled, within the call of this layer.

    It is where TensorFlow traces a step of Keras or a call with `training=True`, if all devices are CPUs and all sizes
    but that of the batch are known: XLA compiles anew for each size.

    Args:
        layer: Layer that is being called.
        inputs: Its input.
    """
    sizes = tuple(inputs.shape)[1:]
    return (
        keras.backend.backend() == "tensorflow"
        and None not in sizes
        and math.prod(sizes) >= _LEAST_ENTRIES
        and _is_traced(layer)
        and all(device.startswith("cpu") for device in keras.distribution.list_devices())
        and _xla_works()
    )


def _is_traced(layer):
    """Whether TensorFlow traces a graph in which functions are compiled. Exported graphs are none of these."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    wanted = _wanted.get()
    return is_training(layer) or any(map(is_graph_of_step, _graphs())) if wanted is None else wanted


def _graphs():
    """Names of the graphs that TensorFlow is tracing, from the inner to the outer one."""
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        yield getattr(graph, "name", None)
        graph = getattr(graph, "outer_graph", None)


@functools.cache
def _xla_works():
    """Whether this TensorFlow has an XLA that compiles for CPUs."""
    import tensorflow as tf

    try:
        with tf.init_scope():
            tf.function(lambda x: x + x, jit_compile=True, autograph=False)(tf.zeros(()))
    except Exception:  # whatever is missing: the same function runs without it
        return False
    return True


class Compiled:
    """A function of tensors that XLA compiles by itself, with a gradient that it compiles too.

    XLA compiles it for each size of the batch when that first occurs. What is compiled serves all layers and models of
    the process that hold the same object.

    Args:
        function: From tensors to a tensor, in operations of `keras.ops`. The first axis of the first tensor and of the
            result is the batch.
        pull_back: From the gradient of the result, the result and the tensors to a tuple with the gradients of the
            tensors; None differentiates the function.
    """

    def __init__(
        self, function: Callable[..., Tensor], pull_back: Callable[..., tuple[Tensor, ...]] | None = None
    ) -> None:
        self.function = function
        self._pull_back = pull_back or self._differentiated
        self._traces: dict[Any, Any] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the compiled function. It can be differentiated twice.

        Args:
            *inputs: Tensors, where `may_compile`.

        Returns:
            A tensor.
        """
        import tensorflow as tf

        @tf.custom_gradient
        def value(*inputs):
            output = self._run(self.function, (0,), *inputs)
            return output, lambda upstream: self._gradients(upstream, output, *inputs)

        output = with_noted_graph(value(*map(tf.convert_to_tensor, inputs)))
        output.set_shape((inputs[0].shape[0], *output.shape[1:]))
        return output

    def _gradients(self, upstream, output, *inputs):
        import tensorflow as tf

        @tf.custom_gradient
        def value(upstream, *inputs):
            gradients = self._run(self._pull_back, (0, 1, 2), upstream, output, *inputs)
            return gradients, lambda *upstreams: self._second_gradients(upstreams, upstream, *inputs)

        return with_noted_graph(value(tf.convert_to_tensor(upstream), *inputs))

    def _second_gradients(self, upstreams, *arguments):
        """The gradient of the gradient, by differentiating the function twice, operation by operation."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(arguments)
            upstream, *inputs = arguments
            gradients = self._differentiated(upstream, None, *inputs)
        return tape.gradient(gradients, arguments, upstreams, unconnected_gradients="zero")

    def _differentiated(self, upstream, _, *inputs):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = self.function(*inputs)
        return tuple(tape.gradient(output, inputs, upstream, unconnected_gradients="zero"))

    def _run(self, function, of_batches, *tensors):
        """Call a function that is traced once, for batches of any size."""
        import tensorflow as tf

        shapes = [[None, *t.shape[1:]] if i in of_batches else t.shape for i, t in enumerate(tensors)]
        specs = tuple(tf.TensorSpec(shape, t.dtype) for shape, t in zip(shapes, tensors, strict=True))
        key = (function, specs)
        if key not in self._traces:
            with tf.init_scope():
                call = tf.function(function, specs, jit_compile=True, autograph=False)
                self._traces[key] = call.get_concrete_function()
        return self._traces[key](*tensors)
