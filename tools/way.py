"""How far it is from `lipviz.certify` to where the norm of a kernel is computed, for somebody who reads the code.

    python -m tools.way

prints, for a few models, the functions of lipviz on the stack where NumPy decomposes the kernel, or where the norm of a
convolution is asked for. It counts how often somebody comes back to a file that was left, who reads each function on
the way once, in the order in which they are first called. `tests/test_way.py` holds both counts.
"""

import contextlib
import dataclasses
import gc
import os
import sys
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import lipviz
from lipviz import layers
from lipviz.certification import matrices

ROOT = str(Path(lipviz.__file__).parent)
MODELS = {
    "Dense": ((4,), lambda: keras.layers.Dense(3)),
    "SpectralDense": ((4,), lambda: layers.SpectralDense(3)),
    "SpectralConv2D": ((6, 6, 1), lambda: layers.SpectralConv2D(2, 3)),
}


@dataclasses.dataclass(frozen=True)
class Way:
    """What is called before a norm is computed.

    Attributes:
        frames: The functions of lipviz on the stack, the outermost first, as "file: function".
        files: The file of each function that was called until then, in the order of their first calls.
    """

    frames: tuple
    files: tuple

    @property
    def returns(self):
        """How often a reader of these functions comes back to a file that was left."""
        runs = [file for file, before in zip(self.files, (None, *self.files), strict=False) if file != before]
        return len(runs) - len(set(runs))


class _ArrivedError(Exception):
    """The norm is asked for."""


def way(name):
    """The `Way` from `certify` to the norm of the one layer of a model of `MODELS`."""
    shape, layer = MODELS[name]
    model = keras.Sequential([keras.Input(shape), layer()])
    called, frames = {}, []

    def profile(frame, event, _):
        if event == "call" and _is_ours(frame) and not frame.f_code.co_name.startswith("<"):  # no comprehensions
            called.setdefault(frame.f_code, _file(frame))

    def arrive(*_, **__):
        frame = sys._getframe(1)
        while frame is not None:
            if _is_ours(frame):
                frames.insert(0, f"{_file(frame)}: {frame.f_code.co_qualname}")
            frame = frame.f_back
        raise _ArrivedError

    with (
        mock.patch.object(np.linalg, "norm", arrive),
        mock.patch.object(matrices, "convolution_bound", arrive),
        mock.patch.object(matrices, "MEMORY", matrices.Memory(1)),
    ):
        _certify(model)  # what the first call alone does, such as imports, is not on the way
        called.clear()
        frames.clear()
        gc.disable()  # nor is what other objects do when they are deleted
        sys.setprofile(profile)
        try:
            _certify(model)
        finally:
            sys.setprofile(None)
            gc.enable()
    return Way(tuple(frames), tuple(called.values()))


def _certify(model):
    with contextlib.suppress(_ArrivedError):
        lipviz.certify(model, search=False)


def _is_ours(frame):
    return frame.f_code.co_filename.startswith(ROOT)


def _file(frame):
    return Path(frame.f_code.co_filename).relative_to(ROOT).as_posix()


def main():
    """Print the way for each model."""
    for name in MODELS:
        found = way(name)
        print(f"{name}: {len(found.frames)} functions, and {found.returns} returns to a file that was left")
        print("\n".join(f"    {frame}" for frame in found.frames))


if __name__ == "__main__":
    main()
