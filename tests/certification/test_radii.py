"""Certified radii: exact where that is known, sound where attacks come, and right where the reference is not."""

import itertools
import math
from fractions import Fraction

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import lipviz
from lipviz import certification, layers, operators
from lipviz.certification import matrices as bounds_of_linear
from lipviz.certification.classifiers import pairwise_bounds_and_errors
from lipviz.operators.precision import outputs
from tests.support import examples

RNG = np.random.default_rng(0)
TIGHT = 1e-9 if keras.backend.backend() != "jax" else 1e-4


def linear(kernel, bias=0.0, activation=None):
    """A Keras model f(x) = x K + b."""
    kernel = np.asarray(kernel, "float32")
    model = keras.Sequential([keras.layers.Input((kernel.shape[0],)), keras.layers.Dense(kernel.shape[1], activation)])
    model.layers[0].set_weights([kernel, np.broadcast_to(np.float32(bias), kernel.shape[1]).copy()])
    return model


def deep(*last, dtype="float32"):
    """A small Lipschitz network of six inputs that was never trained."""
    last = last or (layers.SpectralDense(3, dtype=dtype),)
    hidden = [layers.SpectralDense(8, activation=layers.GroupSort2(dtype=dtype), dtype=dtype) for _ in range(2)]
    return lipviz.Sequential([keras.layers.Input((6,)), *hidden, *last])


def samples(count=20, shape=(6,)):
    return RNG.standard_normal((count, *shape))


def decide(model, x):
    """Decisions of the float64 logits."""
    scores = outputs(certification.logits_model(model), np.asarray(x))
    return (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(axis=1)


# --- where the radius is known ---


def test_one_output_of_a_linear_model_has_the_distance_to_its_hyperplane():
    model, x = linear([[3.0], [4.0]], bias=-1.0), samples(50, (2,))
    found = certification.certified_radius(model, x)
    distance = np.abs(x @ [3, 4] - 1) / 5
    np.testing.assert_allclose(found.radii, distance, rtol=TIGHT, atol=1e-12)
    np.testing.assert_array_equal(found.predicted, x @ [3, 4] - 1 > 0)
    towards = -np.sign(x @ [3, 4] - 1)[:, None] * found.radii[:, None] * np.array([0.6, 0.8])
    np.testing.assert_array_equal(decide(model, x + 0.999 * towards), found.predicted)
    np.testing.assert_array_equal(decide(model, x + 1.001 * towards), 1 - found.predicted)


@pytest.mark.slow
def test_several_outputs_of_a_linear_model_have_the_distance_to_the_nearest_of_their_planes():
    kernel = RNG.standard_normal((4, 3)).astype("float32")
    model, x = linear(kernel), samples(50, (4,))
    found = certification.certified_radius(model, x)
    scores = x @ kernel.astype(float)
    best = scores.argmax(axis=1)
    moves = np.zeros((50, 4))
    for row, i in enumerate(best):
        differences = kernel[:, [i]].astype(float) - np.delete(kernel, i, axis=1)
        distances = (scores[row, i] - np.delete(scores[row], i)) / np.linalg.norm(differences, axis=0)
        assert found.radii[row] == pytest.approx(distances.min(), rel=TIGHT)
        nearest = differences[:, distances.argmin()]
        moves[row] = -found.radii[row] * nearest / np.linalg.norm(nearest)
    np.testing.assert_array_equal(decide(model, x + 0.999 * moves), best)
    assert (decide(model, x + 1.001 * moves) != best).all()
    second = np.sort(scores, axis=1)
    np.testing.assert_allclose(found.margins, second[:, -1] - second[:, -2], rtol=TIGHT)


def test_disjoint_neurons_may_point_in_opposite_directions():
    # Each output is 1-Lipschitz, their difference is 2-Lipschitz. margin/(√2 L) would claim 0.707.
    model = lipviz.Sequential([keras.layers.Input((2,)), layers.FrobeniusDense(2, use_bias=False)])
    model.layers[-1].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
    model.layers[-1].refresh()
    found = certification.certified_radius(model, np.array([[0.5, 0.0]]))
    assert found.margins[0] == pytest.approx(1, rel=1e-5)
    assert found.radii[0] == pytest.approx(0.5, rel=1e-5)
    assert decide(model, [[0.5 - 0.501, 0.0]]) != found.predicted


def test_the_certificate_of_the_references_convolution_is_wrong_and_ours_is_not():
    # Every weight alike: the reference's averaged factor takes the layers for 1-Lipschitz.
    convolution = layers.SpectralConv2D(16, 3, bound="unsound_average", use_bias=False)
    head = layers.FrobeniusDense(1)
    with pytest.warns(UserWarning, match="unsound"):
        model = lipviz.Sequential([keras.layers.Input((28, 28, 1)), convolution, keras.layers.Flatten(), head])
    taps = np.ones((3, 3, 1, 16), "float32")
    convolution.kernel.assign(taps)
    convolution.refresh()
    # The head that the convolution stretches most: its first left singular vector.
    operator = operators.linear_operator(convolution)
    direction = np.ones(operator.shape[1])
    for _ in range(200):
        direction = operator.T @ (operator @ direction)
        direction /= np.linalg.norm(direction)
    image = operator @ direction
    norm = np.linalg.norm(image)
    assert norm > 1.01
    head.kernel.assign(image[:, None].astype("float32"))
    head.refresh()
    head.bias.assign([1.0141])
    found = certification.certified_radius(model, np.zeros((1, 28, 28, 1)))
    assert found.margins[0] == pytest.approx(1.0141, rel=1e-6)
    assert found.margins[0] / 1.0 > 1  # what a constant of 1 certifies at ε = 1
    change = -0.9999 * direction.reshape(1, 28, 28, 1)
    assert decide(model, change) != found.predicted[0]  # and a smaller change that turns the sign
    assert found.radii[0] < 0.9999
    # No radius is beyond the distance, to rounding in float32; it is smaller by what the bounds are too large.
    distance = 1.0141 / (norm * np.linalg.norm(np.asarray(head.wbar, np.float64)))
    assert 0.99 * distance < found.radii[0] <= distance * (1 + 1e-6)


# --- what the weights are, not what was asked for ---


def test_a_normalization_above_its_factor_shrinks_the_radius():
    # ReLU behind it, so that the network is not linear and scores do not grow as much as the constant.
    normalization = layers.BatchLipNorm(use_bias=False)
    head = layers.SpectralDense(3, use_bias=False)
    model = lipviz.Sequential([keras.layers.Input((4,)), normalization, layers.PReLUlip(), head])
    x = samples(10, (4,))
    before = certification.certified_radius(model, x).bounds
    normalization.moving_variance.assign(np.full(4, 1e-4, "float32"))
    after = certification.certified_radius(model, x)
    assert normalization.lip_constant > 10
    np.testing.assert_allclose(after.bounds, before * normalization.lip_constant * math.sqrt(1.001), rtol=1e-5)
    scores = outputs(certification.logits_model(model), x)
    second, best = np.sort(scores, axis=1)[:, -2:].T
    assert (after.radii <= (best - second) / (normalization.lip_constant * 1.41)).all()


def test_plain_layers_are_measured():
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
    model.layers[0].kernel.assign(10 * np.asarray(model.layers[0].kernel))
    found = certification.certified_radius(model, samples(), method="product")
    kernels = [np.asarray(layer.kernel, float) for layer in model.layers]
    columns = kernels[1][:, :, None] - kernels[1][:, None]
    bounds = np.linalg.norm(kernels[0], 2) * np.linalg.norm(columns, axis=0)
    np.testing.assert_allclose(found.bounds, bounds, rtol=1e-9)


def test_a_model_in_half_precision_is_certified_as_evaluated_in_float64():
    model, half, x = deep(), deep(dtype="mixed_bfloat16"), samples()
    half.set_weights(model.get_weights())
    np.testing.assert_allclose(
        certification.certified_radius(half, x).radii, certification.certified_radius(model, x).radii, rtol=TIGHT
    )
    assert certification.logit_errors(half, x).max() > 100 * certification.logit_errors(model, x).max()


def test_a_softmax_or_a_sigmoid_at_the_end_changes_nothing():
    kernel, x = RNG.standard_normal((5, 4)), samples(20, (5,))
    plain = certification.certified_radius(linear(kernel), x)
    for activation in ("softmax", "sigmoid"):
        np.testing.assert_allclose(certification.certified_radius(linear(kernel, 0, activation), x).radii, plain.radii)
    one = certification.certified_radius(linear(kernel[:, :1]), x)
    end = certification.certified_radius(linear(kernel[:, :1], 0, "sigmoid"), x)
    np.testing.assert_allclose(end.radii, one.radii)
    np.testing.assert_array_equal(end.predicted, one.predicted)


ENDS = {
    "sigmoid": lambda: [keras.layers.Dense(1, "sigmoid")],
    "layer of a sigmoid": lambda: [keras.layers.Dense(1), keras.layers.Activation("sigmoid")],
    "softmax of one": lambda: [keras.layers.Dense(1, "softmax")],
    "layer of a softmax of one": lambda: [keras.layers.Dense(1), keras.layers.Softmax()],
    "two sigmoids": lambda: [keras.layers.Dense(1, "sigmoid"), keras.layers.Activation("sigmoid")],
    "two layers of sigmoids": lambda: [keras.layers.Dense(1), *(keras.layers.Activation("sigmoid") for _ in "ab")],
    "sigmoid, softmax": lambda: [keras.layers.Dense(1, "sigmoid"), keras.layers.Softmax()],
    "softmax, sigmoid": lambda: [keras.layers.Dense(1, "softmax"), keras.layers.Activation("sigmoid")],
    "two classes": lambda: [keras.layers.Dense(2, "softmax")],
    "two classes twice": lambda: [keras.layers.Dense(2, "sigmoid"), keras.layers.Softmax()],
    "three classes, two layers": lambda: [
        keras.layers.Dense(3),
        keras.layers.Activation("sigmoid"),
        keras.layers.Activation("softmax"),
    ],
}


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize("end", ENDS)
def test_no_certified_accuracy_exceeds_the_accuracy_of_the_model(end):
    model = keras.Sequential([keras.layers.Input((2,)), *ENDS[end]()])
    model.layers[0].kernel.assign(RNG.standard_normal((2, model.output_shape[1])))  # nothing saturates in float32
    x = samples(200, (2,))
    y = (x[:, 0] > 0.1).astype(int)

    def predicted(points):
        values = np.asarray(model(points.astype("float32"), training=False))
        return (values[:, 0] > 0.5).astype(int) if values.shape[1] == 1 else values.argmax(axis=1)

    found = certification.certified_radius(model, x, y)
    np.testing.assert_array_equal(found.predicted, predicted(x))
    assert found.accuracy == (predicted(x) == y).mean()
    assert (found.accuracy_at([0, 0.1, 1.0]).certified <= found.accuracy).all()
    directions = samples(200, (2,))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    safe = certification.certified_radius(model, x)
    moved = x + 0.99 * np.minimum(safe.radii, 10.0)[:, None] * directions
    np.testing.assert_array_equal(predicted(moved), safe.predicted)


def test_the_head_of_a_layer_of_a_softmax_is_looked_at_class_by_class():
    kernel, x = RNG.standard_normal((5, 4)), samples(20, (5,))
    model = linear(kernel)
    ended = keras.Sequential([*model.layers, keras.layers.Activation("softmax")])
    ended.build((None, 5))
    np.testing.assert_allclose(
        certification.certified_radius(ended, x).radii, certification.certified_radius(model, x).radii
    )


def test_saturated_probabilities_still_have_a_radius():
    model = linear(1000 * np.eye(2), activation="softmax")
    found = certification.certified_radius(model, np.array([[1.0, 0.0]]))
    assert found.radii[0] == pytest.approx(1 / math.sqrt(2), rel=TIGHT)


def test_a_layer_without_a_bound_is_named():
    growing = keras.layers.Activation("exponential", name="growing")
    model = keras.Sequential([keras.layers.Input((3,)), growing, keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"no Lipschitz constant that is known.*'growing'"):
        certification.certified_radius(model, samples(4, (3,)))


# --- labels, rounding, results ---


def test_labels_in_all_their_forms():
    model, x = linear(RNG.standard_normal((6, 3))), samples()
    y = RNG.integers(3, size=20)
    expected = certification.certified_radius(model, x, y)
    right = expected.predicted == y
    assert 0 < right.sum() < 20
    np.testing.assert_array_equal(expected.radii[~right], 0)
    np.testing.assert_array_equal(expected.radii[right], certification.certified_radius(model, x).radii[right])
    for labels in (
        y[:, None],
        y.astype("float32"),
        np.eye(3)[y],
        2 * np.eye(3)[y] - 1,
        list(y),
        ops.convert_to_tensor(y),
    ):
        found = certification.certified_radius(model, x, labels)
        np.testing.assert_array_equal(found.labels, y)
        np.testing.assert_array_equal(found.radii, expected.radii)
    assert expected.accuracy == right.mean()
    assert expected.mean_radius == expected.radii.mean()
    assert expected.median_radius == np.median(expected.radii)
    assert len(expected) == 20


def test_labels_of_two_classes():
    model, x = linear([[1.0]]), np.array([[2.0], [-1.0], [0.5], [0.0]])
    for labels in ([1, 0, 0, 1], [1, -1, -1, 1], [[True], [False], [False], [True]]):
        found = certification.certified_radius(model, x, labels)
        np.testing.assert_allclose(found.radii, [2, 1, 0, 0], rtol=TIGHT)
        assert found.accuracy == 0.5  # a logit of 0 is decided as 0, with radius 0


def test_samples_of_any_dtype():
    model = linear(RNG.standard_normal((4, 3)))
    x = RNG.integers(0, 9, size=(5, 4))
    expected = certification.certified_radius(model, x.astype("float64")).radii
    for kind in ("uint8", "int64", "float16", "float32", bool):
        given = x.astype(kind)
        found = certification.certified_radius(model, given).radii
        np.testing.assert_allclose(found, certification.certified_radius(model, given.astype(float)).radii)
        assert found.dtype == np.float64
    np.testing.assert_array_equal(certification.certified_radius(model, x.astype("uint8")).radii, expected)
    np.testing.assert_array_equal(certification.certified_radius(model, x.tolist()).radii, expected)


def test_samples_of_models_of_whole_numbers_are_whole():
    inputs = keras.layers.Input((2,), dtype="uint8")
    model = keras.Sequential([inputs, keras.layers.Rescaling(1 / 255), keras.layers.Dense(2)])
    assert certification.certified_radius(model, np.array([[3, 250]])).radii.shape == (1,)
    for wrong in ([[1.5, 2]], [[-1, 2]], [[256, 2]]):
        with pytest.raises(ValueError, match="input dtype, uint8"):
            certification.certified_radius(model, np.array(wrong))


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_logits_of_whole_numbers_have_a_radius(dtype):
    model = keras.Sequential([keras.layers.Input((3, 1), dtype=dtype), keras.layers.Flatten()])
    found = certification.certified_radius(model, np.array([[[1], [5], [2]], [[4], [4], [0]]]))
    np.testing.assert_allclose(found.radii, [3 / math.sqrt(2), 0.0], rtol=1e-6)


@pytest.mark.parametrize("error", [KeyError, ArithmeticError])
def test_what_a_backend_cannot_compute_in_float64_is_said(error, monkeypatch):
    # As TensorFlow on CPUs, which pools volumes in no float64, with an error of its own.
    def call(self, inputs):
        if inputs.dtype == "float64":
            raise error("no kernel for it\nand more")
        return inputs

    monkeypatch.setattr(keras.layers.Identity, "call", call)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Identity()])
    words = f"'{model.name}' cannot be computed in float64 here: "
    with pytest.raises(ValueError, match=words):
        certification.certified_radius(model, np.zeros((1, 2)))
    (note,) = lipviz.certify(model).notes
    assert note.startswith(f"No lower bound: {words}")


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="other backends always compute in float64")
def test_constrained_layers_have_radii_where_jax_computes_in_float32():
    import jax

    with jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.disable_x64():
        model = lipviz.Sequential([keras.layers.Input((3,)), layers.SpectralDense(2)])
        (radius,) = certification.certified_radius(model, np.array([[1.0, 2.0, 3.0]])).radii
    assert radius > 0


# --- what float64 rounds ---


def shifted(*layers_):
    return keras.Sequential([keras.layers.Input((1,)), *layers_])


def identity_with_bias(bias):
    return keras.layers.Dense(1, kernel_initializer="ones", bias_initializer=keras.initializers.Constant(bias))


def centred(size):
    return {"mean": [size], "variance": [1.0]}


HIDDEN = {  # all of them are x, but for what a computer rounds on the way
    "biases": lambda size: shifted(identity_with_bias(size), identity_with_bias(-size)),
    "an activation between": lambda size: shifted(
        identity_with_bias(size), keras.layers.ReLU(), identity_with_bias(-size)
    ),
    "offsets": lambda size: shifted(
        keras.layers.Rescaling(1.0, offset=size), keras.layers.Rescaling(1.0, offset=-size)
    ),
    "normalizations": lambda size: shifted(
        keras.layers.Normalization(**centred(size)), keras.layers.Normalization(invert=True, **centred(size))
    ),
    "one batch normalization": lambda size: shifted(
        keras.layers.BatchNormalization(
            epsilon=0.0,
            beta_initializer=keras.initializers.Constant(size),
            moving_mean_initializer=keras.initializers.Constant(size),
        )
    ),
    "one centering": lambda size: shifted(layers.BatchCentering(bias_initializer=keras.initializers.Constant(size))),
    "operators": lambda size: keras.Model(x := keras.Input((1,)), (x + size) - size),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_hidden_values_that_cancel_cost_the_radius_what_they_round(kind):
    for power in (0, 30, 40):
        model = HIDDEN[kind](2.0**power)
        if kind == "one centering":
            model.layers[0].moving_mean.assign([2.0**power])
        x = np.array([[1.2e-8], [-3e-5], [0.1], [100.0]])
        radii = certification.certified_radius(model, x).radii
        assert (radii <= np.abs(x[:, 0])).all()
        if power == 0 or keras.backend.backend() != "jax":  # where normalizations are computed in float32
            assert radii[3] > 50
        if power == 40:
            assert radii[0] == radii[1] == 0


WIDE = {"dtype": "float64"}
EXPONENTIALS = {  # what takes 1 off an exponential
    "a layer": keras.layers.ELU(30.0, **WIDE),
    "a function": keras.layers.Activation("selu", **WIDE),
    "behind a kernel": keras.layers.Dense(1, "elu", kernel_initializer="ones", **WIDE),
    "a layer behind a kernel": keras.layers.Dense(1, keras.layers.ELU(30.0, **WIDE), kernel_initializer="ones", **WIDE),
    "celu": keras.layers.Activation("celu", **WIDE),
    "an operation": lambda x: keras.ops.elu(x, alpha=30.0),
}


@pytest.mark.parametrize("kind", EXPONENTIALS)
def test_exponentials_near_one_cost_the_radius_what_they_round(kind):
    inputs = keras.Input((1,), **WIDE)
    model = keras.Model(inputs, EXPONENTIALS[kind](inputs))
    x = -np.logspace(-20, -3, 100)[:, None]
    radii = certification.certified_radius(model, x).radii
    assert (radii <= np.abs(x[:, 0])).all()
    if keras.backend.backend() != "jax":
        assert radii[-1] > 1e-3 / 31 / 1.1


@pytest.mark.parametrize("columns", [4, 1])
def test_models_that_mix_samples_are_refused(columns):
    inputs = keras.Input((2,))
    mixed = keras.ops.reshape(inputs, (-1, columns))
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="zeros")(mixed))
    with pytest.raises(ValueError, match=r"one sample|for each sample"):
        certification.certified_radius(model, np.ones((4, 2)))


def test_what_a_far_change_rounds_costs_the_radius_as_well():
    # Nearly equal columns: only a change of 1e10 could flip the decision, and values as large as that round the logits.
    dense = keras.layers.Dense(2, dtype="float64")
    model = keras.Sequential([keras.layers.Input((2,), dtype="float64"), dense])
    dense.set_weights([np.array([[1.0, 1.0 + 1e-10], [0.3, 0.3]]), np.array([1.0, 0.0])])
    (radius,) = certification.certified_radius(model, np.zeros((1, 2))).radii
    assert 1e9 < radius < 1e10
    ends = radius * (1 - np.arange(1, 200)[:, None] * 1e-10) * np.array([[1.0, 0.0]])
    scores = outputs(certification.logits_model(model), ends)
    assert (scores[:, 0] > scores[:, 1]).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_that_are_interpolated_in_float32_cost_the_radius_what_that_rounds(interpolation):
    one = keras.layers.UpSampling2D((1, 1), interpolation=interpolation)  # the identity, but for rounding
    model = keras.Sequential([keras.layers.Input((1, 2, 1)), one, keras.layers.Flatten()])
    x = np.array([[0.6131805747314502, 0.6131805747314502 + 1e-8], [1.0, 2.0]]).reshape(2, 1, 2, 1)
    radii = certification.certified_radius(model, x).radii
    assert radii[0] == 0  # float32 does not tell the two from each other
    assert 0.9999 / math.sqrt(2) < radii[1] < 1 / math.sqrt(2)


def test_a_gelu_whose_constant_is_rounded_to_float32_costs_the_radius_what_that_rounds():
    def gelu(x):
        return x * scipy.special.ndtr(x)

    model = keras.Sequential([keras.Input((2,), dtype="float64"), keras.layers.Activation("gelu", dtype="float64")])
    other = scipy.optimize.brentq(lambda x: gelu(x) - gelu(-1.2) + 1e-9, -0.7, -0.1, xtol=1e-14)
    found = certification.certified_radius(model, np.array([[-1.2, other]]))
    assert found.radii[0] == 0 or found.predicted[0] == 0  # TensorFlow computes the other class


@pytest.mark.parametrize("kind", ["BatchNormalization", "divide"])
def test_whole_numbers_that_keras_turns_into_float32_cost_the_radius_what_that_rounds(kind):
    inputs = keras.Input((2,), dtype="int32")
    rng = np.random.default_rng(0)
    if kind == "divide":
        scales = 1 / np.array([3.0, 7.0])
        model = keras.Model(inputs, keras.ops.divide(inputs, np.array([3, 7], "int32")))
        x = np.array([[3 * n + 1, 7 * n + 2] for n in range(10**7, 10**7 + 99)], "int32")
    else:
        layer = keras.layers.BatchNormalization(epsilon=0.0, scale=False, center=False)
        model = keras.Model(inputs, layer(inputs))
        layer.moving_variance.assign(rng.uniform(0.5, 2.0, 2))
        scales = np.asarray(layer.moving_variance, np.float64) ** -0.5
        x = rng.integers(10**7, 10**8, (400, 1)) * np.array([1.0, scales[0] / scales[1]])
        x = np.round(x).astype("int32")  # so that the two outputs are nearly equal
    distances = np.abs(x * scales @ [1.0, -1.0]) / np.linalg.norm(scales)
    radii = certification.certified_radius(model, x).radii
    assert (radii <= distances).all(), f"{(radii - distances).max()} too far"
    far = np.array([[900, 1]], "int32")
    slope = scales.max() * math.sqrt(2)  # of a difference of outputs, at most
    assert certification.certified_radius(model, far).radii[0] > 0.999 * abs(far @ (scales * [1.0, -1.0]))[0] / slope


@pytest.mark.slow
@given(st.integers(0, 999), st.integers(0, 25), st.integers(-3, 6))
@settings(max_examples=examples(8))
def test_the_error_of_float64_logits_is_bounded(seed, power, size):
    # Against the same network in fractions, which round nothing.
    rng = np.random.default_rng(seed)
    parts = [(3, 4), (4, 4), (4, 2)]
    model = keras.Sequential([keras.layers.Input((3,)), *(keras.layers.Dense(n, "relu") for _, n in parts)])
    model.layers[-1].activation = keras.activations.linear
    for layer, shape in zip(model.layers, parts, strict=True):
        kernel = rng.standard_normal(shape) * 10.0 ** rng.uniform(-2, 2)
        layer.set_weights([kernel, 2.0**power * rng.standard_normal(shape[1])])
    x = 10.0**size * rng.standard_normal((4, 3))
    network = certification.logits_model(model)
    _, constant, slope = pairwise_bounds_and_errors(network, (3,))
    for point, found in zip(x, outputs(network, x), strict=True):
        value = [Fraction(number) for number in point.tolist()]
        for number, layer in enumerate(model.layers):
            kernel, bias = (np.asarray(weight, np.float64).tolist() for weight in layer.get_weights())
            value = [sum(v * w for v, w in zip(value, column, strict=True)) for column in zip(*kernel, strict=True)]
            value = [v + Fraction(b) for v, b in zip(value, bias, strict=True)]
            value = [max(v, Fraction(0)) for v in value] if number < 2 else value
        error = math.hypot(*(float(Fraction(f) - v) for f, v in zip(found.tolist(), value, strict=True)))
        assert error <= constant + slope * np.linalg.norm(point)


def test_equal_outputs_tie_or_never_meet():
    model = linear([[1.0, 1.0], [0.0, 0.0]])
    assert certification.certified_radius(model, np.array([[1.0, 0.0]])).radii[0] == 0
    assert certification.certified_radius(linear([[1.0, 1.0]], bias=[0, 2]), np.ones((1, 1))).radii[0] == math.inf


def test_an_error_of_the_logits_is_taken_off():
    model, x = linear([[3.0], [4.0]]), samples(20, (2,))
    exact, less = (certification.certified_radius(model, x, logit_error=e) for e in (0.0, 0.1))
    np.testing.assert_allclose(less.radii, np.maximum(exact.radii - 0.1 / 5, 0), rtol=1e-6, atol=1e-9)
    model, x = linear(np.eye(2)), np.array([[1.0, 0.0]])
    assert certification.certified_radius(model, x, logit_error=0.1).radii[0] == pytest.approx(
        0.8 / math.sqrt(2), rel=TIGHT
    )
    assert certification.certified_radius(model, x, logit_error=0.5).radii[0] == 0


def test_the_errors_of_float32_logits():
    model, x = deep(), samples(50)
    errors = certification.logit_errors(model, x)
    assert errors.shape == (50,)
    assert errors.max() > 0
    # An entry of a product of length n is rounded n + 2 times with its bias, of sizes |x| |W|; layers of norm 1 do not
    # let errors grow, and keep the norm of what comes in.
    kernels = [np.abs(np.asarray(layer.wbar, np.float64)) for layer in model.layers]
    rounded = 1 + sum((len(kernel) + 2) * np.linalg.norm(kernel, 2) for kernel in kernels)
    assert (errors <= 2.0**-24 * rounded * np.linalg.norm(x, axis=1)).all()


def test_the_batch_does_not_matter():
    model, x = linear(RNG.standard_normal((6, 3))), samples(1030)
    whole = certification.certified_radius(model, x).radii
    parts = [certification.certified_radius(model, part).radii for part in (x[:1], x[1:])]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=TIGHT)


def test_known_bounds_are_taken():
    model, x = linear(RNG.standard_normal((6, 3))), samples()
    expected = certification.certified_radius(model, x)
    bounds = certification.pairwise_bounds(model, x.shape[1:])
    np.testing.assert_allclose(
        certification.certified_radius(model, x, bounds=bounds).radii, expected.radii, rtol=TIGHT
    )
    doubled = certification.certified_radius(model, x, bounds=2 * bounds)
    np.testing.assert_allclose(doubled.radii, expected.radii / 2, rtol=1e-6)


def test_certified_accuracy_counts_radii_above_epsilon():
    model, x = linear([[1.0]]), np.array([[0.5], [1.0], [2.0], [-3.0]])
    y = [1, 1, 1, 1]
    found = certification.certified_accuracy(model, x, y, [0, 0.6, 1, 5])
    np.testing.assert_array_equal(found.certified, [0.75, 0.5, 0.25, 0])
    assert found.accuracy == 0.75
    assert found.samples == 4
    assert found.empirical is None
    again = certification.certified_radius(model, x, y).accuracy_at(0.6)
    np.testing.assert_array_equal(again.certified, [0.5])
    np.testing.assert_allclose(certification.certified_accuracy(model, x, y).epsilons, [0, 36 / 255, 0.5, 1])


def test_measuring_leaves_the_model_alone():
    model = deep(layers.SpectralDense(3, activation="softmax"))
    x = samples()
    y = np.asarray(model(x, training=False))
    before = model.get_weights()
    certification.certified_radius(model, x)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model(x, training=False), y)


# --- what is refused ---


def test_a_model_must_be_a_built_keras_model_with_finite_weights():
    with pytest.raises(TypeError, match="Keras model"):
        certification.certified_radius(lambda x: x, samples())
    with pytest.raises(ValueError, match="built"):
        certification.certified_radius(keras.Sequential([keras.layers.Dense(2)]), samples())
    model = linear(np.ones((6, 2)))
    model.layers[0].kernel.assign(np.full((6, 2), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        certification.certified_radius(model, samples())


def test_a_model_has_one_input_and_one_output():
    one, two = keras.Input((3,)), keras.Input((3,))
    dense = keras.layers.Dense(2)
    with pytest.raises(ValueError, match="outputs"):
        certification.certified_radius(keras.Model(one, [dense(one), dense(one)]), samples(4, (3,)))
    with pytest.raises(ValueError, match="inputs"):
        certification.certified_radius(keras.Model([one, two], dense(one + two)), samples(4, (3,)))
    image = keras.Sequential([keras.layers.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=r"\(batch, "):
        certification.certified_radius(image, samples(4, (4, 4, 1)))


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.full((3, 6), np.nan), ValueError, "NaN"),
        (np.full((3, 6), np.inf), ValueError, "Inf"),
        (np.ones((0, 6)), ValueError, "at least one"),
        (np.ones(6), ValueError, "at least one"),
        (np.ones((3, 5)), ValueError, r"\(n, 6\)"),
        (np.ones((3, 6, 1)), ValueError, r"\(n, 6\)"),
        ([["a"] * 6], TypeError, "real numbers"),
        (1j * np.ones((3, 6)), TypeError, "real numbers"),
    ],
)
def test_bad_samples_are_named(x, error, words):
    with pytest.raises(error, match=words):
        certification.certified_radius(linear(np.ones((6, 2))), x)


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        ([0, 1, 2], ValueError, "from 0 to 1"),
        ([0, -1, 1], ValueError, "from 0 to 1"),
        ([0, 0.5, 1], ValueError, "from 0 to 1"),
        ([0, 1], ValueError, "shape"),
        (np.eye(3), ValueError, "one-hot of shape"),
        (np.ones((3, 2)), ValueError, "one-hot"),
        (np.full((3, 2), 0.5), ValueError, "one-hot"),
        ([0, np.nan, 1], ValueError, "NaN"),
        (["a", "b", "c"], TypeError, "real numbers"),
    ],
)
def test_bad_labels_are_named(y, error, words):
    model = linear(np.ones((6, 2)))
    with pytest.raises(error, match=words):
        certification.certified_radius(model, np.ones((3, 6)), y)


def test_bad_labels_of_two_classes_are_named():
    model = linear(np.ones((6, 1)))
    for y in ([0, 1, 2], [-1, 0, 1], [0.5, 0, 1]):
        with pytest.raises(ValueError, match="0 and 1, or −1 and 1"):
            certification.certified_radius(model, np.ones((3, 6)), y)


@pytest.mark.parametrize(
    ("epsilons", "error"),
    [
        (-0.1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ([], ValueError),
        ("a", TypeError),
        (True, TypeError),
    ],
)
def test_bad_sizes_are_named(epsilons, error):
    model, x = linear(np.ones((6, 2))), np.ones((3, 6))
    with pytest.raises(error, match="epsilons"):
        certification.certified_accuracy(model, x, [0, 1, 0], epsilons)


def test_other_bad_arguments_are_named():
    model, x = linear(np.ones((6, 2))), np.ones((3, 6))
    for bounds in (np.ones((3, 3)), -np.ones((2, 2)), np.full((2, 2), np.nan), np.full((2, 2), np.inf)):
        with pytest.raises(ValueError, match=r"[Bb]ound"):
            certification.certified_radius(model, x, bounds=bounds)
    for error in (-1, math.nan, [1, 2]):
        with pytest.raises(ValueError, match="logit_error"):
            certification.certified_radius(model, x, logit_error=error)
    with pytest.raises(TypeError, match="y=None"):
        certification.certified_accuracy(model, x, None)
    with pytest.raises(ValueError, match="needs labels"):
        certification.certified_radius(model, x).accuracy_at(0.1)


def test_constants_of_weights_that_stayed_are_not_computed_again(monkeypatch):
    """Of a radius with known bounds most of the time would be what follows rounding along the model."""
    asked = []

    def counted(name):
        compute = getattr(bounds_of_linear, name)
        return lambda *args, **kwargs: asked.append(name) or compute(*args, **kwargs)

    for name in ("convolution_bound", "matrix_bound"):
        monkeypatch.setattr(bounds_of_linear, name, counted(name))
    stack = [layers.SpectralConv2D(2, 3), layers.GroupSort2(), keras.layers.Flatten(), layers.SpectralDense(3)]
    model, x = keras.Sequential([keras.Input((6, 6, 1)), *stack]), samples(4, (6, 6, 1))
    bounds = certification.pairwise_bounds(model)
    assert asked
    asked.clear()
    found = certification.certified_radius(model, x, bounds=bounds)
    assert certification.certified_radius(model, x).radii == pytest.approx(found.radii)
    assert not asked
    model.layers[0].kernel.assign(np.random.default_rng(1).standard_normal((3, 3, 1, 2)))
    model.layers[0].refresh()
    assert certification.pairwise_bounds(model).max() != pytest.approx(bounds.max(), rel=1e-6)
    assert asked


def test_what_is_remembered_is_told_apart():
    """One kernel in layers of other strides, paddings, sizes and norms."""
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 2))
    for _ in range(2):
        for strides, padding, size, norm in itertools.product((1, 2), ("same", "valid"), (5, 6), (1, 2, np.inf)):
            layer = keras.layers.Conv2D(2, 3, strides, padding)
            layer.build((None, size, size, 2))
            layer.kernel.assign(kernel)
            bound = bounds_of_linear.operator_bound(operators.linear_operator(layer, (size, size, 2)), norm)
            matrix = operators.explicit_matrix(operators.linear_operator(layer, (size, size, 2)))
            exact = np.linalg.norm(matrix, norm)
            assert bound.lower * (1 - 1e-9) <= exact <= bound.upper * (1 + 1e-12)
