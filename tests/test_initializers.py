"""The kernel of the identity, and what the constraint of a layer makes of it."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import layers
from lipviz.initializers import IdentityInitializer
from lipviz.layers import SpectralConv1D, SpectralConv2D, SpectralConv2DTranspose, SpectralDense

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(3, 3), (1, 5), (4, 2), (2, 2)])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 3), (2, 5), (5, 2)])
def test_a_convolution_with_it_returns_its_input(size, inputs, outputs):
    x = RNG.normal(size=(2, 6, 5, inputs)).astype("float32")
    layer = keras.layers.Conv2D(outputs, size, padding="same", kernel_initializer=IdentityInitializer(2.0))
    expected = np.zeros((2, 6, 5, outputs), "float32")
    expected[..., : min(inputs, outputs)] = 2 * x[..., :outputs]
    np.testing.assert_array_equal(layer(x), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_dense_kernel_is_the_identity_in_its_dtype(dtype):
    kernel = IdentityInitializer()((4, 3), dtype)
    assert keras.backend.standardize_dtype(kernel.dtype) == dtype
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.cast(kernel, "float32")), np.eye(4, 3))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (SpectralDense(6, kernel_initializer=IdentityInitializer()), (6,)),
        (SpectralConv1D(4, 3, bound="tight", kernel_initializer=IdentityInitializer()), (7, 4)),
        (SpectralConv2D(4, 3, bound="tight", kernel_initializer=IdentityInitializer(1e-3)), (8, 8, 4)),
        (SpectralConv2D(4, 3, bound="tight", eps_bjorck=None, kernel_initializer=IdentityInitializer()), (5, 6, 4)),
        (SpectralConv2DTranspose(4, 3, bound="tight", kernel_initializer=IdentityInitializer()), (6, 6, 4)),
        (layers.AOLConv2D(4, 3, kernel_initializer=IdentityInitializer(1e3)), (6, 6, 4)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_constrained_layer_starts_as_the_identity(layer, shape):
    x = RNG.normal(size=(3, *shape)).astype("float32")
    layer.build((None, *shape))
    factor = np.vdot(layer(x), x) / np.vdot(x, x)
    assert 0.97 <= factor <= 1  # what bound="tight" leaves below 1; the other bounds are exact for the identity
    np.testing.assert_allclose(layer(x), factor * x, rtol=0, atol=1e-6 * np.abs(x).max())


def test_a_residual_convolution_is_bounded_as_one_kernel():
    """I + W, moved far from I, has norm at most 1 and nearly 1, by an explicit matrix; the bound of its terms is 2."""
    layer = SpectralConv2D(
        3, 3, bound="tight", eps_bjorck=None, use_bias=False, kernel_initializer=IdentityInitializer()
    )
    layer.build((None, 7, 6, 3))
    layer.kernel.assign(layer.kernel + RNG.normal(size=layer.kernel.shape))
    layer.refresh()
    basis = np.eye(7 * 6 * 3, dtype="float32").reshape(-1, 7, 6, 3)
    matrix = np.reshape(layer(basis), (len(basis), -1)).astype("float64")
    norm = np.linalg.norm(matrix, 2)
    assert 0.97 <= norm <= 1 + 1e-6


def test_bad_arguments_are_refused():
    for gain in (0, -1.0, np.nan, np.inf, "1", None):
        with pytest.raises((ValueError, TypeError), match="gain"):
            IdentityInitializer(gain)
    for shape in ((3,), (3, 0), ()):
        with pytest.raises(ValueError, match="at least two axes"):
            IdentityInitializer()(shape)
    with pytest.raises(ValueError, match="float16 can multiply by"):
        IdentityInitializer(1e6)((3, 3), "float16")


def test_it_is_saved_with_a_layer():
    layer = keras.layers.Dense(3, kernel_initializer=IdentityInitializer(0.5))
    again = keras.layers.Dense.from_config(layer.get_config())
    again.build((None, 3))
    np.testing.assert_array_equal(ops.convert_to_numpy(again.kernel), 0.5 * np.eye(3))
