"""What `keras.ops` cannot express: gradients on demand, and functions that are one operation of a graph."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from lipviz.keras_internals import with_noted_graph
from lipviz.types import Tensor


def with_gradient_of(function: Callable[[Tensor], Tensor], x: Tensor, value: Tensor) -> Tensor:
    """Return a value that was computed in another way, with the gradient of a function.

    The forward pass costs nothing. The function runs, and is differentiated, only when a gradient is computed.

    Args:
        function: From a tensor to a tensor of the value's shape.
        x: The tensor at which it is differentiated.
        value: Tensor, equal to function(x) up to rounding. No gradient flows through it.

    Returns:
        The value. On a backend other than TensorFlow and JAX it has no gradient.
    """
    pull_back = _PULL_BACK.get(keras.backend.backend())
    value = ops.stop_gradient(value)
    if pull_back is None:
        return value

    def function_with_gradient(x):
        def gradient(*upstream):
            upstream = upstream[0][0] if isinstance(upstream[0], tuple | list) else upstream[0]
            return pull_back(function, x, upstream)

        return value, gradient

    return with_noted_graph(ops.custom_gradient(function_with_gradient)(x))


def _by_tensorflow(function, x, upstream):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x, upstream)


def _by_jax(function, x, upstream):
    import jax

    return jax.vjp(function, x)[1](upstream)[0]


def builds_graph() -> bool:
    """Whether TensorFlow is tracing a graph now."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def as_one_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of tensors one operation in the graphs of TensorFlow that call it.

    TensorFlow visits every operation of a branch that is not taken. A few hundred operations take longer than a small
    layer.

    Args:
        function: From tensors to a tensor, or to a tuple of tensors.

    Returns:
        A function of tensors or variables with the same result, to be called where `builds_graph`.
    """
    return _function(function, {"_noinline": True})


def as_one_trace(
    function: Callable[..., Any], shapes: Sequence[Sequence[int | None]] | None = None
) -> Callable[..., Any]:
    """Trace a function of tensors and its gradient once, for all graphs of TensorFlow that call it.

    At run time, each call has its own operations, as if it had been traced by itself.

    Args:
        function: See `as_one_call`.
        shapes: Shapes of the arguments, which are of float32, with None for each length that differs among calls. None:
            it is traced for each shape.

    Returns:
        See `as_one_call`. It is differentiable.
    """
    return _function(function, None, shapes)


def in_graphs(function: Callable[..., Any], way: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """A function of tensors that is traced by itself in the graphs of TensorFlow, and runs as it is elsewhere.

    Args:
        function: See `as_one_call`.
        way: `as_one_call` or `as_one_trace`.
        *arguments: Its further arguments.
    """
    call = way(function, *arguments)
    return lambda *tensors: (call if builds_graph() else function)(*tensors)


def _function(function, attributes, shapes=None):
    import tensorflow as tf

    signature = None if shapes is None else [tf.TensorSpec(shape, "float32") for shape in shapes]
    call = tf.function(function, input_signature=signature, autograph=False, experimental_attributes=attributes)
    return lambda *arguments: call(*map(tf.convert_to_tensor, arguments))


_PULL_BACK = {"tensorflow": _by_tensorflow, "jax": _by_jax}
