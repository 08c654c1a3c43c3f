import gzip
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipviz import data
from tests.support import examples

TOY = (data.two_moons, data.circles, data.gaussians, data.squares)
SEEDED = (*TOY, data.cylinder_bell_funnel, data.digits)
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz": "t10k-labels-idx1-ubyte.gz",
}
steady = settings(max_examples=examples(40))
seeds = st.integers(0, 2**40)
fractions = st.floats(0.05, 0.95)


def flat(split):
    return [array for pair in split for array in pair]


def same(a, b):
    return all(np.array_equal(u, v) for u, v in zip(flat(a), flat(b), strict=True))


def check_split(split, shape, n, classes):
    """What every data set promises."""
    assert sum(len(x) for x, _ in split) == n
    for x, y in split:
        assert x.shape == (len(y), *shape)
        assert (x.dtype, y.dtype) == (np.float32, np.int32)
        assert np.isfinite(x).all()
        assert set(y.tolist()) == set(range(classes))
        assert x.flags.writeable


def write_idx(path, array, magic=None):
    header = np.array([magic or 0x0800 + array.ndim, *array.shape], ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def no_fashion(monkeypatch, tmp_path):
    """A machine without Fashion-MNIST, whatever this one has; returns the empty Keras home."""
    monkeypatch.setattr(data.real_images, "_DEBIAN_FASHION", tmp_path / "nowhere")
    monkeypatch.delenv("LIPVIZ_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


@pytest.fixture
def small_fashion(no_fashion, monkeypatch, tmp_path):
    """A folder with 60 training and 30 test images in the files of Fashion-MNIST, named by LIPVIZ_DATA_DIR."""
    folder = tmp_path / "fashion"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for (images, labels), n in zip(FASHION_FILES.items(), (60, 30), strict=True):
        write_idx(folder / images, rng.integers(0, 256, (n, 28, 28), np.uint8))
        write_idx(folder / labels, rng.permutation(n).astype(np.uint8) % 10)
    monkeypatch.setenv("LIPVIZ_DATA_DIR", str(folder))
    return folder


# Toy sets


@steady
@given(st.integers(40, 200), st.floats(0, 1), fractions, seeds)
def test_moons_and_circles_have_the_promised_form(n, noise, fraction, seed):
    for load in (data.two_moons, data.circles):
        split = load(n=n, noise=noise, test_fraction=fraction, seed=seed)
        check_split(split, shape=(2,), n=n, classes=2)
        assert len(split[1][0]) == round(n * fraction)


@steady
@given(st.integers(150, 300), st.integers(2, 6), st.integers(1, 5), fractions, seeds)
def test_gaussians_have_the_promised_form(n, classes, dimension, fraction, seed):
    split = data.gaussians(n=n, classes=classes, dimension=dimension, test_fraction=fraction, seed=seed)
    check_split(split, shape=(dimension,), n=n, classes=classes)
    sizes = np.bincount(np.concatenate([y for _, y in split]))
    assert np.ptp(sizes) <= 1


@steady
@given(st.integers(2, 6), st.integers(1, 4), st.floats(0.5, 50))
def test_neighbouring_gaussians_lie_the_given_distance_apart(classes, dimension, distance):
    (x, y), _ = data.gaussians(n=40 * classes, classes=classes, dimension=dimension, distance=distance, std=1e-6)
    means = np.array([x[y == c].mean(axis=0, dtype=np.float64) for c in range(classes)])
    gaps = np.linalg.norm(np.diff(means, axis=0), axis=1)
    np.testing.assert_allclose(gaps, distance, rtol=1e-5)
    np.testing.assert_allclose(means.mean(axis=0), 0, atol=1e-5 * distance * classes)


def test_two_gaussians_lie_on_the_first_axis():
    (x, y), _ = data.gaussians(n=100, distance=4, std=1e-6)
    np.testing.assert_allclose(x[y == 0].mean(axis=0), (-2, 0), atol=1e-4)
    np.testing.assert_allclose(x[y == 1].mean(axis=0), (2, 0), atol=1e-4)


def test_noiseless_circles_have_the_stated_radii():
    (x, y), _ = data.circles(noise=0, factor=0.3)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.where(y == 0, 1, 0.3), rtol=1e-6)


def wasserstein_to_black(split):
    """Exact W1 in float64: the only transport plan takes all mass from the one black image to the squares."""
    x, y = (np.concatenate(parts).astype(np.float64) for parts in zip(*split, strict=True))
    assert not x[y == 0].any()
    return np.mean([np.linalg.norm(image) for image in x[y == 1]])


def test_the_squares_are_35_apart_by_default():
    split = data.squares(n=20)
    check_split(split, shape=(64, 64, 1), n=20, classes=2)
    assert wasserstein_to_black(split) == 35.0


@steady
@given(st.data(), st.integers(1, 40), st.floats(1e-3, 1), st.booleans(), seeds)
def test_the_squares_are_value_times_side_apart(draw, size, value, random_position, seed):
    side = draw.draw(st.integers(1, size))
    split = data.squares(40, size, side, value, random_position, seed=seed)
    check_split(split, shape=(size, size, 1), n=40, classes=2)
    assert wasserstein_to_black(split) == pytest.approx(value * side, rel=1e-6)
    assert max(x.max() for x, _ in split) <= 1


def test_squares_stand_in_the_center_or_anywhere():
    def positions(**settings):
        (x, y), _ = data.squares(n=1000, size=6, side=2, **settings)
        return {tuple(np.argwhere(image)[0]) for image in x[y == 1]}

    assert positions() == {(2, 2, 0)}
    assert len(positions(random_position=True)) == 25


def test_series_have_their_shapes_and_places():
    split = data.cylinder_bell_funnel(300, noise=0)
    check_split(split, shape=(128, 1), n=300, classes=3)
    x, y = (np.concatenate(parts) for parts in zip(*split, strict=True))
    for series, label in zip(x[..., 0].astype(np.float64), y, strict=True):
        (inside,) = np.nonzero(series)
        # A bell is 0 at its first step, and a funnel at its last one.
        begin, end = inside[0] + 1 - (label == 1), inside[-1] + 1 + (label == 2)
        assert 16 <= begin <= 32
        assert min(end - begin, 127 - begin) <= 96
        steps = np.diff(series[inside])
        assert {0: np.abs(steps).max() < 1e-6, 1: steps.min() > 0, 2: steps.max() < 0}[int(label)]
    heights = np.abs(x[..., 0]).max(axis=1)
    assert heights.mean() == pytest.approx(6, abs=0.4)
    noisy = data.cylinder_bell_funnel(300, noise=2.0)[0][0]
    assert noisy[:, :15].std() == pytest.approx(2, rel=0.05)
    assert data.cylinder_bell_funnel(30, length=40)[0][0].shape == (24, 40, 1)


# Seeds, order, overlap


@pytest.mark.parametrize("load", SEEDED, ids=lambda f: f.__name__)
def test_the_seed_decides_and_the_global_state_stays(load):
    arguments = {"random_position": True} if load is data.squares else {}
    np.random.seed(1)  # noqa: NPY002 - the global state is what this test is about.
    first = load(seed=3, **arguments)
    drawn = np.random.random()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert same(first, load(seed=3, **arguments))
    assert not same(first, load(seed=4, **arguments))
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == drawn  # noqa: NPY002


@steady
@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), seeds)
def test_every_prefix_holds_the_classes_in_their_proportions(labels, seed):
    y = np.array(labels)
    order = data.splits.stratified_order(y, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(y)))
    counts = np.array([y == c for c in np.unique(y)], float)
    due = counts.sum(axis=1, keepdims=True) * np.arange(1, len(y) + 1) / len(y)
    assert np.abs(counts[:, order].cumsum(axis=1) - due).max() <= 2


@pytest.mark.parametrize("load", [data.two_moons, data.circles, data.gaussians], ids=lambda f: f.__name__)
def test_training_and_test_points_do_not_overlap(load):
    train, test = ({point.tobytes() for point in x} for x, _ in load())
    assert len(train) == 800
    assert len(test) == 200
    assert not train & test


# Digits


def test_digits_are_all_there_once():
    from sklearn.datasets import load_digits

    split = data.digits()
    check_split(split, shape=(8, 8, 1), n=1797, classes=10)
    assert all(x.min() == 0 and x.max() == 1 for x, _ in split)
    received = sorted((*image.ravel().tolist(), label) for x, y in split for image, label in zip(x, y, strict=True))
    bunch = load_digits()
    expected = sorted((*row, label) for row, label in zip((bunch.data / 16).tolist(), bunch.target, strict=True))
    assert received == expected


def test_digits_of_the_test_set_are_balanced_and_subsets_nest():
    (x, y), (_, y_test) = data.digits()
    assert len(y_test) == 359
    assert np.ptp(np.bincount(y_test)) <= 3
    (x_few, y_few), (_, y_test_few) = data.digits(n_train=100, n_test=50)
    np.testing.assert_array_equal(x_few, x[:100])
    np.testing.assert_array_equal(y_few, y[:100])
    np.testing.assert_array_equal(y_test_few, y_test[:50])
    assert np.bincount(y_few).min() >= 9


# Fashion-MNIST


def test_fashion_mnist_from_a_named_folder(small_fashion):
    split = data.fashion_mnist()
    check_split(split, shape=(28, 28, 1), n=90, classes=10)
    content = gzip.decompress((small_fashion / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    np.testing.assert_array_equal(np.rint(split[0][0].ravel() * 255), np.frombuffer(content, np.uint8))


@settings(max_examples=examples(15))
@given(st.integers(1, 60), st.integers(1, 30), seeds)
def test_fashion_mnist_subsets_are_balanced_seeded_and_nested(fashion_pool, n_train, n_test, seed):
    train, test = fashion_pool
    rng = np.random.default_rng
    x, y = data.real_images.images_of_bytes(*train, n_train, "n_train", rng(seed))
    assert x.shape == (n_train, 28, 28, 1)
    assert np.ptp(np.bincount(y, minlength=10)) <= 1
    x_all, _ = data.real_images.images_of_bytes(*train, 60, "n_train", rng(seed))
    np.testing.assert_array_equal(x, x_all[:n_train])
    _, y_test = data.real_images.images_of_bytes(*test, n_test, "n_test", rng(seed))
    assert np.ptp(np.bincount(y_test, minlength=10)) <= 1


@pytest.fixture(scope="module")
def fashion_pool():
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.permutation(n) % 10) for n in (60, 30)]


def test_fashion_mnist_subset_sizes_are_independent(small_fashion):
    (_, y), test = data.fashion_mnist(n_train=20, n_test=10)
    assert np.bincount(y).tolist() == [2] * 10
    _, same_test = data.fashion_mnist(n_test=10)
    np.testing.assert_array_equal(test[0], same_test[0])
    (other, _), _ = data.fashion_mnist(n_train=20, seed=1)
    assert not np.array_equal(other, data.fashion_mnist(n_train=20)[0][0])


def test_fashion_mnist_is_found_in_the_cache_of_keras(small_fashion, no_fashion, monkeypatch):
    monkeypatch.delenv("LIPVIZ_DATA_DIR")
    cache = no_fashion / "datasets" / "fashion-mnist"
    cache.parent.mkdir(parents=True)
    small_fashion.rename(cache)
    assert len(data.fashion_mnist()[0][0]) == 60
    assert data.availability()[-1] == data.Availability("fashion_mnist", True, str(cache))


def test_fashion_mnist_is_downloaded_when_it_is_nowhere(no_fashion, monkeypatch):
    import keras

    pair = (np.full((10, 28, 28), 255, np.uint8), np.arange(10, dtype=np.uint8))
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", lambda: (pair, pair))
    check_split(data.fashion_mnist(), shape=(28, 28, 1), n=20, classes=10)


def test_offline_without_fashion_mnist_the_error_says_what_to_install(no_fashion, monkeypatch):
    import keras

    def offline():
        raise Exception("URL fetch failure: Name or service not known")

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", offline)
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist") as caught:
        data.fashion_mnist()
    assert isinstance(caught.value, data.DatasetNotFoundError)
    assert "Name or service not known" in str(caught.value)


def test_a_proxy_that_does_not_answer_is_an_error_and_no_wait_for_ever(no_fashion, monkeypatch):
    monkeypatch.setattr(data.real_images, "_PATIENCE", 0.2)
    monkeypatch.setattr(urllib.request, "_opener", None)  # one that was made before knows no proxy
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(data.DatasetNotFoundError, match="timed out"):
            data.fashion_mnist()
    assert socket.getdefaulttimeout() is None


def test_an_incomplete_named_folder_is_an_error(small_fashion):
    (small_fashion / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(data.DatasetNotFoundError, match=r"LIPVIZ_DATA_DIR.*lacks t10k-labels-idx1-ubyte.gz"):
        data.fashion_mnist()
    found = data.availability()[-1]
    assert (found.available, found.source) == (False, "LIPVIZ_DATA_DIR")
    assert "t10k-labels" in found.hint


IMAGES, LABELS = next(iter(FASHION_FILES.items()))
DAMAGE = {
    "truncated": (IMAGES, lambda path: path.write_bytes(path.read_bytes()[:500]), "complete gzip file"),
    "corrupted": (
        IMAGES,
        lambda path: path.write_bytes(path.read_bytes()[:30] + b"\xff" * 3000),
        "complete gzip file",
    ),
    "a web page": (IMAGES, lambda path: path.write_bytes(b"<html>log in</html>"), "complete gzip file"),
    "empty": (IMAGES, lambda path: path.write_bytes(gzip.compress(b"")), "header of 16 bytes, received 0"),
    "wrong magic": (
        LABELS,
        lambda path: write_idx(path, np.zeros(60, np.uint8), magic=2051),
        "magic number 2049, received 2051",
    ),
    "short content": (
        LABELS,
        lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1])),
        "60 bytes after the header, as it announces, received 59",
    ),
    "fewer labels": (LABELS, lambda path: write_idx(path, np.zeros(59, np.uint8)), "received 59 for 60"),
    "unknown label": (LABELS, lambda path: write_idx(path, np.full(60, 10, np.uint8)), "from 0 to 9, received 10"),
    "wrong size": (IMAGES, lambda path: write_idx(path, np.zeros((60, 8, 9), np.uint8)), "28×28.*received 8×9"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named(small_fashion, name):
    file, damage, message = DAMAGE[name]
    damage(small_fashion / file)
    with pytest.raises(ValueError, match=message) as caught:
        data.fashion_mnist()
    assert file in str(caught.value)


@pytest.mark.slow
def test_the_real_fashion_mnist(monkeypatch):
    monkeypatch.delenv("LIPVIZ_DATA_DIR", raising=False)
    if not data.availability()[-1].available:
        pytest.skip("Fashion-MNIST is not on this machine.")
    (x_train, y_train), (x_test, y_test) = data.fashion_mnist()
    assert (x_train.shape, x_test.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert (x_train.min(), x_train.max(), x_train.dtype) == (0, 1, np.float32)
    assert x_train.mean() == pytest.approx(0.2860, abs=1e-4)  # The mean that is usually quoted.


# Names, availability, imports


def test_class_names():
    assert data.class_names("fashion_mnist")[9] == "ankle boot"
    assert len(data.class_names("fashion_mnist")) == len(data.class_names("digits")) == 10
    with pytest.raises(ValueError, match=r"received 'fashion'.*Did you mean 'fashion_mnist'"):
        data.class_names("fashion")
    with pytest.raises(ValueError, match="received 'gaussians'"):
        data.class_names("gaussians")
    with pytest.raises(TypeError, match="received 3"):
        data.class_names(3)


def test_availability_names_every_data_set(no_fashion):
    found = {a.name: a for a in data.availability()}
    assert set(found) == {*(f.__name__ for f in SEEDED), "fashion_mnist"}
    assert all(found[f.__name__].available and not found[f.__name__].hint for f in SEEDED)
    assert not found["fashion_mnist"].available
    assert "apt install dataset-fashion-mnist" in found["fashion_mnist"].hint


def test_availability_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = {a.name: a for a in data.availability()}
    assert not found["digits"].available
    assert '-m pip install "lipviz[lab]"' in found["digits"].hint
    assert found["squares"].available


def test_neither_data_nor_course_imports_anything_heavy():
    program = (
        "import sys; sys.argv = ['lipviz']\n"  # As the command does, which must start at once.
        "from lipviz import course, data\n"
        "data.availability(); data.squares(n=10); course.check('tour.compose', 1)\n"
        "print({'keras', 'tensorflow', 'sklearn', 'scipy', 'IPython', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Bad input


@pytest.mark.parametrize(
    ("load", "arguments", "error", "message"),
    [
        (data.two_moons, {"n": 3}, ValueError, "n: expected an integer >= 4, received 3"),
        (data.two_moons, {"n": 4}, ValueError, "2 training and 2 test samples.*n=4.*3 and 1"),
        (data.two_moons, {"n": 100.0}, TypeError, "received 100.0"),
        (data.two_moons, {"n": True}, TypeError, "received True"),
        (data.two_moons, {"noise": -0.1}, ValueError, "noise: expected a number >= 0, received -0.1"),
        (data.two_moons, {"noise": float("nan")}, ValueError, "received nan"),
        (data.two_moons, {"noise": "small"}, TypeError, "received 'small'"),
        (data.two_moons, {"test_fraction": 0}, ValueError, "test_fraction: .* both excluded, received 0"),
        (data.two_moons, {"test_fraction": 1.0}, ValueError, "received 1.0"),
        (data.two_moons, {"seed": -1}, ValueError, "seed: expected an integer >= 0, received -1"),
        (data.two_moons, {"seed": None}, TypeError, "seed: .* received None"),
        (data.circles, {"factor": 1}, ValueError, "factor: .* received 1"),
        (data.circles, {"noise": float("inf")}, ValueError, "received inf"),
        (data.gaussians, {"classes": 1}, ValueError, "classes: expected an integer >= 2, received 1"),
        (data.gaussians, {"classes": 50, "n": 120}, ValueError, "50 training and 50 test"),
        (data.gaussians, {"dimension": 0}, ValueError, "dimension: .* received 0"),
        (data.gaussians, {"distance": 0}, ValueError, "distance: expected a number > 0, received 0"),
        (data.gaussians, {"std": -1}, ValueError, "std: .* received -1"),
        (data.cylinder_bell_funnel, {"length": 15}, ValueError, "length: .* >= 16, received 15"),
        (data.cylinder_bell_funnel, {"noise": -1}, ValueError, "noise: .* received -1"),
        (data.squares, {"side": 65}, ValueError, "side: expected an integer from 1 to 64, received 65"),
        (data.squares, {"value": 1.5}, ValueError, r"value: .* \]0, 1\], received 1.5"),
        (data.squares, {"size": 0}, ValueError, "size: .* received 0"),
        (data.squares, {"random_position": 1}, TypeError, "random_position: expected True or False"),
        (data.digits, {"n_train": 1439}, ValueError, "n_train: expected an integer from 1 to 1438, received 1439"),
        (data.digits, {"n_test": 0}, ValueError, "n_test: .* received 0"),
        (data.digits, {"n_test": 2.5}, TypeError, "received 2.5"),
        (data.fashion_mnist, {"n_train": 61}, ValueError, "n_train: .* from 1 to 60, received 61"),
        (data.fashion_mnist, {"n_test": -1}, ValueError, "n_test: .* received -1"),
        (data.fashion_mnist, {"seed": 0.5}, TypeError, "seed: .* received 0.5"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_bad_input_says_what_was_expected_and_received(small_fashion, load, arguments, error, message):
    with pytest.raises(error, match=message):
        load(**arguments)


def test_numpy_integers_are_integers():
    assert same(data.two_moons(n=np.int64(100), seed=np.uint8(3)), data.two_moons(n=100, seed=3))
