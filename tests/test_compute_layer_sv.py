"""Singular values of layers against explicit float64 matrices, and operators against the layers themselves."""

import math
import warnings

import keras
import numpy as np
import pytest
import scipy.sparse.linalg
from keras import layers as kl
from keras import ops

import lipviz
from lipviz import operators
from lipviz.compute_layer_sv import compute_layer_sv, compute_model_sv
from lipviz.layers import activations, normalization, pooling, residual, unconstrained
from lipviz.layers.convolutional import SpectralConv2D, SpectralConv2DTranspose
from lipviz.layers.dense import FrobeniusDense, SpectralDense
from lipviz.operators import singular_values
from lipviz.operators.precision import float64_scope
from lipviz.utils import evaluate_lip_const
from tests.support import convolution_matrix

TF = keras.backend.backend() == "tensorflow"
RNG = np.random.default_rng(0)


def built(layer, shape):
    """A layer built for inputs of a shape, in float64, with weights that are not special."""
    with float64_scope():
        layer.build((None, *shape))
        for weight in layer.weights:
            values = RNG.standard_normal(weight.shape)
            weight.assign(values**2 + 0.1 if "variance" in weight.name else values)
    return layer


def probed(layer, shape):
    """The matrix of a layer without bias and activation, column by column, by the layer itself."""
    if getattr(layer, "activation", None) is not None:
        layer.activation = keras.activations.linear
    size = math.prod(shape)
    with float64_scope():
        call = {"training": False} if isinstance(layer, (kl.BatchNormalization, SpectralDense, SpectralConv2D)) else {}
        units = ops.convert_to_tensor(np.concatenate([np.zeros((1, size)), np.eye(size)]).reshape(-1, *shape))
        images = ops.convert_to_numpy(layer(units, **call)).reshape(size + 1, -1)
    return (images[1:] - images[0]).T


def exactness(layer):
    """Tolerance that the backend's own arithmetic asks for."""
    return {"rtol": 1e-6, "atol": 1e-6} if layer.name.startswith(IN_FLOAT32) else {"rtol": 1e-11, "atol": 1e-13}


def extremes(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    return values[-1], values[0]


F = {"dtype": "float64"}
# On JAX, Keras computes means, tanh and normalization in float32 whatever it is given.
IN_FLOAT32 = () if TF else ("global_average", "batch_normalization")
FIRST = {"data_format": "channels_first", **F}
# Every geometry, as (layer, shape of the input), channels last.
LINEAR = [
    (lambda: kl.Dense(3, activation="relu", bias_initializer="ones", **F), (4,)),
    (lambda: kl.Dense(5, **F), (2, 3)),
    (lambda: kl.Conv1D(3, 3, strides=2, padding="same", activation="relu", **F), (7, 2)),
    (lambda: kl.Conv1D(2, 3, padding="causal", dilation_rate=2, **F), (7, 2)),
    (lambda: kl.Conv1D(2, 2, strides=2, padding="causal", **F), (7, 2)),
    (lambda: kl.Conv2D(3, 3, padding="same", bias_initializer="ones", **F), (4, 5, 2)),
    (lambda: kl.Conv2D(3, (2, 3), strides=(2, 1), padding="valid", **F), (5, 4, 2)),
    (lambda: kl.Conv2D(2, 4, strides=3, padding="same", **F), (7, 5, 1)),
    (lambda: kl.Conv2D(2, 3, dilation_rate=2, padding="same", **F), (4, 4, 2)),
    (lambda: kl.Conv2D(2, 5, padding="same", **F), (2, 2, 1)),
    (lambda: kl.Conv2D(4, 3, groups=2, padding="same", **F), (3, 3, 4)),
    (lambda: kl.Conv2D(3, 1, **F), (3, 3, 2)),
    (lambda: kl.Conv2D(3, 1, strides=2, **F), (3, 3, 2)),
    (lambda: kl.Conv3D(2, 2, strides=2, padding="same", **F), (3, 3, 3, 1)),
    (lambda: kl.Conv1DTranspose(2, 3, strides=2, padding="valid", **F), (3, 2)),
    (lambda: kl.Conv2DTranspose(2, 3, strides=2, padding="same", activation="relu", **F), (3, 3, 2)),
    (lambda: kl.Conv2DTranspose(2, 2, strides=(3, 1), padding="valid", bias_initializer="ones", **F), (2, 3, 1)),
    (lambda: kl.DepthwiseConv1D(3, depth_multiplier=2, padding="same", **F), (5, 2)),
    (lambda: kl.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same", **F), (5, 5, 3)),
    (lambda: kl.SeparableConv2D(3, 3, depth_multiplier=2, padding="same", **F), (4, 4, 2)),
    (lambda: kl.AveragePooling1D(3, strides=2, padding="same", **F), (7, 2)),
    (lambda: kl.AveragePooling2D((2, 3), **F), (5, 6, 2)),
    (lambda: kl.AveragePooling2D(3, strides=1, padding="same", **F), (4, 4, 2)),
    (lambda: kl.GlobalAveragePooling2D(**F), (3, 4, 2)),
    (lambda: kl.BatchNormalization(**F), (3, 2)),
    (lambda: kl.BatchNormalization(scale=False, axis=1, **F), (3, 2)),
    (lambda: kl.Flatten(**F), (2, 3)),
    (lambda: unconstrained.PadConv2D(2, 3, padding="circular", **F), (4, 4, 2)),
    (lambda: unconstrained.PadConv2D(2, 3, strides=2, padding="reflect", **F), (4, 5, 1)),
    (lambda: unconstrained.PadConv2D(2, (2, 3), padding="constant", **F), (3, 4, 2)),
    (lambda: unconstrained.PadConv2D(2, 3, padding="same", **F), (3, 4, 2)),
]
CHANNELS_FIRST = [  # TensorFlow has no such convolutions on a CPU: of these the layer is built, not called
    (lambda: kl.Conv2D(3, 3, strides=2, padding="same", **FIRST), (2, 4, 5)),
    (lambda: kl.DepthwiseConv2D(3, padding="same", **FIRST), (2, 4, 5)),
    (lambda: kl.Conv2DTranspose(3, 2, strides=2, **FIRST), (2, 4, 3)),
    (lambda: kl.SeparableConv2D(3, 2, **FIRST), (2, 4, 3)),
    (lambda: kl.AveragePooling2D(2, padding="same", **FIRST), (2, 4, 5)),
    (lambda: kl.GlobalAveragePooling2D(**FIRST), (2, 4, 5)),
    (lambda: kl.Flatten(**FIRST), (2, 3, 2)),
    (lambda: unconstrained.PadConv2D(2, 3, padding="symmetric", **FIRST), (2, 4, 3)),
]


@pytest.mark.parametrize("index", range(len(LINEAR)))
def test_operators_and_extremes_are_those_of_the_layer(index):
    make, shape = LINEAR[index]
    layer = built(make(), shape)
    operator = operators.linear_operator(layer)
    matrix = operators.explicit_matrix(operator)
    found = compute_layer_sv(layer)
    np.testing.assert_allclose(found, extremes(matrix), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(matrix, probed(layer, shape), **exactness(layer))


@pytest.mark.parametrize("index", range(len(CHANNELS_FIRST)))
def test_channels_first_is_a_permutation_of_channels_last(index):
    make, shape = CHANNELS_FIRST[index]
    first = built(make(), shape)
    last_shape = (*shape[1:], shape[0])
    last = type(first).from_config({**first.get_config(), "data_format": "channels_last"})
    built(last, last_shape)
    with float64_scope():
        last.set_weights(first.get_weights())
    # Columns by where the entries of an input are, rows of an output (global averages and flattening have no order).
    columns = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).reshape(-1)
    expected = operators.explicit_matrix(operators.linear_operator(last))
    outputs = tuple(first.compute_output_shape((1, *shape)))[1:]
    rows = np.arange(math.prod(outputs))
    if len(outputs) > 1:
        rows = np.moveaxis(rows.reshape(outputs), 0, -1).reshape(-1)
    matrix = operators.explicit_matrix(operators.linear_operator(first))
    np.testing.assert_allclose(matrix[np.ix_(rows, columns)], expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(compute_layer_sv(first), compute_layer_sv(last), rtol=1e-12, atol=1e-14)
    if not TF:
        np.testing.assert_allclose(matrix, probed(first, shape), **exactness(first))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_is_the_explicit_matrix(padding, transposed):
    kernel = RNG.standard_normal((3, 2, 2, 3))
    layer = kl.Conv2DTranspose(2, (3, 2), (2, 1), padding) if transposed else kl.Conv2D(3, (3, 2), (2, 1), padding)
    layer.build((None, 4, 5, 3 if transposed else 2))
    layer.kernel.assign(kernel)
    kernel = ops.convert_to_numpy(layer.kernel).astype(np.float64)
    expected = convolution_matrix(kernel, (4, 5), (2, 1), padding, transposed)
    np.testing.assert_array_equal(operators.explicit_matrix(operators.linear_operator(layer)), expected)
    np.testing.assert_allclose(compute_layer_sv(layer), extremes(expected), rtol=1e-12)


@pytest.mark.parametrize("kernel", [np.zeros((3, 3, 2, 2)), np.ones((3, 3, 2, 2)), np.eye(2)[None, None]])
def test_degenerate_kernels(kernel):
    layer = kl.Conv2D(2, kernel.shape[:2], padding="same")
    layer.build((None, 5, 5, 2))
    layer.kernel.assign(kernel)
    expected = extremes(convolution_matrix(kernel, (5, 5), (1, 1), "same"))
    np.testing.assert_allclose(compute_layer_sv(layer), expected, rtol=1e-12, atol=1e-14)


def test_bias_and_activation_are_not_measured():
    layer = SpectralDense(4, activation="relu", bias_initializer=keras.initializers.Constant(50.0), k_coef_lip=0.957)
    layer.build((None, 6))
    low, high = compute_layer_sv(layer)
    assert 0.956 < low <= high <= 0.957


def test_constrained_layers_are_measured_by_the_kernel_that_inference_uses():
    dense = FrobeniusDense(3, disjoint_neurons=False)
    dense.build((None, 4))
    kernel = RNG.standard_normal((4, 3))
    dense.kernel.assign(kernel)  # its wbar is another one
    np.testing.assert_allclose(compute_layer_sv(dense), extremes(kernel / np.linalg.norm(kernel)), rtol=1e-5)

    for layer, transposed in ((SpectralConv2D(4, 3, strides=2), False), (SpectralConv2DTranspose(2, 3), True)):
        layer.build((None, 5, 5, 2))
        wbar = ops.convert_to_numpy(layer.wbar).astype(np.float64)
        matrix = convolution_matrix(wbar, (5, 5), layer.strides, "same", transposed)
        found = compute_layer_sv(layer)
        np.testing.assert_allclose(found, extremes(matrix), rtol=1e-10)
        assert found[1] <= 1


def test_constrained_layers_of_others_are_probed():
    class SpectralTokens(lipviz.layers.ConstrainedKernel, kl.EinsumDense):
        vanilla_class = kl.EinsumDense
        parametrization_class = lipviz.parametrizations.SpectralParametrization

        def linear(self, inputs, kernel):
            return 3 * ops.einsum("bpf,pq->bqf", inputs, kernel)

    layer = SpectralTokens("bpf,pq->bqf", output_shape=(2, None))
    layer.build((None, 4, 3))
    np.testing.assert_allclose(compute_layer_sv(layer), (3, 3), rtol=2e-3)
    matrix = operators.explicit_matrix(operators.linear_operator(layer))
    wbar = ops.convert_to_numpy(layer.wbar).astype(np.float64)
    np.testing.assert_allclose(matrix, 3 * np.kron(wbar.T, np.eye(3)), rtol=1e-12)


def test_a_constrained_layer_that_is_not_linear_is_unknown():
    class Loud(lipviz.layers.SpectralDense):
        def add_bias(self, outputs):
            return 7 * outputs

    layer = Loud(2)
    layer.build((None, 3))
    assert compute_layer_sv(layer) == (None, None)


@pytest.mark.parametrize(
    ("kernel_shape", "size", "stride"), [((3, 3, 1, 3), 8, 1), ((3, 3, 3, 2), 9, 2), ((3, 3, 2, 2), 8, 1)]
)
def test_the_iterative_method_finds_the_same(kernel_shape, size, stride):
    kernel = RNG.standard_normal(kernel_shape)
    operator = operators.Convolution(kernel, (size, size), (stride, stride), "same")
    low, high = operators.extreme_singular_values(operator, explicit_side=16)
    exact_low, exact_high = extremes(convolution_matrix(kernel, (size, size), (stride, stride), "same"))
    assert exact_high * (1 - 1e-8) <= high <= exact_high * (1 + 1e-12)
    assert abs(low**2 - exact_low**2) <= 1e-8 * exact_high**2


@pytest.mark.parametrize("factor", [0.0, 1.0, -3.0])
def test_the_iterative_method_takes_multiples_of_isometries(factor):
    operator = operators.Convolution(factor * np.eye(2)[None], (40,))
    found = operators.extreme_singular_values(operator, explicit_side=16)
    np.testing.assert_allclose(found, (abs(factor),) * 2, rtol=1e-8)


def test_a_wide_matrix_that_does_not_fit_is_measured_by_its_gram_matrix(monkeypatch):
    matrix = RNG.standard_normal((3, 50))
    monkeypatch.setattr(singular_values, "_EXPLICIT_SIZE", 100)
    for operator in (matrix, matrix.T):
        np.testing.assert_allclose(operators.extreme_singular_values(operator), extremes(matrix), rtol=1e-10)


def test_an_image_too_large_for_a_matrix():
    layer = kl.Conv2D(4, 3, padding="same")
    layer.build((None, 28, 28, 4))
    kernel = np.zeros((3, 3, 4, 4))
    kernel[1, 1] = np.diag([2.0, 1.0, 0.5, 0.25])
    kernel[0, 1, 0, 0] = 1.0
    layer.kernel.assign(kernel)
    low, high = compute_layer_sv(layer)
    column = extremes(2 * np.eye(28) + np.eye(28, k=-1))  # channels and columns of the image apart
    np.testing.assert_allclose((low, high), (0.25, column[1]), rtol=1e-6)


ACTIVATIONS = [
    # (layer, shape, (smallest, largest)): attained, or the limit, over all inputs
    (lambda: activations.GroupSort(4, k_coef_lip=2.0), (8,), (2, 2)),
    (lambda: activations.GroupSort2(), (4, 4, 2), (1, 1)),
    (lambda: activations.FullSort(), (6,), (1, 1)),
    (lambda: activations.MaxMin(k_coef_lip=0.5), (6,), (0.5, 0.5)),
    (lambda: activations.Householder(), (6,), (1, 1)),
    (lambda: activations.BetaAbs(k_coef_lip=0.5), (6,), (0.5, 0.5)),
    (lambda: activations.PReLUlip(0.5, alpha_initializer="ones"), (6,), (0.5, 0.5)),
    (lambda: activations.PReLUlip(2.0, alpha_initializer=keras.initializers.Constant(-1.5)), (6,), (1, 1.5)),
    (lambda: kl.ReLU(), (6,), (0, 1)),
    (lambda: kl.ReLU(negative_slope=0.3), (6,), (0.3, 1)),
    (lambda: kl.ReLU(negative_slope=3.0, max_value=6.0), (6,), (0, 3)),
    (lambda: kl.LeakyReLU(0.1), (6,), (0.1, 1)),
    (lambda: kl.ELU(2.0), (6,), (0, 2)),
    (lambda: kl.PReLU(alpha_initializer=keras.initializers.Constant(-2.0)), (6,), (1, 2)),
    (lambda: kl.Activation("linear"), (6,), (1, 1)),
    (lambda: kl.Activation("sigmoid"), (6,), (0, 0.25)),
    (lambda: kl.Activation("tanh"), (6,), (0, 1)),
    (lambda: kl.Softmax(), (6,), (0, 0.5)),
]


def ends(x, step):
    """Inputs and steps at which activations stretch the most and the least: in a quadrant, near its corner, far out."""
    size, far = np.abs(x), np.full(x.size, -50.0)
    alone, two, turn = far.copy(), far.copy(), np.zeros(x.size)
    alone[0], two[:2], turn[:2] = 50.0, 0.0, (1e-7, -1e-7)  # of Softmax: one class alone, and two that are as likely
    points = [size, -size, 1e-4 * size, -1e-4 * size, 50 + size, -50 - size, alone.reshape(x.shape)]
    return np.stack([*points, two.reshape(x.shape)]), np.stack([step] * len(points) + [turn.reshape(x.shape)])


@pytest.mark.parametrize("index", range(len(ACTIVATIONS)))
def test_activations_stay_in_their_range_and_reach_its_end(index):
    make, shape, (low, high) = ACTIVATIONS[index]
    layer = make()
    layer.build((None, *shape))
    np.testing.assert_allclose(compute_layer_sv(layer), (low, high), rtol=1e-7)
    if not TF and getattr(getattr(layer, "activation", None), "__name__", None) == "tanh":
        return  # see IN_FLOAT32: short steps are below its rounding
    # How much the layer, in float64, stretches short steps from random inputs.
    with float64_scope():
        layer = type(layer).from_config({**layer.get_config(), **F})
        x = np.random.default_rng(0).standard_normal((300, *shape))
        steps = 1e-7 * np.random.default_rng(1).standard_normal(x.shape)
        x, steps = (np.concatenate(parts) for parts in zip((x, steps), ends(x[0], steps[0]), strict=True))
        count = len(x)
        y, z = (ops.convert_to_numpy(layer(ops.convert_to_tensor(v))).reshape(count, -1) for v in (x, x + steps))
    ratios = np.linalg.norm(z - y, axis=1) / np.linalg.norm(steps.reshape(count, -1), axis=1)
    assert high * (1 - 1e-3) <= ratios.max() <= high * (1 + 1e-6)
    assert low * (1 - 1e-6) <= ratios.min() <= low * (1 + 1e-6) + 1e-12


OTHERS = [
    (lambda: pooling.ScaledAveragePooling2D(2, k_coef_lip=3.0), (4, 4, 2), (3, 3)),
    (lambda: pooling.ScaledGlobalAveragePooling2D(), (4, 4, 2), (1, 1)),
    (lambda: pooling.InvertibleDownSampling(2), (4, 4, 2), (1, 1)),
    (lambda: pooling.ScaledL2NormPooling2D(2, k_coef_lip=3.0), (4, 4, 2), (0, 3)),
    (lambda: pooling.ScaledGlobalL2NormPooling2D(), (4, 4, 2), (0, 1)),
    (lambda: normalization.LayerCentering(k_coef_lip=2.0), (4, 4, 2), (0, 2)),
    (lambda: normalization.BatchCentering(), (4,), (1, 1)),
    (lambda: normalization.BatchLipNorm(epsilon=3.0, k_coef_lip=2.0), (4,), (1, 1)),
    (lambda: kl.MaxPooling2D(2), (4, 4, 2), (1, 1)),
    (lambda: kl.MaxPooling2D(3, strides=2), (7, 7, 1), (0, 2)),
    (lambda: kl.MaxPooling1D(3, strides=1, padding="same"), (7, 1), (0, math.sqrt(3))),
    (lambda: kl.GlobalMaxPooling2D(), (4, 4, 2), (1, 1)),
    (lambda: kl.ZeroPadding2D(2), (4, 4, 2), (1, 1)),
    (lambda: kl.Cropping1D(1), (4, 2), (1, 1)),
    (lambda: kl.Permute((2, 1)), (4, 2), (1, 1)),
    (lambda: kl.Reshape((2, 4)), (8,), (1, 1)),
    (lambda: kl.Dropout(0.5), (8,), (1, 1)),
    (lambda: kl.RepeatVector(4), (8,), (2, 2)),
    (lambda: kl.Rescaling(-1 / 255), (8,), (1 / 255, 1 / 255)),
    (lambda: kl.UpSampling2D((2, 3)), (2, 2, 1), (math.sqrt(6), math.sqrt(6))),
    (lambda: kl.UpSampling2D(2, interpolation="bilinear"), (2, 2, 1), (None, None)),
    (lambda: kl.ReLU(threshold=1.0), (8,), (None, None)),
    (lambda: kl.Activation("gelu"), (8,), (None, None)),
    (lambda: kl.LayerNormalization(), (8,), (None, None)),
    (lambda: kl.TimeDistributed(kl.Dense(2)), (3, 8), (None, None)),
]


@pytest.mark.parametrize("index", range(len(OTHERS)))
def test_other_layers(index):
    make, shape, expected = OTHERS[index]
    layer = make()
    layer.build((None, *shape))
    if expected == (None, None):
        assert compute_layer_sv(layer) == expected
    else:
        np.testing.assert_allclose(compute_layer_sv(layer), expected, rtol=1e-12)


def test_merging_layers_are_maps_from_all_their_inputs():
    a, b, c = (keras.Input((3,)) for _ in range(3))
    for layer, expected in ((kl.Add(), 3**0.5), (kl.Average(), 3**-0.5), (kl.Concatenate(), 1.0)):
        layer([a, b, c])
        np.testing.assert_allclose(compute_layer_sv(layer), (expected, expected), rtol=1e-12)
    layer = residual.LipResidual(k_coef_lip=2.0)
    layer([a, b])
    layer.alpha.assign(1.0)
    share = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(compute_layer_sv(layer), (2 * math.hypot(share, 1 - share),) * 2, rtol=1e-12)


def test_merges_that_broadcast_are_unknown():
    layer = kl.Add()
    layer([keras.Input((2, 3)), keras.Input((2, 1))])  # its singular values are 2 and 1
    assert compute_layer_sv(layer) == (None, None)


MORE = [  # what the rules know besides
    (lambda: kl.Activation("selu"), (6,), (0, 1.0507009873554805 * 1.6732632423543772)),
    (lambda: kl.Activation("log_softmax"), (4,), (0, 2)),
    (lambda: kl.Activation("exponential"), (4,), (0, math.inf)),
    (lambda: kl.ELU(-2.0), (6,), (0, 2)),
    (lambda: kl.ReLU(max_value=0.0), (6,), (0, 0)),
    (lambda: kl.Softmax(), (1,), (0, 0)),
    (lambda: kl.Rescaling([1.0, 2.0, 2.0]), (4, 1), (3, 3)),  # three copies of each entry
    (lambda: kl.Rescaling([1.0, 2.0, 2.0]), (4, 3), (1, 2)),
    (lambda: kl.Normalization(mean=[0.0, 1.0], variance=[4.0, 16.0]), (2,), (0.25, 0.5)),
    (lambda: kl.Masking(), (3, 2), (1, 1)),
    (lambda: normalization.LayerCentering(), (1, 1, 2), (0, 0)),
]


@pytest.mark.parametrize("index", range(len(MORE)))
def test_what_the_rules_know(index):
    make, shape, expected = MORE[index]
    layer = make()
    layer.build((None, *shape))
    np.testing.assert_allclose(compute_layer_sv(layer), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_stated_as_it_is_used(dtype):
    for layer in (activations.GroupSort2(k_coef_lip=1 / 3, dtype=dtype), kl.LeakyReLU(1 / 3, dtype=dtype)):
        third = float(ops.convert_to_numpy(ops.cast(ops.cast(1 / 3, dtype), "float32")))
        assert third != 1 / 3
        assert compute_layer_sv(layer)[0] == third


def test_a_layer_of_a_model_has_the_shape_of_the_graph():
    layer = kl.Conv2D(1, 3, kernel_initializer="ones", name="box")
    layer.build((None, 3, 3, 1))
    assert compute_layer_sv(layer) == pytest.approx((3, 3))
    for size in (4, 5):  # of two models, each by its own graph
        x = keras.Input((size, size, 1))
        model = keras.Model(x, layer(x))
        expected = extremes(convolution_matrix(np.ones((3, 3, 1, 1)), (size, size), (1, 1), "valid"))
        assert compute_model_sv(model)["box"] == pytest.approx(expected)


class Twice(kl.Dense):
    """A subclass that computes something else."""

    def call(self, inputs):
        return 2 * super().call(inputs)


def test_a_subclass_that_computes_something_else_is_not_known():
    layer = Twice(2)
    layer.build((None, 3))
    assert compute_layer_sv(layer) == (None, None)
    with pytest.raises(TypeError, match=f"Twice '{layer.name}' is not known to be linear"):
        operators.linear_operator(layer)


def test_supplementary_types_win():
    def doubled(layer):
        return tuple(2 * s for s in np.linalg.svd(ops.convert_to_numpy(layer.kernel), compute_uv=False)[[-1, 0]])

    layer = Twice(2)
    layer.build((None, 3))
    assert compute_layer_sv(layer, {Twice: doubled}) == doubled(layer)
    # The nearest base class counts.
    assert compute_layer_sv(layer, {kl.Dense: doubled, kl.Layer: lambda layer: (0, 9)}) == doubled(layer)
    assert compute_layer_sv(kl.ReLU(), {kl.ReLU: lambda layer: [0, 5]}) == (0, 5)
    with pytest.raises(ValueError, match=r"The function for ReLU must return \(smallest, largest\). Received: 5"):
        compute_layer_sv(kl.ReLU(), {kl.ReLU: lambda layer: 5})


def test_all_layers_of_a_model():
    shared = kl.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared, kl.ReLU(name="relu")], name="inner")
    inputs = keras.Input((2, 2, 1))
    x = kl.Flatten(name="flat")(inputs)
    outputs = kl.Dense(2, name="last")(inner(shared(x)))
    model = keras.Model(inputs, outputs)
    found = compute_model_sv(model)
    assert list(found) == ["flat", "shared", "relu", "last"] or list(found) == ["flat", "relu", "shared", "last"]
    np.testing.assert_allclose(found["shared"], extremes(ops.convert_to_numpy(shared.kernel)), rtol=1e-5)
    assert found["relu"] == (0, 1)
    assert compute_model_sv(model, {kl.ReLU: lambda layer: (7, 7)})["relu"] == (7, 7)
    assert compute_model_sv(model, {keras.Sequential: lambda layer: (1, 2)})["inner"] == (1, 2)


def test_names_that_are_shared_go_by_their_model():
    twins = [keras.Sequential([keras.Input((3,)), kl.Dense(3, name="dense")], name=name) for name in ("one", "two")]
    model = keras.Sequential([keras.Input((3,)), *twins])
    assert list(compute_model_sv(model)) == ["one/dense", "two/dense"]


def test_a_product_bounds_a_chain():
    layers = [kl.Dense(6), activations.GroupSort2(), kl.Dense(3), kl.ReLU(), kl.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    bound = math.prod(high for _, high in compute_model_sv(model).values())
    x = RNG.standard_normal((50, 4)).astype("float32")
    assert evaluate_lip_const(model, x) <= bound


def unbuilt():
    return kl.Conv2D(2, 3)


def of_unknown_size():
    layer = kl.Conv2D(2, 3, name="sizeless")
    layer.build((None, None, None, 1))
    return layer


def with_nan():
    layer = kl.Dense(2, name="broken")
    layer.build((None, 2))
    layer.kernel.assign([[np.nan, 0], [0, 0]])
    return layer


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compute_layer_sv(np.eye(2)), TypeError, "expects a Keras layer"),
        (lambda: compute_model_sv(kl.ReLU()), TypeError, "expects a Keras model"),
        (lambda: compute_model_sv(keras.Sequential([kl.Dense(2)])), ValueError, "must be built"),
        (lambda: compute_layer_sv(unbuilt()), ValueError, "must be built"),
        (lambda: compute_layer_sv(of_unknown_size()), ValueError, "'sizeless' depend on the size of its input"),
        (lambda: compute_layer_sv(with_nan()), ValueError, "'broken' must be finite"),
        (lambda: operators.linear_operator(np.eye(2)), TypeError, "Expected a Keras layer"),
        (lambda: operators.Convolution(np.ones((3, 1, 1)), (2,)), ValueError, "smaller than the kernel"),
        (lambda: operators.Convolution(np.ones((3, 1, 1)), (2, 2)), ValueError, "as many axes"),
        (lambda: operators.Convolution(np.ones((3, 1, 1)), (4,), padding="full"), ValueError, "`padding` must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_operators_have_adjoints_and_compose():
    first = operators.Convolution(RNG.standard_normal((3, 1, 2)), (6,), padding="same")
    second = operators.Convolution(RNG.standard_normal((2, 2, 1)), (6,), (2,))
    matrix = operators.explicit_matrix(second @ first)
    np.testing.assert_allclose(
        matrix, operators.explicit_matrix(second) @ operators.explicit_matrix(first), rtol=0, atol=1e-13
    )
    np.testing.assert_allclose(operators.explicit_matrix(first.T), operators.explicit_matrix(first).T, rtol=1e-14)
    assert isinstance(second @ first, scipy.sparse.linalg.LinearOperator)
    x = RNG.standard_normal(6)
    np.testing.assert_allclose(first @ x, operators.explicit_matrix(first) @ x, rtol=0, atol=1e-13)


# --- layers for which Keras keeps no shape ---

WITHOUT_A_SHAPE = {
    "MaxPooling1D": ((8, 2), lambda: kl.MaxPooling1D(3, 1), (0.0, 3**0.5)),
    "MaxPooling2D": ((8, 8, 2), lambda: kl.MaxPooling2D(2), (1.0, 1.0)),
    "overlaps": ((8, 8, 2), lambda: kl.MaxPooling2D(3, 2), (0.0, 2.0)),
    "AveragePooling1D": ((8, 2), lambda: kl.AveragePooling1D(2), (0.5**0.5, 0.5**0.5)),
    "AveragePooling2D": ((8, 8, 2), lambda: kl.AveragePooling2D(2), (0.5, 0.5)),
    "AveragePooling3D": ((4, 4, 4, 2), lambda: kl.AveragePooling3D(2), (8**-0.5, 8**-0.5)),
    "GlobalAveragePooling1D": ((4, 2), kl.GlobalAveragePooling1D, (0.5, 0.5)),
    "GlobalAveragePooling2D": ((8, 8, 2), kl.GlobalAveragePooling2D, (0.125, 0.125)),
}


@pytest.mark.parametrize("name", list(WITHOUT_A_SHAPE))
def test_a_model_knows_the_shape_of_its_poolings(name):
    shape, make, expected = WITHOUT_A_SHAPE[name]
    inputs = keras.Input(shape)
    late = keras.Sequential([make()])
    late.build((None, *shape))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Layer .* is not known to be 1-Lipschitz", UserWarning)
        ours = lipviz.Sequential([keras.Input(shape), make()])
    models = [
        ours,
        keras.Sequential([keras.Input(shape), make()]),
        keras.Model(inputs, make()(inputs)),
        keras.Sequential([keras.Input(shape), keras.Sequential([keras.Input(shape), make()])]),
        late,
    ]
    for model in models:
        (values,) = compute_model_sv(model).values()
        assert values == pytest.approx(expected, rel=1e-12)


def test_a_pooling_without_any_shape():
    layer = kl.MaxPooling2D(3, 2)
    layer(np.ones((1, 8, 8, 1)))
    assert compute_layer_sv(layer) == (0.0, 2.0)  # at every size
    layer = kl.AveragePooling2D(2)
    layer(np.ones((1, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"one input of a known shape: expected .* `build`.*Received: None"):
        compute_layer_sv(layer)
    first, second = keras.Input((8, 8, 1)), keras.Input((4, 4, 1))
    shared = kl.GlobalAveragePooling2D()
    model = keras.Model([first, second], kl.Add()([shared(first), shared(second)]))
    with pytest.raises(ValueError, match="one input of a known shape"):
        compute_model_sv(model)
