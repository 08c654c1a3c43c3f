"""What must not change by accident: names, `wbar`, and the files of version 0.1, as `tests/pins` holds them.

`test_pins_certificates.py` and `test_pins_explorers.py` hold the other parts; they take longer, and another process.
"""

import keras
import numpy as np
import pytest

from lipviz import layers
from lipviz.keras_internals import inner_layers
from tests.pins_support import assert_unchanged
from tools import pins
from tools.pins import __main__ as command
from tools.pins import kernels, names, rounding, storage, version_0_1
from tools.pins.comparing import differences, texts_agree
from tools.pins.rounding import EXACT, Tolerance


@pytest.mark.lists
def test_names_and_signatures():
    assert_unchanged(names)


@pytest.mark.slow
def test_wbar_of_fixed_kernels():
    assert_unchanged(kernels)


@pytest.mark.lists
def test_every_layer_with_a_kernel_is_pinned():
    classes = [getattr(layers, name) for name in layers.__all__]
    constrained = {kind.__name__ for kind in classes if issubclass(kind, layers.ConstrainedKernel)}
    missing = constrained - {"ConstrainedKernel"} - {kind for kind, *_ in kernels.cases().values()}
    assert not missing, (
        "enter it in _SHAPES and _SETTINGS of tools/pins/kernels.py, and run `python -m tools.pins kernels`"
    )


@pytest.mark.parametrize("name", version_0_1.MODELS)
def test_a_file_of_version_0_1_loads_and_predicts_the_same(name):
    dtype = name.removeprefix("mixed_")
    if dtype == "bfloat16" and not version_0_1.has_convolutions_in(dtype):
        pytest.skip("this computer has no convolutions in bfloat16, as under ONEDNN_MAX_CPU_ISA=AVX2")
    assert_unchanged(version_0_1, [name])


@pytest.mark.slow
def test_the_files_hold_every_layer_of_version_0_1():
    models = [version_0_1.loaded(name) for name in version_0_1.MODELS]
    found = [layer for model in models for layer in (model, *inner_layers(model))]
    activations = [getattr(layer, "activation", None) for layer in found]
    kinds = {type(layer).__name__ for layer in (*found, *activations)}
    assert set(version_0_1.LAYERS) <= kinds
    assert {type(model).__name__ for model in models} == {"Sequential", "Functional"}
    assert {type(model).__module__.split(".")[0] for model in models} == {"lipviz", "keras"}


def test_files_that_are_there_are_not_written_again(monkeypatch, capsys):
    monkeypatch.setattr(version_0_1, "present", lambda: storage.read(pins.path_of(version_0_1)))
    folder = storage.FOLDER / version_0_1.FILE
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert command.main(["version_0_1"]) == 1
    assert "left alone" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_command_says_what_changed_and_keeps_the_rest(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storage, "FOLDER", tmp_path / "tests" / "pins")
    monkeypatch.setattr(names, "present", lambda: {"f": {"is": "(a)"}, "g": {"is": "(b)"}})
    assert command.main(["names"]) == 0
    assert capsys.readouterr().out == "names.txt: all 2 entries are new\n"
    monkeypatch.setattr(names, "present", lambda: {"f": {"is": "(a)"}, "g": {"is": "(b=1)"}, "h": {"is": "()"}})
    assert command.main(["names"]) == 0
    assert capsys.readouterr().out == (
        "names.txt: 2 of 3 entries changed:\n  g: is was '(b)', is '(b=1)'\n  h: is new\n"
    )
    assert storage.FOLDER.joinpath("names.txt").read_text() == "f(a)\ng(b=1)\nh()\n"


def test_the_command_keeps_what_only_rounding_moved(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "FOLDER", tmp_path / "tests" / "pins")
    monkeypatch.setattr(kernels, "tolerance", lambda name, key: Tolerance(1e-6))
    for value, kept in ((1.0, 1.0), (1 + 1e-7, 1.0), (1 + 1e-5, 1 + 1e-5)):
        monkeypatch.setattr(kernels, "present", lambda value=value: {"a": {"wbar": np.array([value])}})
        assert command.main(["kernels"]) == 0
        assert storage.read(pins.path_of(kernels))["a"]["wbar"] == [kept]


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["nmaes"])
    assert "expected one of names" in capsys.readouterr().err


# --- the comparison itself ---


@pytest.mark.parametrize(
    ("old", "new", "agree"),
    [
        ("at most 0.9999983 of 64 × 64", "at most 0.9999984 of 64 × 64", True),
        ("at most 0.9999983 of 64 × 64", "at most 0.9999993 of 64 × 64", False),
        ("at most 0.9999983 of 64 × 64", "at most 0.9999983 of 64 × 63", False),
        ("10 of 15 iterations", "11 of 15 iterations", False),
        ("from 0.5 up to 1", "from 0.5 down to 1", False),
        ("certifies 0.999999", "certifies 1", True),
        ("certifies 0.99", "certifies 1.1", False),
        ("3.18e-8 left", "3.19e-8 left", True),
        ("3.18e-8 left", "3.18e-7 left", False),
        ("it is -0.5", "it is 0.5", False),
        ("class 1", "class 2", False),
    ],
)
def test_words_and_counts_are_exact_and_other_numbers_one_unit_apart(old, new, agree):
    assert texts_agree(old, new, EXACT) is agree


def test_a_number_may_move_by_the_tolerance_and_one_unit():
    assert texts_agree("1.41e-6", "9.3e-7", Tolerance(absolute=1e-6))
    assert not texts_agree("2.410", "2.414", Tolerance(absolute=2e-3))
    assert texts_agree("2.410", "2.413", Tolerance(absolute=2e-3))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (1.0, 1.1, "a was 1.0, is 1.1"),
        (True, 1.0, "a was True, is 1.0"),
        ("infinity", 3.0, "a was 'infinity', is 3.0"),
        ([1, 2], [1, 2, 3], "a was [1, 2], is [1, 2, 3]"),
        ({"b": [0.5, "SVD"]}, {"b": [0.5, "rows"]}, "a, b 2 was 'SVD', is 'rows'"),
        (
            "0123456789" * 9 + " one word " + "9876543210" * 9,
            "0123456789" * 9 + " one more word " + "9876543210" * 9,
            "a was '… 1234567890123456789 one word 9876543210987654321 …', is "
            "'… 1234567890123456789 one more word 9876543210987654321 …'",
        ),
        (np.eye(2), np.eye(3), "a was 'float64 of shape (2, 2)', is 'float64 of shape (3, 3)'"),
        (
            np.ones(2),
            np.array([1.0, np.nan]),
            "a[1] was 1.0, is nan, and 0 more of 2; at most 0.01 comes from rounding",
        ),
    ],
)
def test_a_difference_is_said_with_both_values(old, new, sentence):
    assert differences({"a": old}, {"a": new}, lambda key: Tolerance(0.01)) == [sentence]
    assert differences({"a": old}, {"a": old}, lambda key: EXACT) == []


def test_keys_that_come_and_go():
    assert differences({"a": 1}, {"b": 2}, lambda key: EXACT) == ["a is gone: 1", "b is new: 2"]


def test_the_tolerances_follow_the_dtype():
    assert rounding.of_products("float32", 1, 1).relative == np.finfo(np.float32).eps / 2
    assert rounding.of_products("float64", 4, 9, 2.0).relative == 12 * np.finfo(np.float64).eps
    assert rounding.of_halves("bfloat16").relative == 2**-7
    assert rounding.of_halves("float32") == EXACT
    assert rounding.bjorck_amplification(2, 0.5) == 2.25
    assert rounding.bjorck_amplification(15, 0.5, condition=3.0) == 3.0
    assert rounding.bjorck_amplification(15, None) == 1.0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX measures a part of the cases")
def test_the_data_are_small():
    sizes = {path.name: path.stat().st_size for path in storage.FOLDER.rglob("*") if path.is_file()}
    assert sizes[kernels.FILE] < 300_000
    assert sum(sizes.values()) < 2_000_000
