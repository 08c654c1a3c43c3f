"""Evaluations of classifiers, the scaling in a model, and reports about both."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest

from lipviz import certification, data, layers, recipes, reports
from lipviz.command import cli
from lipviz.recipes.scaling import behind_scaling, scaling_error
from lipviz.reports.page import _percent, _percent_at_most
from tests.support import predicted

RNG = np.random.default_rng(0)
SHIFTS, SCALES = np.array((1000.0, 0.0, -3e-3)), np.array((20.0, 1.0, 4e-4))
LABELS = np.arange(30) % 3
RAW = SHIFTS + SCALES * (RNG.normal(size=(30, 3)) + 2 * np.eye(3)[LABELS])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A file of raw numbers."""
    path = tmp_path_factory.mktemp("report") / "points.csv"
    lines = [",".join([*map(repr, row), f"kind {label}"]) for row, label in zip(RAW.tolist(), LABELS, strict=True)]
    path.write_text("\n".join(["mass,level,flow,kind", *lines]))
    return path


@pytest.fixture(scope="module")
def parts(table):
    """A network of scaled numbers that tells the classes apart, their scaling, and the model of raw numbers."""
    scaling = data.load(table, test_fraction=0).scaling
    network = keras.Sequential([keras.Input((3,)), layers.SpectralDense(3), layers.FrobeniusDense(3)])
    for layer in network.layers:
        layer.set_weights([np.eye(3), np.zeros(3), *layer.get_weights()[2:]])
        layer.refresh() if hasattr(layer, "refresh") else None
    return network, scaling, recipes.with_scaling(network, scaling)


@pytest.fixture(scope="module")
def saved(parts, table):
    path = table.parent / "model.keras"
    parts[2].save(path)
    return path


@pytest.fixture(scope="module")
def found(parts):
    return recipes.evaluate(
        parts[2], RAW, LABELS, epsilons=[0.1, 0.5], compared=12, feature_names=("mass", "<b>", "flow"), source="points"
    )


# --- scaling ---


def test_a_model_with_its_scaling_takes_raw_numbers(parts, saved):
    network, scaling, model = parts
    expected = predicted(network, scaling.scaled(RAW).astype("float32"))
    np.testing.assert_allclose(predicted(model, RAW.astype("float32")), expected, atol=1e-4)
    for whole in (model, keras.saving.load_model(saved)):
        rest, known, error = behind_scaling(whole)
        np.testing.assert_array_equal(known.offset, scaling.offset)
        np.testing.assert_array_equal(known.scale, scaling.scale)
        assert 2**-22 <= error <= 2**-20
        np.testing.assert_array_equal(rest.get_weights()[0], network.get_weights()[0])


def test_the_rounding_of_the_scaling_stays_within_its_bound(parts):
    _, scaling, model = parts
    raw = RAW.astype("float32")
    scaled = scaling.scaled(raw.astype(np.float64))
    computed = np.asarray(model.layers[0](raw), np.float64)
    error = np.linalg.norm(computed - scaled, axis=1)
    assert (error <= scaling_error(scaled, scaling, behind_scaling(model)[2])).all()


def test_other_first_layers_are_no_scaling_or_are_recognized():
    rescaling = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(1 / 255), keras.layers.Dense(2)])
    rest, scaling, _ = behind_scaling(rescaling)
    assert float(scaling.alone(1.0)) == pytest.approx(255)
    x = RNG.uniform(0, 255, (4, 2)).astype("float32")
    np.testing.assert_allclose(predicted(rest, scaling.scaled(x).astype("float32")), predicted(rescaling, x), atol=1e-5)
    inputs = keras.Input((2,))
    past = keras.layers.Add()([keras.layers.Rescaling(0.5)(inputs), inputs])
    mirrored = keras.layers.Dense(2)(keras.layers.Rescaling(-1.0)(inputs))
    for outputs in (past, mirrored):
        model = keras.Model(inputs, outputs)
        assert behind_scaling(model)[0] is model
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    assert recipes.with_scaling(plain, data.Scaling.none()) is plain


def test_a_scaling_that_does_not_fit_is_refused(parts):
    with pytest.raises(ValueError, match="3 features or channels"):
        recipes.with_scaling(parts[0], data.Scaling(np.zeros(2), np.full(2, 2.0)))
    with pytest.raises(TypeError, match="Scaling"):
        recipes.with_scaling(parts[0], 255)
    with pytest.raises(TypeError, match="Keras model"):
        recipes.with_scaling(parts[0].layers[0], data.Scaling.pixels())


# --- evaluations ---


def test_radii_are_those_of_the_network_behind_its_scaling(parts, found):
    network, scaling, _ = parts
    exact = certification.certified_radius(network, scaling.scaled(RAW.astype("float32")), LABELS)
    assert found.accuracy == exact.accuracy > 0.5
    assert (found.radii.radii <= exact.radii).all()
    np.testing.assert_allclose(found.radii.radii, exact.radii, atol=2e-4)
    assert found.radii.origin.arithmetic.startswith("float32")
    assert found.constant == pytest.approx(1, rel=1e-4)


def test_no_raw_change_within_a_radius_changes_the_decision(parts, found):
    model, scale = parts[2], found.scaling.scale
    for row in np.flatnonzero(found.radii.radii > 0):
        directions = RNG.normal(size=(50, 3))
        steps = 0.999 * found.radii.radii[row] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        decided = predicted(model, (RAW[row] + steps * scale).astype("float32")).argmax(axis=1)
        assert (decided == LABELS[row]).all()


def test_attacks_and_local_bounds_lie_on_their_sides(found):
    assert [attack.method for attack in found.attacks] == ["deepfool", "pgd", "pgd"]
    assert found.contradictions == 0
    certified, near, left = (
        np.array(part(found.epsilons)) for part in (found.certified_at, found.locally_certified_at, found.attacked_at)
    )
    first = found.first(12).accuracy_at(found.epsilons).certified
    assert (first <= near + 1e-12).all()
    assert (near <= left).all()
    assert (certified <= found.accuracy).all()
    within = dataclasses.replace(found, local=dataclasses.replace(found.local, radii=np.full(12, 1e9)))
    assert within.contradictions == 12


def test_the_figures_are_whole_in_json(found):
    figures = json.loads(found.to_json())
    assert figures["accuracy"] == found.accuracy
    assert figures["certified"]["0.5"] == found.certified_at([0.5])[0]
    assert figures["radii"] == found.radii.radii.tolist()
    assert figures["scaling"]["scale"] == found.scaling.scale.tolist()
    assert (figures["measured"], figures["compared"], figures["contradictions"]) == (30, 12, 0)
    assert set(figures["fingerprint"]) == {"configuration", "weights", "constrained"}
    assert figures["constant_found"] <= figures["constant_tight"] <= figures["constant"]
    for words in ("on 30 samples of points", "first 12", "attacked", "standard deviation"):
        assert words in str(found)


def test_scaled_samples_for_a_model_of_scaled_samples_that_gets_raw_ones(parts):
    network = parts[0]
    quick = {"compared": 0, "tight": False}
    words = " ".join(recipes.evaluate(network, RAW, (LABELS + 1) % 3, **quick).notes)
    assert "does not scale its input" in words
    double = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, dtype="float64")])
    found = recipes.evaluate(double, RAW / 1000, LABELS, **quick)
    assert found.arithmetic == "float64"
    assert "computes in float64" in found.notes[0]


# --- reports ---


def test_a_page_is_one_file_with_words_for_its_pictures(found, tmp_path):
    reports.write(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    pictures = re.findall(r'<img alt="([^"]*)"', page)
    assert len(pictures) == page.count("<img") == 2
    assert all(len(words) > 20 for words in pictures)
    assert "<b>" not in re.sub(r"<b>[^<]*</b>", "", page)  # names are escaped
    for words in (
        "&lt;b&gt;",
        "points",
        f"{found.accuracy * 100:.1f}"[:2],
        "What is assumed",
        found.fingerprint.weights,
    ):
        assert words in page


def test_shares_are_rounded_to_the_side_where_they_stay_true():
    shares = (0, 1 / 3, 2 / 3, 0.29, 1)
    assert [_percent(share) for share in shares] == ["0.0 %", "33.3 %", "66.6 %", "29.0 %", "100.0 %"]
    assert [_percent_at_most(share) for share in shares] == ["0.0 %", "33.4 %", "66.7 %", "29.0 %", "100.0 %"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("r.pdf", ValueError, r"\.html or \.json"),
        ("no/r.html", FileNotFoundError, "no folder"),
        ("", IsADirectoryError, "folder"),
    ],
)
def test_a_report_is_refused_where_it_cannot_be_written(found, tmp_path, name, error, words):
    with pytest.raises(error, match=words):
        reports.write(found, tmp_path / name)
    with pytest.raises(TypeError, match="Evaluation"):
        reports.write({}, tmp_path / "r.json")


# --- the command ---

QUICK = ["--no-attack", "--no-local", "--no-tight"]


def test_the_command_writes_what_the_function_measures(saved, table, found, tmp_path, capsys):
    target = tmp_path / "r.json"
    assert cli.main(["report", str(saved), str(table), "--output", str(target), *QUICK]) == 0
    figures = json.loads(target.read_text())
    assert figures["accuracy"] == found.accuracy
    np.testing.assert_allclose(sorted(figures["radii"]), sorted(found.radii.radii), atol=1e-6)
    assert figures["classes"] == ["kind 0", "kind 1", "kind 2"]
    assert figures["model"] == "model.keras"
    assert f"Written: {target}" in capsys.readouterr().out


MISTAKES = {
    "no data": (["nowhere.csv"], "There is no file or folder"),
    "columns": (
        ["points.csv", "--drop", "mass"],
        "takes samples of 3 features. Received: samples of 2 features.*--drop",
    ),
    "label": (["points.csv", "--label", "flow"], "--label"),
    "classes": (["few.csv"], "3 outputs. Received: 2 classes.*--classes"),
    "output": (["points.csv", "--output", "r.pdf"], "ends in .html or .json"),
    "swapped": ([], "model first"),
    "epsilon": (["points.csv", "--epsilon", "-1"], "--epsilon"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_command_names_a_mistake(name, saved, table, capsys):
    given, words = MISTAKES[name]
    lines = table.read_text().splitlines()
    (table.parent / "few.csv").write_text("\n".join(line for line in lines if "kind 1" not in line))
    (path, *more) = given or ["model.keras"]
    model = saved if given else table
    assert cli.main(["report", str(model), str(table.parent / path), *more, *QUICK]) == 1
    received = capsys.readouterr()
    assert re.search(words, received.err)
    assert received.err.count("\n") == 1
    assert not received.out
