"""Keras callbacks: condense while training, watch singular values in TensorBoard, change and report loss parameters.

On JAX the state of a model is not attached to it in the middle of an epoch. Each access to `self.model` brings it up to
date, and the next step reads what a callback assigned: callbacks that act on batches cost a synchronization each.
"""

import os
import warnings

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.keras_internals import inner_layers
from lipviz.layers import Condensable, ConstrainedKernel
from lipviz.measure.spectra import layer_spectrum
from lipviz.operators.weights import layers_with_kernel, raw_kernel
from lipviz.rules.used import to_numpy


class ConfiguredCallback(keras.callbacks.Callback):
    """Base: a callback that can be rebuilt from its configuration."""

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def check_flag(name, value):
    """Return True or False; ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return value


@keras.saving.register_keras_serializable("lipviz")
class CondenseCallback(ConfiguredCallback):
    """Write the constrained kernels into the raw ones, of any model that holds lipviz layers; see `condense`.

    Training goes on from there, with the optimizer's momenta as they were.

    Args:
        on_epoch: Whether at the end of each epoch.
        on_batch: Whether after each batch, which costs an eager pass over all kernels.

    Raises:
        ValueError: If an argument is no bool; in `fit`, if a kernel holds NaN or Inf.
    """

    def __init__(self, on_epoch=True, on_batch=False):
        super().__init__()
        self.on_epoch = check_flag("on_epoch", on_epoch)
        self.on_batch = check_flag("on_batch", on_batch)

    def on_train_batch_end(self, batch, logs=None):
        if self.on_batch:
            self._condense()

    def on_epoch_end(self, epoch, logs=None):
        if self.on_epoch:
            self._condense()

    def _condense(self):
        """Layer by layer: a plain model has no `condense`."""
        for layer in inner_layers(self.model):
            if isinstance(layer, Condensable) and not isinstance(layer, keras.Model):
                layer.condense()

    def get_config(self):
        return {"on_epoch": self.on_epoch, "on_batch": self.on_batch}


@keras.saving.register_keras_serializable("lipviz")
class MonitorCallback(ConfiguredCallback):
    """Write singular values of kernels to TensorBoard while a model trains.

    They are decomposed in float64, kernels of more than two axes as the matrix (product of the others, out). They are
    written to `logdir/metrics` as "epoch_kernel_sigma_max/<layer>", against the number of the epoch, or as
    ``batch_…``, against the number of batches; with `what="all"` a histogram ``…_sigma/<layer>``. Writing needs
    TensorFlow, on every backend; `pip install tensorboard`, then `tensorboard --logdir=…` shows what was written.

    A kernel that holds NaN or Inf is written as NaN, and warned of once.

    Args:
        monitored_layers: List of names of layers with a kernel, those of nested models included.
        logdir: Folder to write to.
        target: "kernel" for the raw kernel, or "wbar" for the constrained one, as it is stored: the one of the last
            training step's forward pass.
        what: "max" for the largest singular value, or "all" for a histogram of all.
        on_epoch: Whether at the end of each epoch.
        on_batch: Whether after each batch.

    Raises:
        ValueError: If an argument is out of range; when training begins, if the model has no such layer, or the layer
            no such kernel.
        ImportError: When training begins, if TensorFlow is not installed.
    """

    def __init__(self, monitored_layers, logdir, target="kernel", what="max", on_epoch=True, on_batch=False):
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
        self._layers = {}
        self._warned = set()
        self._batches = 0
        self._summary = self._writer = None

    def on_train_begin(self, logs=None):
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

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        if self.on_batch:
            self._write("batch", self._batches)

    def on_epoch_end(self, epoch, logs=None):
        if self.on_epoch:
            self._write("epoch", epoch)

    def on_train_end(self, logs=None):
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

    def get_config(self):
        names = ("monitored_layers", "logdir", "target", "what", "on_epoch", "on_batch")
        return {name: getattr(self, name) for name in names}


def _tensorflow_summary():
    """TensorFlow's module of summaries, by way of the callback of Keras that writes with it on every backend."""
    try:
        return keras.callbacks.TensorBoard(write_graph=False).summary
    except ImportError as error:
        raise ImportError("MonitorCallback writes with TensorFlow's summaries: `pip install tensorflow`.") from error


def _plugin(name):
    """Metadata, serialized, that tell TensorBoard what shows a value.

    The functions that TensorFlow has for that need the package tensorboard, which training otherwise does not.
    The message is SummaryMetadata{1: plugin_data{1: plugin_name}}.
    """
    plugin_name = b"\x0a" + bytes([len(name)]) + name.encode()
    return b"\x0a" + bytes([len(plugin_name)]) + plugin_name


class _LossCallback(ConfiguredCallback):
    """Base: a callback that knows a parameter of the loss, a Keras variable, by its name."""

    def __init__(self, param_name):
        super().__init__()
        if not isinstance(param_name, str):
            raise TypeError(f"`param_name` must be a string. Received: param_name={param_name!r}")
        self.param_name = param_name
        self._variables = []
        self._owner = None

    def on_train_begin(self, logs=None):
        """Find the number in the losses that the model was compiled with."""
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
    """Change a parameter of the loss while training: linear interpolation over training steps.

    Before step i the number is set to that of the broken line through the points (xp, fp), constant before the first
    and after the last. Where several losses have it, all are set.

    Args:
        param_name: Name of a variable of the loss, such as "alpha", "min_margin" or "tau".
        fp: Values of the number, at least one.
        xp: The steps at which it takes them, increasing, as many.
        step: Step to begin with; it counts on over all calls of `fit`.

    Raises:
        TypeError: If the name is no string.
        ValueError: If the points are not finite, not as many or not increasing; when training begins, if the loss has
            no such variable.
    """

    def __init__(self, param_name, fp, xp, step=0):
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
        self._assigned = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._warn_of_a_fixed_loss()
        self._assigned = None
        self._assign()

    def on_train_batch_begin(self, batch, logs=None):
        self._first = batch
        self._assign()

    def on_train_batch_end(self, batch, logs=None):
        self.step += batch - self._first + 1  # more than one with `steps_per_execution`

    def _assign(self):
        value = float(np.interp(self.step, self.xp, self.fp))
        if value == self._assigned:  # on JAX an assignment has its price, and within an epoch nothing can be read
            return
        self.model  # noqa: B018 - on JAX, what is assigned before the state is brought up to date is lost
        for variable in self._variables:
            variable.assign(value)
        self._assigned = value

    def _warn_of_a_fixed_loss(self):
        """Compiled by JAX, a step sees the variables only that its model lists among those of its metrics."""
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

    def get_config(self):
        return {"param_name": self.param_name, "fp": self.fp.tolist(), "xp": self.xp.tolist(), "step": self.step}


@keras.saving.register_keras_serializable("lipviz")
class LossParamLog(_LossCallback):
    """Report a parameter of the loss at the end of each epoch: printed, and in the logs, hence in `History`.

    Args:
        param_name: Name of a variable of the loss, such as "alpha". The logs have it under this name.
        rate: Number of epochs from one line that is printed to the next; the logs have every epoch.

    Raises:
        TypeError: If the name is no string.
        ValueError: If the rate is no positive integer; when training begins, if the loss has no such variable.
    """

    def __init__(self, param_name, rate=1):
        super().__init__(param_name)
        self.rate = nm.check_count("rate", rate)
        if self.rate < 1:
            raise ValueError(f"`rate` must be a positive integer. Received: rate={rate!r}")

    def on_epoch_end(self, epoch, logs=None):
        self.model  # noqa: B018 - brings variables up to date on JAX
        value = float(ops.convert_to_numpy(ops.convert_to_tensor(self._variables[0])))
        if logs is not None:
            logs[self.param_name] = value
        if epoch % self.rate == 0:
            print(f"\n{self._owner} {self.param_name}: {value:.6g}")

    def get_config(self):
        return {"param_name": self.param_name, "rate": self.rate}
