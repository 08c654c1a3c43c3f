"""Train a small network on one or on two devices and write its weights; run by `test_parallel.py`, a process each.

python -m tests.parallel_fit DEVICES WEIGHTS.npz
"""

# ruff: noqa: E402
import contextlib
import os
import sys

# Devices must be known before the backend starts.
DEVICES = int(sys.argv[1])
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"

import keras
import numpy as np

import lipviz
from lipviz import data
from lipviz.layers import GroupSort2, ScaledL2NormPooling2D, SpectralConv2D, SpectralDense
from lipviz.losses import HKR
from lipviz.utils import process_labels_for_multi_gpu

STEPS = 5


def parallel():
    """A context in which models are spread over the devices."""
    if DEVICES == 1:
        return contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
        return contextlib.nullcontext()
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(DEVICES)]).scope()


def main():
    with parallel():
        keras.utils.set_random_seed(0)
        model = lipviz.Sequential(
            [
                keras.Input((8, 8, 1)),
                SpectralConv2D(4, 3, activation=GroupSort2()),
                ScaledL2NormPooling2D(),
                keras.layers.Flatten(),
                SpectralDense(8),
                GroupSort2(),
                SpectralDense(1, eps_bjorck=None),
            ]
        )
        # Not Adam: it makes steps of one size from gradients of any, also from what rounding leaves of zero.
        model.compile(keras.optimizers.SGD(1e-1), HKR(5.0, 0.3, multi_gpu=True))
    (x, y), _ = data.digits(n_train=64)
    labels = keras.ops.convert_to_numpy(process_labels_for_multi_gpu(np.where(y < 5, 1.0, -1.0)[:, None]))
    # Every batch is the whole: the weights of labels are those of the batch.
    model.fit(x.reshape(-1, 8, 8, 1), labels, batch_size=len(x), epochs=STEPS, shuffle=False, verbose=0)
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    np.savez(sys.argv[2], **weights)
    print("devices:", devices(model.layers[0].kernel))


def devices(variable):
    """On how many devices a variable lives."""
    if keras.backend.backend() == "jax":
        return len(variable.value.devices())
    return len(getattr(variable.value, "values", [variable]))


main()
