"""The forms of steps: what is known of how a value of a model is computed from other values.

Every value is a vector, flattened as Keras does, of one sample.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse.linalg as sla

from lipviz.rules.activations import Derivative
from lipviz.rules.bound import Bound
from lipviz.types import Array


class NoFormError(Exception):
    """A step has no form that is known; the message says why, in a few words."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """An input of the model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """y = Σ A_i x_i + b.

    Attributes:
        parts: A SciPy `LinearOperator` A_i of shape (outputs, entries of x_i) for each source.
        offset: b of shape (outputs,), float64.
        off: How far the numbers that are used may be from these, relative to them, where they depend on how a backend
            rounds them. A diagonal of A_i is then at least as large in magnitude as the one that is used.
    """

    parts: tuple[sla.LinearOperator, ...]
    offset: Array
    off: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Pointwise:
    """y_i = φ(x_i), one function for all entries.

    Attributes:
        name: Name of the function in `keras.activations`; "" for another.
        values: Function of a float64 array of shape (n, entries) that returns φ of it, of the same shape and dtype.
        bound: Bound of its Lipschitz constant.
        slopes: Its smallest and its largest slope, with their signs: two floats, or arrays of shape (entries,).
        sides: Of a function with one slope for negative and one for positive x: both slopes, each a number or an array
            of shape (entries,), which may differ from entry to entry; else None. A backend may round them.
        derivative: Its derivative, if it is known and not that of `name`.
    """

    name: str
    values: Callable[[Array], Array]
    bound: Bound
    slopes: tuple[float | Array, float | Array]
    sides: tuple[Any, Any] | None = None
    derivative: Derivative | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sorting:
    """Each group of entries is sorted in ascending order, and multiplied by a factor.

    Attributes:
        groups: Places of the entries of each group, of shape (groups, entries of a group), integers.
        factor: The factor, at least 0.
    """

    groups: Array
    factor: float


@dataclasses.dataclass(frozen=True, eq=False)
class Splitting:
    """The positive and the negative parts of all entries: y = k·relu(x) at some places, y = k·relu(−x) at others.

    Attributes:
        positive: Places of the positive parts, of shape (entries,), integers.
        negative: Places of the negative parts, of shape (entries,), integers.
        factor: The factor k, at least 0.
    """

    positive: Array
    negative: Array
    factor: float


@dataclasses.dataclass(frozen=True, eq=False)
class Opaque:
    """A step whose form is not known, but which may have a bound.

    Attributes:
        why: Why its form is not known, in a few words.
        bound: Function of (norm, exact) that returns its `Bound` with respect to all its sources together; infinite
            where it is not known.
        values: Function of a float64 array of shape (n, entries) for each source that returns the value, (n, entries).
    """

    why: str
    bound: Callable[[float, bool], Bound]
    values: Callable[..., Array]


Form = Entry | Affine | Pointwise | Sorting | Splitting | Opaque


def value_of(form: Form, size: int, sources: list[Array]) -> Array:
    """The value of a node, of shape (n, entries), from those of its sources.

    Args:
        form: Its form, other than an `Entry`.
        size: Number of its entries.
        sources: The values of its sources, each of shape (n, entries).
    """
    if isinstance(form, Affine):
        return sum((part @ x.T).T for part, x in zip(form.parts, sources, strict=True)) + form.offset
    if isinstance(form, Sorting):
        result = np.empty_like(sources[0])
        result[:, form.groups] = form.factor * np.sort(sources[0][:, form.groups], axis=-1)
        return result
    if isinstance(form, Splitting):
        result = np.empty((len(sources[0]), size))
        result[:, form.positive] = form.factor * np.maximum(sources[0], 0.0)
        result[:, form.negative] = form.factor * np.maximum(-sources[0], 0.0)
        return result
    assert not isinstance(form, Entry)
    return form.values(*sources)
