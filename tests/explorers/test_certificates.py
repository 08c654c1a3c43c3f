import re

import keras
import numpy as np
import pytest

from lipviz import certification, data
from lipviz.explorers import certificates
from lipviz.explorers.certificates import CertificateExplorer
from lipviz.explorers.shell.canvas import tiles
from lipviz.plots import style
from lipviz.toys.networks import toy_classifier

X, Y = data.digits(100, 40)[1]
FLAT = X.reshape(40, -1)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def model():
    (x, y), _ = data.digits(100, 40)
    return toy_classifier(x.reshape(100, -1), y, width=8, depth=1, steps=30)


@pytest.mark.parametrize(
    ("names", "kind", "words"),
    [
        (DIGITS[:9], ValueError, "one for each of 10 classes, received 9"),
        ("digits", TypeError, "a text for each class, received 'digits'"),
        (range(10), TypeError, "a text for each class"),
    ],
)
def test_wrong_class_names_are_refused(model, names, kind, words):
    with pytest.raises(kind, match=words):
        CertificateExplorer(model, FLAT, Y, class_names=names)


@pytest.fixture(scope="module")
def shared(model):
    explorer = CertificateExplorer(model, FLAT, Y)
    yield explorer
    explorer.close()


def words(explorer):
    return re.sub(r"<[^>]*>", " ", explorer._results.value)


@pytest.mark.slow
def test_it_shows_what_is_certified(explorer, model):
    radii = certification.certified_radius(model, FLAT)
    explorer.state = {"image": 7, "epsilon": 0.05}
    assert explorer.error is None
    assert explorer.work_state == "idle"
    assert explorer.data.index == 7
    assert explorer.data.radius == pytest.approx(radii.radii[7])
    assert radii.radii[7] > 0
    assert f"No change shorter than {style.number(radii.radii[7], 4)} can alter" in words(explorer)
    explorer.state = {"epsilon": 2.0}
    assert "the certificate says nothing" in words(explorer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"), [("image", 30), ("order", "radius"), ("epsilon", 1.2)], ids=lambda value: str(value)
)
def test_every_control_moves_the_picture(explorer, name, value):
    before = explorer._image.panels
    explorer.state = {name: value}
    assert explorer.error is None
    assert explorer._image.panels != before
    explorer.reset()
    assert explorer._image.panels == before


def test_a_control_says_what_the_product_of_single_steps_loses():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), *(keras.layers.Dense(16, "relu") for _ in range(2))])
    model.add(keras.layers.Dense(10))
    explorer = CertificateExplorer(model, FLAT, Y)
    (together, product) = (certification.certified_radius(model, FLAT, method=m).radii[3] for m in ("auto", "product"))
    near = certification.certified_radius(model, FLAT[3:4], local=True).radii[0]
    assert product < 0.9 * together < 0.9 * near
    times = style.number(together / product)
    names = f"The product loses most at {model.layers[0].name} → {model.layers[2].name}."
    said = {
        "auto": f"The product of single steps gives {style.number(product, 4)}, {times} times smaller. {names}",
        "product": f"Several steps together give {style.number(together, 4)}, {times} times as large. {names}",
        "local": f"it is {style.number(together, 4)}, {style.number(near / together)} times smaller. The product of",
    }
    reached = set()
    for bound, radius in (("auto", together), ("product", product), ("local", near)):
        explorer.state = {"image": 3, "bound": bound}
        assert explorer.error is None
        assert explorer.data.radius == pytest.approx(radius, rel=1e-9)
        assert explorer.data.distances[explorer.data.rival] == pytest.approx(radius, rel=1e-6)
        assert said[bound] in words(explorer)
        reached.add(explorer.data.curve.certified.sum())
    assert len(reached) == 2  # the product has a curve of its own
    with pytest.raises(ValueError, match="`bound` must be one of"):
        explorer._present().image(3, bound="largest")
    explorer.close()


def test_the_product_loses_nothing_for_orthogonal_layers(explorer):
    explorer.state = {"bound": "local"}
    assert "The product of the bounds of single steps loses nothing here." in words(explorer)


def test_previous_and_next(explorer):
    explorer.buttons["next"].click()
    explorer.buttons["next"].click()
    assert explorer.data.index == 2
    explorer.buttons["previous"].click()
    assert explorer.state["image"] == 1
    explorer.buttons["previous"].click()
    explorer.buttons["previous"].click()
    assert explorer.state["image"] == 0


def fact(explorer, name, kind=np.int32):
    """What the strip of images gets."""
    return np.frombuffer(explorer.controls["image"].facts[name], kind)


@pytest.mark.parametrize("order", ["given", "radius"])
def test_the_strip_says_of_each_image_what_is_certified(explorer, model, order):
    explorer.state = {"order": order, "image": 3}
    known = certification.certified_radius(model, FLAT)
    np.testing.assert_array_equal(fact(explorer, "radii", np.float64), known.radii)
    np.testing.assert_array_equal(fact(explorer, "predicted"), known.predicted)
    np.testing.assert_array_equal(fact(explorer, "labels"), Y)
    numbers = np.arange(40) if order == "given" else np.argsort(known.radii, kind="stable")
    np.testing.assert_array_equal(fact(explorer, "order"), numbers)
    assert explorer.data.index == numbers[3]


def test_a_tile_has_the_pixels_of_its_image(explorer):
    sent = explorer.controls["image"].pictures
    assert sent["shape"] == [40, 8, 8, 1]
    pixels = np.frombuffer(sent["pixels"], np.uint8).reshape(40, 8, 8)
    image, low, high = FLAT[5].reshape(8, 8), FLAT[5].min(), FLAT[5].max()
    np.testing.assert_array_equal(pixels[5], np.round(255 * (image - low) / (high - low)))


def test_a_tile_of_a_large_image_has_means_of_its_pixels():
    image = np.random.default_rng(0).random((2, 70, 65, 3))
    small = tiles.thumbnails(image)
    assert (small.shape, small.dtype) == ((2, 24, 22, 3), np.uint8)
    means = [image[1, :3, :3].mean(axis=(0, 1)), image[1, 69:, 63:].mean(axis=(0, 1))]
    ratio = np.subtract(*means) * 255 / (small[1, 0, 0] - small[1, -1, -1].astype(float))
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.05)  # one scale for all pixels and colours
    assert (small.min(axis=(1, 2, 3)).tolist(), small.max(axis=(1, 2, 3)).tolist()) == ([0, 0], [255, 255])
    assert tiles.thumbnails(np.ones((1, 2, 2))).tolist() == [[[[0], [0]], [[0], [0]]]]


def test_a_place_that_is_not_there_is_refused_and_nothing_is_lost(explorer):
    explorer.state = {"image": 40}
    assert "takes 0 to 39" in str(explorer.error) or "0, …, 39" in str(explorer.error)
    assert explorer.state["image"] == 0
    explorer.controls["image"].value = -7  # as a page may say
    assert explorer.state["image"] == 0


def test_images_in_the_order_of_their_radii(explorer):
    explorer.state = {"order": "radius", "image": 0}
    first = explorer.data.radius
    explorer.state = {"image": 39}
    assert first <= explorer.data.radius
    assert explorer.data.radius == explorer._present().radii.radii.max()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["deepfool", "pgd"])
def test_an_attack_never_succeeds_within_the_radius(explorer, method):
    pytest.importorskip("art")
    explorer.state = {"method": method, "epsilon": 1.5, "image": 4}
    explorer.start()
    assert explorer.wait(300)
    assert explorer.error is None
    seen = explorer.data
    assert seen.attack.method == method
    assert seen.attacked.shape == (8, 8)
    assert 1.5 > 4 * seen.radius > 0
    assert seen.attack.success[0]  # DeepFool has no limit, and that of PGD is far beyond the boundary
    assert seen.found >= seen.radius
    assert "outside the certified radius" in words(explorer)
    explorer.state = {"image": 5}
    assert explorer.data.attack is None
    explorer.state = {"image": 4}
    assert explorer.data.attack is not None  # kept, until it is dropped by another or by a reset


def test_an_attack_without_the_toolbox_is_explained(explorer, monkeypatch):
    def missing(*arguments, **settings):
        raise ImportError("attack needs the Adversarial Robustness Toolbox: pip install adversarial-robustness-toolbox")

    monkeypatch.setattr(certification, "attack", missing)
    explorer.start()
    explorer.wait(300)
    assert "pip install" in explorer._alert.value
    explorer.reset()
    assert explorer.error is None


def test_labels_are_optional(model):
    explorer = CertificateExplorer(model, FLAT[:5], class_names=DIGITS)
    decision, rival = (DIGITS[number] for number in (explorer.data.predicted, explorer.data.rival))
    assert f"alter the decision for {decision}." in words(explorer)
    assert ("nearest other class", rival) in explorer.numbers(explorer.data)
    assert explorer.error is None
    assert (explorer.data.label, explorer.data.curve) == (None, None)
    assert explorer.controls["image"].max == 4
    assert "label" not in words(explorer)
    assert explorer.controls["image"].facts["labels"] is None
    explorer.close()


def test_a_model_that_cannot_be_certified_is_explained():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, "exponential"), keras.layers.Dense(10)])
    explorer = CertificateExplorer(model, FLAT, Y)
    assert "no Lipschitz constant that is known" in str(explorer.error)
    assert explorer.work_state == "idle"
    explorer.close()
    with pytest.raises(ValueError, match="together"):
        CertificateExplorer(model)


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_without_a_model_it_trains_one_once_for_a_process(monkeypatch):
    monkeypatch.setattr(certificates, "_TRAINED", {})
    monkeypatch.setattr(certificates, "_STEPS", 4)
    monkeypatch.setattr(certificates, "_PICTURES", 2)
    first = CertificateExplorer()
    assert first.data is not None  # before the training, fresh weights
    assert first.wait(300)
    assert first.error is None
    assert (first.data.step, first.data.steps) == (4, 4)
    assert first.data.saliency.shape == (8, 8)
    second = CertificateExplorer()
    assert second.work_state == "idle"
    assert second.data.step == 4
    assert second.static().alt.startswith("Three panels")
    for explorer in (first, second):
        explorer.close()


def test_numbers_can_be_saved(explorer, tmp_path):
    explorer.save(tmp_path / "numbers.csv")
    assert "certified radius" in (tmp_path / "numbers.csv").read_text(encoding="utf-8")
    assert np.isfinite(explorer.data.radius)
