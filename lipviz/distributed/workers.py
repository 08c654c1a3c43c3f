"""All workers of a training, as one of them sees them."""

import contextlib
import hashlib
from typing import Any

import keras
import numpy as np

from lipviz.distributed.cluster import Cluster, from_environment
from lipviz.distributed.engines import ENGINES
from lipviz.types import Array

_connected: dict[Cluster, "Workers"] = {}


class Workers:
    """All workers, as one of them sees them. `connect` returns it.

    Attributes:
        index: Number of this worker, from 0. Worker 0 writes checkpoints and shows progress.
        count: Number of workers.
        replicas: Number of devices of all workers together. Each of them trains on an equal part of a batch.
    """

    def __init__(self, cluster: Cluster, engine: Any) -> None:
        self.index, self.count, self.replicas = cluster.index, len(cluster.addresses), engine.replicas
        self._engine = engine

    def __repr__(self) -> str:
        return f"Workers(index={self.index}, count={self.count}, replicas={self.replicas})"

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which models must be built and compiled."""
        return self._engine.scope()

    def gather(self, numbers: Any) -> Array:
        """Numbers of all workers. It returns when all workers have called it.

        Args:
            numbers: Whole numbers of shape (n,), below 2³¹; the same n on all workers.

        Returns:
            An int32 array of shape (workers, n).
        """
        found = self._engine.gather(np.asarray(numbers, np.int32))
        return found[:: len(found) // self.count]  # one row for each device of a worker

    def owns(self, model: keras.Model) -> bool:
        """Whether a model was built in the scope of these workers."""
        return bool(self._engine.owns(model))

    def step(self, model: keras.Model) -> Any:
        """A step of training of the engine."""
        return self._engine.step(model)

    def keeping_state(self, model: keras.Model, step: Any) -> contextlib.AbstractContextManager[None]:
        """Context of a loop with this step, in which callbacks find the weights of the last step in their model."""
        return self._engine.keeping_state(model, step)

    def which_differ(self, content: bytes) -> list[int]:
        """Numbers of the workers whose content differs from that of worker 0. All workers must call it."""
        digests = self.gather(np.frombuffer(hashlib.sha256(content).digest(), np.int32))
        return [int(i) for i in np.flatnonzero((digests != digests[0]).any(axis=1))]


def connect() -> Workers:
    """Joins the workers that TF_CONFIG lists, and returns when all of them are there.

    It must come before anything is computed, on both backends. Then call `keras.utils.set_random_seed`, with the same
    seed on all workers, so that they begin with the same weights. A second call returns the same object.

    Raises:
        ValueError: If TF_CONFIG is missing or wrong, Keras has another backend than TensorFlow or JAX, something was
            computed before, or the port of this worker is in use.
    """
    cluster = from_environment()
    backend = keras.backend.backend()
    if backend not in ENGINES:
        raise ValueError(f"Expected Keras's backend {' or '.join(ENGINES)}. Received: KERAS_BACKEND={backend}")
    if cluster not in _connected:
        if _connected:
            raise ValueError(
                f"This process belongs to other workers already: {', '.join(next(iter(_connected)).addresses)}"
            )
        _connected[cluster] = Workers(cluster, ENGINES[backend](cluster))
    return _connected[cluster]
