"""The residual connection that keeps a Lipschitz constant: a mean instead of a sum."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from lipviz.layers.base_layer import LipschitzLayer, check_shape, in_floats
from lipviz.types import Shape, Tensor


@keras.saving.register_keras_serializable("lipviz")
class LipResidual(keras.layers.Layer, LipschitzLayer):
    """k · (a·x + (1−a)·y), with a = sigmoid(alpha) of one learned scalar; called on [x, y].

    Where y is a 1-Lipschitz function of x, the result is a k-Lipschitz function of x, for every value of `alpha`: a and
    1 − a are positive and add up to 1. For y = x it is k·x, so that bound is attained. As a function of independent x
    and y its constant is k·√(a² + (1−a)²), at most k. `alpha` starts at 0, so a at ½.

    Args:
        k_coef_lip: Factor multiplied onto the output.
        **kwargs: `name`, `dtype` of every Keras layer.

    Attributes:
        alpha: The scalar, a variable.

    Input shape: two inputs of one shape. Output shape: the same.

    Raises:
        ValueError: If k is not positive and finite, or the layer is not called on two inputs of one shape.
    """

    def __init__(self, k_coef_lip: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_klip_factor(k_coef_lip)

    def build(self, input_shape: Sequence[Shape]) -> None:
        check_shape(self, self.compute_output_shape(input_shape), least_axes=1)
        self.alpha = self.add_weight(name="alpha", shape=(), initializer="zeros", autocast=False)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        pair = isinstance(inputs, list | tuple)  # a single tensor could be taken apart along its batch
        self.compute_output_shape([tuple(value.shape) for value in inputs] if pair else tuple(inputs.shape))
        x, y = (in_floats(self, value) for value in inputs)
        k = self.k_coef_lip
        of_x, of_y = (ops.cast(k * ops.sigmoid(alpha), self.compute_dtype) for alpha in (self.alpha, -self.alpha))
        return of_x * x + of_y * y

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        several = input_shape if isinstance(input_shape, list | tuple) else ()
        shapes = [tuple(shape) for shape in several if isinstance(shape, list | tuple)]
        if len(shapes) != 2 or len(input_shape) != 2:
            raise ValueError(f"LipResidual expects a list of two inputs, [x, y]. Received the shape(s) {input_shape}")
        x, y = shapes
        if len(x) != len(y) or any(None not in pair and pair[0] != pair[1] for pair in zip(x, y, strict=True)):
            raise ValueError(f"LipResidual expects two inputs of one shape. Received the shapes {x} and {y}")
        return tuple(b if a is None else a for a, b in zip(x, y, strict=True))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k_coef_lip": self.k_coef_lip}
