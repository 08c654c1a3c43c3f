import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from lipviz import layers
from lipviz.explorers.layers import _LAYERS, LayerExplorer, _built, _measured
from tests.support import convolution_matrix

SMALL = {"units": 4, "channels": 4, "image": 4, "inputs": 5}


EXPLORER = LayerExplorer


def source(explorer):
    return explorer._image.panels


def statement(explorer):
    return explorer.statement(explorer.data)


def test_it_starts_with_an_orthogonal_layer(explorer):
    assert explorer.error is None
    data = explorer.data
    assert data.kind == "SpectralDense"
    np.testing.assert_allclose(data.spectrum.constrained, 1, atol=1e-3)
    assert "The layer keeps k = 1" in statement(explorer)
    assert f"{data.largest:.7f}" in statement(explorer)


@pytest.mark.covered_by_day
@pytest.mark.parametrize("beta", [0.5, 0.4, 0.05])
@pytest.mark.parametrize("maxiter", [0, 5])
@pytest.mark.parametrize(
    ("kind", "sizes", "arguments", "shape"),
    [
        ("SpectralDense", {"inputs": 6}, {"units": 4}, (6,)),
        ("SpectralDense", {"inputs": 3}, {"units": 4}, (3,)),
        (
            "SpectralConv2D",
            {"image": 5, "channels": 2, "bound": "tight", "kernel_size": 2, "stride": 1, "padding": "same"},
            {"filters": 4, "kernel_size": 2, "bound": "tight"},
            (5, 5, 2),
        ),
    ],
)
def test_a_layer_is_the_one_that_its_class_builds(kind, sizes, arguments, shape, beta, maxiter):
    made = _built(kind, seed=3, units=4, k=2.0, bjorck=True, maxiter=maxiter, beta=beta, **sizes)
    plain = getattr(layers, kind)(**arguments, k_coef_lip=2.0, maxiter_bjorck=maxiter, beta_bjorck=beta)
    plain.build((None, *shape))
    plain.parametrization.u.assign(np.random.default_rng(3).standard_normal((1, 4)))
    plain.kernel.assign(keras.initializers.GlorotUniform(seed=3)(plain.kernel.shape))
    plain.refresh()
    np.testing.assert_allclose(np.asarray(made.wbar), np.asarray(plain.wbar), atol=1e-6)


def test_layers_that_are_kept_are_measured_by_one_at_a_time(monkeypatch):
    """Explorers share them, and set them anew."""
    inside, most = 0, 0

    def slow(layer, seed):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        kept = np.asarray(layer.wbar).copy()
        time.sleep(0.02)
        np.testing.assert_array_equal(kept, np.asarray(layer.wbar).copy())
        inside -= 1
        return float(layer.k_coef_lip)

    monkeypatch.setattr("lipviz.explorers.layers.measure_layer", slow)
    settings = {"inputs": 5, "units": 3, "bjorck": True, "maxiter": 3, "beta": 0.5}
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda k: _measured("SpectralDense", *settings.items(), ("k", k)), [1.0, 2.0, 3.0, 4.0] * 2)
        assert list(found) == [1.0, 2.0, 3.0, 4.0] * 2
    assert most == 1


def test_a_state_of_the_last_release_names_the_raw_kernel_otherwise(explorer):
    with pytest.warns(DeprecationWarning, match="use `raw_kernel`") as found:
        explorer.state = {"layer": "Dense", "free": "ones"}
    assert [warning.filename for warning in found] == [__file__]
    assert (explorer.state["raw_kernel"], explorer.error) == ("ones", None)


@pytest.mark.parametrize("name", list(_LAYERS))
def test_every_layer_and_what_is_said_of_it(explorer, name):
    for k, kernel in ((1.0, "glorot"), (0.1, "ones")):
        explorer.state = {"layer": name, **SMALL, "k": k, "raw_kernel": kernel}
        assert explorer.error is None
        data = explorer.data
        assert data.kind == name
        assert ({"layer", *_LAYERS[name]} - {"maxiter", "beta"}) <= {
            n for n, control in explorer.controls.items() if not control.disabled}  # fmt: skip
        keeps = data.k is not None and data.largest <= data.k * (1 + 1e-6)
        assert ("keeps k" in statement(explorer)) is bool(keeps and data.is_sound)
        assert ("promises no constant" in statement(explorer)) is (data.k is None)
        assert data.largest <= data.bound.upper * (1 + 1e-9)
        assert (data.gains <= data.largest * (1 + 1e-9)).all()
        assert ("every direction" in statement(explorer)) is bool(data.smallest >= data.largest * (1 - 1e-3))
        columns, rows = explorer.table(data)
        assert len(rows) == len(data.spectrum.used)
        assert len(rows[0]) == len(columns)


@pytest.mark.covered_by_day
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("bound", ["coverage", "unsound_average"])
def test_convolutions_at_their_corners(explorer, padding, stride, bound):
    for kernel_size, image in ((1, 1), (1, 8), (3, 8)):
        explorer.state = {"layer": "SpectralConv2D", "units": 2, "channels": 1, "image": image, "stride": stride,
                          "kernel_size": kernel_size, "padding": padding, "bound": bound}  # fmt: skip
        assert explorer.error is None
        if bound == "coverage":
            assert explorer.data.keeps_k
    made = _built("SpectralConv2D", seed=0, image=8, channels=1, units=2, kernel_size=3, stride=stride,
                  padding=padding, k=1.0, bound=bound, bjorck=True, maxiter=15, beta=0.5)  # fmt: skip
    matrix = convolution_matrix(np.asarray(made.wbar), (8, 8), (stride,) * 2, padding)
    assert explorer.data.largest == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-6)


@pytest.mark.slow
def test_a_promise_that_is_not_kept(explorer):
    explorer.state = {"layer": "SpectralConv2D", "units": 16, "channels": 1, "bound": "unsound_average"}
    assert explorer.data.largest > 1.05
    assert "does not keep k = 1" in statement(explorer)
    explorer.state = {"bound": "tight"}
    assert "The layer keeps k = 1" in statement(explorer)
    explorer.state = {"layer": "BatchLipNorm", "variance": 0.01}
    assert "does not keep k" in statement(explorer)
    explorer.state = {"layer": "FrobeniusDense", "units": 16}
    assert "Each output by itself is 1-Lipschitz; the layer as a whole is not" in statement(explorer)
    explorer.state = {"disjoint": False}
    assert "The layer keeps k = 1" in statement(explorer)


@pytest.mark.slow
def test_moves_change_the_picture_and_come_back(explorer):
    before = source(explorer)
    for name, value in (("layer", "LayerCentering"), ("k", 10.0), ("bjorck", False), ("maxiter", 1), ("beta", 0.1),
                        ("inputs", 7), ("units", 30), ("raw_kernel", "ones"), ("seed", 2)):  # fmt: skip
        explorer.controls[name].value = value
        assert explorer.error is None
        assert source(explorer) != before, name
        explorer.reset()
        assert source(explorer) == before, name


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"layer": "InvertibleDownSampling", "pool": 4, "image": 6}, "divides"),
        ({"layer": "InvertibleUpSampling", "channels": 3}, "divides"),
        ({"layer": "SpectralConv2D", "padding": "valid", "kernel_size": 5, "image": 3}, "kernel"),
        ({"layer": "SpectralConv2D", "units": 64}, "at most 2048"),
        ({"beta": 0.9}, "0.5"),
        ({"units": 1000}, "1 to 64"),
    ],
)
def test_bad_values_are_explained_in_place(explorer, state, message):
    explorer.state = state
    assert message in str(explorer.error)
    assert 'role="alert"' in explorer._alert.value
    explorer.reset()
    assert explorer.error is None


def test_ones_own():
    layer = layers.SpectralConv2D(3, 3, name="mine")
    layer.build((None, 5, 5, 2))
    explorer = LayerExplorer(layer)
    assert explorer.error is None
    matrix = convolution_matrix(np.asarray(layer.wbar), (5, 5), (1, 1), "same")
    assert explorer.data.largest == pytest.approx(np.linalg.norm(matrix, 2))
    layer.set_klip_factor(3.0)
    explorer.refresh()
    assert explorer.data.k == 3
    assert [n for n, control in explorer.controls.items() if not control.disabled] == ["layer"]
    explorer.close()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (keras.layers.Dense(3), "must be built"),
        (layers.GroupSort2(), "must be built"),
        (keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(3)]), "single Keras layer"),
        (np.ones((3, 3)), "single Keras layer"),
        ("SpectralDense", "single Keras layer"),
        (layers.LipResidual(), "must be built"),
    ],
)
def test_what_cannot_be_measured_is_explained(own, message):
    explorer = LayerExplorer(own)
    assert message in str(explorer.error)
    explorer.state = {"layer": "SpectralDense"}
    assert explorer.error is None
    explorer.close()
