"""Loads a model from a file. If something is wrong with the file, the error says so in one sentence."""

import json
import os
import zipfile
from pathlib import Path

import keras

from lipviz.parametrizations import unfilled

_PARTS = ("config.json", "model.weights.h5")


def load_model_file(path: str | os.PathLike[str]) -> keras.Model:
    """Load a model in safe mode: code inside the file is refused.

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
    """Raise ValueError unless a file is a whole archive with the parts of a Keras model."""
    if not path.stat().st_size:
        raise _cannot_be_loaded(path, "it is empty. Expected a file that Keras saved as `.keras`")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged, names = archive.testzip(), archive.namelist()
            missing = [name for name in _PARTS if name not in names]
            if damaged is None and not missing:
                json.loads(archive.read(_PARTS[0]))
    except Exception as error:  # a wrong byte in a header may raise BadZipFile, NotImplementedError, zlib.error
        raise _cannot_be_loaded(path, f"it is damaged, or no file that Keras saved ({_reason(error)})") from error
    if damaged is not None:
        raise _cannot_be_loaded(path, f"it is damaged: its part {damaged!r} differs from its checksum")
    if missing:
        raise _cannot_be_loaded(path, f"it holds no {missing[0]!r}, as a file that Keras saved does")


def _cannot_be_loaded(path, reason):
    return ValueError(f"{str(path)!r} cannot be loaded: {reason.rstrip('.')}.")


def _reason(error):
    """The message of an error without the configuration that Keras adds, and with its class if that is needed."""
    text = str(error).split(" Full object config")[0].split("Exception encountered: ")[-1].strip()
    return text if isinstance(error, TypeError | ValueError) and text else f"{type(error).__name__}: {text}"
