"""Bounds near an input hold for all pairs of a ball, and tend to the norm of the Jacobian."""

import functools
import itertools
import json
import math

import keras
import numpy as np
import pytest
import scipy.sparse.linalg as sla
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl

from lipviz import certify
from lipviz import layers as lip
from lipviz.certification import Certificate, ellipsoids
from lipviz.certification.bends import local_form
from lipviz.certification.computation import Computation, Node, of_trace
from lipviz.certification.forms import Affine, Entry, Pointwise, Sorting
from lipviz.certification.graph import Trace, input_flows
from lipviz.certification.local import LocalBounds
from lipviz.certification.slopes import slope_range
from lipviz.certification.tight import bounded_before
from lipviz.operators.precision import float64_copy, float64_scope
from lipviz.rules.activations import ELEMENTWISE
from lipviz.rules.bound import exactly
from lipviz.rules.functions import function_bound
from tests.layers import citizenship
from tests.support import KINDS, examples, make_kernel

_ROUNDING = 0.0 if keras.backend.backend() == "tensorflow" else 1e-5


def _as_form(name):
    function = getattr(keras.activations, name)

    def values(x):
        with float64_scope():
            return np.asarray(function(keras.ops.convert_to_tensor(x)))

    bound = function_bound(function, (1,), 2)
    return Pointwise(name, values, bound, ELEMENTWISE[name].slopes)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_slopes_hold_all_difference_quotients_of_an_interval(name):
    form, rng = _as_form(name), np.random.default_rng(1)
    low = np.concatenate([rng.normal(0, 3, 300), [0.0, -1.0, 2.0, -6.0, -np.sqrt(2), 0.0]])
    high = low + np.concatenate([rng.exponential(1.0, 300), [0.0, 1.0, 1e-3, 12.0, 2 * np.sqrt(2), 3.0]])
    smallest, largest = slope_range(form, low, high)
    grid = np.linspace(low, high, 64)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = np.diff(form.values(grid), axis=0) / np.diff(grid, axis=0)
    off = max(_ROUNDING, 1e-12) * (1 + np.abs(grid).max(axis=0)) / np.maximum((high - low) / 63, 1e-300)
    wide = high > low
    assert (quotients.min(axis=0) >= smallest - off)[wide].all()
    assert (quotients.max(axis=0) <= largest + off)[wide].all()
    assert (smallest <= largest).all()
    assert (np.maximum(np.abs(smallest), np.abs(largest)) <= form.bound.upper).all()
    entry = ELEMENTWISE[name]
    unit = 1e-14 if entry.is_in_float64 and entry.sides is None else 1e-6  # TensorFlow rounds a slope to float32
    np.testing.assert_allclose(entry.values(grid), form.values(grid), rtol=unit, atol=20 * unit)


_WITH_ARGUMENTS = {
    "ELU": lambda: kl.ELU(0.7),
    "steep ELU": lambda: kl.ELU(2.5),
    "falling ELU": lambda: kl.ELU(-0.4),
    "LeakyReLU": lambda: kl.LeakyReLU(0.1),
    "PReLU": lambda: kl.PReLU(keras.initializers.RandomUniform(-2, 2, 1)),
    "PReLUlip": lambda: lip.PReLUlip(0.8, keras.initializers.RandomUniform(-2, 2, 1)),
    "ReLU with a slope": lambda: kl.ReLU(negative_slope=0.1),
    "ReLU with a limit": lambda: kl.ReLU(max_value=0.3),
    "ReLU6": lambda: kl.ReLU(max_value=6),
    "ReLU with both": lambda: kl.ReLU(max_value=0.3, negative_slope=0.1),
    "ReLU that is 0 above 0": lambda: kl.ReLU(max_value=0.0, negative_slope=0.5),
}


@pytest.mark.parametrize("name", _WITH_ARGUMENTS)
def test_layers_with_arguments_have_slopes_of_their_own_in_an_interval(name):
    """In a ball around one sample, each entry is bounded by the slopes that its function has there."""
    entries = np.array([-2.0, -0.3, -1e-4, 0.0, 1e-4, 0.15, 0.2999, 0.3, 0.3001, 4.0, 5.9999, 6.0, 9.0])
    layer = _WITH_ARGUMENTS[name]()
    model = keras.Sequential([keras.Input(entries.shape, dtype="float64"), layer])
    with float64_scope():
        copy = float64_copy(model)
    for radius in (1e-6, 1e-3, 0.25, 3.0):
        bound = certify(model, around=entries[None], radius=radius, search=False).upper_bound
        grid = np.linspace(entries - radius, entries + radius, 4001)
        with float64_scope():
            values = np.asarray(copy(keras.ops.convert_to_tensor(grid)))
        steepest = np.abs(np.diff(values, axis=0) / np.diff(grid, axis=0)).max(axis=0)
        off = 1e-12 / np.diff(grid[:2], axis=0).min() + 1e-6  # of quotients; TensorFlow rounds some slopes to float32
        assert steepest.max() <= bound + off
        assert bound <= steepest.max() + max(1e-3, radius) * 2.5 + off  # the slope of an ELU changes by no more


@pytest.mark.parametrize("negative_slope", [0.0, 0.1])
def test_a_limit_that_a_backend_rounds_has_both_slopes_where_it_may_be(negative_slope):
    """TensorFlow rounds a limit of 0.3 to float32, which is 0.30000001192…, also in float64."""
    model = keras.Sequential([keras.Input((1,), dtype="float64"), kl.ReLU(0.3, negative_slope)])
    with float64_scope():
        pair = keras.ops.convert_to_tensor(np.array([[0.300000004], [0.300000008]]))
        ends = np.asarray(float64_copy(model)(pair))
    quotient = float(np.diff(ends[:, 0])[0]) / 4e-9
    bound = certify(model, around=[[0.300000006]], radius=2e-9, search=False).upper_bound
    assert quotient == pytest.approx(float(keras.backend.backend() == "tensorflow"), abs=1e-6)
    assert quotient <= bound + 1e-6


@pytest.mark.parametrize("centre", [-2.0, -0.5, 1.75])
@pytest.mark.parametrize("approximate", [True, False])
def test_both_kinds_of_gelu_have_their_own_slopes(approximate, centre):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.ops.gelu(inputs, approximate=approximate))
    radius = 1e-3
    bound = certify(model, around=[[centre]], radius=radius, search=False).upper_bound
    ends = centre + radius * np.array([-1.0, 1.0])
    inner = np.sqrt(2 / np.pi) * (ends + 0.044715 * ends**3) if approximate else None
    shares = (1 + np.tanh(inner)) / 2 if approximate else scipy.special.ndtr(ends)
    (low, high) = ends * shares
    assert abs(high - low) / (2 * radius) <= bound * (1 + 1e-9)


def _chain(shape, *steps):
    return keras.Sequential([keras.Input(shape), *steps])


def _residual():
    inputs = keras.Input((5,))
    y = kl.Dense(5, activation="tanh")(inputs)
    z = kl.Add()([inputs, kl.Dense(5)(y)])
    z = kl.Concatenate()([kl.Dense(4, activation="relu")(z), z])
    return keras.Model(inputs, kl.Dense(3)(kl.Add()([z, kl.Dense(9, activation="relu")(z)])))


def _sliced():
    inputs = keras.Input((4,))
    y = keras.ops.pad(kl.Dense(3, activation="relu")(inputs[:, 1:3]), ((0, 0), (2, 0)), constant_values=1)
    return keras.Model(inputs, kl.Dense(3)(kl.Concatenate()([inputs, y])))


MODELS = {
    "relu": lambda: _chain((4,), kl.Dense(8, activation="relu"), kl.Dense(7, activation="relu"), kl.Dense(3)),
    "smooth": lambda: _chain((4,), kl.Dense(8, activation="gelu"), kl.Dense(7, activation="softplus"), kl.Dense(3)),
    "slopes": lambda: _chain((4,), kl.Dense(6), kl.LeakyReLU(), kl.Dense(5), kl.PReLU(), kl.Dense(2, "tanh")),
    "sorting": lambda: _chain((4,), kl.Dense(6), lip.GroupSort(3), kl.Dense(6), lip.GroupSort2(), kl.Dense(2)),
    "splitting": lambda: _chain((4,), kl.Dense(5), lip.MaxMin(), kl.Dense(3), lip.FullSort(), kl.Dense(2)),
    "image": lambda: _chain(
        (6, 6, 1), kl.Conv2D(3, 3, activation="relu"), kl.MaxPooling2D(), kl.Flatten(), kl.Dense(5, "relu"), kl.Dense(2)
    ),
    "branches": _residual,
    "slices": _sliced,
    "large before": lambda: _chain((30, 30, 1), kl.Conv2D(2, 5, activation="relu"), kl.Flatten(), kl.Dense(6, "relu")),
    "linear": lambda: _chain((3,), kl.Dense(4), kl.Dense(2)),
}


def _made(name):
    keras.utils.set_random_seed(4)
    model, rng = MODELS[name](), np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) == 1 and "alpha" not in weight.path:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return float64_copy(model)


def _bounds(model, norm=2):
    inputs, trace = input_flows(model, model.input_shape[1:], rounds=True), Trace(norm, rounds=True)
    found = of_trace(trace, inputs, trace.follow(model, inputs))
    return found, LocalBounds(found, found.outputs[0], norm)


def _within(rng, count, entries, norm):
    """Points of the unit ball, many of them on its boundary."""
    x = rng.standard_normal((count, entries))
    if norm == 1:
        x *= rng.random((count, entries)) < 0.4
        x[:entries] = np.eye(entries)[: min(count, entries)]
    if norm == np.inf:
        x = np.sign(x)
    sizes = np.maximum(np.linalg.norm(x, norm, axis=1, keepdims=True), 1e-300)
    return x / sizes * rng.choice([1.0, 1.0, 0.5], (count, 1))


@pytest.mark.covered_by_day
@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("name", MODELS)
def test_no_pair_of_a_ball_is_stretched_more_than_its_bound(name, norm):
    model, rng = _made(name), np.random.default_rng(6)
    found, bounds = _bounds(model, norm)
    assert bounds.region is not None
    size = found.nodes[0].size
    centre = rng.standard_normal((1, size))
    last = 0.0
    for radius in (1e-3, 0.1, 0.6, 3.0):
        (near,) = bounds.near(centre.reshape(1, *found.nodes[0].shape))
        constant = near.constants(radius).bound
        pairs = centre + radius * _within(rng, 600, size, norm).reshape(2, -1, size)
        pairs[1, :150] = pairs[0, :150] + 1e-3 * (pairs[1, :150] - pairs[0, :150])
        x, y = (found.values(part.reshape(-1, *found.nodes[0].shape))[found.outputs[0]] for part in pairs)
        far = np.linalg.norm(pairs[0] - pairs[1], norm, axis=1)
        noise = _ROUNDING * np.abs(x).max()  # of functions that Keras computes in float32 on JAX
        ratios = (np.linalg.norm(x - y, norm, axis=1)[far > 0] - noise) / far[far > 0]
        assert ratios.max() <= constant * (1 + 1e-7)
        assert last <= constant * 1.1  # larger balls have larger bounds, but for the search for θ
        last = constant


def test_a_nearly_linear_sorting_step_is_bounded_as_its_permutation():
    """Where no group can change places, the ellipsoid is that of a permutation."""
    form = Sorting(np.array([[0, 2], [1, 3]]), 1.5)
    local = local_form(form, 4, np.array([3.0, 0.0, 1.0, 9.0]), np.full(4, 0.4))
    assert local.open == 0
    assert local.bend.count == 0
    start = ellipsoids.ball(np.diag([1.0, 2.0, 3.0, 4.0]))
    behind, _, _ = ellipsoids.bent(start, local.bend, np.zeros(0))
    np.testing.assert_allclose(behind.widths, 1.5 * np.array([3.0, 2.0, 1.0, 4.0]), rtol=1e-9)


# --- networks without Keras ---


def _relu(x):
    return np.maximum(x, 0.0)


def _network(kernels, biases):
    """A network with ReLU between its affine maps, a `Computation`."""
    gains, kind = np.ones(1), "float64"
    nodes = [Node("x", "Input", Entry(), (), (kernels[0].shape[1],), gains, kind)]
    for place, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        form, size = Affine((sla.aslinearoperator(kernel),), bias), (len(kernel),)
        nodes.append(Node(f"dense {place}", "Dense", form, (len(nodes) - 1,), size, gains, kind))
        if place < len(kernels) - 1:
            relu = Pointwise("relu", _relu, exactly(1.0, "largest slope"), (0.0, 1.0))
            nodes.append(Node(f"relu {place}", "ReLU", relu, (len(nodes) - 1,), size, gains, kind))
    return Computation(tuple(nodes), (len(nodes) - 1,), len)


def _jacobian(kernels, biases, x):
    """The Jacobian of such a network at a point where no ReLU has a kink."""
    result = kernels[0]
    z = kernels[0] @ x + biases[0]
    for kernel, bias in zip(kernels[1:], biases[1:], strict=True):
        result = kernel @ ((z > 0)[:, None] * result)
        z = kernel @ np.maximum(z, 0.0) + bias
    return result


@st.composite
def _networks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    sizes = [draw(st.sampled_from((1, 2, 5, 9))) for _ in range(draw(st.integers(3, 5)))]
    scales = [10.0 ** draw(st.sampled_from((0, 0, 0, -12, 12, -60, 60))) for _ in sizes[1:]]
    kinds = [draw(st.sampled_from(KINDS)) for _ in sizes[1:]]
    kernels = [
        make_kernel(kind, (after, before), scale, int(rng.integers(99)))
        for kind, before, after, scale in zip(kinds, sizes[:-1], sizes[1:], scales, strict=True)
    ]
    reached = np.cumprod(scales)
    biases = [
        rng.standard_normal(len(w)) * size * draw(st.sampled_from((0, 1)))
        for w, size in zip(kernels, reached, strict=True)
    ]
    return kernels, biases, rng


@settings(max_examples=examples(60), deadline=None)
@given(_networks(), st.sampled_from((1, 2, np.inf)), st.sampled_from((1e-9, 0.05, 1.0, 1e6)))
def test_degenerate_networks_are_bounded_soundly(drawn, norm, radius):
    kernels, biases, rng = drawn
    found = _network(kernels, biases)
    x = rng.standard_normal((1, kernels[0].shape[1]))
    (near,) = LocalBounds(found, found.outputs[0], norm).near(x)
    constant = near.constants(radius).bound
    assert constant >= 0
    for point in x + radius * _within(rng, 20, x.size, norm):
        norm_there = np.linalg.norm(_jacobian(kernels, biases, point), norm)
        assert norm_there <= constant * (1 + 1e-9)


def test_small_balls_have_the_norm_of_the_jacobian_and_large_ones_no_more_than_the_product():
    rng = np.random.default_rng(7)
    kernels = [rng.standard_normal(shape) / 3 for shape in ((12, 6), (12, 12), (4, 12))]
    biases = [rng.standard_normal(len(w)) for w in kernels]
    found, x = _network(kernels, biases), rng.standard_normal((3, 6))
    for norm in (1, 2, np.inf):
        product = math.prod(np.linalg.norm(w, norm) for w in kernels)
        for row, near in zip(x, LocalBounds(found, found.outputs[0], norm).near(x), strict=True):
            exact = np.linalg.norm(_jacobian(kernels, biases, row), norm)
            assert exact <= near.constants(1e-6).bound <= exact * (1 + 1e-7)
        for near in LocalBounds(found, found.outputs[0], norm).near(x):
            assert near.constants(1e4).bound <= product * (1 + 1e-6)


def test_an_ellipsoid_holds_all_slopes_of_its_bend():
    rng = np.random.default_rng(3)
    low = np.where(rng.random(9) < 0.5, 0.0, -0.3)
    high = low + np.where(rng.random(9) < 0.3, 0.0, rng.random(9))
    form = Pointwise("", _relu, exactly(2.0, "largest slope"), (-2.0, 2.0), sides=(low, high))
    matrix = rng.standard_normal((9, 5))
    bend = local_form(form, 9, np.zeros(9), np.ones(9)).bend
    behind, ratios, _ = ellipsoids.bent(ellipsoids.ball(matrix), bend, np.full(bend.count, np.nan))
    assert behind is not None
    assert (ratios > 0).all()
    shape = behind.matrix * 4.0**behind.exponent
    least, most = np.minimum(low, high), np.maximum(low, high)
    for _ in range(200):
        slopes = np.where(rng.random(9) < 0.5, least, most)
        inside = (slopes[:, None] * matrix) @ (slopes[:, None] * matrix).T
        assert np.linalg.eigvalsh(shape - inside)[0] > -1e-10


@pytest.mark.parametrize("method", ["auto", "tight"])
def test_ellipsoids_of_what_is_before_hold_all_jacobians(method):
    """Of the third dense layer, behind what is bounded together; and they are smaller than those of its norm alone."""
    steps = [step for units in (9, 8) for step in (kl.Dense(units, activation="relu"), kl.Reshape((1, units)))]
    model, rng = float64_copy(_chain((6,), *steps[:-1], kl.Flatten(), kl.Dense(7))), np.random.default_rng(2)
    inputs, trace = input_flows(model, (6,)), Trace(2)
    found = of_trace(trace, inputs, trace.follow(model, inputs))
    (last,), source = found.outputs, found.nodes[found.outputs[0]].sources[0]
    gains, known = bounded_before(found, source, 2, method, last)
    assert gains < found.nodes[source].gains
    assert known
    for ellipsoid in known:
        shape = ellipsoid.matrix * 4.0**ellipsoid.exponent
        assert np.trace(shape) < (gains * np.linalg.norm(model.layers[-1].kernel)) ** 2
        for x in rng.standard_normal((50, 6)):
            ends = x + 1e-6 * np.concatenate([np.eye(6), -np.eye(6)])
            jacobian = (found.values(ends)[last][:6] - found.values(ends)[last][6:]).T / 2e-6
            assert np.linalg.eigvalsh(shape - jacobian @ jacobian.T)[0] > -1e-7 * np.trace(shape)


# --- certify ---


def test_a_certificate_says_where_it_holds(tmp_path):
    model, rng = MODELS["relu"](), np.random.default_rng(1)
    x = rng.standard_normal((3, 4))
    everywhere = certify(model, search=False)
    near = certify(model, around=x, radius=0.1)
    one = certify(model, around=x[0], radius=0.1)
    assert 0 < near.lower_bound <= near.upper_bound < everywhere.upper_bound
    assert one.upper_bound <= near.upper_bound * (1 + 1e-12)
    assert "within 0.1 of each of 3 inputs" in near.summary
    assert "within 0.1 of an input" in str(one)
    assert "around" in json.loads(near.to_json())
    assert "around" not in json.loads(everywhere.to_json())
    near.save(tmp_path / "near.json")
    assert Certificate.load(tmp_path / "near.json") == near
    content = json.loads((tmp_path / "near.json").read_text())
    assert content["format_version"] == 2  # earlier versions take a file of format 1 for a bound of all inputs


def test_what_is_not_bounded_near_an_input_keeps_its_bound_of_all_inputs():
    half = keras.Sequential([keras.Input((4,)), kl.Dense(2, dtype="mixed_float16")])
    wide = _chain((4,), kl.Dense(700))
    for model, words in ((half, "half precision"), (wide, "too large")):
        found = certify(model, around=np.zeros(4), radius=1.0, search=False)
        assert found.upper_bound == certify(model, search=False).upper_bound
        assert any("that of all inputs" in note and words in note for note in found.notes)


@pytest.mark.parametrize(
    ("around", "radius", "kind", "words"),
    [
        (np.zeros(4), None, ValueError, "both `around` and `radius`"),
        (None, 0.1, ValueError, "both `around` and `radius`"),
        (np.zeros(4), 0.0, ValueError, "positive and finite. Received: radius=0.0"),
        (np.zeros(4), math.nan, ValueError, "positive and finite"),
        (np.zeros(4), True, TypeError, "must be a number"),
        (np.zeros(5), 0.1, ValueError, r"shape \(4,\)"),
        (np.zeros((0, 4)), 0.1, ValueError, r"Received shape: \(0, 4\)"),
        (np.full(4, np.nan), 0.1, ValueError, "`around`"),
        (["a", "b"], 0.1, TypeError, "`around`"),
        ([[1.0, 2.0], [1.0]], 0.1, ValueError, "`around` must be rows of one length"),
    ],
)
def test_balls_that_make_no_sense_are_refused(around, radius, kind, words):
    with pytest.raises(kind, match=words):
        certify(MODELS["linear"]() if around is None else _chain((4,), kl.Dense(2)), around=around, radius=radius)


@pytest.mark.parametrize(("size", "radius"), [(1.0, 1e300), (1e200, 1e-3)])
def test_balls_that_are_too_large_or_too_far_keep_the_bound_of_all_inputs(size, radius):
    model = _chain((4,), kl.Dense(3, "relu"), kl.Dense(2))
    found = certify(model, around=np.full(4, size), radius=radius)
    assert 0 <= found.lower_bound <= found.upper_bound <= certify(model, search=False).upper_bound


def test_a_search_in_balls_takes_no_other_samples():
    with pytest.raises(ValueError, match="`samples` or `around`, not both"):
        certify(_chain((4,), kl.Dense(2)), around=np.zeros(4), radius=0.1, samples=np.zeros((2, 4)))


def test_a_ball_needs_inputs_that_vary():
    model = _chain((4,), kl.Rescaling(0.1), kl.Dense(2))
    whole = keras.Sequential([keras.Input((4,), dtype="uint8"), *model.layers])
    with pytest.raises(ValueError, match="uint8"):
        certify(whole, around=np.zeros(4), radius=1.0)


@functools.cache
def _citizens():
    """The cases of the citizenship test that compute in full precision, and the other models of this file."""
    cases = (*citizenship.all_cases(), *itertools.chain(*citizenship.cases_of_others()))
    return [*MODELS, *(case for case in cases if case["dtype"] in (None, "float64"))]


@settings(max_examples=examples(3, at_night=400), deadline=None)
@given(st.integers(0, 10**4), st.integers(-4, 1), st.floats(1e-6, 1))
def test_no_ball_has_a_larger_bound_than_one_of_radius_4_to_the_k_that_holds_it(place, k, share):
    case = _citizens()[place % len(_citizens())]
    model = _made(case) if isinstance(case, str) else citizenship.network(**{**case, "how": None})[0]
    x = np.random.default_rng(place).standard_normal(model.input_shape[1:])
    bounds = [certify(model, around=x, radius=r * 4.0**k, search=False).upper_bound for r in (1e-4, share, 1.0, 4.0)]
    everywhere = certify(model, search=False).upper_bound
    assert max(bounds[:3]) <= bounds[2] <= bounds[3] <= everywhere
