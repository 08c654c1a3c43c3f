import dataclasses

import numpy as np
import pytest

from lipviz import data
from lipviz.certification import certified_radius
from lipviz.measure import certified_image as images
from lipviz.measure import saliency
from lipviz.toys.networks import toy_classifier
from lipviz.toys.tradeoff import (
    LOSSES,
    Tradeoff,
    TradeoffRun,
    read_runs,
    tradeoff_run,
    tradeoff_steps,
    tradeoff_table,
    write_runs,
)

TRAIN, TEST = data.digits(120, 60)
SMALL = {"width": 8, "depth": 1, "steps": 4}


def run(accuracy=0.9, radius=0.5, **values):
    given = {
        "dataset": "d", "loss": "hkr", "loss_parameter": 2.0, "min_margin": 1.0, "activation": "relu", "width": 8,
        "depth": 1, "steps": 4, "step": 4, "learning_rate": 0.01, "seed": 0, "samples": 10, "accuracy": accuracy,
        "mean_radius": radius, "median_radius": radius, "epsilons": np.array([0.0, 1.0]),
        "certified": np.array([accuracy, 0.0]),
    }  # fmt: skip
    return TradeoffRun(**{**given, **values})


# --- training ---


@pytest.fixture(scope="module")
def made():
    return list(tradeoff_steps(TRAIN, TEST, loss="hkr", loss_parameter=10.0, every=2, dataset="digits", **SMALL))


@pytest.mark.slow
def test_a_run_says_how_it_was_made_and_what_it_reached(made):
    assert [step.step for step in made] == [2, 4]
    last = made[-1]
    assert (last.dataset, last.loss, last.loss_parameter, last.samples) == ("digits", "hkr", 10.0, 60)
    assert 0 <= last.accuracy <= 1
    assert 0 <= last.mean_radius <= last.epsilons[-1]
    assert last.certified[0] == pytest.approx(last.accuracy, abs=1e-9)
    assert (np.diff(last.certified) <= 0).all()
    assert last.certified.shape == last.epsilons.shape


@pytest.mark.nightly
def test_a_run_can_be_repeated(made):
    again = tradeoff_run(TRAIN, TEST, loss="hkr", loss_parameter=10.0, dataset="digits", **SMALL)
    assert again.step == 4
    np.testing.assert_allclose(again.certified, made[-1].certified, atol=0.02)
    assert again.mean_radius == pytest.approx(made[-1].mean_radius, abs=1e-3)


@pytest.mark.slow
def test_two_classes_have_one_output():
    train, test = data.two_moons(100)
    last = tradeoff_run(train, test, loss_parameter=5.0, learning_rate=0.05, **{**SMALL, "steps": 20})
    assert last.accuracy > 0.78  # of ten seeds the mean is 0.92, and three standard deviations are 0.14


def test_the_parameter_of_the_loss_has_its_old_name_for_one_release(tmp_path):
    with pytest.warns(DeprecationWarning, match="use `loss_parameter`") as found:
        run = next(tradeoff_steps(TRAIN, TEST, dial=7.0, **{**SMALL, "steps": 1}))
    with pytest.warns(DeprecationWarning, match="use `TradeoffRun.loss_parameter`") as read:
        assert (run.dial, run.loss_parameter) == (7.0, 7.0)
    with pytest.warns(DeprecationWarning, match="use `TradeoffRun.loss_parameter_label`") as named:
        assert run.dial_name == run.loss_parameter_label == "τ = 7"
    assert {warnings[0].filename for warnings in (found, read, named)} == {__file__}
    write_runs([run], tmp_path / "runs.json")
    text = (tmp_path / "runs.json").read_text(encoding="utf-8")
    (tmp_path / "runs.json").write_text(text.replace("loss_parameter", "dial"), encoding="utf-8")
    assert read_runs(tmp_path / "runs.json")[0].loss_parameter == 7.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": "mse"}, "mse"),
        ({"loss_parameter": 0.0}, "loss_parameter"),
        ({"min_margin": -1.0}, "min_margin"),
        ({"epsilons": (1.0, 0.5)}, "ascending"),
        ({"epsilons": ()}, "epsilons"),
        ({"train": TRAIN[0]}, "pair"),
        ({"test": (np.zeros((3, 5)), [0, 1, 2])}, "64"),
        ({"train": (np.full((3, 64), np.nan), [0, 1, 2])}, "NaN"),
        ({"train": (np.zeros((0, 64)), [])}, "at least one"),
        ({"steps": 0}, "steps"),
    ],
)
def test_bad_input_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        tradeoff_run(**{"train": TRAIN, "test": TEST, **SMALL, **arguments})


# --- comparison ---


def dominated(accuracy, robustness):
    """Whether another is better in one and not worse in the other, one by one."""
    pairs = list(zip(accuracy, robustness, strict=True))
    return [any((a >= x and r >= y) and (a > x or r > y) for a, r in pairs) for x, y in pairs]


@pytest.mark.parametrize("seed", range(5))
def test_the_frontier_is_what_no_other_run_beats(seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 6, (12, 2)) / 6  # with ties
    compared = Tradeoff(tuple(run(*point) for point in points))
    beaten = dominated(compared.accuracy, compared.robustness)
    kept = {tuple(points[i]) for i in range(12) if not beaten[i]}
    assert {tuple(points[i]) for i in compared.frontier} == kept
    assert (np.diff(compared.robustness[compared.frontier]) > 0).all()
    assert (np.diff(compared.accuracy[compared.frontier]) < 0).all()


def test_robustness_is_a_radius_or_an_accuracy():
    compared = Tradeoff((run(0.8, 0.3), run(0.6, 0.4)))
    assert compared.robustness.tolist() == [0.3, 0.4]
    np.testing.assert_allclose(dataclasses.replace(compared, epsilon=0.5).robustness, [0.4, 0.3])
    assert np.isnan(run().certified_at(2.0))
    assert Tradeoff(()).frontier.tolist() == []


# --- the table ---


def test_the_table_has_both_losses_and_shows_a_tradeoff():
    table = tradeoff_table()
    assert {entry.loss for entry in table} == set(LOSSES)
    assert len({entry.seed for entry in table}) > 1
    by_tau = sorted((run for run in table if run.loss == "crossentropy"), key=lambda run: run.loss_parameter)
    assert by_tau[0].mean_radius > 1.5 * by_tau[-1].mean_radius
    assert max(entry.accuracy for entry in table) > 0.97
    for entry in table:
        assert entry.certified[0] == pytest.approx(entry.accuracy, abs=1e-4)
        assert (np.diff(entry.certified) <= 0).all()


@pytest.mark.slow
def test_runs_make_a_round_trip(tmp_path, made):
    path = tmp_path / "runs.json"
    write_runs(made, path)
    for before, after in zip(made, read_runs(path), strict=True):
        for field in dataclasses.fields(TradeoffRun):
            one, other = getattr(before, field.name), getattr(after, field.name)
            if isinstance(one, str):
                assert one == other
            else:
                np.testing.assert_allclose(other, one, atol=1e-5)


# --- one image ---


@pytest.fixture(scope="module")
def classifier():
    x, y = TRAIN[0].reshape(120, -1), TRAIN[1]
    return toy_classifier(x, y, width=8, depth=1, steps=30)


@pytest.fixture(scope="module")
def certifier(classifier):
    return images.ImageCertifier(classifier, TEST[0].reshape(60, -1), TEST[1])


@pytest.mark.nightly
def test_an_image_has_what_the_measurements_say(classifier, certifier):
    x = TEST[0].reshape(60, -1)
    radii = certified_radius(classifier, x, TEST[1])
    right = radii.predicted == TEST[1]
    assert 0 < right.sum() < 60
    for index in (0, 59, right.argmax(), right.argmin()):
        seen = certifier.image(index, 0.25)
        assert (seen.image.shape, seen.label, seen.predicted) == ((8, 8), TEST[1][index], radii.predicted[index])
        others = np.delete(seen.distances, seen.predicted)
        assert seen.radius == pytest.approx(others.min(), abs=1e-4)  # less what rounding may take, most on JAX
        assert seen.distances[seen.rival] == others.min()
        assert seen.is_certified == (seen.radius > 0.25)
        assert seen.is_right == (seen.predicted == seen.label)
        if seen.is_right:
            assert seen.radius == pytest.approx(radii.radii[index])
        np.testing.assert_allclose(
            seen.saliency.ravel(), saliency(classifier, x[index : index + 1]).maps[0], atol=1e-12
        )
        assert (seen.attack, seen.change, seen.found) == (None, None, None)
    np.testing.assert_allclose(seen.curve.certified, radii.accuracy_at(seen.curve.epsilons).certified)
    assert (np.diff(certifier.radii.radii[certifier.by_radius]) >= 0).all()


@pytest.mark.slow
def test_one_output_has_two_classes():
    (x, y), _ = data.two_moons(60)
    model = toy_classifier(x, y, width=4, depth=1, steps=5)
    seen = images.ImageCertifier(model, x).image(3)
    assert seen.distances[1 - seen.predicted] == seen.radius
    assert (seen.label, seen.is_right, seen.curve) == (None, None, None)
    assert seen.image.shape == (1, 2)


@pytest.mark.slow
def test_bad_images_are_named(classifier, certifier):
    with pytest.raises(ValueError, match="index"):
        certifier.image(60)
    with pytest.raises(ValueError, match="epsilon"):
        certifier.image(0, -1.0)
    with pytest.raises(ValueError, match="Expected images"):
        images.as_image(np.zeros((2, 2, 2)))
    assert images.as_image(np.zeros((2, 3, 3))).shape == (2, 3, 3)
    assert images.as_image(np.zeros((2, 3, 1))).shape == (2, 3)
    with pytest.raises(ValueError, match="labels"):
        images.ImageCertifier(classifier, TEST[0].reshape(60, -1), TEST[1][:5])
