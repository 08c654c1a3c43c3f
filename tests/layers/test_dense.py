"""SpectralDense and FrobeniusDense: the bound at every moment of a layer's life, and Keras citizenship."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers import FrobeniusDense, GroupSort2, MaxMin, SpectralDense
from tests.support import KINDS, gradient, make_kernel, predicted, singular_values, tensor, with_spectrum

RNG = np.random.default_rng(0)
LAYERS = [
    (SpectralDense, {}),
    (SpectralDense, {"eps_bjorck": None}),
    (SpectralDense, {"beta_bjorck": 0.1, "maxiter_bjorck": 1}),
    (SpectralDense, {"k_coef_lip": 3.0, "use_bias": False}),
    (FrobeniusDense, {}),
    (FrobeniusDense, {"disjoint_neurons": False, "k_coef_lip": 0.25}),
]
all_layers = pytest.mark.parametrize(("cls", "arguments"), LAYERS)


def built(cls=SpectralDense, units=5, inputs=8, **arguments):
    layer = cls(units, **arguments)
    layer.build((None, inputs))
    return layer


def norm(layer, wbar=None):
    """The norm that the layer promises to keep at most k, exactly."""
    wbar = np.asarray(layer.wbar if wbar is None else wbar, np.float64)
    if getattr(layer, "disjoint_neurons", False):
        return np.linalg.norm(wbar, axis=0).max()
    return singular_values(wbar)[0]


def assert_fresh(layer):
    """`wbar` is what the present kernel gives, and keeps the bound."""
    kept = np.array(layer.wbar)
    assert norm(layer) <= layer.k_coef_lip
    layer.refresh()
    np.testing.assert_allclose(layer.wbar, kept, atol=2e-5 * layer.k_coef_lip)
    kept = np.array(layer.wbar)
    layer.refresh()
    np.testing.assert_array_equal(layer.wbar, kept)


# --- wbar ---


@all_layers
def test_wbar_is_right_from_build_on(cls, arguments):
    layer = built(cls, kernel_initializer="glorot_uniform", **arguments)
    assert_fresh(layer)
    x = RNG.standard_normal((3, 8)).astype("float32")
    np.testing.assert_allclose(layer(x, training=False), x @ np.array(layer.wbar), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "arguments"), LAYERS[1:5:3])
def test_wbar_is_right_when_fit_builds_the_layer(cls, arguments):
    model = keras.Sequential([cls(1, kernel_initializer="he_normal", **arguments)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(np.ones((4, 8)), np.ones((4, 1)), epochs=1, verbose=0)
    assert_fresh(model.layers[0])


@pytest.mark.parametrize("initializer", ["zeros", "ones", keras.initializers.RandomNormal(stddev=1e9)])
@all_layers
def test_degenerate_initial_kernels(cls, arguments, initializer):
    layer = built(cls, kernel_initializer=initializer, **arguments)
    assert np.isfinite(np.array(layer.wbar)).all()
    assert norm(layer) <= layer.k_coef_lip
    got = layer(np.ones((2, 8)), training=True)
    assert np.isfinite(np.array(got)).all()


def test_wbar_shares_storage_with_nothing():
    layer = built(use_bias=False)
    kept = np.array(layer.wbar)
    layer.kernel.assign(2 * layer.kernel + 1)
    np.testing.assert_array_equal(layer.wbar, kept)
    layer.condense()
    export = layer.vanilla_export()
    kept = np.array(layer.wbar)
    layer.kernel.assign(0 * layer.kernel)
    np.testing.assert_array_equal(layer.wbar, kept)
    np.testing.assert_array_equal(export.kernel, kept)
    export.kernel.assign(0 * export.kernel)
    np.testing.assert_array_equal(layer.wbar, kept)


@all_layers
def test_a_step_in_training_stores_what_it_used(cls, arguments):
    layer = built(cls, **arguments)
    layer.kernel.assign(RNG.standard_normal((8, 5)))
    x = np.eye(8, dtype="float32")
    used = np.array(layer(x, training=True))
    np.testing.assert_allclose(used, layer(x, training=False), atol=1e-6)
    np.testing.assert_allclose(layer(x), used, atol=1e-5)  # a bare call is a call in training
    assert_fresh(layer)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (40, 30)])
def test_what_is_stored_is_what_float64_gives(kind, shape, monkeypatch):
    eps = 1e-6  # rounding may decide which step is the last, but that one changes little
    layer = built(inputs=shape[0], units=shape[1], eps_bjorck=eps)
    layer.kernel.assign(make_kernel(kind, shape))
    with nm.in_numpy():
        kernel, u = (np.asarray(x, np.float64) for x in (layer.kernel, layer.parametrization.u))
        want, _, sigma = nm.sound_orthogonalization(kernel, u, eps_bjorck=eps)
    if nm.decomposing_pays():
        monkeypatch.delattr(ops, "eigh")  # NumPy does it, which is quicker and computes eigenvalues in float64
    layer.refresh()
    np.testing.assert_allclose(layer.wbar, want, atol=5e-5)  # rounding errors grow up to 500 times
    np.testing.assert_allclose(layer.parametrization.sig, sigma, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1e-3, 0.7, 1e3])
def test_set_klip_factor_and_set_weights_refresh(k):
    layer = built()
    layer.set_klip_factor(k)
    assert layer.k_coef_lip == k
    np.testing.assert_allclose(singular_values(layer.wbar), k, rtol=1e-5)
    weights = layer.get_weights()
    weights[0] = make_kernel("gaussian", (8, 5), 100.0)
    layer.set_weights(weights)
    assert_fresh(layer)
    layer.k_coef_lip = 2 * k
    np.testing.assert_allclose(singular_values(layer.wbar)[0], 2 * k, rtol=1e-5)


def test_the_stored_vector_is_where_the_next_step_goes_on():
    """Twenty steps of one power iteration are one step of twenty."""
    shared = {"units": 30, "inputs": 40, "kernel_initializer": "glorot_uniform", "eps_spectral": 1e-12}
    layer, other = built(maxiter_spectral=1, **shared), built(maxiter_spectral=20, **shared)
    other.kernel.assign(layer.kernel)
    other.u.assign(layer.u)
    found = []
    with nm.without_eigenvalues():  # which need no vector
        for _ in range(20):
            layer(np.ones((1, 40)), training=True)
            found.append(float(layer.sig[0, 0]))
        other(np.ones((1, 40)), training=True)
    assert found[-1] == pytest.approx(float(other.sig[0, 0]), rel=1e-5)
    np.testing.assert_allclose(layer.u, other.u, atol=1e-4)
    assert found[0] < found[-1] <= singular_values(layer.kernel)[0] * (1 + 1e-6)  # no iteration lowers the estimate
    assert tuple(layer.u.shape) == (1, 30)


def test_rounding_that_beats_the_margin_is_mended(monkeypatch):
    layer = built(k_coef_lip=2.0)
    honest = type(layer.parametrization).constrain

    def sloppy(self, kernel):  # as hardware that multiplies at reduced precision would
        wbar, state = honest(self, kernel)
        return wbar * 1.001, state

    monkeypatch.setattr(type(layer.parametrization), "constrain", sloppy)
    layer.refresh()
    assert 2 * (1 - 1e-5) < singular_values(layer.wbar)[0] <= 2


# --- NaN and Inf ---


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_weights_are_refused_eagerly(bad):
    with pytest.raises(ValueError, match="Received: 40 of 40 entries"):
        built(kernel_initializer=keras.initializers.Constant(bad))
    layer = built()
    kernel, wbar = np.array(layer.kernel), np.array(layer.wbar)
    kernel[1, 2] = bad
    layer.kernel.assign(kernel)
    for call in (layer.refresh, layer.condense, layer.vanilla_export, lambda: layer.set_klip_factor(2.0)):
        with pytest.raises(ValueError, match="1 of 40 entries are NaN or Inf"):
            call()
    np.testing.assert_array_equal(layer.wbar, wbar)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "jit_compile"),
    [({}, False), pytest.param({"eps_bjorck": None}, True, marks=pytest.mark.nightly)],
)
def test_a_compiled_step_keeps_the_last_finite_state_and_recovers(arguments, jit_compile):
    layer = SpectralDense(5, use_bias=False, **arguments)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(keras.optimizers.SGD(1e-2), "mse", jit_compile=jit_compile)
    x, y = np.ones((4, 8), "float32"), np.zeros((4, 5), "float32")
    assert np.isfinite(model.train_on_batch(x, y))
    good, wbar, u = np.array(layer.kernel), np.array(layer.wbar), np.array(layer.u)
    for bad in (np.nan, np.inf):
        layer.kernel.assign(np.full((8, 5), bad))
        assert not np.isfinite(model.train_on_batch(x, y))
        np.testing.assert_array_equal(layer.wbar, wbar)
        np.testing.assert_array_equal(layer.u, u)
        assert not np.isfinite(model.predict_on_batch(x)).any()  # the kernel that is there, not one that was
    layer.kernel.assign(good)
    assert np.isfinite(model.train_on_batch(x, y))
    layer.refresh()
    assert_fresh(layer)


# --- bad arguments ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k_coef_lip": 0}, "k_coef_lip"),
        ({"k_coef_lip": -1.0}, "k_coef_lip"),
        ({"k_coef_lip": np.nan}, "k_coef_lip"),
        ({"k_coef_lip": np.inf}, "k_coef_lip"),
        ({"k_coef_lip": "1"}, "k_coef_lip"),
        ({"k_coef_lip": None}, "k_coef_lip"),
        ({"k_coef_lip": True}, "k_coef_lip"),
        ({"eps_spectral": 0}, "eps_spectral"),
        ({"eps_spectral": None}, "eps_spectral"),
        ({"eps_bjorck": -1e-3}, "eps_bjorck"),
        ({"beta_bjorck": 0.51}, "beta"),
        ({"beta_bjorck": 0}, "beta"),
        ({"maxiter_spectral": -1}, "maxiter_spectral"),
        ({"maxiter_bjorck": 2.5}, "maxiter_bjorck"),
        ({"lora_rank": 2}, "LoRA"),
        ({"units": 0}, "units"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpectralDense(**{"units": 3, **arguments})


def test_more_bad_input():
    with pytest.raises(ValueError, match="disjoint_neurons"):
        FrobeniusDense(3, disjoint_neurons="yes")
    with pytest.raises(ValueError, match="beta_bjork"):  # a misspelled argument
        SpectralDense(3, beta_bjork=0.5)
    with pytest.raises(ValueError, match="build or call it first"):
        SpectralDense(3).condense()
    with pytest.raises(ValueError, match="build or call it first"):
        _ = SpectralDense(3).wbar
    with pytest.raises(ValueError, match="LoRA"):
        built().enable_lora(2)
    with pytest.raises(ValueError, match="vanilla_export"):
        built().quantize("int8")
    with pytest.raises(ValueError, match="axis -1"):
        built()(np.ones((2, 7)))
    with pytest.raises(ValueError, match="at least two axes"):
        SpectralInitializer()((3,))
    with pytest.raises(ValueError, match="k_coef_lip"):
        SpectralInitializer(k_coef_lip=-1)
    with pytest.raises(ValueError, match="nonsense"):
        SpectralInitializer(base_initializer="nonsense")


# --- Keras ---


def trained(cls, arguments, activation=None):
    layer = cls(activation=activation, kernel_initializer="glorot_uniform", **arguments)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(keras.optimizers.Adam(1e-1), "mse")
    width = model.output_shape[-1]
    model.fit(RNG.standard_normal((32, 8)), RNG.standard_normal((32, width)), epochs=2, verbose=0)
    layer.refresh()
    return model, layer


def test_an_activation_that_changes_the_shape_is_a_layer_of_its_own_in_the_export():
    layer = SpectralDense(3, activation=MaxMin())
    layer.build((None, 4))
    x = RNG.standard_normal((5, 4)).astype("float32")
    export = layer.vanilla_export()
    assert [type(part) for part in export.layers] == [keras.layers.Dense, MaxMin]
    np.testing.assert_allclose(export(x), layer(x), rtol=1e-6, atol=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("cls", "arguments", "activation"),
    [(SpectralDense, {}, None), (SpectralDense, {"eps_bjorck": None}, MaxMin), (FrobeniusDense, {}, GroupSort2)],
)
def test_every_copy_predicts_the_same(cls, arguments, activation, tmp_path):
    model, layer = trained(cls, {**arguments, "units": 6}, activation() if callable(activation) else activation)
    x = RNG.standard_normal((16, 8)).astype("float32")
    want = predicted(model, x)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predicted(loaded, x), want)
    assert type(loaded.layers[0]) is cls
    np.testing.assert_array_equal(loaded.layers[0].kernel, layer.kernel)

    model.save_weights(tmp_path / "model.weights.h5")
    clone = keras.models.clone_model(model)
    clone.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(predicted(clone, x), want)

    export = layer.vanilla_export()
    assert export.name == layer.name
    if activation is MaxMin:  # it doubles the features, and Keras's Dense knows nothing of that
        assert [type(part) for part in export.layers] == [keras.layers.Dense, MaxMin]
        assert export.output_shape == layer.compute_output_shape((None, 8))
    else:
        assert type(export) is keras.layers.Dense
    np.testing.assert_allclose(export(x), want, rtol=1e-6, atol=1e-6)

    layer.condense()
    np.testing.assert_array_equal(layer.kernel, layer.wbar)
    np.testing.assert_allclose(predicted(model, x), want, rtol=1e-5, atol=1e-5 * layer.k_coef_lip)


@all_layers
def test_config_round_trip(cls, arguments):
    layer = cls(5, activation="tanh", name="mine", **arguments)
    config = layer.get_config()
    assert cls.from_config(config).get_config() == config
    for name, value in arguments.items():
        assert config[name] == value
        assert getattr(layer, name) == value


def test_the_default_initializer_draws_anew_and_is_orthogonal():
    first, second = built(units=8), built(units=8)
    assert np.abs(np.array(first.kernel) - np.array(second.kernel)).max() > 1e-2
    np.testing.assert_allclose(singular_values(first.kernel), 1, atol=1e-5)
    config = SpectralInitializer(k_coef_lip=2.0, base_initializer=keras.initializers.GlorotUniform(seed=3)).get_config()
    rebuilt = SpectralInitializer.from_config(config)
    assert rebuilt.get_config() == config
    np.testing.assert_allclose(singular_values(rebuilt((3, 3, 2, 4))), 2, atol=1e-2)


@pytest.mark.parametrize(("policy", "exact"), [("mixed_bfloat16", "float32"), ("float64", "float64")])
def test_dtype_policies(policy, exact):
    layer = built(units=16, inputs=32, dtype=policy, kernel_initializer="glorot_uniform")
    x = np.eye(32)
    assert keras.backend.standardize_dtype(layer(x, training=True).dtype) == layer.compute_dtype
    assert keras.backend.standardize_dtype(layer.wbar.dtype) == exact
    assert np.abs(singular_values(layer.wbar) - 1).max() < 1e-3
    assert singular_values(layer.wbar)[0] <= 1
    reference = np.array(ops.cast(layer(x, training=False), "float64"))
    # Rows of ones and zeros add nothing up: entries of at most 1 are rounded to bfloat16, and in float64 not at all.
    np.testing.assert_allclose(reference, np.array(layer.wbar), rtol=0, atol=2.0**-8 if policy != "float64" else 0)


def test_rank_three_inputs_and_masks():
    layer = built(units=4, inputs=3)
    x = RNG.standard_normal((2, 6, 3)).astype("float32")
    assert tuple(layer(x).shape) == (2, 6, 4) == layer.compute_output_shape((2, 6, 3))
    masked = keras.layers.Masking()(np.zeros((2, 6, 3), "float32"))
    assert layer(masked)._keras_mask is not None


# --- gradients, in float32, against the float64 computation ---


@pytest.mark.parametrize("arguments", [{}, {"eps_bjorck": None}, {"beta_bjorck": 0.2, "maxiter_bjorck": 3}])
@pytest.mark.parametrize("values", [[1, 0.8, 0.6, 0.5], [1, 0.5, 1e-2, 1e-3]])
def test_the_layers_gradient_is_the_float64_one(arguments, values):
    kernel = with_spectrum((6, 4), values)
    weights = RNG.standard_normal((6, 4))
    result = {}
    for dtype in ("float32", "float64"):
        layer = built(units=4, inputs=6, dtype=dtype, use_bias=False, **arguments)
        layer.parametrization.u.assign(np.ones((1, 4)))
        result[dtype] = gradient(
            lambda w, layer=layer, dtype=dtype: ops.sum(
                tensor(weights, dtype) * layer.linear(ops.eye(6, dtype=dtype), layer.parametrization.constrain(w)[0])
            ),
            kernel.astype(dtype),
        )
    np.testing.assert_allclose(result["float32"], result["float64"], atol=2e-4 * np.abs(result["float64"]).max())


def test_disjoint_gradient_is_the_projection_on_the_sphere():
    kernel, weights = RNG.standard_normal((6, 4)), RNG.standard_normal((6, 4))
    layer = built(FrobeniusDense, units=4, inputs=6, dtype="float64")
    got = gradient(lambda w: ops.sum(tensor(weights, "float64") * layer.parametrization.constrain(w)[0]), kernel)
    norms = np.linalg.norm(kernel, axis=0)
    unit = kernel / norms
    np.testing.assert_allclose(got, (weights - unit * (unit * weights).sum(0)) / norms, rtol=0, atol=1e-13)
