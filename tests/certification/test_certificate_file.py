"""Certificates that are written, read back, and held against models."""

import dataclasses
import json
import math
import os

import keras
import numpy as np
import pytest

import lipviz
from lipviz.certification import (
    Certificate,
    LayerBound,
    certificate_file,
    certified_radius,
    certify,
    provenance,
    upper_bounds,
)
from lipviz.layers import GroupSort2, SpectralDense

X = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(0)
    return lipviz.Sequential([keras.Input((2,)), SpectralDense(4), GroupSort2(), SpectralDense(3)], name="net")


@pytest.fixture(scope="module")
def certificate(net):
    return certify(net, search=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.json"


def written(certificate, path, **radii):
    certificate.save(path, **radii)
    return json.loads(path.read_text("utf-8"))


# --- there and back ---


def test_what_is_read_is_what_was_written(net, certificate, path):
    loaded = Certificate.load((certificate.save(path), path)[1])
    assert loaded == certificate
    assert hash(loaded) == hash(certificate)
    assert type(loaded.input_shape) is tuple
    assert loaded.check(net).holds
    assert str(loaded) == str(certificate)


NUMBERS = (0.1, 1 / 3, 5e-324, math.nextafter(1, 2), 1.7976931348623157e308, 2.0**53 + 2, math.inf)


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_numbers_read_back_exactly(norm, certificate, path):
    rows = tuple(LayerBound(f"'ä\"∞\udc80 {v}", "Dense", 0.0, v, "SVD", v) for v in NUMBERS)
    shape = ((None, 3), (8, None, 1))
    odd = dataclasses.replace(certificate, layers=rows, upper_bound=math.inf, norm=norm, input_shape=shape)
    odd.save(path)
    loaded = Certificate.load(path)
    assert loaded == odd
    assert loaded.layers == rows


def test_the_file_is_json_of_the_standard_with_everything_in_it(net, certificate, path):
    def refuse(name):
        raise AssertionError(name)

    odd = dataclasses.replace(certificate, upper_bound=math.inf)
    odd.save(path, certified_radius(net, X))
    content = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert content["upper_bound"] == "Infinity"
    assert content["format_version"] == 1
    assert content["model"]["name"] == "net"
    assert content["model"]["class"] == "Sequential"
    assert {len(value) for value in content["model"]["sha256"].values()} == {64}
    assert set(content["versions"]) == {"lipviz", "keras", "backend", "numpy", "python"}
    assert content["versions"]["backend"].startswith(keras.backend.backend())
    assert content["arithmetic"]["model"] == ["float32"]
    assert content["arithmetic"]["bounds"] == "float64"
    assert content["created"].endswith("+00:00")
    assert content["search"] is None
    assert [row["name"] for row in content["layers"]] == [row.name for row in certificate.layers]


@pytest.mark.slow
def test_the_settings_of_the_search_are_in_it(net, path):
    samples = np.random.default_rng(1).normal(size=(8, 2))
    drawn, own = (written(certify(net, samples=s, seed=3), path)["search"] for s in (None, samples))
    assert drawn == {"steps": 30, "starts": 16, "seed": 3, "samples": {"drawn": 64}}
    assert own["samples"]["shape"] == [8, 2]
    assert own["samples"]["sha256"] == provenance.data_of(samples).sha256


@pytest.mark.parametrize(("passes", "steps", "starts"), [(64, 30, 2), (3, 3, 1), (0, 1, 1)])
def test_the_search_of_a_large_model_is_short_and_says_so(net, path, monkeypatch, passes, steps, starts):
    whole = upper_bounds.Trace(2)
    whole.follow(net, upper_bounds.input_flows(net, None))
    assert whole.products == sum(layer.kernel.shape[0] * layer.kernel.shape[1] for layer in net.layers if layer.weights)
    monkeypatch.setattr(upper_bounds, "_PRODUCTS", passes * whole.products)
    certificate = certify(net)
    assert f"{steps} steps from {starts} start(s)" in certificate.notes[-1]
    settings = written(certificate, path)["search"]
    assert (settings["steps"], settings["starts"]) == (steps, starts)
    assert 0 < certificate.lower_bound <= certificate.upper_bound


def test_a_search_without_a_seed_is_saved_too(net, path, monkeypatch):
    monkeypatch.setitem(upper_bounds._SEARCH, "steps", 1)
    monkeypatch.setitem(upper_bounds._SEARCH, "starts", 2)
    certificate = certify(net, seed=None)
    assert 0 < certificate.lower_bound <= certificate.upper_bound
    assert written(certificate, path)["search"]["seed"] is None
    assert Certificate.load(path) == certificate


@pytest.mark.parametrize("labels", [None, np.array([0, 1, 2, 0, 1])])
def test_radii_go_with_it(labels, net, certificate, path):
    radii = certified_radius(net, X, labels, logit_error=1e-6)
    content = written(certificate, path, radii=radii)["radii"]
    assert content["arithmetic"]["logit_error"] == 1e-6
    assert content["bounds_are"] == "computed"
    loaded = Certificate.load(path)
    for name in ("radii", "predicted", "margins", "labels", "bounds"):
        ours, theirs = getattr(radii, name), getattr(loaded.radii, name)
        np.testing.assert_array_equal(theirs, ours, err_msg=name)
        assert ours is None or ours.dtype == theirs.dtype
    assert loaded.radii.origin == radii.origin
    again = path.with_name("again.json")
    loaded.save(again)  # with the radii that it came with
    assert again.read_bytes() == path.read_bytes()


def test_radii_may_be_infinite(certificate, net, path):
    radii = dataclasses.replace(certified_radius(net, X), radii=np.array([np.inf, 0.0, 0.1, np.inf, 1 / 3]))
    certificate.save(path, radii)
    np.testing.assert_array_equal(Certificate.load(path).radii.radii, radii.radii)


# --- whose certificate it is ---


def altered(net, change):
    clone = keras.models.clone_model(net)
    clone.set_weights(net.get_weights())
    change(clone)
    return clone


def stored_otherwise(layer):
    layer.wbar.assign(2 * np.array(layer.wbar))
    layer.parametrization.origin.assign(np.array(layer.kernel))


def one_bit(model):
    bias = np.array(model.layers[0].bias)
    bias[0] = np.nextafter(bias[0], np.float32(1))
    model.layers[0].bias.assign(bias)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: None, []),
        (one_bit, ["its weights have changed"]),
        (
            lambda m: m.layers[0].set_klip_factor(2.0),
            ["its configuration has changed (architecture, or a setting such as k)"],
        ),
        (lambda m: m.layers[0].wbar.assign(2 * np.array(m.layers[0].wbar)), []),  # inference does not use it
        (lambda m: stored_otherwise(m.layers[0]), ["its constrained kernels are not"]),
    ],
)
def test_check_says_what_has_changed(change, words, net, certificate):
    found = certificate.check(altered(net, change))
    assert found.holds == bool(found) == (not words)
    assert len(found.differences) == len(words)
    for difference, start in zip(found.differences, words, strict=True):
        assert difference.startswith(start)
    assert str(found).startswith("The certificate does not fit" if words else "The certificate fits this model.")


def test_a_model_that_changes_after_certify_gets_no_certificate_of_its_own(net, path):
    model = altered(net, lambda m: None)
    certificate = certify(model, search=False)
    one_bit(model)
    certificate.save(path)
    assert not Certificate.load(path).check(model)
    assert Certificate.load(path).check(net)


def test_samples_are_compared_by_values_shape_and_dtype(net, certificate, path):
    certificate.save(path, certified_radius(net, X))
    loaded = Certificate.load(path)
    assert loaded.check(net, X).holds
    assert loaded.check(net, X).notes == ()
    assert "its radii belong to samples that were not compared" in str(loaded.check(net))
    for other in (X[::-1], X[:4], X.astype(np.float64), X.reshape(1, 5, 2), np.nextafter(X, np.float32(9))):
        (difference,) = loaded.check(net, other).differences
        assert difference.startswith("the samples are not those of its radii")
        assert ("not float32 of shape (5, 2))" in difference) == (other.shape != X.shape or other.dtype != X.dtype)
    with pytest.raises(ValueError, match="holds no radii"):
        certificate.check(net, X)


def test_another_version_is_a_note(net, certificate):
    old = {"lipviz": "0.0.1", "keras": keras.__version__, "backend": "other 9.0", "numpy": np.__version__}
    moved = dataclasses.replace(certificate, origin=dataclasses.replace(certificate.origin, versions=old))
    found = moved.check(net)
    assert found.holds
    assert found.notes == (
        f"made with lipviz 0.0.1, compared with lipviz {lipviz.__version__}",
        f"made with other 9.0, compared with {provenance.versions()['backend']}",
    )


def test_another_version_of_keras_casts_doubt_on_another_configuration(net, certificate):
    versions = {**certificate.origin.versions, "keras": "3.1"}
    moved = dataclasses.replace(certificate, origin=dataclasses.replace(certificate.origin, versions=versions))
    found = moved.check(altered(net, lambda m: m.layers[0].set_klip_factor(2.0)))
    assert "unless the other version of Keras only describes it in another way" in found.differences[0]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["net"], TypeError, "Received: str"),
        ([keras.layers.Dense(2)], ValueError, "must be built"),
    ],
)
def test_check_refuses_what_is_no_model(arguments, error, words, certificate):
    with pytest.raises(error, match=words):
        certificate.check(*arguments)


class Unspoken(keras.Model):
    """A model that Keras cannot describe."""

    def call(self, inputs):
        return inputs

    def get_config(self):
        raise NotImplementedError("no\nconfiguration")


def test_a_model_without_a_configuration_has_a_certificate_but_no_file(net, certificate, path):
    model = Unspoken()
    model.build((None, 2))
    own = certify(model, (2,), search=False)
    with pytest.raises(ValueError, match=r"cannot be saved: .*written down \(NotImplementedError: no configuration\)"):
        own.save(path)
    with pytest.raises(ValueError, match="holds no hashes"):
        own.check(net)
    with pytest.raises(ValueError, match="cannot be saved: it was not made by `certify`"):
        Certificate("net", 1.0, 0.0, (), 2, (2,)).save(path)
    assert certificate.check(model).differences[0].startswith("the model cannot be hashed (NotImplementedError")
    assert not path.exists()


def test_radii_of_something_else_are_refused(net, certificate, path):
    for radii in (np.ones(3), [0.1]):
        with pytest.raises(TypeError, match="what `certified_radius` returns"):
            certificate.save(path, radii)
    ours = certified_radius(net, X)
    with pytest.raises(ValueError, match="radii of unknown samples"):
        certificate.save(path, dataclasses.replace(ours, origin=None))
    with pytest.raises(ValueError, match="Received: radii of another model"):
        certificate.save(path, certified_radius(altered(net, one_bit), X))
    assert not path.exists()


# --- files ---


def test_a_file_is_replaced_at_once_or_not_at_all(certificate, path, monkeypatch):
    certificate.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left") as caught:
        dataclasses.replace(certificate, upper_bound=2.0).save(path)
    assert caught.value.filename == str(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    dataclasses.replace(certificate, upper_bound=2.0).save(path)
    assert Certificate.load(path).upper_bound == 2.0
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_link_stays_a_link(certificate, path):
    link = path.with_name("latest.json")
    link.symlink_to(path)
    certificate.save(link)
    assert link.is_symlink()
    assert Certificate.load(path) == certificate


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", IsADirectoryError, "is a folder"),
        ("none/net.json", FileNotFoundError, "There is no folder"),
        ("net.keras", ValueError, "A certificate is JSON"),
        ("net.weights.H5", ValueError, "A certificate is JSON"),
        ("pipe", ValueError, "no regular file"),
    ],
)
def test_what_cannot_be_written_is_refused(name, error, words, certificate, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error, match=words):
        certificate.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_file_that_may_not_be_written_is_not_replaced(certificate, path, monkeypatch):
    certificate.save(path)
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # root may write everything
    with pytest.raises(PermissionError, match="may not be written"):
        certificate.save(path)


def with_content(certificate, path, **changes):
    """Write a file with other entries, and the checksum that belongs to them."""
    content = {**written(certificate, path), **changes}
    head = {name: content.pop(name) for name in ("format", "format_version", "checksum")}
    content = {name: value for name, value in content.items() if value is not ...}
    path.write_text(json.dumps({**head, "checksum": certificate_file._checksum(content), **content}))
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"PK\x03\x04 a model", "is a saved model"),
        (b"\x89HDF\r\n", "is a saved model"),
        (b"certificate", "it is no JSON"),
        (b"\xff\xfe\x00", "it is no JSON"),
        (b'{"format": NaN}', "NaN is no number of JSON"),
        (b'{"format": 1e999}', "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[1]", "is no certificate of lipviz"),
        (b"{}", "is no certificate of lipviz"),
        (b'{"format": "lipviz certificate"}', "is no certificate of lipviz"),
        (b'{"format": "another", "format_version": 1}', "is no certificate of lipviz"),
        (b'{"format": "lipviz certificate", "format_version": 2}', r"in format 2, and lipviz \S+ reads format 1"),
        (b'{"format": "lipviz certificate", "format_version": "a"}', "in format 'a'"),
        (b'{"format": "lipviz certificate", "format_version": 1}', "damaged or was edited"),
    ],
)
def test_what_is_no_certificate_is_refused_in_one_line(content, words, path):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        Certificate.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        Certificate.load(tmp_path / "none.json")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        Certificate.load(tmp_path)


def says_the_same(text, other):
    """Whether two files hold the same JSON, if the first holds any."""
    try:
        return json.loads(text) == json.loads(other)
    except ValueError:
        return False


def test_no_edit_and_no_cut_is_believed(net, certificate, path):
    certificate.save(path, certified_radius(net, X))
    whole = path.read_bytes()
    places = np.random.default_rng(0).choice(len(whole) - 1, 60, replace=False)  # without the end of the last line
    for place in places:
        edited = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        if says_the_same(edited, whole):  # the 17th digit of a number may not count
            continue
        path.write_bytes(edited)
        with pytest.raises(ValueError, match=r"net\.json"):
            Certificate.load(path)
        path.write_bytes(whole[:place])
        with pytest.raises(ValueError, match=r"net\.json"):
            Certificate.load(path)


def test_white_space_and_the_order_of_keys_do_not_count(certificate, path):
    content = written(certificate, path)
    path.write_text(json.dumps(dict(reversed(content.items())), indent=7), encoding="utf-8-sig")
    assert Certificate.load(path) == certificate


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "3"}, "is no whole certificate"),
        ({"norm": ...}, "it holds no 'norm'"),
        ({"model": ...}, "it holds no 'model'"),
        ({"model": "net"}, "is no whole certificate"),
        ({"layers": [{}]}, "it holds no 'lower'"),
        ({"layers": None}, "is no whole certificate"),
        ({"upper_bound": "much"}, "is no whole certificate"),
        ({"upper_bound": None}, "is no whole certificate"),
        ({"radii": {}}, "it holds no 'data'"),
        ({"radii": []}, "is no whole certificate"),
    ],
)
def test_a_file_of_the_right_format_with_holes_is_refused_in_one_line(changes, words, certificate, path):
    with pytest.raises(ValueError, match=words) as caught:
        Certificate.load(with_content(certificate, path, **changes))
    assert "\n" not in str(caught.value)
