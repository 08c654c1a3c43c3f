"""The variables of a parametrization: `k`, `wbar`, and `origin`, the kernel that `wbar` was computed from."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from lipviz.keras_internals import RestoredVariable
from lipviz.types import Array, Tensor


def check_finite(value: Tensor, owner: str) -> Array | None:
    """Return `value` as a NumPy array, or None if it is a symbol of a trace.

    Args:
        value: Tensor, variable or array.
        owner: Name of it in the error.

    Raises:
        ValueError: If it holds NaN or Inf.
    """
    try:
        # An array stays as it is: JAX would convert float64 to float32.
        array = value if isinstance(value, np.ndarray) else ops.convert_to_numpy(ops.convert_to_tensor(value))
    except Exception:  # every backend has an error of its own for a symbolic tensor
        return None
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{owner} must be finite. Received: {bad} of {np.size(array)} entries are NaN or Inf.")
    return array


def copied(variable: keras.Variable) -> Array:
    """Copy of a variable's value in memory of its own. Assigning a tensor would share its buffer, which JAX may reuse.

    Args:
        variable: Keras variable, with a value.

    Returns:
        An array of its dtype.
    """
    value = variable.value
    return np.array(value.numpy() if hasattr(value, "numpy") else value, copy=True)


class Factor(RestoredVariable):
    """A variable that always has the value of a function: assigning any value assigns that one.

    Keras assigns every variable when it loads weights. On JAX, it does so after each step, which returns new buffers.
    """

    def __init__(self, home: Callable[[], float], **kwargs: Any) -> None:
        self._home = home
        super().__init__(lambda shape, dtype: ops.convert_to_tensor(home(), dtype), shape=(), **kwargs)

    def assign(self, value: Tensor) -> Tensor:
        return super().assign(self._home())

    def restore(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return self.assign(tensors)


class Origin(RestoredVariable):
    """The kernel that `wbar` was computed from. A checkpoint of TensorFlow is no proof of that, so it sets −Inf."""

    def restore(self, tensors: Mapping[str, Tensor]) -> Tensor:
        super().restore(tensors)
        return self.assign(ops.full(self.shape, -np.inf, self.dtype))


class Derived(keras.Variable):
    """A variable that is computed from a kernel. If others assign it, the kernel is not known any more."""

    def __init__(self, forget: Callable[[], None], *args: Any, **kwargs: Any) -> None:
        self._forget = forget
        super().__init__(*args, **kwargs)

    def assign(self, value: Tensor) -> Tensor:
        assigned = super().assign(value)
        self._forget()
        return assigned

    def store(self, value: Tensor) -> None:
        """Assign a value whose kernel the caller stores, too."""
        super().assign(value)
