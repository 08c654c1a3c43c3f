"""Checkpoints of a training: which there are, which to take, and whether one belongs to a model."""

import contextlib
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lipviz import normalizers as nm
from lipviz.distributed import files
from lipviz.distributed.files import CheckpointError
from lipviz.distributed.workers import Workers
from lipviz.types import Array

_NAME = re.compile(r"step-(\d{10})\.ckpt")
_PATIENCE = 15  # seconds until another machine must see a new file in the folder


class Saved(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        step: Number of steps of the training until then.
        arrays: Values of all variables, by name.
        meta: Where the training was, and what belongs to it.
    """

    step: int
    arrays: dict[str, Array]
    meta: dict[str, Any]


class Checkpoint:
    """A folder of checkpoints, from which `fit` goes on after a worker was lost.

    A checkpoint holds all that a training goes on from: weights, the state of constraints (`u`, `wbar`) and of the
    optimizer, seeds and metrics, the place in the epoch, and the counters of callbacks. Worker 0 writes it, into a
    folder that all workers see. It writes a file aside, flushes it to the disk, and renames it. So a file that is
    there is whole; one that is not, or was changed, does not fit its checksum: it is refused with a warning, and the
    one before it is taken.

    Args:
        folder: Folder of all workers. It is created where it is missing.
        every: Number of steps from one checkpoint to the next. With None, there is one at the end of each epoch only.
        keep: Number of checkpoints that are kept, the newest, at least 2.

    Raises:
        TypeError: If the folder is no path.
        ValueError: If a number is out of range.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int | None = None, keep: int = 3) -> None:
        self.folder = Path(folder)
        self.every = None if every is None else nm.check_count("every", every)
        if self.every == 0:
            raise ValueError("`every` must be at least 1, or None. Received: every=0")
        self.keep = nm.check_count("keep", keep)
        if self.keep < 2:
            raise ValueError(f"`keep` must be at least 2: the newest may be broken. Received: keep={keep}")

    def steps(self) -> list[int]:
        """Numbers of the steps of which there are files, whole or not, the newest first."""
        try:
            found = [_NAME.fullmatch(name) for name in os.listdir(self.folder)]
        except FileNotFoundError:
            return []
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step-{step:010d}.ckpt"

    def newest(self) -> Saved | None:
        """The newest checkpoint that is whole; None if there is none. One that is not is named in a warning."""
        for step in self.steps():
            try:
                return Saved(step, *files.read(self.path(step)))
            except CheckpointError as error:
                warnings.warn(f"{error}. The one before it is taken.", RuntimeWarning, stacklevel=2)
        return None

    def write(self, step: int, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
        """Write the checkpoint of a step, and delete older ones than are kept.

        Raises:
            CheckpointError: If it cannot be written.
        """
        files.write(self.path(step), arrays, meta)
        for old in self.steps()[self.keep :]:
            with contextlib.suppress(OSError):
                self.path(old).unlink()

    # --- with all workers ---

    def check_shared(self, workers: Workers) -> None:
        """Check that worker 0 can write to the folder, and that all others see it. All workers must call it.

        Raises:
            CheckpointError: On all workers, if one of them does not.
        """
        trouble, token = "", int(np.random.default_rng().integers(2**31))
        probe = self.folder / f".shared-{workers.gather([token])[0, 0]}"
        if workers.index == 0:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                _remove_leftovers(self.folder)
                probe.touch()
            except OSError as error:
                trouble = f": {error.strerror}"
        written = not workers.gather([bool(trouble)])[0, 0]
        sees = workers.gather([written and _appears(probe)])[:, 0]
        if workers.index == 0:
            with contextlib.suppress(OSError):
                probe.unlink()
        if not written:
            raise CheckpointError(f"Worker 0 cannot write to the folder {self.folder}{trouble}")
        if not sees.all():
            blind = ", ".join(str(i) for i in np.flatnonzero(~sees.astype(bool)))
            raise CheckpointError(
                f"The folder {self.folder} is not shared: worker 0 wrote to it, and does not appear there to worker "
                f"{blind}. Take a folder that all machines see"
            )

    def newest_of_all(self, workers: Workers) -> Saved | None:
        """`newest`, the same on all workers. All workers must call it.

        Raises:
            CheckpointError: If workers see different ones.
        """
        saved = self.newest()
        steps = workers.gather([-1 if saved is None else saved.step])[:, 0]
        if (steps != steps[0]).any():
            seen = ", ".join(f"worker {i} {'none' if step < 0 else step}" for i, step in enumerate(steps))
            raise CheckpointError(f"Workers see different checkpoints in {self.folder}, by their steps: {seen}")
        return saved

    def write_of_all(self, workers: Workers, step: int, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
        """`write` on worker 0. All workers must call it.

        Raises:
            CheckpointError: On all workers, if worker 0 cannot.
        """
        error = None
        if workers.index == 0:
            try:
                self.write(step, arrays, meta)
            except CheckpointError as found:
                error = found
        if workers.gather([error is not None])[0, 0]:
            raise error or CheckpointError(f"Worker 0 could not write {self.path(step)}; its message says why")


def _appears(path: Path) -> bool:
    """Whether a file is there, or appears soon: other machines may see a new file late."""
    end = time.monotonic() + _PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _remove_leftovers(folder: Path) -> None:
    """Removes what a worker that was killed was writing."""
    for path in (*folder.glob(".*.tmp"), *folder.glob(".shared-*")):
        with contextlib.suppress(OSError):
            path.unlink()
