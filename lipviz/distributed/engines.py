"""The two engines that exchange numbers between workers: TensorFlow's `tf.distribute`, and JAX with Keras's.

An engine makes the scope in which models are built, a step that trains on a part of each batch, and one exchange of
whole numbers. All collective operations are those of TensorFlow and JAX.
"""

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from lipviz.distributed.cluster import Cluster
from lipviz.types import Array

# Words of errors that mean that another worker is gone. The classes of these errors say less.
_LOST = (
    *("Collective ops is aborted", "failed to connect to all addresses", "Socket closed", "heartbeat"),
    *("Gloo", "Connection reset", "Connection closed"),
)
_HEARTBEAT = 30  # seconds without a sign of life after which JAX counts a worker as dead
_END = 60  # seconds that JAX waits at the end for the others


def is_loss(error: BaseException) -> bool:
    """Whether an error of the backend means that another worker is gone."""
    return any(word in str(error) for word in _LOST)


def _scalars(logs):
    """Those of a step's logs that are single numbers, by name, in an order that is the same on all workers."""
    return {name: logs[name] for name in sorted(logs) if getattr(logs[name], "ndim", 0) == 0}


class TensorFlowEngine:
    """`tf.distribute.MultiWorkerMirroredStrategy`, and a loop of its own: Keras's `fit` fails on several machines.

    Keras 3.15 reduces a batch to find its shapes (`_maybe_symbolic_build`), which this strategy refuses, and takes the
    mean of each metric along axis 0, which a scalar does not have.

    Args:
        cluster: All workers; TensorFlow itself reads TF_CONFIG.
    """

    def __init__(self, cluster: Cluster) -> None:
        import tensorflow as tf

        try:
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise ValueError(
                f"`connect` must come before anything is computed. TensorFlow says: {_first_line(error)}"
            ) from error
        except tf.errors.OpError as error:
            address = cluster.addresses[cluster.index]
            raise ValueError(
                f"TensorFlow cannot join the workers as {address}: {_first_line(error)}. Is the port in use?"
            ) from error
        self.replicas = int(self._strategy.num_replicas_in_sync)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which models are built and compiled."""
        return self._strategy.scope()

    def owns(self, model: keras.Model) -> bool:
        """Whether a model was built in the scope."""
        return model.distribute_strategy is self._strategy

    def gather(self, numbers: Array) -> Array:
        """Numbers of all workers, int32 of shape (workers, n) from (n,). All workers must call it."""
        import tensorflow as tf

        def everyone():
            return tf.distribute.get_replica_context().all_gather(tf.constant(numbers[None], tf.int32), axis=0)

        result = self._strategy.experimental_local_results(self._strategy.run(everyone))[0]
        return result.numpy()

    def step(self, model: keras.Model) -> "TensorFlowStep":
        """A step of training for a compiled model."""
        return TensorFlowStep(model, self._strategy)

    @contextlib.contextmanager
    def keeping_state(self, model: keras.Model, step: "TensorFlowStep") -> Iterator[None]:
        """Context of the loop: variables always have their values here."""
        yield


class TensorFlowStep:
    """Train on one batch, with `strategy.run`.

    Args:
        model: Compiled model of the strategy's scope.
        strategy: Strategy of TensorFlow.
    """

    def __init__(self, model: keras.Model, strategy: Any) -> None:
        self._model, self._strategy = model, strategy
        self._names: list[str] = []
        self._run = self._traced()

    def _traced(self):
        import tensorflow as tf

        def replica(data):
            logs = _scalars(self._model.train_step(data))
            self._names = list(logs)
            return tf.stack([tf.cast(value, tf.float32) for value in logs.values()])

        @tf.function(reduce_retracing=True)
        def run(data):
            return self._strategy.reduce("MEAN", self._strategy.run(replica, args=(data,)), axis=None)

        return run

    def __call__(self, rows: Callable[[int], Any]) -> dict[str, Any]:
        """One step; `rows(i)` are the samples of replica i. Returns logs, the same on all workers."""
        import tensorflow as tf

        def of(context):
            return keras.tree.map_structure(tf.convert_to_tensor, rows(context.replica_id_in_sync_group))

        data = self._strategy.experimental_distribute_values_from_function(of)
        return dict(zip(self._names_after(values := self._run(data)), tf.unstack(values), strict=True))

    def _names_after(self, _):
        return self._names

    def results(self, logs: dict[str, Any]) -> dict[str, float]:
        """Metrics of the epoch so far, over the samples of all workers."""
        found = _scalars(self._model.get_metrics_result())
        return {name: float(value) for name, value in found.items()}

    def sync(self) -> None:
        """Variables always have their values."""


class JAXEngine:
    """`jax.distributed` for the processes, `keras.distribution.DataParallel` for the variables and batches.

    Args:
        cluster: All workers. The first one coordinates, at its address.
    """

    def __init__(self, cluster: Cluster) -> None:
        import jax

        first = cluster.addresses[0]
        host = first.rpartition(":")[0]
        is_local = host in ("localhost", "::1", "[::1]") or host.startswith("127.")
        try:
            jax.distributed.initialize(
                first,
                len(cluster.addresses),
                cluster.index,
                coordinator_bind_address=first if is_local else None,
                heartbeat_timeout_seconds=_HEARTBEAT,
                shutdown_timeout_seconds=_END,
            )
        except RuntimeError as error:
            if "before any JAX" in str(error) or "once" in str(error):
                raise ValueError(
                    f"`connect` must come before anything is computed. JAX says: {_first_line(error)}"
                ) from error
            raise ValueError(f"JAX cannot join the workers at {first}: {_first_line(error)}") from error
        atexit.register(_end_without_others)
        self._index = cluster.index
        self._distribution = keras.distribution.DataParallel(
            devices=keras.distribution.list_devices(), auto_shard_dataset=False
        )
        self.replicas = jax.device_count()
        self._local = range(cluster.index * jax.local_device_count(), (cluster.index + 1) * jax.local_device_count())

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which models are built and compiled."""
        return self._distribution.scope()

    def owns(self, model: keras.Model) -> bool:
        """Whether a model was built in the scope."""
        return all(len(variable.value.devices()) == self.replicas for variable in model.variables)

    def gather(self, numbers: Array) -> Array:
        """Numbers of all workers, int32 of shape (workers, n) from (n,). All workers must call it."""
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(numbers)).reshape(-1, len(numbers))

    def step(self, model: keras.Model) -> "JAXStep":
        """A step of training for a compiled model."""
        return JAXStep(model, self._distribution, self._local)

    @contextlib.contextmanager
    def keeping_state(self, model: keras.Model, step: "JAXStep") -> Iterator[None]:
        """Context of the loop: a callback that asks for its model gets it with the weights of the last step."""
        model.jax_state_sync = step.sync
        try:
            yield
        finally:
            del model.jax_state_sync


class JAXStep:
    """Train on one batch, by the function that Keras compiles for `fit`.

    Keras keeps the state of a training outside of its variables, because assigning them takes time. So does this.

    Args:
        model: Compiled model of the distribution's scope.
        distribution: Distribution of Keras.
        local: Numbers of the replicas of this worker.
    """

    def __init__(self, model: keras.Model, distribution: Any, local: range) -> None:
        model.make_train_function()
        self._model, self._distribution, self._local = model, distribution, local
        self._state: Any = None

    def _groups(self):
        model = self._model
        return (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )

    def __call__(self, rows: Callable[[int], Any]) -> dict[str, Any]:
        """One step; `rows(i)` are the samples of replica i. Returns logs, the same on all workers."""
        import jax

        parts = [rows(replica) for replica in self._local]
        local = keras.tree.map_structure(lambda *part: np.concatenate(part), *parts)

        def whole(part):
            layout = self._distribution.get_data_layout(part.shape).backend_layout
            return jax.make_array_from_process_local_data(layout, part)

        if self._state is None:
            self._state = tuple([variable.value for variable in group] for group in self._groups())
        logs, self._state = self._model.train_function(self._state, iter([keras.tree.map_structure(whole, local)]))
        return _scalars(logs)

    def results(self, logs: dict[str, Any]) -> dict[str, float]:
        """Metrics of the epoch so far, over the samples of all workers."""
        return {name: float(np.asarray(value)) for name, value in logs.items()}

    def sync(self) -> None:
        """Give the variables their values. The next step reads them again."""
        if self._state is None:
            return
        state, self._state = self._state, None
        for group, values in zip(self._groups(), state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)


def _end_without_others():
    """End a process with an error at once: JAX would wait for the others, which wait for this one."""
    if getattr(sys, "last_value", None) is not None:  # Python has printed an exception that nobody caught
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


ENGINES = {"tensorflow": TensorFlowEngine, "jax": JAXEngine}
