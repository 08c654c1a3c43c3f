"""Losses: values against loops in float64, gradients, degenerate and extreme batches, schedules, saving."""

import inspect
import math
import re

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops

import lipviz
from lipviz import losses
from tests.support import examples, finite_differences, gradient, tensor

# --- every loss again: loops over samples and classes, in float64 ---


def loop_kr(y, f):
    size, classes = f.shape
    values = np.zeros(size)
    for c in range(classes):
        members = sum(1 for b in range(size) if y[b, c])
        for b in range(size):
            weight = size / members if y[b, c] else -size / (size - members)
            values[b] += weight * f[b, c] / classes
    return values


def hinge(margin, score):
    return max(0.0, margin / 2 - score)


def loop_hinge(y, f, min_margin):
    return np.array(
        [
            sum(hinge(min_margin, s if p else -s) for p, s in zip(row, scores, strict=True)) / len(scores)
            for row, scores in zip(y, f, strict=True)
        ]
    )


def loop_multiclass_hinge(y, f, min_margin):
    values = []
    for row, scores in zip(y, f, strict=True):
        count = len(scores)
        terms = [
            (count - 1) * hinge(min_margin, s) if p else hinge(min_margin, -s) for p, s in zip(row, scores, strict=True)
        ]
        values.append(sum(terms) / count)
    return np.array(values)


def loop_hkr(y, f, alpha, min_margin, hinges=loop_hinge):
    return hinges(y, f, min_margin) if math.isinf(alpha) else alpha * hinges(y, f, min_margin) - loop_kr(y, f)


def loop_multiclass_hkr(y, f, alpha, min_margin):
    return loop_hkr(y, f, alpha, min_margin, loop_multiclass_hinge)


def split(row, scores):
    """Score of the true class, and the list of the others."""
    (true,) = (s for p, s in zip(row, scores, strict=True) if p)
    return true, [s for p, s in zip(row, scores, strict=True) if not p]


def per_sample(function):
    def loop(y, f, **arguments):
        return np.array([function(*split(row, scores), **arguments) for row, scores in zip(y, f, strict=True)])

    return loop


@per_sample
def loop_multi_margin(true, others, min_margin):
    return sum(max(0.0, min_margin - true + s) for s in others) / (len(others) + 1)


@per_sample
def loop_categorical_hinge(true, others, min_margin):
    return max(0.0, min_margin - (true - max(others))) if others else 0.0


@per_sample
def loop_crossentropy(true, others, tau):
    return sum_of_exponentials([true, *others], tau) - true


def sum_of_exponentials(scores, t):
    top = max(scores)
    return top + math.log(sum(math.exp(t * (s - top)) for s in scores)) / t


def loop_binary_crossentropy(y, f, tau):
    return np.array(
        [
            sum(sum_of_exponentials([0.0, s], tau) - s * p for p, s in zip(row, scores, strict=True)) / len(scores)
            for row, scores in zip(y, f, strict=True)
        ]
    )


@per_sample
def loop_soft_hkr(true, others, alpha, min_margin, temperature, mean_magnitude):
    sharpness = min(max(temperature * min_margin / max(min_margin, mean_magnitude), 0.005), 250.0)
    powers = [math.exp(sharpness * (s - max(others))) for s in others]
    value = (1 - alpha) * -true + alpha * hinge(min_margin, true)
    for power, score in zip(powers, others, strict=True):
        value += power / sum(powers) * ((1 - alpha) * score + alpha * hinge(min_margin, -score))
    return value


@per_sample
def loop_lse_hkr(true, others, alpha, temperature, penalty, min_margin):
    true, others = temperature * true, [temperature * s for s in others]
    if not others:
        soft = -min_margin / 2
    elif len(others) == 1:
        soft = others[0]
    else:
        soft = sum_of_exponentials(others, math.log(len(others)) / (min_margin * penalty / 2))
    return (1 - alpha) * (soft - true) + alpha * (hinge(min_margin, true) + hinge(min_margin, -soft))


@per_sample
def loop_offset(true, others, tau, offset):
    return sum_of_exponentials([true - offset, *others], tau) - (true - offset)


@per_sample
def loop_annealing(true, others, temperature, offset, gamma):
    (value,) = loop_offset(
        np.array([[True, *(False for _ in others)]]), [[true, *others]], tau=1 / temperature, offset=offset
    )
    return value * (-math.expm1(-value / temperature)) ** gamma


@per_sample
def loop_emma(true, others, tau, offset):
    raised = [s + min(max(true - s, 0.0), offset) for s in others]
    return sum_of_exponentials([true, *raised], tau) - true


def sparse(y_true, y_pred, tau):
    return losses.tau_sparse_categorical_crossentropy(np.argmax(y_true, -1), y_pred, tau)


SOFT = {"alpha": 0.7, "min_margin": 1.5, "temperature": 2.0, "mean_magnitude": 1.9}
LSE = {"alpha": 0.7, "temperature": 1.5, "penalty": 0.8, "min_margin": 1.3}
CASES = {
    "kr": (losses.kr, {}, loop_kr),
    "multiclass_kr": (losses.multiclass_kr, {}, loop_kr),
    "hinge_margin": (losses.hinge_margin, {"min_margin": 1.4}, loop_hinge),
    "multiclass_hinge": (losses.multiclass_hinge, {"min_margin": 1.4}, loop_multiclass_hinge),
    "hkr": (losses.hkr, {"alpha": 2.5, "min_margin": 0.6}, loop_hkr),
    "hkr_inf": (losses.hkr, {"alpha": math.inf, "min_margin": 0.6}, loop_hkr),
    "multiclass_hkr": (losses.multiclass_hkr, {"alpha": 2.5, "min_margin": 0.6}, loop_multiclass_hkr),
    "multi_margin": (losses.multi_margin, {"min_margin": 0.9}, loop_multi_margin),
    "categorical_hinge": (losses.categorical_hinge, {"min_margin": 0.9}, loop_categorical_hinge),
    "tau_categorical": (losses.tau_categorical_crossentropy, {"tau": 3.0}, loop_crossentropy),
    "tau_sparse": (sparse, {"tau": 0.2}, loop_crossentropy),
    "offset": (losses.offset_categorical_crossentropy, {"tau": 3.0, "offset": 0.7}, loop_offset),
    "annealing": (losses.logit_annealing, {"temperature": 0.6, "offset": 0.7, "gamma": 2.5}, loop_annealing),
    "emma": (losses.emma_categorical_crossentropy, {"tau": 3.0, "offset": 0.7}, loop_emma),
    "tau_binary": (losses.tau_binary_crossentropy, {"tau": 3.0}, loop_binary_crossentropy),
    "soft_hkr": (losses.soft_hkr_multiclass, SOFT, loop_soft_hkr),
    "lse_hkr": (losses.lse_hkr_multiclass, LSE, loop_lse_hkr),
}
EVERY = pytest.mark.parametrize("case", CASES)


def batch(size, classes, seed=0, scale=1.0, only=None):
    """Boolean one-hot labels, all of the class `only` where given, and float64 predictions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=size) if only is None else np.full(size, only)
    return np.eye(classes, dtype=bool)[labels], scale * rng.standard_normal((size, classes))


def numpy(x):
    return ops.convert_to_numpy(x)


def all_cases(y):
    """All losses as one function: predictions (cases, batch, C), of each loss its own, to values (cases, batch).

    JAX compiles this faster than every operation of every loss for itself.
    """

    def values(x):
        return ops.stack([function(y, x[i], **arguments) for i, (function, arguments, _) in enumerate(CASES.values())])

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(values)
    return values


def loops(y, f):
    """What `all_cases` must give for the same predictions (batch, C) everywhere."""
    return np.stack([loop(y, f, **arguments) for _, arguments, loop in CASES.values()])


# --- values ---


@EVERY
@hypothesis.settings(max_examples=examples(15))
@hypothesis.given(st.integers(0, 2**16), st.integers(-4, 4), st.sampled_from([None, 0, 3]))
def test_values_are_those_of_the_formula(case, seed, power, only):
    function, arguments, loop = CASES[case]
    y, f = batch(6, 4, seed, 10.0**power, only)
    values = numpy(function(y.astype("float64"), f, **arguments))
    assert values.dtype == np.float64
    assert values.shape == (6,)
    np.testing.assert_allclose(values, loop(y, f, **arguments), rtol=1e-11, atol=1e-12 * 10.0 ** max(power, 0))


@pytest.mark.parametrize(("size", "classes", "only"), [(1, 1, 0), (1, 2, 1), (3, 4, 2)])
def test_degenerate_batches_are_defined(size, classes, only):
    y, f = batch(size, classes, only=only)
    values, f_of_each = all_cases(y), np.stack([f] * len(CASES))
    np.testing.assert_allclose(values(tensor(f_of_each, "float64")), loops(y, f), rtol=1e-12, atol=1e-12)
    assert np.isfinite(gradient(lambda x: ops.sum(values(x)), f_of_each)).all()


@EVERY
def test_label_conventions_agree(case):
    function, arguments, _ = CASES[case]
    y, f = batch(6, 4)
    expected = numpy(function(y, f, **arguments))
    for labels in (y.astype("int64"), y.astype("uint8"), y.astype("float32"), 2 * y.astype("int8") - 1, 2.0 * y - 1.0):
        np.testing.assert_array_equal(function(labels, f, **arguments), expected)


@pytest.mark.parametrize("case", ["kr", "hinge_margin", "hkr", "tau_binary"])
def test_one_output_needs_no_second_axis(case):
    function, arguments, loop = CASES[case]
    rng = np.random.default_rng(0)
    y, f = rng.integers(2, size=(6, 1)), rng.standard_normal((6, 1))
    expected = loop(y, f, **arguments)
    for labels, scores in ((y, f), (y[:, 0], f[:, 0]), (y[:, 0], f), (y, f[:, 0])):
        np.testing.assert_allclose(function(labels, scores, **arguments), expected, rtol=1e-12)


def test_extreme_predictions_stay_finite():
    y, f = batch(6, 4)
    f[0] = [1.0, -1.0, 0.0, 1.0]  # ties among the largest too
    values = all_cases(y)
    for scale in (1e30, 1e-30, 0.0):
        f_of_each = tensor(np.stack([scale * f] * len(CASES)))
        assert np.isfinite(numpy(values(f_of_each))).all()
        assert np.isfinite(gradient(lambda x: ops.sum(values(x)), f_of_each)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_computed_in_float32(dtype):
    y, f = batch(6, 4, scale=1e4)  # 6·ŷ exceeds the largest float16
    f_of_each = ops.cast(tensor(np.stack([f] * len(CASES))), dtype)
    values = all_cases(tensor(y, dtype))(f_of_each)
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    rounded = numpy(ops.cast(f_of_each[0], "float32")).astype("float64")
    np.testing.assert_allclose(values, loops(y, rounded), rtol=2e-6, atol=2e-2)


def test_probabilities_are_labels_of_the_crossentropies():
    _, f = batch(6, 4)
    p = np.random.default_rng(1).dirichlet(np.ones(4), size=6)
    log_softmax = 2 * f - np.log(np.exp(2 * f).sum(-1, keepdims=True))
    np.testing.assert_allclose(
        losses.tau_categorical_crossentropy(p, f, 2.0), -(p * log_softmax).sum(-1) / 2, rtol=1e-12
    )
    expected = np.log1p(np.exp(2 * f)) / 2 - p * f
    np.testing.assert_allclose(losses.tau_binary_crossentropy(p, f, 2.0), expected.mean(-1), rtol=1e-12)


def test_sparse_labels_out_of_range_are_not_silent():
    _, f = batch(6, 4)
    numbers = np.array([0, 4, -1, 3, 2, 1])
    for labels in (numbers, numbers[:, None].astype("float64")):
        values = numpy(losses.tau_sparse_categorical_crossentropy(labels, f, 1.0))
        np.testing.assert_array_equal(np.isnan(values), [False, True, True, False, False, False])


@pytest.mark.parametrize("shift", [0.0, 30.0, 1e4])
def test_crossentropies_of_sure_logits_lose_no_digits(shift):
    f = np.array([[shift + 20.0, shift]])
    values = numpy(losses.tau_categorical_crossentropy([[1.0, 0.0]], f, 1.0))
    np.testing.assert_allclose(values, math.log1p(math.exp(-20.0)), rtol=1e-6)


# --- what the losses mean ---


@hypothesis.settings(max_examples=examples(50))
@hypothesis.given(st.integers(0, 2**16), st.integers(1, 7))
def test_the_mean_of_kr_is_the_difference_of_means(seed, positives):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(8) < positives)
    f = rng.standard_normal(8)
    np.testing.assert_allclose(np.mean(losses.kr(y, f)), f[y].mean() - f[~y].mean(), rtol=1e-9, atol=1e-12)


def test_a_class_that_is_absent_counts_as_zero():
    f = np.array([1.0, 2.0, 6.0])
    assert np.mean(losses.kr(np.ones(3), f)) == pytest.approx(3.0)
    assert np.mean(losses.kr(np.zeros(3), f)) == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("mixed", "hinges"),
    [(losses.hkr, losses.hinge_margin), (losses.multiclass_hkr, losses.multiclass_hinge)],
)
def test_the_ends_of_alpha_are_kr_and_hinge(mixed, hinges):
    y, f = batch(6, 4)
    np.testing.assert_array_equal(mixed(y, f, 0.0, 2.0), -numpy(losses.kr(y, f)))
    np.testing.assert_array_equal(mixed(y, f, math.inf, 2.0), hinges(y, f, 2.0))
    of_mixed = gradient(lambda x: ops.sum(mixed(y, x, math.inf, 2.0)), f)
    np.testing.assert_array_equal(of_mixed, gradient(lambda x: ops.sum(hinges(y, x, 2.0)), f))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(losses.kr, {}), (losses.hkr, {"alpha": 3.0}), (losses.multiclass_hkr, {"alpha": 3.0})],
)
@pytest.mark.parametrize("only", [None, 1])
def test_processed_labels_give_each_device_its_part(function, arguments, only):
    y, f = batch(6, 4, only=only)
    for labels in (y, y.astype("int32"), 2.0 * y - 1.0):
        processed = numpy(losses.process_labels_for_multi_gpu(labels))
        parts = [function(processed[s], f[s], multi_gpu=True, **arguments) for s in (slice(0, 4), slice(4, 6))]
        np.testing.assert_allclose(np.concatenate(parts), function(y, f, **arguments), rtol=1e-5, atol=1e-6)


def test_processed_labels_keep_shape_and_sign():
    signs = np.array([1, -1, -1, 1, 1, -1])
    for labels in (np.maximum(signs, 0), signs[:, None], signs[:, None] > 0):
        processed = numpy(losses.process_labels_for_multi_gpu(labels))
        assert processed.shape == labels.shape
        np.testing.assert_array_equal(processed > 0, labels > 0)
        assert processed.sum() == pytest.approx(0.0)
    assert numpy(losses.process_labels_for_multi_gpu(1.0 * signs)).dtype == np.float64


@hypothesis.settings(max_examples=examples(15))
@hypothesis.given(st.integers(0, 2**16), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_soft_maximum_is_as_near_as_the_penalty_says(seed, penalty):
    y, f = batch(6, 4, seed)
    # With alpha = 0 the loss is n − ŷ_true.
    n = numpy(losses.lse_hkr_multiclass(y, f, alpha=0.0, penalty=penalty, min_margin=2.0)) + f[y]
    largest = np.where(y, -np.inf, f).max(-1)
    assert (n >= largest - 1e-9).all()
    assert (n <= largest + penalty + 1e-9).all()


# --- gradients ---


@pytest.mark.parametrize("case", [case for case in CASES if case != "emma"])  # whose offsets are held constant
def test_gradients_are_those_of_finite_differences(case):
    function, arguments, _ = CASES[case]
    y, f = batch(6, 4, seed=3)
    labels, weights = y.astype("float64"), np.arange(1.0, 7.0)
    directions = np.random.default_rng(0).standard_normal((4, 6, 4))

    def total(x):
        return ops.sum(function(labels, x, **arguments) * weights)

    found = np.tensordot(directions, gradient(total, f), 2)
    expected = finite_differences(lambda steps: total(f + np.tensordot(steps, directions, 1)), np.zeros(4))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_the_offsets_of_emma_carry_no_gradient():
    """It is the gradient of a crossentropy whose scores are raised by constants."""
    y, f = batch(6, 4, seed=3)
    true = (y * f).sum(-1, keepdims=True)
    raise_by = np.where(y, 0.0, np.clip(true - f, 0, 0.7))
    assert 0 < raise_by.min(where=~y.astype(bool) & (raise_by > 0), initial=1.0) < 0.7
    found = gradient(lambda x: ops.sum(losses.emma_categorical_crossentropy(y, x, 3.0, 0.7)), f)
    expected = gradient(lambda x: ops.sum(losses.tau_categorical_crossentropy(y, x + raise_by, 3.0)), f)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_annealing_without_an_exponent_is_the_crossentropy_and_has_finite_gradients(gamma):
    y, f = batch(6, 4)
    sure = np.where(y, 1e3, 0.0)
    if gamma == 0:
        expected = losses.offset_categorical_crossentropy(y, f, 1 / 0.75, 2.0)
        np.testing.assert_allclose(losses.logit_annealing(y, f, gamma=0.0), expected, rtol=1e-12)
    assert np.isfinite(gradient(lambda x: ops.sum(losses.logit_annealing(y, x, gamma=gamma)), sure)).all()


def test_an_offset_is_shared_by_probabilities():
    _, f = batch(6, 4)
    p = np.random.default_rng(1).dirichlet(np.ones(4), size=6)
    found = losses.offset_categorical_crossentropy(p, f, 2.0, 0.7)
    np.testing.assert_allclose(found, losses.tau_categorical_crossentropy(p, f - 0.7 * p, 2.0), rtol=1e-12)


def test_the_gradient_of_the_binary_crossentropy_at_zero():
    y, f = batch(6, 4, scale=0.0)
    found = gradient(lambda x: ops.sum(losses.tau_binary_crossentropy(y, x, 3.0)), f)
    np.testing.assert_allclose(found, np.where(y, -0.5, 0.5) / 4, rtol=1e-15)


def test_the_sharpness_carries_no_gradient():
    y, f = batch(6, 4, scale=3.0)
    fixed = np.abs(f).mean()
    found = gradient(lambda x: ops.sum(losses.soft_hkr_multiclass(y, x)), f)
    expected = gradient(lambda x: ops.sum(losses.soft_hkr_multiclass(y, x, mean_magnitude=fixed)), f)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# --- the classes ---

REDUCTION = {"reduction": "sum_over_batch_size"}
REQUIRED = inspect.Parameter.empty
SIGNATURES = {
    "KR": {"multi_gpu": False},
    "HKR": {"alpha": REQUIRED, "min_margin": 1.0, "multi_gpu": False},
    "HingeMargin": {"min_margin": 1.0},
    "MulticlassKR": {"multi_gpu": False},
    "MulticlassHinge": {"min_margin": 1.0},
    "MulticlassHKR": {"alpha": 10.0, "min_margin": 1.0, "multi_gpu": False},
    "MultiMargin": {"min_margin": 1.0},
    "CategoricalHinge": {"min_margin": REQUIRED},
    "TauCategoricalCrossentropy": {"tau": REQUIRED},
    "TauSparseCategoricalCrossentropy": {"tau": REQUIRED},
    "TauBinaryCrossentropy": {"tau": REQUIRED},
    "OffsetCategoricalCrossentropy": {"tau": REQUIRED, "offset": REQUIRED},
    "LogitAnnealing": {"temperature": 0.75, "offset": 2.0, "gamma": 5.0},
    "EMMACategoricalCrossentropy": {"tau": REQUIRED, "offset": REQUIRED},
    "SoftHKRMulticlassLoss": {"alpha": 0.9, "min_margin": 1.0, "alpha_mean": 0.99, "temperature": 1.0},
    "LseHKRMulticlassLoss": {"alpha": 1.0, "temperature": 1.0, "penalty": 1.0, "min_margin": 1.0},
}
# Values that float32 cannot hold exactly, to see that a config shows what was given.
ARGUMENTS = {
    "KR": {"multi_gpu": True},
    "HKR": {"alpha": math.inf, "min_margin": 0.3},
    "HingeMargin": {"min_margin": 0.3},
    "MulticlassKR": {},
    "MulticlassHinge": {"min_margin": 0.3},
    "MulticlassHKR": {"alpha": 0.1, "min_margin": 0.3},
    "MultiMargin": {"min_margin": 0.3},
    "CategoricalHinge": {"min_margin": 0.3},
    "TauCategoricalCrossentropy": {"tau": 2.7},
    "TauSparseCategoricalCrossentropy": {"tau": 2.7},
    "TauBinaryCrossentropy": {"tau": 2.7},
    "OffsetCategoricalCrossentropy": {"tau": 2.7, "offset": 0.3},
    "LogitAnnealing": {"temperature": 0.7, "offset": 0.3, "gamma": 2.1},
    "EMMACategoricalCrossentropy": {"tau": 2.7, "offset": 0.3},
    "SoftHKRMulticlassLoss": {"alpha": 0.6, "min_margin": 0.3, "alpha_mean": 0.9, "temperature": 1.1},
    "LseHKRMulticlassLoss": {"alpha": 0.6, "temperature": 1.1, "penalty": 0.7, "min_margin": 0.3},
}
EVERY_CLASS = pytest.mark.parametrize("name", SIGNATURES)


def make(name, **extra):
    return getattr(losses, name)(**ARGUMENTS[name], **extra)


def labels_for(name, y):
    return np.argmax(y, -1) if "Sparse" in name else y


@EVERY_CLASS
def test_signatures_are_those_of_the_reference(name):
    parameters = inspect.signature(getattr(losses, name)).parameters
    assert {key: p.default for key, p in parameters.items()} == {**SIGNATURES[name], **REDUCTION, "name": name}
    assert list(parameters) == [*SIGNATURES[name], "reduction", "name"]


@EVERY_CLASS
def test_a_class_is_its_function(name):
    y, f = batch(6, 4)
    loss = make(name, reduction=None)
    values = numpy(loss(labels_for(name, y), f))
    assert values.shape == (6,)
    arguments = dict(ARGUMENTS[name])
    if name == "SoftHKRMulticlassLoss":
        decay = arguments.pop("alpha_mean")
        mean = decay * arguments["min_margin"] + (1 - decay) * np.abs(f).mean()
        assert float(numpy(loss.running_mean)) == pytest.approx(mean)
        expected = losses.soft_hkr_multiclass(y, f, mean_magnitude=mean, **arguments)
    else:
        expected = loss.function(labels_for(name, y), f, **arguments)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@EVERY_CLASS
def test_configs_round_trip(name):
    loss = make(name, reduction="sum")
    config = loss.get_config()
    assert config.items() >= {**ARGUMENTS[name], "reduction": "sum", "name": name}.items()
    assert all(type(value) in (float, bool, str) for value in config.values())
    for variable in loss.variables:
        variable.assign(0.55)
    changed = loss.get_config()
    assert all(value == 0.55 for value in changed.values() if isinstance(value, float))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss), safe_mode=True)
    assert type(again) is type(loss)
    assert again.get_config() == changed
    assert again.variables == [] or all(a is not b for a, b in zip(again.variables, loss.variables, strict=True))


def test_weights_and_reductions_are_those_of_keras():
    y, f = batch(6, 4)
    weights = np.arange(1.0, 7.0)
    values = numpy(losses.multiclass_hkr(y, f))
    expected = {
        None: values * weights,
        "sum": (values * weights).sum(),
        "sum_over_batch_size": (values * weights).mean(),
        "mean_with_sample_weight": (values * weights).sum() / weights.sum(),
    }
    for reduction, value in expected.items():
        loss = losses.MulticlassHKR(reduction=reduction)
        np.testing.assert_allclose(loss(y, f, sample_weight=weights), value, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="reduction"):
        losses.KR(reduction="median")


@pytest.mark.parametrize("loss", [losses.KR, lambda **given: losses.HKR(2.0, **given), losses.MulticlassHKR])
@pytest.mark.parametrize("kept", [0, 1])
def test_a_side_of_weight_0_is_as_if_it_were_not_there(loss, kept):
    y, f = batch(7, 2)
    y[:, 0], y[:, 1] = [1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1]
    keep = y[:, 0] == kept
    for reduction in ("sum", "mean_with_sample_weight", None):
        made = loss(reduction=reduction)
        got, alone = made(y, f, sample_weight=keep.astype("float32")), made(y[keep], f[keep])
        got = numpy(got)[keep] if reduction is None else got
        np.testing.assert_allclose(got, alone, rtol=1e-5, atol=1e-6)
    got = loss()(y, f, sample_weight=keep[:, None].astype("float32"))  # Keras divides by the size of the batch
    np.testing.assert_allclose(got, loss()(y[keep], f[keep]) * keep.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss()(y, f, sample_weight=1.0), loss()(y, f), rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_labels_beyond_0_and_1_count_by_their_sign(scale):
    y = np.array([[1.0], [0.0], [1.0], [0.0], [0.0], [0.0]])
    f = np.array([[-1.0], [2.0], [0.5], [-3.0], [0.0], [1.0]])
    weighed = numpy(losses.process_labels_for_multi_gpu(y))
    assert weighed.max() > 1
    np.testing.assert_allclose(
        losses.tau_binary_crossentropy(scale * weighed, f, 1.5), losses.tau_binary_crossentropy(y, f, 1.5), rtol=1e-6
    )
    both, logits = np.hstack([weighed, -weighed]), np.hstack([f, -f])
    np.testing.assert_allclose(
        losses.tau_categorical_crossentropy(scale * both, logits, 1.5),
        losses.tau_categorical_crossentropy(np.hstack([y, 1 - y]), logits, 1.5),
        rtol=1e-6,
    )
    loss = losses.TauBinaryCrossentropy(1.0)
    assert float(loss(np.array([[8 / 3]]), np.array([[-1.0]]))) == pytest.approx(math.log1p(math.e), rel=1e-6)


def test_the_number_of_a_class_is_whole():
    values = numpy(losses.tau_sparse_categorical_crossentropy(np.array([1.0, 8 / 3]), np.zeros((2, 3)), 1.0))
    np.testing.assert_array_equal(np.isnan(values), [False, True])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("HKR", {"alpha": -1.0}, "`alpha` must be a number of at least 0, at most inf. Received: alpha=-1.0"),
        ("HKR", {"alpha": math.nan}, "alpha=nan"),
        ("HKR", {"alpha": "1"}, "alpha='1'"),
        ("HKR", {"alpha": True}, "alpha=True"),
        ("HKR", {"alpha": 1.0, "min_margin": -0.1}, "min_margin=-0.1"),
        ("HingeMargin", {"min_margin": math.inf}, "`min_margin` must be a number of at least 0, finite"),
        ("MulticlassHinge", {"min_margin": math.nan}, "min_margin=nan"),
        ("MulticlassHKR", {"alpha": None}, "alpha=None"),
        ("MultiMargin", {"min_margin": -1}, "min_margin=-1"),
        ("CategoricalHinge", {"min_margin": -1}, "min_margin=-1"),
        ("TauCategoricalCrossentropy", {"tau": 0.0}, "`tau` must be a positive finite number. Received: tau=0.0"),
        ("TauSparseCategoricalCrossentropy", {"tau": -2.0}, "tau=-2.0"),
        ("TauBinaryCrossentropy", {"tau": math.nan}, "tau=nan"),
        ("OffsetCategoricalCrossentropy", {"tau": 0.0, "offset": 1.0}, "tau=0.0"),
        (
            "EMMACategoricalCrossentropy",
            {"tau": 1.0, "offset": -1.0},
            "`offset` must be a number of at least 0, finite",
        ),
        ("LogitAnnealing", {"temperature": 0.0}, "temperature=0.0"),
        ("LogitAnnealing", {"gamma": -0.5}, "gamma=-0.5"),
        ("SoftHKRMulticlassLoss", {"alpha": 1.1}, "`alpha` must be a number of at least 0, at most 1. Received"),
        ("SoftHKRMulticlassLoss", {"min_margin": 0.0}, "min_margin=0.0"),
        ("SoftHKRMulticlassLoss", {"alpha_mean": 1.5}, "alpha_mean=1.5"),
        ("SoftHKRMulticlassLoss", {"temperature": 0}, "temperature=0"),
        ("LseHKRMulticlassLoss", {"alpha": -0.1}, "alpha=-0.1"),
        ("LseHKRMulticlassLoss", {"penalty": 0.0}, "penalty=0.0"),
        ("LseHKRMulticlassLoss", {"min_margin": 0.0}, "min_margin=0.0"),
    ],
)
def test_bad_numbers_are_refused(name, arguments, message):
    with pytest.raises(ValueError) as error:
        getattr(losses, name)(**arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("case", [case for case in CASES if case != "tau_sparse"])
def test_shapes_that_disagree_are_refused(case):
    function, arguments, _ = CASES[case]
    for labels in ((6, 1), (6,), (5, 4), (1, 4), (6, 4, 1), ()):
        with pytest.raises(ValueError, match=re.escape(f"Expected: (6, 4). Received: {labels}")):
            function(np.ones(labels), np.ones((6, 4)), **arguments)
    for scores in ((6, 1), (6,), ()):
        with pytest.raises(ValueError, match=re.escape(f"Expected: {scores}. Received: (6, 4)")):
            function(np.ones((6, 4)), np.ones(scores), **arguments)


@pytest.mark.parametrize(("labels", "scores"), [((6, 4), (6, 4)), ((5,), (6, 4)), ((6,), (6,)), ((6, 2, 1), (6, 4))])
def test_shapes_that_disagree_are_refused_for_sparse_labels(labels, scores):
    with pytest.raises(ValueError) as error:
        losses.tau_sparse_categorical_crossentropy(np.zeros(labels, int), np.ones(scores), 1.0)
    assert f"Received: labels {labels}, predictions {scores}" in str(error.value)


# --- in a model ---

X = np.random.default_rng(0).standard_normal((16, 3)).astype("float32")
Y = np.eye(4, dtype="float32")[np.arange(16) % 4]
# A plain Keras model does not track the variables of its loss, which only matters where steps are pure functions.
MODELS = [lipviz.Model, *([keras.Model] if keras.backend.backend() == "tensorflow" else [])]
EVERY_MODEL = pytest.mark.parametrize("model_class", MODELS)
# That a step of each model sees the variables of its loss is asked by day of a schedule within an epoch.
EVERY_MODEL_AT_NIGHT = pytest.mark.parametrize(
    "model_class", [MODELS[0], *(pytest.param(model, marks=pytest.mark.nightly) for model in MODELS[1:])]
)


def frozen(model_class, loss, **arguments):
    """A compiled model whose training changes nothing but what the loss holds."""
    inputs = keras.Input((3,))
    model = model_class(inputs, keras.layers.Dense(4)(inputs))
    model.compile(keras.optimizers.SGD(0.0), loss, **arguments)
    return model


class Schedule(keras.callbacks.Callback):
    """Assigns to the variables of the model's loss before each batch, and keeps the loss after it."""

    def __init__(self, **values):
        super().__init__()
        self.values, self.losses = values, []

    def on_train_batch_begin(self, batch, logs=None):
        for name, values in self.values.items():
            getattr(self.model.loss, name).assign(values[len(self.losses)])

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))


@pytest.mark.slow
@EVERY_MODEL_AT_NIGHT
def test_a_schedule_reaches_the_compiled_step(model_class, tmp_path):
    model = frozen(model_class, losses.MulticlassHKR(alpha=2.0))
    f = model.predict(X, verbose=0)
    schedule = Schedule(alpha=[0.0, 2.0, 2.0, 5.0], min_margin=[1.0, 1.0, 0.5, 0.5])
    for epochs in (1, 3):  # the loss in the logs is a mean that restarts with each epoch
        model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, callbacks=[schedule])
    values = zip(*schedule.values.values(), strict=True)
    expected = [np.mean(losses.multiclass_hkr(Y, f, alpha, margin)) for alpha, margin in values]
    np.testing.assert_allclose(schedule.losses, expected, rtol=1e-4, atol=1e-6)
    assert np.unique(np.round(schedule.losses, 4)).size == 4

    before = model.evaluate(X, Y, verbose=0)
    model.loss.alpha.assign(math.inf)  # outside of fit, after the step was compiled
    after = model.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose([before, after], [expected[-1], np.mean(losses.multiclass_hinge(Y, f, 0.5))], rtol=1e-4)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.loss.get_config() == model.loss.get_config()
    assert loaded.loss.get_config().items() >= {"alpha": math.inf, "min_margin": 0.5}.items()


@EVERY_MODEL
def test_a_schedule_within_an_epoch(model_class):
    model = frozen(model_class, losses.MulticlassHKR(alpha=2.0))
    schedule = Schedule(alpha=[0.0, 3.0])
    model.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=[schedule])
    f = numpy(model(X))
    first, second = (np.mean(losses.multiclass_hkr(Y[s], f[s], a)) for s, a in ((slice(8), 0.0), (slice(8, 16), 3.0)))
    np.testing.assert_allclose(schedule.losses, [first, (first + second) / 2], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@EVERY_MODEL_AT_NIGHT
def test_the_running_mean_is_state(model_class, tmp_path):
    model = frozen(model_class, losses.SoftHKRMulticlassLoss(alpha_mean=0.6, min_margin=0.1, temperature=3.0))
    f = model.predict(X, verbose=0)
    expected = 0.1

    def step(mean):
        return 0.6 * mean + 0.4 * np.abs(f).mean()

    for epochs in (1, 2):
        history = model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0).history["loss"]
        for value in history:
            expected = step(expected)
            wanted = losses.soft_hkr_multiclass(Y, f, 0.9, 0.1, 3.0, expected)
            assert value == pytest.approx(float(np.mean(wanted)), rel=1e-4)
        assert float(numpy(model.loss.running_mean)) == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(numpy(loaded.loss.running_mean)) == float(numpy(model.loss.running_mean))


def test_the_running_mean_is_clipped():
    loss = losses.SoftHKRMulticlassLoss(alpha_mean=0.0)
    for scale, expected in ((0.0, 0.005), (1e30, 1000.0), (3.0, 3.0)):
        assert np.isfinite(loss(Y, np.full((16, 4), scale)))
        assert float(numpy(loss.running_mean)) == pytest.approx(expected)


@pytest.mark.slow
def test_every_loss_trains_saves_and_loads(tmp_path):
    inputs = keras.Input((3,))
    scores = keras.layers.Dense(4)(inputs)
    model = lipviz.Model(inputs, [keras.layers.Identity(name=f"to_{name}")(scores) for name in SIGNATURES])
    processed = numpy(losses.process_labels_for_multi_gpu(Y))
    targets = [processed if name == "KR" else labels_for(name, Y) for name in SIGNATURES]
    watched = losses.HingeMargin()  # a loss may be a metric
    model.compile("sgd", [make(name) for name in SIGNATURES], metrics=[[watched], *[[] for _ in targets[1:]]])
    # TensorFlow does not know the size of a batch from a generator when it compiles the step.
    batches = ((X, tuple(targets)) for _ in range(4))
    history = model.fit(batches, steps_per_epoch=1, epochs=2, shuffle=False, verbose=0).history
    assert len(history) == 2 + len(SIGNATURES)
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(values[0] != values[1] for values in history.values())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert [type(loss) for loss in loaded.loss] == [getattr(losses, name) for name in SIGNATURES]
    assert [loss.get_config() for loss in loaded.loss] == [loss.get_config() for loss in model.loss]


@pytest.mark.slow
def test_one_loss_may_serve_two_outputs():
    inputs = keras.Input((3,))
    model = lipviz.Model(inputs, [keras.layers.Dense(4)(inputs), keras.layers.Dense(4)(inputs)])
    loss = losses.MulticlassHKR(alpha=1.0)
    model.compile(keras.optimizers.SGD(0.0), [loss, loss])
    hinges = sum(np.mean(losses.multiclass_hinge(Y, f, 1.0)) for f in model.predict(X, verbose=0))
    totals = []
    for alpha in (0.0, 1.0, 2.0):
        loss.alpha.assign(alpha)
        totals += model.fit(X, [Y, Y], batch_size=16, epochs=1, verbose=0).history["loss"]
    np.testing.assert_allclose(np.diff(totals), hinges, rtol=1e-4)  # linear in alpha
