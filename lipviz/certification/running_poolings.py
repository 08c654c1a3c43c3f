"""Rounding errors of poolings: means, maxima and norms of windows."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lipviz import layers as lip
from lipviz.certification.arithmetic import Arithmetic, numbers_of
from lipviz.certification.computation import Node
from lipviz.certification.running import UP, Sizes, Step, cast, rounded, sloped, without_small
from lipviz.certification.running_sums import AffineStep, affine_form, applied, part_of
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import is_channels_first
from lipviz.operators.magnitudes import norm_of_positive


def averaged(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A mean of windows, in the dtype of the layer."""
    layer = node.op
    count = math.prod(layer.pool_size)
    numbers = numbers_of(layer.compute_dtype)
    return _mean(node, numbers.sum_growth(count + 4), count, layer.compute_dtype, layer.compute_dtype)


def averaged_globally(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """A mean of all pixels, in float32 at least."""
    layer, (source,) = node.op, sources
    count = source.size // node.size
    step = _mean(node, numbers_of("float32").sum_growth(count + 4), count, "float32", layer.compute_dtype)
    return lambda x: cast(step(x), layer.compute_dtype)


def _mean(node, growth, count, dtype, taken_in):
    (operator,), none = affine_form(node).parts, np.zeros(node.size)
    tiny = numbers_of(dtype).tiny * (2 * count + 4)
    part = part_of(operator, operator)
    return AffineStep([part], none, none, growth, tiny, dtype, taken_in, partial=count)


def largest(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
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
    bound = min(norm, math.sqrt(overlap) * UP)

    def step(x):
        x = cast(x, layer.compute_dtype)
        values = operator.largest(x.values.T).T
        return x.with_values(values) if x.is_bare else sloped(x, values, operator.largest(x.entries.T).T, bound)

    return step


def scaled_average(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """The average of lipviz, in float32 at least, whose factor is k·√(entries of a window)."""
    layer, (source,) = node.op, sources
    count = math.prod(_window(layer, source))
    operator = _windows(layer, source, layer.k_coef_lip / math.sqrt(count))
    none, numbers = np.zeros(node.size), numbers_of("float32")
    growth, tiny = numbers.sum_growth(count + 8), numbers.tiny * (2 * count + 4) * (1 + layer.k_coef_lip * count)
    parts = [part_of(operator, operator, layer.k_coef_lip * UP)]
    step = AffineStep(parts, none, none, growth, tiny, "float32", layer.compute_dtype, partial=count)
    return lambda x: cast(step(x), layer.compute_dtype)


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


def norm_pooling(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
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
        mean = applied(sums, np.square(x.values)) / divisor
        root = np.sqrt(mean + eps) if eps >= floor else np.sqrt(np.maximum(mean, floor))
        if x.is_bare:
            return x.with_values(scale * (root - shift))
        x = without_small(cast(x, layer.compute_dtype))
        entries = k * np.sqrt(applied(sums, np.square(x.entries)))
        moved = sloped(x, scale * (root - shift), entries, k * UP)
        sizes = Sizes(scale * (root + shift), entries, k * (x.change + x.rest), k * (x.change + x.total))
        squares = count * np.square(np.abs(x.values).max(axis=1, initial=0.0)[:, None] + x.change + x.total)
        moved = dataclasses.replace(moved, overflows=moved.overflows | ~(squares < numbers.largest / 4))
        return cast(rounded(moved, sizes, growth, tiny, "float32"), layer.compute_dtype)

    return step
