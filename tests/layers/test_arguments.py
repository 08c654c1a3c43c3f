"""What every layer says to a factor that it cannot multiply by, and to an input that it cannot be built for."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import lipviz
from lipviz import constraints, initializers
from lipviz import layers as lip
from lipviz.layers.base_layer import inverse_root
from tests.layers.citizenship import OTHERS, WITH_KERNEL, WITHOUT


def made_as(name, **more):
    """A function that makes a layer as the citizenship test does, and the shape of a batch."""
    needed, shape = {**WITH_KERNEL, **OTHERS, **WITHOUT}[name]
    arguments = {**needed, **more}
    arguments.pop("kernel_initializer", None)  # Keras draws no orthogonal kernel in bfloat16
    return functools.partial(getattr(lip, name), **arguments), (2, *shape)


NO_FACTOR = "PadConv2D"
LAYERS = {name: made_as(name) for name in (*WITH_KERNEL, *OTHERS, *WITHOUT) if name != NO_FACTOR}
LAYERS["tight"] = made_as("SpectralConv2D", bound="tight")
PAIR = {"LipResidual": (lip.LipResidual, [(2, 4), (2, 4)])}
EXTREMES = {  # of each dtype: what it can just multiply by, and what it cannot
    "float32": ([1e-31, 1e38], [9e-32, 1e-38, 1e-46, 3.5e38]),
    "float64": ([1.1e-292, 1e300], [9e-293]),
    "mixed_float16": ([7e-5, 6e4], [6e-5, 7e4]),
    "mixed_bfloat16": ([1e-31, 1e38], [9e-32, 3.395e38]),
    "bfloat16": ([1e-31, 1e38], [9e-32, 3.395e38]),
}


@pytest.mark.parametrize("name", [*LAYERS, *PAIR])
def test_k_is_a_number_that_the_dtype_can_multiply_by(name):
    make, _ = {**LAYERS, **PAIR}[name]
    for dtype, (right, wrong) in EXTREMES.items():
        layer = make(dtype=dtype)
        for k in right:
            assert make(dtype=dtype, k_coef_lip=k).k_coef_lip == k
        for k in wrong:
            words = r"`k_coef_lip` must be a number that \w+ can multiply by, from .* to .*\. Received: k_coef_lip="
            with pytest.raises(ValueError, match=words):
                make(dtype=dtype, k_coef_lip=k)
            with pytest.raises(ValueError, match=words):
                layer.set_klip_factor(k)
            with pytest.raises(ValueError, match=words):
                layer.k_coef_lip = k
        assert layer.k_coef_lip == 1


@pytest.mark.parametrize("name", [*LAYERS, *PAIR])
def test_k_is_a_positive_number(name):
    make, _ = {**LAYERS, **PAIR}[name]
    layer = make()
    for k in ("1", True, np.True_, np.ones(1), np.array(1.0), [1.0], np.nan, np.inf, None, 1 + 0j, 0, -1.0, 10**400):
        words = "`k_coef_lip` must be a positive finite number. Received: k_coef_lip="
        with pytest.raises(ValueError, match=words):
            make(k_coef_lip=k)
        with pytest.raises(ValueError, match=words):
            layer.k_coef_lip = k
        with pytest.raises(ValueError, match=words):
            layer.set_klip_factor(k)
    for k in (np.float32(0.5), np.int64(2), 3):
        layer.k_coef_lip = k
        assert layer.get_config()["k_coef_lip"] == k


@pytest.mark.parametrize("dtype", list(EXTREMES))
@pytest.mark.parametrize("name", ["SpectralDense", "FrobeniusDense", "GroupSort", "ScaledAveragePooling2D"])
def test_the_smallest_k_makes_no_zero_layer(name, dtype):
    make, shape = LAYERS[name]
    x, k = np.random.default_rng(0).standard_normal(shape), EXTREMES[dtype][0][0]
    layer = make(dtype=dtype)
    unit = np.array(ops.cast(layer(x), "float64"))
    layer.k_coef_lip = k
    got = np.array(ops.cast(layer(x), "float64")) / k
    # Rounded are the weights, the input, the four terms of a sum and the result, of both layers; in float16 what is
    # below its smallest normal number, by as much as that number itself.
    eps = {"float32": 2.0**-23, "float64": 2.0**-52, "mixed_float16": 2.0**-10}.get(dtype, 2.0**-7)
    np.testing.assert_allclose(got, unit, rtol=0, atol=7 * eps * np.linalg.norm(x))


@pytest.mark.parametrize("k", ["1", float("nan"), 1e300, 1e-300])
def test_a_model_passes_on_no_factor_that_its_layers_refuse(k):
    with pytest.raises(ValueError, match="`k_coef_lip` must be"):
        lipviz.Sequential([keras.Input((4,)), lip.SpectralDense(2)], k_coef_lip=k)


@pytest.mark.parametrize("made", [initializers.SpectralInitializer, constraints.SpectralConstraint])
def test_drawn_and_projected_kernels_hold_k(made):
    for k in (1e-40, 3.5e38):
        with pytest.raises(ValueError, match="`k_coef_lip` must be a number that float32 can multiply by"):
            made(k_coef_lip=k)((4, 3) if made is initializers.SpectralInitializer else np.ones((4, 3), "float32"))
    with pytest.raises(ValueError, match=r"none of size 0\. Received"):
        made()((0, 3) if made is initializers.SpectralInitializer else np.ones((0, 3), "float32"))


@pytest.mark.parametrize("name", [*LAYERS, NO_FACTOR])
def test_shapes_that_no_layer_can_be_built_for(name):
    make, shape = LAYERS.get(name) or made_as(name)
    shapes = [(), (None,), None, 5, (None, 0), (None, *shape[1:-1], 0), (None, "a"), (None, -1)]
    for bad in shapes:
        with pytest.raises(ValueError, match=r"expects an input of .* axes, with the batch axis first.* Received"):
            make().build(bad)
    with pytest.raises(ValueError, match=r"no other axis of size 0\. Received the input shape"):
        make()(np.zeros((*shape[:-1], 0), "float32"))
    make().build(shape)
    make().build(list(shape))


def test_a_residual_connection_of_nothing():
    for bad in ((), None, 5, [(None, 0), (None, 0)], [(), ()]):
        with pytest.raises(ValueError, match=r"LipResidual.* expects"):
            lip.LipResidual().build(bad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_inverse_root_is_exact_to_rounding(dtype):
    x = np.random.default_rng(0).uniform(0.01, 100, 10_000).astype(dtype)
    # The product 0.5·x·y², the difference and the last product are rounded: each by half a unit in the last place.
    got = np.array(inverse_root(ops.convert_to_tensor(x)), "float64")
    np.testing.assert_allclose(got, 1 / np.sqrt(x.astype("float64")), rtol=3 * np.finfo(dtype).eps)
