"""Metrics of certified robustness: radii against loops, batches of unequal size, what is refused, saving."""

import inspect
import math
import types

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops

import lipviz
from lipviz import certification, metrics
from tests.support import examples, tensor

RNG = np.random.default_rng(0)
LABELS = RNG.integers(4, size=10)
SCORES = RNG.standard_normal((10, 4))
SIGNS = RNG.integers(2, size=(10, 1))
OUTPUTS = RNG.standard_normal((10, 1))


def numpy(x):
    return ops.convert_to_numpy(x)


def loop_radii(labels, scores, lip_const=1.0, disjoint_neurons=True, negative_robustness=False):
    radii = []
    for label, row in zip(labels, scores, strict=True):
        margin = row[label] - max(score for i, score in enumerate(row) if i != label)
        radius = margin / ((2 if disjoint_neurons else 2**0.5) * lip_const)
        radii.append(radius if negative_robustness or radius > 0 else 0.0)
    return np.array(radii)


def loop_binary_radii(labels, scores, lip_const=1.0, negative_robustness=False):
    radii = []
    for (label,), (score,) in zip(labels, scores, strict=True):
        radius = (score if label else -score) / lip_const
        radii.append(radius if negative_robustness or radius > 0 else 0.0)
    return np.array(radii)


# --- per sample ---


@hypothesis.settings(max_examples=examples(30))
@hypothesis.given(
    st.integers(0, 2**16), st.integers(-3, 3), st.sampled_from([0.3, 1, 7.0]), st.booleans(), st.booleans()
)
def test_radii_are_those_of_the_formula(seed, power, lip_const, disjoint_neurons, negative):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(4, size=10), 10.0**power * rng.standard_normal((10, 4))
    values = numpy(
        metrics.categorical_provable_robustness(
            labels, scores, lip_const, disjoint_neurons, negative_robustness=negative
        )
    )
    assert values.shape == (10,)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, loop_radii(labels, scores, lip_const, disjoint_neurons, negative), rtol=1e-12)
    signs, outputs = labels[:, None] % 2, scores[:, :1]
    values = metrics.binary_provable_robustness(signs, outputs, lip_const, negative)
    np.testing.assert_allclose(values, loop_binary_radii(signs, outputs, lip_const, negative), rtol=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 36 / 255, 0.5])
def test_robust_accuracy_counts_the_radii_above_epsilon(epsilon):
    for disjoint in (True, False):
        values = metrics.categorical_provable_robust_accuracy(LABELS, SCORES, epsilon, 0.7, disjoint)
        np.testing.assert_array_equal(values, loop_radii(LABELS, SCORES, 0.7, disjoint) > epsilon)
    values = metrics.binary_provable_robust_accuracy(SIGNS, OUTPUTS, epsilon, 0.7)
    np.testing.assert_array_equal(values, loop_binary_radii(SIGNS, OUTPUTS, 0.7) > epsilon)


def test_labels_may_be_numbers_one_hot_signed_or_soft():
    one_hot = np.eye(4)[LABELS]
    expected = loop_radii(LABELS, SCORES)
    for labels in (
        LABELS,
        LABELS[:, None],
        LABELS.astype("float32"),
        one_hot,
        one_hot.astype("bool"),
        2 * one_hot.astype("int8") - 1,
        0.7 * one_hot + 0.3 / 4,
    ):
        np.testing.assert_allclose(metrics.categorical_provable_robustness(labels, SCORES), expected, rtol=1e-12)
    expected = loop_binary_radii(SIGNS, OUTPUTS)
    for labels in (SIGNS, SIGNS[:, 0], SIGNS > 0, 2 * SIGNS - 1, SIGNS.astype("uint8")):
        for outputs in (OUTPUTS, OUTPUTS[:, 0]):
            np.testing.assert_allclose(metrics.binary_provable_robustness(labels, outputs), expected, rtol=1e-12)


def test_ties_are_not_certified():
    scores = np.array([[1.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    values = metrics.categorical_provable_robust_accuracy([0, 0], scores, epsilon=0.0)
    np.testing.assert_array_equal(values, [0.0, 1.0])
    # The radius is 1: a change of that size reaches the tie.
    np.testing.assert_array_equal(metrics.categorical_provable_robust_accuracy([0, 0], scores, epsilon=1.0), [0, 0])
    np.testing.assert_array_equal(metrics.binary_provable_robust_accuracy([1, 0, 1], [0.0, 0.0, 1.0], 0.0), [0, 0, 1])


def test_the_radius_is_reached_and_not_exceeded():
    # Two outputs x and -x, each 1-Lipschitz: the prediction at x = 0.3 changes 0.3 away, not before.
    def certified(epsilon):
        return float(metrics.categorical_provable_robust_accuracy([0], np.array([[0.3, -0.3]]), epsilon)[0])

    assert certified(0.299) == 1
    assert certified(0.301) == 0


@pytest.mark.parametrize("label", [4, -1])
def test_a_class_that_there_is_not_is_not_silent(label):
    labels = np.where(np.arange(10) == 3, label, LABELS)
    radii = numpy(metrics.categorical_provable_robustness(labels, SCORES))
    np.testing.assert_array_equal(np.isnan(radii), np.arange(10) == 3)
    assert numpy(metrics.categorical_provable_robust_accuracy(labels, SCORES))[3] == 0


def test_predictions_that_are_not_finite_are_not_certified():
    scores = np.where(np.arange(10)[:, None] == 3, math.nan, SCORES)
    assert np.isnan(numpy(metrics.categorical_provable_robustness(LABELS, scores))[3])
    assert numpy(metrics.categorical_provable_robust_accuracy(LABELS, scores))[3] == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_short_floats_are_computed_in_float32(dtype):
    scores = ops.cast(tensor(1e4 * SCORES), dtype)
    values = metrics.categorical_provable_robustness(LABELS, scores, negative_robustness=True)
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    rounded = numpy(ops.cast(scores, "float32")).astype("float64")
    np.testing.assert_allclose(values, loop_radii(LABELS, rounded, 1.0, True, True), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "labels", "scores"),
    [
        ("categorical", (6, 3), (6, 4)),
        ("categorical", (5,), (6, 4)),
        ("categorical", (5, 4), (6, 4)),
        ("categorical", (6, 4, 1), (6, 4)),
        ("categorical", (), (6, 4)),
        ("categorical", (6, 1), (6, 1)),
        ("categorical", (6,), (6,)),
        ("binary", (6, 1), (6, 2)),
        ("binary", (6, 2), (6, 1)),
        ("binary", (5,), (6, 1)),
        ("binary", (1,), (6, 1)),
        ("binary", (), ()),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, labels, scores):
    with pytest.raises(ValueError) as error:
        getattr(metrics, f"{name}_provable_robustness")(np.zeros(labels), np.ones(scores))
    assert f"Received: labels {labels}, predictions {scores}" in str(error.value)


# --- the classes ---

LAST = {"reduction": "sum_over_batch_size"}
SIGNATURES = {
    "CategoricalProvableRobustAccuracy": {"epsilon": 36 / 255, "lip_const": 1.0, "disjoint_neurons": True},
    "BinaryProvableRobustAccuracy": {"epsilon": 36 / 255, "lip_const": 1.0},
    "CategoricalProvableAvgRobustness": {"lip_const": 1.0, "disjoint_neurons": True, "negative_robustness": False},
    "BinaryProvableAvgRobustness": {"lip_const": 1.0, "negative_robustness": False},
}
ARGUMENTS = {
    "CategoricalProvableRobustAccuracy": {"epsilon": 0.3, "lip_const": 0.7, "disjoint_neurons": False},
    "BinaryProvableRobustAccuracy": {"epsilon": 0.3, "lip_const": 0.7},
    "CategoricalProvableAvgRobustness": {"lip_const": 0.7, "disjoint_neurons": False, "negative_robustness": True},
    "BinaryProvableAvgRobustness": {"lip_const": 0.7, "negative_robustness": True},
}
EVERY_CLASS = pytest.mark.parametrize("name", SIGNATURES)


def make(name):
    return getattr(metrics, name)(**ARGUMENTS[name])


def data(name):
    return (LABELS, SCORES) if "Categorical" in name else (SIGNS, OUTPUTS)


def per_sample(name):
    arguments = dict(ARGUMENTS[name])
    epsilon = arguments.pop("epsilon", None)
    radii = (loop_radii if "Categorical" in name else loop_binary_radii)(*data(name), **arguments)
    return radii if epsilon is None else (radii > epsilon).astype("float64")


@EVERY_CLASS
def test_signatures_are_those_of_the_reference(name):
    parameters = inspect.signature(getattr(metrics, name)).parameters
    assert {key: p.default for key, p in parameters.items()} == {**SIGNATURES[name], **LAST, "name": name}
    assert list(parameters) == [*SIGNATURES[name], "reduction", "name"]


@EVERY_CLASS
def test_unequal_batches_give_the_mean_over_all_samples(name):
    labels, scores = data(name)
    values = per_sample(name)
    weights = np.linspace(0.0, 3.0, 10)
    plain, weighted = make(name), make(name)
    for part in (slice(0, 7), slice(7, 9), slice(9, 10)):
        plain.update_state(labels[part], scores[part])
        weighted.update_state(labels[part], scores[part], sample_weight=weights[part])
    assert float(plain.result()) == pytest.approx(values.mean(), rel=1e-5)
    assert float(weighted.result()) == pytest.approx(np.average(values, weights=weights), rel=1e-5)
    plain.reset_state()
    assert float(plain.result()) == 0
    assert float(plain(labels[:2], scores[:2])) == pytest.approx(values[:2].mean(), rel=1e-5)


@EVERY_CLASS
def test_the_states_of_two_metrics_add_up(name):
    labels, scores = data(name)
    parts = [make(name), make(name)]
    for metric, part in zip(parts, (slice(0, 7), slice(7, 10)), strict=True):
        metric.update_state(labels[part], scores[part])
    whole = make(name)
    for variable, *others in zip(whole.variables, *(metric.variables for metric in parts), strict=True):
        variable.assign(sum(numpy(other) for other in others))
    assert float(whole.result()) == pytest.approx(per_sample(name).mean(), rel=1e-5)


@EVERY_CLASS
def test_configs_round_trip(name):
    metric = make(name)
    assert metric.get_config() == {**ARGUMENTS[name], **LAST, "name": name}
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric), safe_mode=True)
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


@EVERY_CLASS
def test_reductions_that_are_no_mean_are_refused(name):
    function = getattr(metrics, name).function
    assert getattr(metrics, function.__name__) is function
    for reduction in ("sum", None, "none"):
        with pytest.raises(
            ValueError, match=rf"`lipviz.metrics.{function.__name__}`. Received: reduction={reduction!r}"
        ):
            getattr(metrics, name)(reduction=reduction)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "1", True, None])
def test_bad_numbers_are_refused(value):
    for name in SIGNATURES:
        with pytest.raises(ValueError, match=r"`lip_const` must be a positive finite number\. Received: lip_const="):
            getattr(metrics, name)(lip_const=value)
    with pytest.raises(ValueError, match="lip_const"):
        metrics.binary_provable_robustness(SIGNS, OUTPUTS, value)
    if value != 0:
        for name in ("CategoricalProvableRobustAccuracy", "BinaryProvableRobustAccuracy"):
            with pytest.raises(
                ValueError, match=r"`epsilon` must be a finite number of at least 0\. Received: epsilon="
            ):
                getattr(metrics, name)(epsilon=value)
        with pytest.raises(ValueError, match="epsilon"):
            metrics.categorical_provable_robust_accuracy(LABELS, SCORES, value)


def test_a_certificate_stands_for_its_upper_bound():
    bound = types.SimpleNamespace(upper_bound=0.7, norm=2)
    for function, y, scores in (
        (metrics.categorical_provable_robustness, LABELS, SCORES),
        (metrics.categorical_provable_robust_accuracy, LABELS, SCORES),
        (metrics.binary_provable_robustness, SIGNS, OUTPUTS),
        (metrics.binary_provable_robust_accuracy, SIGNS, OUTPUTS),
    ):
        np.testing.assert_array_equal(
            function(y, scores, lip_const=bound), function(y, scores, lip_const=0.7), strict=True
        )
    for name in SIGNATURES:
        metric = getattr(metrics, name)(lip_const=bound)
        assert metric.get_config() == getattr(metrics, name)(lip_const=0.7).get_config()
        assert type(metric.get_config()["lip_const"]) is float


def test_the_certificate_of_a_model_is_taken():
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4)])
    certificate = certification.certify(model, search=False)
    metric = metrics.CategoricalProvableAvgRobustness(lip_const=certificate, disjoint_neurons=False)
    assert metric.lip_const == certificate.upper_bound
    kernel = ops.convert_to_numpy(model.layers[0].kernel).astype("float64")
    assert metric.lip_const == pytest.approx(np.linalg.norm(kernel, 2), rel=1e-6)


@pytest.mark.parametrize(("bound", "norm"), [(math.inf, 2), (math.nan, 2), (0.0, 2), (1.0, 1), (1.0, math.inf)])
def test_a_certificate_without_a_bound_in_l2_is_refused(bound, norm):
    certificate = types.SimpleNamespace(upper_bound=bound, norm=norm)
    for name in SIGNATURES:
        with pytest.raises(ValueError, match="certificate in the l2 norm"):
            getattr(metrics, name)(lip_const=certificate)


@pytest.mark.slow
def test_models_report_save_and_load_them(tmp_path):
    inputs = keras.Input((4,))
    model = lipviz.Model(inputs, {"classes": keras.layers.Dense(4)(inputs), "sign": keras.layers.Dense(1)(inputs)})
    losses = {"classes": "sparse_categorical_crossentropy", "sign": "mse"}
    names = {
        "classes": ["CategoricalProvableRobustAccuracy", "CategoricalProvableAvgRobustness"],
        "sign": ["BinaryProvableRobustAccuracy", "BinaryProvableAvgRobustness"],
    }
    watched = {output: [make(name) for name in group] for output, group in names.items()}
    model.compile(keras.optimizers.SGD(0.0), losses, metrics=watched)
    x, y = SCORES.astype("float32"), {"classes": LABELS, "sign": SIGNS}
    logs = model.fit(x, y, batch_size=7, epochs=1, verbose=0).history  # 7 and 3 samples
    outputs = model(x)
    for output, group in names.items():
        for name in group:
            values = getattr(metrics, name).function(y[output], outputs[output], **ARGUMENTS[name])
            assert logs[f"{output}_{name}"][0] == pytest.approx(float(np.mean(values)), rel=1e-4, abs=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    configs = loaded.get_compile_config()["metrics"]
    assert configs == model.get_compile_config()["metrics"]
    assert configs["sign"][0]["config"] == watched["sign"][0].get_config()


def test_early_stopping_knows_that_more_is_better():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(4)(inputs))
    model.compile(
        keras.optimizers.SGD(0.0), "mse", metrics=[metrics.CategoricalProvableAvgRobustness()], run_eagerly=True
    )
    stopping = keras.callbacks.EarlyStopping(monitor="CategoricalProvableAvgRobustness", patience=1)
    x = SCORES.astype("float32")
    model.fit(x, np.eye(4)[LABELS], batch_size=10, epochs=1, verbose=0, callbacks=[stopping])
    assert stopping.monitor_op(2, 1)


def test_certified_accuracies_at_several_sizes_are_in_the_logs():
    x, y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 3
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(
        "sgd", "mse", metrics=metrics.provable_robust_accuracies((0.0, 36 / 255, 0.5), disjoint_neurons=False)
    )
    logs = model.evaluate(x, np.eye(3)[y], verbose=0, return_dict=True)
    scores = np.array(model(x))
    for epsilon, name in ((0.0, "certified_0"), (36 / 255, "certified_0.141"), (0.5, "certified_0.5")):
        expected = metrics.categorical_provable_robust_accuracy(y, scores, epsilon, disjoint_neurons=False)
        assert logs[name] == pytest.approx(np.mean(np.array(expected)))
    close = metrics.provable_robust_accuracies((0.5, 0.5001))
    assert [metric.name for metric in close] == ["certified_0.5", "certified_0.5001"]
    with pytest.raises(ValueError, match="differ"):
        metrics.provable_robust_accuracies((0.5, 0.5))
    for wrong in (0.5, "0.5", None):
        with pytest.raises(ValueError, match="list of numbers"):
            metrics.provable_robust_accuracies(wrong)
