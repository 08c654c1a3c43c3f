"""Loads a model from a file. If something is wrong with the file, the error says so in one sentence."""

import json
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import keras

from lipviz.parametrizations import unfilled

_PARTS = ("config.json", "model.weights.h5")
# Keras stores all parts uncompressed, and a file that was compressed again shrinks a few times. The largest known
# configurations have some MB.
_MOST_EXPANSION = 100
_SMALL = 16 * 2**20
_LARGEST_CONFIG = 64 * 2**20
# Each of these numbers is a number of weights at least, and no format stores more than eight weights in a byte.
_SIZES = ("units", "filters", "input_dim", "output_dim")


def load_model_file(path: str | os.PathLike[str]) -> keras.Model:
    """Load a model in safe mode: code inside the file is refused.

    A `.keras` file is an archive. It is refused as well if one of its parts would be written elsewhere, is there twice
    or unpacks to far more than it stores, and if its configuration names layers that are larger than the stored
    weights. This is known before anything is unpacked or built.

    Args:
        path: Path of a file that Keras saved as `.keras`, or of an older `.h5` file.

    Returns:
        A Keras model.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
        ValueError: If it is empty, damaged or no model, or runs code of its own.
    """
    # A file may name their classes: importing them registers these with Keras.
    from lipviz import constraints, initializers, model, regularizers  # noqa: F401

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}. Expected a model saved as `.keras`.")
    if path.is_dir():
        raise IsADirectoryError(f"There is no file {str(path)!r}, but a folder. Expected a model saved as `.keras`.")
    with path.open("rb") as file:  # raises OSError if it cannot be read
        if file.read(1) == b"{":
            raise _cannot_be_loaded(path, "it is JSON, such as a certificate. Expected a model saved as `.keras`")
    if path.suffix == ".keras":
        _check_archive(path)
    try:
        with unfilled():  # every kernel is assigned right away
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and JSON have errors of their own for each way to be damaged
        raise _cannot_be_loaded(path, _reason(error)) from error


def _check_archive(path):
    """Raise ValueError unless a file is a whole archive with the parts of a Keras model, and with nothing harmful."""
    if not path.stat().st_size:
        raise _cannot_be_loaded(path, "it is empty. Expected a file that Keras saved as `.keras`")
    try:
        with zipfile.ZipFile(path) as archive:
            reason = _harm(archive.infolist()) or _damage(archive)
    except Exception as error:  # a wrong byte in a header may raise BadZipFile, NotImplementedError, zlib.error
        raise _cannot_be_loaded(path, f"it is damaged, or no file that Keras saved ({_reason(error)})") from error
    if reason:
        raise _cannot_be_loaded(path, reason)


def _harm(parts: list[zipfile.ZipInfo]) -> str:
    """Say what an archive would do that no saved model does, from its table of contents alone; or nothing."""
    seen: set[str] = set()
    for part in parts:
        name, size = part.filename, part.file_size
        if name in seen:
            return f"its part {name!r} is there twice, so two readers may read two models"
        seen.add(name)
        if _leaves_the_folder(part):
            return f"its part {name!r} would be written outside of the folder that it is unpacked into"
        if size > max(_SMALL, _MOST_EXPANSION * part.compress_size):
            return f"its part {name!r} unpacks to {size:,} bytes from {part.compress_size:,}, as no saved model does"
        if name.endswith(".json") and size > _LARGEST_CONFIG:
            return f"its part {name!r} has {size:,} bytes. Expected at most {_LARGEST_CONFIG:,} for a configuration"
    return ""


def _leaves_the_folder(part: zipfile.ZipInfo) -> bool:
    """Whether a part has an absolute path, goes up, or is a link."""
    name = part.filename.replace("\\", "/")
    up = ".." in PurePosixPath(name).parts
    return up or name.startswith("/") or ":" in name.split("/")[0] or stat.S_ISLNK(part.external_attr >> 16)


def _damage(archive: zipfile.ZipFile) -> str:
    """Say what an archive lacks or contradicts, read part by part; or nothing."""
    if (damaged := archive.testzip()) is not None:
        return f"it is damaged: its part {damaged!r} differs from its checksum"
    names = archive.namelist()
    for name in _PARTS:
        if name not in names:
            return f"it holds no {name!r}, as a file that Keras saved does"
    config, weights = (archive.getinfo(name) for name in _PARTS)
    largest = _largest_size(json.loads(archive.read(config)))
    if largest > 8 * weights.file_size:
        return f"a layer has a size of {largest:,}, but all weights are stored in {weights.file_size:,} bytes"
    return ""


def _largest_size(config: Any) -> int:
    """Find the largest number of units or channels in a configuration."""
    if isinstance(config, list):
        return max(map(_largest_size, config), default=0)
    if not isinstance(config, dict):
        return 0
    sizes = [value for key in _SIZES if isinstance(value := config.get(key), int)]
    return max([0, *sizes, *map(_largest_size, config.values())])


def _cannot_be_loaded(path, reason):
    return ValueError(f"{str(path)!r} cannot be loaded: {reason.rstrip('.')}.")


def _reason(error):
    """The message of an error without the configuration that Keras adds, and with its class if that is needed."""
    text = str(error).split(" Full object config")[0].split("Exception encountered: ")[-1].strip()
    return text if isinstance(error, TypeError | ValueError) and text else f"{type(error).__name__}: {text}"
