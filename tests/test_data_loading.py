"""Data of one's own: tables, folders of images and arrays, and what is wrong with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lipviz import data
from lipviz.data.class_labels import numbered
from lipviz.data.splits import split_of_classes
from tests.support import examples

RNG = np.random.default_rng(0)
ROWS = RNG.normal((5.0, -300.0, 1e-3), (2.0, 40.0, 1e-4), (60, 3))
KINDS = np.array(["wolf", "dog", "fox"])[np.arange(60) % 3]


def written(path, rows=ROWS, labels=KINDS, header="weight,height,age,kind", mark=","):
    lines = [header.replace(",", mark)] if header else []
    lines += [mark.join([*map(repr, row), label]) for row, label in zip(rows.tolist(), labels.tolist(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def in_order(*pairs):
    """All samples, sorted, with their labels."""
    x, y = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    order = np.argsort(x.reshape(len(x), -1)[:, 0], kind="stable")
    return x[order], y[order]


# --- tables ---


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return written(tmp_path_factory.mktemp("tables") / "animals.csv")


def test_a_table_keeps_its_numbers_its_classes_and_its_scaling(table):
    loaded = data.load(table)
    (x_train, y_train), (x_test, y_test) = loaded
    assert loaded.class_names == ("dog", "fox", "wolf")
    assert loaded.feature_names == ("weight", "height", "age")
    assert np.bincount(y_train).tolist() == [16] * 3
    assert np.bincount(y_test).tolist() == [4] * 3
    assert (x_train.dtype, y_train.dtype) == (np.float32, np.int32)
    np.testing.assert_allclose(x_train.mean(axis=0, dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(x_train.std(axis=0, dtype=np.float64), 1, atol=1e-5)
    x, y = in_order((loaded.scaling.raw(x_train), y_train), (loaded.scaling.raw(x_test), y_test))
    order = np.argsort(ROWS[:, 0])
    np.testing.assert_allclose(x, ROWS[order], rtol=1e-5)
    assert [loaded.class_names[label] for label in y] == KINDS[order].tolist()
    for words in ("animals.csv", "48 samples", "12 for the test", "fox (20)", "weight, height, age", "standard dev"):
        assert words in str(loaded)


def test_a_radius_is_said_in_the_units_of_a_feature(table):
    """A change of one feature by what `alone` says has exactly this length after scaling."""
    scaling = data.load(table).scaling
    for place, most in enumerate(scaling.alone(0.7)):
        moved = ROWS[0].copy()
        moved[place] += most
        assert np.linalg.norm(scaling.scaled(moved) - scaling.scaled(ROWS[0])) == pytest.approx(0.7, rel=1e-9)


def test_what_separates_columns_and_where_the_labels_stand(table, tmp_path):
    expected = in_order(*data.load(table))
    for mark in ";\t|":
        path = written(tmp_path / "other.csv", mark=mark)
        for one, other in zip(in_order(*data.load(path)), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    bare = tmp_path / "bare.data"
    bare.write_text("\ufeff" + "\n".join(f'"{k % 2}", {x!r},{y!r}' for k, (x, y, _) in enumerate(ROWS.tolist())))
    loaded = data.load(bare, label=0, scaling="none")
    assert (loaded.feature_names, loaded.class_names) == (("column 2", "column 3"), ("0", "1"))
    np.testing.assert_array_equal(in_order(*loaded)[0], ROWS[np.argsort(ROWS[:, 0]), :2].astype(np.float32))


def test_missing_values_are_an_error_or_left_out(table, tmp_path):
    lines = table.read_text().splitlines()
    for line, cell in ((3, ""), (7, "NA"), (7, "?"), (9, "nan")):
        lines[line] = ",".join([cell, *lines[line].split(",")[1:]])
    path = tmp_path / "holes.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"3 of 60 rows .* first in line 4: 3 in 'weight'.*missing='drop'"):
        data.load(path)
    loaded = data.load(path, missing="drop")
    assert len(loaded.part("all")[1]) == 57
    assert "3 of 60 rows" in loaded.notes[0]
    assert len(data.load(path, drop=["weight"]).part("all")[1]) == 60


def test_a_constant_column_is_shifted_and_named(tmp_path):
    rows = ROWS.copy()
    rows[:, 1] = 7.0
    loaded = data.load(written(tmp_path / "t.csv", rows))
    assert not loaded.train[0][:, 1].any()
    assert loaded.scaling.scale[1] == 1
    assert "only shifted: height" in loaded.notes[0]


COUNTED = "\n".join(["Id,x,kind", *(f"{k},{k % 7},{'ab'[k // 10]}" for k in range(20))])
WRONG = {
    "empty": ("", {}, "expected columns"),
    "one column": ("1\n2\n", {}, "expected columns"),
    "header alone": ("a,b,kind\n", {"header": True}, "a header alone"),
    "only labels": ("a;kind\nx;y\n", {"drop": ["a"], "header": True}, "column of numbers"),
    "ragged": ("a,b,kind\n1,2,x\n1,2\n", {}, "3 columns, .* received 2 in line 3"),
    "header twice": ("a,b,kind\n1,2,x\na,b,kind\n", {}, "line 3, column 'a': .* repeats the header"),
    "header unseen": ("1,b,kind\n1,2,x\n", {}, "line 1, column 'column 2': .* header=True"),
    "texts": ("a,b,kind\nred,2,x\nblue,3,y\n", {}, r"column 'a'.*received 'red'.*drop=\['a'\]"),
    "decimal comma": ("a;b;kind\n1,5;2;x\n2,5;2;y\n", {}, "received '1,5'. Write numbers with a decimal point"),
    "infinite": ("a,b,kind\n1,inf,x\n2,5,y\n", {}, "line 2, column 'b': expected a number, received 'inf'"),
    "a row's number": (COUNTED, {}, r"'Id', which numbers the rows.*drop=\['Id'\]"),
    "names twice": ("a,a,kind\n1,2,x\n", {}, "different names"),
    "unknown label": ("a,b,kind\n1,2,x\n", {"label": "Kind"}, "received 'Kind'. Did you mean 'kind'"),
    "label far away": ("a,b,kind\n1,2,x\n", {"label": 3}, "from -3 to 2, received 3"),
    "label dropped": ("a,b,kind\n1,2,x\n", {"drop": ["kind"]}, "which holds the labels"),
    "label of floats": ("a,b\n" + "1,0.25\n2,0.5\n" * 9, {}, "received 0.25 and 1 other numbers.*`label`"),
    "label of text": ("a,b\n" + "".join(f"1,name{k}\n" for k in range(30)), {}, "30 different labels for 30"),
    "one class": ("a,b,kind\n1,2,x\n2,3,x\n", {}, "two classes, received only 'x'"),
    "three samples": ("a,b,kind\n1,2,x\n2,3,x\n4,5,y\n", {}, "one of 'y', among 3 samples"),
    "binary": (b"\xff\xfea\x00,\x00", {}, "UTF-8"),
    "two-byte text": ("a\0,\0b\0\n", {}, "UTF-16"),
    "tiny": ("a,kind\n1e-12,x\n2e-12,y\n3e-12,x\n4e-12,y\n", {}, "'a': .* Use another unit"),
    "shifted": ("a,kind\n1e9,x\n1000000002,y\n1e9,x\n1000000002,y\n", {}, "tell apart.* Subtract 1e[+]09"),
    "of a folder": ("a,kind\n1,x\n", {"size": (8, 8)}, "size: expected no such argument"),
    "class names": ("a,kind\n1,x\n2,y\n1,x\n2,y\n", {"class_names": ["x"]}, "received y as well"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_table_is_named(name, tmp_path):
    content, arguments, words = WRONG[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        data.load(path, **arguments)


def test_a_path_that_is_nowhere(table):
    with pytest.raises(data.DatasetNotFoundError, match=r"animals.tsv'. Did you mean 'animals.csv'"):
        data.load(table.with_suffix(".tsv"))
    with pytest.raises(data.DatasetNotFoundError, match=r"Its folder .* is missing"):
        data.load(table.parent / "nowhere" / "x.csv")
    with pytest.raises(ValueError, match=r"received a file \.py"):
        data.load(__file__)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"missing": "mean"}, ValueError, "'error', 'drop', received 'mean'"),
        ({"scaling": "std"}, ValueError, "received 'std'"),
        ({"scaling": "pixels"}, ValueError, "from 0 to 255"),
        ({"color": "gray"}, ValueError, "received 'gray'"),
        ({"size": 8}, ValueError, "height, width"),
        ({"drop": "age"}, TypeError, r"Write \['age'\]"),
        ({"test_fraction": 1}, ValueError, "test_fraction"),
        ({"seed": 0.5}, TypeError, "seed"),
        ({"delimiter": "::"}, ValueError, "one character"),
        ({"class_names": "abc"}, TypeError, "class_names"),
    ],
)
def test_a_wrong_argument_is_named(table, arguments, error, words):
    with pytest.raises(error, match=words):
        data.load(table, **arguments)


# --- folders of images ---


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        place = tmp_path / "shapes" / ("disk", "cross")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 5), 20 * number, np.uint8)).save(place / f"{number}.png")
    (place / ".DS_Store").write_text("x")
    return tmp_path / "shapes"


def test_a_folder_holds_a_class_in_each_subfolder(folder):
    (folder / "notes.txt").write_text("x")
    loaded = data.load(folder)
    x, y = loaded.part("all")
    assert (x.shape, loaded.class_names) == ((12, 6, 5, 1), ("cross", "disk"))
    levels = np.round(x[:, 0, 0, 0] * 255).astype(int)
    assert sorted(levels) == list(range(0, 240, 20))
    np.testing.assert_array_equal(y, 1 - (levels // 20) % 2)
    assert float(loaded.scaling.alone(0.1)) == pytest.approx(25.5)
    assert "notes.txt" in loaded.notes[0]


def test_images_of_all_modes_get_the_same_grey_level(folder):
    levels = {
        "rgb.png": Image.new("RGB", (5, 6), (51, 51, 51)),
        "clear.png": Image.new("RGBA", (5, 6), (0, 0, 0, 204)),  # on white
        "deep.png": Image.fromarray(np.full((6, 5), 51 * 257, np.uint16)),
        "palette.png": Image.new("L", (5, 6), 51).convert("P"),
    }
    for name, image in levels.items():
        image.save(folder / "disk" / name)
    loaded = data.load(folder, color="grey")
    assert sum(np.allclose(image, 51 / 255) for image in loaded.part("all")[0]) == len(levels)
    assert data.load(folder).shape == (6, 5, 3)
    assert "became RGB" in " ".join(data.load(folder).notes)


def test_a_folder_may_bring_its_own_test_set(folder):
    for part in ("train", "val"):
        (folder.parent / "all" / part).parent.mkdir(exist_ok=True)
    folder.rename(folder.parent / "all" / "train")
    place = folder.parent / "all" / "val" / "cross"
    place.mkdir(parents=True)
    Image.fromarray(np.full((6, 5), 255, np.uint8)).save(place / "a.png")
    loaded = data.load(folder.parent / "all")
    (x, _), (x_test, y_test) = loaded
    assert (len(x), y_test.tolist(), x_test.min()) == (12, [0], 1)
    assert loaded.has_own_split


def test_all_samples_may_be_kept_together(table):
    loaded = data.load(table, test_fraction=0, class_names=["dog", "cat", "fox", "wolf"])
    assert (len(loaded.train[1]), len(loaded.test[1])) == (60, 0)
    assert np.bincount(loaded.train[1]).tolist() == [20, 0, 20, 20]


def test_what_is_wrong_in_a_folder_is_named(folder, tmp_path):
    Image.new("L", (9, 9)).save(folder / "disk" / "z.png")
    with pytest.raises(ValueError, match=r"one size, received 6×5 \(.*\) and 9×9 \(z.png\).*size="):
        data.load(folder)
    assert data.load(folder, size=(4, 3)).shape == (4, 3, 1)
    (folder / "disk" / "z.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"z.png'.*cannot be read"):
        data.load(folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"for each class, received none"):
        data.load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"such as '1\.png'"):
        data.load(folder / "cross")
    (folder / "deep" / "deeper").mkdir(parents=True)
    with pytest.raises(ValueError, match="received only folders: deeper"):
        data.load(folder)


# --- arrays ---


def test_arrays_are_the_same_in_each_form(tmp_path):
    x, y = ROWS.astype(np.float32), np.arange(60) % 3
    np.savez(tmp_path / "a.npz", x=x, y=y)
    expected = data.load((x, y))
    hot = np.eye(3)[y]
    for source in (tmp_path / "a.npz", {"data": x, "target": y}, (x, hot), (x, y[:, None]), [x, y.astype(float)]):
        loaded = data.load(source)
        np.testing.assert_array_equal(loaded.train[0], expected.train[0])
        np.testing.assert_array_equal(loaded.test[1], expected.test[1])
    named = data.load({"data": x, "target": y, "feature_names": ["a", "b", "c"], "target_names": ["u", "v", "w"]})
    assert (named.feature_names, named.class_names) == (("a", "b", "c"), ("u", "v", "w"))
    whole = data.load(((x[:40], KINDS[:40]), (x[40:], KINDS[40:])))
    assert (len(whole.train[1]), len(whole.test[1]), whole.has_own_split) == (40, 20, True)


def test_images_get_a_channel_and_series_are_standardized_by_channel():
    y = np.arange(20) % 2
    images = RNG.integers(0, 256, (20, 8, 8), np.uint8)
    assert data.load((images, y)).shape == (8, 8, 1)
    assert data.load((RNG.uniform(size=(20, 9, 30)), y)).shape == (9, 30, 1)
    series = RNG.normal((3.0, -50.0), (1.0, 9.0), (20, 30, 2))
    loaded = data.load((series, y))
    assert loaded.shape == (30, 2)
    np.testing.assert_allclose(loaded.train[0].std(axis=(0, 1), dtype=np.float64), 1, atol=1e-5)
    assert loaded.scaling.alone(1.0).shape == (2,)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (3, TypeError, "received int"),
        ((ROWS,), TypeError, "pair"),
        ({"a": ROWS}, ValueError, "received a"),
        ((ROWS[:, 0], KINDS), ValueError, r"shape \(60,\)"),
        ((ROWS, KINDS[:5]), ValueError, r"each of 60 samples, received shape \(5,\)"),
        ((ROWS.astype(str), KINDS), TypeError, "real numbers"),
        ((np.zeros((60, 8, 8)), KINDS), ValueError, "which may be either"),
        ((np.full((60, 2), np.nan), KINDS), ValueError, "60 of 60 samples"),
        ((np.full((60, 8, 8, 1), 300), KINDS), ValueError, "Say a `scaling`"),
        ((ROWS, np.zeros((60, 2))), ValueError, "one-hot"),
        ((ROWS, np.arange(60) / 7), ValueError, "whole numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(source, error, words):
    with pytest.raises(error, match=words):
        data.load(source)


# --- labels and splits ---


def test_whole_numbers_keep_their_order_and_texts_the_alphabet():
    assert numbered(np.array(["10", "9", "2.0"] * 2), "y")[1] == ("2", "9", "10")
    assert numbered(np.array([True, False, True]), "y")[1] == ("False", "True")
    numbers, names = numbered(np.array([" b", "a", "b "]), "y", ["b", "c", "a"])
    assert (numbers.tolist(), names) == ([0, 2, 0], ("b", "c", "a"))


@settings(max_examples=examples(40))
@given(st.lists(st.integers(2, 30), min_size=2, max_size=5), st.floats(0.01, 0.99), st.integers(0, 99))
def test_every_class_is_in_both_parts(counts, fraction, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    train, test = split_of_classes(y, fraction, np.random.default_rng(seed))
    assert sorted([*train, *test]) == list(range(len(y)))
    held = np.bincount(y[test], minlength=len(counts))
    wanted = np.array([min(max(1, round(fraction * count)), count - 1) for count in counts])
    np.testing.assert_array_equal(held, wanted)
