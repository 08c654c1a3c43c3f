"""Workers train together: the same weights on all of them, those of one process, and those of an uninterrupted run.

Workers are processes of this machine that listen on the loopback interface only. Two of them train on TensorFlow in
each test run; three, JAX, and workers that are killed are left to the night.
"""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import lipviz
from lipviz import distributed
from lipviz.command.workers import free_ports
from tests.distributed import script

LONG = 900  # seconds that a busy machine may need for what takes seconds
# A gradient is the mean of at most 12 terms. Its entries are at most about 6, and 12 steps with a rate of 0.1 and a
# momentum of 0.5 add it up. Each order of summation differs by at most 12 units of rounding.
ATOL = 12 * 6e-8 * 6 * 12 * 0.1 / (1 - 0.5)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * LONG)]


class Process:
    """A worker, its number and what it wrote."""

    def __init__(self, start, folder, mode, environment, number):
        self.log = folder / f"{number}-{time.monotonic_ns()}.log"
        program = f"from tests.distributed.script import main\nmain({str(folder)!r}, {mode!r})"
        self._process = start(program, self.log, environment)

    def status(self):
        try:
            return self._process.wait(timeout=LONG)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def end(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=LONG)

    def text(self):
        return self.log.read_text("utf-8", "replace")


@pytest.fixture(scope="module")
def start(forks):
    """Starts a program in a process: (program, log, environment) → what is like a `subprocess.Popen`."""

    def cold(program, log, environment):
        with log.open("wb") as stream:
            command = [sys.executable, "-c", program]
            return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)

    def warm(program, log, environment):
        if environment["KERAS_BACKEND"] != "tensorflow":  # which a fork has imported
            return cold(program, log, environment)
        return forks.start(program, log, log, environment)

    return cold if forks is None else warm


def run(start, folder, count, backend, mode=""):
    """Runs workers until all have ended; returns their statuses and their logs."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        processes = []
        try:
            for index in range(count):
                config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                environment = {**os.environ, "TF_CONFIG": json.dumps(config), "KERAS_BACKEND": backend}
                processes.append(Process(start, folder, mode, environment, index))
            statuses = [process.status() for process in processes]
        finally:
            for process in processes:
                process.end()
        texts = [process.text() for process in processes]
        if not any("port in use" in text or "already in use" in text for text in texts):  # another process was quicker
            break
    return statuses, texts


def held(folder, count):
    """What the workers of a run have written."""
    return [dict(np.load(folder / f"{index}.npz")) for index in range(count)]


def alone():
    """Weights and losses of the same training in this process."""
    keras.backend.clear_session()  # the same names
    keras.utils.set_random_seed(0)
    model = script.network()
    model.run_eagerly = True
    batches = distributed.Batches(*script.data(), batch_size=script.BATCH, seed=script.SEED)
    losses = []
    for _ in range(script.EPOCHS):
        found = [(len(batches[i][0]), model.train_on_batch(*batches[i])[0]) for i in range(len(batches))]
        losses.append(sum(rows * float(loss) for rows, loss in found) / script.SAMPLES)
        batches.on_epoch_end()
    lipviz.model.refresh(model)
    return script.weights_of(model), losses


@pytest.fixture(
    scope="module",
    params=[
        ("tensorflow", 2),
        pytest.param(("tensorflow", 3), marks=pytest.mark.nightly),
        pytest.param(("jax", 2), marks=pytest.mark.nightly),
        pytest.param(("jax", 3), marks=pytest.mark.nightly),
    ],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def trained(request, start, tmp_path_factory):
    """A folder after an uninterrupted training, and what each worker holds."""
    backend, count = request.param
    folder = tmp_path_factory.mktemp("trained")
    statuses, texts = run(start, folder, count, backend)
    assert statuses == [0] * count, "\n".join(texts)
    return backend, folder, held(folder, count)


def test_all_workers_hold_the_weights_of_one_process(trained):
    backend, _, workers = trained
    for other in workers[1:]:
        assert other.keys() == workers[0].keys()
        for name, value in workers[0].items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)
    assert workers[0]["current"].all()  # each `wbar` belongs to its kernel
    if backend != keras.backend.backend():  # whose initial weights are others
        return
    weights, losses = alone()
    assert len(weights) > 8
    for name, value in weights.items():
        if not name.endswith("/u"):  # where singular values are close, rounding chooses the vector
            np.testing.assert_allclose(workers[0][name], value, rtol=0, atol=ATOL, err_msg=name)
    np.testing.assert_allclose(workers[0]["history/loss"], losses, rtol=1e-5)


def test_constraints_hold_on_each_worker(trained):
    for weights in trained[2]:
        (u,) = (value for name, value in weights.items() if name.endswith("/u"))
        assert np.linalg.norm(u) == pytest.approx(1, abs=1e-5)
        wbars = {name: value for name, value in weights.items() if name.endswith("/wbar")}
        first, second = (value.astype(np.float64) for value in wbars.values())
        assert np.linalg.norm(first, 2) <= 1 + 1e-6
        assert np.linalg.norm(second, axis=0).max() <= 1 + 1e-6  # each output by itself


def test_the_newest_checkpoints_are_kept_and_hold_the_weights(trained):
    _, folder, (first, *_) = trained
    checkpoint = distributed.Checkpoint(folder / "checkpoints")
    assert checkpoint.steps() == [12, 10, 8]
    saved = checkpoint.newest()
    assert (saved.meta["epoch"], saved.meta["batch"]) == (script.EPOCHS, 0)
    kernels = [name for name in first if name.endswith("/kernel")]
    assert len(kernels) == 2
    for name in kernels:
        np.testing.assert_array_equal(saved.arrays[f"model/{name.split()[0]}"], first[name])


def test_one_worker_saves_a_model_for_ordinary_processes(trained):
    _, folder, (first, *_) = trained
    model = keras.saving.load_model(folder / "trained.keras")
    for layer in model.layers:
        if hasattr(layer, "wbar"):
            (kernel,) = (first[name] for name in first if f"/{layer.name}/kernel" in name)
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.kernel), kernel)
            assert layer.parametrization.is_current_now()


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["killed", "raises"])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_lost_worker_stops_the_others_and_a_restart_comes_to_the_same_weights(backend, mode, start, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(start, whole, 2, backend)[0] == [0, 0]
    statuses, texts = run(start, broken, 2, backend, mode)
    assert statuses[0] != 0
    assert statuses[1] == (-signal.SIGKILL if mode == "killed" else 1), texts[1]
    assert "lost another worker. Start all of them again" in texts[0]
    assert "ArithmeticError: this worker has an error" in texts[1] or mode == "killed"

    checkpoint = distributed.Checkpoint(broken / "checkpoints")
    newest, before, *_ = checkpoint.steps()
    assert (newest, before) == (6, 4)
    content = checkpoint.path(newest).read_bytes()
    checkpoint.path(newest).write_bytes(content[: len(content) // 2])  # as if it were half written
    statuses, texts = run(start, broken, 2, backend, mode)
    assert statuses == [0, 0], "\n".join(texts)
    assert "is cut off" in texts[0]
    assert "Going on with epoch 2 after step 4." in texts[0]
    for one, other in zip(held(whole, 2), held(broken, 2), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            close = name.startswith("history/")  # TensorFlow stores a sum over workers, and gives each an equal part
            check = np.testing.assert_allclose if close else np.testing.assert_array_equal
            check(other[name], value, err_msg=name)


@pytest.mark.nightly
def test_the_command_restarts_all_workers(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'lipviz'; from lipviz.command.cli import main; sys.exit(main())",
    ]
    words = ["workers", "--restarts", "1", "2", script.__file__, str(tmp_path), "killed"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=2 * LONG)
    assert done.returncode == 0, done.stderr
    assert "worker 1 was killed by SIGKILL; the others were ended. Starting all of them again" in done.stderr
    assert "Going on with epoch 2 after step 6." in done.stdout
    first, second = held(tmp_path, 2)
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)
