"""Radii of networks as they are deployed: errors held against exact rational numbers, and searches for flips."""

import itertools
import math
from fractions import Fraction

import keras
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg as sla
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl
from keras import ops

import lipviz
from lipviz import certification
from lipviz import layers as lip
from lipviz.certification.arithmetic import Arithmetic, numbers_of
from lipviz.certification.deployed import Deployed
from lipviz.certification.running import UnknownRoundingError
from lipviz.certification.running_sums import terms_of
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import linear_operator
from lipviz.operators.magnitudes import magnitudes, norm_of_positive, norm_of_small
from lipviz.rules.activations import ELEMENTWISE
from tests.support import examples
from tools.rational import exact_logits

DTYPES = ("float32", "float16", "bfloat16")


def chain(shape, *steps, seed=0):
    """A model with random weights, offsets and statistics."""
    model = keras.Sequential([keras.Input(shape), *steps])
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1 and weight.name not in ("u", "sig"):
            value = rng.standard_normal(weight.shape)
            weight.assign(0.1 + value**2 if "variance" in weight.name else value)
    lipviz.model.refresh(model)
    return model


def dense(*kernels, biases=None, dtype="float32"):
    """A model of dense layers with ReLU between them."""
    count = len(kernels)
    steps = [kl.Dense(w.shape[1], "relu" if i < count - 1 else None, dtype=dtype) for i, w in enumerate(kernels)]
    model = keras.Sequential([keras.Input((len(kernels[0]),)), *steps])
    for layer, w, b in zip(model.layers, kernels, biases or [np.zeros(w.shape[1]) for w in kernels], strict=True):
        layer.set_weights([w.astype(np.float32), np.asarray(b, np.float32)])
    return model


def random_dense(sizes, seed=0, scale=1.0, dtype="float32"):
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(sizes))
    kernels = [scale * rng.standard_normal((n, m)) / math.sqrt(n) for n, m in pairs]
    return dense(*kernels, biases=[0.3 * scale * rng.standard_normal(m) for _, m in pairs], dtype=dtype)


def outputs(model, x):
    """What a model computes in its own arithmetic."""
    return np.asarray(ops.convert_to_numpy(ops.cast(model(x, training=False), "float32")), np.float64)


def in_ball(x, radius, count, seed=0):
    """Points at distances up to a radius: at random, and at the rim."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((count, *x.shape))
    directions /= np.linalg.norm(directions.reshape(count, -1), axis=1).reshape(-1, *[1] * x.ndim)
    lengths = np.where(np.arange(count) % 2, radius, radius * rng.uniform(size=count))
    return x + lengths.reshape(-1, *[1] * x.ndim) * directions * (1 - 1e-12)


# --- errors ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("radius", [0.0, 0.5])
def test_computed_logits_are_within_the_bound_of_exact_rational_ones(dtype, radius):
    model = random_dense((9, 12, 8, 3), dtype={"float32": "float32"}.get(dtype, f"mixed_{dtype}"))
    deployed = Deployed(model, Arithmetic(dtype), (9,))
    assert deployed.network is model
    x = np.random.default_rng(1).standard_normal((1, 9)) * 3
    bound = deployed.errors(x, np.array([[radius]]), np.array([1]))[0][0, :, 0]
    for point in in_ball(x[0], radius, 4):
        logits, wanted = outputs(model, point[None].astype(np.float32))[0], exact_logits(model, point)
        for i in (0, 2):
            error = abs((Fraction(logits[1]) - Fraction(logits[i])) - (wanted[1] - wanted[i]))
            assert float(error) <= bound[i]


def in_order(terms, order, flush):
    """A sum in float32 whose order and subnormal numbers are chosen by an adversary."""
    total = np.float32(0)
    for term in np.sort(terms) if order == "ascending" else terms[np.argsort(-np.abs(terms))]:
        total = np.float32(total + term)
        total = np.float32(0) if flush and abs(total) < 2.0**-126 else total
    return total


@pytest.mark.parametrize("order", ["ascending", "largest first"])
@given(seed=st.integers(0, 99), exponent=st.sampled_from([-38, -20, 0, 15]), duplicated=st.booleans())
@settings(max_examples=examples(15), deadline=None)
def test_sums_in_every_order_and_with_flushed_numbers_are_within_the_bound(order, seed, exponent, duplicated):
    rng = np.random.default_rng(seed)
    kernel = (10.0**exponent * rng.standard_normal((30, 2))).astype(np.float32)
    kernel = np.repeat(kernel[:, :1], 2, axis=1) if duplicated else kernel
    x = (10.0 ** rng.uniform(-6, 4, (1, 30)) * rng.standard_normal((1, 30))).astype(np.float32)
    model = dense(kernel)
    deployed = Deployed(model, Arithmetic("float32"), (30,))
    bound = deployed.errors(x.astype(np.float64), np.zeros((1, 1)), np.array([0]))[0][0, 1, 0]
    logits = [in_order(np.float32(x[0] * column), order, flush=True) for column in kernel.T]
    wanted = exact_logits(model, x[0])
    assert abs(float(Fraction(float(logits[0])) - Fraction(float(logits[1])) - wanted[0] + wanted[1])) <= bound


def test_a_sum_that_loses_every_small_term_is_within_the_bound_and_near_it():
    count = 1000
    x = np.full((1, count), 2.0**-24)  # half a unit of 1 in the last place: 1 + 2⁻²⁴ rounds to 1
    x[0, 0] = 1
    deployed = Deployed(dense(np.ones((count, 1))), Arithmetic("float32"), (count,))
    bound = deployed.errors(x, np.zeros((1, 1)), np.array([0]))[0][0, 0, 0]
    total = np.float32(0)
    for term in x[0].astype(np.float32):
        total = np.float32(total + term)
    error = x.sum() - float(total)
    assert error == (count - 1) * 2.0**-24
    assert error <= bound <= 1.02 * error


@pytest.mark.parametrize(
    "layer",
    [
        kl.Dense(3),
        kl.Conv2D(4, (2, 3), groups=2, padding="same"),
        kl.Conv2DTranspose(3, 3),
        kl.DepthwiseConv2D(3, depth_multiplier=2),
        lip.PadConv2D(3, 3, padding="reflect"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_no_sum_has_more_terms_than_are_counted(layer):
    layer.build((None, 6, 7, 2))
    operator = linear_operator(layer, (6, 7, 2))
    most = np.count_nonzero(operator @ np.eye(operator.shape[1]), axis=1).max()
    assert most <= terms_of(layer) <= most * (4 if isinstance(layer, lip.PadConv2D | kl.Conv2D) else 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_that_are_added_up_in_float32_have_a_smaller_bound_which_holds(dtype):
    model = random_dense((40, 30, 3), seed=3)
    wide, narrow = (Deployed(model, Arithmetic(dtype, sums), (40,)) for sums in ("float32", dtype))
    x = np.random.default_rng(1).standard_normal((5, 40))
    chosen, ball = np.zeros(5, int), np.full((5, 1), 0.1)
    bound, larger = (one.errors(x, ball, chosen)[0][:, 1:, 0] for one in (wide, narrow))
    assert (bound < 0.4 * larger).all()

    def rounded(values):
        return np.asarray(ops.convert_to_numpy(ops.cast(ops.cast(np.float32(values), dtype), "float32")), np.float64)

    for seed in range(3):
        points = np.stack([in_ball(row, 0.1, 1, seed)[0] for row in x])
        values = rounded(points)
        for layer in model.layers:
            kernel, bias = (rounded(np.asarray(weight)) for weight in layer.weights)
            values = rounded(rounded(np.float32(values) @ np.float32(kernel)) + bias)
            values = np.maximum(values, 0) if layer.activation is keras.activations.relu else values
        scores = wide.scores(points)
        assert (np.abs((values[:, :1] - values[:, 1:]) - (scores[:, :1] - scores[:, 1:])) <= bound).all()


@given(scale=st.sampled_from([0.0, 1e-44, 1e-30, 1e-12, 1e12, 1e30]), width=st.integers(1, 3), seed=st.integers(0, 9))
@settings(max_examples=examples(20), deadline=None)
def test_networks_of_extreme_scales_are_within_their_bounds_or_may_overflow(scale, width, seed):
    model = random_dense((2, width, 2), seed, scale)
    deployed = Deployed(model, Arithmetic("float32"), (2,))
    x = np.random.default_rng(seed).standard_normal((1, 2)) * max(1.0, min(1 / (scale or 1.0), 1e10))
    bound, overflows = deployed.errors(x, np.array([[1e-3]]), np.array([0]))
    if not overflows[0, 0]:
        point = in_ball(x[0], 1e-3, 1, seed)
        logits, wanted = outputs(model, point.astype(np.float32))[0], exact_logits(model, point[0])
        error = (Fraction(logits[0]) - Fraction(logits[1])) - (wanted[0] - wanted[1])
        assert abs(float(error)) <= bound[0, 1, 0]
    assert (scale == 1e30) == overflows[0, 0]


def _whole_images(pooling):
    conv = lip.SpectralConv2D(4, 2, activation=lip.GroupSort2())
    return chain((5, 4, 3), lip.BatchCentering(k_coef_lip=1.5), conv, lip.BatchLipNorm(), pooling, kl.Dense(3))


def _numbers():
    """Layers and operations that scale, shift, centre, move and average."""
    inputs = keras.Input((6, 4, 2))
    y = kl.Rescaling([0.1, 3.0], offset=[0.2, -0.7])(0.3 - inputs / 1.7)
    y = kl.Normalization(mean=[0.3, -2.0], variance=[0.2, 3.0])(kl.UpSampling2D((1, 2))(y))
    y = lip.InvertibleDownSampling(2, k_coef_lip=0.3)(lip.LayerCentering(k_coef_lip=1.1)(y))
    theta = keras.initializers.RandomUniform(-3, 3, seed=1)
    y = lip.Householder(theta_initializer=theta, k_coef_lip=1.2)(kl.SpectralNormalization(kl.Conv2D(6, 2))(y))
    y = ops.sum(-y, axis=1)
    return keras.Model(inputs, kl.Dense(3)(ops.mean(kl.TimeDistributed(kl.Dense(4, "relu"))(y), axis=1)))


MODELS = {
    "numbers": _numbers,
    "images": lambda: chain(
        (10, 10, 2),
        kl.Rescaling(1 / 3, 0.25),
        kl.Conv2D(4, 3, padding="same"),
        kl.BatchNormalization(),
        kl.ReLU(max_value=2.0, negative_slope=0.1),
        kl.MaxPooling2D(padding="same"),
        kl.DepthwiseConv2D(3, activation="elu"),
        lip.PReLUlip(),
        kl.SeparableConv2D(4, 2, padding="same", activation="gelu"),
        kl.AveragePooling2D(2, padding="same"),
        kl.Conv2DTranspose(3, 3, strides=2, activation="tanh"),
        kl.GlobalAveragePooling2D(),
        kl.Dense(4),
    ),
    "ours": lambda: chain(
        (9, 9, 1),
        lip.SpectralConv2D(4, 3, activation=lip.GroupSort2()),
        lip.ScaledL2NormPooling2D(),
        lip.MaxMin(k_coef_lip=0.7),
        lip.SpectralConv2D(4, 3, padding="same"),
        lip.ScaledAveragePooling2D((3, 1)),
        kl.Flatten(),
        lip.SpectralDense(6, activation=lip.GroupSort(3)),
        lip.FrobeniusDense(4),
    ),
    "mean of images": lambda: _whole_images(lip.ScaledGlobalAveragePooling2D(k_coef_lip=2.0)),
    "norm of images": lambda: _whole_images(lip.ScaledGlobalL2NormPooling2D()),
    "one output": lambda: chain((5,), kl.Dense(8, "silu"), kl.Dense(6, "softplus"), kl.Dense(1)),
}


@pytest.mark.covered_by_day
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_each_kind_of_layer_is_within_its_bound_on_this_backend(name, dtype):
    model = MODELS[name]()
    deployed = Deployed(model, Arithmetic(dtype), model.input_shape[1:])
    x = np.random.default_rng(2).standard_normal((3, *model.input_shape[1:]))
    radius, rows = 0.2, np.arange(3)
    chosen = deployed.scores(x).argmax(axis=1)
    bound = deployed.errors(x, np.full((3, 1), radius), chosen)[0][:, :, 0]
    assert (bound > 0).sum() >= 3 * (deployed.classes - 1)
    for seed in range(3):
        points = np.stack([in_ball(row, radius, 2, seed)[1] for row in x])
        logits, scores = outputs(deployed.network, points.astype(np.float32)), deployed.scores(points)
        if deployed.classes > 1:
            logits, scores = (values[rows, chosen][:, None] - values for values in (logits, scores))
        assert (np.abs(logits - scores) <= bound).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_graph_of_branches_is_within_its_bound(dtype):
    inputs = keras.Input((8,))
    y = lip.LipResidual()([inputs, kl.Dense(8, "relu")(inputs)])
    y = kl.Concatenate()([kl.Average()([y, inputs, y]), ops.flip(kl.Subtract()([y, inputs]), axis=1)])
    model = keras.Model(inputs, kl.Dense(3)(kl.Add()([y, y])))
    deployed = Deployed(model, Arithmetic(dtype), (8,))
    x = np.random.default_rng(2).standard_normal((4, 8))
    bound = deployed.errors(x, np.zeros((4, 1)), np.zeros(4, int))[0][:, 1:, 0]
    logits, scores = outputs(deployed.network, x.astype(np.float32)), deployed.scores(x)
    assert (np.abs((logits[:, :1] - logits[:, 1:]) - (scores[:, :1] - scores[:, 1:])) <= bound).all()
    assert bound.max() < (1e-4 if dtype == "float32" else 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, entry in ELEMENTWISE.items() if entry.rounding is not None])
def test_functions_are_as_exact_on_this_backend_as_is_assumed(name, dtype):
    sizes = np.geomspace(1e-30, 1e4, 3000)
    points = np.concatenate([np.linspace(-40, 40, 20001), sizes, -sizes]).astype(np.float32)
    x = ops.cast(points, dtype)
    got, taken = (
        np.asarray(ops.convert_to_numpy(ops.cast(values, "float32")), np.float64)
        for values in (getattr(keras.activations, name)(x), x)
    )
    function, numbers = ELEMENTWISE[name].rounding, numbers_of(dtype)
    wanted = ELEMENTWISE[name].values(taken)
    allowed = function.output * np.abs(wanted) + function.input * np.abs(taken) + function.constant
    assert (np.abs(got - wanted) <= numbers.unit * allowed + 4 * numbers.tiny).all()


# --- norms of magnitudes ---


def test_norms_of_magnitudes_bound_those_of_the_matrix():
    rng = np.random.default_rng(0)
    convolution = Convolution(rng.standard_normal((3, 3, 2, 3)), (5, 4), (2, 1), "same")
    matrix = convolution @ np.eye(convolution.shape[1])
    sizes = magnitudes(2.0 * convolution.T)
    np.testing.assert_allclose(sizes @ np.eye(sizes.shape[1]), 2 * np.abs(matrix.T), atol=1e-14)
    norm = np.linalg.norm(np.abs(matrix), 2)
    assert norm <= norm_of_positive(magnitudes(convolution)) <= 1.01 * norm
    small = np.where(np.abs(matrix) < 0.3, np.abs(matrix), 0)
    assert np.linalg.norm(small, 2) <= norm_of_small(convolution, 0.3) <= 1.05 * np.linalg.norm(small, 2)
    sparse = sla.aslinearoperator(scipy.sparse.csr_array(matrix))
    assert norm_of_small(sparse, 0.3) == pytest.approx(norm_of_small(convolution, 0.3))
    assert norm_of_small(convolution, 0.0) == 0 == norm_of_positive(magnitudes(0.0 * convolution))


# --- radii ---


def test_hidden_values_that_cancel_make_a_radius_false_unless_it_speaks_of_float32():
    large = 2.0**24  # where float32 has only even numbers
    model = dense(np.ones((1, 1)), np.ones((1, 1)), biases=[[large], [-large]])
    x, inside = np.array([[3.0]]), np.array([[0.9]])
    found = certification.certified_radius(model, x)
    assert found.radii[0] == pytest.approx(3, rel=1e-3)
    assert abs(inside - x) < found.radii[0]
    assert outputs(model, np.float32(x)) > 0 >= outputs(model, np.float32(inside))
    assert certification.certified_radius(model, x, arithmetic="float32").radii[0] == 0


def towards_boundary(model, x, radius, scale):
    """Points at a distance of scale · radius from x towards the boundary of each class, and their neighbours."""
    kernel = np.asarray(model.layers[0].kernel, np.float64)
    chosen = int(np.argmax(x @ kernel))
    for rival in set(range(kernel.shape[1])) - {chosen}:
        normal = kernel[:, rival] - kernel[:, chosen]
        point = x + scale * radius * normal / np.linalg.norm(normal)
        yield point
        for signs in np.random.default_rng(0).choice([-1, 0, 1], (30, len(x))):
            yield np.float32(point) + signs * np.spacing(np.float32(np.abs(point)))


def test_the_search_flips_float32_within_radii_of_float64_and_not_within_those_of_float32():
    rng = np.random.default_rng(5)
    model = dense(rng.standard_normal((400, 3)))
    flips = {"None": 0, "float32": 0}
    x = 10 * rng.standard_normal((12, 400))
    for arithmetic in (None, "float32"):
        found = certification.certified_radius(model, x, arithmetic=arithmetic)
        for row, radius, chosen in zip(x, found.radii, found.predicted, strict=True):
            points = np.array(list(towards_boundary(model, row, radius, 1 - 1e-8)))
            points = points[np.linalg.norm(points - row, axis=1) < radius]
            logits = outputs(model, points.astype(np.float32))
            flips[str(arithmetic)] += int((logits.argmax(axis=1) != chosen).sum())
    assert flips["None"] > 0
    assert flips["float32"] == 0


def test_radii_in_an_arithmetic_are_nearly_those_of_float64_and_shrink_with_its_digits():
    model = chain((16,), lip.SpectralDense(32, activation=lip.GroupSort2()), lip.FrobeniusDense(5))
    x = np.random.default_rng(0).standard_normal((30, 16))
    y = certification.certified_radius(model, x).predicted
    y[:3] += 1
    exact_ones = certification.certified_radius(model, x, y % 5)
    radii = [
        certification.certified_radius(model, x, y % 5, arithmetic=arithmetic).radii
        for arithmetic in ("float32", Arithmetic("float16", "float32"), Arithmetic("bfloat16", "float32"), "bfloat16")
    ]
    assert radii[0].sum() > 0.995 * exact_ones.radii.sum()
    assert (radii[0][:3] == 0).all()
    sums = [part.sum() for part in radii]
    assert sums == sorted(sums, reverse=True)
    assert sums[1] > 0.7 * sums[0]


@pytest.mark.parametrize("last", ["logits", "softmax"])
def test_a_model_may_end_with_a_softmax_which_costs_a_little(last):
    activation = None if last == "logits" else last
    model = chain((4,), kl.Dense(6, "relu"), kl.Dense(3, activation))
    x = np.random.default_rng(0).standard_normal((5, 4))
    found = certification.certified_radius(model, x, arithmetic="float32")
    np.testing.assert_array_equal(found.predicted, outputs(model, np.float32(x)).argmax(axis=1))
    assert (found.radii > 0).all()


def test_logits_that_differ_by_a_constant_have_a_large_radius():
    model = dense(np.zeros((3, 2)), biases=[[1.0, 0.0]])
    found = certification.certified_radius(model, np.ones((2, 3)), arithmetic="float32")
    assert (found.radii > 1e3).all()
    assert np.isfinite(found.radii).all()


def test_numbers_that_may_overflow_have_the_radius_0_and_the_result_says_so():
    model = dense(np.full((2, 2), 300.0), np.eye(2), biases=[[0, 0], [9e3, 0]])
    x = np.array([[200.0, 200.0], [0.1, 0.1]])
    found = certification.certified_radius(model, x, arithmetic=Arithmetic("float16", "float32"))
    assert found.radii[0] == 0 < found.radii[1]
    assert "may overflow for 1 of the samples" in found.origin.arithmetic
    assert "overflow" not in certification.certified_radius(model, x, arithmetic="float32").origin.arithmetic


def test_sums_that_are_too_long_for_a_dtype_have_the_radius_0():
    model = dense(np.full((300, 2), [0.1, -0.1]))
    x = np.ones((1, 300))
    assert certification.certified_radius(model, x, arithmetic="bfloat16").radii[0] == 0
    assert certification.certified_radius(model, x, arithmetic=Arithmetic("bfloat16", "float32")).radii[0] > 0


def test_a_model_in_mixed_precision_is_certified_as_it_is():
    with_own = chain((4,), kl.Dense(6, "relu", dtype="mixed_bfloat16"), kl.Dense(3, dtype="float32"))
    deployed = Deployed(with_own, Arithmetic("bfloat16"), (4,))
    assert deployed.network is with_own
    assert Deployed(with_own, Arithmetic("float16"), (4,)).network is not with_own


def test_the_certificate_file_keeps_the_arithmetic_and_old_files_have_none(tmp_path):
    model = random_dense((4, 5, 3))
    x = np.random.default_rng(0).standard_normal((3, 4))
    certificate = certification.certify(model, search=False)
    for arithmetic in (None, "float32"):
        radii = certification.certified_radius(model, x, arithmetic=arithmetic)
        certificate.save(tmp_path / "net.json", radii)
        assert ("of_network" in (tmp_path / "net.json").read_text()) == (arithmetic is not None)
        loaded = certification.Certificate.load(tmp_path / "net.json").radii
        assert loaded.origin == radii.origin
        assert loaded.origin.arithmetic.startswith(arithmetic or "")
        assert ("float32: for every order" in str(loaded)) == (arithmetic is not None)


# --- what is refused ---


def refusal(model, arithmetic="float32", **settings):
    with pytest.raises(ValueError) as caught:
        certification.certified_radius(model, np.ones((1, *model.input_shape[1:])), arithmetic=arithmetic, **settings)
    return str(caught.value)


def test_layers_whose_rounding_is_not_known_are_refused_by_name():
    model = chain((4,), kl.Dense(3, "exponential", name="first"), kl.LayerNormalization(name="second"), kl.Dense(2))
    with pytest.raises(UnknownRoundingError, match=r"'first' \(Dense.*'second' \(LayerNormalization"):
        certification.certified_radius(model, np.ones((1, 4)), arithmetic="float32")


def test_a_mean_whose_sum_may_overflow_is_found():
    pooling = chain((8, 8, 1), kl.AveragePooling2D(8), kl.Flatten(), kl.Dense(2))
    deployed = Deployed(pooling, Arithmetic("float16"), (8, 8, 1))
    for size, overflows in ((100.0, False), (3000.0, True)):  # the mean is far below 65,504, and the sum may be not
        assert deployed.errors(np.full((1, 8, 8, 1), size), np.zeros((1, 1)), np.array([0]))[1] == overflows


def test_interpolations_and_small_statistics_are_refused():
    image = (3, 3, 1)
    assert "each backend" in refusal(chain(image, kl.UpSampling2D(interpolation="bilinear"), kl.Flatten()))
    tiny = chain((2,), kl.Normalization(mean=0.0, variance=1e-6), kl.Dense(2))
    assert "statistics" in refusal(tiny, "float16")
    certification.certified_radius(tiny, np.ones((1, 2)), arithmetic="float32")


def test_numbers_that_do_not_fit_a_sample_are_refused():
    assert "do not fit" in refusal(chain((1,), kl.Rescaling([[2.0], [1.0]])))


def test_kernels_that_are_summed_up_in_each_call_are_refused():
    model = random_dense((4, 3))
    model.layers[0].enable_lora(2)
    assert "the product of two matrices" in refusal(model)


def test_arguments_that_do_not_fit_are_refused():
    model = random_dense((4, 3))
    assert "not both" in refusal(model, logit_error=1e-3)
    assert "'float64'" in refusal(model, "float64")
    with pytest.raises(ValueError, match="accumulation='float16'"):
        Arithmetic("float32", "float16")
    with pytest.raises(TypeError, match="Received: 32"):
        certification.certified_radius(model, np.ones((1, 4)), arithmetic=32)


def test_ends_that_saturate_are_refused():
    assert "may return equal numbers" in refusal(chain((4,), kl.Dense(3, "sigmoid", name="last")))
    assert "may return equal numbers" in refusal(chain((4,), kl.Dense(3), kl.Softmax(), kl.Softmax()))


def test_kernels_that_are_constrained_anew_in_each_call_are_refused():
    model = chain((4,), lip.SpectralDense(3))
    model.layers[0].kernel.assign(2 * model.layers[0].kernel)
    assert "lipviz.model.refresh" in refusal(model)


@pytest.mark.parametrize("mode", ["BF16", "any", "tf32"])
def test_settings_that_compute_float32_with_fewer_digits_are_refused(monkeypatch, mode):
    model = random_dense((4, 3))
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", mode)
    assert f"ONEDNN_DEFAULT_FPMATH_MODE={mode}" in refusal(model)
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "strict")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true --xla_dump_to=x")
    assert "--xla_cpu_enable_fast_math=true" in refusal(model)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    assert certification.certified_radius(model, np.ones((1, 4)), arithmetic="float32").radii[0] >= 0


def test_products_of_the_backend_in_fewer_digits_are_refused(monkeypatch):
    model = random_dense((4, 3))
    if keras.backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("bfloat16"):
            assert "jax_default_matmul_precision" in refusal(model)
    else:
        import tensorflow as tf

        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
        assert "TF32" in refusal(model)
        monkeypatch.undo()
        monkeypatch.setattr(tf.config.optimizer, "get_experimental_options", lambda: {"auto_mixed_precision": True})
        assert "auto_mixed_precision" in refusal(model)
