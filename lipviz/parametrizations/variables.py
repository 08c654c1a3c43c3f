"""The variables of a parametrization: one has its home elsewhere, one is made of a kernel, one is that kernel."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from lipviz.keras_internals import RestoredVariable
from lipviz.types import Array, Tensor


def check_finite(value: Tensor, owner: str) -> Array | None:
    """Return `value` as a NumPy array, or None where it is a symbol of a trace.

    Args:
        value: Tensor, variable or array.
        owner: Words that name it in the error.

    Raises:
        ValueError: If it holds NaN or Inf.
    """
    try:
        # What is an array already stays as it is: JAX would make float32 of float64.
        array = value if isinstance(value, np.ndarray) else ops.convert_to_numpy(ops.convert_to_tensor(value))
    except Exception:  # every backend has an error of its own for a symbolic tensor
        return None
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{owner} must be finite. Received: {bad} of {np.size(array)} entries are NaN or Inf.")
    return array


def copied(variable: keras.Variable) -> Array:
    """Value of a variable in memory of its own: assigning a tensor would share the buffer, which JAX may reuse.

    Args:
        variable: Keras variable, with a value.

    Returns:
        An array of its dtype.
    """
    value = variable.value
    return np.array(value.numpy() if hasattr(value, "numpy") else value, copy=True)


class Factor(RestoredVariable):
    """The variable of a factor that has its home elsewhere: whatever is assigned, it takes the value from there.

    Keras's ways to load weights assign every variable. On JAX, so does the end of a step, whose buffers are new.
    """

    def __init__(self, home: Callable[[], float], **kwargs: Any) -> None:
        self._home = home
        super().__init__(lambda shape, dtype: ops.convert_to_tensor(home(), dtype), shape=(), **kwargs)

    def assign(self, value: Tensor) -> Tensor:
        return super().assign(self._home())

    def restore(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return self.assign(tensors)


class Origin(RestoredVariable):
    """The kernel that another variable was made of. A checkpoint of TensorFlow does not prove that it is the one."""

    def restore(self, tensors: Mapping[str, Tensor]) -> Tensor:
        super().restore(tensors)
        return self.assign(ops.full(self.shape, -np.inf, self.dtype))


class Derived(keras.Variable):
    """A variable that is made of a kernel. Assigned from outside, it belongs to no kernel that is known."""

    def __init__(self, forget: Callable[[], None], *args: Any, **kwargs: Any) -> None:
        self._forget = forget
        super().__init__(*args, **kwargs)

    def assign(self, value: Tensor) -> Tensor:
        assigned = super().assign(value)
        self._forget()
        return assigned

    def store(self, value: Tensor) -> None:
        """Assign, by the one who says which kernel the value belongs to."""
        super().assign(value)
