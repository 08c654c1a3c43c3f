"""What a copy takes over from its original, and what happens where it could not."""

import copy as copying
import json

import keras
import numpy as np
import pytest

import lipviz
from lipviz import Sequential, copies, vanillaModel
from lipviz import layers as lip
from lipviz.keras_internals import inner_layers
from lipviz.operators import copy_comparison, float64_copy
from lipviz.operators.precision import float64_scope
from tests.layers.citizenship import WITHOUT

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 6)).astype("float32")
ONLY_ON_TENSORFLOW = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras has it there only")


def values(model, x):
    with keras.StatelessScope():
        return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(model(x, training=False))]


def assert_copied(model, x):
    """Our copies compute what the model does: the plain one bit for bit, that in float64 but for rounding.

    Sums of a dozen terms are rounded to 6e-8 each, in ten steps or so, layers and steps of recurrent ones together.
    """
    want = values(model, x)
    for got, wanted in zip(values(vanillaModel(model), x), want, strict=True):
        np.testing.assert_array_equal(got, wanted)
    with float64_scope():
        for got, wanted in zip(values(float64_copy(model), x), want, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


# --- state outside of the weights ---


def normalized(invert=False):
    layer = L.Normalization(invert=invert)
    layer.adapt(5 + 0.01 * X)
    return [keras.Input((6,)), layer, lip.SpectralDense(3)], X


def looked_up(mode):
    layer = L.StringLookup(output_mode=mode)
    layer.adapt(np.array([["a", "b"], ["c", "a"]]))
    return [keras.Input((2,), dtype="string"), layer, lip.SpectralDense(3)], np.array([["a", "b"], ["c", "z"]])


def numbers_looked_up():
    layer = L.IntegerLookup(output_mode="count")
    layer.adapt(np.array([[3, 5], [7, 3]]))
    return [keras.Input((2,), dtype="int64"), layer, lip.SpectralDense(3)], np.array([[3, 5], [7, 1]])


def texts():
    layer = L.TextVectorization(output_mode="multi_hot")
    layer.adapt(np.array(["a b", "c a"]))
    return [keras.Input((1,), dtype="string"), layer, lip.SpectralDense(3)], np.array([["a c"], ["z b"]])


def binned():
    layer = L.Discretization(num_bins=4, output_mode="one_hot")
    layer.adapt(X[:, :1])
    return [keras.Input((1,)), layer, lip.SpectralDense(3)], X[:, :1]


def drawing():
    """Noise in every call, from a seed that has moved on."""
    layer = Noisy()
    layer(X)
    return [keras.Input((6,)), layer, lip.SpectralDense(3)], X


@keras.saving.register_keras_serializable("tests")
class Noisy(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(7)

    def call(self, inputs):
        return inputs + keras.ops.cast(
            keras.random.normal(keras.ops.shape(inputs), seed=self.seeds, dtype="float32"), inputs.dtype
        )


@pytest.mark.parametrize(
    "make",
    [
        normalized,
        lambda: normalized(invert=True),
        binned,
        drawing,
        pytest.param(lambda: looked_up("multi_hot"), marks=ONLY_ON_TENSORFLOW),
        pytest.param(lambda: looked_up("tf_idf"), marks=ONLY_ON_TENSORFLOW),
        pytest.param(numbers_looked_up, marks=ONLY_ON_TENSORFLOW),
        pytest.param(texts, marks=ONLY_ON_TENSORFLOW),
    ],
    ids=["normalization", "inverted", "discretization", "seeds", "words", "tf_idf", "integers", "texts"],
)
def test_state_outside_of_the_weights_is_copied(make):
    stack, x = make()
    model = keras.Sequential(stack)
    before = [np.array(v) for v in model.variables]
    assert_copied(model, keras.ops.convert_to_tensor(x))
    for old, new in zip(before, model.variables, strict=True):  # comparing moved nothing, no seed either
        np.testing.assert_array_equal(old, new)


# --- graphs ---


def operators():
    i = keras.Input((6,))
    h = lip.SpectralDense(6)(i)
    return keras.Model(i, {"a": (h + i) * 2.0 - np.arange(6, dtype="float32"), "b": keras.ops.relu(h)[:, ::2]}), X


def by_name():
    """An inner model whose inputs have another order than those of the dict it is called with."""
    a, b = keras.Input((6,), name="a"), keras.Input((4,), name="b")
    inner = keras.Model([b, a], lip.SpectralDense(4)(a) - 5 * lip.FrobeniusDense(4)(b))
    i = keras.Input((6,))
    return keras.Model(i, inner({"a": i, "b": lip.SpectralDense(4)(i)})), X


def arguments():
    i = keras.Input((6,))
    h = L.BatchNormalization()(lip.SpectralDense(6)(i, training=False), training=False)
    return keras.Model(i, L.GaussianNoise(1.0)(h, training=False)), X


def masks():
    i = keras.Input((None, 3))
    mask = keras.ops.any(i != 0, axis=-1)
    h = lip.SpectralDense(4)(L.Masking()(i))
    x = RNG.standard_normal((4, 5, 3)).astype("float32")
    x[:, 3:] = 0
    return keras.Model(i, [L.GlobalAveragePooling1D()(h), L.LSTM(2)(i, mask=mask)]), x


def shared():
    layer, i = lip.SpectralDense(6), keras.Input((6,))
    inner = keras.Sequential([keras.Input((6,)), layer, lip.GroupSort2()])
    return keras.Model(i, inner(layer(inner(i)))), X


def wrapped():
    stack = Sequential([keras.Input((6,)), lip.SpectralDense(4, activation=lip.MaxMin()), lip.SpectralDense(2)])
    layers = [L.TimeDistributed(lip.SpectralDense(6, activation=lip.Householder())), L.TimeDistributed(stack)]
    return keras.Sequential([keras.Input((3, 6)), *layers]), RNG.standard_normal((4, 3, 6)).astype("float32")


def by_a_function():
    scale = 2.0
    return keras.Sequential([keras.Input((6,)), lip.SpectralDense(3), L.Lambda(lambda z: np.e * scale * z)]), X


def tripled(z):
    return 3 * keras.ops.tanh(z)


def by_functions():
    """Functions in wrappers, as activations, and in two nested models under one name."""
    inner = [keras.Sequential([keras.Input((3, 6)), L.Lambda(f, name="f")]) for f in (tripled, lambda z: z - np.e)]
    stack = [L.TimeDistributed(L.Lambda(tripled)), lip.SpectralDense(6, activation=lambda z: np.pi * z)]
    stack += [L.Dense(6, activation=tripled), L.Activation(tripled), *inner]
    return keras.Sequential([keras.Input((3, 6)), *stack]), RNG.standard_normal((4, 3, 6)).astype("float32")


@keras.saving.register_keras_serializable("tests")
class Cell(L.Layer):
    """A step of a recurrent network, of constrained layers."""

    state_size = output_size = 3

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.old = lip.SpectralDense(3), lip.SpectralDense(3)

    def build(self, shape):
        self.inner.build(shape)
        self.old.build((None, 3))
        self.built = True

    def call(self, inputs, states, training=None):
        new = keras.ops.tanh(self.inner(inputs, training=training) + self.old(states[0], training=training))
        return new, [new]


def recurrent():
    layers = [L.Bidirectional(L.RNN(Cell(), return_sequences=True)), L.TimeDistributed(lip.SpectralDense(3))]
    layers.append(L.Bidirectional(L.GRU(2), backward_layer=L.LSTM(2, go_backwards=True)))
    return keras.Sequential([keras.Input((4, 6)), *layers]), RNG.standard_normal((2, 4, 6)).astype("float32")


MAKERS = [operators, by_name, arguments, masks, shared, wrapped, by_a_function, by_functions]


@pytest.mark.parametrize("make", [*MAKERS, pytest.param(recurrent, marks=pytest.mark.slow)])
def test_any_graph_is_copied(make):
    assert_copied(*make())


def test_functions_that_cannot_be_told_apart_are_refused():
    def made(scale):
        return lambda z: scale * z

    inner = [keras.Sequential([keras.Input((6,)), L.Lambda(made(s), name="f")]) for s in (2.0, 2.0)]
    with pytest.raises(ValueError, match="different names"):
        float64_copy(keras.Sequential([keras.Input((6,)), *inner]))


@pytest.mark.slow
def test_nothing_constrained_is_left_in_an_export():
    for make in (operators, by_name, arguments, masks, shared, wrapped):
        export = vanillaModel(make()[0])
        assert not [layer for layer in inner_layers(export) if isinstance(layer, lip.Condensable)]
    export = vanillaModel(shared()[0])
    assert len([layer for layer in inner_layers(export) if isinstance(layer, L.Dense)]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["list", "dict"])
def test_a_certificate_matches_inputs_by_name(kind):
    """The inner model stretches "a" by 1 and "b" by 5, and gets a constant times 3 as "b"."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    inner = keras.Model([b, a] if kind == "list" else {"b": b, "a": a}, a + 5.0 * b)
    i, j = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([i, j], inner({"a": i, "b": j}))
    assert lipviz.certify(model, search=False).upper_bound == pytest.approx(26**0.5)
    only = keras.Model(i, inner({"a": i, "b": 3.0 * i}))
    assert lipviz.certify(only).upper_bound == pytest.approx(16)
    unequal = keras.Model(i, inner({"a": 7.0 * i, "b": keras.ops.stop_gradient(i)}))
    assert lipviz.certify(unequal).upper_bound == pytest.approx(12)


# --- factors ---


@pytest.mark.parametrize("how", ["save", "from_config", "deepcopy", "clone_model", "float64_copy", "vanillaModel"])
def test_factors_of_layers_survive(how, tmp_path):
    stack = [
        keras.Input((6,)),
        lip.SpectralDense(6),
        lip.GroupSort2(),
        Sequential([lip.SpectralDense(3), lip.FullSort()]),
    ]
    model = Sequential(stack, k_coef_lip=3.0)
    factors = {model.layers[0]: 4.0, model.layers[1]: 10.0, model.layers[2].layers[1]: 0.5}
    for layer, factor in factors.items():
        layer.k_coef_lip = factor
    want = values(model, X)[0]
    if how == "save":
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
    elif how == "clone_model":
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    elif how == "from_config":
        copy = Sequential.from_config(model.get_config())
        copy.set_weights(model.get_weights())
    else:
        copy = {"deepcopy": copying.deepcopy, "float64_copy": float64_copy, "vanillaModel": vanillaModel}[how](model)
    with float64_scope():
        np.testing.assert_allclose(values(copy, X)[0], want, rtol=0, atol=1e-5 * np.abs(want).max())
    if how != "vanillaModel":
        for layer, counterpart in copies.layer_pairs(model, copy):
            if how != "clone_model" or not isinstance(layer, Sequential):  # Keras makes a plain stack
                assert getattr(counterpart, "k_coef_lip", None) == getattr(layer, "k_coef_lip", None)


@pytest.mark.parametrize("name", sorted(WITHOUT.keys() - {"PadConv2D"}))
def test_a_factor_set_by_attribute_is_configured(name):
    layer = getattr(lip, name)(**WITHOUT[name][0])
    layer.k_coef_lip = 0.25
    assert type(layer).from_config(layer.get_config()).k_coef_lip == 0.25


# --- the comparison ---


@keras.saving.register_keras_serializable("tests")
class Secretive(L.Layer):
    """Computes with a number that it tells nobody."""

    factor = 1.0

    def call(self, inputs):
        return self.factor * inputs


@pytest.mark.parametrize("factor", [2.0, 1.0 + 1e-4])
def test_a_copy_that_differs_is_refused(factor):
    layer = Secretive()
    model = keras.Sequential([keras.Input((6,)), layer, L.Dense(3)])
    assert_copied(model, X)
    layer.factor = factor
    with pytest.raises(ValueError, match=r"does not compute what .* does: .*rounding explains"):
        vanillaModel(model)


@pytest.mark.parametrize("factor", [2.0, 1.0 + 1e-4])
def test_a_copy_in_float64_that_differs_is_refused(factor):
    layer = Secretive()
    model = keras.Sequential([keras.Input((6,)), layer, L.Dense(3)])
    float64_copy(model)
    layer.factor = factor
    with pytest.raises(ValueError, match=r"has another factor, does not compute what .* does: .*rounding explains"):
        float64_copy(model)
    certificate = lipviz.certify(model)
    assert certificate.lower_bound == 0
    assert "No lower bound: The copy in float64" in certificate.notes[-1]


LOSING = {
    "a method of an instance": lambda layer: setattr(layer, "call", lambda inputs: 7 * inputs),
    "an array": lambda layer: setattr(layer, "factor", np.arange(6.0)),
    "a tensor": lambda layer: setattr(layer, "factor", keras.ops.arange(6.0)),
}


@pytest.mark.parametrize("name", LOSING)
def test_what_no_configuration_holds_is_missed(name):
    layer = Secretive()
    model = keras.Sequential([keras.Input((6,)), layer])
    LOSING[name](layer)
    with pytest.raises(ValueError, match="does not compute what"):
        float64_copy(model)


@keras.saving.register_keras_serializable("tests")
class Counting(L.Layer):
    """Keeps what it does not compute with."""

    calls = 0

    def call(self, inputs):
        self.calls += 1
        return 2 * inputs


def test_what_is_kept_and_not_computed_with_is_no_difference():
    model = keras.Sequential([keras.Input((6,)), Counting()])
    model(X)
    with float64_scope():
        np.testing.assert_allclose(values(float64_copy(model), X)[0], 2 * X)


def test_hidden_values_that_cancel_are_no_difference():
    """A comparison of outputs would see float32 round what float64 does not."""
    model = keras.Sequential([keras.Input((6,)), L.Dense(6), L.Dense(6)])
    model.layers[0].bias.assign(np.full(6, 2.0**30))
    model.layers[1].bias.assign(np.full(6, -(2.0**30)) @ np.asarray(model.layers[1].kernel, np.float64))
    float64_copy(model)


def test_a_graph_with_another_argument_is_seen():
    x = keras.Input((6,))
    model = keras.Model(x, L.Dense(6)(x) * 2.53125)
    same, other = (json.dumps(model.get_config()).replace("2.53125", number) for number in ("2.53125", "3.5"))
    assert copy_comparison.difference(model, keras.Model.from_config(json.loads(same))) is None
    assert "other steps" in copy_comparison.difference(model, keras.Model.from_config(json.loads(other)))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float32"])
@pytest.mark.parametrize("bias", [0.0, 2.0**20])
def test_rounding_is_no_difference(dtype, bias):
    stack = [L.Dense(16, "tanh", dtype=dtype) for _ in range(8)]
    model = keras.Sequential([keras.Input((6,)), *stack, L.Dense(16, dtype="float32"), L.Dense(2, dtype="float32")])
    keras.utils.set_random_seed(0)
    for v in model.trainable_variables:
        v.assign(np.random.default_rng(v.shape[0]).normal(size=v.shape))
    model.layers[-2].bias.assign(np.full(16, bias))
    model.layers[-1].bias.assign(-bias * np.asarray(model.layers[-1].kernel).sum(0))
    vanillaModel(model)


@pytest.mark.parametrize(
    ("stack", "x"),
    [
        ([keras.Input((None, None, 1)), L.Conv2D(2, 11), L.GlobalMaxPooling2D()], np.ones((1, 12, 13, 1))),
        (
            [keras.Input((5,), dtype="int32"), L.Embedding(3, 4, mask_zero=True), L.GlobalAveragePooling1D()],
            np.ones((2, 5)),
        ),
        ([keras.Input((4, 4, 1), dtype="uint8"), L.Rescaling(1 / 255), L.Flatten(), L.Dense(2)], np.ones((2, 4, 4, 1))),
        ([keras.Input(batch_shape=(3, 6)), L.Dense(2)], X[:3]),
    ],
    ids=["sizes", "indices", "pixels", "batch"],
)
def test_inputs_are_drawn_for_every_kind(stack, x):
    assert_copied(keras.Sequential(stack), x)


@keras.saving.register_keras_serializable("tests")
class Picky(L.Layer):
    """Takes symbols only."""

    def call(self, inputs):
        raise RuntimeError("no")

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def test_a_warning_says_where_nothing_was_compared():
    model = keras.Sequential([keras.Input((6,)), Picky(), L.Dense(3)])
    with pytest.warns(UserWarning, match="no input was found on which the model runs"):
        vanillaModel(model)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float32"])
def test_a_copy_in_float64_is_in_float64_as_a_whole(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inner = keras.Sequential([keras.Input((3,)), L.Dense(2)])
        model = keras.Sequential([keras.Input((3,)), inner, lip.GroupSort2()])
        copy = float64_copy(model)
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in (copy, *inner_layers(copy))} == {"float64"}
    assert not any("computes in" in note for note in lipviz.certify(copy, search=False).notes)
