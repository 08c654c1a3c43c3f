"""Checkpoints, batches and addresses of a distributed training, without any worker."""

import errno
import json
import os

import keras
import numpy as np
import pytest

from lipviz import distributed
from lipviz.distributed import checkpoint as checkpoints
from lipviz.distributed import files, state
from lipviz.distributed.batches import divided
from lipviz.distributed.cluster import Cluster, from_environment
from lipviz.layers import FrobeniusDense, SpectralDense


class Alone:
    """Workers that answer what they are told: `answers` are those of worker 1, beside the own ones."""

    count, replicas = 2, 2

    def __init__(self, index=0, answers=None):
        self.index, self.answers = index, list(answers or ())

    def gather(self, numbers):
        other = self.answers.pop(0) if self.answers else numbers
        return np.array([numbers, other] if self.index == 0 else [other, numbers], np.int32)


ARRAYS = {"model/0": np.arange(12.0).reshape(3, 4), "model/1": np.array([-0.0, np.inf, 5e-324])}
META = {"epoch": 3, "loss": [0.1, float("inf")]}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of the steps 10 and 20."""
    found = distributed.Checkpoint(tmp_path, keep=2)
    for step in (10, 20):
        found.write(step, {name: value + step for name, value in ARRAYS.items()}, {**META, "step": step})
    return found


def test_a_checkpoint_gives_back_every_bit(tmp_path):
    files.write(tmp_path / "one", ARRAYS, META)
    arrays, meta = files.read(tmp_path / "one")
    assert meta == META
    assert {name: value.tobytes() for name, value in arrays.items()} == {n: v.tobytes() for n, v in ARRAYS.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["one"]  # nothing is left beside it


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    flush, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("flush"), flush(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), rename(*names)))
    files.write(tmp_path / "one", ARRAYS, META)
    assert order == ["flush", "rename", "flush"]  # the file, its name, the folder


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    files.write(tmp_path / "one", ARRAYS, META)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(distributed.CheckpointError, match="one cannot be written: No space left on device"):
        files.write(tmp_path / "one", {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert files.read(tmp_path / "one")[1] == META


def test_no_cut_off_or_changed_file_is_taken(tmp_path):
    path = tmp_path / "one"
    files.write(path, ARRAYS, META)
    whole = path.read_bytes()
    lengths = [0, 1, 19, 20, 90, len(whole) // 2, len(whole) - 1]
    broken = [whole[:length] for length in lengths] + [whole + b"\0"]
    for at in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        broken.append(bytes(flipped))
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(distributed.CheckpointError) as refused:
            files.read(path)
        assert "\n" not in str(refused.value)
        assert str(path) in str(refused.value)


def test_the_one_before_a_broken_checkpoint_is_taken(folder):
    assert folder.newest().step == 20
    path = folder.path(20)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(RuntimeWarning, match=r"step-0000000020.ckpt is cut off: .* The one before it is taken"):
        saved = folder.newest()
    assert saved.step == saved.meta["step"] == 10
    np.testing.assert_array_equal(saved.arrays["model/0"], ARRAYS["model/0"] + 10)
    folder.path(10).unlink()
    with pytest.warns(RuntimeWarning, match="cut off"):
        assert folder.newest() is None


def test_old_checkpoints_are_deleted_and_leftovers_too(folder):
    folder.write(30, ARRAYS, META)
    assert folder.steps() == [30, 20]
    leftover = folder.folder / ".0123456789abcdef.tmp"
    leftover.touch()
    folder.check_shared(Alone())
    assert not leftover.exists()
    assert sorted(path.name for path in folder.folder.iterdir()) == ["step-0000000020.ckpt", "step-0000000030.ckpt"]


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    wrong = distributed.Checkpoint(tmp_path / "file" / "folder")
    with pytest.raises(distributed.CheckpointError, match=r"Worker 0 cannot write to the folder .*folder: Not a dir"):
        wrong.check_shared(Alone())
    with pytest.raises(distributed.CheckpointError, match="cannot be written: Not a directory"):
        wrong.write(1, ARRAYS, META)


def test_a_folder_that_another_worker_does_not_see_is_one_line(folder, monkeypatch):
    with pytest.raises(distributed.CheckpointError, match=r"is not shared: .* to worker 1\. Take"):
        folder.check_shared(Alone(answers=[[0], [0], [0]]))
    monkeypatch.setattr(checkpoints, "_PATIENCE", 0)
    with pytest.raises(distributed.CheckpointError, match="is not shared"):  # what worker 1 itself sees
        folder.check_shared(Alone(index=1, answers=[[5], [0], [1]]))
    with pytest.raises(distributed.CheckpointError, match="by their steps: worker 0 20, worker 1 none"):
        folder.newest_of_all(Alone(answers=[[-1]]))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"every": 0}, "`every` must be at least 1"),
        ({"every": 1.5}, "`every` must be an integer"),
        ({"keep": 1}, "`keep` must be at least 2"),
    ],
)
def test_wrong_arguments_of_a_checkpoint(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        distributed.Checkpoint("folder", **arguments)


def compiled(*layers, optimizer="sgd"):
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_model_gets_all_its_values_back_and_another_model_none():
    layers = [SpectralDense(4), keras.layers.Dropout(0.5, seed=3), FrobeniusDense(2)]
    model, other = compiled(*layers, optimizer="adam"), compiled(SpectralDense(4), FrobeniusDense(2))
    values, described = state.values_of(model), state.description(model)
    other_values, other_described = state.values_of(other), state.description(other)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "float" in variable.dtype and variable.path.split("/")[-1] != "k":
            variable.assign(rng.normal(size=variable.shape))
    state.restore(model, values, described, "file")
    for name, value in state.values_of(model).items():
        np.testing.assert_array_equal(value, values[name], err_msg=name)
    assert layers[0].parametrization.is_current_now()  # `origin` came back after `wbar`
    with pytest.raises(distributed.CheckpointError, match="file is a checkpoint of another model: it has"):
        state.restore(model, other_values, other_described, "file")
    swapped = [[name, last, "(5, 4)" if last == "kernel" else shape, dtype] for name, last, shape, dtype in described]
    with pytest.raises(distributed.CheckpointError, match=r"variable model/0 is kernel \(5, 4\) float32, that of this"):
        state.restore(model, values, swapped, "file")


def test_callbacks_get_their_counters_back():
    stopping = keras.callbacks.EarlyStopping(patience=4)
    stopping.on_train_begin()
    begun = state.counters_of([stopping])
    stopping.wait, stopping.best, stopping.best_epoch = 2, np.float32(0.25), 3
    kept = json.loads(json.dumps(state.changed(state.counters_of([stopping]), begun)))
    assert kept == [{"wait": 2, "best": 0.25, "best_epoch": 3}]
    again = keras.callbacks.EarlyStopping(patience=9)
    again.on_train_begin()
    state.restore_counters([again], kept)
    assert (again.wait, again.best, again.best_epoch, again.patience) == (2, 0.25, 3, 9)


# --- batches ---


def test_the_order_of_batches_depends_on_seed_and_epoch_only():
    x, y = np.arange(10), np.arange(10) + 100
    once, again, other = (distributed.Batches(x, y, batch_size=4, seed=seed) for seed in (5, 5, 6))
    assert len(once) == 3
    epochs = []
    for _ in range(3):
        batches = [once[i] for i in range(3)]
        assert [len(part) for part, _ in batches] == [4, 4, 2]
        np.testing.assert_array_equal(np.sort(np.concatenate([part for part, _ in batches])), x)
        for i in (2, 0):  # whatever is read, and in which order
            np.testing.assert_array_equal(again[i], batches[i])
        np.testing.assert_array_equal(batches[1][1], batches[1][0] + 100)
        epochs.append(np.concatenate([part for part, _ in batches]))
        once.on_epoch_end()
        again.on_epoch_end()
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[1] != epochs[2]).any()
    assert (np.concatenate([other[i][0] for i in range(3)]) != epochs[0]).any()
    np.testing.assert_array_equal(distributed.Batches(x, y, batch_size=4, seed=None)[1][0], [4, 5, 6, 7])


@pytest.mark.parametrize(
    ("lengths", "arguments", "complaint"),
    [
        ((3, 2), {"batch_size": 1}, r"as many labels .* Received: \[3, 2\]"),
        ((0, 0), {"batch_size": 1}, "at least one"),
        ((3, 3), {"batch_size": 0}, "`batch_size` must be at least 1"),
        ((3, 3), {"batch_size": 2.0}, "`batch_size` must be an integer"),
        ((3, 3), {"batch_size": 2, "seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_of_batches(lengths, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        distributed.Batches(*(np.zeros(length) for length in lengths), **arguments)


def test_a_batch_that_does_not_divide_is_refused_but_the_last_one():
    batch = (np.arange(10), {"label": np.arange(10)})
    (x, labels), each = divided(batch, 3, is_last=True)
    assert (each, len(x), len(labels["label"])) == (3, 9, 9)
    assert divided(batch, 11, is_last=True)[1] == 0
    with pytest.raises(ValueError, match=r"among 3 devices .* batches of 10 samples\. Take a multiple of 3, such as 9"):
        divided(batch, 3, is_last=False)
    with pytest.raises(ValueError, match="a multiple of 16, such as 16"):
        divided(batch, 16, is_last=False)


# --- TF_CONFIG ---


def config(workers=("a:1", "b:2"), kind="worker", index=1, **others):
    return json.dumps({"cluster": {"worker": list(workers), **others}, "task": {"type": kind, "index": index}})


def test_the_cluster_is_read(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config())
    assert from_environment() == Cluster(("a:1", "b:2"), 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "TF_CONFIG is not set. Start the script by `lipviz workers 2 SCRIPT`"),
        ("{", "must be JSON such as"),
        ("[]", "must be JSON such as"),
        ('{"cluster": {"worker": ["a:1"]}}', "must be JSON such as"),
        (config(chief=["c:1"]), "without a chief.* Received: also chief"),
        (config(kind="ps"), "workers only.* Received: a task of type 'ps'"),
        (config(["a"]), r"host:port. Received: \['a'\]"),
        (config(["a:99999"]), "host:port"),
        (config([]), "host:port"),
        (config(["a:1", "a:1"]), "an address of its own"),
        (config(index=2), "a number from 0 to 1. Received: 2"),
        (config(index="0"), "a number from 0 to 1. Received: '0'"),
    ],
)
def test_a_wrong_cluster_is_one_line(text, complaint, monkeypatch):
    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=complaint) as refused:
        distributed.connect()
    assert "\n" not in str(refused.value)


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config())
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match=r"tensorflow or jax\. Received: KERAS_BACKEND=torch"):
        distributed.connect()
