"""Alternative text: what plots show, in words, for readers who cannot see them."""

import functools
import math
from typing import Any

from lipviz.certification import Certificate
from lipviz.measure import BjorckConvergence, LayerSpectrum, NetworkSpectrum
from lipviz.plots.style import number


@functools.singledispatch
def alt_text(data: Any) -> str:
    """Describe in words what the plots of a measurement show.

    Args:
        data: A dataclass of `lipviz.measure`.

    Returns:
        A string of whole sentences.

    Raises:
        TypeError: If there is no description for the type of `data`.
    """
    raise TypeError(f"alt_text expects a measurement of lipviz.measure. Received: {type(data).__name__}")


@alt_text.register
def _(data: LayerSpectrum):
    words = f"Singular values of '{data.name}', shape {_shape(data.shape)}"
    if data.view != "matrix":
        words += f" ({data.view})"
    if data.constrained is None:
        return f"{words}: from {_range(data.raw)}."
    return (
        f"{words}. Raw kernel: from {_range(data.raw)}. What the layer uses: from {_range(data.constrained)}, "
        f"with k = {number(data.k)} and ‖I − WᵀW/k²‖ = {number(data.orthogonality_error)}."
    )


@alt_text.register
def _(data: NetworkSpectrum):
    return f"Singular values of the {len(data)} layers of '{data.name}'. " + " ".join(map(alt_text, data))


@alt_text.register
def _(data: BjorckConvergence):
    words = (
        f"Two panels for a kernel of shape {_shape(data.shape)}. Left, singular values: raw from {_range(data.raw)}; "
        f"normalized from {_range(data.normalized)}; after Björck from {_range(data.constrained)}. "
        f"Right, ‖I − WᵀW‖ goes from {number(data.errors[0])} to {number(data.errors[-1])} "
        f"in {data.iterations} iterations"
    )
    if data.iterations:
        words += f"; the last step has length {number(data.increments[-1])}, eps_bjorck is {number(data.eps_bjorck)}"
    return words + "."


@alt_text.register
def _(data: Certificate):
    steps = "; ".join(f"{row.name} from {number(row.lower)} to {_bound(row.upper)}" for row in data.layers)
    return (
        f"Bounds of the Lipschitz constants of the {len(data.layers)} steps of '{data.model}': {steps}. "
        f"The whole model from {number(data.lower_bound)} to {_bound(data.upper_bound)}."
    )


def _bound(value):
    return "infinity" if value == math.inf else number(value)


def _shape(shape):
    return " × ".join(map(str, shape))


def _range(values):
    return f"{number(values[0], 6)} down to {number(values[-1], 6)}"
