"""How often a kernel is constrained: to build, call, save, load, copy and export a model, and to trace its step."""

import collections
import gc
import weakref

import keras
import numpy as np
import pytest

import lipviz
from lipviz import normalizers as nm
from lipviz import parametrizations
from lipviz.certification.model_file import load_model_file
from lipviz.layers import FrobeniusDense, SpectralDense
from lipviz.normalizers import sound
from lipviz.parametrizations import Parametrization, check_finite, sharing
from tests.support import singular_values

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"
X = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")


class Counts:
    """Evaluations since it was read last: of constraints, and orthogonalizations, an initializer's included.

    What is traced is counted apart: JAX traces also the branch that it does not take.
    """

    def __init__(self, monkeypatch):
        self._found = collections.Counter()
        constrain, orthogonalize = Parametrization.constrain, sound._orthogonalized

        def counted_constrain(parametrization, kernel):
            self._found["constraints" if is_value(kernel) else "traces"] += 1
            return constrain(parametrization, kernel)

        def counted_orthogonalize(kernel, *arguments):
            self._found["orthogonalizations"] += is_value(kernel)
            return orthogonalize(kernel, *arguments)

        monkeypatch.setattr(Parametrization, "constrain", counted_constrain)
        monkeypatch.setattr(sound, "_orthogonalized", counted_orthogonalize)

    def read(self):
        """The tuple (constraints, orthogonalizations)."""
        found, self._found = self._found, collections.Counter()
        return found["constraints"], found["orthogonalizations"]

    def read_traces(self):
        found, self._found = self._found, collections.Counter()
        return found["traces"]


def is_value(tensor):
    return check_finite(tensor, "What is constrained") is not None


@pytest.fixture
def counts(monkeypatch):
    return Counts(monkeypatch)


def network(kind=lipviz.Sequential):
    return kind([keras.Input((6,)), *(SpectralDense(5) for _ in range(3))])


# --- values ---


def test_a_layer_is_built_by_one_orthogonalization_of_its_first_kernel_and_one_constraint(counts):
    layer = SpectralDense(5)
    layer.build((None, 6))
    assert counts.read() == (1, 2)  # the initializer's own, and that of the kernel that it drew
    layer(X)
    layer(X, training=False)
    layer.used_kernel()
    assert counts.read() == (0, 0)
    layer(X, training=True)
    assert counts.read() == (1, 1)


@pytest.mark.parametrize("shape", [[keras.Input((6,))], []], ids=["input", "no input"])
def test_a_stack_shares_out_its_k_before_its_layers_are_built(shape, counts):
    model = lipviz.Sequential([*shape, *(SpectralDense(5) for _ in range(3))], k_coef_lip=8.0)
    model(X)
    assert counts.read() == (3, 6)  # as with k = 1
    for layer in model.layers:
        assert layer.k_coef_lip == pytest.approx(2)
        np.testing.assert_allclose(singular_values(layer.wbar), 2, rtol=1e-3)


@pytest.mark.parametrize("inside", [False, True])
def test_a_layer_that_is_built_within_a_trace_has_what_it_has_outside(inside, counts):
    layer = SpectralDense(5, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    if inside:
        with keras.StatelessScope():
            layer.build((None, 6))
    else:
        layer.build((None, 6))
    assert counts.read() == (1, 1)
    wbar, sig = (np.array(value) for value in (layer.wbar, layer.sig))
    layer.refresh()
    np.testing.assert_array_equal(layer.wbar, wbar)
    np.testing.assert_array_equal(layer.sig, sig)
    assert layer.parametrization.is_current_now()


@pytest.mark.parametrize("kind", [keras.Sequential, lipviz.Sequential])
def test_a_model_is_saved_for_nothing_and_loaded_at_the_cost_of_building_it(kind, tmp_path, counts):
    model = network(kind)
    assert counts.read() == (3, 6)
    model.save(tmp_path / "m.keras")
    assert counts.read() == (0, 0)
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert counts.read() == (3, 6)  # Keras builds the layers, and does not say that weights follow
    np.testing.assert_array_equal(loaded(X), model(X))
    assert counts.read() == (0, 0)
    kind.from_config(model.get_config())
    assert counts.read() == (3, 6)
    keras.models.clone_model(model)
    assert counts.read() == (3, 6)


def test_who_knows_that_weights_follow_orthogonalizes_nothing(tmp_path, counts):
    model = network()
    model.save(tmp_path / "m.keras")
    counts.read()
    with parametrizations.unfilled():
        loaded = keras.models.load_model(tmp_path / "m.keras")
    assert counts.read() == (0, 0)
    again = load_model_file(tmp_path / "m.keras")
    assert counts.read() == (0, 0)
    for copy in (loaded, again):
        for got, want in zip(copy.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(copy(X), model(X))


def test_a_file_that_proves_nothing_is_constrained_once_for_each_layer(tmp_path, counts):
    model = network()
    model.layers[1].kernel.assign(2 * np.asarray(model.layers[1].kernel))
    counts.read()
    model.save(tmp_path / "m.keras")
    assert counts.read() == (1, 1)  # of the layer that was moved
    proof = Parametrization._is_of_kernel
    try:
        Parametrization._is_of_kernel = lambda self, store: False
        load_model_file(tmp_path / "m.keras")
    finally:
        Parametrization._is_of_kernel = proof
    assert counts.read() == (3, 3)


def test_an_export_refreshes_each_layer_once(counts):
    model = network()
    counts.read()
    model.vanilla_export()
    assert counts.read() == (3, 3)


# --- traces ---

in_graphs = pytest.mark.skipif(not IS_TENSORFLOW, reason="only TensorFlow keeps a function together in a graph")


@pytest.fixture
def nothing_traced(monkeypatch):
    monkeypatch.setattr(sharing, "_found", collections.OrderedDict())


def compiled(*layers, **arguments):
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile(keras.optimizers.SGD(0.1), "mse", **arguments)
    return model


def step(model):
    """Train a model for one batch, and return it."""
    model.train_on_batch(X, np.ones((len(X), model.output_shape[-1])))
    return model


def traced(counts, *layers):
    """Constraints that TensorFlow traces for a step of built layers."""
    model = compiled(*layers)
    counts.read()
    step(model)
    return counts.read_traces()


@pytest.mark.slow
@in_graphs
@pytest.mark.usefixtures("nothing_traced")
def test_layers_alike_share_a_trace_of_a_step_from_the_second_on(counts):
    assert traced(counts, *(SpectralDense(6) for _ in range(4))) == 2
    assert traced(counts, SpectralDense(6, k_coef_lip=3.0), SpectralDense(6)) == 0  # k is no part of it
    assert traced(counts, SpectralDense(6, eps_bjorck=1e-4)) == 1
    assert traced(counts, SpectralDense(3), FrobeniusDense(3)) == 2
    assert traced(counts, SpectralDense(6, dtype="float64")) == 1
    assert traced(counts, SpectralDense(6, dtype="mixed_float16")) == 0  # its kernel is constrained in float32


@pytest.mark.slow
@in_graphs
@pytest.mark.usefixtures("nothing_traced")
def test_each_way_of_the_numerics_is_traced_for_itself(counts):
    def pair():
        return traced(counts, SpectralDense(6), SpectralDense(6))

    assert pair() == 2
    with nm.without_eigenvalues():
        assert pair() == 2
    try:
        nm.set_stop_grad_spectral(False)
        assert pair() == 2
    finally:
        nm.set_stop_grad_spectral(True)
    assert pair() == 0


@in_graphs
@pytest.mark.usefixtures("nothing_traced")
def test_inference_that_was_traced_by_products_leaves_others_their_eigenvalues():
    import tensorflow as tf

    layer = SpectralDense(6)
    layer.build((None, 6))

    def operations():
        graph = tf.function(lambda x: layer(x)).get_concrete_function(X).graph.as_graph_def()
        return {node.op for function in graph.library.function for node in function.node_def}

    with nm.without_eigenvalues():
        assert "SelfAdjointEigV2" not in operations()
    assert "SelfAdjointEigV2" in operations()


@pytest.mark.slow
@in_graphs
@pytest.mark.usefixtures("nothing_traced")
def test_a_shared_trace_keeps_no_layer_alive():
    model = step(compiled(SpectralDense(6), SpectralDense(6)))
    kernels = [weakref.ref(layer.kernel) for layer in model.layers]
    assert len(sharing._found) == 1
    del model
    gc.collect()
    assert [kernel() for kernel in kernels] == [None, None]


@pytest.mark.nightly
@in_graphs
@pytest.mark.usefixtures("nothing_traced")
def test_only_the_last_traces_are_kept(monkeypatch):
    monkeypatch.setattr(sharing, "_KEPT", 2)
    for units in (2, 3, 4, 3):
        step(compiled(SpectralDense(units)))
    assert [shape for _, _, shape, _ in sharing._found] == [(6, 4), (6, 3)]


class Halved(parametrizations.SpectralParametrization):
    """A parametrization from elsewhere."""

    def normalize(self, kernel):
        w, state = super().normalize(kernel)
        return w / 2, state


class HalvedDense(SpectralDense):
    parametrization_class = Halved


@in_graphs
@pytest.mark.usefixtures("nothing_traced")
def test_a_parametrization_from_elsewhere_is_traced_for_itself(counts):
    layers = HalvedDense(6), HalvedDense(6)
    assert traced(counts, *layers) == 2
    assert not sharing._found
    for layer in layers:
        np.testing.assert_allclose(np.linalg.norm(np.asarray(layer.wbar), 2), 0.5, rtol=1e-5)


@in_graphs
@pytest.mark.usefixtures("nothing_traced")
def test_a_method_of_an_instance_is_its_own():
    layers = [SpectralDense(6, kernel_initializer="identity") for _ in range(3)]
    model = compiled(*layers)
    layers[2].parametrization.normalize = lambda kernel: (kernel / 2, {})
    step(model)
    assert [float(np.asarray(layer.wbar)[0, 0]) for layer in layers] == pytest.approx([1, 1, 0.5], abs=1e-4)


def alike():
    """Built layers alike, with kernels that are not orthogonal."""
    layers = [SpectralDense(6, kernel_initializer="glorot_uniform", k_coef_lip=k) for k in (1.0, 2.0, 0.5)]
    for layer in layers:
        layer.build((None, 6))
    return layers


@in_graphs
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_traced")
@pytest.mark.parametrize(
    "way", ["graph", *(pytest.param(way, marks=pytest.mark.nightly) for way in ("XLA", "distributed"))]
)
def test_a_shared_step_is_the_one_that_each_layer_would_make(way):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"]) if way == "distributed" else tf.distribute.get_strategy()
    with strategy.scope():
        shared = alike()
        model = compiled(*shared, jit_compile=way == "XLA")
    eager = alike()
    for layer, twin in zip(shared, eager, strict=True):
        twin.set_weights(layer.get_weights())
    step(model)
    step(compiled(*eager, run_eagerly=True))
    close = 2e-4 if way == "XLA" else 1e-6  # XLA's are products with the kernel, which stop a step apart
    for layer, twin in zip(shared, eager, strict=True):
        np.testing.assert_allclose(layer.kernel, twin.kernel, atol=close)
        np.testing.assert_allclose(layer.wbar, twin.wbar, atol=close)
