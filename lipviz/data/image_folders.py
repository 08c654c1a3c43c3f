"""Folders of images, one subfolder for each class."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lipviz import _extras
from lipviz.data.dataset import listed

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"))
_OF_SYSTEMS = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
_TRAIN, _TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
_LARGEST = 2**31  # numbers of all images together
COLORS = ("grey", "rgb")


def parts_of(folder: Path) -> list[Path]:
    """The folders of training and of test images, if these are the subfolders; the folder alone otherwise."""
    names = {child.name.lower(): child for child in _children(folder) if child.is_dir()}
    train = [child for name, child in names.items() if name in _TRAIN]
    test = [child for name, child in names.items() if name in _TEST]
    if len(train) == 1 and test and len(names) == 1 + len(test):
        if len(test) > 1:
            raise ValueError(
                f"{str(folder)!r}: expected one folder of test images, received {listed([each.name for each in test])}."
            )
        return [train[0], test[0]]
    return [folder]


def read_folder(
    folder: str | os.PathLike[str], *, size: tuple[int, int] | None, color: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Reads the images of a folder, see `load`.

    Returns:
        Grey levels from 0 to 255 of shape (n, height, width, 1 or 3), uint8; the name of the class of each; and notes.

    Raises:
        ImportError: If Pillow is not installed.
        ValueError: If the folder has no classes, a file is no image, or images differ in size.
    """
    _extras.need("lipviz.data.load")
    folder = Path(folder)
    files, labels, others = _files(folder)
    images = [_opened(path) for path in files]
    notes = [f"Files that are no images were left out: {listed(others)}."] if others else []
    is_grey = [image.mode in ("1", "L", "I", "I;16", "F") for image in images]
    if color is None:
        color = "grey" if all(is_grey) else "rgb"
        if any(is_grey) and color == "rgb":
            notes.append(f"{sum(is_grey):,} of {len(images):,} images are grey, and became RGB.")
    arrays = [_converted(image, path, color) for image, path in zip(images, files, strict=True)]
    if size is not None:
        arrays = [_resized(array, size) for array in arrays]
    _check_sizes(folder, files, arrays)
    return np.stack(arrays), np.array(labels), tuple(notes)


def _children(folder):
    """What lies in a folder, without hidden files and those that systems write."""
    found = sorted(folder.iterdir())
    return [child for child in found if not child.name.startswith(".") and child.name.lower() not in _OF_SYSTEMS]


def _files(folder):
    """The images of all classes, the class of each, and the names of other files."""
    children = _children(folder)
    classes = [child for child in children if child.is_dir()]
    if not classes:
        images = [child.name for child in children if child.suffix.lower() in _SUFFIXES]
        received = f"images without one, such as {images[0]!r}" if images else "none"
        raise ValueError(f"{str(folder)!r}: expected a subfolder of images for each class, received {received}.")
    files, labels, others = [], [], [child.name for child in children if child.is_file()]
    for child in classes:
        inside = _children(child)
        found = [path for path in inside if path.is_file() and path.suffix.lower() in _SUFFIXES]
        if not found:
            deeper = [path.name for path in inside if path.is_dir()]
            received = f"only folders: {listed(deeper)}" if deeper else "none"
            raise ValueError(f"{str(child)!r}: expected images of the class {child.name!r}, received {received}.")
        others += [f"{child.name}/{path.name}" for path in inside if path not in found]
        files += found
        labels += [child.name] * len(found)
    return files, labels, others


def _opened(path) -> Any:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, EOFError, Warning, Image.DecompressionBombError) as error:
        words = " ".join(str(error).split())
        raise ValueError(f"{str(path)!r}: expected an image, received a file that cannot be read ({words}).") from error


def _converted(image, path, color):
    """Grey levels (height, width, channels) in uint8, on white where an image is transparent."""
    from PIL import Image

    if image.mode in ("I", "I;16", "F"):
        levels = np.asarray(image, np.float64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"{str(path)!r}: expected grey levels from 0 to 65535, received {levels.max():g}.")
        image = Image.fromarray(np.round(levels / 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    array = np.asarray(image.convert("L" if color == "grey" else "RGB"))
    return array if array.ndim == 3 else array[..., None]


def _resized(array, size):
    from PIL import Image

    height, width = size
    if array.shape[:2] == (height, width):
        return array
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return resized if resized.ndim == 3 else resized[..., None]


def _check_sizes(folder, files, arrays):
    sizes = [array.shape[:2] for array in arrays]
    other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        raise ValueError(
            f"{str(folder)!r}: expected images of one size, received {_words(sizes[0])} ({files[0].name}) and "
            f"{_words(sizes[other])} ({files[other].name}). Say a size of all, in pixels: size=(height, width)."
        )
    if len(arrays) * arrays[0].size > _LARGEST:
        raise ValueError(
            f"{str(folder)!r}: expected at most {_LARGEST:,} numbers, received {len(arrays):,} images of "
            f"{_words(sizes[0])}. Say a smaller size: size=(height, width)."
        )


def _words(size):
    return f"{size[0]}×{size[1]}"
