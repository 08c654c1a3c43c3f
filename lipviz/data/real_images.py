"""Real images that come with scikit-learn, with Keras or with Debian."""

import gzip
import math
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np

from lipviz import _extras
from lipviz.data.availabilities import Availability
from lipviz.data.checks import check_integer
from lipviz.data.splits import (
    Samples,
    Split,
    check_subset_sizes,
    generator,
    head,
    size_of_test,
    split,
    stratified_order,
)

_DATA_DIR_VARIABLE = "LIPVIZ_DATA_DIR"
_PATIENCE = 30  # seconds for an answer from the internet
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
    check_subset_sizes(n_train, n_test)
    rng = generator(seed)
    held_back = size_of_test(1797, test_fraction, classes=10)
    _extras.need("lipviz.data.digits")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    train, test = split(bunch.images[..., np.newaxis] / 16, bunch.target, held_back, rng)
    return head(*train, n_train, "n_train"), head(*test, n_test, "n_test")


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
    check_subset_sizes(n_train, n_test)
    train_rng, test_rng = generator(seed).spawn(2)
    folder = _fashion_folder()
    train, test = _download_fashion() if folder is None else _read_fashion(folder)
    return images_of_bytes(*train, n_train, "n_train", train_rng), images_of_bytes(*test, n_test, "n_test", test_rng)


def images_of_bytes(x: np.ndarray, y: np.ndarray, n: int | None, name: str, rng: np.random.Generator) -> Samples:
    """Bytes (m, h, w) to float32 images (n, h, w, 1) in [0, 1], and a balanced draw of n if n is given."""
    if n is not None:
        check_integer(name, n, at_least=1, at_most=len(y))
        drawn = stratified_order(y, rng)[:n]
        x, y = x[drawn], y[drawn]
    return x[..., np.newaxis].astype(np.float32) / 255, y.astype(np.int32)


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


def fashion_availability() -> Availability:
    """Whether the images of Fashion-MNIST are on this machine."""
    try:
        folder = _fashion_folder()
    except DatasetNotFoundError as error:
        return Availability("fashion_mnist", False, _DATA_DIR_VARIABLE, str(error))
    if folder is None:
        return Availability("fashion_mnist", False, "keras.datasets (download)", _FASHION_HINT)
    return Availability("fashion_mnist", True, str(folder))


def _download_fashion() -> Split:
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _PATIENCE)  # Keras would wait for ever for a proxy that does not answer
    try:
        return keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception when there is no network.
        raise DatasetNotFoundError(
            f"Fashion-MNIST is not on this machine and could not be downloaded ({error}). {_FASHION_HINT}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


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
