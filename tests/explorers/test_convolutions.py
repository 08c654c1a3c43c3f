import itertools

import keras
import numpy as np
import pytest

from lipviz import layers
from lipviz.explorers.convolutions import ConvolutionExplorer
from lipviz.measure.claims import sample_kernel
from tests.support import convolution_matrix

EXPLORER = ConvolutionExplorer


def source(explorer):
    return explorer._image.panels


def statement(explorer):
    return explorer.statement(explorer.data)


def test_it_starts_with_a_claim_that_is_too_small(explorer):
    assert explorer.error is None
    kernel = sample_kernel("checkerboard", 3, 1, 16, orthogonal=True)
    norm = np.linalg.norm(convolution_matrix(kernel, (5, 5), (1, 1), "same"), 2)
    assert explorer.data.norm == pytest.approx(norm)
    assert "The plain FFT promises 1, but the norm is 1.089: 8.9 % too large." in statement(explorer)
    assert explorer.data.gains.max() > 2 * explorer.data.gains.min()  # there is a curve to see


@pytest.mark.slow
def test_every_corner(explorer):
    values = {
        "kernel": ("random", "all ones", "smooth", "checkerboard", "edge"),
        "size": (1, 7),
        "channels": (1, 4),
        "filters": (1, 16),
        "orthogonal": (True, False),
        "image": (3, 6),
        "stride": (1, 4),
        "padding": ("same", "valid"),
        "view": ("gains", "spectrum"),
    }
    corners = list(itertools.product(*values.values()))
    for corner in np.random.default_rng(0).choice(len(corners), 24, replace=False):
        state = dict(zip(values, corners[corner], strict=True))
        explorer.state = state
        if state["padding"] == "valid" and state["size"] > state["image"]:
            assert "smaller than the kernel" in str(explorer.error)
            continue
        assert explorer.error is None, state
        data = explorer.data
        kernel = sample_kernel(*(state[n] for n in ("kernel", "size", "channels", "filters", "orthogonal")))
        geometry = (state["image"],) * 2, (state["stride"],) * 2, state["padding"]
        norm = np.linalg.norm(convolution_matrix(kernel, *geometry), 2)
        assert data.norm == pytest.approx(norm, rel=1e-7)
        assert (data.claims[:2] >= norm * (1 - 1e-9)).all()
        assert ("too large" in statement(explorer)) is bool((data.claims[2:] < norm * (1 - 1e-9)).any())


def test_the_largest_image(explorer):
    explorer.state = {"image": 32, "channels": 2, "filters": 2}
    assert explorer.error is None
    assert not explorer.data.is_below_norm[:2].any()
    explorer.state = {"view": "spectrum"}
    assert "up to 600" in str(explorer.error)
    explorer.state = {"image": 10}
    assert explorer.error is None
    assert len(explorer.data.spectrum) == 200


def test_moves_change_the_picture_and_come_back(explorer):
    explorer.reset()
    opening = source(explorer)
    explorer.state = {"kernel": "random", "image": 8}
    start, before = explorer.state, source(explorer)
    assert before != opening
    moves = {"kernel": "all ones", "size": 4, "channels": 2, "filters": 2, "orthogonal": False, "image": 5,
             "stride": 2, "padding": "valid"}  # fmt: skip
    for name, value in moves.items():
        explorer.controls[name].value = value
        assert explorer.error is None
        assert source(explorer) != before
        explorer.state = start
        assert source(explorer) == before
    explorer.reset()
    assert source(explorer) == opening


def test_the_seed_matters_to_random_kernels_only(explorer):
    explorer.state = {"kernel": "all ones"}
    assert explorer.controls["seed"].disabled
    before = explorer.data
    explorer.state = {"seed": 5}
    assert explorer.data.gains is before.gains
    explorer.state = {"kernel": "smooth"}
    assert not explorer.controls["seed"].disabled


def test_the_table_for_files(explorer):
    columns, rows = explorer.table(explorer.data)
    assert len(rows) == 4
    assert all(len(row) == len(columns) for row in rows)
    assert [row[2] for row in rows] == explorer.data.after.tolist()


def test_ones_own_layer():
    layer = layers.SpectralConv2D(4, 3, strides=2, padding="valid", k_coef_lip=2.0)
    layer.build((None, 9, 9, 2))
    explorer = ConvolutionExplorer(layer)
    assert explorer.error is None
    assert {name: explorer.state[name] for name in ("kernel", "image", "stride", "padding")} == {
        "kernel": "yours", "image": 9, "stride": 2, "padding": "valid"}  # fmt: skip
    matrix = convolution_matrix(np.asarray(layer.wbar), (9, 9), (2, 2), "valid")
    assert explorer.data.norm == pytest.approx(np.linalg.norm(matrix, 2))
    assert explorer.controls["size"].disabled
    explorer.close()


def test_ones_own_kernel():
    kernel = 3 * sample_kernel("random", 2, 1, 3)
    explorer = ConvolutionExplorer(kernel)
    assert explorer.data.kernel_norm == pytest.approx(3)
    explorer.state = {"kernel": "edge"}
    assert explorer.data.kernel_norm == pytest.approx(1)
    explorer.close()
    explorer = ConvolutionExplorer(np.zeros((3, 3, 1, 1)))
    assert "is zero" in statement(explorer)
    explorer.close()


def built(layer, *shape):
    layer.build((None, *shape))
    return layer


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (lambda: keras.layers.Conv2D(2, 3), "must be built"),
        (lambda: built(keras.layers.Conv2D(2, 3), None, None, 1), "not known"),
        (lambda: built(keras.layers.Dense(2), 3), "2-D convolution"),
        (lambda: built(keras.layers.Conv2D(2, 3, dilation_rate=2), 8, 8, 1), "without dilation"),
        (lambda: built(keras.layers.ReLU(), 3), "linear"),
        (lambda: np.ones((3, 3)), r"shape: (3, 3)"),
        (lambda: np.full((3, 3, 1, 1), np.inf), "finite"),
        (lambda: "kernel", "real numbers"),
    ],
)
def test_what_cannot_be_used_is_explained(own, message):
    explorer = ConvolutionExplorer(own())
    assert message in str(explorer.error)
    assert 'role="alert"' in explorer._alert.value
    explorer.state = {"kernel": "random"}
    assert explorer.error is None
    explorer.close()
