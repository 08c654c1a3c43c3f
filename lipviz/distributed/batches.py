"""The batches of a training, in an order that a seed and the number of the epoch determine."""

from typing import Any

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.types import Array, ArrayLike


class Batches(keras.utils.PyDataset):
    """Batches of arrays, in a new order in each epoch; the same for the same seed, on all workers and after a restart.

    Each of them is a whole batch; `fit` takes a worker's part of it. Datasets of your own work too: any
    `keras.utils.PyDataset` whose batches depend on nothing but the index and how often `on_epoch_end` was called.

    Args:
        x: Samples of shape (n, ...).
        y: Labels of shape (n, ...).
        sample_weight: Weights of shape (n,), or None.
        batch_size: Number of samples in a batch, those of all workers together. The last batch may be smaller.
        seed: Seed of the orders; None keeps the order of the arrays.

    Raises:
        ValueError: If the lengths differ, there are no samples, or a number is out of range.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        batch_size: int,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        given = (x, y) if sample_weight is None else (x, y, sample_weight)
        self._arrays = tuple(np.asarray(part) for part in given)
        lengths = [len(part) if part.ndim else 0 for part in self._arrays]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ValueError(f"Expected as many labels and weights as samples, at least one. Received: {lengths}")
        self._size = nm.check_count("batch_size", batch_size)
        if not self._size:
            raise ValueError("`batch_size` must be at least 1. Received: batch_size=0")
        self._seed = nm.check_seed("seed", seed)
        self._epoch = 0
        self._order = self._drawn()

    def _drawn(self) -> Array:
        count = len(self._arrays[0])
        if self._seed is None:
            return np.arange(count)
        return np.random.default_rng((self._seed, self._epoch)).permutation(count)

    def __len__(self) -> int:
        return -(-len(self._order) // self._size)

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        rows = self._order[index * self._size : (index + 1) * self._size]
        return tuple(part[rows] for part in self._arrays)

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._order = self._drawn()


def divided(batch: Any, replicas: int, is_last: bool) -> tuple[Any, int]:
    """A batch as it can be divided among replicas.

    Args:
        batch: Structure of arrays of shape (n, ...).
        replicas: Number of replicas.
        is_last: Whether it is the last batch of an epoch, which leaves out what cannot be divided.

    Returns:
        The tuple (batch, number of rows of a replica). That number is 0 if the last batch has fewer rows than replicas.

    Raises:
        ValueError: If another batch cannot be divided into equal parts.
    """
    rows = len(keras.tree.flatten(batch)[0])
    each, rest = divmod(rows, replicas)
    if rest and not is_last:
        raise ValueError(
            f"A batch must be divided equally among {replicas} devices of all workers. Received: batches of {rows} "
            f"samples. Take a multiple of {replicas}, such as {rows - rest or replicas}"
        )
    return keras.tree.map_structure(lambda part: part[: each * replicas], batch), each
