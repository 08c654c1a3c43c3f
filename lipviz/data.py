"""Data sets of the course: toy sets with a known geometry, and real images.

Every function returns ``(x_train, y_train), (x_test, y_test)``, as ``keras.datasets`` do, with ``x`` in
float32 and ``y`` in int32 of shape ``(n,)``. Images have shape ``(n, height, width, 1)`` and values from 0 to
1. Wherever this module draws or splits, every prefix has the classes in the proportions of the whole, so that
``x_train[:100]`` is a representative sample. The same seed gives the same arrays. NumPy's global random state is
neither read nor changed.
"""

import difflib
import gzip
import math
import numbers
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipviz import _extras

__all__ = [
    "Availability",
    "DatasetNotFoundError",
    "availability",
    "circles",
    "class_names",
    "digits",
    "fashion_mnist",
    "gaussians",
    "squares",
    "two_moons",
]

Samples = tuple[np.ndarray, np.ndarray]
Split = tuple[Samples, Samples]

_CLASS_NAMES = {
    "two_moons": ("upper moon", "lower moon"),
    "circles": ("outer circle", "inner circle"),
    "squares": ("black", "white square"),
    "digits": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
}

_DATA_DIR_VARIABLE = "LIPVIZ_DATA_DIR"
_DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
_FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_FASHION_HINT = (
    "On Debian or Ubuntu: `apt install dataset-fashion-mnist`. Elsewhere: go online once and call "
    "`lipviz.data.fashion_mnist()`, which downloads 30 MB and keeps them. Or set the environment variable "
    f"{_DATA_DIR_VARIABLE} to a folder that holds {', '.join(sum(_FASHION_FILES.values(), ()))}."
)


class DatasetNotFoundError(FileNotFoundError):
    """A data set is not on this machine and cannot be downloaded; the message says what to install."""


@dataclass(frozen=True)
class Availability:
    """Whether a data set can be loaded here and now.

    Attributes:
        name: Name of the function in this module that loads it.
        available: True if it can be loaded without the network.
        source: Where it comes from: "generated", "scikit-learn" or a folder. If it is not available, where it
            would come from.
        hint: What to do if it is not available; empty if it is.
    """

    name: str
    available: bool
    source: str
    hint: str = ""


# Toy sets


def two_moons(n: int = 1000, noise: float = 0.05, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """Two interleaved half circles of radius 1 in the plane, by ``sklearn.datasets.make_moons``.

    Args:
        n: Number of points, training and test together.
        noise: Standard deviation of the Gaussian noise on each coordinate, in units of the radius.
        test_fraction: Share of the points that is held back for testing, between 0 and 1.
        seed: Seed of the noise and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, 2) and labels 0 and 1 (see
        `class_names`).

    Raises:
        ImportError: If scikit-learn is not installed.
        TypeError: If ``n`` or ``seed`` is not an integer, or another argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have both classes.
    """
    n_test = _test_size(n, test_fraction, classes=2)
    _check_real("noise", noise, lambda v: v >= 0, "a number >= 0")
    rng = _generator(seed)
    _extras.need("lipviz.data.two_moons")
    from sklearn.datasets import make_moons

    x, y = make_moons(n, noise=noise, random_state=_sklearn_seed(rng))
    return _split(x, y, n_test, rng)


def circles(
    n: int = 1000, noise: float = 0.05, factor: float = 0.5, test_fraction: float = 0.2, seed: int = 0
) -> Split:
    """Two concentric circles in the plane, the outer one of radius 1, by ``sklearn.datasets.make_circles``.

    Without noise the classes lie exactly ``1 - factor`` apart.

    Args:
        n: Number of points, training and test together.
        noise: Standard deviation of the Gaussian noise on each coordinate, in units of the outer radius.
        factor: Radius of the inner circle, between 0 and 1.
        test_fraction: Share of the points that is held back for testing, between 0 and 1.
        seed: Seed of the noise and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, 2) and labels 0 (outer) and 1
        (inner).

    Raises:
        ImportError: If scikit-learn is not installed.
        TypeError: If ``n`` or ``seed`` is not an integer, or another argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have both classes.
    """
    n_test = _test_size(n, test_fraction, classes=2)
    _check_real("noise", noise, lambda v: v >= 0, "a number >= 0")
    _check_real("factor", factor, lambda v: 0 < v < 1, "a number between 0 and 1, both excluded")
    rng = _generator(seed)
    _extras.need("lipviz.data.circles")
    from sklearn.datasets import make_circles

    x, y = make_circles(n, noise=noise, factor=factor, random_state=_sklearn_seed(rng))
    return _split(x, y, n_test, rng)


def gaussians(
    n: int = 1000,
    classes: int = 2,
    distance: float = 4.0,
    std: float = 1.0,
    dimension: int = 2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Isotropic Gaussian clouds, neighbouring centers ``distance`` apart.

    The centers are the corners of a regular polygon in the first two coordinates, around the origin (on a
    line if ``dimension`` is 1). Two clouds have their centers at ``±distance / 2`` on the first axis. As one
    is a translation of the other, the Wasserstein-1 distance between their distributions is exactly ``distance``, and
    the error of the best classifier is Φ(-distance / (2 std)), with Φ the distribution function of a standard
    Gaussian.

    Args:
        n: Number of points, training and test together; class sizes differ by at most one.
        classes: Number of clouds, at least 2.
        distance: Distance between neighbouring centers, positive.
        std: Standard deviation of each coordinate within a cloud, positive.
        dimension: Number of coordinates, at least 1.
        test_fraction: Share of the points that is held back for testing, between 0 and 1.
        seed: Seed of the clouds and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, dimension), labels 0 … classes - 1.

    Raises:
        TypeError: If a count or ``seed`` is not an integer, or another argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have every class.
    """
    _check_integer("classes", classes, at_least=2)
    _check_integer("dimension", dimension, at_least=1)
    _check_real("distance", distance, lambda v: v > 0, "a number > 0")
    _check_real("std", std, lambda v: v > 0, "a number > 0")
    n_test = _test_size(n, test_fraction, classes)
    rng = _generator(seed)
    y = np.arange(n) % classes
    x = _centers(classes, distance, dimension)[y] + std * rng.standard_normal((n, dimension))
    return _split(x, y, n_test, rng)


def squares(
    n: int = 1000,
    size: int = 64,
    side: int = 35,
    value: float = 1.0,
    random_position: bool = False,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Images that are all black (class 0) or show one bright square on black (class 1).

    The Wasserstein-1 distance between the classes, for the Euclidean distance between images, is exactly
    ``value * side``: 35 by default. All black images are the same, so there is only one transport plan. It moves
    every image with a square to the black one, and the distance of the two is ``sqrt(side² · value²)``, wherever
    the square is.

    Args:
        n: Number of images, training and test together; class sizes differ by at most one.
        size: Height and width of the images in pixels.
        side: Side of the square in pixels, from 1 to ``size``.
        value: Brightness of the square, in ]0, 1].
        random_position: False centers every square, so that all images of a class are the same (the setting
            of the published example); True draws a position for each.
        test_fraction: Share of the images that is held back for testing, between 0 and 1.
        seed: Seed of the positions and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, size, size, 1).

    Raises:
        TypeError: If a count, a size or ``seed`` is not an integer, ``random_position`` is not a bool, or another
            argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have both classes.
    """
    n_test = _test_size(n, test_fraction, classes=2)
    _check_integer("size", size, at_least=1)
    _check_integer("side", side, at_least=1, at_most=size)
    _check_real("value", value, lambda v: 0 < v <= 1, "a number in ]0, 1]")
    if not isinstance(random_position, bool):
        raise TypeError(f"random_position: expected True or False, received {random_position!r}.")
    rng = _generator(seed)
    y = np.arange(n) % 2
    x = np.zeros((n, size, size, 1), np.float32)
    free = size - side
    for image in x[1::2]:  # A view, where x[y == 1] would be a copy.
        top, left = rng.integers(free + 1, size=2) if random_position else (free // 2, free // 2)
        image[top : top + side, left : left + side] = value
    return _split(x, y, n_test, rng)


# Real images


def digits(n_train: int | None = None, n_test: int | None = None, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """The 1,797 handwritten digits of 8×8 pixels that come with scikit-learn (``load_digits``).

    Args:
        n_train: Number of training images to keep, None for all; the classes keep their proportions.
        n_test: The same for the test images.
        test_fraction: Share of the images that is held back for testing, between 0 and 1.
        seed: Seed of the split. The split does not depend on ``n_train`` and ``n_test``.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, 8, 8, 1) in [0, 1], labels 0 … 9.

    Raises:
        ImportError: If scikit-learn is not installed.
        TypeError: If a count or ``seed`` is not an integer, or ``test_fraction`` not a number.
        ValueError: If an argument is out of range, or more images are asked for than there are.
    """
    _check_subset_sizes(n_train, n_test)
    rng = _generator(seed)
    held_back = _test_size(1797, test_fraction, classes=10)
    _extras.need("lipviz.data.digits")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    train, test = _split(bunch.images[..., np.newaxis] / 16, bunch.target, held_back, rng)
    return _head(*train, n_train, "n_train"), _head(*test, n_test, "n_test")


def fashion_mnist(n_train: int | None = None, n_test: int | None = None, seed: int = 0) -> Split:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28×28 pixels (Xiao et al., 2017).

    The files are looked for in this order: in the folder that the environment variable ``LIPVIZ_DATA_DIR`` names,
    if it is set; in the folder of the Debian package ``dataset-fashion-mnist``; in the cache of
    ``keras.datasets``. If they are in none of them, ``keras.datasets.fashion_mnist.load_data()`` downloads them.

    Args:
        n_train: Number of training images to draw, classes balanced; None for all, in their published order.
        n_test: The same for the test images.
        seed: Seed of the draw. Of two draws with the same seed, the larger contains the smaller.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, 28, 28, 1) in [0, 1], labels 0 … 9
        (see `class_names`).

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If an argument is out of range, more images are asked for than there are, or a file is
            damaged.
        DatasetNotFoundError: If the images are not on this machine and cannot be downloaded.
    """
    _check_subset_sizes(n_train, n_test)
    train_rng, test_rng = _generator(seed).spawn(2)
    folder = _fashion_folder()
    train, test = _download_fashion() if folder is None else _read_fashion(folder)
    return _images(*train, n_train, "n_train", train_rng), _images(*test, n_test, "n_test", test_rng)


def class_names(name: str) -> tuple[str, ...]:
    """Names of the classes of a data set, in the order of its labels.

    Args:
        name: Name of the function of this module that loads the data set, such as "fashion_mnist".

    Raises:
        TypeError: If the name is not a string.
        ValueError: If the name is unknown, or the classes of this set have no names (Gaussians).
    """
    if not isinstance(name, str):
        raise TypeError(f"name: expected the name of a data set, received {name!r}.")
    if name in _CLASS_NAMES:
        return _CLASS_NAMES[name]
    close = difflib.get_close_matches(name, _CLASS_NAMES, n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"name: expected one of {', '.join(_CLASS_NAMES)}, received {name!r}.{suggestion}")


def availability() -> tuple[Availability, ...]:
    """List which data sets can be loaded here. Nothing is loaded or downloaded, and no large package is imported."""
    sklearn = _extras.is_here("sklearn")
    hint = "" if sklearn else f"`{_extras.command('lab')}`"
    return (
        Availability("two_moons", sklearn, "scikit-learn", hint),
        Availability("circles", sklearn, "scikit-learn", hint),
        Availability("gaussians", True, "generated"),
        Availability("squares", True, "generated"),
        Availability("digits", sklearn, "scikit-learn", hint),
        _fashion_availability(),
    )


# Fashion-MNIST on disk


def _keras_cache() -> Path:
    """Folder where ``keras.datasets`` keeps Fashion-MNIST, found without importing Keras."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return Path(os.path.expanduser(home)) / "datasets" / "fashion-mnist"


def _missing_files(folder: Path) -> list[str]:
    return [name for pair in _FASHION_FILES.values() for name in pair if not (folder / name).is_file()]


def _fashion_folder() -> Path | None:
    """First folder that holds all four files; None if there is none.

    Raises:
        DatasetNotFoundError: If the folder of the environment variable is incomplete. The next folder could hold
            other data than the user asked for.
    """
    chosen = os.environ.get(_DATA_DIR_VARIABLE)
    if chosen:
        folder = Path(chosen).expanduser()
        if missing := _missing_files(folder):
            raise DatasetNotFoundError(f"{_DATA_DIR_VARIABLE} is set to {chosen!r}, which lacks {', '.join(missing)}.")
        return folder
    return next((f for f in (_DEBIAN_FASHION, _keras_cache()) if not _missing_files(f)), None)


def _fashion_availability() -> Availability:
    try:
        folder = _fashion_folder()
    except DatasetNotFoundError as error:
        return Availability("fashion_mnist", False, _DATA_DIR_VARIABLE, str(error))
    if folder is None:
        return Availability("fashion_mnist", False, "keras.datasets (download)", _FASHION_HINT)
    return Availability("fashion_mnist", True, str(folder))


def _download_fashion() -> Split:
    import keras

    try:
        return keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception when there is no network.
        raise DatasetNotFoundError(
            f"Fashion-MNIST is not on this machine and could not be downloaded ({error}). {_FASHION_HINT}"
        ) from error


def _read_fashion(folder: Path) -> Split:
    train, test = (_read_pair(folder / images, folder / labels) for images, labels in _FASHION_FILES.values())
    return train, test


def _read_pair(images: Path, labels: Path) -> Samples:
    """Images (n, 28, 28) and labels (n,) in uint8, checked against each other."""
    x, y = _read_idx(images, ndim=3), _read_idx(labels, ndim=1)
    if x.shape[1:] != (28, 28):
        raise _damaged(images, "images of 28×28 pixels", f"{x.shape[1]}×{x.shape[2]}")
    if len(x) != len(y) or not len(y):
        raise _damaged(labels, f"as many labels as {images.name} has images, at least one", f"{len(y)} for {len(x)}")
    if y.max() > 9:
        raise _damaged(labels, "labels from 0 to 9", str(y.max()))
    return x, y


def _read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read a gzipped file in the idx format: magic number, sizes (big-endian, 4 bytes each), bytes.

    Args:
        path: The file.
        ndim: Number of dimensions that its magic number must announce.

    Returns:
        Array of ``ndim`` dimensions, uint8.

    Raises:
        ValueError: If the file is not what it should be.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, "a complete gzip file", str(error)) from error
    header = struct.Struct(f">{1 + ndim}I")
    if len(content) < header.size:
        raise _damaged(path, f"a header of {header.size} bytes", f"{len(content)} bytes")
    magic, *shape = header.unpack_from(content)
    expected_magic = 0x0800 + ndim  # 0x08 stands for unsigned bytes.
    if magic != expected_magic:
        raise _damaged(path, f"magic number {expected_magic}", str(magic))
    received = len(content) - header.size
    if received != math.prod(shape):
        raise _damaged(path, f"{math.prod(shape)} bytes after the header, as it announces", str(received))
    return np.frombuffer(content, np.uint8, offset=header.size).reshape(shape)


def _damaged(path: Path, expected: str, received: str) -> ValueError:
    return ValueError(
        f"Damaged data file {path}: expected {expected}, received {received}. "
        "Delete it, or install its package again, and try once more."
    )


# Order, split, subset


def _stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of the samples in which every prefix holds the classes in their proportions.

    The samples of each class get equally spaced numbers in ]0, 1[, in random order, and all samples are sorted by
    these numbers. So prefixes can serve as test sets and subsets of any size, and the larger ones contain the
    smaller ones.
    """
    shuffled = rng.permutation(len(y))
    place = np.empty(len(y))
    for label in np.unique(y):
        members = shuffled[y[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def _split(x: np.ndarray, y: np.ndarray, n_test: int, rng: np.random.Generator) -> Split:
    x, y = x.astype(np.float32), y.astype(np.int32)
    order = _stratified_order(y, rng)
    test, train = order[:n_test], order[n_test:]
    return (x[train], y[train]), (x[test], y[test])


def _head(x: np.ndarray, y: np.ndarray, n: int | None, name: str) -> Samples:
    if n is None:
        return x, y
    _check_integer(name, n, at_least=1, at_most=len(y))
    return x[:n], y[:n]


def _images(x: np.ndarray, y: np.ndarray, n: int | None, name: str, rng: np.random.Generator) -> Samples:
    """Bytes (m, h, w) to float32 images (n, h, w, 1) in [0, 1], and a balanced draw of n if n is given."""
    if n is not None:
        _check_integer(name, n, at_least=1, at_most=len(y))
        drawn = _stratified_order(y, rng)[:n]
        x, y = x[drawn], y[drawn]
    return x[..., np.newaxis].astype(np.float32) / 255, y.astype(np.int32)


def _centers(classes: int, distance: float, dimension: int) -> np.ndarray:
    """Centers (classes, dimension) around the origin, neighbours ``distance`` apart."""
    centers = np.zeros((classes, dimension))
    if dimension == 1:
        centers[:, 0] = distance * (np.arange(classes) - (classes - 1) / 2)
        return centers
    angle = math.pi + 2 * math.pi * np.arange(classes) / classes
    radius = distance / (2 * math.sin(math.pi / classes))
    centers[:, 0], centers[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return centers


# Seeds and checks of arguments


def _generator(seed: int) -> np.random.Generator:
    _check_integer("seed", seed, at_least=0)
    return np.random.default_rng(int(seed))


def _sklearn_seed(rng: np.random.Generator) -> int:
    """Seed for scikit-learn, which takes no Generator."""
    return int(rng.integers(2**32))


def _test_size(n: int, test_fraction: float, classes: int) -> int:
    """Number of test samples out of n, checked so that every class can be in both parts of the split."""
    _check_integer("n", n, at_least=2 * classes)
    _check_real("test_fraction", test_fraction, lambda v: 0 < v < 1, "a number between 0 and 1, both excluded")
    n_test = round(n * test_fraction)
    if not classes <= n_test <= n - classes:
        raise ValueError(
            f"n and test_fraction: expected at least {classes} training and {classes} test samples, one for "
            f"each class, received n={n} and test_fraction={test_fraction}: {n - n_test} and {n_test}."
        )
    return n_test


def _check_subset_sizes(n_train: int | None, n_test: int | None) -> None:
    """Check the counts before any file is read."""
    for name, n in (("n_train", n_train), ("n_test", n_test)):
        if n is not None:
            _check_integer(name, n, at_least=1)


def _check_integer(name: str, value: int, at_least: int, at_most: int | None = None) -> None:
    expected = f"an integer >= {at_least}" if at_most is None else f"an integer from {at_least} to {at_most}"
    message = f"{name}: expected {expected}, received {value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(message)
    if value < at_least or (at_most is not None and value > at_most):
        raise ValueError(message)


def _check_real(name: str, value: float, holds: Callable[[float], bool], expected: str) -> None:
    message = f"{name}: expected {expected}, received {value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(message)
    if not (math.isfinite(value) and holds(value)):
        raise ValueError(message)
