"""Spectra of stacks of layers of one kind, against layers that are built here, and matrices in float64."""

import keras
import numpy as np
import pytest

from lipviz import measure, operators
from lipviz.measure import CONVOLUTION_KINDS, DENSE_KINDS, kind_spectra, layer_kind

ORTHOGONAL = ("SpectralDense", "CayleyDense", "BRODense")
KERNEL_BITS = 1e-6  # a layer built here starts its power iteration elsewhere, and rounds a float32 kernel otherwise


@pytest.fixture(scope="module")
def dense():
    return {depth: kind_spectra(depth=depth, smallest=0.05) for depth in (1, 3)}


def layer(kind, shape, smallest):
    """A layer of a kind with the raw kernel of the measurement."""
    made = kind.make(shape[-1], dtype="float32")
    made.build((None, *shape))
    size = made.raw_kernel.shape
    made.raw_kernel.assign(operators.random_kernel(np.prod(size[:-1]), size[-1], smallest, seed=0).reshape(size))
    made.refresh()
    return made


def of_kind(spectra, title):
    return dict(zip((kind.title for kind in spectra.kinds), spectra.values, strict=True))[title]


@pytest.mark.parametrize("kind", [kind for kind in DENSE_KINDS if not kind.is_block], ids=lambda kind: kind.title)
def test_one_dense_layer_has_the_singular_values_of_its_kernel(dense, kind):
    expected = measure.singular_values(layer(kind, (64,), 0.05)).used
    np.testing.assert_allclose(of_kind(dense[1], kind.title), expected, atol=KERNEL_BITS)


@pytest.mark.slow
@pytest.mark.parametrize("title", ["SpectralConv2D", "AOLConv2D", "AOCConv2D", "FrobeniusConv2D"])
def test_one_convolution_has_the_singular_values_of_its_whole_map(title):
    kind = layer_kind(title)
    expected = measure.operator_spectra(layer(kind, (6, 6, 4), 0.1)).used
    (values,) = kind_spectra([kind]).values
    np.testing.assert_allclose(values, expected, atol=KERNEL_BITS)


@pytest.mark.slow
@pytest.mark.parametrize("title", ["SLLDense", "SLLConv2D"])
def test_a_block_is_linearized_at_an_input(title):
    """Its Jacobian is symmetric with eigenvalues in [-1, 1], and is I where no hidden value is positive."""
    kind = layer_kind(title)
    shape = (64,) if kind.is_dense else (6, 6, 4)
    block = measure.float64_layer(layer(kind, shape, 0.1), shape)
    x = np.random.default_rng([0, 1]).standard_normal(shape)
    units = 1e-6 * np.eye(x.size).reshape(-1, *shape)
    moved = keras.ops.convert_to_numpy(block(np.concatenate([x + units, x - units]))).reshape(2, x.size, x.size)
    jacobian = (moved[0] - moved[1]) / 2e-6
    (values,) = kind_spectra([kind]).values
    np.testing.assert_allclose(values, np.linalg.svd(jacobian, compute_uv=False), atol=1e-5)
    assert np.ptp(values) > 0.1


def test_orthogonal_layers_keep_all_singular_values_at_every_depth(dense):
    for title in ORTHOGONAL:
        for depth, spectra in dense.items():
            values = of_kind(spectra, title)
            assert 1 - 1e-3 * depth <= values[-1] <= values[0] <= 1 + 1e-12


def test_singular_values_of_other_layers_multiply(dense):
    """The gains of a product of two matrices lie between the products of their extremes (Horn 1950)."""
    for title in {kind.title for kind in DENSE_KINDS if not kind.is_block} - set(ORTHOGONAL):
        one, three = of_kind(dense[1], title), of_kind(dense[3], title)
        assert one[-1] ** 3 * (1 - 1e-9) <= three[-1] <= three[0] <= one[0] ** 3 * (1 + 1e-9)
        np.testing.assert_allclose(np.log(three).sum(), 3 * np.log(one).sum(), rtol=1e-6)  # determinants multiply
    assert dense[3].gain[1] < dense[1].gain[1] ** 2


def test_the_numbers_of_a_kind_are_those_of_its_spectrum(dense):
    spectra = dense[3]
    assert len(spectra) == len(DENSE_KINDS)
    np.testing.assert_allclose(spectra.median, [np.median(values) for values in spectra.values])
    np.testing.assert_allclose(spectra.gain, [np.sqrt(np.mean(values**2)) for values in spectra.values])
    assert (spectra.raw[0], spectra.raw[-1], len(spectra.raw)) == (1.0, 0.05, 64)


@pytest.mark.slow
def test_what_padding_costs():
    aoc, bro = layer_kind("AOCConv2D"), layer_kind("BROConv2D")
    spectra = {padding: kind_spectra(CONVOLUTION_KINDS, depth=2, padding=padding) for padding in ("valid", "circular")}
    for padding in spectra:
        np.testing.assert_allclose(of_kind(spectra[padding], aoc.title), 1, atol=1e-4)
    assert [kind.title for kind in spectra["valid"].left_out] == ["BROConv2D", "SLLConv2D"]
    assert spectra["circular"].kinds == (aoc, bro)
    np.testing.assert_allclose(of_kind(spectra["circular"], bro.title), 1, atol=1e-3)
    assert len(spectra["valid"].values[0]) == 2 * 2 * 4  # 6 × 6 without two borders
    zeros = kind_spectra([aoc], depth=2).values[0]
    assert zeros[0] > 1 - 1e-4 > 0.9 > zeros[-1]


def test_the_seed_of_keras_does_not_matter():
    kinds, found = [layer_kind("SpectralDense(eps_bjorck=None)")], []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        found.append(kind_spectra(kinds, smallest=0.3 + 1e-13 * seed).values[0])  # two that are not kept
    np.testing.assert_allclose(found[0], found[1], atol=KERNEL_BITS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kinds": []}, "Received: none"),
        ({"kinds": [DENSE_KINDS[0], CONVOLUTION_KINDS[0]]}, "all dense or all convolutions"),
        ({"depth": 0}, "`depth` must be at least 1"),
        ({"smallest": -0.1}, r"`smallest` must be in \[0, 1\]. Received: -0.1"),
        ({"smallest": float("nan")}, "`smallest` must be in"),
        ({"padding": "reflect"}, "`padding` must be one of 'same'"),
        ({"kinds": CONVOLUTION_KINDS, "padding": "valid", "depth": 3}, "no room for 3 convolutions"),
        ({"kinds": [layer_kind("SLLConv2D")], "padding": "circular"}, "a kind that takes padding='circular'"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        kind_spectra(**arguments)


def test_a_name_is_no_kind():
    with pytest.raises(TypeError, match=r"must hold LayerKinds\. Received: 'AOLDense'"):
        kind_spectra(["AOLDense"])
