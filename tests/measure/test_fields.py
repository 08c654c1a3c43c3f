import math

import keras
import numpy as np
import pytest

from lipviz import certification, layers, operators
from lipviz.measure import fields
from lipviz.operators.precision import outputs
from lipviz.toys import networks

BOX = ((-1.0, 2.0), (0.0, 4.0))
RNG = np.random.default_rng(0)


def linear(kernel, bias=0.0, **settings):
    kernel = np.asarray(kernel, float)
    model = keras.Sequential([keras.layers.Input((kernel.shape[0],)), keras.layers.Dense(kernel.shape[1], **settings)])
    model.layers[0].kernel.assign(kernel)
    model.layers[0].bias.assign(np.full(kernel.shape[1], bias))
    return model


@pytest.fixture(scope="module")
def classifier():
    return networks.toy_network("groupsort2", 6, 1, outputs=3)


def at(data, values):
    """The logits of a field, point by point, with the grid points."""
    return np.stack(np.meshgrid(data.x0, data.x1), axis=-1).reshape(-1, 2), values.reshape(data.x0.size**2, -1)


# --- decisions ---


def test_a_field_is_the_network_on_a_grid(classifier):
    data = fields.decision_field(classifier, BOX, 7)
    np.testing.assert_array_equal(data.x0, np.linspace(-1, 2, 7))
    np.testing.assert_array_equal(data.x1, np.linspace(0, 4, 7))
    grid, logits = at(data, data.logits)
    want = outputs(operators.float64_copy(classifier), grid)
    np.testing.assert_allclose(logits, want, atol=1e-5)
    np.testing.assert_array_equal(data.predicted, data.logits.argmax(axis=2))
    ordered = np.sort(data.logits, axis=2)
    np.testing.assert_allclose(data.margins, ordered[..., -1] - ordered[..., -2])
    assert data.classes == 3
    assert data.points is data.labels is data.radii is None
    assert data.name == classifier.name


def test_the_sign_of_one_logit_decides():
    data = fields.decision_field(linear([[1.0], [0.0]]), BOX, 4, name="line")
    assert data.name == "line"
    assert data.classes == 2
    np.testing.assert_allclose(data.logits[0, :, 0], data.x0, atol=1e-6)
    np.testing.assert_array_equal(data.predicted, np.tile(data.x0 > 0, (4, 1)))
    np.testing.assert_allclose(data.margins, np.abs(data.logits[..., 0]))


def test_a_compiled_prediction_is_made_once(classifier):
    fields.decision_field(classifier, BOX, 5)
    function = classifier.predict_function
    fields.decision_field(classifier, BOX, 5)
    assert classifier.predict_function is function


def test_large_grids_go_in_parts(classifier, monkeypatch):
    want = fields.decision_field(classifier, BOX, 6).logits
    monkeypatch.setattr(fields, "_ROWS", 10)
    # Other batches may add up in another order: ten roundings twice, of values up to the length of a sample.
    rounding = 2 * 10 * 2.0**-24 * np.hypot(2, 4)
    np.testing.assert_allclose(fields.decision_field(classifier, BOX, 6).logits, want, rtol=0, atol=rounding)


@pytest.mark.parametrize("end", ["sigmoid", "softmax"])
def test_what_ends_a_model_is_looked_through(end):
    kernel = RNG.standard_normal((2, 1 if end == "sigmoid" else 3))
    plain = fields.decision_field(linear(kernel), BOX, 5)
    apart = keras.Sequential([*linear(kernel).layers, keras.layers.Activation(end)])
    for model in (linear(kernel, activation=end), apart):
        model.build((None, 2))
        data = fields.decision_field(model, BOX, 5)
        np.testing.assert_allclose(data.logits, plain.logits, atol=1e-5)
        np.testing.assert_array_equal(data.predicted, plain.predicted)


def test_the_box_holds_the_samples_by_default():
    model, x = linear([[1.0], [0.0]]), np.array([[0.0, 1.0], [4.0, 2.0]])
    data = fields.decision_field(model, x=x, resolution=2)
    np.testing.assert_allclose(data.x0, [-0.6, 4.6])
    np.testing.assert_allclose(data.x1, [0.4, 2.6])
    one = fields.decision_field(model, x=x[:1], resolution=2)
    assert one.x0[0] < 0 < one.x0[1]
    np.testing.assert_array_equal(fields.decision_field(model, resolution=2).x0, [-2, 2])


def test_radii_of_every_kind_of_constant(classifier):
    x, y = RNG.standard_normal((9, 2)), np.arange(9) % 3
    bounds = certification.pairwise_bounds(classifier)
    want = certification.certified_radius(classifier, x, y, bounds=bounds).radii
    data = fields.decision_field(classifier, x=x, y=y, constant=bounds, resolution=2)
    np.testing.assert_array_equal(data.radii, want)
    np.testing.assert_array_equal(data.labels, y)
    certificate = certification.certify(classifier, search=False)
    weaker = fields.decision_field(classifier, x=x, y=y, constant=certificate, resolution=2).radii
    assert (weaker <= want * (1 + 1e-6)).all()
    # The last columns are orthogonal from the start: √2 L is the norm of their differences.
    np.testing.assert_allclose(weaker, want, rtol=1e-5)
    np.testing.assert_array_equal(fields._pairwise(certificate.upper_bound, 3), fields._pairwise(certificate, 3))
    assert fields.decision_field(classifier, x=x, resolution=2).radii is None
    assert fields.decision_field(classifier, constant=1.0, resolution=2).radii is None


def test_the_radius_of_a_half_plane_is_its_distance():
    x = np.array([[3.0, 7.0], [-0.5, 0.0], [1.0, 0.0]])
    data = fields.decision_field(linear([[2.0], [0.0]]), x=x, y=[1, 0, 0], constant=2.0, resolution=2)
    np.testing.assert_allclose(data.radii, [3, 0.5, 0], rtol=1e-6)


# --- linear regions ---


def kinks(*columns, bias=None):
    """A network with one ReLU for each column, added up with different weights."""
    first = np.array(columns, float).T
    hidden = keras.layers.Dense(first.shape[1], "relu")
    model = keras.Sequential([keras.layers.Input((2,)), hidden, keras.layers.Dense(1)])
    hidden.kernel.assign(first)
    if bias is not None:
        hidden.bias.assign(bias)
    model.layers[1].kernel.assign(np.arange(1.0, first.shape[1] + 1)[:, None] / 2)
    return model


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (kinks([1, 0]), 2),
        (kinks([1, 0], [0, 1]), 4),
        (kinks([1, 0], [0, 1], [1, 1]), 6),
        (kinks([1, 0], [0, 1], [1, 1], bias=[0, 0, 0.5]), 7),
        (kinks([1, 0], [1, 0], bias=[0, -1]), 3),
        (linear([[1.0], [2.0]]), 1),
        (linear([[1.0, 3.0], [2.0, 0.0]], activation="softmax"), 1),
        (linear([[0.0], [0.0]]), 1),
    ],
)
def test_lines_cut_the_plane_into_known_pieces(model, count):
    for resolution in (40, 41):
        data = fields.linear_regions(model, resolution=resolution)
        assert data.count == count == len(np.unique(data.labels))
        np.testing.assert_allclose(data.shares, np.bincount(data.labels.ravel()) / resolution**2)
        assert (np.diff(data.shares) <= 0).all()


def test_each_region_has_the_slope_of_its_map():
    data = fields.linear_regions(kinks([1, 0], [0, 1]), resolution=20)
    of_quadrant = {(False, False): 0, (True, False): 0.5, (False, True): 1, (True, True): np.hypot(0.5, 1)}
    for row, x1 in enumerate(data.x1):
        for column, x0 in enumerate(data.x0):
            assert data.slopes[data.labels[row, column]] == pytest.approx(of_quadrant[x0 > 0, x1 > 0])


@pytest.mark.parametrize("activation", ["relu", "groupsort2", "householder"])
def test_regions_have_one_affine_map_each(activation):
    model = networks.toy_network(activation, 4, 1, outputs=2)
    data = fields.linear_regions(model, resolution=25, name=activation)
    assert data.name == activation
    lines = 4 if activation == "relu" else 2  # a kink for each neuron, or for each pair
    assert 1 < data.count <= 1 + lines + math.comb(lines, 2)  # the most pieces that so many lines make
    grid, labels = at(data, data.labels)
    values = outputs(operators.float64_copy(model), grid)
    for label in range(data.count):
        inside = labels[:, 0] == label
        design = np.column_stack([grid[inside], np.ones(inside.sum())])
        fit, *_ = np.linalg.lstsq(design, values[inside], rcond=None)
        np.testing.assert_allclose(design @ fit, values[inside], atol=1e-9)
    assert (data.slopes <= 1 + 1e-9).all()


def test_smooth_networks_have_none():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="piecewise linear"):
        fields.linear_regions(model, resolution=10)


# --- what is refused ---


@pytest.mark.parametrize("measurement", [fields.decision_field, fields.linear_regions])
@pytest.mark.parametrize(
    ("model", "arguments", "error", "words"),
    [
        ("net", {}, TypeError, "Keras model"),
        (keras.Sequential([keras.layers.Dense(1)]), {}, ValueError, "built"),
        (linear(np.ones((3, 1))), {}, ValueError, r"\(batch, 2\)"),
        (linear([[np.nan], [1.0]]), {}, ValueError, "NaN"),
        (linear([[1.0], [1.0]]), {"resolution": 1}, ValueError, "resolution"),
        (linear([[1.0], [1.0]]), {"resolution": 2.5}, ValueError, "resolution"),
        (linear([[1.0], [1.0]]), {"bounds": ((0, 1), (1, 1))}, ValueError, "bounds"),
        (linear([[1.0], [1.0]]), {"bounds": (0, 1)}, ValueError, "bounds"),
        (linear([[1.0], [1.0]]), {"bounds": ((0, np.inf), (0, 1))}, ValueError, "bounds"),
    ],
)
def test_bad_models_and_grids_are_named(measurement, model, arguments, error, words):
    with pytest.raises(error, match=words):
        measurement(model, **{"resolution": 3, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"x": np.zeros((0, 2))}, ValueError, r"\(n, 2\)"),
        ({"x": np.zeros((4, 3))}, ValueError, r"\(n, 2\)"),
        ({"x": np.full((1, 2), np.inf)}, ValueError, "samples"),
        ({"x": "points"}, TypeError, "samples"),
        ({"y": [0, 1]}, ValueError, "x=None"),
        ({"x": np.eye(2), "y": [0, 1, 1]}, ValueError, "labels"),
        ({"x": np.eye(2), "constant": 0}, ValueError, "constant"),
        ({"x": np.eye(2), "constant": np.nan}, ValueError, "constant"),
        ({"x": np.eye(2), "constant": "large"}, ValueError, "constant"),
        ({"x": np.eye(2), "constant": np.ones((2, 2))}, ValueError, "bounds"),
        ({"x": np.eye(2), "constant": certification.Certificate("n", np.inf, 0, (), 2, (2,))}, ValueError, "finite"),
        ({"x": np.eye(2), "constant": certification.Certificate("n", 1.0, 0, (), 1, (2,))}, ValueError, "l2"),
    ],
)
def test_bad_samples_and_constants_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        fields.decision_field(linear([[1.0], [1.0]]), resolution=2, **arguments)


def test_outputs_must_be_scores():
    inputs = keras.layers.Input((2,))
    image = keras.Model(inputs, keras.layers.Reshape((2, 1))(inputs))
    with pytest.raises(ValueError, match=r"\(batch, C\)"):
        fields.decision_field(image, resolution=2)
    two = keras.Model(inputs, [layers.SpectralDense(1)(inputs), layers.SpectralDense(1)(inputs)])
    with pytest.raises(ValueError, match="2 outputs"):
        fields.decision_field(two, resolution=2)
