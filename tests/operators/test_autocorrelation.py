"""The bound of a convolution by its autocorrelation, against explicit matrices in float64."""

import math

import numpy as np
import pytest

from lipviz import certify
from lipviz.layers import AOCConv2D, AOCConv2DTranspose
from lipviz.operators import autocorrelation
from lipviz.operators.autocorrelation import autocorrelation_bound
from lipviz.operators.convolution import Convolution
from lipviz.operators.convolution_bounds import convolution_bound, size_free_bound
from lipviz.operators.singular_values import explicit_matrix

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "strides", "dilations"),
    [
        ((3, 3, 2, 3), (1, 1), (1, 1)),
        ((3, 2, 3, 1), (1, 1), (2, 3)),
        ((4, 3, 1, 5), (2, 3), (1, 1)),
        ((3, 3, 2, 2), (2, 1), (3, 2)),
        ((5, 2, 2), (2,), (1,)),
    ],
)
@pytest.mark.parametrize("kind", ["gaussian", "positive", "large", "tiny", "zero"])
def test_no_convolution_exceeds_it(shape, strides, dilations, kind):
    kernel = RNG.standard_normal(shape)
    kernel = {"positive": np.abs(kernel), "large": 1e6 * kernel, "tiny": 1e-9 * kernel, "zero": 0 * kernel}.get(
        kind, kernel
    )
    bound = autocorrelation_bound(kernel, strides, dilations)
    for size in (4, 9):
        for padding in ("same", "valid") if size == 9 else ("same",):
            operator = Convolution(kernel, (size,) * len(strides), strides, padding, dilations)
            norm = np.linalg.norm(explicit_matrix(operator), 2)
            assert norm <= bound * (1 + 1e-12)
            if kind == "positive" and size == 9 and padding == "same":
                assert norm >= 0.7 * bound


def test_it_is_the_norm_of_patches_that_do_not_overlap_and_of_orthogonal_kernels():
    matrix = np.linalg.qr(RNG.standard_normal((8, 3)))[0]
    assert autocorrelation_bound(matrix.reshape(2, 2, 2, 3), (2, 2), (1, 1)) == pytest.approx(1, abs=1e-12)
    for layer in (AOCConv2D(6, 3), AOCConv2D(8, 3, 2, groups=2), AOCConv2DTranspose(3, 3, 2)):
        layer.build((None, 24, 24, 4))
        for shape in ((None, None, 4), (24, 24, 4)):
            assert 1 - 1e-4 <= certify(layer, shape, search=False).upper_bound <= 1 + 1e-9


def test_bounds_of_convolutions_take_it_where_it_is_the_smallest():
    layer = AOCConv2D(16, 5)
    layer.build((None, 40, 40, 16))
    kernel = np.asarray(layer.wbar, np.float64)
    found = convolution_bound(Convolution(kernel, (40, 40), padding="same"))
    assert found.lower <= found.upper <= 1 + 1e-9
    assert size_free_bound(kernel) <= 1 + 1e-9


def test_a_bound_that_would_take_long_is_left_out(monkeypatch):
    monkeypatch.setattr(autocorrelation, "_MOST", 100)
    assert autocorrelation_bound(np.ones((3, 3, 2, 2)), (1, 1), (1, 1)) == math.inf
