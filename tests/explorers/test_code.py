"""The code of an explorer makes what it shows: it is run, and its results are compared with the explorer's."""

import ast
import dataclasses

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from lipviz import explorers, layers, toys
from lipviz.explorers import certificates
from lipviz.explorers.shell.live import ExplorerFigure
from tests.support import living_widgets

pytestmark = pytest.mark.usefixtures("uncompiled")
KERNEL = np.random.default_rng(0).standard_normal((6, 4))
POINTS = np.random.default_rng(1).uniform(-1, 1, (30, 2))
CLASSES = np.arange(30) % 3
IMAGES = np.random.default_rng(2).uniform(0, 1, (20, 16))


def network(inputs=2, outputs=3):
    return toys.toy_network("groupsort2", 8, 1, inputs=inputs, outputs=outputs)


def convolution():
    layer = layers.SpectralConv2D(3, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=0))
    layer.build((None, 6, 6, 2))
    return layer


def dense():
    layer = layers.SpectralDense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=0), name="mine")
    layer.build((None, 4))
    return layer


STATES_BY_DAY = 3
# Short name of an explorer, what is given to it, and states.
CASES = [
    (
        "bjorck",
        {"kernel": KERNEL},
        [
            {},
            {"kernel": "random", "rows": 9, "columns": 5, "smallest": 0.02, "spectrum": "one small", "seed": 3},
            {"kernel": "initialized", "rows": 5, "columns": 7, "eps_spectral": 1e-5, "beta_bjorck": 0.3},
            {"kernel": "random", "maxiter_bjorck": 0, "maxiter_spectral": 4},
            {"kernel": "random", "view": "motion", "maxiter_bjorck": 9, "step": 3.4},
            {"kernel": "random", "view": "map"},
        ],
    ),
    (
        "layers",
        {"layer": dense()},
        [
            {},
            {"layer": "SpectralDense", "inputs": 5, "units": 7, "k": 2.0, "seed": 2, "maxiter": 4, "beta": 0.3},
            {"layer": "SpectralDense", "bjorck": False, "raw_kernel": "orthogonal", "maxiter": 4},
            {"layer": "SpectralConv2D", "units": 3, "image": 4, "stride": 2, "bound": "tight", "padding": "valid"},
            {"layer": "ScaledL2NormPooling2D", "pool": 3, "k": 0.5},
            {"layer": "BatchLipNorm", "variance": 0.5},
            {"layer": "Conv2D", "units": 2, "kernel_size": 2},
        ],
    ),
    (
        "activations",
        {"activation": "softsign"},
        [
            {},
            {"activation": "groupsort", "group": 2, "channels": 6, "place": -0.5, "seed": 2},
            {"activation": "householder", "angle": 60, "view": "plane"},
            {"activation": "prelulip", "slope": -0.5},
            {"activation": "abs"},
            {"activation": "relu", "channels": 3},
        ],
    ),
    (
        "gradients",
        {"model": network(), "x": POINTS},
        [
            {},
            {"output": 1},
            {"network": "random", "first": "tanh", "depth": 20, "width": 16, "seed": 4},
            {"network": "random", "first": "abs", "second": "abs", "depth": 5},
            {"view": "motion", "network": "random", "first": "relu", "depth": 8, "step": 3},
            {"view": "motion", "network": "yours", "output": 1, "step": 1},
        ],
    ),
    (
        "convolutions",
        {"convolution": convolution()},
        [
            {},
            {"kernel": "smooth", "size": 2, "channels": 2, "filters": 3, "orthogonal": False, "seed": 1},
            {"kernel": "edge", "image": 5, "stride": 2, "padding": "valid", "view": "spectrum"},
            {"kernel": "random", "image": 5, "view": "motion", "step": 7},
        ],
    ),
    ("cone", {}, [{}, {"function": "root", "place": -0.3, "k": 1.2}]),
    ("fooled", {}, [{}, {"image": 3, "strength": 2.0}]),
    (
        "tradeoff",
        {},
        [{}, {"loss": "hkr", "alpha": 100.0, "margin": 0.3, "by_radius": False, "epsilon": 1.0}],
    ),
    (
        "kinds",
        {},
        [{}, {"family": "convolutions", "depth": 2, "padding": "valid", "seed": 3, "aol_conv2d": False}],
    ),
    (
        "certificates",
        {"model": network(16), "x": IMAGES, "y": np.arange(20) % 3},
        [{}, {"image": 4, "order": "radius", "epsilon": 0.2, "bound": "local"}],
    ),
    ("boundaries", {"x": POINTS, "y": CLASSES}, [{}, {"points": "gaussians", "steps": 50, "width": 4, "depth": 1}]),
    (
        "wasserstein",
        {"x": POINTS, "y": POINTS + 1},
        [
            {},
            {"view": "motion", "step": 30},
            {"view": "potential", "clouds": "moons", "steps": 50, "width": 4, "alpha": 2.0},
        ],
    ),
]


@pytest.fixture
def stop_rendering(monkeypatch):
    """Function after which figures are drawn as before, but no images are made of them."""

    def stopped():
        monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
        monkeypatch.setattr(ExplorerFigure, "panels", lambda self, alt: self.latest)

    return stopped


def run(explorer, given):
    """Run the code of an explorer, and return what it made."""
    text = explorer.code()
    made = dict(given)
    exec(compile(text, "code of the explorer", "exec"), made)
    assert isinstance(ast.parse(text).body[-1], ast.Expr)  # a notebook shows the picture
    return made


def assert_same(made, shown):
    """Compare all numbers of two measurements. The time that one took, and names of layers, are left out."""
    if dataclasses.is_dataclass(made):
        for field in dataclasses.fields(made):
            if field.name not in ("seconds", "name"):
                assert_same(getattr(made, field.name), getattr(shown, field.name))
    elif isinstance(made, tuple | list):
        assert len(made) == len(shown)
        for one, other in zip(made, shown, strict=True):
            assert_same(one, other)
    elif made is None:
        assert shown is None
    elif not isinstance(made, str):
        np.testing.assert_allclose(made, shown, rtol=1e-4, atol=1e-6)


def assert_makes_what_is_shown(explorer, given):
    made = run(explorer, given)
    assert explorer.error is None
    parts = [name for name in ("way", "spectra") if hasattr(explorer.data, name)]
    assert_same(made["result"], getattr(explorer.data, parts[0]) if parts else explorer.data)
    for name in {"moment", "networks"} & made.keys():
        assert_same(made[name], getattr(explorer.data, name))
    titles = [[ax.get_title() for ax in figure.axes] for figure in (made["figure"], explorer.figure)]
    assert titles[0] == titles[1]


@pytest.mark.covered_by_day
@pytest.mark.slow
@pytest.mark.parametrize(("name", "given", "states"), CASES, ids=[case[0] for case in CASES])
def test_the_code_makes_what_is_shown_and_closing_leaves_nothing(name, given, states, stop_rendering, pytestconfig):
    if not pytestconfig.option.nightly:
        states = states[:STATES_BY_DAY]
    before = living_widgets()
    explorer = explorers.find(name).load()(**given)
    for state in states:
        explorer.state = state
        if explorer.restarts & state.keys():  # the state begins a training, of which a few steps are enough
            explorer.step()
            explorer.wait()
        assert_makes_what_is_shown(explorer, given)
        stop_rendering()  # an image of the first state is enough: numbers and titles are compared
    explorer.close()
    assert living_widgets() == before


@pytest.mark.nightly
def test_the_code_trains_what_was_trained_here(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_STEPS", 2)
        patch.setattr(certificates, "_TRAINED", {})
        explorer = explorers.find("certificates").load()()
        explorer.wait()
        assert explorer.data.step == 2
        assert_makes_what_is_shown(explorer, {})
        explorer.close()

    given = {"train": (IMAGES, np.arange(20) % 2), "test": (IMAGES, np.arange(20) % 2)}
    explorer = explorers.find("tradeoff").load()(**given)
    explorer.controls["steps"].min = 2
    explorer.state = {"steps": 2, "width": 8, "loss": "hkr"}
    explorer.start()
    explorer.wait()
    assert len(explorer.data) == 1
    assert_makes_what_is_shown(explorer, given)
    explorer.close()


@pytest.mark.nightly
def test_the_code_trains_the_kinds_that_were_trained_here():
    given = {"train": (IMAGES.reshape(20, 4, 4, 1), np.arange(20) % 3)}
    given["test"] = given["train"]
    explorer = explorers.find("kinds").load()(**given)
    explorer.controls["steps"].min = 2
    boxes = {name: name == "aol_dense" for name, value in explorer.state.items() if isinstance(value, bool)}
    explorer.state = {"steps": 2, **boxes}
    explorer.start()
    explorer.wait()
    assert explorer.data.live == ("AOLDense",)
    assert_makes_what_is_shown(explorer, given)
    explorer.close()


@pytest.mark.slow
def test_an_attack_is_part_of_the_code():
    given = {"model": network(16), "x": IMAGES, "y": np.arange(20) % 3}
    explorer = explorers.find("certificates").load()(**given)
    explorer.start()
    explorer.wait()
    assert explorer.data.attack is not None
    assert_makes_what_is_shown(explorer, given)
    explorer.close()
