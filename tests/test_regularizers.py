"""Regularizers: L_orth against explicit matrices of circular convolutions, gradients, and their life in a layer."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import regularizers
from tests.support import finite_differences, gradient, make_kernel, tensor, with_spectrum


def circular_matrix(kernel, outputs, stride):
    """The explicit matrix of a convolution with circular padding on inputs of outputs·stride entries per axis."""
    *reach, channels, filters = kernel.shape
    size = outputs * stride
    matrix = np.zeros((*(outputs,) * len(reach), filters, *(size,) * len(reach), channels))
    for out in np.ndindex(*(outputs,) * len(reach)):
        for tap in np.ndindex(*reach):
            at = tuple((o * stride + t) % size for o, t in zip(out, tap, strict=True))
            matrix[(*out, slice(None), *at, slice(None))] += kernel[tap].T
    return matrix.reshape(outputs ** len(reach) * filters, -1)


def distance(matrix):
    """‖A Aᵀ − I‖²_F of the smaller Gram matrix."""
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return np.linalg.norm(matrix @ matrix.T - np.eye(len(matrix))) ** 2


SHAPES = [
    # (kernel, stride): fewer filters than C·s², as many, more
    ((3, 3, 2, 2), 1),
    ((3, 3, 2, 1), 1),
    ((3, 3, 1, 4), 1),
    ((2, 2, 2, 3), 1),
    ((3, 3, 1, 4), 2),
    ((4, 4, 1, 3), 2),
    ((3, 3, 1, 6), 2),
    ((2, 2, 1, 3), 3),
    ((3, 5, 1, 2), 2),
    ((5, 2, 2), 2),
    ((4, 2, 3), 1),
    ((3, 3, 2), 3),
    ((1, 4, 4), 1),
]


@pytest.mark.parametrize(("shape", "stride"), SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_lorth_is_that_of_the_circular_convolution(shape, stride, transposed):
    kernel = 0.5 * np.random.default_rng(0).standard_normal(shape)
    dim = len(shape) - 2
    outputs = -(-(2 * max(shape[:dim]) - 1) // stride)
    lorth = regularizers.Lorth(dim, shape, stride, transposed)
    value = float(ops.convert_to_numpy(lorth.compute_lorth(tensor(kernel, "float64"))))
    matrix = circular_matrix(kernel, outputs, stride)
    # A transposed convolution is the adjoint, and a matrix is as orthogonal as that.
    expected = distance(matrix.T if transposed else matrix)
    np.testing.assert_allclose(outputs**dim * value, expected, rtol=1e-10)


def test_lorth_is_zero_for_orthogonal_convolutions():
    for stride, count in itertools.product((1, 2), (2, 4, 6)):
        shape = (stride, stride, 2, count)  # patches side by side: orthogonal where the kernel's matrix is
        values = np.ones(min(2 * stride**2, count))
        kernel = with_spectrum((2 * stride**2, count), values).reshape(shape)
        value = regularizers.Lorth2D(shape, stride).compute_lorth(tensor(kernel, "float64"))
        assert abs(float(ops.convert_to_numpy(value))) < 1e-12


def test_lorth_takes_the_shape_of_what_it_measures():
    lorth = regularizers.Lorth2D()
    for shape in ((3, 3, 2, 4), (2, 2, 1, 1)):
        kernel = tensor(np.random.default_rng(0).standard_normal(shape))
        assert float(lorth.compute_lorth(kernel)) == float(regularizers.Lorth2D(shape).compute_lorth(kernel))
    assert lorth.kernel_shape is None
    lorth.set_kernel_shape((3, 3, 2, 4))
    with pytest.raises(ValueError, match=r"Expected a kernel of shape \(3, 3, 2, 4\)"):
        lorth.compute_lorth(kernel)


@pytest.mark.parametrize("kind", ["gaussian", "rank_one", "zero", "orthogonal"])
@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4), (1, 1)])
def test_the_dense_penalty_is_that_of_the_singular_values(kind, shape):
    w = make_kernel(kind, shape)
    value = regularizers.OrthDenseRegularizer(0.5)(tensor(w, "float64"))
    expected = 0.5 * np.sum((np.linalg.svd(w, compute_uv=False) ** 2 - 1) ** 2)
    np.testing.assert_allclose(float(ops.convert_to_numpy(value)), expected, rtol=1e-10, atol=1e-25)


@pytest.mark.parametrize(
    ("regularizer", "shape"),
    [
        (regularizers.LorthRegularizer(stride=2, lambda_lorth=0.3), (3, 3, 1, 2)),
        (regularizers.LorthRegularizer(dim=1), (3, 2, 4)),
        (regularizers.OrthDenseRegularizer(0.3), (4, 2)),
        (regularizers.OrthDenseRegularizer(0.3), (2, 4)),
    ],
)
def test_gradients(regularizer, shape):
    w = np.random.default_rng(0).standard_normal(shape)
    expected = finite_differences(lambda v: ops.convert_to_numpy(regularizer(tensor(v, "float64"))), w)
    np.testing.assert_allclose(gradient(regularizer, w), expected, rtol=1e-6, atol=1e-7)


ALL = (
    regularizers.LorthRegularizer((3, 3, 2, 4), 2, 0.25, 2, True),
    regularizers.LorthRegularizer(stride=[1, 2]),
    regularizers.LorthRegularizer(dim=1),
    regularizers.OrthDenseRegularizer(0.0),
)


@pytest.mark.parametrize("regularizer", ALL)
def test_config_round_trip(regularizer):
    copy = keras.regularizers.deserialize(keras.regularizers.serialize(regularizer))
    assert type(copy) is type(regularizer)
    assert copy.get_config() == regularizer.get_config()


@pytest.mark.nightly
def test_training_makes_a_network_orthogonal(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(3, 2, strides=2, kernel_regularizer=regularizers.LorthRegularizer(stride=2)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_regularizer=regularizers.OrthDenseRegularizer()),
        ]
    )
    model.compile(keras.optimizers.Adam(0.05), "mse", loss_weights=0.0)
    x = np.zeros((50, 6, 6, 2), "float32")
    model.fit(x, np.zeros((50, 4)), batch_size=1, epochs=2, verbose=0)
    for layer in (model.layers[0], model.layers[2]):
        w = ops.convert_to_numpy(layer.kernel).astype(np.float64)
        values = np.linalg.svd(w.reshape(-1, w.shape[-1]), compute_uv=False)
        # After a hundred steps 0.002 is left, in the mean of six seeds, with a standard deviation of 0.0004.
        np.testing.assert_allclose(values, 1, atol=0.01)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0].kernel_regularizer
    assert loaded.get_config() == model.layers[0].kernel_regularizer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regularizers.Lorth(3), "`dim` must be 1 or 2"),
        (lambda: regularizers.Lorth2D((3, 3, 2)), "2 spatial axes"),
        (lambda: regularizers.Lorth2D((3, 3, 0, 2)), "none of length 0"),
        (lambda: regularizers.Lorth2D((3, 3, 2, 2), 0), "`stride` must be"),
        (lambda: regularizers.Lorth2D((3, 3, 2, 2), (1, 1, 1)), "`stride` must be"),
        (lambda: regularizers.Lorth2D((3, 3, 2, 2), 1, "yes"), "`conv_transpose` must be"),
        (lambda: regularizers.Lorth2D((2, 2, 1, 5), 3), "more filters than a patch has entries, 4"),
        (lambda: regularizers.Lorth2D((2, 2, 1, 10), 3), "strides beyond its kernel"),
        (lambda: regularizers.LorthRegularizer(dim=1)(np.ones((3, 3, 2, 2))), "1 spatial axes"),
        (lambda: regularizers.LorthRegularizer(lambda_lorth=-1), "`lambda_lorth` must be"),
        (lambda: regularizers.OrthDenseRegularizer(float("nan")), "`lambda_orth` must be"),
        (lambda: regularizers.OrthDenseRegularizer()(np.ones(3)), "at least two axes"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
