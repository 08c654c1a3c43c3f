"""Names of types that signatures use. A model is a `keras.Model` and a layer a `keras.Layer`, as in Keras."""

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "ArrayLike", "DType", "Norm", "Shape", "Tensor"]

Array: TypeAlias = np.ndarray
"""An array of NumPy; docstrings give its shape and its dtype."""

ArrayLike: TypeAlias = npt.ArrayLike
"""What `numpy.asarray` takes: an array, a tensor, nested lists."""

Tensor: TypeAlias = Any
"""A tensor of the backend, a `keras.KerasTensor`, or what Keras makes one of. Keras has no type for it."""

Shape: TypeAlias = tuple[int | None, ...]
"""Sizes of the axes; None where a size is open."""

DType: TypeAlias = str
"""Name of a dtype, as "float32", or of a dtype policy, as "mixed_bfloat16", where a docstring says so."""

Norm: TypeAlias = Literal[1, 2, "inf"] | float
"""The norm that distances are measured in: l1, l2 or l∞; `math.inf` also means l∞."""
