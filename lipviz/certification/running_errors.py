"""Bounds of the rounding errors of a network in the arithmetic in which it is computed, sample by sample.

A step computes its terms with relative errors of at most γ, for every order of summation. So what it returns differs
from the exact result for the same input by at most γ · (sum of the magnitudes of its terms). These magnitudes are
known from the exact hidden values h(x) at the sample, from how far h can change in the ball, and from the errors so
far. For a layer W h + b, they are at most |W| (|h(x)| + change + error) + |b|.

A step that copies or compares numbers is exact. If it sets small numbers to 0, the next step that computes has the same
error, which is counted there.

Errors are followed in two ways, and the smaller bound counts. Entry by entry, an error e becomes |W| e. In l2, an
error of norm s becomes one of norm ‖W‖ s. What grows with the ball is only known in l2.

All bounds are computed in float64 with about nine digits more than those of float32, and are rounded up by 1e-6.

References:
    Higham (2002), Accuracy and stability of numerical algorithms, chapters 3 and 4.
    Jia and Rinard (2021), Exploiting verified neural networks via floating point numerical error.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla
from scipy.special import erf, expit

from lipviz import layers as lip
from lipviz.certification.arithmetic import ULPS, Arithmetic, Numbers, numbers_of
from lipviz.certification.computation import Affine, Computation, Node, Pointwise, Sorting, Splitting
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import (
    AVERAGES,
    CONVOLUTIONS,
    DEPTHWISE,
    GLOBAL_AVERAGES,
    SEPARABLE,
    TRANSPOSED,
    is_channels_first,
    is_plain,
)
from lipviz.operators.magnitudes import UnknownEntriesError, magnitudes, norm_of_positive, norm_of_small
from lipviz.operators.used_weights import used_kernel
from lipviz.rules.algebra import computes_as
from lipviz.rules.registry import layer_bounds
from lipviz.rules.used import as_computed, as_float64
from lipviz.types import Array

_UP = 1 + 1e-6
_ENTRIES = 2**20  # of the values of a node that are computed at once


class UnknownRoundingError(ValueError):
    """A step rounds in a way that has no bound here."""


@dataclasses.dataclass(frozen=True, eq=False)
class Running:
    """The values of a node for n samples, and bounds of the errors with which they are computed, in balls of K radii.

    Attributes:
        values: Exact values at the samples, (n, entries), float64.
        entries: Errors of entries, (n, entries). An error is at most this and, beside it, a vector of norm `rest`.
        rest: Norm of that vector, (n, K).
        total: Norm of the whole error, (n, K).
        change: Norm of how far the exact values change within the ball, (n, K).
        overflows: Whether a number may exceed the largest one, (n, K).
        dtype: The dtype that holds them.

    Where only values are computed, the rest is None.
    """

    values: Array
    entries: Any
    rest: Any
    total: Any
    change: Any
    overflows: Any
    dtype: str

    @property
    def is_bare(self) -> bool:
        """Whether only values are computed."""
        return self.entries is None

    def with_values(self, values: Array) -> "Running":
        """The same with other values."""
        return dataclasses.replace(self, values=values)


@dataclasses.dataclass(frozen=True, eq=False)
class _Sizes:
    """Magnitudes of the terms that a step adds up.

    Attributes:
        terms: At the samples, without errors, (n, entries).
        erred: What the errors of entries add to them, (n, entries).
        of_rest: Norm of what the change and `rest` add, (n, K).
        of_total: Norm of what the change and `total` add, (n, K).
    """

    terms: Array
    erred: Array
    of_rest: Array
    of_total: Array


class Steps:
    """The steps of a network, with the numbers that all samples share.

    Args:
        computed: The `computation` of the network whose weights are those that are used.
        arithmetic: How products are added up. What each layer computes in is read from the layer.

    Raises:
        UnknownRoundingError: If layers round in ways that have no bound here; the message names them.
    """

    def __init__(self, computed: Computation, arithmetic: Arithmetic):
        self.nodes = computed.nodes
        needed = _needed(computed)
        found = [
            _step_or_why(node, self.nodes, arithmetic) if number in needed else None
            for number, node in enumerate(self.nodes)
        ]
        unknown = [why for why in found if isinstance(why, str)]
        if unknown:
            raise UnknownRoundingError(
                f"The rounding of these layers is not known: {'; '.join(dict.fromkeys(unknown))}. Expected dense and "
                "convolutional layers, normalizations by running statistics, poolings, Rescaling, layers that move or "
                "add entries, and elementwise activations of Keras or lipviz."
            )
        self.steps: list[Any] = found
        self.rows = max(1, _ENTRIES // max(node.size for node in self.nodes))  # samples at a time

    def has_form(self, number: int) -> bool:
        """Whether the exact values of a node are those of its form, with the same numbers, or its form is not known.

        Some layers, and slopes other than 0 and 1, are read from the layer before it rounds its numbers.
        """
        form, op = self.nodes[number].form, self.nodes[number].op
        if isinstance(form, Affine):
            return _builder(op) not in _OF_ANY_FORM
        return not isinstance(form, Pointwise) or form.sides is None or form.name == "relu"

    def run(self, x: Array, radii: Array | None = None) -> list[Any]:
        """Values of all nodes that the outputs need, and bounds of their errors.

        Args:
            x: Samples of shape (n, ...), float64.
            radii: Radii of the balls around each sample, (n, K), finite. None computes only values.

        Returns:
            A list of `Running`, one for each node; None for a node that is not needed.
        """
        states: list[Any] = []
        with np.errstate(all="ignore"):  # errors may be infinite, and then NaN: neither is below a margin
            for node, step in zip(self.nodes, self.steps, strict=True):
                taken = [states[source] for source in node.sources]
                if step is _entered:
                    states.append(_entered(x.reshape(len(x), -1), radii, node.dtype))
                else:
                    states.append(None if step is None else step(*taken))
        return states


def _needed(computed):
    """Numbers of the nodes that the outputs depend on."""
    needed = set(computed.outputs)
    for number in range(len(computed.nodes) - 1, -1, -1):
        if number in needed:
            needed |= set(computed.nodes[number].sources)
    return needed


def _step_or_why(node, nodes, arithmetic):
    """The function from the `Running` of its sources to that of a node, or why there is none."""
    sources = [nodes[number] for number in node.sources]
    try:
        if not sources:
            return _entered
        return _step(node, sources, arithmetic)
    except (UnknownRoundingError, UnknownEntriesError) as error:
        return f"'{node.name}' ({node.kind}: {error})"


def _step(node, sources, arithmetic):
    if isinstance(node.form, Pointwise):
        return _pointwise(node)
    if isinstance(node.form, Sorting | Splitting):
        return _ordering(node)
    build = _builder(node.op)
    if build is None or not (build in _OF_ANY_FORM or isinstance(node.form, Affine)):
        raise UnknownRoundingError(getattr(node.form, "why", "") or "no bound of its rounding")
    if build in _OF_ANY_FORM:
        bound = next(iter(layer_bounds(node.op, sources[0].shape, 2)))[1]
        if bound.upper == math.inf:
            raise UnknownRoundingError(bound.method)
    return build(node, sources, arithmetic)


def _builder(op):
    if not isinstance(op, keras.layers.Layer):
        return _OPERATIONS.get(type(op).__name__) if type(op).__module__.startswith("keras.") else None
    for kinds, build in _LAYERS:
        if is_plain(op, kinds) or any(isinstance(op, kind) and computes_as(op, kind) for kind in kinds):
            return build
    return None


# --- rounding ---


def _entered(x, radii, dtype):
    """The input, which is rounded to its dtype."""
    if radii is None:
        return Running(x, None, None, None, None, None, dtype)
    none = np.zeros_like(radii)
    exact = Running(x, np.zeros_like(x), none, none, radii, np.zeros(radii.shape, bool), "int32")
    return _cast(exact, dtype)


def _cast(state, dtype):
    """A value that is rounded to a dtype, if that has fewer digits than its own."""
    old, new = numbers_of(state.dtype), numbers_of(dtype)
    if state.is_bare or (new.unit <= old.unit and new.largest >= old.largest):
        return dataclasses.replace(state, dtype=dtype)
    sizes = _Sizes(np.abs(state.values), state.entries, state.change + state.rest, state.change + state.total)
    return _rounded(state, sizes, new.unit, new.tiny, dtype)


def _without_small(state):
    """A value whose small numbers become 0, or stay what they are; each entry loses no more than it has."""
    tiny = numbers_of(state.dtype).tiny
    lost = np.minimum(np.abs(state.values) + state.entries, tiny)
    at_sample = _norms(np.minimum(np.abs(state.values), tiny))
    most = tiny * math.sqrt(state.values.shape[1])
    return dataclasses.replace(
        state,
        entries=_UP * (state.entries + lost),
        rest=_UP * (state.rest + np.minimum(state.change + state.rest, most)),
        total=_UP * (state.total + np.minimum(at_sample + state.change + state.total, most)),
    )


def _rounded(moved, sizes, growth, tiny, dtype, flushed=(0.0, 0.0)):
    """Add the errors of a step to those that it passes on.

    Args:
        moved: The `Running` of what the step returns if it does not round.
        sizes: The `_Sizes` of its terms.
        growth: Relative error of its terms.
        tiny: Absolute error of each entry, by numbers that are set to 0: a number or an array (entries,).
        dtype: Dtype of what it returns.
        flushed: Pair of norms of errors, by weights that are set to 0: beside `rest` and beside `total`, each (n, K).
    """
    if not growth < math.inf:
        return _lost(moved, dtype)
    own = np.broadcast_to(np.asarray(tiny, np.float64), moved.values.shape[1:])
    entries = _UP * (moved.entries + growth * (sizes.terms + sizes.erred) + own)
    rest = _UP * (moved.rest + growth * sizes.of_rest + flushed[0])
    total = moved.total + growth * (_norms(sizes.terms) + sizes.of_total) + np.linalg.norm(own) + flushed[1]
    total = np.minimum(_UP * total, _UP * (_norms(entries) + rest))
    top = (sizes.terms + sizes.erred).max(axis=1, initial=0.0)[:, None] + sizes.of_rest + own.max(initial=0.0)
    overflows = moved.overflows | ~((1 + growth) * top + rest < numbers_of(dtype).largest / 2)
    return Running(moved.values, entries, rest, total, moved.change, overflows, dtype)


def _lost(moved, dtype):
    """A step whose sums are too long for its dtype."""
    nothing = np.full_like(moved.rest, np.inf)
    every = np.ones_like(moved.overflows)
    return dataclasses.replace(moved, rest=nothing, total=nothing, overflows=every, dtype=dtype)


def _norms(rows):
    return np.linalg.norm(rows, axis=1, keepdims=True)


# --- linear steps ---


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """An operator of an affine step, the operator of its magnitudes, and norms.

    Attributes:
        operator: A.
        sizes: |A|.
        norm: Bound of ‖A‖.
        spread: Bound of ‖|A|‖.
        flushed: Norm of the change where small entries become 0.
    """

    operator: sla.LinearOperator
    sizes: sla.LinearOperator
    norm: float
    spread: float
    flushed: float = 0.0


def _applied(operator, rows):
    return (operator @ rows.T).T


def _part(operator, sizes=None, norm=math.inf, below=0.0):
    sizes = magnitudes(operator) if sizes is None else sizes
    spread = norm_of_positive(sizes)
    return _Part(operator, sizes, min(norm, spread), spread, norm_of_small(operator, below) if below else 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class AffineStep:
    """The step Σ A_i x_i + b: a function from the `Running` of each source to that of the result.

    Attributes:
        parts: A `_Part` for each source.
        offset: b, (entries,).
        offset_sizes: Magnitudes of the terms of b, (entries,).
        growth: Relative error of all terms.
        tiny: See `_rounded`.
        dtype: Dtype of the result.
        taken_in: Dtype that sources are converted to.
        sums_in: Dtype of the sum, where that has more digits than the result: the sum is rounded, and once more with b.
    """

    parts: list[_Part]
    offset: Array
    offset_sizes: Array
    growth: float
    tiny: Any
    dtype: str
    taken_in: str
    sums_in: str = ""

    def taken(self, source: Running) -> Running:
        """A source as the step takes it: converted, and with small numbers set to 0 where the step computes."""
        source = _cast(source, self.taken_in)
        return _without_small(source) if self.growth else source

    def term_sizes(self, *sources: Running) -> Array:
        """Magnitudes of the terms at the samples, (n, entries)."""
        return self._summed("sizes", [np.abs(x.values) for x in sources]) + self.offset_sizes

    def flushed(self, error: Array, *sources: Running) -> Array:
        """Norm of the error by weights that are set to 0, (n, K), for sources with an error of a norm, (n, K)."""
        pairs = zip(self.parts, sources, strict=True)
        return sum((part.flushed * (_norms(x.values) + x.change + error) for part, x in pairs), np.zeros(1))

    def __call__(self, *sources: Running) -> Running:
        values = self._summed("operator", [x.values for x in sources]) + self.offset
        if sources[0].is_bare:
            return sources[0].with_values(values)
        sources = tuple(self.taken(source) for source in sources)
        erred = self._summed("sizes", [x.entries for x in sources])
        rest, total = sum(_norms(x.entries) + x.rest for x in sources), sum(x.total for x in sources)
        sizes = _Sizes(
            self.term_sizes(*sources),
            erred,
            self._scaled("spread", [x.change + x.rest for x in sources]),
            self._scaled("spread", [x.change + x.total for x in sources]),
        )
        rests, totals, changes = (
            self._scaled("norm", [getattr(x, name) for x in sources]) for name in ("rest", "total", "change")
        )
        overflows = np.any([x.overflows for x in sources], axis=0)
        moved = Running(values, erred, rests, totals, changes, overflows, self.dtype)
        flushed = tuple(self.flushed(error, *sources) for error in (rest, total))
        summed = _rounded(moved, sizes, self.growth, self.tiny, self.sums_in or self.dtype, flushed)
        return self._narrowed(summed) if self.sums_in else summed

    @property
    def late(self) -> float:
        """Error of the result relative to |y| + |b|, where its sum has more digits."""
        return 2.1 * numbers_of(self.dtype).unit if self.sums_in else 0.0

    def _narrowed(self, x):
        sizes = _Sizes(np.abs(x.values) + self.offset_sizes, x.entries, x.change + x.rest, x.change + x.total)
        return _rounded(x, sizes, self.late, 2 * numbers_of(self.dtype).tiny, self.dtype)

    def _summed(self, name, rows):
        return sum((getattr(part, name) @ x.T).T for part, x in zip(self.parts, rows, strict=True))

    def _scaled(self, name, norms):
        return sum(getattr(part, name) * x for part, x in zip(self.parts, norms, strict=True))


def _products(node, sources, arithmetic):
    """A layer that adds up products with its kernel, and a bias."""
    layer, (source,), dtype = node.op, sources, node.op.compute_dtype
    if getattr(layer, "lora_enabled", False):
        raise UnknownRoundingError("it adds the product of two matrices to its kernel in each call")
    numbers, (operator,) = numbers_of(dtype), node.form.parts
    norm = next(iter(layer_bounds(layer, source.shape, 2)))[1].upper
    part = _part(operator, norm=norm, below=numbers.tiny)
    count = terms_of(layer)
    accumulation = arithmetic.accumulation if dtype == arithmetic.dtype else dtype
    is_wide = accumulation != dtype and not is_plain(layer, SEPARABLE)
    growth = numbers_of(accumulation).sum_growth(count + 4) if is_wide else _growth(numbers, count, accumulation, dtype)
    offset = node.form.offset
    tiny = numbers_of(accumulation).tiny * (2 * count + 4) + numbers.tiny * (np.abs(offset) > 0)
    if is_plain(layer, SEPARABLE):  # numbers between its two sums may be set to 0, and are multiplied then
        between = np.abs(used_kernel(layer, "pointwise_kernel")).reshape(-1, layer.filters).sum(axis=0).max()
        tiny = tiny + numbers.tiny * (2 * count + 4) * between
    sums_in = accumulation if is_wide else ""
    return AffineStep([part], offset, np.abs(offset), growth, tiny, dtype, dtype, sums_in)


def _by_fourier(node, sources, arithmetic):
    raise UnknownRoundingError("it computes by Fourier transform, and its `vanilla_export` does not")


def terms_of(layer: keras.layers.Layer) -> int:
    """How many products a layer with kernels adds up for one entry, in all of its sums."""
    if is_plain(layer, SEPARABLE):
        return _depth(used_kernel(layer, "depthwise_kernel")) + _fan_in(used_kernel(layer, "pointwise_kernel"))
    kernel = used_kernel(layer)
    if is_plain(layer, DEPTHWISE):
        return _depth(kernel)
    return _fan_in(np.swapaxes(kernel, -1, -2) if is_plain(layer, TRANSPOSED) else kernel)


def _fan_in(kernel):
    """Entries of a kernel (..., in, out) for one output channel."""
    return math.prod(kernel.shape[:-1])


def _depth(kernel):
    """Entries of a depthwise kernel (..., in, multiplier) for one output channel."""
    return math.prod(kernel.shape[:-2])


def _growth(numbers: Numbers, count, accumulation, dtype):
    """Relative error of a sum of products and a bias: one rounding for each, and some more for parts of the sum."""
    if accumulation == dtype:
        return numbers.sum_growth(count + 4)
    return (1 + numbers_of(accumulation).sum_growth(count + 4)) * (1 + numbers.unit) ** 4 - 1


def _normalized(node, sources, arithmetic):
    """Batch normalization: γ/√(variance + ε), which multiplies x and the mean, in float32 at least."""
    layer, (source,), (operator,) = node.op, sources, node.form.parts
    factors = np.abs(operator @ np.ones(source.size))
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - len(source.shape)
    spread = (-1,) + (1,) * (-axis - 1)
    mean = np.abs(_spread(as_float64(layer.moving_mean, "The mean"), spread, source))
    beta = np.abs(_spread(as_float64(layer.beta, "The offset"), spread, source)) if layer.center else 0.0
    sizes, wide = factors * mean + beta, numbers_of("float32")
    part = _Part(operator, _diagonal(factors), factors.max(initial=0.0), factors.max(initial=0.0), wide.tiny)
    tiny = wide.tiny * (4 + 4 * factors + mean)
    wide_step = AffineStep(
        [part], node.form.offset, sizes, wide.sum_growth(2 * ULPS + 8), tiny, "float32", source.dtype
    )
    return lambda x: _cast(wide_step(x), layer.compute_dtype)


def _diagonal(values):
    return sla.aslinearoperator(scipy.sparse.diags_array(values).tocsr())


def _spread(values, shape, node):
    return np.broadcast_to(values.reshape(shape), node.shape).reshape(-1)


def _rescaled(node, sources, arithmetic):
    """x·scale + offset, with numbers that are rounded to the dtype of the layer."""
    layer, (source,) = node.op, sources
    if source.shape != node.shape or keras.config.image_data_format() != "channels_last":
        raise UnknownRoundingError("it changes the shape")
    scale, offset = (
        np.broadcast_to(np.asarray(value, np.float64), node.shape).reshape(-1) for value in (layer.scale, layer.offset)
    )
    numbers, factors = numbers_of(layer.compute_dtype), np.abs(scale)
    part = _Part(_diagonal(scale), _diagonal(factors), factors.max(), factors.max(), numbers.tiny)
    tiny = numbers.tiny * 6
    dtype = layer.compute_dtype
    return AffineStep([part], offset, np.abs(offset), numbers.sum_growth(8), tiny, dtype, dtype)


def _centered(node, sources, arithmetic):
    """The layer of lipviz that subtracts running means and multiplies by a factor, in float32 at least."""
    layer, (source,) = node.op, sources
    factor = layer.k_coef_lip if not hasattr(layer, "lip_constant") else layer.lip_constant
    mean, bias = (
        _per_channel(layer, as_float64(value, f"A weight of '{layer.name}'"), source)
        for value in (layer.moving_mean, layer.bias if layer.use_bias else np.zeros(layer.moving_mean.shape))
    )
    part = _Part(_diagonal(factor * np.ones(source.size)), _diagonal(factor * np.ones(source.size)), factor, factor)
    sizes, numbers = factor * np.abs(mean) + np.abs(bias), numbers_of("float32")
    tiny = numbers.tiny * (4 + 4 * factor + np.abs(mean))
    growth = numbers.sum_growth(2 * ULPS + 8)
    part = dataclasses.replace(part, flushed=numbers.tiny)
    step = AffineStep([part], bias - factor * mean, sizes, growth, tiny, "float32", layer.compute_dtype)
    return lambda x: _cast(step(x), layer.compute_dtype)


def _per_channel(layer, values, source):
    """Numbers of channels at each entry of a value."""
    shape = [1] * len(source.shape)
    shape[layer.channel_axis % (len(shape) + 1) - 1] = -1
    return _spread(values, shape, source)


def _averaged(node, sources, arithmetic):
    """A mean of windows, in the dtype of the layer."""
    layer = node.op
    count = math.prod(layer.pool_size)
    numbers = numbers_of(layer.compute_dtype)
    return _mean(node, numbers.sum_growth(count + 4), count, layer.compute_dtype, layer.compute_dtype)


def _averaged_globally(node, sources, arithmetic):
    """A mean of all pixels, in float32 at least."""
    layer, (source,) = node.op, sources
    count = source.size // node.size
    step = _mean(node, numbers_of("float32").sum_growth(count + 4), count, "float32", layer.compute_dtype)
    return lambda x: _cast(step(x), layer.compute_dtype)


def _mean(node, growth, count, dtype, taken_in):
    (operator,), none = node.form.parts, np.zeros(node.size)
    tiny = numbers_of(dtype).tiny * (2 * count + 4)
    return AffineStep([_part(operator, operator)], none, none, growth, tiny, dtype, taken_in)


def _moved(node, sources, arithmetic):
    """A step that copies, drops or moves entries."""
    if np.any(node.form.offset):
        raise UnknownRoundingError("it adds numbers of its own")
    dtype = getattr(node.op, "compute_dtype", node.dtype)
    none = np.zeros(node.size)
    if getattr(node.op, "k_coef_lip", 1) != 1:  # each entry is multiplied by k, which is rounded
        numbers = numbers_of(dtype)
        if node.op.k_coef_lip < numbers.tiny:
            raise UnknownRoundingError(f"its factor {node.op.k_coef_lip:.3g} may be set to 0")
        parts = [_part(part, below=numbers.tiny) for part in node.form.parts]
        return AffineStep(parts, none, none, numbers.sum_growth(4), 4 * numbers.tiny, dtype, dtype)
    return AffineStep([_part(part, part) for part in node.form.parts], none, none, 0.0, 0.0, dtype, dtype)


def _added(node, sources, arithmetic):
    """A sum, a difference, a mean, or a weighted mean whose weights are computed by a sigmoid."""
    dtype = getattr(node.op, "compute_dtype", node.dtype)
    numbers, none = numbers_of(dtype), np.zeros(node.size)
    parts = [_part(part, below=numbers.tiny) for part in node.form.parts]
    roundings = len(parts) + 4 + 2 * ULPS * isinstance(node.op, lip.LipResidual)
    tiny = numbers.tiny * (2 * len(parts) + 4)
    return AffineStep(parts, none, none, numbers.sum_growth(roundings), tiny, dtype, dtype)


# --- poolings ---


def _largest(node, sources, arithmetic):
    """The largest entry of each window, which is exact."""
    layer, (source,) = node.op, sources
    sizes: Any = _pixels(layer, source)
    windows = getattr(layer, "pool_size", sizes)
    strides = getattr(layer, "strides", windows)
    padding: Any = getattr(layer, "padding", "valid")
    channels = source.size // math.prod(sizes)
    kernel = np.ones((*windows, 1, channels))
    operator = Convolution(kernel, sizes, strides, padding, None, channels, is_channels_first(layer))
    norm = norm_of_positive(operator)  # a pixel is the largest of no more windows than those that hold it
    overlap = float((operator.T @ np.ones(operator.shape[0])).max())
    bound = min(norm, math.sqrt(overlap) * _UP)

    def step(x):
        x = _cast(x, layer.compute_dtype)
        values = operator.largest(x.values.T).T
        return x.with_values(values) if x.is_bare else _sloped(x, values, operator.largest(x.entries.T).T, bound)

    return step


def _sloped(x, values, entries, bound):
    """A step without rounding that has a Lipschitz constant."""
    return dataclasses.replace(
        x, values=values, entries=entries, rest=bound * x.rest, total=bound * x.total, change=bound * x.change
    )


def _scaled_average(node, sources, arithmetic):
    """The average of lipviz, in float32 at least, whose factor is k·√(entries of a window)."""
    layer, (source,) = node.op, sources
    count = math.prod(_window(layer, source))
    operator = _windows(layer, source, layer.k_coef_lip / math.sqrt(count))
    none, numbers = np.zeros(node.size), numbers_of("float32")
    growth, tiny = numbers.sum_growth(count + 8), numbers.tiny * (2 * count + 4) * (1 + layer.k_coef_lip * count)
    parts = [_part(operator, operator, layer.k_coef_lip * _UP)]
    step = AffineStep(parts, none, none, growth, tiny, "float32", layer.compute_dtype)
    return lambda x: _cast(step(x), layer.compute_dtype)


def _windows(layer, source, weight):
    """The operator that adds up the entries of each window, times a weight; windows do not overlap."""
    channels = source.shape[0] if is_channels_first(layer) else source.shape[-1]
    window, sizes = _window(layer, source), _pixels(layer, source)
    kernel = np.full((*window, 1, channels), float(weight))
    return Convolution(kernel, sizes, window, "valid", groups=channels, channels_first=is_channels_first(layer))


def _window(layer, source):
    """Sizes of a window: of a pooling of whole images, those of the image."""
    return getattr(layer, "pool_size", _pixels(layer, source))


def _pixels(layer, source):
    return source.shape[1:] if is_channels_first(layer) else source.shape[:-1]


def _norm_pooling(node, sources, arithmetic):
    """The norm of windows of lipviz in float32 at least: k·√(p·(mean of x² + ε)), or k·√(sum of x² + ε) of images."""
    layer, (source,) = node.op, sources
    count, k = math.prod(_window(layer, source)), layer.k_coef_lip
    divisor = count if isinstance(layer, lip.ScaledL2NormPooling2D) else 1
    sums, scale = _windows(layer, source, 1.0), k * math.sqrt(divisor)
    floor, eps = layer.floor, layer.eps_grad_sqrt
    shift = 0.0 if eps >= floor else math.sqrt(floor)
    numbers = numbers_of("float32")
    growth = numbers.sum_growth(count + 12)
    tiny = numbers.tiny * 8 * count * (1 + scale) / math.sqrt(floor)

    def step(x):
        mean = _applied(sums, np.square(x.values)) / divisor
        root = np.sqrt(mean + eps) if eps >= floor else np.sqrt(np.maximum(mean, floor))
        if x.is_bare:
            return x.with_values(scale * (root - shift))
        x = _without_small(_cast(x, layer.compute_dtype))
        entries = k * np.sqrt(_applied(sums, np.square(x.entries)))
        moved = _sloped(x, scale * (root - shift), entries, k * _UP)
        sizes = _Sizes(scale * (root + shift), entries, k * (x.change + x.rest), k * (x.change + x.total))
        squares = count * np.square(np.abs(x.values).max(axis=1, initial=0.0)[:, None] + x.change + x.total)
        moved = dataclasses.replace(moved, overflows=moved.overflows | ~(squares < numbers.largest / 4))
        return _cast(_rounded(moved, sizes, growth, tiny, "float32"), layer.compute_dtype)

    return step


# --- activations ---


def _ordering(node):
    """Sorting, or splitting into positive and negative parts: exact, but for a factor."""
    form = node.form
    unit = 0.0 if form.factor == 1 else 2.1  # the factor is rounded, and so is the product
    if 0 < form.factor < numbers_of(node.dtype).tiny:
        raise UnknownRoundingError(f"its factor {form.factor:.3g} may be set to 0")

    def step(x):
        numbers = numbers_of(node.dtype)
        values = _ordered(form, x.values, node.size)
        if x.is_bare:
            return x.with_values(values)
        x = _cast(x, node.dtype)
        entries = form.factor * _reach(form, x.entries, node.size)
        moved = _sloped(x, values, entries, form.factor)
        sizes = _Sizes(np.abs(values), entries, form.factor * (x.change + x.rest), form.factor * (x.change + x.total))
        tiny = numbers.tiny * (2 + 2 * form.factor) * (unit > 0)
        return _rounded(moved, sizes, unit * numbers.unit, tiny, node.dtype)

    return step


def _ordered(form, rows, size):
    result = np.empty((len(rows), size))
    if isinstance(form, Sorting):
        result[:, form.groups] = form.factor * np.sort(rows[:, form.groups], axis=-1)
    else:
        result[:, form.positive] = form.factor * np.maximum(rows, 0.0)
        result[:, form.negative] = form.factor * np.maximum(-rows, 0.0)
    return result


def _reach(form, rows, size):
    """How far errors of entries move those of the result, without the factor."""
    result = np.empty((len(rows), size))
    if isinstance(form, Sorting):
        result[:, form.groups] = rows[:, form.groups].max(axis=-1, keepdims=True)
    else:
        result[:, form.positive] = result[:, form.negative] = rows
    return result


@dataclasses.dataclass(frozen=True)
class _Function:
    """An elementwise function φ, whose error is at most u·(output·|φ(x)| + input·|x| + constant).

    Attributes:
        values: φ of a float64 array of shape (n, entries).
        output: See above.
        input: See above.
        constant: See above.
    """

    values: Callable[[Array], Array]
    output: float = 0.0
    input: float = 0.0
    constant: float = 0.0


def _softplus(x):
    return np.logaddexp(0.0, x)


def _elu(alpha, scale=1.0):
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _leaky(slope):
    return lambda x: np.where(x > 0, x, slope * x)


# Errors of functions that exp or tanh computes are those of numbers of at most 1, or relative: 2u for each ULP.
_F = 2.0 * ULPS
_SELU = (1.6732632423543772, 1.0507009873554805)
_FUNCTIONS = {
    "linear": _Function(lambda x: x),
    "relu": _Function(lambda x: np.maximum(x, 0.0)),
    "relu6": _Function(lambda x: np.clip(x, 0.0, 6.0)),
    "hard_tanh": _Function(lambda x: np.clip(x, -1.0, 1.0)),
    "leaky_relu": _Function(_leaky(0.2), output=4),
    "elu": _Function(_elu(1.0), output=4, constant=_F + 4),
    "celu": _Function(_elu(1.0), output=4, constant=_F + 8),
    "selu": _Function(_elu(*_SELU), output=8, constant=2 * (_F + 8)),
    "sigmoid": _Function(expit, constant=_F),
    "hard_sigmoid": _Function(lambda x: np.clip(x / 6 + 0.5, 0.0, 1.0), constant=8, input=1),
    "tanh": _Function(np.tanh, constant=_F),
    "softplus": _Function(_softplus, output=8, constant=_F + 8),
    "log_sigmoid": _Function(lambda x: -_softplus(-x), output=8, constant=_F + 8),
    "softsign": _Function(lambda x: x / (1 + np.abs(x)), output=8),
    "silu": _Function(lambda x: x * expit(x), output=4, input=_F),
    "gelu": _Function(lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), output=8, input=_F + 8),
    "mish": _Function(lambda x: x * np.tanh(_softplus(x)), output=8, input=2 * _F + 16),
}


def _function(node):
    """The `_Function` of an activation."""
    op = node.op.activation if isinstance(node.op, keras.layers.Activation) else node.op
    if isinstance(op, keras.layers.Layer):
        read = next((read for cls, read in _ACTIVATIONS if isinstance(op, cls) and computes_as(op, cls)), None)
        if read is None:
            raise UnknownRoundingError("no bound of its rounding")
        return read(op, node)
    name = next((name for name in _FUNCTIONS if getattr(keras.activations, name) is op), None)
    if name is None:
        raise UnknownRoundingError(f"no bound of the rounding of {getattr(op, '__name__', op)}")
    return _FUNCTIONS[name]


def _of_relu(layer, node):
    slope, largest = layer.negative_slope or 0.0, layer.max_value
    top = math.inf if largest is None else largest
    found = _Function(lambda x: np.clip(x, 0.0, top) - slope * np.maximum(-x, 0.0))
    if not slope and largest is None:
        return found
    constant = 0.0 if largest is None else 8 * abs(largest)
    return dataclasses.replace(found, output=8, input=_lost_slopes(slope, node), constant=constant)


def _of_leaky_relu(layer, node):
    slope = layer.negative_slope
    return _Function(_leaky(slope), output=4, input=_lost_slopes(slope, node))


def _lost_slopes(slopes, node):
    """Error by slopes that are so small that they may be set to 0, in units of u·|x|."""
    numbers, sizes = numbers_of(node.dtype), np.abs(slopes)
    return numbers.tiny / numbers.unit if ((sizes > 0) & (sizes < numbers.tiny)).any() else 0.0


def _of_elu(layer, node):
    return _Function(_elu(layer.alpha), output=8, constant=abs(layer.alpha) * (_F + 8))


def _of_prelu(layer, node):
    negative = as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'")
    positive = 1.0
    if isinstance(layer, lip.PReLUlip):
        k = layer.k_coef_lip
        positive, negative = min(1.0, k), np.clip(negative, -k, k)
    negative = np.broadcast_to(negative, node.shape).reshape(-1)
    lost = _lost_slopes(negative, node)
    return _Function(lambda x: np.where(x > 0, positive * x, negative * x), output=4, input=lost)


def _of_beta_abs(layer, node):
    k = layer.k_coef_lip
    if k == 1:
        return _Function(lambda x: _of_signs(layer, node, x))
    return _Function(lambda x: k * _of_signs(layer, node, x), output=4, input=_lost_slopes(np.array([k]), node))


def _of_signs(layer, node, x):
    """x, with magnitudes in the place of some channels, for rows of entries."""
    images = x.reshape(len(x), *node.shape)
    spread = [1] * images.ndim
    spread[layer.channel_axis] = -1
    negative = layer.slopes(images.shape).reshape(spread) < 0
    return np.where(negative, np.abs(images), images).reshape(x.shape)


_ACTIVATIONS = (
    (lip.BetaAbs, _of_beta_abs),
    (keras.layers.ReLU, _of_relu),
    (keras.layers.LeakyReLU, _of_leaky_relu),
    (keras.layers.ELU, _of_elu),
    (lip.PReLUlip, _of_prelu),
    (keras.layers.PReLU, _of_prelu),
)


def _pointwise(node: Node):
    function = _function(node)
    form: Any = node.form
    slope = form.bound.upper
    factor = function.output * slope + function.input
    is_exact = not (function.output or function.input or function.constant)

    def step(x):
        numbers = numbers_of(node.dtype)
        x = _cast(x, node.dtype)
        values = function.values(x.values)
        if x.is_bare:
            return x.with_values(values)
        moved = _sloped(x, values, slope * x.entries, slope)
        if is_exact:
            return dataclasses.replace(moved, dtype=node.dtype)
        terms = function.output * np.abs(values) + function.input * np.abs(x.values) + function.constant
        sizes = _Sizes(terms, factor * x.entries, factor * (x.change + x.rest), factor * (x.change + x.total))
        return _rounded(moved, sizes, numbers.unit, (4 + slope) * numbers.tiny, node.dtype)

    return step


_COPYING = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.ActivityRegularization,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.RepeatVector,
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.Concatenate,
    lip.InvertibleDownSampling,
    lip.InvertibleUpSampling,
    lip.SpatialShift,
)
_LARGEST = (
    *(keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D),
    *(keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D),
)
_LAYERS = (
    ((lip.BROConv2D,), _by_fourier),
    ((keras.layers.Dense, lip.PadConv2D, *CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE), _products),
    ((keras.layers.BatchNormalization,), _normalized),
    ((keras.layers.Rescaling,), _rescaled),
    (AVERAGES, _averaged),
    (GLOBAL_AVERAGES, _averaged_globally),
    ((lip.BatchCentering, lip.BatchLipNorm), _centered),
    ((lip.ScaledAveragePooling2D, lip.ScaledGlobalAveragePooling2D), _scaled_average),
    ((lip.ScaledL2NormPooling2D, lip.ScaledGlobalL2NormPooling2D), _norm_pooling),
    (_LARGEST, _largest),
    ((keras.layers.Add, keras.layers.Subtract, keras.layers.Average, lip.LipResidual), _added),
    (_COPYING, _moved),
)
# These read the layer, and not the form of the step.
_OF_ANY_FORM = (_rescaled, _centered, _scaled_average, _norm_pooling, _largest)
_OPERATIONS = dict.fromkeys(
    (
        *("Reshape", "Ravel", "Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Flip", "Roll", "Copy"),
        *("Concatenate", "Stack", "GetItem", "Split", "Pad"),
    ),
    _moved,
)
