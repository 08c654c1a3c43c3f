"""Train a small network on one device and on two, and write its weights; run by `test_parallel.py`.

python -m tests.parallel_fit FOLDER NETWORK

NETWORK is a key of `NETWORKS`. Writes FOLDER/1.npz and FOLDER/2.npz, and FOLDER/0.npz, the weights before training.
It is a process of its own, because devices are set before the backend starts.
"""

import contextlib
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"

import keras
import numpy as np

import lipviz
from lipviz import data
from lipviz.layers import GroupSort2, ScaledL2NormPooling2D, SpectralConv2D, SpectralDense
from lipviz.losses import HKR, EMMACategoricalCrossentropy, process_labels_for_multi_gpu
from lipviz.recipes.liresnet import LiResNet

STEPS = 5


def parallel(devices):
    """A context in which models are spread over the devices."""
    if devices == 1:
        return contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()


def set_devices():
    """Make two devices of one processor; on JAX XLA_FLAGS does it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        (processor,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)


def small():
    """A network of each kind of constrained layer, its loss, and a function to the labels that this takes."""
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
    return model, HKR(5.0, 0.3, multi_gpu=True), weighted_signs


def weighted_signs(y):
    return process_labels_for_multi_gpu(np.where(y < 5, 1.0, -1.0)[:, None])


def liresnet():
    """The same for the deep residual recipe."""
    model = LiResNet(width=4, depth=1, units=4, dense_depth=1).build((8, 8, 1), 10)
    return model, EMMACategoricalCrossentropy(10.0, 0.2), keras.utils.to_categorical


NETWORKS = {"small": small, "liresnet": liresnet}


def trained(devices, network):
    """The network after a few steps, and its weights before them."""
    keras.backend.clear_session()  # the same names
    with parallel(devices):
        keras.utils.set_random_seed(0)
        model, loss, labels_of = NETWORKS[network]()
        # Not Adam: it makes steps of one size from gradients of any, also from what rounding leaves of zero.
        model.compile(keras.optimizers.SGD(1e-1), loss)
    (x, y), _ = data.digits(n_train=64)
    labels = keras.ops.convert_to_numpy(labels_of(y))
    before = weights_of(model)
    # Every batch is the whole: the weights of labels are those of the batch.
    model.fit(x.reshape(-1, 8, 8, 1), labels, batch_size=len(x), epochs=STEPS, shuffle=False, verbose=0)
    return model, before


def weights_of(model):
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


def main():
    set_devices()
    for devices in (1, 2):
        model, before = trained(devices, sys.argv[2])
        assert number_of_devices(model.layers[0].kernel) == devices
        np.savez(Path(sys.argv[1], f"{devices}.npz"), **weights_of(model))
        np.savez(Path(sys.argv[1], "0.npz"), **before)


def number_of_devices(variable):
    """On how many devices a variable lives."""
    if keras.backend.backend() == "jax":
        return len(variable.value.devices())
    return len(getattr(variable.value, "values", [variable]))


main()
