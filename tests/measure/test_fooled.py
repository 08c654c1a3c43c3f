"""Two networks and one image under attacks: lengths, decisions, and what is proved, against NumPy in float64."""

import keras
import numpy as np
import pytest

from lipviz import measure
from lipviz.toys.fashion import FILE, attacked_images, fashion_pair

KERNELS = (np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [0, 0, 0]]), np.eye(4, 3))
CLASSES = ("one", "two", "three")


def linear(kernel, name):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)], name=name)
    model.set_weights([kernel])
    return model


@pytest.fixture(scope="module")
def models():
    return tuple(linear(kernel, name) for kernel, name in zip(KERNELS, ("steep", "flat"), strict=True))


IMAGES = np.array([[[0.9, 0.1], [0.2, 0.5]], [[0.0, 1.0], [0.3, 0.0]]])
DIRECTIONS = np.array([[[-1.0, 1], [0, 0]], [[1, -1], [0, 0.0]]])[:, None].repeat(2, axis=1) / np.sqrt(2)


@pytest.fixture(scope="module")
def measured(models):
    return measure.FoolingMeasurement(models, IMAGES, [0, 1], DIRECTIONS, CLASSES, 2.0)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("epsilon", [0.0, 1e-9, 0.3, 0.8, 1.2, 50.0])
def test_the_change_has_the_length_and_stays_in_the_box(index, epsilon, measured):
    found = measured.image(index, epsilon)
    for place, network in enumerate(found.networks):
        change = network.image - IMAGES[index]
        assert network.image.min() >= 0
        assert network.image.max() <= 1
        assert network.length == pytest.approx(np.linalg.norm(change), abs=1e-12)
        most = np.linalg.norm(np.clip(IMAGES[index] + 1e9 * DIRECTIONS[index, place], 0, 1) - IMAGES[index])
        assert network.length == pytest.approx(min(epsilon, most), abs=1e-6)
        assert (change * DIRECTIONS[index, place] >= 0).all()
        scores = network.image.ravel() @ KERNELS[place]
        np.testing.assert_allclose(network.logits, scores, rtol=1e-6, atol=1e-6)
        assert network.predicted == scores.argmax()


def test_what_is_proved_is_true_and_no_attack_contradicts_it(measured):
    for index, label in enumerate((0, 1)):
        for place, network in enumerate(measured.image(index, 0.5).networks):
            scores = IMAGES[index].ravel() @ KERNELS[place]
            gaps = np.delete(scores[label] - scores, label)
            columns = np.delete(KERNELS[place][:, [label]] - KERNELS[place], label, axis=1)
            exact = (
                gaps / np.linalg.norm(columns, axis=0)
            ).min()  # the distance to the boundary of a linear classifier
            assert network.radius <= exact * (1 + 1e-9)
            assert network.radius >= 0.99 * exact
            assert network.fooled_at >= network.radius - 0.01
            assert measured.image(index, network.fooled_at).networks[place].predicted != label
            assert not measured.image(index, network.radius * 0.999).is_fooled(place)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"directions": DIRECTIONS[:1]}, r"directions: expected the shape \(2, 2, 2, 2\)"),
        ({"images": 2 * IMAGES}, "images: expected grey levels from 0 to 1"),
        ({"images": IMAGES - 1e-3}, "images: expected grey levels from 0 to 1"),
        ({"images": IMAGES * np.nan}, "images: expected grey levels from 0 to 1"),
        ({"labels": [0, 2]}, "labels: expected the decisions"),
    ],
)
def test_what_does_not_fit_is_refused(change, complaint, models):
    given = {"images": IMAGES, "labels": [0, 1], "directions": DIRECTIONS} | change
    with pytest.raises(ValueError, match=complaint):
        measure.FoolingMeasurement(models, class_names=CLASSES, longest=1.0, **given)


@pytest.mark.parametrize(("index", "epsilon"), [(-1, 0.1), (2, 0.1), (0, -0.1), (0, float("nan"))])
def test_a_number_out_of_range_is_refused(index, epsilon, measured):
    with pytest.raises(ValueError, match=r"(index|epsilon): expected a number"):
        measured.image(index, epsilon)


# What lipviz ships


@pytest.mark.nightly
def test_the_file_is_small_and_its_claims_are_true():
    assert FILE.stat().st_size <= 300_000
    given = attacked_images()
    assert given.images.shape == (5, 28, 28)
    assert len(set(given.labels)) == 5
    np.testing.assert_allclose(np.linalg.norm(given.directions.reshape(5, 2, -1), axis=-1), 1, atol=2e-3)
    pair = fashion_pair()
    names = tuple(map(str, range(10)))
    measured = measure.FoolingMeasurement(pair, given.images, given.labels, given.directions, names, 4.0)
    spectra = [np.linalg.svd(np.asarray(layer.wbar, float), compute_uv=False) for layer in pair[1].layers[::2]]
    assert np.prod([values[0] for values in spectra]) <= 1
    for index in range(5):
        ordinary, constrained = measured.image(index, 1.0).networks
        assert ordinary.radius < ordinary.fooled_at < 0.6
        assert constrained.fooled_at > 1.9 * ordinary.fooled_at
        assert ordinary.fooled_at < constrained.radius < constrained.fooled_at < 4
        # With the constant 1, the radius is at least the margin over the root of 2.
        margin = np.diff(np.sort(measured.image(index, 0.0).networks[1].logits))[-1]
        assert constrained.radius == pytest.approx(margin / np.sqrt(2), rel=2e-2)
