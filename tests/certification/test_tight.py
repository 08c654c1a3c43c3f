"""Bounds of several steps together: sound, never above the product, and smaller where the product loses."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
from keras import layers as kl

import lipviz
from lipviz import certification
from lipviz import layers as lip
from lipviz.certification import certificate_file, tight
from lipviz.certification.chains import _of_channels
from lipviz.certification.forms import Pointwise, Sorting, Splitting, value_of
from lipviz.certification.functions import function_of
from lipviz.operators.precision import float64_copy, float64_scope
from lipviz.rules.bound import exactly, root_of_squares


def _seeded(model, seed=2):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(0.0, 1 / math.sqrt(math.prod(weight.shape[:-1]) or 1), weight.shape)
        positive = "variance" in weight.path or "gamma" in weight.path
        weight.assign(0.5 + np.abs(value) if positive else value)
    return model


def _chain(shape, *steps):
    return _seeded(keras.Sequential([keras.Input(shape), *steps]))


def _residual(norms=False):
    x = keras.Input((6,))
    y = kl.Dense(6)(x)
    return _seeded(keras.Model(x, kl.Add()([x, kl.Dense(6)(y)])))


def _blocks(activation):
    x = keras.Input((6,))
    y = kl.Add()([x, kl.Dense(6)(kl.Dense(8, activation)(x))])
    y = kl.Add()([y, kl.Dense(6)(kl.Dense(7, "relu")(y))])
    return _seeded(keras.Model(x, kl.Dense(3)(kl.Concatenate()([y, kl.Dense(4, "tanh")(y)]))))


def _operations():
    x = keras.Input((6,))
    y = keras.ops.relu(kl.Dense(6)(x) - kl.Dense(6)(x))
    return _seeded(keras.Model(x, kl.Dense(4)(keras.ops.gelu(kl.Dense(6)(y)) + y)))


def _branches():
    x = keras.Input((6,))
    return _seeded(keras.Model(x, kl.Concatenate()([kl.Dense(3)(x), kl.Dense(4)(x), x])))


def _two_inputs():
    x = [keras.Input((3,)), keras.Input((2,))]
    y = kl.Dense(5, "relu")(kl.Concatenate()([kl.Dense(4)(kl.Dense(4)(x[0])), x[1]]))
    return _seeded(keras.Model(x, [kl.Dense(2)(y), kl.Dense(3)(kl.Dense(4)(y))]))


MODELS = {
    "dense and dense": lambda: _chain((6,), kl.Dense(7), kl.Dense(5)),
    "relu": lambda: _chain((6,), kl.Dense(7, "relu"), kl.Dense(8, "relu"), kl.Dense(5)),
    "gelu": lambda: _chain((6,), kl.Dense(7, "gelu"), kl.Dense(8, "silu"), kl.Dense(5)),
    "layers with slopes": lambda: _chain(
        (6,), kl.Dense(7), kl.LeakyReLU(0.3), kl.Dense(8), kl.PReLU(), kl.Dense(8), kl.ELU(), kl.Dense(5, "tanh")
    ),
    "images": lambda: _chain(
        (6, 6, 2),
        *(kl.Conv2D(2, 3, padding="same"), kl.BatchNormalization(), kl.ReLU(), kl.AveragePooling2D(2)),
        *(kl.Conv2D(3, 3, padding="same", activation="relu"), kl.Flatten(), kl.Dense(3)),
    ),
    "residual": _residual,
    "residual blocks": lambda: _blocks("relu"),
    "residual blocks, gelu": lambda: _blocks("gelu"),
    "operations": _operations,
    "branches": _branches,
    "two inputs": _two_inputs,
    "pairs sorted": lambda: _chain((6,), kl.Dense(8), lip.GroupSort2(), kl.Dense(8), lip.GroupSort2(), kl.Dense(3)),
    "groups sorted": lambda: _chain(
        (6,), kl.Dense(9), lip.GroupSort(3, k_coef_lip=2.0), kl.Dense(6), lip.GroupSort(3), kl.Dense(3)
    ),
    "both signs": lambda: _chain((6,), kl.Dense(5), lip.MaxMin(k_coef_lip=0.5), kl.Dense(4), lip.MaxMin(), kl.Dense(3)),
    "ours": lambda: _chain((6,), lip.SpectralDense(8, activation=lip.GroupSort2()), kl.Dense(4, "relu"), kl.Dense(3)),
}
SMALLER = {
    "ours": 0.99,
    "groups sorted": 0.99,
    "pairs sorted": 0.92,
    "branches": 0.95,
    "two inputs": 0.95,
}  # by how much at least; 0.9 for the others


def jacobians(model, count=60):
    """The largest norms in l1, l2 and l∞ of Jacobians by differences, at inputs of many sizes."""
    wide, rng = float64_copy(model), np.random.default_rng(0)
    shapes = [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(wide.inputs)]
    size = sum(map(math.prod, shapes))
    x = rng.normal(size=(count, 1, size)) * 10.0 ** rng.uniform(-2, 1, (count, 1, 1))
    step = 1e-5 * np.concatenate([np.zeros((1, size)), np.eye(size)])
    flat = (x + step).reshape(-1, size)
    parts = np.split(flat, np.cumsum([math.prod(shape) for shape in shapes])[:-1], axis=1)
    inputs = [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
    with float64_scope():
        outputs = keras.tree.flatten(wide(inputs if len(inputs) > 1 else inputs[0], training=False))
    y = np.concatenate([np.asarray(out).reshape(len(flat), -1) for out in outputs], axis=1).reshape(count, size + 1, -1)
    found = np.swapaxes(y[:, 1:] - y[:, :1], 1, 2) / 1e-5
    return {norm: max(np.linalg.norm(matrix, norm) for matrix in found) for norm in (1, 2, np.inf)}


@pytest.mark.parametrize("name", MODELS)
def test_bounds_are_sound_and_below_the_product(name):
    keras.utils.set_random_seed(1)
    model = MODELS[name]()
    attained = jacobians(model)
    for norm in (1, 2, math.inf):
        bounds = [
            lipviz.certify(model, norm=norm, method=method, search=False).upper_bound
            for method in ("product", "auto", "tight")
        ]
        assert attained[norm] * (1 - 1e-4) <= bounds[2] * (1 + 1e-9) <= bounds[1] * (1 + 1e-6)
        assert bounds[1] <= bounds[0]
        if norm == 2:
            assert bounds[2] <= SMALLER.get(name, 0.9) * bounds[0]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("seed", [9, 11, 24])
def test_steep_slopes_below_zero_have_their_sign(residual, seed):
    x, rng = keras.Input((4,)), np.random.default_rng(seed)
    y = kl.Dense(4)(kl.PReLU()(kl.Dense(4)(x)))
    model = keras.Model(x, kl.Dense(3)(kl.PReLU()(kl.Add()([x, y]) if residual else y)))
    for weight in model.weights:
        weight.assign(rng.normal(0.0, 1.5 if "alpha" in weight.path else 0.6, weight.shape))
    kernels = [layer.kernel.numpy().T.astype(float) for layer in model.layers if isinstance(layer, kl.Dense)]
    slopes = [layer.alpha.numpy().astype(float) for layer in model.layers if isinstance(layer, kl.PReLU)]
    first, last = (np.array(list(itertools.product(*((a, 1.0) for a in each)))) for each in slopes)
    inner = kernels[1] * first[:, None] @ kernels[0] + residual * np.eye(4)
    attained = np.linalg.norm((kernels[2] * last[:, None])[:, None] @ inner, 2, axis=(-2, -1)).max()
    for method in ("auto", "tight"):
        assert attained <= lipviz.certify(model, method=method, search=False).upper_bound * (1 + 1e-9)


def test_on_images_steep_slopes_below_zero_have_either_sign():
    form = Pointwise("", abs, exactly(2.0, ""), (np.array([-2.0, 0.0, -0.5, 0.0]), np.ones(4)))
    slopes = _of_channels(function_of(form, 4), (2, 2))
    np.testing.assert_array_equal(slopes.low, [-2.0, 0.0])
    np.testing.assert_array_equal(slopes.high, [2.0, 1.0])


def test_sorting_is_diagonal_in_other_coordinates():
    rng = np.random.default_rng(4)
    forms = {
        8: (Sorting(rng.permutation(8).reshape(4, 2), 1.5), [Sorting(rng.permutation(9).reshape(3, 3), 0.5)]),
        6: (Splitting(np.array([4, 0, 2]), np.array([1, 5, 3]), 2.0), []),
    }
    for size, (pairs, groups) in forms.items():
        for form in (pairs, *groups):
            count = size if form is pairs else 9
            found = function_of(form, count)
            z = rng.normal(size=(2, found.before.shape[1]))
            values = np.stack([value_of(form, count, [part[None]])[0] for part in z])
            inside, outside = found.before @ (z[1] - z[0]), found.behind.T @ (values[1] - values[0])
            kept = found.low == found.high
            np.testing.assert_allclose(outside[kept], found.high[kept] * inside[kept], atol=1e-12)
            np.testing.assert_allclose(found.behind @ outside, values[1] - values[0], atol=1e-12)
            sizes = [np.bincount(found.ties, part**2) for part in (outside, found.high * inside)]
            assert (sizes[0] <= sizes[1] + 1e-12).all()


def test_linear_maps_that_meet_have_the_constant_of_their_sum():
    model = _residual()
    kernels = [np.asarray(layer.kernel, float) for layer in model.layers if isinstance(layer, kl.Dense)]
    matrix = np.eye(6) + kernels[0] @ kernels[1]
    for norm, dual in ((1, np.inf), (2, 2), (np.inf, 1)):
        found = lipviz.certify(model, norm=norm, search=False)
        assert found.upper_bound == pytest.approx(np.linalg.norm(matrix, dual), rel=1e-9)
    (row,) = lipviz.certify(model, search=False).stretches
    assert row.method == "one matrix"
    assert row.steps[-1].rstrip("_0123456789") == "add"


def test_a_concatenation_of_branches_is_one_map():
    model = _branches()
    kernels = [np.asarray(layer.kernel, float) for layer in model.layers if isinstance(layer, kl.Dense)]
    matrix = np.concatenate([*kernels, np.eye(6)], axis=1)
    assert lipviz.certify(model, search=False).upper_bound == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-9)


def test_differences_of_logits_are_bounded_by_the_whole_chain():
    model = MODELS["relu"]()
    product, auto, tight = (certification.pairwise_bounds(model, method=m) for m in ("product", "auto", "tight"))
    assert (auto <= product).all()
    off = ~np.eye(5, dtype=bool)
    assert tight[off].mean() <= auto[off].mean() * (1 + 1e-6) < 0.9 * product[off].mean()
    single = keras.Sequential([keras.Input((6,)), *model.layers[:-1], kl.Dense(1)])
    kernel = np.asarray(model.layers[-1].kernel)
    for i, j in ((0, 1), (3, 4)):  # alone, a difference has at most the bound that it has among others
        single.layers[-1].kernel.assign(kernel[:, [i]] - kernel[:, [j]])
        alone = certification.pairwise_bounds(single, method="auto")[0, 0]
        assert 0.8 * auto[i, j] <= alone <= auto[i, j] * (1 + 1e-5)


def test_radii_hold_against_attacks():
    model = MODELS["relu"]()
    x = np.random.default_rng(0).normal(size=(12, 6)).astype("float32")
    radii = {method: certification.certified_radius(model, x, method=method) for method in ("product", "tight")}
    assert (radii["tight"].radii >= radii["product"].radii * (1 - 1e-9)).all()
    assert radii["tight"].mean_radius > 1.1 * radii["product"].mean_radius
    y = radii["tight"].predicted
    found = certification.attack(model, x, y, 30.0, steps=10)
    assert found.success.any()
    assert (found.distances >= radii["tight"].radii)[found.success].all()


def test_a_value_that_is_returned_and_used_has_its_own_chain():
    inputs = keras.Input((8,))
    hidden = [kl.Dense(units, activation="relu", name=f"hidden{units}") for units in (12, 10)]
    y = hidden[1](hidden[0](inputs))
    found = lipviz.certify(keras.Model(inputs, [y, kl.Dense(3, name="last")(y)]), search=False)
    ends = [stretch.steps[-1] for stretch in found.stretches]
    assert ends == ["hidden10", "last"]


def test_a_layer_without_slopes_splits_a_chain():
    norm = lip.ScaledL2NormPooling2D()
    model = _chain((4, 4, 2), kl.Dense(4, "relu"), kl.Dense(4), norm, kl.Flatten(), kl.Dense(8, "relu"), kl.Dense(3))
    rows = lipviz.certify(model, method="tight", search=False).stretches
    names = [row.steps for row in rows]
    assert any(model.layers[-1].name in steps for steps in names)
    assert not any(model.layers[0].name in steps and model.layers[-1].name in steps for steps in names)


def test_a_model_that_cannot_be_read_has_the_product_and_a_note():
    model = keras.Sequential([keras.Input((None, None, 2)), kl.Conv2D(2, 3), kl.BatchNormalization(), kl.Conv2D(2, 3)])
    found = lipviz.certify(model, method="tight", search=False)
    assert found.upper_bound == lipviz.certify(model, method="product", search=False).upper_bound
    assert not found.stretches
    assert any(note.startswith("Nothing is bounded together: its values have unknown sizes") for note in found.notes)
    assert not lipviz.certify(model, search=False).notes


def test_the_table_the_file_and_the_dict_have_the_stretches(tmp_path):
    model = MODELS["relu"]()
    found = lipviz.certify(model, method="tight", search=False)
    (row,) = found.stretches
    first, last = model.layers[0].name, model.layers[-1].name
    assert row.name == f"{first} → {last}"
    assert row.method == "semidefinite, each neuron"
    assert row.upper == found.upper_bound < row.product
    assert row.name in str(found)
    assert row.name in found._repr_html_()
    assert found.to_dict()["stretches"] == [row.to_dict()]
    found.save(tmp_path / "net.json")
    loaded = certification.Certificate.load(tmp_path / "net.json")
    assert loaded == found
    assert loaded.origin.method == "tight"


def test_files_of_earlier_versions_load(tmp_path):
    path = tmp_path / "net.json"
    lipviz.certify(_chain((3,), kl.Dense(2)), search=False).save(path)
    content = json.loads(path.read_text())
    for exact, method in ((False, "product"), (True, "exact")):
        former = {key: value for key, value in content.items() if key not in ("method", "stretches", "checksum")}
        body = {key: value for key, value in former.items() if not key.startswith("format")} | {"exact": exact}
        path.write_text(json.dumps(former | {"exact": exact, "checksum": certificate_file._checksum(body)}))
        loaded = certification.Certificate.load(path)
        assert (loaded.origin.method, loaded.origin.exact, loaded.stretches) == (method, exact, ())


def test_networks_of_sorting_are_not_read_for_nothing(monkeypatch):
    monkeypatch.setattr(tight, "of_trace", None)
    dense = [lip.SpectralDense(8, activation=lip.GroupSort2()) for _ in range(3)]
    assert lipviz.certify(_chain((6,), *dense, lip.FrobeniusDense(3)), search=False).upper_bound < 2
    for model in (_chain((6,), kl.Dense(3), kl.BatchNormalization()), _residual(), MODELS["relu"]()):
        with pytest.raises(TypeError, match="NoneType"):
            lipviz.certify(model, search=False)


def test_exact_is_deprecated_and_other_methods_are_refused():
    model = _chain((3,), kl.Dense(2))
    with pytest.warns(DeprecationWarning, match='method="tight"'):
        assert lipviz.certify(model, exact=True, search=False).origin.method == "tight"
    for call in (lipviz.certify, certification.pairwise_bounds):
        with pytest.raises(ValueError, match="`method` must be one of"):
            call(model, method="best")
    with pytest.raises(ValueError, match="`method` must be one of"):
        certification.certified_radius(model, np.zeros((1, 3)), method="best")


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_degenerate_weights_are_bounded_as_by_the_product(scale):
    model = MODELS["relu"]()
    for layer in model.layers:
        layer.kernel.assign(scale * np.asarray(layer.kernel))
    product, tight = (lipviz.certify(model, method=m, search=False).upper_bound for m in ("product", "tight"))
    assert tight <= product
    assert (tight > 0) == (scale > 0)


@pytest.mark.parametrize("scales", [(-170, 100), (-170, 0), (0, -170), (-200, 200), (-150, -150)])
def test_no_bound_underflows_or_overflows_in_between(scales):
    x = keras.Input((3,), dtype="float64")
    layers = [kl.Dense(count, use_bias=False, dtype="float64") for count in (4, 2, 3)]
    y = kl.Concatenate(dtype="float64")([layers[0](x), layers[1](x)])
    model = _seeded(keras.Model(x, layers[2](kl.ReLU(dtype="float64")(y))))

    def measured(method):
        found = lipviz.certify(model, method=method, search=False).upper_bound
        return found, certification.certified_radius(model, np.ones((1, 3)), method=method).radii[0]

    wanted = {method: measured(method) for method in ("product", "auto")}
    for layer, scale in zip(layers, (scales[0], *scales), strict=True):
        layer.kernel.assign(np.asarray(layer.kernel) * 10.0**scale)
    for method, (bound, radius) in wanted.items():
        got = measured(method)
        assert bound * (1 - 1e-6) <= got[0] / 10.0 ** sum(scales) <= wanted["product"][0] * (1 + 1e-6)
        assert 0.8 * wanted["product"][1] <= got[1] <= 1.001 * radius


def test_roots_of_squares_are_those_of_a_norm_at_every_scale():
    values = np.random.default_rng(1).normal(size=(4, 5))
    for scale in (1e-220, 1.0, 1e220, 0.0):
        for axis in (None, 0, (0, 1)):
            wanted = scale * np.linalg.norm(values, axis=axis)
            np.testing.assert_allclose(root_of_squares(scale * values, axis), wanted, rtol=1e-14)
