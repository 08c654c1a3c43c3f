"""Data parallel training gives the weights that one device gives.

On TensorFlow with `tf.distribute.MirroredStrategy` over two logical devices, on JAX with
`keras.distribution.DataParallel` over two host devices, in a process of its own, because devices are set before the
backend starts. What differs is the order of summation.
"""

import numpy as np
import pytest

# A sum of 64 terms in another order differs by at most 64 units of rounding (6e-8) of their sizes. An entry of a
# gradient is the mean of 64 terms of at most 1 + α = 6, and five steps at a rate of 0.1 add it up.
ATOL = 64 * 6e-8 * 6 * 0.1 * 5

# It compiles two training steps, on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", params=["small", pytest.param("liresnet", marks=pytest.mark.nightly)])
def weights(request, tmp_path_factory, run_program):
    """The weights after training, by the number of devices; those before it as 0."""
    folder = tmp_path_factory.mktemp("parallel")
    done = run_program(f"import sys; sys.argv[1:] = [{str(folder)!r}, {request.param!r}]\nimport tests.parallel_fit")
    assert done.returncode == 0, f"exit status {done.returncode}:\n{done.stdout}{done.stderr}"
    return {devices: dict(np.load(folder / f"{devices}.npz")) for devices in (0, 1, 2)}


def test_two_devices_train_the_same_network_as_one(weights):
    one, two = weights[1], weights[2]
    assert one.keys() == two.keys()
    assert any(name.endswith("wbar") for name in one)
    for name in one:
        # Where singular values lie close together, the rounding of a kernel decides on the vector that stands for the
        # largest one. It counts by the norm that it finds, `sig`, which is compared.
        if not name.endswith("/u"):
            np.testing.assert_allclose(two[name], one[name], rtol=0, atol=ATOL, err_msg=name)


def test_training_moved_the_weights(weights):
    before, after = weights[0], weights[1]
    moved = {name: np.abs(after[name] - before[name]).max() for name in before if name.endswith("/kernel")}
    assert len(moved) >= 3
    assert max(moved.values()) > 1e-3
