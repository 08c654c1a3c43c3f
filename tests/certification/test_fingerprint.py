"""Hashes of models: what changes the function at inference changes them, and nothing else does."""

import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import lipviz
from lipviz.certification.fingerprint import array_hash, fingerprint
from lipviz.copies import take_state
from lipviz.layers import ConstrainedKernel, FrobeniusDense, GroupSort2, PReLUlip, SpectralConv2D, SpectralDense
from lipviz.model import refresh
from tests.certification.test_rules import RECIPES, built
from tests.support import examples

L = keras.layers


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def stack(**settings):
    return lipviz.Sequential([keras.Input((4,)), SpectralDense(4), GroupSort2(), FrobeniusDense(2, **settings)])


def adapted():
    normalization = L.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3.0, 2.0, (20, 4)))
    return keras.Sequential([keras.Input((4,)), normalization, L.Dense(2), L.BatchNormalization()])


def branches():
    """A graph with an operator, a shared layer, an argument, and two inputs."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = SpectralDense(3, activation=PReLUlip())
    joined = L.Concatenate()([shared(a) * 2.0, shared(b)])
    return keras.Model([a, b], [L.Dense(2)(joined), keras.ops.add(joined, 1.0)[:, 1:]])


def nested():
    inputs = keras.Input((3, 4))
    inner = keras.Model(i := keras.Input((4,)), FrobeniusDense(2)(i))
    return lipviz.Model(inputs, L.TimeDistributed(inner)(L.Dropout(0.2)(inputs)))


def images():
    return lipviz.Sequential([keras.Input((4, 4, 1)), SpectralConv2D(2, 3, bound="tight"), L.Flatten()])


def words(text="to be or not to be"):
    lookup = L.TextVectorization(output_mode="count", max_tokens=8)
    lookup.adapt([text])
    return keras.Sequential([keras.Input((1,), dtype="string"), lookup, L.Dense(1)])


def called():
    """A stack that learned its input's shape from a batch of five."""
    model = keras.Sequential([SpectralDense(3), L.Dropout(0.2), L.Dense(1)])
    model(np.ones((5, 4), "float32"))
    return model


MODELS = [stack, adapted, branches, nested, images, called]
if keras.backend.backend() == "tensorflow":
    MODELS.append(words)  # words are TensorFlow's


@pytest.mark.parametrize("make", MODELS)
def test_a_saved_model_has_the_hashes_of_its_original(make, tmp_path):
    model = make()
    model.save(tmp_path / "net.keras")
    assert fingerprint(keras.models.load_model(tmp_path / "net.keras")) == fingerprint(model)


@pytest.mark.parametrize("make", [stack, branches, nested, images])
def test_a_clone_with_the_same_weights_has_the_same_hashes(make):
    model = make()
    clone = keras.models.clone_model(model)
    assert fingerprint(clone).weights != fingerprint(model).weights  # drawn anew
    clone.set_weights(model.get_weights())
    assert fingerprint(clone) == fingerprint(model)


def test_what_does_not_change_the_function_changes_no_hash():
    model = stack()
    before = fingerprint(model)
    model.compile("adam", "mse")
    model.trainable = False
    model.layers[0].trainable = False
    model.layers[0].name = "other"
    refresh(model)  # of fresh kernels
    model(np.ones((2, 4), "float32"), training=False)
    assert fingerprint(model) == before
    other = keras.Sequential(
        [
            keras.Input((4,), batch_size=7, name="x"),
            SpectralDense(4, kernel_initializer="orthogonal", kernel_regularizer="l2", name="y"),
            GroupSort2(),
            FrobeniusDense(2, bias_constraint="non_neg", trainable=False),
        ]
    )
    assert fingerprint(other).configuration == before.configuration


def test_a_call_in_training_may_round_the_constrained_kernels_in_another_way_and_refresh_brings_them_back():
    model = stack()
    before = fingerprint(model)
    assert changed(model, lambda m: m(np.ones((2, 4), "float32"), training=True)) <= {"constrained"}
    refresh(model)
    assert fingerprint(model) == before


def test_the_order_in_which_branches_were_made_does_not_count():
    def made(first):
        inputs = keras.Input((4,))
        layers = [L.Dense(3, activation="relu"), L.Dense(3, activation="tanh")]
        outputs = {}
        for i in (first, 1 - first):
            outputs[i] = layers[i](inputs)
        return keras.Model(inputs, L.Subtract()([outputs[0], outputs[1]]))

    assert fingerprint(made(0)).configuration == fingerprint(made(1)).configuration


def test_seeds_that_random_layers_used_up_do_not_count():
    model = keras.Sequential([keras.Input((4,)), L.Dropout(0.5, seed=1), L.GaussianNoise(1.0, seed=2)])
    before = fingerprint(model)
    model(np.ones((2, 4), "float32"), training=True)
    assert fingerprint(model) == before


def changed(model, change):
    """Which hashes a change of a model changes."""
    before = fingerprint(model)
    change(model)
    after = fingerprint(model)
    return {name for name, value in vars(before).items() if getattr(after, name) != value}


def flip(variable):
    """Flip the last bit of one entry."""
    value = np.array(variable)
    value.reshape(-1).view(f"u{value.dtype.itemsize}")[-1] ^= 1
    variable.assign(value)


def flip_by_set_weights(model):
    weights = model.get_weights()
    weights[0][0, 0] = np.nextafter(weights[0][0, 0], np.float32(9))
    model.set_weights(weights)


def test_one_bit_of_any_weight_changes_the_hash_of_weights():
    for make in (stack, adapted):
        model = make()
        constrained = [layer.parametrization for layer in model.layers if isinstance(layer, ConstrainedKernel)]
        derived = {id(variable) for owner in constrained for variable in owner.variables}
        raw = [variable for variable in model.weights if id(variable) not in derived]
        assert len(raw) >= 4, make
        for variable in raw:
            found = changed(model, lambda _, variable=variable: flip(variable))
            assert found - {"constrained"} == {"weights"}, variable.path
    assert "weights" in changed(stack(), flip_by_set_weights)


def test_derived_state_counts_as_far_as_inference_uses_it():
    for name in ("u", "sig", "wbar"):  # what is assigned from outside belongs to no kernel
        model = stack()
        assert changed(model, lambda m, name=name: flip(getattr(m.layers[0], name))) == set(), name
    assert changed(stack(), stored_otherwise) == {"constrained"}


def stored_otherwise(model):
    """As a file of version 0.1 may hold it: the kernel of another step."""
    layer = model.layers[0]
    flip(layer.wbar)
    layer.parametrization.origin.assign(np.array(layer.kernel))


@pytest.mark.parametrize(
    ("make", "change", "expected"),
    [
        (stack, lambda m: m.set_klip_factor(2.0), {"configuration", "constrained"}),
        (stack, lambda m: setattr(m.layers[1], "k_coef_lip", 2.0), {"configuration"}),
        (stack, lambda m: setattr(m.layers[2], "activation", keras.activations.relu), {"configuration"}),
        (adapted, lambda m: m.layers[0].adapt(np.arange(8.0).reshape(2, 4)), {"weights", "configuration"}),
        (adapted, lambda m: setattr(m.layers[0], "mean", m.layers[0].mean + 1), {"configuration"}),
        (adapted, lambda m: setattr(m.layers[2], "epsilon", 0.5), {"configuration"}),
        (images, lambda m: m.layers[0].set_klip_factor(3), {"configuration", "constrained"}),
        (nested, lambda m: m.layers[-1].layer.layers[-1].set_klip_factor(3), {"configuration", "constrained"}),
    ],
)
def test_a_change_of_the_function_changes_a_hash(make, change, expected):
    assert changed(make(), change) == expected


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="words are TensorFlow's")
def test_a_vocabulary_counts():
    assert fingerprint(words("to be")).configuration != fingerprint(words("to bee")).configuration


def graph_of(function, names=("a", "b")):
    inputs = [keras.Input((4,), name=name) for name in names]
    return fingerprint(keras.Model(inputs, function(*inputs))).configuration


def test_graphs_differ_by_what_is_computed():
    graphs = [
        lambda a, b: a - b,
        lambda a, b: b - a,
        lambda a, b: a + b,
        lambda a, b: L.Add()([a, b]),
        lambda a, b: L.Add()([a, a + 0 * b]),
        lambda a, b: a * 2.0 - b,
        lambda a, b: a * 2.5 - b,
        lambda a, b: (a - b)[:, 1:],
        lambda a, b: (a - b)[:, :1],
        lambda a, b: keras.ops.sum(a - b, axis=-1, keepdims=True),
        lambda a, b: keras.ops.sum(a - b, axis=1, keepdims=False),
        lambda a, b: a * np.arange(4.0, dtype="float32") - b,
        lambda a, b: a * np.ones(4, "float32") - b,
        lambda a, b: [a, b],
        lambda a, b: [b, a],
        lambda a, b: {"a": a, "b": b},
    ]
    assert len({graph_of(graph) for graph in graphs}) == len(graphs)
    assert graph_of(graphs[0], "ab") != graph_of(graphs[0], "ba")  # which a dict of inputs tells apart
    assert graph_of(graphs[0]) == graph_of(graphs[0])


def test_settings_of_any_layer_count():
    def of(*layers):
        return fingerprint(keras.Sequential([keras.Input((4, 4, 1)), *layers])).configuration

    variants = [
        [L.MaxPooling2D(2)],
        [L.MaxPooling2D(2, strides=1)],
        [L.MaxPooling2D(2, padding="same")],
        [L.AveragePooling2D(2)],
        [L.Activation("relu")],
        [L.Activation("tanh")],
        [L.ReLU()],
        [L.ReLU(negative_slope=0.5)],
        [L.ReLU(dtype="float16")],
        [L.Rescaling(2)],
        [L.Rescaling([2.5])],
        [L.Rescaling(2), L.Rescaling(1)],
        [],
    ]
    assert len({of(*variant) for variant in variants}) == len(variants)
    assert of(L.Rescaling(2)) == of(L.Rescaling(2.0))


class Halve(L.Layer):
    """A class without a `get_config`: Keras describes it as it was constructed."""

    def __init__(self, factor=0.5, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self._table = {"offsets": [1, (2.0, None)]}

    def call(self, inputs):
        return inputs * self.factor


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_copy_of_any_layer_that_has_a_rule_has_the_same_hashes(part):
    for cls in list(RECIPES)[part::4]:
        assert_copies_agree(cls)


def assert_copies_agree(cls):
    @given(st.data())
    @settings(max_examples=examples(1))
    def search(data):
        layer, shape = RECIPES[cls](data.draw, cls)
        layer = built(layer, shape, 0)
        if layer is None:
            reject()
        twin = type(layer).from_config(layer.get_config())
        twin.build_from_config(layer.get_build_config() or {"input_shape": (None, *shape)})
        take_state(twin, layer)
        assert fingerprint(twin) == fingerprint(layer)

    search()


@keras.saving.register_keras_serializable("lipviz_tests")
class Renamed(SpectralConv2D):
    """A layer of lipviz under a name of your own."""


def test_a_subclass_of_your_own_is_the_same_when_it_is_loaded(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 1)), Renamed(2, 3, activation=GroupSort2())])
    model(np.ones((1, 4, 4, 1), "float32"))
    model.save(tmp_path / "net.keras")
    assert fingerprint(keras.models.load_model(tmp_path / "net.keras")) == fingerprint(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "factor", 3.0),
        lambda layer: setattr(layer, "_table", {"offsets": [1, (2.5, None)]}),
        lambda layer: setattr(layer, "shift", np.ones(2)),
    ],
)
def test_attributes_of_a_class_of_your_own_count(change):
    model = keras.Sequential([keras.Input((2,)), Halve()])
    assert changed(model, lambda m: change(m.layers[0])) == {"configuration"}


class Plain(keras.Model):
    """A model with a `call` of its own, which lipviz sees from outside only."""

    def __init__(self):
        super().__init__()
        self.factor, self.dense = 2.0, L.Dense(3)

    def call(self, inputs):
        return self.factor * self.dense(inputs)


class Refreshing(Plain, lipviz.Model):
    """The same, of lipviz."""


@pytest.mark.slow
def test_compiling_and_running_a_model_of_your_own_do_not_count():
    new = "Where Keras keeps something new in models, enter it in lipviz.keras_internals.attributes_of_models."
    model, x = Refreshing(), np.ones((2, 4), "float32")
    model(x)
    before = fingerprint(model)
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"], run_eagerly=keras.backend.backend() != "jax")
    assert fingerprint(model) == before
    model.fit(x, np.ones((2, 3)), validation_data=(x, np.ones((2, 3))), verbose=0)
    assert fingerprint(model) == before, new
    model.predict(x, verbose=0)
    assert fingerprint(model) == before, new
    model.factor = 3.0
    assert fingerprint(model).configuration != before.configuration


def test_what_a_call_reads_counts_also_under_a_name_of_keras():
    class Named(Plain):
        def call(self, inputs):
            return self.loss * super().call(inputs)

    model = Named()
    model.loss = 2.0
    model(np.ones((2, 4)))
    before = fingerprint(model)
    model.loss = 3.0
    assert fingerprint(model).configuration != before.configuration


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="what is exported is TensorFlow's")
def test_an_export_does_not_count(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Halve()])
    before = fingerprint(model)
    model.export(tmp_path / "model", verbose=False)
    assert fingerprint(model) == before


def test_a_class_of_the_same_name_is_another():
    def of(kind):
        return fingerprint(keras.Sequential([keras.Input((2,)), kind()])).configuration

    assert of(type("ReLU", (L.ReLU,), {})) != of(L.ReLU)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int8, np.bool_])
def test_values_shape_and_dtype_of_an_array_count(dtype):
    array = np.array([[0, 1, 1], [1, 0, 0]], dtype)
    others = [array.T, array.reshape(-1), array[:, ::-1], array.astype(np.complex128), array[:0], array[:, :0]]
    hashes = {array_hash(value) for value in (array, *others)}
    assert len(hashes) == 1 + len(others)
    assert array_hash(np.asfortranarray(array)) == array_hash(array)
    if array.dtype.kind == "f":
        assert array_hash(array.astype(array.dtype.newbyteorder(">"))) == array_hash(array)
        assert array_hash(-array) != array_hash(array)  # also by the sign of zero


def test_a_hash_is_the_same_on_every_machine_and_backend():
    """As written down once: a certificate is compared elsewhere, and years later."""
    assert array_hash(np.arange(3, dtype="float32")) == EXPECTED_ARRAY
    model = stack(bias_initializer="ones")
    for i, variable in enumerate(model.weights):
        values = np.sin(np.arange(1 + i, 1 + i + np.prod(variable.shape)) ** 2.0)
        variable.assign(np.round(values, 2).reshape(variable.shape))
    for layer in model.layers:
        if isinstance(layer, ConstrainedKernel):
            layer.parametrization.origin.assign(keras.ops.convert_to_numpy(layer.kernel))  # use this `wbar`
    assert fingerprint(model) == type(fingerprint(model))(*EXPECTED)


EXPECTED_ARRAY = "13151c4e8fcbfd961bf90d64de72be542595c3ccd5820bf0055392dc4ebbe47c"
EXPECTED = (
    "e3346f1562890161cb4cff7fea930ba0e27a431b102822e3134d9c2d9bc5ca38",
    "7c50b680282a3511526f935f9169d2508a5436d1b27a99422471499861bed398",
    "161108a34e8f61eb6eb0431f5a709010c21684117c8ee871a38802bad45c352e",
)
