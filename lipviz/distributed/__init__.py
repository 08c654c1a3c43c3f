"""Train on several machines, on TensorFlow or JAX, with checkpoints that survive a worker that is killed.

Each machine runs the same script, a **worker**. `TF_CONFIG` tells a worker the addresses of all workers, and which of
them it is. `lipviz workers` starts several on one machine. The script stays yours::

    workers = lipviz.distributed.connect()  # before anything is computed
    with workers.scope():
        model = network()
        model.compile(optimizer, loss)
    batches = lipviz.distributed.Batches(x, y, batch_size=256, seed=0)
    checkpoint = lipviz.distributed.Checkpoint("checkpoints", every=100)
    history = lipviz.distributed.fit(model, batches, workers=workers, epochs=20, checkpoint=checkpoint)

Every batch is divided among the workers. All workers hold the same weights after each step, those of a training on one
machine up to rounding. TensorFlow's `MultiWorkerMirroredStrategy` and JAX exchange the gradients; lipviz does not.
"""

from lipviz.distributed.batches import Batches
from lipviz.distributed.checkpoint import Checkpoint
from lipviz.distributed.files import CheckpointError
from lipviz.distributed.training import WorkerLostError, fit
from lipviz.distributed.workers import Workers, connect

__all__ = ["Batches", "Checkpoint", "CheckpointError", "WorkerLostError", "Workers", "connect", "fit"]
