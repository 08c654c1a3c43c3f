"""The bound of each layer, held against what the layer itself computes in float64."""

import functools
import math

import keras
import numpy as np
import pytest
from keras import ops

import lipviz
from lipviz import layers as lip
from lipviz.certification import matrices
from lipviz.certification.matrices import matrix_bound
from lipviz.operators.precision import float64_scope
from lipviz.parametrizations import SpectralParametrization
from lipviz.rules import activations, registry
from lipviz.rules.bound import Bound, check_norm
from lipviz.rules.functions import function_bound
from lipviz.rules.registry import activation_bound, find_rule, layer_bound
from tests.random_convolutions import no_explicit_matrix
from tests.support import with_spectrum

K = keras.layers
NORMS = (1, 2, math.inf)


def built(layer, shape, seed=0):
    """The layer in float64, built for a shape, with random weights where it has any but kernels."""
    layer.build((None, *shape))
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if "kernel" in weight.name or weight.name in ("gamma", "bias", "moving_mean", "beta"):
            weight.assign(rng.standard_normal(weight.shape))
        elif weight.name == "moving_variance":
            weight.assign(rng.uniform(0.1, 2.0, weight.shape))
    if hasattr(layer, "refresh"):
        layer.refresh()
    return layer


def matrix_of(layer, shape):
    """The matrix of a linear layer, from what it makes of 0 and of every unit vector."""
    size = math.prod(shape)
    points = np.concatenate([np.zeros((1, size)), np.eye(size)]).reshape(-1, *shape)
    with float64_scope():
        values = keras.ops.convert_to_numpy(layer(points, training=False)).reshape(size + 1, -1)
    return (values[1:] - values[0]).T


def f64(kind, *args, **kwargs):
    return kind(*args, dtype="float64", **kwargs)


IMAGE = (6, 5, 3)
LINEAR = {
    "dense": (lambda: f64(K.Dense, 4), (7,)),
    "dense on axes": (lambda: f64(K.Dense, 4), (3, 5)),
    "spectral dense": (lambda: f64(lip.SpectralDense, 4, k_coef_lip=2.0), (7,)),
    "frobenius dense": (lambda: f64(lip.FrobeniusDense, 4), (7,)),
    "conv1d": (lambda: f64(K.Conv1D, 4, 3, strides=2, padding="causal"), (9, 2)),
    "conv2d": (lambda: f64(K.Conv2D, 4, 3, padding="same"), IMAGE),
    "conv2d stride": (lambda: f64(K.Conv2D, 2, (3, 2), strides=2), IMAGE),
    "conv2d groups": (lambda: f64(K.Conv2D, 6, 3, groups=3, padding="same"), IMAGE),
    "conv2d dilated": (lambda: f64(K.Conv2D, 2, 2, dilation_rate=2, padding="same"), IMAGE),
    "spectral conv2d": (lambda: f64(lip.SpectralConv2D, 4, 3), IMAGE),
    "frobenius conv2d": (lambda: f64(lip.FrobeniusConv2D, 4, 3, strides=2), IMAGE),
    "conv2d transposed": (lambda: f64(K.Conv2DTranspose, 2, 3, strides=2, padding="same"), (3, 2, 3)),
    "spectral transposed": (lambda: f64(lip.SpectralConv2DTranspose, 2, 3, strides=2), (3, 2, 3)),
    "conv1d transposed": (lambda: f64(K.Conv1DTranspose, 2, 3), (5, 3)),
    "depthwise": (lambda: f64(K.DepthwiseConv2D, 3, depth_multiplier=2), IMAGE),
    "separable": (lambda: f64(K.SeparableConv2D, 4, 3, padding="same"), IMAGE),
    "padded circular": (lambda: f64(lip.PadConv2D, 4, 3, padding="circular"), IMAGE),
    "padded reflect": (lambda: f64(lip.PadConv2D, 4, 3, padding="reflect"), IMAGE),
    "average": (lambda: f64(K.AveragePooling2D, 2), IMAGE),
    "average overlapping": (lambda: f64(K.AveragePooling2D, 3, strides=1), IMAGE),
    "average same": (lambda: f64(K.AveragePooling2D, 3, strides=2, padding="same"), IMAGE),
    "average 1d": (lambda: f64(K.AveragePooling1D, 2), (7, 2)),
    "global average": (lambda: f64(K.GlobalAveragePooling2D), IMAGE),
    "batch norm": (lambda: f64(K.BatchNormalization), IMAGE),
    "flatten": (lambda: f64(K.Flatten), IMAGE),
    "reshape": (lambda: f64(K.Reshape, (15, 6)), IMAGE),
    "permute": (lambda: f64(K.Permute, (3, 1, 2)), IMAGE),
    "zero padding": (lambda: f64(K.ZeroPadding2D, 2), IMAGE),
    "cropping": (lambda: f64(K.Cropping2D, 1), IMAGE),
    "dropout": (lambda: f64(K.Dropout, 0.5), IMAGE),
    "up sampling": (lambda: f64(K.UpSampling2D, (2, 3)), IMAGE),
    "up sampling bilinear": (lambda: f64(K.UpSampling2D, 2, interpolation="bilinear"), IMAGE),
    "up sampling 1d": (lambda: f64(K.UpSampling1D, 3), (4, 2)),
    "repeat": (lambda: f64(K.RepeatVector, 3), (4,)),
    "rescaling": (lambda: f64(K.Rescaling, -3.0, offset=1.0), IMAGE),
    "time distributed": (lambda: K.TimeDistributed(f64(K.Dense, 3), dtype="float64"), (2, 5)),
    "scaled average": (lambda: f64(lip.ScaledAveragePooling2D, (2, 2), k_coef_lip=1.5), IMAGE),
    "scaled global average": (lambda: f64(lip.ScaledGlobalAveragePooling2D), IMAGE),
    "down sampling": (lambda: f64(lip.InvertibleDownSampling, (2, 1)), (6, 4, 2)),
    "up sampling invertible": (lambda: f64(lip.InvertibleUpSampling, 2), (3, 2, 4)),
    "layer centering": (lambda: f64(lip.LayerCentering), IMAGE),
    "layer centering of one pixel": (lambda: f64(lip.LayerCentering), (1, 1, 3)),
    "batch centering": (lambda: f64(lip.BatchCentering, k_coef_lip=0.5), IMAGE),
    "batch lip norm": (lambda: f64(lip.BatchLipNorm), IMAGE),
}
# What Keras computes in float32 on JAX: entries of the matrix are off by a few units of that.
ROUGH = {"global average", "batch norm"} if keras.backend.backend() == "jax" else set()


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_have_the_norm_of_their_matrix(name):
    make, shape = LINEAR[name]
    layer = built(make(), shape)
    matrix, room = matrix_of(layer, shape), 4 * 2.0**-24 if name in ROUGH else 1e-9
    for norm in NORMS:
        exact = np.linalg.norm(matrix, norm)
        bound = layer_bound(layer, shape, norm)
        assert bound.lower <= exact * (1 + room) + 1e-12, norm
        assert bound.upper >= exact * (1 - room), norm
        assert bound.upper <= exact * (1 + room) + 1e-12, norm


# Only their matrix is known, which is too large for large images.
UNSTRUCTURED = {"padded circular", "padded reflect"}


@pytest.mark.parametrize("name", LINEAR)
def test_large_linear_layers_are_bounded_by_their_structure(name, monkeypatch):
    """As if no matrix were small enough to be written down."""
    make, shape = LINEAR[name]
    layer = built(make(), shape)
    matrix, room = matrix_of(layer, shape), 4 * 2.0**-24 if name in ROUGH else 1e-9
    monkeypatch.setattr(matrices, "_EXPLICIT_SIDE", 0)
    monkeypatch.setattr(matrices, "MEMORY", matrices.Memory(1))
    with no_explicit_matrix():
        for norm in NORMS:
            exact = np.linalg.norm(matrix, norm)
            bound = layer_bound(layer, shape, norm)
            assert bound.lower <= exact * (1 + room) + 1e-12, norm
            assert bound.upper >= exact * (1 - room), norm
            assert bound.upper <= exact * 1.5 + 1e-12 or name in UNSTRUCTURED, (norm, bound)


SIZE_FREE = {
    "conv2d": lambda: f64(K.Conv2D, 4, 3, padding="same"),
    "conv2d stride": lambda: f64(K.Conv2D, 2, (3, 2), strides=2),
    "conv2d groups": lambda: f64(K.Conv2D, 6, 3, groups=3, padding="same"),
    "transposed": lambda: f64(K.Conv2DTranspose, 2, 3, strides=2, padding="same"),
    "depthwise": lambda: f64(K.DepthwiseConv2D, 3),
    "separable": lambda: f64(K.SeparableConv2D, 4, 3, padding="same"),
    "average": lambda: f64(K.AveragePooling2D, 3, strides=2),
    "max": lambda: f64(K.MaxPooling2D, 3, strides=2, padding="same"),
    "global average": lambda: f64(K.GlobalAveragePooling2D),
}


@pytest.mark.parametrize("name", SIZE_FREE)
def test_without_a_size_a_bound_holds_for_every_size(name):
    layer = built(SIZE_FREE[name](), (None, None, 3))
    for norm in NORMS:
        anywhere = layer_bound(layer, (None, None, 3), norm)
        if norm == 2 or name != "separable":
            assert anywhere.upper < math.inf
        for size in (4, 7):
            shape = (size, size, 3)
            here = layer_bound(layer, shape, norm)
            assert here.lower <= anywhere.upper * (1 + 1e-9)
            assert anywhere.lower <= here.upper * (1 + 1e-9)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool", "stride", "size"), [(2, 2, 6), (3, 1, 5), (3, 2, 7), ((2, 3), (1, 2), 6), (4, 1, 3)])
def test_max_pooling_counts_the_windows_that_share_an_entry(pool, stride, size, padding):
    if padding == "valid":
        size = max(size, np.max(pool))
    layer = f64(K.MaxPooling2D, pool, strides=stride, padding=padding)
    shape = (size, size, 1)
    # One entry above all others is the maximum of every window that it is in.
    peaks = 10 * np.eye(size * size).reshape(-1, *shape)
    with float64_scope():
        low, high = (keras.ops.convert_to_numpy(layer(points)) for points in (peaks, peaks * 1.5))
    change = np.abs(high - low).reshape(len(peaks), -1) / 5
    for norm in NORMS:
        bound = layer_bound(layer, shape, norm)
        reached = np.linalg.norm(change, norm, axis=1).max()
        assert bound.lower == pytest.approx(reached)
        assert reached <= bound.upper * (1 + 1e-12)


NAMES = sorted(
    name
    for name in dir(keras.activations)
    if callable(getattr(keras.activations, name)) and name not in ("get", "serialize", "deserialize")
)


def test_every_activation_of_keras_has_an_entry_or_is_refused_by_name():
    """In one table; a second name of a function counts as the first."""
    known = [activations.name_of(getattr(keras.activations, name)) for name in NAMES]
    assert None not in known, f"add {NAMES[known.index(None)]} to lipviz/rules/activations.py"
    entries = [*activations.ELEMENTWISE, *activations.MIXING, *activations.REFUSED]
    assert sorted({*known}) == sorted(entries)  # and each name is in one of them only
    for name, why in activations.REFUSED.items():
        assert function_bound(getattr(keras.activations, name), (6,), 2) == Bound(
            0, math.inf, why, (0, math.inf) if name == "exponential" else None
        )


@pytest.mark.parametrize("name", activations.ELEMENTWISE)
def test_slopes_of_activations(name):
    """Of pairs of neighbours on a fine grid, none is beyond the bound, and one is within 0.1 % of the lower one."""
    function = getattr(keras.activations, name)
    bound = activation_bound(function, (6,), 2)
    x = np.linspace(-100, 100, 1_000_001).reshape(-1, 1)
    with float64_scope():
        y = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(x))).astype(np.float64)
    slope = (np.abs(np.diff(y, axis=0)) / np.diff(x, axis=0)).max()
    room = 1e-3 if keras.backend.backend() == "jax" else 1e-6
    assert slope <= bound.upper * (1 + room)
    assert slope >= bound.lower * 0.999


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_at_its_steepest(name, norm):
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.standard_normal((200, 4)) * 3, [[30, 30, -30, -30], [-30, 40, -30, -30]]])
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    if name == "softmax":
        jacobians = p[:, :, None] * np.eye(4) - p[:, :, None] * p[:, None, :]
    else:
        jacobians = np.eye(4) - p[:, None, :]
    largest = max(np.linalg.norm(jacobian, norm) for jacobian in jacobians)
    bound = activation_bound(getattr(keras.activations, name), (4,), norm)
    assert largest <= bound.upper * (1 + 1e-12)
    assert largest == pytest.approx(bound.lower, rel=1e-6)


NONLINEAR = {
    "relu": (lambda: f64(K.ReLU, negative_slope=1.5), 1.5),
    "relu6": (lambda: f64(K.ReLU, max_value=6.0), 1.0),
    "leaky": (lambda: f64(K.LeakyReLU, negative_slope=0.3), 1.0),
    "elu": (lambda: f64(K.ELU, alpha=2.0), 2.0),
    "prelu": (lambda: f64(K.PReLU, alpha_initializer=keras.initializers.Constant(-3.0)), 3.0),
    "prelu lip": (lambda: f64(lip.PReLUlip, 0.5, alpha_initializer="ones"), 0.5),
    "group sort": (lambda: f64(lip.GroupSort, 2, k_coef_lip=2.0), 2.0),
    "full sort": (lambda: f64(lip.FullSort), 1.0),
    "max min": (lambda: f64(lip.MaxMin), 1.0),
    "householder": (lambda: f64(lip.Householder, theta_initializer=keras.initializers.Constant(0.7)), 1.0),
    "beta abs": (lambda: f64(lip.BetaAbs, 0.6, k_coef_lip=2.0), 2.0),
    "softmax": (lambda: f64(K.Softmax), 0.5),
    "activation": (lambda: f64(K.Activation, "tanh"), 1.0),
    "global max": (lambda: f64(K.GlobalMaxPooling1D), 1.0),
    "l2 norm pooling": (lambda: f64(lip.ScaledL2NormPooling2D), 1.0),
    "global l2 norm pooling": (lambda: f64(lip.ScaledGlobalL2NormPooling2D, k_coef_lip=3.0), 3.0),
    "layer norm": (lambda: f64(K.LayerNormalization, epsilon=0.04), 5.0),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_layers_stay_within_their_bound(name):
    make, expected = NONLINEAR[name]
    shape = (6, 4) if name == "global max" else (4, 4, 4) if "pooling" in name else (8,)
    layer = make()
    layer.build((None, *shape))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, *shape)) * np.exp(rng.uniform(-4, 2, (4000, *[1] * len(shape))))
    d = 1e-3 * rng.standard_normal((4000, *shape))
    with float64_scope():
        change = keras.ops.convert_to_numpy(layer(x + d)) - keras.ops.convert_to_numpy(layer(x))
    assert layer_bound(layer, shape, 2).upper == pytest.approx(expected)
    for norm in NORMS:
        bound = layer_bound(layer, shape, norm)
        ratios = np.linalg.norm(change.reshape(4000, -1), norm, axis=1) / np.linalg.norm(
            d.reshape(4000, -1), norm, axis=1
        )
        assert ratios.max() <= bound.upper * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(150, 120), (120, 150)])
@pytest.mark.parametrize("values", [[7.0, 6.9, 1.0], [7.0] * 120, [7.0]])
def test_norms_of_matrices_too_large_for_an_svd(shape, values, monkeypatch):
    monkeypatch.setattr(matrices, "_EXACT_SIDE", 100)
    values = np.pad(values, (0, 120 - len(values)))
    for scale in (1e-12, 1.0, 1e12):
        bound = matrix_bound(scale * with_spectrum(shape, values), 2)
        assert bound.method == "Cholesky"
        assert 7 * scale * (1 - 1e-9) <= bound.lower <= 7 * scale * (1 + 1e-12)
        assert 7 * scale * (1 - 1e-12) <= bound.upper <= 7 * scale * (1 + 1e-9)
    assert matrix_bound(np.zeros(shape), 2).upper == 0


@pytest.mark.parametrize("wrap", [lambda dense: K.TimeDistributed(dense), lambda dense: K.SpectralNormalization(dense)])
def test_wrappers_count_the_activation_of_what_they_wrap(wrap):
    dense = K.Dense(3, activation="selu")
    layer = wrap(dense)
    layer.build((None, 2, 5))
    norm = np.linalg.norm(np.asarray(dense.kernel, np.float64), 2)
    assert layer_bound(layer, (2, 5), 2).upper == pytest.approx(norm * 1.7580993, rel=1e-6)
    dense.activation = keras.activations.exponential
    assert layer_bound(layer, (2, 5), 2).upper == math.inf


def test_an_activation_that_is_a_layer_counts_its_own_activation():
    inner = K.Dense(4, activation="selu")
    layer = K.Dense(4, activation=inner)
    layer.build((None, 5))
    inner.build((None, 4))
    product = np.prod([np.linalg.norm(np.asarray(part.kernel, np.float64), 2) for part in (layer, inner)])
    assert layer_bound(layer, (5,), 2).upper == pytest.approx(product * 1.7580993, rel=1e-6)


# --- numbers that are broadcast, and axes ---


@pytest.mark.parametrize("norm", NORMS)
def test_numbers_that_widen_an_axis_copy_its_entries(norm):
    copies = {1: 3.0, 2: math.sqrt(3), math.inf: 1.0}[norm]
    assert layer_bound(K.Rescaling([1, 1, 1]), (4, 4, 1), norm).upper == pytest.approx(copies)
    assert layer_bound(K.Rescaling(1.0, offset=[0, 0, 0]), (4, 4, 1), norm).upper == pytest.approx(copies)
    assert layer_bound(K.Rescaling([1, 1, 1]), (4, 4, 3), norm).upper == 1
    assert layer_bound(K.Rescaling([1, 1, 1]), (4, 4, None), norm).upper == pytest.approx(copies)
    assert layer_bound(K.Rescaling([[2.0], [1.0]]), (2, 2), norm).upper == 2
    for wide in ([[[1.0]]], [[2.0], [1.0], [3.0]]):  # more axes than a sample has, or the batch's
        expected = 1 if wide == [[[1.0]]] else math.inf
        assert layer_bound(K.Rescaling(wide), (5, 7) if expected == 1 else (7,), norm).upper == expected
    # A scale and an offset that cannot be broadcast with each other, or with the sample.
    misfit = K.Rescaling([3, -4], offset=[1, 2, 3])
    for layer, channels in ((misfit, 3), (misfit, None), (K.Rescaling([3, -4]), 3), (K.Rescaling(2, offset=[1, 2]), 3)):
        assert layer_bound(layer, (4, channels), norm).upper == math.inf
    slopes = K.PReLU(alpha_initializer=keras.initializers.Constant(2.0))
    slopes.build((None, 3))
    assert layer_bound(slopes, (1,), norm).upper == pytest.approx(2 * copies)
    features = K.Normalization(mean=[0.0] * 3, variance=[0.25] * 3)
    features.build((None, 3))
    assert layer_bound(features, (1,), norm).upper == pytest.approx(2 * copies, rel=1e-5)


def test_what_lies_behind_a_widened_axis_knows_its_size():
    image = keras.Input((2, 2, 1))
    model = keras.Model(image, keras.ops.sum(K.Rescaling([1, 1, 1])(image), axis=-1))
    assert np.asarray(model(np.ones((1, 2, 2, 1)))).max() == 3  # which Keras states nowhere
    assert lipviz.certify(model, search=False).upper_bound == pytest.approx(3)


@pytest.mark.parametrize(
    ("make", "shape", "finite"),
    [
        (lambda: K.LayerNormalization(axis=0), (3,), False),
        (lambda: K.LayerNormalization(axis=-2), (3,), False),
        (lambda: K.LayerNormalization(axis=[-1, 0]), (3,), False),
        (lambda: K.LayerNormalization(axis=[1, 2]), (3, 2), True),
        (lambda: K.Softmax(axis=0), (3,), False),
        (lambda: K.Softmax(axis=-2), (3,), False),
        (lambda: K.Softmax(axis=-2), (3, 2), True),
        (lambda: K.Softmax(axis=[1, 0]), (3,), False),
        (lambda: K.Activation("softmax"), (), False),
        (lambda: K.Activation("log_softmax"), (), False),
        (lambda: K.Normalization(axis=0, mean=[0.0] * 4, variance=[1.0] * 4), (3,), False),
    ],
)
def test_what_mixes_samples_has_no_bound(make, shape, finite):
    layer = make()
    if not layer.built:
        layer.build((4, *shape))
    assert (layer_bound(layer, shape, 2).upper < math.inf) is finite


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")
def test_layer_normalization_that_does_not_center_has_no_bound():
    layer = K.LayerNormalization(rms_scaling=True)
    layer.build((None, 3))
    bound = layer_bound(layer, (3,), 2)
    assert bound.upper == math.inf
    assert "not centered" in bound.method


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float32"])
def test_layer_normalization_takes_its_scale_as_it_is_stored(policy):
    layer = K.LayerNormalization(dtype=policy)
    layer.build((None, 3))
    layer.gamma.assign([1.0, 1.0019, 1.0])
    assert layer_bound(layer, (3,), 2).upper == pytest.approx(1.0019 / math.sqrt(1e-3), rel=1e-7)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
@pytest.mark.parametrize("k", [0.3, 0.7, 1.1])
@pytest.mark.parametrize("name", ["GroupSort", "MaxMin", "Householder", "PReLUlip", "InvertibleDownSampling"])
def test_half_precision_rounds_k(name, k, policy):
    """An entry that is a power of two is multiplied without a rounding of its own."""
    arguments = {"pool_size": 2} if name == "InvertibleDownSampling" else {}
    layer = getattr(lip, name)(k_coef_lip=k, dtype=policy, **arguments)
    x = np.zeros((1, 2, 2, 4), "float32")
    x[0, 0, 0, 0] = 256.0
    largest = np.abs(ops.convert_to_numpy(ops.cast(layer(ops.cast(x, layer.compute_dtype)), "float32"))).max() / 256
    bound = layer_bound(layer, (2, 2, 4), 2).upper
    assert largest <= bound * (1 + 1e-12)
    if name not in ("PReLUlip", "Householder"):
        assert bound <= largest * (1 + 1e-9)


def test_numbers_of_a_half_precision_layer_are_those_that_it_uses():
    layer = K.Rescaling(1 / 255, dtype="bfloat16")
    used = float(keras.ops.cast(layer(np.ones((1, 1), "float32")), "float32")[0, 0])
    assert used > 1 / 255
    assert layer_bound(layer, (1,), 2).upper == pytest.approx(used, rel=1e-12)
    assert layer_bound(K.LeakyReLU(1.005, dtype="bfloat16"), (1,), 2).upper == 1.0078125


def test_slopes_that_are_no_numbers_are_not_compared():
    for layer in (
        K.ELU(alpha=math.nan),
        K.LeakyReLU(math.inf),
        K.ReLU(negative_slope=math.nan),
        K.Rescaling([1, 1e39]),
    ):
        assert "finite" in layer_bound(layer, (2,), 2).method


def of_variance(layer, variance, shape=(3,)):
    layer.build((None, *shape))
    layer.moving_variance.assign(np.full(layer.moving_variance.shape, variance))
    return layer


NOT_POSITIVE = {
    "LayerNormalization of 0": lambda: K.LayerNormalization(epsilon=0),
    "LayerNormalization of less": lambda: K.LayerNormalization(epsilon=-1e-3),
    "LayerNormalization of NaN": lambda: K.LayerNormalization(epsilon=math.nan),
    "LayerNormalization of what float32 does not hold": lambda: K.LayerNormalization(epsilon=1e-50),
    "LayerNormalization of one entry": lambda: K.LayerNormalization(epsilon=0, axis=1),
    "BatchNormalization of 0": lambda: of_variance(K.BatchNormalization(epsilon=0), 0),
    "BatchNormalization of 0 times 0": lambda: of_variance(
        K.BatchNormalization(epsilon=0, gamma_initializer="zeros"), 0
    ),
    "BatchNormalization of a negative variance": lambda: of_variance(K.BatchNormalization(), -1),
    "BatchNormalization of a negative epsilon": lambda: of_variance(K.BatchNormalization(epsilon=-2), 1),
    "BatchLipNorm of a negative variance": lambda: of_variance(lip.BatchLipNorm(), -1),
    "BatchLipNorm of 0": lambda: of_variance(lip.BatchLipNorm(epsilon=1e-3), -1e-3),
    "Normalization of a negative variance": lambda: K.Normalization(mean=[0.0] * 3, variance=[-1.0] * 3),
    "GroupNormalization": lambda: K.GroupNormalization(1, epsilon=0),
    "UnitNormalization": lambda: K.UnitNormalization(),
    "RMSNormalization": lambda: K.RMSNormalization(epsilon=0),
}


@pytest.mark.parametrize("name", NOT_POSITIVE)
def test_normalizations_that_divide_by_what_is_not_positive_have_no_bound(name):
    model = keras.Sequential([keras.Input((3,)), NOT_POSITIVE[name]()])
    certificate = lipviz.certify(model, search=False)
    assert certificate.upper_bound == math.inf
    assert certificate.unbounded


@pytest.mark.slow
def test_a_search_among_outputs_that_are_not_finite():
    layer = NOT_POSITIVE["LayerNormalization of less"]()
    certificate = lipviz.certify(keras.Sequential([keras.Input((3,)), layer]))
    assert 0 <= certificate.lower_bound < certificate.upper_bound == math.inf


def test_a_normalization_without_epsilon_is_known_by_its_variance():
    layer = of_variance(K.BatchNormalization(epsilon=0), 0.25)
    assert layer_bound(layer, (3,), 2).upper == pytest.approx(2)


def test_keras_sparsemax_jumps():
    function = keras.activations.sparsemax
    x = np.array([[10.0, 9.0 - 1e-6], [10.0, 9.0 + 1e-6]])
    with float64_scope():
        below, above = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(x)))
    assert np.linalg.norm(below - above) > 0.9  # should this fail, Keras has mended it: then it is a projection
    assert layer_bound(K.Activation(function), (2,), 2).upper == math.inf


@pytest.mark.parametrize("cls", [K.SeparableConv1D, K.SeparableConv2D])
def test_a_separable_convolution_is_one_convolution(cls):
    rank = 1 if cls is K.SeparableConv1D else 2
    layer = built(f64(cls, 5, 3, depth_multiplier=3, padding="same"), (*[None] * rank, 4))
    for norm in NORMS:
        anywhere = layer_bound(layer, (*[None] * rank, 4), norm).upper
        here = layer_bound(layer, (*[12] * rank, 4), norm)
        assert here.lower <= anywhere * (1 + 1e-12)
        assert anywhere <= here.upper * 1.1


def test_half_precision_bounds_the_rounded_kernel():
    layer = lip.SpectralDense(32, dtype="mixed_bfloat16")
    layer.build((None, 32))
    rounded = keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(layer.wbar, "bfloat16"), "float32"))
    exact = np.linalg.norm(np.asarray(rounded, np.float64), 2)
    stored = np.linalg.norm(np.asarray(layer.wbar, np.float64), 2)
    bound = layer_bound(layer, (32,), 2)
    assert abs(exact - stored) > 1e-5
    assert bound.upper == pytest.approx(exact, rel=1e-9)


def test_the_references_convolution_factor_does_not_deceive():
    layer = lip.SpectralConv2D(16, 3, bound="unsound_average")
    layer.build((None, 28, 28, 1))
    # Filters that are orthogonal from the start keep the 9 entries of a patch: 3 is their norm as a convolution. Its
    # factor is the root of how often an entry is used on average, which is 3 − 2/28 along an axis.
    assert layer_bound(layer, (28, 28, 1), 2).lower == pytest.approx(3 / (3 - 2 / 28), rel=1e-5)


# --- the register ---


class Doubling(K.Layer):
    def call(self, inputs):
        return 2 * inputs


class Louder(K.Dense):
    def call(self, inputs):
        return 5 * super().call(inputs)


class Bare(K.Dense):
    """A subclass that computes as its base does."""


class Warped(lip.SpectralDense):
    def call(self, inputs, training=True):
        return 5 * super().call(inputs, training=training)


def test_a_subclass_that_computes_otherwise_has_no_rule():
    assert find_rule(Bare(2)) is find_rule(K.Dense(2))
    assert find_rule(Louder(2)) is None
    assert find_rule(Warped(2)) is None
    assert find_rule(Doubling()) is None


def sub(base, **names):
    """A subclass of a class with other names in it."""
    return type("Sub", (base,), names)


IMAGE = (4, 4, 2)
OTHERWISE = {
    "a method of ours": lambda: (sub(lip.GroupSort2, scaled=lambda self, x: 7 * x)(), (4,)),
    "a method that a base of ours brought": lambda: (sub(lip.MaxMin, scaled=lambda self, x: 7 * x)(), (4,)),
    "the slopes": lambda: (sub(lip.PReLUlip, limited=lambda self, slopes: 7 * slopes)(), (4,)),
    "the mean of a pooling": lambda: (sub(lip.ScaledAveragePooling2D, average=lambda self, x: 7 * x)(), IMAGE),
    "a property": lambda: (sub(lip.ScaledAveragePooling2D, root_of_size=property(lambda self: 99.0))(), IMAGE),
    "a convolution of ours": lambda: (sub(lip.SpectralConv2D, convolution_op=lambda self, x, k: 6 * x)(2, 3), IMAGE),
    "the linear part of one": lambda: (sub(lip.SpectralConv2D, linear=lambda self, x, k: 6 * x)(2, 3), IMAGE),
    "a bias": lambda: (sub(lip.SpectralDense, add_bias=lambda self, x: 6 * x)(2), (4,)),
    "a linear part that is not linear": lambda: (
        sub(lip.SpectralDense, linear=lambda self, x, k: ops.sin(6 * ops.matmul(x, k)))(2),
        (4,),
    ),
    "a method of Keras": lambda: (sub(K.UpSampling2D, _resize_images=lambda self, x, *rest: 7 * x)(), IMAGE),
    "the kernel": lambda: (sub(K.Dense, kernel=property(lambda self: 7 * self._kernel))(2), (4,)),
    "the call around a call": lambda: (sub(K.ReLU, __call__=lambda self, x: 7 * x)(), (4,)),
    "every attribute": lambda: (
        sub(K.ReLU, __getattribute__=lambda self, name: object.__getattribute__(self, name))(),
        (4,),
    ),
    "a stated shape": lambda: (sub(K.Dense, compute_output_shape=lambda self, shape: (shape[0], 9))(2), (4,)),
    "an attribute in the place of a method": lambda: (with_attribute(lip.GroupSort2(), "scaled"), (4,)),
    "an attribute in the place of a call": lambda: (with_attribute(K.ReLU(), "call"), (4,)),
    "a parametrization": lambda: (lip_with_another_parametrization(), (4,)),
    "an attribute of a parametrization": lambda: (with_another_call(lip.SpectralDense(2)), (4,)),
    "what a wrapper holds": lambda: (K.TimeDistributed(sub(K.ReLU, call=lambda self, x: 7 * x)()), (3, 4)),
    "an activation": lambda: (K.Dense(2, activation=sub(lip.GroupSort2, scaled=lambda self, x: 7 * x)()), (4,)),
}


def with_attribute(layer, name):
    setattr(layer, name, lambda x: 7 * x)
    return layer


def lip_with_another_parametrization():
    loud = sub(SpectralParametrization, call=lambda self, kernel, training=True: 7 * ops.convert_to_tensor(self.wbar))
    return sub(lip.SpectralDense, parametrization_class=loud)(2)


def with_another_call(layer):
    layer.parametrization.call = lambda kernel, training=True: 7 * kernel
    return layer


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_call_uses_may_not_be_overridden(name):
    layer, shape = OTHERWISE[name]()
    layer.build((None, *shape))
    for norm in NORMS:
        assert layer_bound(layer, shape, norm).upper == math.inf
    assert lipviz.certify(layer, shape, search=False).upper_bound == math.inf


HARMLESS = {
    "words and names": lambda: (sub(K.Dense, __doc__="One.", helper=lambda self: 7)(2), (4,)),
    "arguments": lambda: (sub(lip.SpectralDense, __init__=lambda self: lip.SpectralDense.__init__(self, 2))(), (4,)),
    "a configuration": lambda: (sub(lip.GroupSort2, get_config=lambda self: {"other": 7})(), (4,)),
    "a build": lambda: (sub(K.Dense, build=lambda self, shape: K.Dense.build(self, shape))(2), (4,)),
    "a shape": lambda: (sub(K.Dense, compute_output_shape=lambda self, shape: (*shape[:-1], 2))(2), (4,)),
    "an attribute that only training uses": lambda: (with_another_normalization(lip.SpectralDense(2)), (4,)),
    "a normalization of its kernel": lambda: (
        sub(lip.SpectralDense, parametrization_class=sub(SpectralParametrization))(2),
        (4,),
    ),
}


def with_another_normalization(layer):
    layer.parametrization.normalize = functools.partial(SpectralParametrization.normalize, layer.parametrization)
    return layer


@pytest.mark.parametrize("name", HARMLESS)
def test_a_subclass_that_adds_nothing_to_call_keeps_its_rule(name):
    layer, shape = HARMLESS[name]()
    layer.build((None, *shape))
    assert layer_bound(layer, shape, 2).upper < math.inf


def test_a_linear_part_of_ones_own_is_probed():
    layer = sub(lip.SpectralDense, linear=lambda self, x, kernel: 3 * ops.matmul(x, kernel))(4)
    layer.build((None, 4))
    assert layer_bound(layer, (4,), 2).upper == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("base", [K.Layer, lip.GroupSort2], ids=["of Keras", "of ours"])
def test_a_registered_bound_holds_for_subclasses_that_add_nothing(base, monkeypatch):
    monkeypatch.setattr(registry, "RULES", dict(registry.RULES))
    loud = sub(base, call=lambda self, x: self.loud(x), loud=lambda self, x: 7 * x)
    lipviz.register_bound(loud, lambda layer, shape, norm: 7.0)
    assert layer_bound(loud(), (4,), 2).upper == 7
    assert layer_bound(sub(loud, get_config=lambda self: {})(), (4,), 2).upper == 7
    louder = sub(loud, loud=lambda self, x: 9 * x)
    assert layer_bound(louder(), (4,), 2) == Bound(0.0, math.inf, "no rule for Sub, which computes otherwise than Sub")


@pytest.mark.parametrize("make", [keras.Sequential, lipviz.Sequential])
def test_models_that_run_their_layers_otherwise(make):
    layers = [keras.Input((4,)), K.ReLU()]
    assert lipviz.certify(sub(make, train_step=lambda self, data: {})(layers), search=False).upper_bound == 1
    loud = sub(make, call=lambda self, x, training=None, mask=None: 7 * x)
    assert lipviz.certify(loud(layers), search=False).upper_bound == math.inf


def test_register_bound_with_and_without_decorator():
    class Scaled(Doubling):
        pass

    @lipviz.register_bound(Scaled)
    def twice(layer, input_shape, norm):
        assert input_shape == (3,)
        return 1.5, 2.0

    assert layer_bound(Scaled(), (3,), 2) == Bound(1.5, 2.0, "registered rule")
    assert lipviz.register_bound(Scaled, lambda layer, shape, norm: 2) is not twice
    assert layer_bound(Scaled(), (3,), 2).upper == 2.0
    assert layer_bound(Doubling(), (3,), 2).upper == math.inf

    lipviz.register_bound(Scaled, lambda layer, shape, norm: Bound(2, 2, "by hand"))
    assert layer_bound(Scaled(), (3,), 2).attained


@pytest.mark.parametrize("value", [-1.0, math.nan, "2", None])
def test_registered_rules_must_return_a_bound(value):
    class Wrong(Doubling):
        pass

    lipviz.register_bound(Wrong, lambda layer, shape, norm: value)
    with pytest.raises(ValueError, match="must return a number of at least 0"):
        layer_bound(Wrong(), (3,), 2)


def test_register_bound_refuses_what_is_no_layer_class_or_rule():
    with pytest.raises(TypeError, match="subclass of keras"):
        lipviz.register_bound(Doubling(), lambda *_: 2)
    with pytest.raises(TypeError, match="function"):
        lipviz.register_bound(Doubling, 2.0)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(2, 2), (1.0, 1), ("inf", math.inf), (math.inf, math.inf), (np.int64(2), 2), (np.float32(np.inf), math.inf)],
)
def test_norms_by_their_names(norm, expected):
    assert check_norm(norm) == expected


@pytest.mark.parametrize("norm", [3, "l2", True, np.True_, None, 0, math.nan])
def test_other_norms_are_refused(norm):
    with pytest.raises(ValueError, match="must be 1, 2 or 'inf'"):
        check_norm(norm)


def test_unordered_bounds_are_refused():
    with pytest.raises(ValueError, match="lower <= upper"):
        Bound(2.0, 1.0, "by hand")


@pytest.mark.parametrize(
    ("layer", "shape", "norm", "why"),
    [
        (K.ReLU(threshold=1.0), (3,), 2, "not continuous"),
        (K.Masking(mask_value=1.0), (3, 2), 2, "not continuous"),
        (K.LayerNormalization(), (3,), 1, "l2 only"),
        (K.Identity(dtype="int32"), (3,), 2, "rounds to int32"),
        (K.TimeDistributed(K.ReLU(dtype="mixed_bfloat16")), (3, 2), 2, "computes in float32"),
        (K.Activation(lambda x: x * x), (3,), 2, "not known"),
        (K.Lambda(lambda x: 2 * x), (3,), 2, "no rule for Lambda"),
        (K.LSTM(3), (4, 2), 2, "no rule for LSTM"),
        (K.AveragePooling2D(3, padding="same"), (None, None, 1), 2, "size"),
        (K.UpSampling2D(2, interpolation="bilinear"), (64, 64, 1), 2, "1024"),
        (lip.ScaledGlobalL2NormPooling2D(), (None, None, 1), math.inf, "size"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_has_no_bound_says_why(layer, shape, norm, why):
    bound = layer_bound(layer, shape, norm)
    assert bound.upper == math.inf
    assert why in bound.method
    assert not bound.attained


@pytest.mark.parametrize("sizes", [(4, 4), (None, None)])
def test_a_transposed_convolution_with_output_padding_has_no_bound_and_says_so(sizes):
    layer = K.Conv2DTranspose(2, 3, strides=2, output_padding=0)
    certificate = lipviz.certify(keras.Sequential([keras.Input((*sizes, 2)), layer]), search=False)
    assert certificate.upper_bound == math.inf
    assert "output_padding" in certificate.unbounded[0].method
