"""Files that are either whole or refused: written aside, flushed to the disk, renamed, with a checksum inside."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lipviz._files import write_whole
from lipviz.types import Array

_MAGIC = b"lipviz checkpoint 1\n"
_HEADER = len(_MAGIC) + 64 + 1 + 20 + 1  # sha256 in hex, a space, the number of bytes, a line feed
_META = "meta"


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read, or does not fit; the message is one line."""


def write(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Writes a file that is either whole or not there, even where the machine loses its power.

    The file is written under another name, flushed to the disk, and renamed; then the folder is flushed.

    Args:
        path: File to write or replace.
        arrays: Arrays by name; none of them "meta".
        meta: What JSON can hold.

    Raises:
        CheckpointError: If it cannot be written, such as on a full disk.
    """
    stored: dict[str, Any] = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays}
    stream = io.BytesIO()
    try:
        np.savez(stream, **stored)
        stream.seek(0)
        write_whole(path, _header(*_digest(stream)) + stream.getbuffer())
        _flush_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error


def _digest(stream: BinaryIO) -> tuple[str, int]:
    """SHA-256 and length of the rest of a stream."""
    digest, size = hashlib.sha256(), 0
    while part := stream.read(2**20):
        digest.update(part)
        size += len(part)
    return digest.hexdigest(), size


def _flush_folder(folder: Path) -> None:
    """Makes a new name durable. Windows cannot open folders, and needs no flush."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Reads a file that `write` has written.

    Args:
        path: The file.

    Returns:
        The tuple (arrays by name, meta).

    Raises:
        CheckpointError: If the file is cut off, was changed, or is no such file.
    """
    try:
        with open(path, "rb") as stream:
            _check(path, stream)
            stream.seek(_HEADER)
            with np.load(stream, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            return arrays, json.loads(bytes(arrays.pop(_META)))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is no checkpoint of lipviz: {error}") from error


def _check(path: Path, stream: BinaryIO) -> None:
    header = stream.read(_HEADER)
    if not header.startswith(_MAGIC) or len(header) < _HEADER:
        raise CheckpointError(f"{path} is no checkpoint of lipviz, or its beginning is missing")
    digest, length = _digest(stream)
    if header == _header(digest, length):
        return
    said = header[-21:-1]
    if said.isdigit() and int(said) != length:
        raise CheckpointError(f"{path} is cut off: it holds {length} bytes of {int(said)}")
    raise CheckpointError(f"{path} was changed: its checksum is another one")


def _header(digest: str, size: int) -> bytes:
    return _MAGIC + f"{digest} {size:020d}\n".encode()
