"""The loop of a training on several workers: one for TensorFlow and for JAX, since Keras's `fit` fails on the first."""

from collections.abc import Sequence
from typing import Any

import keras

from lipviz import normalizers as nm
from lipviz.distributed import state
from lipviz.distributed.batches import divided
from lipviz.distributed.checkpoint import Checkpoint
from lipviz.distributed.engines import is_loss
from lipviz.distributed.files import CheckpointError
from lipviz.distributed.workers import Workers
from lipviz.keras_internals import build_metrics
from lipviz.model import refresh


class WorkerLostError(RuntimeError):
    """Another worker is gone, so that this one cannot go on. Start all of them again."""


def fit(
    model: keras.Model,
    batches: keras.utils.PyDataset,
    *,
    workers: Workers,
    epochs: int,
    checkpoint: Checkpoint | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Any = "auto",
) -> keras.callbacks.History:
    """Train on all workers, as Keras's `fit` does on one. All workers must call it with the same arguments.

    Each worker takes its part of each batch. The loss of a batch is the mean over the parts, so it is that of the whole
    batch if the loss is a mean over samples. (`HKR` and `KR` need `multi_gpu=True`, and labels of
    `lipviz.utils.process_labels_for_multi_gpu` for each whole batch.) Layers that use statistics of a batch, such as
    `BatchCentering`, take those of a part on TensorFlow, and those of the whole batch on JAX.

    Logs are the same on all workers. Callbacks run on all of them; those that write files are best given to worker 0
    only, unless they decide on the training. `model.stop_training` counts at the end of an epoch, if any worker has
    set it. At the end, every `wbar` belongs to its kernel.

    With a checkpoint, the training goes on from the newest one, at the same batch of the same epoch. If the number of
    workers is the same, it comes to the same weights as without the interruption.

    Args:
        model: Model that was built and compiled in `workers.scope()`.
        batches: Whole batches, such as `Batches`, from the beginning.
        workers: What `connect` returned.
        epochs: Number of epochs of the whole training.
        checkpoint: Where to keep checkpoints, or None.
        callbacks: Callbacks of Keras.
        verbose: As in `keras.Model.fit`, on worker 0; the others print nothing.

    Returns:
        A `keras.callbacks.History` of all epochs, with those before a restart.

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If the model is not compiled or not of this scope, or a batch cannot be divided equally. The last
            batch of an epoch leaves out what cannot be divided, less than one sample for each device. Also if workers
            hold different weights, at the beginning or at a checkpoint: processors that round differently cause that.
        CheckpointError: If the folder cannot be used, or a checkpoint is that of another training.
        WorkerLostError: If another worker is gone.
    """
    _check(model, batches, workers, checkpoint)
    epochs = nm.check_count("epochs", epochs)
    try:
        with workers.scope():
            loop = _Loop(model, batches, workers, checkpoint)
            history = loop.run(epochs, list(callbacks), verbose if workers.index == 0 else 0)
    except Exception as error:
        if not is_loss(error):
            raise
        again = "from the beginning" if checkpoint is None else f"from the newest checkpoint in {checkpoint.folder}"
        raise WorkerLostError(
            f"Worker {workers.index} of {workers.count} lost another worker. Start all of them again: training goes on "
            f"{again}."
        ) from error
    refresh(model)
    return history


def _check(model, batches, workers, checkpoint):
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a Keras model. Received: {type(model).__name__}")
    if not isinstance(batches, keras.utils.PyDataset):
        raise TypeError(
            f"`batches` must be a PyDataset, such as `Batches(x, y, ...)`. Received: {type(batches).__name__}"
        )
    if not isinstance(workers, Workers):
        raise TypeError(f"`workers` must come from `connect()`. Received: {type(workers).__name__}")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise TypeError(f"`checkpoint` must be a `Checkpoint` or None. Received: {checkpoint!r}")
    if not model.built or not model.compiled or model.optimizer is None:
        raise ValueError(f"Expected a model that is built and compiled with an optimizer. Received: '{model.name}'")
    if not workers.owns(model):
        raise ValueError(f"Build and compile the model within `with workers.scope():`. Received: '{model.name}'")
    divided(batches[0], workers.replicas, len(batches) == 1)


class _Loop:
    """One call of `fit`.

    Args:
        model: See `fit`.
        batches: See `fit`.
        workers: See `fit`.
        checkpoint: See `fit`.
    """

    def __init__(self, model, batches, workers, checkpoint):
        self._model, self._batches, self._workers, self._checkpoint = model, batches, workers, checkpoint
        _create_variables(model, batches[0])
        self._step = workers.step(model)
        self._epoch, self._batch, self._steps = 0, 0, 0  # what comes next, and how many steps were made
        self._callbacks: list[keras.callbacks.Callback] = []
        self._begun: list[dict[str, Any]] = []

    def run(self, epochs, callbacks, verbose):
        """Train until the end; returns the history."""
        calls = keras.callbacks.CallbackList(
            callbacks, add_history=True, add_progbar=verbose != 0, verbose=verbose, epochs=epochs,
            steps=len(self._batches), model=self._model,
        )  # fmt: skip
        self._callbacks = [each for each in calls.callbacks if not isinstance(each, keras.callbacks.ProgbarLogger)]
        saved = self._newest()
        self._model.stop_training = False
        with self._workers.keeping_state(self._model, self._step):
            calls.on_train_begin()
            self._begun = state.counters_of(self._callbacks)
            self._go_on(saved)
            self._agreed()
            logs: dict[str, float] = {}
            while self._epoch < epochs and not self._model.stop_training:
                logs = self._run_epoch(calls)
            self._step.sync()
            self._model.optimizer.finalize_variable_values(self._model.trainable_weights)
            calls.on_train_end(logs)
        return next(each for each in calls.callbacks if isinstance(each, keras.callbacks.History))

    def _run_epoch(self, calls):
        if not self._batch:
            self._model.reset_metrics()
        calls.on_epoch_begin(self._epoch)
        logs: dict[str, Any] = {}
        count = len(self._batches)
        while self._batch < count:
            batch, rows = divided(self._batches[self._batch], self._workers.replicas, self._batch == count - 1)
            calls.on_train_batch_begin(self._batch)
            if rows:
                logs = self._step(lambda i, batch=batch, n=rows: _rows(batch, slice(i * n, (i + 1) * n)))
            calls.on_train_batch_end(self._batch, logs)
            self._batch += 1
            self._steps += 1
            every = self._checkpoint and self._checkpoint.every
            if every and self._steps % every == 0 and self._batch < count:
                self._save()
        results = self._step.results(logs)
        self._step.sync()
        self._batches.on_epoch_end()
        calls.on_epoch_end(self._epoch, results)
        self._epoch, self._batch = self._epoch + 1, 0
        self._model.stop_training = bool(self._workers.gather([bool(self._model.stop_training)]).any())
        self._save()
        return results

    # --- checkpoints ---

    def _place(self):
        return {"epoch": self._epoch, "batch": self._batch, "batches": len(self._batches)}

    def _save(self):
        if self._checkpoint is None:
            return
        self._step.sync()
        values = self._agreed()
        counters = state.changed(state.counters_of(self._callbacks), self._begun)
        stopped = bool(self._model.stop_training)
        meta = {**self._place(), "variables": state.description(self._model), "callbacks": counters, "stopped": stopped}
        self._checkpoint.write_of_all(self._workers, self._steps, values, meta)

    def _agreed(self):
        """Values of all variables, which are the same on all workers."""
        values = state.values_of(self._model)
        if others := self._workers.which_differ(state.shared_bytes(values)):
            raise ValueError(
                f"After step {self._steps}, worker {', '.join(map(str, others))} has other weights than worker 0. Do "
                "all machines have the same processors, packages, script and keras.utils.set_random_seed(...)?"
            )
        return values

    def _newest(self):
        """The checkpoint to go on from, whose values the model has now; None where there is none."""
        if self._checkpoint is None:
            return None
        self._checkpoint.check_shared(self._workers)
        saved = self._checkpoint.newest_of_all(self._workers)
        if saved is None:
            return None
        path = self._checkpoint.path(saved.step)
        if saved.meta["batches"] != len(self._batches):
            raise CheckpointError(
                f"{path} is a checkpoint of another training: its epochs have {saved.meta['batches']} batches, those "
                f"of this one {len(self._batches)}"
            )
        state.restore(self._model, saved.arrays, saved.meta["variables"], path)
        return saved

    def _go_on(self, saved):
        if saved is None:
            return
        self._epoch, self._batch, self._steps = saved.meta["epoch"], saved.meta["batch"], saved.step
        self._model.stop_training = saved.meta["stopped"]
        state.restore_counters(self._callbacks, saved.meta["callbacks"])
        for _ in range(self._epoch):
            self._batches.on_epoch_end()
        if self._workers.index == 0:
            print(f"Going on with epoch {self._epoch + 1} after step {self._steps}.", flush=True)


def _rows(batch, rows):
    return keras.tree.map_structure(lambda part: part[rows], batch)


def _create_variables(model: keras.Model, batch: Any) -> None:
    """Create the variables of optimizer and metrics before the first step, which would be traced twice otherwise."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    if isinstance(batch, tuple | list) and len(batch) > 1:
        build_metrics(model, batch[1])
