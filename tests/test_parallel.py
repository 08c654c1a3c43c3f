"""Data parallel training gives the weights that one device gives.

On TensorFlow with `tf.distribute.MirroredStrategy` over two logical devices, on JAX with
`keras.distribution.DataParallel` over two host devices: a process for each number of devices, because they are set
before the backend starts. What differs is the order of summation.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights after training, by the number of devices."""
    folder = tmp_path_factory.mktemp("parallel")
    return {devices: trained(devices, folder / f"{devices}.npz") for devices in (1, 2)}


def trained(devices, path):
    command = [sys.executable, "-m", "tests.parallel_fit", str(devices), path]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"devices: {devices}" in done.stdout
    return dict(np.load(path))


def test_two_devices_train_the_same_network_as_one(weights):
    one, two = weights[1], weights[2]
    assert one.keys() == two.keys()
    assert any(name.endswith("wbar") for name in one)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)


def test_training_moved_the_weights(weights):
    kernel = next(value for name, value in weights[1].items() if name.endswith("spectral_dense/kernel"))
    assert np.abs(np.linalg.svd(kernel, compute_uv=False) - 1).max() > 1e-3  # they began orthogonal
