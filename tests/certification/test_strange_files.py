"""Files from strangers: none of them runs code, writes elsewhere, reads other files, or fills the memory."""

import io
import json
import os
import stat
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest

from lipviz.certification.model_file import load_model_file


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The parts of a saved model."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="first"), keras.layers.Dense(2)]).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, parts, *more, compression=zipfile.ZIP_DEFLATED):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore", UserWarning)  # of duplicates
        for name, content in [*parts.items(), *more]:
            archive.writestr(name, content)
    return path


def with_layer(parts, layer):
    config = json.loads(parts["config.json"])
    config["config"]["layers"].insert(1, layer)
    return parts | {"config.json": json.dumps(config)}


def with_settings(parts, **settings):
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1]["config"].update(settings)
    return parts | {"config.json": json.dumps(config)}


def refused(path, reason=None):
    with pytest.raises(ValueError, match=reason) as raised:
        load_model_file(path)
    assert f"{str(path)!r} cannot be loaded: " in str(raised.value)


def test_an_archive_that_was_compressed_again_is_loaded(saved, tmp_path):
    model = load_model_file(written(tmp_path / "m.keras", saved))
    assert [layer.units for layer in model.layers] == [3, 2]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_code_in_a_lambda_does_not_run(suffix, tmp_path):
    mark, path = tmp_path / "ran", tmp_path / f"m.{suffix}"
    run = keras.layers.Lambda(lambda x, mark=str(mark): (__import__("os").mkdir(mark), x)[1])
    keras.Sequential([keras.Input((4,)), run]).save(path)
    mark.rmdir()  # building the model has run it
    refused(path, "Lambda")
    assert not mark.exists()


STRANGE_LAYERS = {
    "a function": {"module": "os", "class_name": "mkdir", "config": {"path": "MARK"}, "registered_name": "mkdir"},
    "a class": {"module": "pathlib", "class_name": "Path.mkdir", "config": {"self": "MARK"}, "registered_name": None},
    "a vocabulary": {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"name": "lookup", "vocabulary": "/etc/passwd"},
        "registered_name": None,
    },
    "a saved function": {
        "module": "keras.layers",
        "class_name": "TFSMLayer",
        "config": {"name": "function", "filepath": "MARK"},
        "registered_name": None,
    },
}


@pytest.mark.parametrize("layer", STRANGE_LAYERS)
def test_what_is_no_layer_and_what_reads_other_files_is_refused(layer, saved, tmp_path):
    mark = tmp_path / "ran"
    layer = json.loads(json.dumps(STRANGE_LAYERS[layer]).replace("MARK", str(mark)))
    refused(written(tmp_path / "m.keras", with_layer(saved, layer)))
    assert not mark.exists()


def test_an_initializer_is_no_way_to_call_a_function(saved, tmp_path):
    mark = tmp_path / "ran"
    call = {"module": "os", "class_name": "mkdir", "config": {"path": str(mark)}, "registered_name": None}
    refused(written(tmp_path / "m.keras", with_settings(saved, kernel_initializer=call)), "initializer")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../out", "/out", "assets/../../out", "assets\\..\\..\\out", "C:/out", "C:out"])
def test_no_part_is_written_elsewhere(name, saved, tmp_path):
    path = tmp_path / "folder" / "m.keras"
    path.parent.mkdir()
    refused(written(path, saved, (zipfile.ZipInfo(name), "x")), "outside of the folder")
    assert [found.name for found in tmp_path.rglob("*")] == ["folder", "m.keras"]


def test_no_part_is_a_link(saved, tmp_path):
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(written(tmp_path / "m.keras", saved, (link, "/etc/passwd")), "outside of the folder")


def test_no_part_is_there_twice(saved, tmp_path):
    other = with_settings(saved, activation="relu")["config.json"]
    refused(written(tmp_path / "m.keras", saved, ("config.json", other)), "twice")


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "assets/a"])
def test_no_part_unpacks_to_far_more_than_it_stores(name, saved, tmp_path):
    bomb = saved.get(name, b"") + b" " * 2**25
    refused(written(tmp_path / "m.keras", saved | {name: bomb}), r"33,\d{3},\d{3} bytes from [\d,]+, as no saved model")


def test_a_configuration_is_small(saved, tmp_path):
    # It compresses badly, so that only its size speaks against it.
    words = np.random.default_rng(0).integers(97, 123, 2**20, np.uint8).tobytes() * 65
    path = written(tmp_path / "m.keras", saved | {"config.json": words}, compression=zipfile.ZIP_STORED)
    refused(path, "Expected at most 67,108,864 for a configuration")


def test_no_layer_is_larger_than_the_stored_weights(saved, tmp_path):
    path = written(tmp_path / "m.keras", with_settings(saved, units=10**9))
    refused(path, "a layer has a size of 1,000,000,000, but all weights are stored in")


def link_elsewhere(weights, name, folder):
    weights[name] = h5py.ExternalLink(os.fspath(folder / "other.h5"), "kernel")


def store_elsewhere(weights, name, folder):
    weights.create_dataset(name, (4, 3), "f4", external=[(os.fspath(folder / "other.h5"), 0, 48)])


def hardly_store(weights, name, folder):
    weights.create_dataset(name, (2**17, 2**17), "f4", chunks=(2**10, 2**10))


def link_to_itself(weights, name, folder):
    weights[name] = h5py.SoftLink(f"/{name}")


@pytest.mark.parametrize("change", [link_elsewhere, store_elsewhere, hardly_store, link_to_itself])
def test_weights_are_numbers_in_the_file_itself(change, saved, tmp_path):
    name, file = "layers/dense/vars/0", io.BytesIO(saved["model.weights.h5"])
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["kernel"] = np.ones((4, 3), "f4")
    with h5py.File(file, "a") as weights:
        del weights[name]
        change(weights, name, tmp_path)
    refused(written(tmp_path / "m.keras", saved | {"model.weights.h5": file.getvalue()}), "Not allowed")
