"""Small networks in exact rational arithmetic: what floating-point proofs are held against."""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

import keras
import numpy as np
from keras import ops

from lipviz.types import Array

Matrix = list[list[Fraction]]


def fractions(values: Array) -> list:
    """A float64 array as nested lists of the same numbers."""
    return [fractions(row) for row in values] if np.ndim(values) else Fraction(float(values))


def exact_logits(model: keras.Model, x: Array) -> list[Fraction]:
    """The logits of dense layers with ReLU or nothing for one sample.

    Args:
        model: The network. Its weights are rounded to the dtype of each layer.
        x: The sample, of shape (entries,).
    """
    values = fractions(np.asarray(x, np.float64))
    for layer in model.layers:
        kernel, bias = (
            np.asarray(ops.convert_to_numpy(ops.cast(ops.cast(w, layer.compute_dtype), "float32")))
            for w in layer.weights
        )
        values = [
            sum((a * b for a, b in zip(column, values, strict=True)), offset)
            for column, offset in zip(fractions(kernel.T), fractions(bias), strict=True)
        ]
        if layer.activation is keras.activations.relu:
            values = [max(value, Fraction(0)) for value in values]
    return values


def exceeds(matrices: Sequence[Array], bound: float) -> bool:
    """Whether some x → W_l D_{l−1} … D_1 W_1 x, with ones and zeros on the diagonals D, has a norm in l2 above a bound.

    Args:
        matrices: W_1, …, W_l, each of shape (outputs, inputs), float64. The time doubles with each hidden entry.
        bound: The bound.
    """
    parts, square = [fractions(w) for w in matrices], Fraction(bound) ** 2
    return any(not _is_below(jacobian, square) for jacobian in _jacobians(parts))


def _jacobians(parts: list[Matrix]) -> Iterator[Matrix]:
    if len(parts) == 1:
        yield parts[0]
        return
    for before in _jacobians(parts[:-1]):
        for chosen in itertools.product((False, True), repeat=len(before)):
            yield [[_dot(row, column, chosen) for column in zip(*before, strict=True)] for row in parts[-1]]


def _dot(row, column, chosen):
    return sum((a * b for a, b, is_on in zip(row, column, chosen, strict=True) if is_on), Fraction(0))


def _is_below(jacobian, square):
    """Whether square · I − J Jᵀ is positive semi-definite, by elimination without a rounding."""
    size = len(jacobian)
    rest = [
        [
            (square if i == j else 0) - sum(a * b for a, b in zip(jacobian[i], jacobian[j], strict=True))
            for j in range(size)
        ]
        for i in range(size)
    ]
    for k in range(size):
        pivot = rest[k][k]
        if pivot < 0 or (pivot == 0 and any(rest[k][k + 1 :])):
            return False
        for i in range(k + 1, size) if pivot else ():
            share = rest[i][k] / pivot
            rest[i] = [a - share * b for a, b in zip(rest[i], rest[k], strict=True)]
    return True
