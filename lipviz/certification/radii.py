"""Certified radii: how far an input must move, in the l2 norm, before the decision of a network can change.

If a network decides for class c, and the difference of its logits f_c − f_j is L_cj-Lipschitz, no change of norm below

    r = min over j ≠ c of (f_c(x) − f_j(x)) / L_cj

makes f_j exceed f_c. With one output, whose sign decides, r = ``|f(x)|`` / L.

A certificate is a statement about one function: the `logits_model` of the network, with the weights that inference
uses, evaluated in float64. A network that computes in a lower precision is another function. Its logits differ by an
absolute error E: see `logit_error` of `certified_radius`.

Reference: Tsuzuku, Sato and Sugiyama (2018), Lipschitz-margin training: scalable certification of perturbation
invariance, proposition 1.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from lipviz import _moved
from lipviz.certification import results
from lipviz.certification.arithmetic import Arithmetic, as_arithmetic
from lipviz.certification.classifiers import pairwise_bounds_and_errors
from lipviz.certification.deployed import Deployed
from lipviz.certification.deployed_radii import radii_of_part
from lipviz.certification.local_radii import LocalRadii
from lipviz.certification.provenance import RadiiOrigin, data_of, fingerprint_or_why
from lipviz.certification.results import EPSILONS, CertifiedRadii, check_epsilons
from lipviz.certification.scores import BATCH, checked, class_numbers, decisions, fitting, gaps_of, logits
from lipviz.certification.tight import Method
from lipviz.certification.upper_bounds import certify, check_method
from lipviz.normalizers import check_flag
from lipviz.rules.bound import root_of_squares
from lipviz.rules.used import to_numpy
from lipviz.types import Array, ArrayLike

# Error of logits in float64 that is allowed for, relative to the size of the terms that are added up: enough for sums
# of ten thousand terms. On JAX, Keras computes a few functions (tanh among them) in float32.
_ROUNDING = {"jax": 2e-6}


def certified_radius(
    model: keras.Model,
    x: ArrayLike,
    y: ArrayLike | None = None,
    bounds: ArrayLike | None = None,
    logit_error: float = 0.0,
    *,
    method: Method = "auto",
    arithmetic: str | Arithmetic | None = None,
    local: bool = False,
) -> CertifiedRadii:
    """Certified radius of each sample, from the margins of its logits; see the module.

    The constants are computed from the actual weights (`pairwise_bounds`), never from the k that a layer was given. So
    layers that exceed their k, disjoint neurons, normalizations with running statistics and plain Keras layers are
    treated alike. A softmax or sigmoid at the end is skipped, as it does not change the decision.

    Rounding is covered. Logits are computed in float64, and their possible error is subtracted from each margin: 1e-12
    of the logits and inputs (2e-6 on JAX with layers that are not known), and the rounding of hidden values, which
    `lipviz.certification.rounding` derives from their size, to first order. If hidden values are 10¹² times as large as
    the logits, because they cancel, the radii are 0.

    Args:
        model: Built Keras classifier with one input and one output of shape (batch, C). With C = 1 the sign of the
            logit decides; one sigmoid at the end is skipped, so that it decides at ½.
        x: Samples of shape (n, ...), at least one, in the model's units. If its input is of whole numbers, the
            samples must be, too, and radii hold for changes to other samples of that dtype.
        y: Labels: class numbers of shape (n,) or (n, 1), or one-hot rows of shape (n, C). With C = 1: 0 and 1, or −1
            and 1. With None, decisions are not compared with labels.
        bounds: Lipschitz constants of the differences of logits, which are taken as proved; by default, those of
            `pairwise_bounds`. For a model that computes in half precision, pass those of its `float64_copy`, whose
            weights are not rounded. Of layers that `certify` does not know, the rounding of hidden values is not
            covered.
        logit_error: Largest difference E ≥ 0 between the logits of the network that will be used and those in float64
            (see `logit_errors`). Then r = (margin − 2E)/L, and the decision of that network is certified. 0 certifies
            the evaluation in float64.
        method: How the constants are bounded, see `certify`; without effect where `bounds` are given.
        arithmetic: "float32", "float16", "bfloat16" or an `Arithmetic`: certifies the network as it is deployed, which
            computes in this dtype, in the place of the one in float64. The errors of its logits are bounded for all
            inputs of the ball, and for every order of summation; see `lipviz.certification.running_errors` and
            `CertifiedRadii.origin` for what is covered. Weights and inputs are rounded to this dtype; so is x + δ. A
            model that computes in another dtype is copied into this one. With None, see `logit_error`.
        local: Whether to bound the network near each sample as well, in balls that grow until a margin is used up. It
            takes some ten milliseconds a sample for a few hundred neurons. Radii are mostly larger, and
            never smaller. `bounds` of the result are still those that hold for all inputs. With `arithmetic`, the
            margin is used up by what rounding can do in the ball, too. Radii then gain nothing where the last steps
            have slopes that the dtype rounds, as `LeakyReLU` and `PReLU` have.

    Returns:
        A `CertifiedRadii`.

    Raises:
        TypeError: If `model` is no Keras model, or `x` or `y` does not hold real numbers.
        ValueError: If the model is not built, has several inputs or outputs, weights that are not finite, or a layer
            that is not Lipschitz; if `x` is empty, not finite, of another shape than the model's input, or not of whole
            numbers where that is; if labels do not fit; with `arithmetic`, if `logit_error` is given, too, if the
            rounding of a layer is not known, or if this process is set to compute with fewer digits.
    """
    local = check_flag("local", local)
    if arithmetic is not None:
        settings = as_arithmetic(arithmetic), check_method(method)
        return _as_deployed(model, x, y, bounds, _check_error(logit_error), *settings, local)
    given = x
    network, x = checked(model, x)
    scores = logits(network, x)
    labels = None if y is None else class_numbers(y, len(x), scores.shape[1])
    error = _check_error(logit_error)
    is_given = bounds is not None
    bounds, errors = _bounds_and_errors(bounds, model, network, x, scores.shape[1], check_method(method))
    origin = _origin(model, given, is_given, error, _relative_margin(in_float32=errors is None))
    near = LocalRadii.of_network(network, x, method) if local else None
    return radii_of_logits(scores, x, labels, bounds, errors, error, origin, near)


def _as_deployed(model, given, y, bounds, error, arithmetic, method, local):
    """Certified radii of a network that computes in an `Arithmetic`, see `certified_radius`."""
    if error:
        raise ValueError(f"Expected `logit_error` or `arithmetic`, not both. Received: logit_error={error}")
    x = fitting(model, given)
    deployed = Deployed(model, arithmetic, x.shape[1:])
    labels = None if y is None else class_numbers(y, len(x), deployed.classes)
    is_given = bounds is not None
    bounds = deployed.bounds(x.shape[1:], method) if bounds is None else bounds
    bounds = _checked_bounds(bounds, model, x, deployed.classes)
    local = local and deployed.localize(x.shape[1:], method)
    parts = [
        radii_of_part(deployed, x[part], bounds, None if labels is None else labels[part], local)
        for part in deployed.batches(x)
    ]
    radii, predicted, margins, overflows = (np.concatenate(part) for part in zip(*parts, strict=True))
    radii = radii if labels is None else np.where(predicted == labels, radii, 0.0)
    origin = _origin(model, given, is_given, 0.0, _relative_margin(in_float32=False))
    origin = dataclasses.replace(origin, arithmetic=_words(arithmetic, int(overflows.sum())))
    return CertifiedRadii(radii, predicted, margins, labels, bounds, origin)


def _words(arithmetic, overflows):
    """What radii in an arithmetic cover, and why some are 0, in words."""
    if not overflows:
        return str(arithmetic)
    return f"{arithmetic} Numbers may overflow for {overflows} of the samples, whose radius is 0."


def certified_accuracy(
    model: keras.Model, x: ArrayLike, y: ArrayLike, epsilons: ArrayLike = EPSILONS
) -> results.CertifiedAccuracy:
    """Share of samples that are classified correctly, and stay so for every change of l2 norm up to ε.

    Args:
        model: See `certified_radius`. If you have its radii, use `CertifiedRadii.accuracy_at`.
        x: Samples of shape (n, ...).
        y: Labels, see `certified_radius`.
        epsilons: Sizes of changes, finite and at least 0: a number or an array of shape (m,).

    Returns:
        A `CertifiedAccuracy`.

    Raises:
        TypeError: See `certified_radius`; or if `y` is None, or the sizes are not real numbers.
        ValueError: See `certified_radius`; or if a size is out of its range.
    """
    epsilons = check_epsilons(epsilons)
    if y is None:
        raise TypeError("certified_accuracy expects labels. Received: y=None")
    return certified_radius(model, x, y).accuracy_at(epsilons)


def logit_errors(model: keras.Model, x: ArrayLike) -> Array:
    """How far the outputs of a model are from those of its float64 copy, where both are logits.

    This is a measurement at the samples, not a bound: elsewhere the error may be larger. For `logit_error`
    of `certified_radius`, use a multiple of the largest.

    Args:
        model: See `certified_radius`; it must end with logits, not with a softmax or sigmoid.
        x: Samples of shape (n, ...).

    Returns:
        Largest error over the classes, absolute, of shape (n,), float64.

    Raises:
        TypeError: See `certified_radius`.
        ValueError: See `certified_radius`.
    """
    network, x = checked(model, x)
    parts = [model(part, training=False) for part in np.array_split(x, -(-len(x) // BATCH))]
    values = np.concatenate([ops.convert_to_numpy(ops.cast(part, "float32")) for part in parts])
    return np.abs(values - logits(network, x)).max(axis=1)


def radii_of_logits(
    scores: Array,
    x: Array,
    labels: Array | None,
    bounds: Array,
    errors: tuple[float, float] | None,
    error: float = 0.0,
    origin: RadiiOrigin | None = None,
    near: LocalRadii | None = None,
) -> CertifiedRadii:
    """Certified radii from logits in float64, see `certified_radius`.

    Args:
        scores: Logits of shape (n, C).
        x: Samples of shape (n, ...), float64.
        labels: Class numbers of shape (n,); None does not compare.
        bounds: Lipschitz constants of the differences of logits, of shape (C, C), finite.
        errors: (a, b): the rounding of hidden values adds at most a + b‖x‖; None where it is not known.
        error: Largest difference between the logits of the network that will be used and those in float64.
        origin: What they belong to.
        near: Bounds near each sample, from which larger radii may follow; optional.
    """
    predicted = decisions(scores)
    gaps, constants = gaps_of(scores, predicted, bounds)
    error = error / 2 if scores.shape[1] == 1 else error
    margins = gaps.min(axis=1)
    rounds, growth = _rounding(scores, constants, x, errors)
    gaps = gaps - 2 * error - 2 * rounds  # of the sample, and of the changed sample
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = np.where(gaps > 0, gaps / (constants + growth), 0.0).min(axis=1)
    if near is not None:
        wanted = np.ones(len(x), bool) if labels is None else predicted == labels
        radii = near.grown(radii, predicted, gaps, growth, constants, wanted)
    if labels is not None:
        radii = np.where(predicted == labels, radii, 0.0)
    return CertifiedRadii(radii, predicted, margins, labels, bounds, origin)


# --- numbers ---


def _check_error(logit_error):
    error = check_epsilons(logit_error, "logit_error")
    if error.size != 1:
        raise ValueError(f"`logit_error` must be one number of at least 0. Received: {logit_error!r}")
    return float(error[0])


def _rounding(scores, constants, x, errors):
    """Errors of the differences of logits in float64, of shape (n, C), and what a change of norm 1 adds to them.

    The norm of a changed sample is larger, by at most the norm of the change, and rounding errors grow with it. Where
    logits differ by a constant, a change adds nothing.

    Args:
        scores: The logits.
        constants: Lipschitz constants of their differences.
        x: Samples.
        errors: Errors of hidden values, see `_bounds_and_errors`. Where they are not known, the backend may compute
            some functions in float32.
    """
    unit = _relative_margin(in_float32=errors is None)
    constant, slope = errors or (0.0, 0.0)
    sizes = root_of_squares(x.reshape(len(x), -1), axis=1)[:, None]
    largest = np.abs(scores).max(axis=1, keepdims=True)
    rounds = unit * (largest + constants * sizes) + constant + slope * sizes
    return rounds, np.where(constants > 0, 2 * unit * constants + slope, 0.0)


def _relative_margin(in_float32):
    return _ROUNDING.get(keras.backend.backend(), 1e-12) if in_float32 else 1e-12


def _origin(model, x, is_given, error, margin):
    return RadiiOrigin(
        fingerprint=fingerprint_or_why(model)[0],
        data=data_of(x),
        bounds="given" if is_given else "computed",
        logit_error=error,
        margin=margin,
    )


def _bounds_and_errors(bounds, model, network, x, classes, method) -> tuple[Array, tuple[float, float] | None]:
    """Constants of the differences of logits, (C, C), and (a, b): rounding of hidden values adds at most a + b‖x‖.

    The pair (a, b) is None where a layer is not known.
    """
    # They belong to the function that is evaluated, even if the model itself rounds its weights.
    used: Method = method if bounds is None else "product"
    known, constant, slope = pairwise_bounds_and_errors(network, x.shape[1:], used)
    bounds = _checked_bounds(known if bounds is None else bounds, model, x, classes)
    if not np.isfinite(constant + slope):  # of unknown layers, the caller's bounds are taken as they are
        return bounds, None
    root = 1.0 if classes == 1 else np.sqrt(2)
    return bounds, (root * constant, root * slope)


def _checked_bounds(bounds, model, x, classes):
    """Constants of the differences of logits, (C, C), all of them finite."""
    bounds = to_numpy(bounds)
    if bounds.shape != (classes, classes) or bounds.dtype.kind not in "fiu":
        raise ValueError(
            f"Expected bounds of shape ({classes}, {classes}), one for each pair of outputs. "
            f"Received: shape {bounds.shape}, dtype {bounds.dtype}"
        )
    bounds = bounds.astype(np.float64)
    if np.isnan(bounds).any() or (bounds < 0).any():
        raise ValueError("Expected bounds of at least 0. Received: negative ones, or NaN")
    if np.isinf(bounds).any():
        raise ValueError(
            f"Model '{model.name}' has no Lipschitz constant that is known, so that no radius can be certified. "
            f"Expected layers that are bounded. Received: {_unbounded(model, x)}"
        )
    return bounds


def _unbounded(model, x):
    """The layers without a bound, in words."""
    found = certify(model, x.shape[1:], search=False).unbounded
    return ", ".join(f"'{layer.name}' ({layer.method})" for layer in found) or "a constant that overflows"


def __getattr__(name):
    return _moved.name_of(__name__, name)
