"""Sound bounds of a model's Lipschitz constant: the bounds of all layers, combined along its graph."""

import dataclasses
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.around import bounds_around, checked_balls
from lipviz.certification.certificate import Certificate
from lipviz.certification.graph import Trace, check_certifiable, fits, input_dtypes, input_flows
from lipviz.certification.model_file import load_model_file
from lipviz.certification.provenance import Ball, data_of, origin_of
from lipviz.certification.ratios import gradient_ascent_ratio
from lipviz.certification.tight import METHODS, Method, tighter
from lipviz.copies import NotCopiedError
from lipviz.keras_internals import inner_layers
from lipviz.operators.precision import NotInFloat64Error, float64_copy
from lipviz.rules.bound import check_norm
from lipviz.rules.used import HALF, as_float64
from lipviz.types import Array, ArrayLike, Norm, Shape

_SEARCH = {"steps": 30, "starts": 16}
_PRODUCTS = 1e10  # that steps of a search may compute, counting one pass for each: some ten seconds in all
_DRAWN = 64  # samples that the search starts from by default, standard normal


def certify(
    model: keras.layers.Layer,
    input_shape: Shape | Sequence[Shape] | None = None,
    *,
    norm: Norm = 2,
    method: Method = "auto",
    exact: bool | None = None,
    search: bool = True,
    samples: ArrayLike | None = None,
    seed: int | None = 0,
    around: ArrayLike | None = None,
    radius: float | None = None,
) -> Certificate:
    """Bound a model's Lipschitz constant from above, for all inputs, and from below.

    Every layer's constant is bounded with the weights that inference uses: `wbar` of lipviz's layers, rounded where a
    layer computes in half precision. Bounds multiply along a chain and add up where branches are added; a
    concatenation takes the root of the sum of squares. Convolutions are bounded at the size of their images, with
    their padding and strides. Steps that can be bounded together are, see `method`; the product of their bounds is
    larger, often many times.

    Args:
        model: Built Keras model of known layers, Sequential or functional, nested ones and lipviz's included; or a
            layer.
        input_shape: Shape of an input without the batch; by default, that of the model. With None for its sizes, bounds
            hold for images of every size, and are looser.
        norm: 1, 2 or "inf". Some layers have a bound in l2 only; the table shows which.
        method: What is bounded together. It depends on sizes only, never on a clock, so that the bound is the same on
            every machine, up to the last digits, which depend on its linear algebra. No bound is above that of
            "product".

            * "product": nothing. The bound is computed from those of single steps.
            * "auto": affine steps that follow each other or meet again, such as a convolution and its batch
              normalization, or the two branches I and W of I + W, up to matrices of 2^22 entries; in l2 also chains of
              such maps with elementwise functions between them, up to 1,024 entries wide, by a semidefinite bound with
              one multiplier for each layer; also through residual blocks. It takes milliseconds for small networks.
              Differences of logits, as in `certified_radius`, have a multiplier for each neuron where the cubes of all
              widths add up to at most 2^21: eight layers of 64, or one of 128.
            * "tight": the same with a multiplier for each neuron, up to 2,048 entries wide, also through sorting of
              channels; and the mode "exact" of `lipviz.operators.convolution_bound` for each convolution. It takes
              seconds.
        exact: Deprecated: `method="tight"` includes it.
        search: Whether to search for a lower bound, by gradient ascent on ‖f(x) − f(y)‖ / ‖x − y‖ in float64. It is
            possible in the l2 norm only, and takes seconds. If a model multiplies more than 2e7 times per sample, the
            search has fewer starts, and then fewer steps; a note says how many.
        samples: Inputs of shape (n, ...) that the search starts from; standard normal by default. Not with `around`.
        seed: Seed of the search; None draws anew in every call.
        around: One input, or several of shape (n, ...). The bound then holds for all pairs in the same ball around one
            of them, and is smaller: neurons whose slope is known in a ball are dead or linear there. It is no larger
            than that of a radius 4^k, for a whole number k, whose ball holds it. The model needs one input of
            floating-point numbers. What is searched for a lower bound are pairs in the balls.
        radius: Radius of the balls, positive, in the units of the input and in the norm.

    Returns:
        A `Certificate`. Its upper bound is infinite where a layer is not known, and the table says which. The bounds of
        the layers hold for all inputs, also where that of the model holds in balls.

    Raises:
        TypeError: If `model` is no Keras model or layer, or `around` or `radius` holds no real numbers.
        ValueError: If the model is not built, a weight holds NaN or Inf, `input_shape` or `around` does not fit, an
            argument is out of range, or the search finds a ratio above the bound by more than rounding explains. Only a
            wrong rule, given to `register_bound`, can cause that.

    References:
        Szegedy et al. (2014), Intriguing properties of neural networks, section 4.3 (products of norms).

        Fazlyab, Robey, Hassani, Morari and Pappas (2019), Efficient and accurate estimation of Lipschitz constants for
        deep neural networks (semidefinite bounds, also in balls, with slopes of single neurons).

        Xu and Sivaranjani (2024), ECLipsE: Efficient compositional Lipschitz constant estimation for deep neural
        networks.
    """
    method, norm, seed = _method(method, exact), check_norm(norm), nm.check_seed("seed", seed)
    search = nm.check_flag("search", search)
    check_certifiable(model)
    inputs, trace = input_flows(model, input_shape), Trace(norm, method == "tight")
    outputs = trace.follow(model, inputs)
    together, why_not = tighter(trace, inputs, outputs, method)
    shapes = tuple(flow.shape[1:] for flow in keras.tree.flatten(inputs))
    samples = None if samples is None else _checked_samples(samples, shapes)
    upper = constant_of([flow.gains for flow in keras.tree.flatten(outputs)], norm)
    upper = upper if together is None else min(upper, constant_of(together.outputs, norm))
    notes = list(_notes(model, trace))
    if why_not and method == "tight":
        notes.append(f"Nothing is bounded together: {why_not}.")
    lower, extent, ball = 0.0, _extent(trace), None
    if around is not None or radius is not None:
        if samples is not None:
            raise ValueError("Expected `samples` or `around`, not both: in a ball, the search starts at its centre")
        x, radius = checked_balls(model, shapes, around, radius)
        found, ball = bounds_around(model, x, radius, norm, search, method), Ball(radius, data_of(x))
        upper, lower = min(upper, found.upper), found.lower
        notes += found.notes
    elif search:
        lower, why = _searched(model, shapes, norm, samples, seed, upper, extent)
        notes += [why] if why else []
        notes += [_SHORTER.format(**extent)] if lower and extent != _SEARCH else []
    return Certificate(
        model=model.name,
        upper_bound=upper,
        lower_bound=min(lower, upper),
        layers=tuple(trace.rows),
        norm=norm,
        input_shape=shapes[0] if len(shapes) == 1 else shapes,
        notes=tuple(notes),
        origin=origin_of(model, method, _search_settings(samples, seed, extent) if lower and ball is None else None),
        stretches=() if together is None else tuple(together.stretches),
        around=ball,
    )


def check_method(method: str) -> Method:
    """The method of `certify`, checked.

    Raises:
        ValueError: If it is not known.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {METHODS}. Received: method={method!r}")
    return method  # type: ignore[return-value]


def _method(method, exact):
    if exact is not None:
        warnings.warn('`exact` is deprecated: use `method="tight"`.', DeprecationWarning, stacklevel=3)
        if nm.check_flag("exact", exact) and method == "product":
            raise ValueError("Expected exact=True or method='product', not both: the first includes method='tight'")
    return "tight" if exact else check_method(method)


def upper_bound(model: keras.layers.Layer, input_shape: Shape | Sequence[Shape] | None = None) -> float:
    """The upper bound that `certify` finds in l2 with `method="product"`, a float, and nothing else.

    It is faster in loops: it computes no hashes of the model, which take half of the time for a small network.

    Args:
        model: See `certify`.
        input_shape: See `certify`.

    Raises:
        TypeError: See `certify`.
        ValueError: See `certify`.
    """
    check_certifiable(model)
    outputs = Trace(2).follow(model, input_flows(model, input_shape))
    return constant_of([flow.gains for flow in keras.tree.flatten(outputs)], 2)


_SHORTER = "The search was short, since the model is large: {steps} steps from {starts} start(s)."


def _extent(trace):
    """Steps and starts of a search: fewer for a large model, first of the starts. It does not depend on a clock."""
    steps, starts = _SEARCH["steps"], _SEARCH["starts"]
    affordable = _PRODUCTS / max(trace.products, 1)
    starts = int(min(max(affordable / steps, 1), starts))
    return {"steps": int(min(max(affordable / starts, 1), steps)), "starts": starts}


def _search_settings(samples, seed, extent):
    start = {"drawn": _DRAWN} if samples is None else dataclasses.asdict(data_of(samples))
    return {**extent, "seed": seed, "samples": start}


def constant_of(gains: Iterable[Array], norm: float) -> float:
    """The Lipschitz constant of all outputs together with respect to all inputs together, an upper bound.

    Args:
        gains: For each output, how much a change of each input changes it, of shape (inputs,).
        norm: 1, 2 or `math.inf`.
    """
    together = np.stack(list(gains))
    if norm == 2:
        value = np.linalg.norm(together, 2) if np.isfinite(together).all() else math.inf
    elif norm == math.inf:
        value = together.sum(axis=1).max()
    else:
        value = together.sum(axis=0).max()
    return float(value)


def _notes(model, trace):
    unbounded = [row for row in trace.rows if row.upper == math.inf]
    if unbounded:
        yield "Without a bound: " + "; ".join(f"'{row.name}' ({row.method})" for row in unbounded) + "."
    half = sorted({layer.compute_dtype for layer in (model, *inner_layers(model)) if layer.compute_dtype in HALF})
    if half:
        yield (
            f"It computes in {' and '.join(half)}: the bounds are those of the weights as rounded to that, and do not "
            "cover the rounding of what is computed with them."
        )


def _checked_samples(samples, shapes):
    samples = as_float64(samples, "The samples")
    if not fits([samples.shape[1:]], shapes[:1]):
        expected = ("n", *shapes[0])
        raise ValueError(f"`samples` must have the shape {expected}. Received shape: {samples.shape}")
    return samples


def _searched(model, shapes, norm, samples, seed, upper, extent):
    """A lower bound by search, and a note if there is none, or if rounding affects it; else None."""
    why = None
    if norm != 2:
        why = "the search knows the l2 norm only"
    elif len(shapes) > 1 or len(keras.tree.flatten(getattr(model, "outputs", None) or [0])) > 1:
        why = "the search needs a model of one input and one output"
    elif not isinstance(model, keras.Model):
        why = "the search needs a model, not a layer"
    elif any(layer.compute_dtype in HALF for layer in (model, *inner_layers(model))):
        why = "the search computes in float64, and the model in half precision"
    elif not keras.backend.is_float_dtype(input_dtypes(model)[0]):
        why = f"the search needs inputs that vary, and these are of dtype {input_dtypes(model)[0]}"
    elif samples is None and None in shapes[0]:
        why = "the search needs a known input shape, or samples"
    if why is not None:
        return 0.0, f"No lower bound: {why}."
    if samples is None:
        samples = np.random.default_rng(seed).standard_normal((_DRAWN, *shapes[0]))
    try:
        found = gradient_ascent_ratio(model, samples, **extent, seed=seed)
    except (TypeError, NotImplementedError, NotCopiedError, NotInFloat64Error) as error:  # the model cannot be copied
        reason = str(error).strip().split("\n")[0]
        return 0.0, f"No lower bound: {reason}"
    if found.largest <= upper * (1 + 1e-9):
        return found.largest, None
    sure = max(found.largest - _noise(model, found), 0.0)
    if sure > upper * (1 + 1e-9):
        raise ValueError(
            f"The search found a pair of inputs that '{model.name}' stretches by {found.largest}, above the bound "
            f"{upper}, and more than rounding explains: a rule given to register_bound is too small."
        )
    return sure, (
        f"The search found a ratio of {found.largest:.6g}, above the bound: its outputs are so large beside their "
        "differences that rounding in float64 explains it. The lower bound is what is left without that."
    )


def _noise(model, found):
    """What rounding may add to the ratio of a pair: the errors of both outputs, divided by the distance."""
    wide = float64_copy(model)
    outputs = Trace(2, rounds=True).follow(wide, input_flows(wide, found.x.shape, rounds=True))
    constant, slope = keras.tree.flatten(outputs)[0].gains[-2:]
    x, y = found.x.reshape(-1), found.y.reshape(-1)
    errors = 2 * constant + slope * (np.linalg.norm(x) + np.linalg.norm(y))
    return errors / np.linalg.norm(x - y)


def certify_file(
    path: str | os.PathLike[str], input_shape: Shape | Sequence[Shape] | None = None, **settings: Any
) -> Certificate:
    """Certify a model that was saved to a `.keras` file, which is loaded in safe mode: code inside it is refused.

    Args:
        path: Path of the file.
        input_shape: See `certify`.
        **settings: The other arguments of `certify`.

    Returns:
        A `Certificate`.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
        ValueError: If it is empty, damaged, no model, or one that runs code of its own; and see `certify`.
    """
    return certify(load_model_file(path), input_shape, **settings)
