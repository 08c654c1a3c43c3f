"""The numbers that an operation takes beside the values of a graph, as in `x + 3`. They must be finite."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from lipviz.rules.used import roundings, to_numpy
from lipviz.types import Array, DType

# The infinite number that changes nothing: by operation, or by operation and argument.
_WITHOUT_LIMIT = {
    "Maximum": -math.inf,
    "Minimum": math.inf,
    ("Clip", "x_min"): -math.inf,
    ("Clip", "x_max"): math.inf,
}


def why_not_finite(operation: keras.Operation, constants: Iterable[Any], dtype: DType) -> str | None:
    """Why an operation may compute numbers that are not finite, because of its constants; None if that is not so.

    A constant may be infinite where it changes nothing, as in `ops.minimum(x, inf)`.

    Args:
        operation: `keras.Operation`.
        constants: What it is called with beside values of the graph, of any type.
        dtype: The dtype that it computes in, which may round a large constant to infinity.
    """
    for values, harmless in _numbers(operation, constants):
        if not (np.isfinite(values) | (values == harmless)).all():
            return "its constant is not finite"
        used = roundings(values, dtype)
        if not (np.isfinite(used) | (used == harmless)).all():
            return f"its constant is too large for {dtype}"
    return None


def _numbers(operation, constants):
    """Its constants that are real numbers, each with the infinite number that it may be, or None."""
    name = type(operation).__name__
    given: list[tuple[Any, str | tuple[str, str]]] = [(value, name) for value in constants]
    given += [(value, (name, key)) for key, value in vars(operation).items() if not key.startswith("_")]
    for value, place in given:
        values = _real_numbers(value)
        if values is not None:
            yield values, _WITHOUT_LIMIT.get(place)


def _real_numbers(value: Any) -> Array | None:
    """A floating-point number or array in float64; None for another object, as a shape, an axis or a name."""
    if not (isinstance(value, float) or hasattr(value, "dtype")) or isinstance(value, keras.KerasTensor):
        return None
    array = to_numpy(value)
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else None
