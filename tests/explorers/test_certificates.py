import re

import keras
import numpy as np
import pytest

from lipviz import certification, data
from lipviz.explorers import certificates
from lipviz.explorers.certificates import CertificateExplorer
from lipviz.plots import style
from lipviz.toys.networks import toy_classifier

X, Y = data.digits(100, 40)[1]
FLAT = X.reshape(40, -1)


@pytest.fixture(scope="module")
def model():
    (x, y), _ = data.digits(100, 40)
    return toy_classifier(x.reshape(100, -1), y, width=8, depth=1, steps=30)


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


def test_previous_and_next(explorer):
    explorer.buttons["next"].click()
    explorer.buttons["next"].click()
    assert explorer.data.index == 2
    explorer.buttons["previous"].click()
    assert explorer.state["image"] == 1
    explorer.buttons["previous"].click()
    explorer.buttons["previous"].click()
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
    explorer = CertificateExplorer(model, FLAT[:5])
    assert explorer.error is None
    assert (explorer.data.label, explorer.data.curve) == (None, None)
    assert explorer.controls["image"].max == 4
    assert "label" not in words(explorer)
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
