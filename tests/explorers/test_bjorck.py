import itertools
import re

import keras
import numpy as np
import pytest

from lipviz import data, layers, measure, operators
from lipviz import normalizers as nm
from lipviz.explorers import BjorckExplorer, digits

EXPLORER = BjorckExplorer


@pytest.fixture
def trainings(monkeypatch, uncompiled):
    """Short trainings on few digits, none remembered; a list with an item for each."""
    done, all_digits = [], data.digits
    monkeypatch.setattr(data, "digits", lambda: done.append(1) or all_digits(n_train=128))
    monkeypatch.setattr(digits, "_EPOCHS", 2)
    digits._trained.cache_clear()
    yield done
    digits._trained.cache_clear()


def source(explorer):
    """What the page shows as a picture: the sources of both panels."""
    return explorer._image.panels


def words(explorer):
    """The text below the picture, without its tags."""
    return re.sub(r"<[^>]*>", " ", explorer._results.value)


def kernel_names(control):
    return [value for _, value in control.options]


def test_it_starts_at_the_settings_of_the_layers(explorer):
    state = explorer.state
    assert state["kernel"] == "random"
    layer = layers.SpectralDense(2)
    for name in ("eps_spectral", "eps_bjorck", "beta_bjorck", "maxiter_spectral", "maxiter_bjorck"):
        assert state[name] == getattr(layer, name)


def test_what_it_shows_is_what_is_measured(explorer):
    explorer.state = {
        "rows": 20,
        "columns": 8,
        "smallest": 0.02,
        "spectrum": "geometric",
        "beta_bjorck": 0.3,
        "seed": 4,
    }
    kernel = operators.random_kernel(20, 8, 0.02, "geometric", 4)
    expected = measure.bjorck_convergence(kernel, beta_bjorck=0.3, seed=4)
    np.testing.assert_allclose(explorer.data.constrained, expected.constrained, atol=1e-6)
    assert explorer.data.iterations == expected.iterations
    np.testing.assert_allclose(explorer.data.raw, np.geomspace(1, 0.02, 8), rtol=1e-12)


def test_the_bound_and_the_end_are_said_in_words(explorer):
    assert "Every singular value of what the layer uses is at most 1" in words(explorer)
    assert f"σmax = {explorer.data.constrained[0]:.7f}" in words(explorer)
    assert f"Björck stopped after {explorer.data.iterations} of 15 iterations" in words(explorer)
    assert "&lt; eps_bjorck" in words(explorer)
    explorer.state = {"maxiter_bjorck": 3}
    assert "used all its 3 iterations" in words(explorer)
    assert "it has not converged" in words(explorer)
    explorer.state = {"maxiter_bjorck": 0}
    assert "normalized only" in words(explorer)


def test_every_number_is_read_out(explorer):
    for text in (f"{explorer.data.sigma_bound:.7g}", f"{explorer.data.iterations} of 15", " ms"):
        assert text in words(explorer)
    assert f"{explorer.data.constrained[-1]:.7f}" in words(explorer)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel", "initialized"),
        ("rows", 30),
        ("columns", 30),
        ("spectrum", "geometric"),
        ("smallest", 1e-3),
        ("seed", 7),
        ("eps_bjorck", 1e-6),
        ("beta_bjorck", 0.2),
        ("maxiter_bjorck", 4),
        ("maxiter_spectral", 0),
    ],
)
def test_every_control_moves_the_picture(explorer, name, value):
    before = source(explorer)
    control = explorer.controls[name]
    # The front end sends the position in a list.
    sent = {"index": kernel_names(control).index(value)} if hasattr(control, "options") else {"value": value}
    control.set_state(sent)
    assert explorer.error is None
    assert explorer.state[name] == value
    assert source(explorer) != before
    explorer.reset()
    assert source(explorer) == before


def test_eps_spectral_reaches_the_power_iteration(explorer):
    kernel = {"rows": 8, "columns": 8, "spectrum": "geometric", "smallest": 1e-3}
    explorer.state = {**kernel, "maxiter_spectral": 50, "eps_spectral": 1e-6}
    assert explorer.data.sigma_estimate == pytest.approx(1, abs=1e-6)
    explorer.state = {"eps_spectral": 1.0}
    assert explorer.data.sigma_estimate < 1 - 1e-4


def test_soundness_at_every_corner(explorer):
    corners = itertools.product((0.01, 0.5), (1, 50), (1e-4, 1.0))
    for beta, maxiter, smallest in corners:
        explorer.state = {"beta_bjorck": beta, "maxiter_bjorck": maxiter, "smallest": smallest, "rows": 16}
        assert explorer.error is None
        assert explorer.data.constrained[0] <= 1


# --- kernels ---


def test_a_fresh_kernel(explorer):
    explorer.state = {"kernel": "initialized", "rows": 10, "columns": 6, "seed": 2}
    expected = np.asarray(keras.initializers.GlorotUniform(seed=2)((10, 6)), np.float64)
    np.testing.assert_allclose(explorer.data.raw, np.linalg.svd(expected, compute_uv=False))
    assert [name for name, control in explorer.controls.items() if control.disabled] == ["spectrum", "smallest", "step"]


@pytest.mark.nightly
def test_kernels_of_a_network_that_learned_digits(explorer, trainings):
    said = []
    explorer._results.observe(lambda change: said.append(change["new"]), names="value")
    explorer.state = {"kernel": "digits: first"}
    assert explorer.error is None
    assert explorer.data.shape == (64, 64)
    assert any("epoch 2 of 2" in text for text in said)
    assert {"rows", "columns", "spectrum", "smallest", "step"} == {
        n for n, c in explorer.controls.items() if c.disabled
    }
    explorer.state = {"kernel": "digits: last"}
    assert explorer.data.shape == (32, 10)
    other = BjorckExplorer()
    other.state = {"kernel": "digits: second"}
    assert other.data.shape == (64, 32)
    assert trainings == [1]
    other.close()


@pytest.mark.nightly
def test_training_leaves_the_global_seeds_alone(trainings):
    kernels, draws = [], []
    for _ in range(2):
        digits._trained.cache_clear()
        keras.utils.set_random_seed(1)
        kernels.append(digits.digits_kernels(lambda text: None)["first"])
        draws.append(np.asarray(keras.random.normal((3,))))
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(draws, [np.asarray(keras.random.normal((3,)))] * 2)
    np.testing.assert_allclose(*kernels, atol=1e-5)


def test_ones_own_array():
    kernel = 5 * operators.random_kernel(6, 4, 0.5)
    explorer = BjorckExplorer(kernel)
    assert kernel_names(explorer.controls["kernel"])[0] == explorer.state["kernel"] == "yours: kernel"
    np.testing.assert_allclose(explorer.data.raw, np.linspace(5, 2.5, 4))
    explorer.state = {"kernel": "random"}
    assert explorer.data.raw[0] == pytest.approx(1)
    explorer.close()


@pytest.mark.slow
def test_ones_own_layer_and_model():
    model = keras.Sequential(
        [
            keras.layers.Input((5, 5, 1)),
            keras.layers.Conv2D(3, 2, name="conv"),
            keras.layers.Flatten(),
            layers.SpectralDense(4, name="dense"),
        ]
    )
    explorer = BjorckExplorer(kernel=model)
    assert kernel_names(explorer.controls["kernel"])[:2] == ["yours: conv", "yours: dense"]
    assert explorer.data.shape == (4, 3)
    explorer.state = {"kernel": "yours: dense"}
    assert explorer.data.shape == (48, 4)
    explorer.close()
    explorer = BjorckExplorer(model.layers[-1])
    assert kernel_names(explorer.controls["kernel"])[0] == "yours: dense"
    explorer.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.full((3, 3), np.nan), "9 of 9 entries are NaN or Inf"),
        (np.ones(3), "shape: (3,)"),
        (np.full((2, 2), 1e300), "float32"),
        ("kernel", "real numbers"),
        (keras.layers.Dense(3), "built"),
        (object(), "real numbers"),
    ],
)
def test_a_kernel_that_cannot_be_used_is_explained(kernel, message):
    explorer = BjorckExplorer(kernel)
    assert message in str(explorer.error)
    assert 'role="alert"' in explorer._alert.value
    explorer.state = {"kernel": "random"}
    assert explorer.error is None
    assert explorer._alert.value == ""
    explorer.close()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta_bjorck": 0.9}, "]0, 0.5]. Received: 0.9"),
        ({"eps_bjorck": -1.0}, "positive"),
        ({"eps_spectral": float("nan")}, "eps_spectral"),
        ({"maxiter_bjorck": 1000}, "0 to 50"),
        ({"kernel": "mine"}, "'random', 'initialized'"),
    ],
)
def test_bad_values_are_explained_in_place(explorer, values, message):
    before = explorer.state
    explorer.state = values
    assert message in str(explorer.error)
    assert explorer.state == before
    assert explorer.state["beta_bjorck"] == nm.DEFAULT_BETA_BJORCK
    explorer.reset()
    assert explorer.error is None
