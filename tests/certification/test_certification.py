"""`certify`: graphs of known layers are bounded soundly, and what is not known is said to be so."""

import contextlib
import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import lipviz
from lipviz import certification, operators
from lipviz import layers as lip
from lipviz.certification import sizes, upper_bounds
from lipviz.keras_internals import inner_layers
from lipviz.operators.precision import float64_scope, outputs
from lipviz.rules import registry
from tests.support import convolution_matrix, examples

K = keras.layers
NORMS = (1, 2, math.inf)


def randomized(model, seed=0, scale=1.0):
    """The model with random weights: kernels, and statistics of a batch normalization that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(scale * rng.standard_normal(weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1]))))
    for layer in (model, *inner_layers(model)):
        if isinstance(layer, K.BatchNormalization):
            layer.moving_variance.assign(rng.uniform(0.2, 2, layer.moving_variance.shape))
    lipviz.model.refresh(model)
    return model


def largest_ratio(model, norm, shape, pairs=300, seed=0, bound=0.0):
    """Of random pairs, far and near, in float64; less what 16 roundings to float32 may add to each on JAX.

    There Keras normalizes batches in float32: what that rounds of values of size `bound` times the inputs is no
    stretching.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((pairs, *shape)) * np.exp(rng.uniform(-3, 2, (pairs, *[1] * len(shape))))
    y = x + rng.standard_normal(x.shape) * 10.0 ** rng.uniform(-4, 1, (pairs, *[1] * len(shape)))
    network = operators.float64_copy(model)
    ends, images = [
        [part.reshape(pairs, -1) for part in pair] for pair in ((x, y), [outputs(network, z) for z in (x, y)])
    ]
    sizes = sum(
        np.linalg.norm(image, norm, axis=1) + bound * np.linalg.norm(end, norm, axis=1)
        for image, end in zip(images, ends, strict=True)
    )
    rounding = 16 * 2.0**-24 * sizes if keras.backend.backend() == "jax" else 0.0
    change = np.linalg.norm(images[0] - images[1], norm, axis=1)
    return ((change - rounding) / np.linalg.norm(ends[0] - ends[1], norm, axis=1)).max()


# --- chains and graphs whose constant is known ---


def test_a_linear_chain_is_its_matrix_where_one_layer_is_all():
    model = randomized(keras.Sequential([keras.Input((6,)), K.Dense(4)]))
    certificate = lipviz.certify(model)
    exact = np.linalg.norm(np.asarray(model.layers[0].kernel, np.float64), 2)
    assert certificate.upper_bound == pytest.approx(exact, rel=1e-9)
    assert certificate.lower_bound == pytest.approx(exact, rel=1e-3)
    (row,) = certificate.layers
    assert (row.name, row.kind, row.attained, row.method) == (model.layers[0].name, "Dense", True, "SVD")


@pytest.mark.slow
def test_a_lipschitz_network_is_certified_at_k():
    model = lipviz.Sequential(
        [
            keras.Input((12, 12, 1)),
            lip.SpectralConv2D(8, 3, activation=lip.GroupSort2()),
            lip.ScaledL2NormPooling2D(),
            K.Flatten(),
            lip.SpectralDense(16, activation=lip.FullSort()),
            lip.SpectralDense(4),
        ],
        k_coef_lip=3.0,
    )
    certificate = lipviz.certify(model)
    # Two of the layers are activations of constant 1, and the pooling has its k.
    matrices = [convolution_matrix(model.layers[0].wbar, (12, 12), (1, 1), "same")]
    matrices += [np.asarray(layer.wbar, np.float64) for layer in model.layers[-2:]]
    exact = model.layers[1].k_coef_lip * np.prod([np.linalg.norm(matrix, 2) for matrix in matrices])
    assert certificate.upper_bound == pytest.approx(exact, rel=1e-6)
    assert certificate.upper_bound <= 3.0 * (1 + 1e-6)
    assert 0 < certificate.lower_bound <= certificate.upper_bound
    assert [row.name.split(" · ")[-1] for row in certificate.layers][1].startswith("group_sort2")
    assert lipviz.certify(model.vanilla_export(), search=False).upper_bound == pytest.approx(certificate.upper_bound)


def linear_graph(wire):
    """A model of linear operations only, whose constant is the norm of its matrix."""
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, wire(inputs))


EXACT = {
    "x + x": lambda x: x + x,
    "x * c": lambda x: x * -2.5,
    "c * x": lambda x: 3.0 * x,
    "x / c": lambda x: x / 4.0,
    "-x": lambda x: -x,
    "x - 1": lambda x: x - 1.0,
    "1 - x": lambda x: 1.0 - x,
    "tensor factor": lambda x: x * np.float32([1, -5, 2]),
    "Add": lambda x: K.Add()([x, x, x]),
    "Average": lambda x: K.Average()([x, x]),
    "Concatenate": lambda x: K.Concatenate()([x, x]),
    "concatenate": lambda x: ops.concatenate([x, 2.0 * x], axis=1),
    "stack": lambda x: ops.stack([x, x], axis=1),
    "reshape": lambda x: ops.reshape(x, (-1, 12)),
    "transpose": lambda x: ops.transpose(x, (0, 2, 1)),
    "swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "expand, squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "flip": lambda x: ops.flip(x, axis=1),
    "slice": lambda x: x[:, 1:, 0],
    "ellipsis": lambda x: x[..., :2],
    "mean": lambda x: ops.mean(x, axis=1),
    "sum": lambda x: ops.sum(x, axis=(1, 2)),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0))),
    "split": lambda x: ops.split(x, 3, axis=-1)[1],
    "broadcast": lambda x: x * 0.0 + ops.sum(x, axis=1, keepdims=True),
    "cast": lambda x: ops.cast(x, "float64"),
    "repeated": lambda x: K.RepeatVector(3)(ops.sum(x, axis=1)),
}


@pytest.mark.parametrize("name", EXACT)
def test_operators_have_the_norm_of_their_matrix(name):
    model = linear_graph(EXACT[name])
    units = np.concatenate([np.zeros((1, 12)), np.eye(12)]).reshape(-1, 4, 3)
    with float64_scope():
        values = outputs(operators.float64_copy(model), units)
    matrix = (values[1:] - values[0]).T
    for norm in NORMS:
        bound = lipviz.certify(model, norm=norm, search=False).upper_bound
        exact = np.linalg.norm(matrix, norm)
        assert exact <= bound * (1 + 1e-6)
        if name != "broadcast":  # 0·x is counted as x times 0, plus the copies
            assert bound <= exact * (1 + 1e-6)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (lambda x: x * x, "product of two values"),
        (lambda x: 1.0 / x, "division by a value"),
        (lambda x: ops.square(x), "Square is not known"),
        (lambda x: ops.reshape(x, (-1, 3)), "mix samples"),
        (lambda x: ops.flip(x, axis=0), "mix samples"),
        (lambda x: ops.transpose(x, (1, 0, 2)), "mix samples"),
        (lambda x: ops.concatenate([x, x], axis=0), "along the batch"),
        (lambda x: ops.mean(x, axis=0), "along the batch"),
        (lambda x: ops.sum(x), "along the batch"),
        (lambda x: x[1:, :], "along the batch"),
        (lambda x: ops.softmax(x, axis=0), "along the batch"),
        (lambda x: ops.cast(x, "int32"), "not continuous"),
        (lambda x: x / 0.0, "not finite"),
        (lambda x: K.Multiply()([x, x]), "no rule for Multiply"),
        (lambda x: K.Dot(axes=1)([x, x]), "no rule for Dot"),
        (lambda x: K.Concatenate(axis=0)([x, x]), "along the batch"),
        (lambda x: K.MultiHeadAttention(1, 2)(x, x), "no rule for MultiHeadAttention"),
        (lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode="reflect"), "copies"),
        (lambda x: ops.soft_shrink(x, threshold=-1), "not continuous"),
        (lambda x: ops.squareplus(x, b=-1), "slope is not bounded"),
        (lambda x: ops.clip(x[:, :, :1], 0.0, np.ones((1, 3), "float32")), "broadcast"),
        (lambda x: ops.elu(x, alpha=math.nan), "not finite"),
        (lambda x: K.Add(dtype="int32")([x, x]), "rounds to int32"),
        (lambda x: K.Rescaling(1.0, dtype="int32")(x), "rounds to int32"),
    ],
)
def test_what_is_not_bounded_is_named(wire, why):
    certificate = lipviz.certify(linear_graph(wire), search=False)
    assert certificate.upper_bound == math.inf
    (row,) = certificate.unbounded
    assert why in row.method
    assert row.name in certificate.notes[0]
    assert "∞" in str(certificate)
    assert json.loads(certificate.to_json())["upper_bound"] is None


@pytest.mark.parametrize("kind", ["Sequential", "Model"])
@pytest.mark.parametrize(
    ("outer", "inner", "upper"),
    [
        ("float32", "int32", math.inf),
        ("float32", "bool", math.inf),
        ("int32", "uint8", math.inf),
        ("int32", "float32", 2.0),
        ("float32", "float16", 2.0),
    ],
)
def test_a_nested_model_converts_what_it_is_given(outer, inner, upper, kind):
    start, x = keras.Input((3,), dtype=inner), keras.Input((3,), dtype=outer)
    layer = K.Rescaling(2.0) if upper == math.inf else K.LeakyReLU(negative_slope=2.0)  # not for whole numbers
    nested = keras.Sequential([start, layer]) if kind == "Sequential" else keras.Model(start, layer(start))
    model = keras.Model(x, nested(x))
    certificate = lipviz.certify(model, search=False)
    assert certificate.upper_bound == pytest.approx(upper)
    if upper == math.inf:
        (row,) = certificate.unbounded
        assert row.name == f"{nested.name}/input"
        assert f"conversion to {inner} is not continuous" in row.method
    else:
        assert (lipviz.certification.certified_radius(model, np.array([[1, -4, 3], [9, 2, 1]], outer)).radii > 0).all()


@pytest.mark.parametrize(("taken", "given"), [((3, 1), (3,)), ((3,), (3, 1))])
def test_an_axis_that_keras_adds_or_takes_has_no_bound(taken, given):
    start, x = keras.Input(taken), keras.Input(given)
    model = keras.Model(x, keras.Model(start, K.Rescaling(2.0)(start))(x))
    (row,) = lipviz.certify(model, search=False).unbounded
    assert "shape" in row.method


def test_a_branch_without_a_bound_counts_for_nothing_where_it_is_multiplied_by_0():
    x = keras.Input((3,))
    residual = lip.LipResidual()
    model = keras.Model(x, residual([x, ops.square(x)]))
    residual.alpha.assign(1e8)  # whose sigmoid is 1
    assert lipviz.certify(model, search=False).upper_bound == 1
    assert lipviz.certification.certified_radius(model, np.array([[1.0, 2.0, 4.0]])).radii[0] > 0
    for alpha in (-1e8, 40.0):  # sigmoid(−40) is small, and not 0
        residual.alpha.assign(alpha)
        assert lipviz.certify(model, search=False).upper_bound == math.inf


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "float32"])
@pytest.mark.parametrize("alpha", [0.3, -2.01, 2.01, 7.3, -7.3])
def test_shares_in_half_precision_are_the_rounded_ones(alpha, dtype):
    residual = lip.LipResidual(k_coef_lip=1.7, dtype=dtype)
    x = keras.Input((1,), dtype=residual.compute_dtype)
    model = keras.Model(x, residual([x, 1024.0 * x]))
    residual.alpha.assign(alpha)
    one, zero = (ops.full((1, 1), value, residual.compute_dtype) for value in (1.0, 0.0))
    used = [float(ops.cast(residual(pair), "float32")[0, 0]) for pair in ([one, zero], [zero, one])]
    bound = lipviz.certify(model, search=False).upper_bound
    assert used[0] + 1024 * used[1] <= bound * (1 + 1e-6)
    assert bound <= (used[0] + 1024 * used[1]) * (1 + 3e-6)


def test_a_small_share_of_a_steep_branch_counts():
    x = keras.Input((1,))
    residual = lip.LipResidual()
    model = keras.Model(x, residual([x, 1e18 * x]))
    residual.alpha.assign(40.0)
    slope = 1 + 1e18 / (1 + math.exp(40))
    assert slope <= lipviz.certify(model, search=False).upper_bound * (1 + 1e-6) <= 1.01 * slope


def test_several_inputs_and_outputs_count_as_one_vector():
    a, b = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([a, b], [a + 2.0 * b, 3.0 * a])
    matrix = np.block([[np.eye(3), 2 * np.eye(3)], [3 * np.eye(3), np.zeros((3, 3))]])
    for norm in NORMS:
        certificate = lipviz.certify(model, norm=norm)
        exact = np.linalg.norm(matrix, norm)
        assert exact <= certificate.upper_bound * (1 + 1e-12)
        assert certificate.upper_bound <= exact * (1 + 1e-12)
        assert certificate.input_shape == ((3,), (3,))
        assert certificate.lower_bound == 0
        assert "No lower bound" in certificate.notes[-1]


@pytest.mark.slow
def test_nested_and_shared_layers_and_residuals():
    inner = lipviz.Sequential([keras.Input((5,)), lip.SpectralDense(5), lip.GroupSort(5)], name="inner")
    inputs = keras.Input((5,))
    x = inner(inputs)
    y = inner(x)
    outputs_ = lip.LipResidual(k_coef_lip=2.0)([x, y])
    model = keras.Model(inputs, outputs_)
    certificate = lipviz.certify(model)
    assert certificate.upper_bound == pytest.approx(2.0, rel=1e-5)
    assert sum(row.name.startswith("inner/") for row in certificate.layers) == 4
    assert certificate.lower_bound <= 2.0


def test_a_graph_within_a_graph_keeps_its_branches():
    a = keras.Input((4,))
    half = keras.Model(a, K.Add()([0.5 * a, -0.5 * a]))
    b = keras.Input((4,))
    model = keras.Model(b, half(b) + b)
    assert lipviz.certify(model, search=False).upper_bound == pytest.approx(2.0)


# --- random graphs ---


def graph(steps, end, seed, scale):
    """A functional model over images of 6 × 6 × 2, of layers of Keras and of lipviz, with branches."""
    first = x = keras.Input((6, 6, 2))
    for step in steps:
        x = STEPS[step](x)
    return randomized(keras.Model(first, ENDS[end](x)), seed, scale)


def residual(x):
    return x + K.Conv2D(x.shape[-1], 3, padding="same", activation="relu")(x)


def sliced(x):
    return x[:, ::2] if x.shape[1] > 1 else x


def pooled(kind, **settings_):
    return lambda x: kind(**settings_)(x) if min(x.shape[1:3]) > 1 else x


STEPS = [
    lambda x: K.Conv2D(4, 3, padding="same", activation="gelu")(x),
    lambda x: K.Conv2D(2, 2, strides=2, padding="same", activation="leaky_relu")(x),
    lambda x: K.DepthwiseConv2D(3, padding="same", activation="silu")(x),
    lambda x: K.SeparableConv2D(4, 3, padding="same")(x),
    lambda x: K.Conv2DTranspose(2, 3, strides=2, padding="same", activation="softplus")(x),
    lambda x: lip.SpectralConv2D(4, 3, activation=lip.GroupSort2())(x),
    lambda x: lip.SpectralConv2DTranspose(2, 3)(x),
    lambda x: K.BatchNormalization()(x),
    lambda x: lip.MaxMin()(x),
    lambda x: 0.5 * K.Dense(3, activation="elu")(x) - 1.0,
    lambda x: K.Concatenate()([x, -x]),
    lambda x: ops.maximum(x, K.Permute((2, 1, 3))(x)) if x.shape[1] == x.shape[2] else ops.abs(x),
    lambda x: K.UpSampling2D()(x) if x.shape[1] < 12 else x,
    lambda x: K.ZeroPadding2D()(K.Dropout(0.5)(x)),
    pooled(K.MaxPooling2D, pool_size=3, strides=1, padding="same"),
    pooled(K.AveragePooling2D, pool_size=2, strides=1),
    pooled(lip.ScaledL2NormPooling2D),
    residual,
    sliced,
]
ENDS = [
    lambda x: x,
    lambda x: ops.relu(x),
    lambda x: K.Dense(3, activation="softmax")(K.Flatten()(x)),
    lambda x: lip.FrobeniusDense(3)(K.GlobalAveragePooling2D()(x)),
    lambda x: K.GlobalMaxPooling2D()(x),
    lambda x: ops.mean(x, axis=(1, 2)),
]


RECIPES = {
    "steps": st.lists(st.integers(0, len(STEPS) - 1), min_size=1, max_size=4),
    "end": st.integers(0, len(ENDS) - 1),
    "seed": st.integers(0, 99),
    "scale": st.sampled_from([0.3, 1.0, 3.0]),
}


@pytest.mark.slow
@given(**RECIPES)
@settings(max_examples=examples(4, at_night=100))
def test_no_pair_of_inputs_beats_the_bound_of_a_random_graph(steps, end, seed, scale):
    model = graph(steps, end, seed, scale)
    for norm in NORMS:
        certificate = lipviz.certify(model, norm=norm, search=False)
        assert certificate.upper_bound < math.inf, certificate
        bound = certificate.upper_bound
        assert largest_ratio(model, norm, (6, 6, 2), bound=bound) <= bound * (1 + 1e-6), certificate


@pytest.mark.slow
@given(**RECIPES)
@settings(max_examples=examples(4, at_night=100))
def test_no_ascent_beats_the_bound_of_a_random_graph(steps, end, seed, scale):
    model = graph(steps, end, seed, scale)
    certificate = lipviz.certify(model)  # which raises where its search finds more
    x = np.random.default_rng(1).standard_normal((4, 6, 6, 2))
    assert operators.jacobian_norms(model, x).max() <= certificate.upper_bound * (1 + 1e-6)


@pytest.mark.parametrize(
    ("make", "products"),
    [
        (lambda: K.Dense(5), 6 * 6 * 2 * 5),
        (lambda: K.Conv2D(4, 3), 4 * 4 * 9 * 2 * 4),
        (lambda: K.Conv2D(4, 3, strides=3, padding="same"), 2 * 2 * 9 * 2 * 4),
        (lambda: K.DepthwiseConv2D(3, padding="same"), 6 * 6 * 9 * 2),
        (lambda: K.BatchNormalization(), 0),
    ],
)
def test_products_are_counted(make, products):
    trace = upper_bounds.Trace(2)
    model = keras.Sequential([keras.Input((6, 6, 2)), make()])
    trace.follow(model, upper_bounds.input_flows(model, None))
    assert trace.products == products


# --- sizes ---


@pytest.mark.slow
def test_sizes_may_be_unknown_given_or_wrong():
    model = randomized(
        keras.Sequential([keras.Input((None, None, 2)), K.Conv2D(4, 3, padding="same"), K.MaxPooling2D()])
    )
    anywhere = lipviz.certify(model)
    here = lipviz.certify(model, (8, 8, 2))
    assert here.upper_bound <= anywhere.upper_bound * (1 + 1e-12)
    assert anywhere.input_shape == (None, None, 2)
    assert here.input_shape == (8, 8, 2)
    assert anywhere.lower_bound == 0 < here.lower_bound
    samples = np.random.default_rng(0).standard_normal((8, 5, 5, 2))
    assert 0 < lipviz.certify(model, samples=samples).lower_bound <= anywhere.upper_bound
    for shape in [(8, 8, 3), (8, 8), (0, 8, 2), (8.5, 8, 2), "888", ((8, 8, 2), (8, 8, 2))]:
        with pytest.raises(ValueError, match="input_shape"):
            lipviz.certify(model, shape)


def test_a_size_at_which_a_layer_refuses_is_an_error():
    model = keras.Sequential([keras.Input((None, 2)), lip.SpectralConv1D(2, 5)])
    assert lipviz.certify(model, (3, 2), search=False).upper_bound <= 1.0
    fixed = keras.Sequential([keras.Input((6, 6, 1)), K.Conv2D(2, 3), K.Flatten(), K.Dense(2)])
    with pytest.raises(ValueError, match="fit the model's input"):
        lipviz.certify(fixed, (9, 9, 1))


def test_exact_bounds_of_convolutions_are_closer():
    model = randomized(keras.Sequential([keras.Input((24, 24, 4)), K.Conv2D(8, 5, padding="same")]))
    fast, exact = lipviz.certify(model, search=False), lipviz.certify(model, method="tight", search=False)
    assert exact.layers[0].lower <= exact.upper_bound <= fast.upper_bound * (1 + 1e-9)
    assert exact.upper_bound <= exact.layers[0].lower * 1.001
    assert fast.upper_bound <= exact.upper_bound * 1.05


# --- what cannot be seen ---


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(2)

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.built = True

    def call(self, inputs):
        return 3 * self.dense(inputs)


class Overridden(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 7 * super().call(inputs, training=training, mask=mask)


class OverriddenGraph(lipviz.Model):
    def call(self, inputs, training=None, mask=None):
        return 7 * super().call(inputs, training=training, mask=mask)


def test_a_model_whose_call_is_its_own_is_not_believed():
    subclassed = Subclassed()
    subclassed(np.zeros((1, 3)))
    inputs = keras.Input((3,))
    graph = OverriddenGraph(inputs, K.Dense(2)(inputs))
    for model in (subclassed, Overridden([keras.Input((3,)), K.Dense(2)]), graph):
        certificate = lipviz.certify(model, (3,), search=False)
        assert certificate.upper_bound == math.inf
        assert "graph cannot be seen" in certificate.notes[0]
        assert "register_bound" in certificate.notes[0]


def test_a_subclassed_model_inside_a_graph_and_with_a_registered_bound():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, 0.5 * Subclassed()(inputs))
    assert lipviz.certify(model, search=False).upper_bound == math.inf
    lipviz.register_bound(
        Subclassed, lambda model, input_shape, norm: 3 * np.linalg.norm(np.asarray(model.dense.kernel, float), norm)
    )
    try:
        kernel = np.asarray(model.layers[1].dense.kernel, np.float64)
        assert lipviz.certify(model, search=False).upper_bound == pytest.approx(1.5 * np.linalg.norm(kernel, 2))
    finally:
        lipviz.register_bound(Subclassed, lambda model, input_shape, norm: math.inf)


def test_a_registered_bound_that_is_too_small_is_found_out():
    @keras.saving.register_keras_serializable("test_certification")
    class Tripling(K.Layer):
        def call(self, inputs):
            return 3 * inputs

        def compute_output_shape(self, input_shape):
            return input_shape

    lipviz.register_bound(Tripling, lambda layer, shape, norm: 2.0)
    model = keras.Sequential([keras.Input((4,)), Tripling()])
    with pytest.raises(ValueError, match="register_bound is too small"):
        lipviz.certify(model)


# --- bad input ---


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="Keras model or layer"):
        lipviz.certify(lambda x: x)
    with pytest.raises(ValueError, match="must be built"):
        lipviz.certify(keras.Sequential([K.Dense(2)]))
    model = keras.Sequential([keras.Input((3,)), K.Dense(2)])
    with pytest.raises(ValueError, match="`norm` must be"):
        lipviz.certify(model, norm=3)
    with pytest.raises(ValueError, match="`input_shape` must be a tuple"):
        lipviz.certify(model, 3)
    with pytest.raises(ValueError, match="`samples` must have the shape"):
        lipviz.certify(model, samples=np.ones((5, 4)))
    with pytest.raises(TypeError, match="real numbers"):
        lipviz.certify(model, samples="abc")
    model.layers[0].bias.assign([np.nan, 0.0])
    with pytest.raises(ValueError, match="holds NaN or Inf"):
        lipviz.certify(model)


def test_numbers_of_words_are_not_searched():
    model = keras.Sequential([keras.Input((5,), dtype="int32"), K.Embedding(10, 4), K.Flatten()])
    certificate = lipviz.certify(model)
    assert certificate.upper_bound == math.inf
    assert "dtype int32" in certificate.notes[-1]


@pytest.mark.parametrize(
    ("wire", "upper"),
    [
        (lambda x: K.Rescaling(0.5)(x), 0.5),
        (lambda x: x / 2, 0.5),
        (lambda x: ops.cast(x, "float32"), 1.0),
        (lambda x: K.MaxPooling1D()(K.Concatenate(axis=1)([x, x])) * 0.5, math.sqrt(0.5)),
        (lambda x: ops.mean(x, axis=1), 0.5),
        (lambda x: K.Add()([x, x]), math.inf),
        (lambda x: K.Average()([x, x]), math.inf),
        (lambda x: x + x, math.inf),
        (lambda x: x + 200, math.inf),
        (lambda x: -x, math.inf),
        (lambda x: ops.sum(x, axis=1), math.inf),
        (lambda x: K.SpectralNormalization(K.Dense(2))(x), math.inf),  # which returns the dtype of its input
    ],
)
def test_whole_numbers_wrap_around(wire, upper):
    x = keras.Input((4, 3), dtype="uint8")
    certificate = lipviz.certify(keras.Model(x, wire(x)), search=False)
    assert certificate.upper_bound == pytest.approx(upper)
    assert bool(certificate.unbounded) is (upper == math.inf)
    assert all("whole numbers" in row.method for row in certificate.unbounded)


@pytest.mark.slow
def test_a_search_that_rounding_disturbs_is_no_wrong_rule():
    tiny = keras.Sequential([keras.Input((3,)), K.Dense(2)])
    tiny.set_weights([1e-14 * np.ones((3, 2)), np.ones(2)])
    certificate = lipviz.certify(tiny)
    assert certificate.upper_bound == pytest.approx(1e-14 * math.sqrt(6), rel=1e-6)
    assert 0 <= certificate.lower_bound <= certificate.upper_bound
    assert "rounding in float64 explains it" in certificate.notes[-1]
    wide = [keras.Input((3,)), K.Normalization(mean=[1e6] * 3, variance=[1e12] * 3), K.Dense(2)]
    assert 0 < lipviz.certify(randomized(keras.Sequential(wide))).upper_bound < math.inf


@pytest.mark.parametrize("outside", [False, True])
def test_bounds_of_dense_layers_are_computed_in_float64(outside):
    rng = np.random.default_rng(0)
    with float64_scope():
        layers = [K.Dense(6, dtype="float64") for _ in range(20)]
        for layer in layers:
            layer.build((None, 5))
            layer.kernel.assign(rng.standard_normal((5, 6)))
        exact = [np.linalg.norm(np.asarray(layer.kernel.value), 2) for layer in layers]
    with in_float32(outside):
        for layer, norm in zip(layers, exact, strict=True):
            assert lipviz.certify(layer, search=False).upper_bound == pytest.approx(norm, rel=1e-11)
            assert lipviz.certify(layer, search=False).upper_bound >= norm


@pytest.mark.slow
def test_what_jax_computes_in_float32_is_no_wrong_rule():
    model = randomized(keras.Sequential([keras.Input((5,)), K.Dense(6), K.BatchNormalization(), K.Dense(2, "tanh")]))
    with in_float32(True):
        certificate = lipviz.certify(model)
        radii = certification.certified_radius(model, np.random.default_rng(0).standard_normal((5, 5))).radii
    assert certificate.lower_bound <= certificate.upper_bound < math.inf
    assert (radii > 0).any()


def in_float32(outside):
    """JAX as users have it, not as `tests/conftest.py` sets it."""
    if keras.backend.backend() != "jax" or not outside:
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64(False)


def test_a_layer_alone():
    layer = lip.SpectralConv2D(4, 3)
    layer.build((None, 9, 9, 1))
    certificate = lipviz.certify(layer)
    exact = np.linalg.norm(convolution_matrix(layer.wbar, (9, 9), (1, 1), "same"), 2)
    assert exact * (1 - 1e-12) <= certificate.upper_bound <= exact * (1 + 1e-9)
    assert certificate.upper_bound <= 1.0
    assert "not a layer" in certificate.notes[0]


def test_half_precision_is_entered_and_said():
    model = lipviz.Sequential([keras.Input((32,)), lip.SpectralDense(32)])
    half = keras.Sequential([keras.Input((32,)), lip.SpectralDense(32, dtype="mixed_bfloat16")])
    half.set_weights(model.get_weights())
    lipviz.model.refresh(half)
    certificate = lipviz.certify(half)
    assert certificate.upper_bound != lipviz.certify(model, search=False).upper_bound
    assert "computes in bfloat16" in certificate.notes[0]
    assert certificate.lower_bound == 0


@pytest.mark.slow
def test_normalizations_above_their_k_and_disjoint_neurons_are_seen_through():
    norm = lip.BatchLipNorm(epsilon=1e-3)
    model = lipviz.Sequential([keras.Input((6,)), norm, lip.FrobeniusDense(4)])
    norm.moving_variance.assign(np.full(6, 0.01))
    model.layers[-1].kernel.assign(np.ones((6, 4)))
    lipviz.model.refresh(model)
    certificate = lipviz.certify(model)
    assert certificate.upper_bound == pytest.approx(2 / math.sqrt(0.011), rel=1e-4)
    assert certificate.lower_bound == pytest.approx(certificate.upper_bound, rel=1e-3)


# --- how it is shown ---


def test_the_table_rounds_outward_and_html_is_escaped():
    model = randomized(keras.Sequential([keras.Input((4,)), K.Dense(3, activation="tanh")], name="a<b"))
    certificate = lipviz.certify(model, search=False)
    text, markup = str(certificate), certificate._repr_html_()
    shown = float(text.splitlines()[0].split("at most ")[1].rstrip("."))
    assert certificate.upper_bound <= shown <= certificate.upper_bound * (1 + 1e-4)
    assert "a&lt;b" in markup
    assert "a<b" not in markup
    assert markup.count('scope="col"') == 7
    assert "<caption" in markup
    assert "dense" in text
    assert "· tanh" in text


def test_to_json_is_json():
    model = randomized(keras.Sequential([keras.Input((4,)), K.Dense(3)]))
    certificate = lipviz.certify(model, norm="inf")
    data = json.loads(certificate.to_json())
    assert data == certificate.to_dict()
    assert data["norm"] == "inf"
    assert data["input_shape"] == [4]
    assert data["layers"][0]["attained"] is True
    with pytest.raises(AttributeError):
        certificate.upper_bound = 0.0


# --- differences of logits ---


def classifier(*last):
    return randomized(keras.Sequential([keras.Input((5,)), lip.SpectralDense(8), lip.FullSort(), *last]))


@pytest.mark.parametrize(
    "last",
    [
        (lambda: K.Dense(3),),
        (lambda: K.Dense(3, activation="softmax"),),
        (lambda: K.Dense(3), lambda: K.Softmax()),
        (lambda: K.Dense(3), lambda: K.Activation("softmax")),
        (lambda: K.Dense(3, activation="sigmoid"),),
        (lambda: lip.SpectralDense(3),),
        (lambda: lip.FrobeniusDense(3),),
    ],
)
def test_pairwise_bounds_are_those_of_the_last_columns(last):
    model = classifier(*(make() for make in last))
    bounds = certification.pairwise_bounds(model)
    dense = next(layer for layer in reversed(model.layers) if isinstance(layer, K.Dense))
    kernel = np.asarray(getattr(dense, "wbar", dense.kernel), np.float64)
    expected = np.linalg.norm(kernel[:, :, None] - kernel[:, None, :], axis=0)
    np.testing.assert_allclose(bounds, expected, rtol=1e-5)
    x = np.random.default_rng(0).standard_normal((7, 5))
    logits = outputs(certification.logits_model(model), x)
    features = outputs(operators.float64_copy(keras.Sequential([keras.Input((5,)), *model.layers[:2]])), x)
    np.testing.assert_allclose(logits, features @ kernel + np.asarray(dense.bias, np.float64), rtol=1e-5, atol=1e-6)


def test_pairwise_bounds_of_one_output_and_of_other_ends():
    model = classifier(K.Dense(1, activation="sigmoid"))
    kernel = np.asarray(model.layers[-1].kernel, np.float64)
    np.testing.assert_allclose(certification.pairwise_bounds(model), [[np.linalg.norm(kernel)]], rtol=1e-5)
    model = classifier(lip.SpectralDense(4), lip.GroupSort2())
    np.testing.assert_allclose(certification.pairwise_bounds(model), math.sqrt(2) * (1 - np.eye(4)), rtol=1e-5)
    model = keras.Sequential([keras.Input((5,)), K.Lambda(lambda x: 2 * x), K.Dense(2)])
    assert certification.pairwise_bounds(model)[0, 1] == math.inf
    assert certification.pairwise_bounds(model)[0, 0] == 0
    with pytest.raises(ValueError, match="one output of shape"):
        certification.pairwise_bounds(keras.Sequential([keras.Input((4, 4)), K.Dense(2)]))


# --- files ---


def test_certify_file(tmp_path):
    model = randomized(lipviz.Sequential([keras.Input((4,)), lip.SpectralDense(3)]))
    model.save(tmp_path / "a.keras")
    assert certification.certify_file(tmp_path / "a.keras", search=False).upper_bound == pytest.approx(1.0, rel=1e-5)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        certification.certify_file(tmp_path / "b.keras")
    whole = (tmp_path / "a.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.keras' cannot be loaded"):  # as the command says it
        certification.certify_file(tmp_path / "cut.keras")
    unsafe = keras.Sequential([keras.Input((4,)), K.Lambda(lambda x: 2 * x)])
    unsafe.save(tmp_path / "c.keras")
    with pytest.raises(ValueError, match=r"safe_mode|unsafe|Lambda"):
        certification.certify_file(tmp_path / "c.keras")


# --- masks ---

SERIES = (8, 3)


def series(*layers, end=K.GlobalAveragePooling1D):
    """A stack over a series whose steps of zeros are masked."""
    return keras.Sequential([keras.Input(SERIES), K.Masking(), *layers, end()])


def wired(wire):
    x = keras.Input(SERIES)
    return keras.Model(x, wire(x))


def pooled(x, **arguments):
    return K.GlobalAveragePooling1D()(x, **arguments)


def of_data(x):
    return ops.any(x > 0, axis=-1)


class MaskedSum(K.Layer):
    """A layer of somebody's own that uses a mask."""

    def call(self, inputs, mask=None):
        return ops.sum(inputs if mask is None else ops.where(mask[..., None], inputs, 0), axis=1)


MASKED = {
    "at once": lambda: series(),
    "TimeDistributed": lambda: series(K.TimeDistributed(K.Dense(3))),
    "Dropout": lambda: series(K.Dropout(0.1)),
    "ReLU": lambda: series(K.ReLU()),
    "a constrained layer and its activation": lambda: series(lip.SpectralDense(4, activation=lip.GroupSort2())),
    "an activation of lipviz": lambda: series(lip.MaxMin()),
    "batch normalization": lambda: series(K.BatchNormalization()),
    "a nested model": lambda: series(keras.Sequential([keras.Input(SERIES), K.ReLU()])),
    "used in a nested model": lambda: series(
        K.Softmax(1), end=lambda: keras.Sequential([keras.Input(SERIES), K.GlobalAveragePooling1D()])
    ),
    "a softmax": lambda: series(end=lambda: K.Softmax(1)),
    "a softmax inside of a wrapper": lambda: series(end=lambda: K.TimeDistributed(K.Softmax())),
    "a softmax as an activation": lambda: series(end=lambda: K.Activation(K.Softmax(1))),
    "a sum of masked values": lambda: wired(lambda x: pooled(K.Add()([K.Masking()(x), K.Masking()(x)]))),
    "values side by side": lambda: wired(lambda x: pooled(K.Concatenate()([K.Masking()(x), x]))),
    "a conversion that converts nothing": lambda: wired(lambda x: pooled(ops.cast(K.Masking()(x), "float32"))),
    "an argument": lambda: wired(lambda x: pooled(x, mask=of_data(x))),
    "an argument of a nested model": lambda: wired(
        lambda x: keras.Sequential([keras.Input(SERIES), K.GlobalAveragePooling1D()])(x, mask=of_data(x))
    ),
    "a constant": lambda: wired(lambda x: pooled(x, mask=np.arange(8)[None] < 2)),
    "a layer of someone's own": lambda: series(end=MaskedSum),
}


@pytest.mark.filterwarnings("ignore:Layer '.*was passed an input with a mask:UserWarning")
@pytest.mark.parametrize("name", MASKED)
def test_a_mask_that_is_used_makes_a_jump(name, monkeypatch):
    monkeypatch.setattr(registry, "RULES", dict(registry.RULES))
    lipviz.register_bound(MaskedSum, lambda layer, shape, norm: math.sqrt(shape[0]))
    certificate = lipviz.certify(MASKED[name](), search=False)
    assert certificate.upper_bound == math.inf
    assert any("mask" in row.method for row in certificate.unbounded)


UNUSED = {
    "nobody": lambda: series(K.ReLU(), end=K.Flatten),
    "a convolution drops it": lambda: series(K.Conv1D(3, 3, padding="same")),
    "a new shape drops it": lambda: series(K.Permute((2, 1))),
    "an operator drops it": lambda: wired(lambda x: pooled(K.Masking()(x) + 1.0)),
    "a maximum does not know it": lambda: series(end=K.GlobalMaxPooling1D),
    "inference of a batch normalization": lambda: series(K.BatchNormalization(), end=K.Flatten),
    "the same, with an argument": lambda: wired(
        lambda x: K.BatchNormalization()(x, mask=ops.any(K.Masking()(x) > 0, axis=-1))
    ),
    "the same in a wrapper": lambda: series(K.TimeDistributed(K.Dense(2)), end=K.Flatten),
}


@pytest.mark.filterwarnings("ignore:Layer '.*was passed an input with a mask:UserWarning")
@pytest.mark.parametrize("name", UNUSED)
def test_a_mask_that_is_not_used_harms_nothing(name):
    model = UNUSED[name]()
    bound = lipviz.certify(model, search=False).upper_bound
    assert largest_ratio(model, 2, SERIES, pairs=50) <= bound < math.inf


def test_a_masked_softmax_at_the_end_is_not_looked_through():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, K.Softmax()(inputs, mask=np.array([[True, True, False, True]])))
    with pytest.raises(ValueError, match="mask"):
        certification.certified_radius(model, np.ones((2, 4)))


class Scaled(K.Layer):
    """A layer with an argument besides its input."""

    def call(self, inputs, by=None):
        return inputs if by is None else inputs * by


def test_arguments_that_a_rule_does_not_know(monkeypatch):
    monkeypatch.setattr(registry, "RULES", dict(registry.RULES))
    lipviz.register_bound(Scaled, lambda layer, shape, norm: 1.0)
    plain, scaled = (wired(lambda x, by=by: Scaled()(x, by=by)) for by in (None, np.float32(7.0)))
    assert lipviz.certify(plain, search=False).upper_bound == 1.0
    certificate = lipviz.certify(scaled, search=False)
    assert certificate.upper_bound == math.inf
    assert "by" in certificate.unbounded[0].method


# --- sizes that are not known ---


def of_any_size(wire):
    x = keras.Input((None, None, 2))
    return keras.Model(x, wire(x))


def pool(x, size=4, **arguments):
    return K.MaxPooling2D(size, size, **{"padding": "same", **arguments})(x)


MAY_DIFFER = {
    "Add": lambda x: K.Add()([x, pool(x)]),
    "Subtract": lambda x: K.Subtract()([x, pool(x)]),
    "Average": lambda x: K.Average()([x, pool(x)]),
    "Maximum": lambda x: K.Maximum()([x, pool(x)]),
    "LipResidual": lambda x: lip.LipResidual()([x, pool(x)]),
    "three": lambda x: K.Add()([x, x, pool(x)]),
    "an operator": lambda x: x - pool(x),
    "an operation": lambda x: ops.maximum(x, pool(x)),
    "up and down again": lambda x: x + K.UpSampling2D()(pool(x, 2)),
    "axes that changed places": lambda x: x + K.Permute((2, 1, 3))(x),
    "a slice": lambda x: x + x[:, -1:],
    "large windows": lambda x: pool(x, 90) + pool(x, 95),
    "larger windows": lambda x: pool(x, 44) + pool(x, 46),
    "windows beyond what is tried": lambda x: pool(x, 5000) + pool(x, 5001),
}


@pytest.mark.parametrize("name", MAY_DIFFER)
def test_unknown_sizes_are_not_equal_sizes(name):
    certificate = lipviz.certify(of_any_size(MAY_DIFFER[name]), search=False)
    assert certificate.upper_bound == math.inf
    assert "sizes are not known" in certificate.unbounded[0].method


def test_unknown_sizes_of_two_inputs_are_not_equal_sizes():
    inputs = [keras.Input((None, 2)), keras.Input((None, 2))]
    model = keras.Model(inputs, K.Add()(inputs))
    assert lipviz.certify(model, search=False).upper_bound == math.inf
    assert lipviz.certify(model, [(3, 2), (3, 2)], search=False).upper_bound == pytest.approx(math.sqrt(2))


def test_what_is_broadcast_where_a_size_is_1():
    model = of_any_size(MAY_DIFFER["Add"])
    certificate = lipviz.certify(model, (4, 4, 2), search=False)
    x, y = np.ones((1, 4, 4, 2)), np.zeros((1, 4, 4, 2))
    change = np.asarray(model(x), np.float64) - np.asarray(model(y), np.float64)
    np.testing.assert_array_equal(change, 2 * (x - y))
    assert 2 <= certificate.upper_bound < math.inf


ARE_EQUAL = {
    "a residual": (lambda x: K.Add()([x, K.ReLU()(x)]), 2.0),
    "itself": (lambda x: x + x, 2.0),
    "two ways of a stride": (lambda x: K.Add()([pool(x, 2), K.MaxPooling2D(1, 2, "same")(x)]), 2.0),
    "two ways to cut": (lambda x: x[:, 1:-1] + K.Cropping2D(((1, 1), (0, 0)))(x), 2.0),
    "up and down again": (lambda x: x + K.UpSampling2D()(pool(x, 2, padding="valid")), 3.0),
    "far down": (lambda x: pool(pool(x, 8), 8) + K.ReLU()(pool(x, 64)), 2.0),
    "side by side": (lambda x: K.Concatenate()([x, pool(x)]), math.sqrt(2)),
}


@pytest.mark.parametrize("name", ARE_EQUAL)
def test_unknown_sizes_that_are_equal_are_seen(name):
    wire, bound = ARE_EQUAL[name]
    assert lipviz.certify(of_any_size(wire), search=False).upper_bound == pytest.approx(bound)


def test_unknown_sizes_of_a_deep_chain():
    x = shapes = sizes.of_inputs([(None, 3)])[0]
    for _ in range(2000):  # beyond what Python nests
        shapes = sizes.Shapes(lambda choice, before=shapes: before.at(choice), 1, [shapes])
    assert shapes.at(5) == x.at(5)


@pytest.mark.parametrize("norm", NORMS)
def test_the_row_of_what_broadcasts_counts_the_copies(norm):
    x, y = keras.Input((2, 3)), keras.Input((2, 1))
    for merged in (K.Add()([x, y]), x + y):
        certificate = lipviz.certify(keras.Model([x, y], merged), norm=norm, search=False)
        matrix = np.concatenate([np.eye(6), np.kron(np.eye(2), np.ones((3, 1)))], axis=1)
        exact = np.linalg.norm(matrix, norm)
        assert certificate.layers[-1].upper == pytest.approx(exact)
        assert certificate.upper_bound >= exact * (1 - 1e-12)


def test_a_softmax_of_unknown_size_may_be_one_of_one_class():
    x = keras.Input((None,))
    row = lipviz.certify(keras.Model(x, ops.softmax(x)), search=False).layers[-1]
    assert (row.lower, row.upper) == (0.0, 0.5)


@pytest.mark.parametrize("dtype", ["bool", "int32"])
@pytest.mark.parametrize(
    "layer",
    [
        K.ZeroPadding1D(0),
        K.Cropping1D(0),
        K.Dropout(0.1),
        K.SpatialDropout1D(0.1),
        K.GaussianNoise(0.1),
        K.ActivityRegularization(),
        K.GlobalMaxPooling1D(keepdims=True),
        K.MaxPooling1D(1),
        K.Reshape((1, 2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_whole_numbers_stay_so_where_keras_states_another_dtype(layer, dtype):
    """Keras states the dtype of the layer, and moves what it gets: what comes next computes with whole numbers."""
    layer = type(layer).from_config(layer.get_config())
    x = keras.Input((1, 2), dtype=dtype)
    model = keras.Model(x, K.LayerNormalization(epsilon=1.0)(layer(x)))
    assert lipviz.certify(model, search=False).upper_bound == math.inf
    model = keras.Model(x, K.Rescaling(0.5)(layer(x)))
    assert lipviz.certify(model, search=False).upper_bound == 0.5
