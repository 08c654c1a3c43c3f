"""Numbers that a model takes beside its input: NaN and infinite ones prove nothing, in whatever form they are given."""

import contextlib
import math

import keras
import numpy as np
import pytest
from keras import ops

import lipviz

INF, NAN = math.inf, math.nan
FORMS = {
    "float": float,
    "NumPy number": np.float32,
    "array": lambda value: np.array([value, 1.0], np.float32),
    "tensor": lambda value: ops.convert_to_tensor(np.array([1.0, value], np.float32)),
    "variable": lambda value: keras.Variable(np.array([1.0, value], np.float32)),
}
OPERATIONS = {
    "x + c": lambda x, c: x + c,
    "c + x": lambda x, c: ops.add(c, x),
    "x - c": lambda x, c: x - c,
    "c - x": lambda x, c: ops.subtract(c, x),
    "x * c": lambda x, c: x * c,
    "x / c": lambda x, c: x / c,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
}
ARGUMENTS = {
    "clip from": lambda x, c: ops.clip(x, c, 1.0),
    "clip to": lambda x, c: ops.clip(x, 0.0, c),
    "pad": lambda x, c: ops.pad(x, ((0, 0), (1, 1)), constant_values=c),
    "leaky_relu": ops.leaky_relu,
    "elu": ops.elu,
    "soft_shrink": ops.soft_shrink,
    "squareplus": ops.squareplus,
}
HARMLESS = (("maximum", -INF), ("minimum", INF), ("clip from", -INF), ("clip to", INF))


def upper(apply, constant, shape=(2,), **settings):
    x = keras.Input(shape, dtype=settings.pop("dtype", "float32"))
    return lipviz.certify(keras.Model(x, apply(x, constant)), search=False, method="product", **settings).upper_bound


@pytest.mark.parametrize("name", [*OPERATIONS, *ARGUMENTS])
def test_constants_that_are_not_finite_have_no_bound(name):
    forms = FORMS if name in ("x + c", "maximum") else ("array" if name in OPERATIONS else "float",)
    for form in forms:
        for value in (INF, -INF, NAN):
            expected = 1 if (name, value) in HARMLESS else INF
            assert upper({**OPERATIONS, **ARGUMENTS}[name], FORMS[form](value)) == expected


@pytest.mark.parametrize("name", ["x + c", "x / c", "maximum", "minimum", "clip to", "pad"])
@pytest.mark.parametrize(("dtype", "value"), [("float32", 1e39), ("float16", -7e4)])
def test_constants_that_a_dtype_rounds_to_infinity_have_no_bound(name, dtype, value):
    harmless = (name, math.copysign(INF, value)) in HARMLESS
    assert upper({**OPERATIONS, **ARGUMENTS}[name], value, dtype=dtype) == (1 if harmless else INF)


K, constant = keras.layers, keras.initializers.Constant


@pytest.mark.parametrize(
    "layer",
    [
        lambda bad: K.Rescaling(bad),
        lambda bad: K.Rescaling(2.0, [bad, 1.0]),
        lambda bad: K.Normalization(mean=[bad, 0.0], variance=[1.0, 1.0]),
        lambda bad: K.Normalization(mean=[0.0, 0.0], variance=[bad, 1.0]),
        lambda bad: K.BatchNormalization(epsilon=bad),
        lambda bad: K.LayerNormalization(epsilon=bad),
        lambda bad: K.LeakyReLU(bad),
        lambda bad: K.ELU(bad),
        lambda bad: K.ReLU(max_value=bad),
        lambda bad: K.ReLU(negative_slope=bad),
        lambda bad: K.ReLU(threshold=bad),
        lambda bad: K.PReLU(alpha_initializer=constant(bad)),
        lambda bad: K.Dense(2, bias_initializer=constant(bad)),
        lambda bad: lipviz.layers.GroupSort(k_coef_lip=bad),
    ],
)
@pytest.mark.parametrize("bad", [NAN, INF])
def test_arguments_and_weights_of_layers_that_are_not_finite_prove_nothing(layer, bad):
    bound = INF
    with contextlib.suppress(ValueError):  # by Keras, by the layer, or by lipviz
        model = keras.Sequential([keras.Input((2,)), layer(bad)])
        bound = lipviz.certify(model, search=False, method="product").upper_bound
        if getattr(model.layers[0], "max_value", None) == INF:  # which changes nothing
            assert bound == 1
            return
    assert bound == INF


@pytest.mark.parametrize(
    "layer",
    [
        lambda: K.Rescaling(1.0, 7e4, dtype="float16"),
        lambda: K.Dense(2, bias_initializer=constant(7e4), dtype="mixed_float16"),
        lambda: K.Rescaling(1.0, 1e39),
    ],
)
def test_what_a_layer_adds_fits_the_dtype_that_it_computes_in(layer):
    model = keras.Sequential([keras.Input((2,)), layer()])
    found = lipviz.certify(model, search=False, method="product")
    assert found.upper_bound == INF
    assert "too large for float" in " ".join(found.notes)
