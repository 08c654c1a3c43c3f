"""Rounding errors of linear steps: sums of products, scales and shifts, copies and sums of values."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla

from lipviz import layers as lip
from lipviz.certification.arithmetic import Arithmetic, Numbers, numbers_of
from lipviz.certification.computation import Node
from lipviz.certification.forms import Affine
from lipviz.certification.running import (
    Running,
    Sizes,
    Step,
    UnknownRoundingError,
    cast,
    norms,
    rounded,
    without_small,
)
from lipviz.operators.linear import DEPTHWISE, SEPARABLE, TRANSPOSED, is_plain
from lipviz.operators.magnitudes import magnitudes, norm_of_positive, norm_of_small
from lipviz.operators.used_weights import used_kernel
from lipviz.rules.activations import ULPS
from lipviz.rules.registry import layer_bounds
from lipviz.rules.used import as_float64
from lipviz.types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
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


def affine_form(node: Node) -> Affine:
    """The form of a node that is affine."""
    assert isinstance(node.form, Affine)
    return node.form


def applied(operator: sla.LinearOperator, rows: Array) -> Array:
    """An operator applied to each of n rows, (n, entries)."""
    return (operator @ rows.T).T


def part_of(
    operator: sla.LinearOperator,
    sizes: sla.LinearOperator | None = None,
    norm: float = math.inf,
    below: float = 0.0,
) -> Part:
    """The `Part` of an operator.

    Args:
        operator: A.
        sizes: |A|; by default it is computed.
        norm: A bound of ‖A‖, if one is known.
        below: Magnitude below which entries may become 0.
    """
    sizes = magnitudes(operator) if sizes is None else sizes
    spread = norm_of_positive(sizes)
    return Part(operator, sizes, min(norm, spread), spread, norm_of_small(operator, below) if below else 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class AffineStep:
    """The step Σ A_i x_i + b: a function from the `Running` of each source to that of the result.

    Attributes:
        parts: A `Part` for each source.
        offset: b, (entries,).
        offset_sizes: Magnitudes of the terms of b, (entries,).
        growth: Relative error of all terms.
        tiny: See `rounded`.
        dtype: Dtype of the result.
        taken_in: Dtype that sources are converted to.
        partial: See `rounded`.
        sums_in: Dtype of the sum, where that has more digits than the result: the sum is rounded, and once more with b.
    """

    parts: list[Part]
    offset: Array
    offset_sizes: Array
    growth: float
    tiny: Any
    dtype: str
    taken_in: str
    sums_in: str = ""
    partial: float = 1.0

    def taken(self, source: Running) -> Running:
        """A source as the step takes it: converted, and with small numbers set to 0 where the step computes."""
        source = cast(source, self.taken_in)
        return without_small(source) if self.growth else source

    def term_sizes(self, *sources: Running) -> Array:
        """Magnitudes of the terms at the samples, (n, entries)."""
        return self._summed("sizes", [np.abs(x.values) for x in sources]) + self.offset_sizes

    def flushed(self, error: Array, *sources: Running) -> Array:
        """Norm of the error by weights that are set to 0, (n, K), for sources with an error of a norm, (n, K)."""
        pairs = zip(self.parts, sources, strict=True)
        return sum((part.flushed * (norms(x.values) + x.change + error) for part, x in pairs), np.zeros(1))

    def __call__(self, *sources: Running) -> Running:
        values = self._summed("operator", [x.values for x in sources]) + self.offset
        if sources[0].is_bare:
            return sources[0].with_values(values)
        sources = tuple(self.taken(source) for source in sources)
        erred = self._summed("sizes", [x.entries for x in sources])
        rest, total = sum(norms(x.entries) + x.rest for x in sources), sum(x.total for x in sources)
        sizes = Sizes(
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
        flushed = self.flushed(rest, *sources), self.flushed(total, *sources)
        dtype = self.sums_in or self.dtype
        summed = rounded(moved, sizes, self.growth, self.tiny, dtype, flushed, self.partial)
        return self._narrowed(summed) if self.sums_in else summed

    @property
    def late(self) -> float:
        """Error of the result relative to |y| + |b|, where its sum has more digits."""
        return 2.1 * numbers_of(self.dtype).unit if self.sums_in else 0.0

    def _narrowed(self, x):
        sizes = Sizes(np.abs(x.values) + self.offset_sizes, x.entries, x.change + x.rest, x.change + x.total)
        return rounded(x, sizes, self.late, 2 * numbers_of(self.dtype).tiny, self.dtype)

    def _summed(self, name, rows):
        return sum((getattr(part, name) @ x.T).T for part, x in zip(self.parts, rows, strict=True))

    def _scaled(self, name, norms):
        return sum(getattr(part, name) * x for part, x in zip(self.parts, norms, strict=True))


def products(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A layer that adds up products with its kernel, and a bias."""
    layer, (source,), dtype = node.op, sources, node.op.compute_dtype
    if getattr(layer, "lora_enabled", False):
        raise UnknownRoundingError("it adds the product of two matrices to its kernel in each call")
    numbers, (operator,) = numbers_of(dtype), affine_form(node).parts
    norm = next(iter(layer_bounds(layer, source.shape, 2)))[1].upper
    part = part_of(operator, norm=norm, below=numbers.tiny)
    count = terms_of(layer)
    accumulation = arithmetic.accumulation if dtype == arithmetic.dtype else dtype
    is_wide = accumulation != dtype and not is_plain(layer, SEPARABLE)
    growth = numbers_of(accumulation).sum_growth(count + 4) if is_wide else _growth(numbers, count, accumulation, dtype)
    offset = affine_form(node).offset
    tiny = numbers_of(accumulation).tiny * (2 * count + 4) + numbers.tiny * (np.abs(offset) > 0)
    if is_plain(layer, SEPARABLE):  # numbers between its two sums may be set to 0, and are multiplied then
        between = np.abs(used_kernel(layer, "pointwise_kernel")).reshape(-1, layer.filters).sum(axis=0).max()
        tiny = tiny + numbers.tiny * (2 * count + 4) * between
    sums_in = accumulation if is_wide else ""
    return AffineStep([part], offset, np.abs(offset), growth, tiny, dtype, dtype, sums_in)


def by_fourier(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A layer that computes by Fourier transform, whose rounding has no bound here."""
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


def normalized(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """Batch normalization: γ/√(variance + ε), which multiplies x and the mean, in float32 at least."""
    layer, (source,), (operator,) = node.op, sources, affine_form(node).parts
    factors = np.abs(operator @ np.ones(source.size))
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - len(source.shape)
    spread = (-1,) + (1,) * (-axis - 1)
    mean = np.abs(_spread(as_float64(layer.moving_mean, "The mean"), spread, source))
    beta = np.abs(_spread(as_float64(layer.beta, "The offset"), spread, source)) if layer.center else 0.0
    sizes, wide = factors * mean + beta, numbers_of("float32")
    part = Part(operator, _diagonal(factors), factors.max(initial=0.0), factors.max(initial=0.0), wide.tiny)
    tiny = wide.tiny * (4 + 4 * factors + mean)
    wide_step = AffineStep(
        [part], affine_form(node).offset, sizes, wide.sum_growth(2 * ULPS + 8), tiny, "float32", source.dtype
    )
    return lambda x: cast(wide_step(x), layer.compute_dtype)


def _diagonal(values):
    return sla.aslinearoperator(scipy.sparse.diags_array(values).tocsr())


def _spread(values, shape, node):
    return np.broadcast_to(values.reshape(shape), node.shape).reshape(-1)


def scaled(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A step that multiplies each entry by a number of its own, and adds another one."""
    form, op = affine_form(node), node.op
    dtype = getattr(op, "compute_dtype", node.dtype)
    numbers, (operator,) = numbers_of(dtype), form.parts
    roundings = 8
    if isinstance(op, keras.layers.Normalization):
        roundings += 2 * ULPS
        _check_statistics(op, numbers)
    growth = (1 + numbers.sum_growth(roundings)) * (1 + form.off) - 1
    tiny = numbers.tiny * (6 + 4 * applied(magnitudes(operator), np.ones((1, operator.shape[1])))[0])
    part = part_of(operator, below=numbers.tiny)
    return AffineStep([part], form.offset, np.abs(form.offset), growth, tiny, dtype, dtype)


def _check_statistics(layer, numbers):
    """Raise `UnknownRoundingError` where the statistics of a normalization may be set to 0, or overflow."""
    variance, mean = (as_float64(value, "A statistic") for value in (layer.variance, layer.mean))
    least = 0.0 if numbers.unit == numbers_of("float32").unit else numbers.tiny  # √tiny is below Keras's epsilon
    if not ((variance >= least) & (variance < numbers.largest / 2) & (np.abs(mean) < numbers.largest / 2)).all():
        raise UnknownRoundingError("its statistics are out of the range of its dtype")


def centered(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A layer of lipviz that subtracts running means, and multiplies by a factor, in float32 at least."""
    form, layer, (source,), numbers = affine_form(node), node.op, sources, numbers_of("float32")
    (operator,) = form.parts
    factors = applied(operator, np.ones((1, source.size)))[0]
    mean, bias = (
        np.abs(_per_channel(layer, as_float64(value, f"A weight of '{layer.name}'"), source))
        for value in (layer.moving_mean, layer.bias if layer.use_bias else np.zeros(layer.moving_mean.shape))
    )
    tiny = numbers.tiny * (4 + 4 * factors + mean)
    growth = (1 + numbers.sum_growth(2 * ULPS + 8)) * (1 + form.off) - 1
    part = dataclasses.replace(part_of(operator), flushed=numbers.tiny)
    sizes = factors * mean + bias
    step = AffineStep([part], form.offset, sizes, growth, tiny, "float32", layer.compute_dtype)
    return lambda x: cast(step(x), layer.compute_dtype)


def without_means(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A layer of lipviz that subtracts from each channel its mean over all pixels, in float32 at least."""
    form, layer, (source,), numbers = affine_form(node), node.op, sources, numbers_of("float32")
    (operator,) = form.parts
    count = source.size // source.shape[layer.channel_axis % (len(source.shape) + 1) - 1]
    norm = next(iter(layer_bounds(layer, source.shape, 2)))[1].upper * (1 + form.off)
    part = dataclasses.replace(part_of(operator, norm=norm), flushed=2 * numbers.tiny)
    growth = (1 + numbers.sum_growth(count + 8)) * (1 + form.off) - 1
    tiny = numbers.tiny * (2 * count + 8) * (1 + layer.k_coef_lip)
    step = AffineStep(
        [part], form.offset, np.abs(form.offset), growth, tiny, "float32", layer.compute_dtype, partial=count
    )
    return lambda x: cast(step(x), layer.compute_dtype)


def reduced(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A sum or a mean over some axes."""
    (operator,), (source,), numbers = affine_form(node).parts, sources, numbers_of(node.dtype)
    count, none = source.size // node.size, np.zeros(node.size)
    growth, tiny = numbers.sum_growth(count + 4), numbers.tiny * (2 * count + 4)
    return AffineStep([part_of(operator)], none, none, growth, tiny, node.dtype, node.dtype, partial=count)


def _per_channel(layer, values, source):
    """Numbers of channels at each entry of a value."""
    shape = [1] * len(source.shape)
    shape[layer.channel_axis % (len(shape) + 1) - 1] = -1
    return _spread(values, shape, source)


def moved(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A step that copies, drops or moves entries."""
    if getattr(node.op, "interpolation", "nearest") != "nearest":
        raise UnknownRoundingError("each backend interpolates in its own way")
    if np.any(affine_form(node).offset):
        raise UnknownRoundingError("it adds numbers of its own")
    dtype = getattr(node.op, "compute_dtype", node.dtype)
    none = np.zeros(node.size)
    return AffineStep([part_of(part, part) for part in affine_form(node).parts], none, none, 0.0, 0.0, dtype, dtype)


def added(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A sum, a difference, a mean, or a weighted mean whose weights are computed by a sigmoid."""
    if len(sources) == 1 and len(affine_form(node).parts) == 1:
        return scaled(node, sources, arithmetic)  # of a value and a constant
    dtype = getattr(node.op, "compute_dtype", node.dtype)
    numbers, none = numbers_of(dtype), np.zeros(node.size)
    parts = [part_of(part, below=numbers.tiny) for part in affine_form(node).parts]
    roundings = len(parts) + 4 + 2 * ULPS * isinstance(node.op, lip.LipResidual)
    tiny = numbers.tiny * (2 * len(parts) + 4)
    return AffineStep(parts, none, none, numbers.sum_growth(roundings), tiny, dtype, dtype)
