"""Keras callbacks: condense while training, watch singular values in TensorBoard, change and log loss parameters.

On JAX, the variables of a model are out of date in the middle of an epoch. Each access to `self.model` brings them up
to date, and the next step then reads what a callback assigned. So a callback that acts on each batch costs one
synchronization per batch.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.keras_internals import inner_layers
from lipviz.layers import Condensable, ConstrainedKernel
from lipviz.measure.spectra import layer_spectrum
from lipviz.operators.weights import layers_with_kernel, raw_kernel
from lipviz.rules.used import to_numpy
from lipviz.types import ArrayLike


class ConfiguredCallback(keras.callbacks.Callback):
    """Base class of callbacks that can be rebuilt from their configuration."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


def check_flag(name: str, value: Any) -> bool:
    """Return True or False; ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return value


@keras.saving.register_keras_serializable("lipviz")
class CondenseCallback(ConfiguredCallback):
    """Replace the raw kernels by the constrained ones during training; see `ConstrainedKernel.condense`.

    It works with every model that contains lipviz layers. Training continues from the new kernels, and the optimizer
    keeps its state, such as momenta.

    Args:
        on_epoch: Whether to do this at the end of each epoch.
        on_batch: Whether to do this after each batch. Each time, all kernels are constrained eagerly.

    Raises:
        ValueError: If an argument is not a bool. During `fit`, if a kernel holds NaN or Inf.
    """

    def __init__(self, on_epoch: bool = True, on_batch: bool = False) -> None:
        super().__init__()
        self.on_epoch = check_flag("on_epoch", on_epoch)
        self.on_batch = check_flag("on_batch", on_batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.on_batch:
            self._condense()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.on_epoch:
            self._condense()

    def _condense(self):
        """Condense each layer by itself, since a plain Keras model has no `condense`."""
        for layer in inner_layers(self.model):
            if isinstance(layer, Condensable) and not isinstance(layer, keras.Model):
                layer.condense()

    def get_config(self) -> dict[str, Any]:
        return {"on_epoch": self.on_epoch, "on_batch": self.on_batch}


@keras.saving.register_keras_serializable("lipviz")
class MonitorCallback(ConfiguredCallback):
    """Write singular values of kernels to TensorBoard while a model trains.

    They are computed in float64. A kernel of more than two axes is reshaped to a matrix of shape (product of the other
    axes, out). The values are written to the folder `logdir/metrics`. Their tag is "epoch_kernel_sigma_max/<layer>",
    with the number of the epoch as the step, or ``batch_…``, with the number of batches as the step. With
    `what="all"`, a histogram has the tag ``…_sigma/<layer>``.

    Writing needs TensorFlow, on every backend. To see the values, run `pip install tensorboard` and then
    `tensorboard --logdir=…`.

    If a kernel holds NaN or Inf, a warning says so once. NaN is written in the place of the largest singular value, and
    no histogram is written.

    Args:
        monitored_layers: List of names of layers with a kernel. Layers of nested models are included.
        logdir: Folder to write to.
        target: "kernel" for the raw kernel, or "wbar" for the constrained kernel as it is stored, which is that of the
            forward pass of the last training step.
        what: "max" for the largest singular value, or "all" for a histogram of all singular values.
        on_epoch: Whether to write at the end of each epoch.
        on_batch: Whether to write after each batch.

    Raises:
        ValueError: If an argument is out of range. When training begins, if the model has no such layer, or the layer
            has no such kernel.
        ImportError: When training begins, if TensorFlow is not installed.
    """

    def __init__(
        self,
        monitored_layers: Sequence[str],
        logdir: str | os.PathLike[str],
        target: Literal["kernel", "wbar"] = "kernel",
        what: Literal["max", "all"] = "max",
        on_epoch: bool = True,
        on_batch: bool = False,
    ) -> None:
        super().__init__()
        named = isinstance(monitored_layers, list | tuple) and all(isinstance(name, str) for name in monitored_layers)
        if not named or not monitored_layers:
            raise ValueError(
                f"`monitored_layers` must be a list of names of layers. Received: monitored_layers={monitored_layers!r}"
            )
        if target not in ("kernel", "wbar"):
            raise ValueError(f"`target` must be 'kernel' or 'wbar'. Received: target={target!r}")
        if what not in ("max", "all"):
            raise ValueError(f"`what` must be 'max' or 'all'. Received: what={what!r}")
        self.monitored_layers = list(monitored_layers)
        self.logdir = os.fspath(logdir)
        self.target = target
        self.what = what
        self.on_epoch = check_flag("on_epoch", on_epoch)
        self.on_batch = check_flag("on_batch", on_batch)
        self._layers: dict[str, keras.Layer] = {}
        self._warned: set[str] = set()
        self._batches = 0
        self._summary: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        found = layers_with_kernel(self.model)
        unknown = [name for name in self.monitored_layers if name not in found]
        if unknown:
            raise ValueError(f"The model has no layers {unknown} with a kernel. There are: {', '.join(found)}")
        self._layers = {name: found[name] for name in self.monitored_layers}
        plain = [name for name, layer in self._layers.items() if not isinstance(layer, ConstrainedKernel)]
        if plain and self.target == "wbar":
            raise ValueError(f"The layers {plain} have no wbar: expected constrained layers, or target='kernel'.")
        self._batches = 0
        self._summary = _tensorflow_summary()
        self._writer = self._summary.create_file_writer(os.path.join(self.logdir, "metrics"))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches += 1
        if self.on_batch:
            self._write("batch", self._batches)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.on_epoch:
            self._write("epoch", epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._writer.close()

    def _write(self, when, step):
        self.model  # noqa: B018 - brings the weights up to date on JAX
        with self._writer.as_default(step):
            for name, layer in self._layers.items():
                self._write_values(f"{when}_{self.target}_sigma", name, self._values(name, layer))
        self._writer.flush()

    def _values(self, name, layer):
        """Singular values, descending; the one value NaN where the kernel is not finite."""
        kernel = to_numpy(raw_kernel(layer) if self.target == "kernel" else layer.wbar)
        if np.isfinite(kernel.astype(np.float64)).all():
            return layer_spectrum(layer, kernel, name)
        if name not in self._warned:
            self._warned.add(name)
            warnings.warn(f"The {self.target} of '{name}' holds NaN or Inf.", RuntimeWarning, stacklevel=2)
        return np.array([np.nan])

    def _write_values(self, tag, name, values):
        if self.what == "max":
            self._summary.write(f"{tag}_max/{name}", np.float32(values[0]), metadata=_plugin("scalars"))
        elif np.isfinite(values).all():
            counts, edges = np.histogram(values, bins=min(30, len(values)))
            buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
            self._summary.write(f"{tag}/{name}", buckets, metadata=_plugin("histograms"))

    def get_config(self) -> dict[str, Any]:
        names = ("monitored_layers", "logdir", "target", "what", "on_epoch", "on_batch")
        return {name: getattr(self, name) for name in names}


def _tensorflow_summary():
    """TensorFlow's summary module, taken from Keras's TensorBoard callback, which uses it on every backend."""
    try:
        return keras.callbacks.TensorBoard(write_graph=False).summary
    except ImportError as error:
        raise ImportError("MonitorCallback writes with TensorFlow's summaries: `pip install tensorflow`.") from error


def _plugin(name):
    """Serialized metadata that tell TensorBoard which of its plugins shows a value.

    TensorFlow's own functions for this need the package tensorboard. Training does not need it otherwise.
    The message is SummaryMetadata{1: plugin_data{1: plugin_name}}.
    """
    plugin_name = b"\x0a" + bytes([len(name)]) + name.encode()
    return b"\x0a" + bytes([len(plugin_name)]) + plugin_name


class _LossCallback(ConfiguredCallback):
    """Base class of callbacks that use a parameter of the loss, a Keras variable, by its name."""

    def __init__(self, param_name: str) -> None:
        super().__init__()
        if not isinstance(param_name, str):
            raise TypeError(f"`param_name` must be a string. Received: param_name={param_name!r}")
        self.param_name = param_name
        self._variables: list[keras.Variable] = []
        self._owner: str | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the variable in the losses that the model was compiled with."""
        losses = [loss for loss in keras.tree.flatten(self.model.loss) if isinstance(loss, keras.Loss)]
        found = {id(loss): loss for loss in losses}.values()
        owners = [loss for loss in found if isinstance(getattr(loss, self.param_name, None), keras.Variable)]
        self._variables = [getattr(loss, self.param_name) for loss in owners]
        if not owners:
            names = sorted({v.name for loss in found for v in getattr(loss, "variables", ())})
            raise ValueError(
                f"Expected a loss with a variable '{self.param_name}', as of `lipviz.losses.HKR`. Received: loss="
                f"{self.model.loss!r}, with {', '.join(names) or 'no variables'}"
            )
        self._owner = owners[0].name


@keras.saving.register_keras_serializable("lipviz")
class LossParamScheduler(_LossCallback):
    """Change a parameter of the loss during training, by linear interpolation over the training steps.

    Before step i, the parameter is set to `numpy.interp(i, xp, fp)`: linear between the points (xp, fp), constant
    before the first point and after the last one. If several losses have such a parameter, all of them are set.

    Args:
        param_name: Name of a variable of the loss, such as "alpha", "min_margin" or "tau".
        fp: Values of the parameter, at least one.
        xp: The steps at which it has these values: increasing, one for each value.
        step: Number of the first step. The count continues over all calls of `fit`.

    Raises:
        TypeError: If the name is not a string.
        ValueError: If `fp` or `xp` are not finite, they differ in length, or `xp` does not increase. When training
            begins, if the loss has no such variable.
    """

    def __init__(self, param_name: str, fp: ArrayLike, xp: ArrayLike, step: int = 0) -> None:
        super().__init__(param_name)
        self.fp, self.xp = (np.atleast_1d(np.asarray(points, np.float64)) for points in (fp, xp))
        flat = self.fp.ndim == 1 and self.fp.shape == self.xp.shape and self.fp.size > 0
        if not flat or not np.isfinite([self.fp, self.xp]).all() or np.any(np.diff(self.xp) <= 0):
            raise ValueError(
                "`fp` and `xp` must be finite, equally many and at least one, and `xp` increasing. "
                f"Received: fp={fp!r}, xp={xp!r}"
            )
        self.step = nm.check_count("step", step)
        self._first = 0
        self._assigned: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self._warn_of_a_fixed_loss()
        self._assigned = None
        self._assign()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._first = batch
        self._assign()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step += batch - self._first + 1  # more than one with `steps_per_execution`

    def _assign(self):
        value = float(np.interp(self.step, self.xp, self.fp))
        if value == self._assigned:  # on JAX an assignment takes time, and within an epoch nothing can be read
            return
        self.model  # noqa: B018 - on JAX, what is assigned before the state is brought up to date is lost
        for variable in self._variables:
            variable.assign(value)
        self._assigned = value

    def _warn_of_a_fixed_loss(self):
        """Warn if assigning has no effect: a step compiled by JAX reads only the `metrics_variables` of its model."""
        model = self.model
        if keras.backend.backend() != "jax" or model.run_eagerly or not model.jit_compile:
            return
        listed = {id(variable) for variable in model.metrics_variables}
        if any(id(variable) not in listed for variable in self._variables):
            warnings.warn(
                f"'{self.param_name}' will not change: on JAX, a compiled step of {type(model).__name__} does not see "
                "the variables of its loss. Use `lipviz.Model` or `lipviz.Sequential`, which list them, or compile "
                "with `run_eagerly=True`.",
                UserWarning,
                stacklevel=2,
            )

    def get_config(self) -> dict[str, Any]:
        return {"param_name": self.param_name, "fp": self.fp.tolist(), "xp": self.xp.tolist(), "step": self.step}


@keras.saving.register_keras_serializable("lipviz")
class LossParamLog(_LossCallback):
    """Print a parameter of the loss at the end of epochs, and add it to the logs and so to Keras's `History`.

    Args:
        param_name: Name of a variable of the loss, such as "alpha". It has this name in the logs, too.
        rate: A line is printed every `rate` epochs. The logs get the value in every epoch.

    Raises:
        TypeError: If the name is not a string.
        ValueError: If the rate is not a positive integer. When training begins, if the loss has no such variable.
    """

    def __init__(self, param_name: str, rate: int = 1) -> None:
        super().__init__(param_name)
        self.rate = nm.check_count("rate", rate)
        if self.rate < 1:
            raise ValueError(f"`rate` must be a positive integer. Received: rate={rate!r}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model  # noqa: B018 - brings variables up to date on JAX
        value = float(ops.convert_to_numpy(ops.convert_to_tensor(self._variables[0])))
        if logs is not None:
            logs[self.param_name] = value
        if epoch % self.rate == 0:
            print(f"\n{self._owner} {self.param_name}: {value:.6g}")

    def get_config(self) -> dict[str, Any]:
        return {"param_name": self.param_name, "rate": self.rate}
