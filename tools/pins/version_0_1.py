"""Five models that version 0.1 has written: every later version loads them, and predicts the same.

Together they hold every layer of that version, a `lipviz.Sequential`, a `lipviz.Model` with a residual and a shared
layer, a plain `keras.Sequential`, compiled losses and metrics, float64 and bfloat16, an initializer, a regularizer and
a constraint, and factors k of each layer. Each was trained for a few steps, so that no weight is what it was at the
beginning. Beside each file lie inputs with the outputs and the losses of version 0.1.

`python -m tools.pins version_0_1` writes them where there are none, and never again. What `certify` proves of them may
become better, and is pinned in `certificates.json`.
"""

import functools

import keras
import numpy as np
from keras import ops

from tools.pins import draws, rounding, storage

FILE = "version_0_1"
SAMPLES = 8
# All layers of version 0.1. It never grows: a layer that came later is in no file of that version.
LAYERS = (
    "BatchCentering",
    "BatchLipNorm",
    "FrobeniusConv2D",
    "FrobeniusDense",
    "FullSort",
    "GroupSort",
    "GroupSort2",
    "Householder",
    "InvertibleDownSampling",
    "InvertibleUpSampling",
    "LayerCentering",
    "LipResidual",
    "MaxMin",
    "PReLUlip",
    "PadConv2D",
    "ScaledAveragePooling2D",
    "ScaledGlobalAveragePooling2D",
    "ScaledGlobalL2NormPooling2D",
    "ScaledL2NormPooling2D",
    "SpectralConv1D",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
)


def present(names=None):
    """{name of a file: outputs and losses of the model that is loaded from it}; of all files by default."""
    return {name: _measured(name) for name in names or MODELS}


@functools.cache
def has_convolutions_in(dtype):
    """Whether this computer convolves in a dtype: under ONEDNN_MAX_CPU_ISA=AVX2 TensorFlow has none in bfloat16."""
    try:
        ops.conv(ops.ones((1, 3, 3, 1), dtype), ops.ones((3, 3, 1, 1), dtype))
    except Exception:  # every backend has an error of its own
        return False
    return True


def loaded(name):
    """The model of a file, loaded in safe mode.

    Args:
        name: One of `MODELS`.
    """
    return keras.saving.load_model(storage.FOLDER / FILE / f"{name}.keras", safe_mode=True)


def _measured(name):
    with np.load(storage.FOLDER / FILE / f"{name}.npz") as file:
        x, y = file["x"], file["y"]
    return _entry(loaded(name), x, y)


def _entry(model, x, y):
    outputs = ops.convert_to_numpy(ops.cast(model(x, training=False), "float64"))
    model.run_eagerly = True  # a graph for one batch would cost a second
    results = model.test_on_batch(x, y, return_dict=True)
    names = sorted(results)
    entry = {"x": x, "y": y, "outputs": outputs, "results": np.array([float(results[key]) for key in names])}
    return entry | {"names": np.array([key.encode() for key in names])}


def tolerance(name, key):
    """Each layer rounds, and all behind it pass that on, at most as many times as large as they stretch.

    With L the product of the layers' constants, an output moves by at most depth · √n · u · L · ‖x‖ for sums of n = 72
    terms at the most; bfloat16 is summed up in float32, so n is 1 there. A loss moves by that times its slope; Keras
    computes losses and metrics in float32 where a model computes in float64.
    """
    if key in ("x", "y", "names"):
        return rounding.EXACT
    dtype, depth, constant, slope = _ARITHMETIC[name]
    dtype = "float32" if (key, dtype) == ("results", "float64") else dtype
    length = _LONGEST_SUM if dtype in ("float32", "float64") else 1
    growth = constant * _largest_norm(name) * (slope if key == "results" else 1.0)
    return rounding.Tolerance(absolute=rounding.of_products(dtype, depth, length, growth).relative)


_LONGEST_SUM = 72
# Dtype, number of layers with their activations, their constant as `certify` proves it, and the slope of the losses.
_ARITHMETIC = {
    "sequential": ("float32", 12, 0.6, 12.0),
    "functional": ("float32", 12, 0.2, 2.0),
    "plain_keras": ("float32", 8, 1.5, 5.0),
    "float64": ("float64", 7, 1.0, 2.0),
    "mixed_bfloat16": ("bfloat16", 7, 1.3, 2.0),
}


@functools.cache
def _largest_norm(name):
    with np.load(storage.FOLDER / FILE / f"{name}.npz") as file:
        return float(np.linalg.norm(file["x"].reshape(SAMPLES, -1), axis=1).max())


# --- how they were made ---


def write_once():
    """Build, train and save the models."""
    folder = storage.FOLDER / FILE
    folder.mkdir(parents=True)
    for name, make in MODELS.items():
        keras.utils.set_random_seed(7)
        model = make()
        x = draws.uniform(f"{name} x", (SAMPLES, *model.input_shape[1:])).astype("float32")
        y = _labels(name, model.output_shape[-1])
        model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
        model.save(folder / f"{name}.keras")
        np.savez_compressed(folder / f"{name}.npz", **_entry(loaded(name), x, y))


def _labels(name, outputs):
    """One-hot, or 0 and 1."""
    classes = np.arange(SAMPLES) % max(outputs, 2)
    return (classes[:, None] if outputs == 1 else np.eye(outputs)[classes]).astype("float32")


def _sequential():
    from lipviz import Sequential, constraints, initializers, layers, losses, metrics, regularizers

    first = {
        "kernel_initializer": initializers.SpectralInitializer(base_initializer="he_normal"),
        "kernel_regularizer": regularizers.LorthRegularizer(kernel_shape=(3, 3, 2, 4), stride=1, lambda_lorth=0.01),
    }
    dense = {
        "kernel_constraint": constraints.SpectralConstraint(k_coef_lip=2.0),
        "kernel_regularizer": regularizers.OrthDenseRegularizer(0.01),
    }
    model = Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.SpectralConv2D(4, 3, activation=layers.GroupSort2(), bound="tight", **first),
            layers.ScaledAveragePooling2D(2),
            layers.LayerCentering(),
            layers.FrobeniusConv2D(4, 3, activation=layers.Householder()),
            layers.ScaledL2NormPooling2D(2),
            layers.BatchCentering(),
            keras.layers.Flatten(),
            layers.SpectralDense(8, layers.FullSort(), **dense),
            layers.FrobeniusDense(3),
        ],
        k_coef_lip=2.0,
        name="sequential",
    )
    metric = metrics.CategoricalProvableRobustAccuracy(0.1, lip_const=2.0)
    model.compile("adam", losses.MulticlassHKR(alpha=5.0, min_margin=0.5), metrics=[metric, losses.MulticlassKR()])
    return model


def _functional():
    from lipviz import Model, layers, losses, metrics

    inputs = keras.Input((6, 6, 3))
    x = layers.SpectralConv2D(4, 3, strides=2, padding="valid", beta_bjorck=0.1, name="first")(inputs)
    x = layers.BatchLipNorm()(layers.GroupSort(4)(x))
    shared = layers.SpectralConv2D(4, 3, activation=layers.PReLUlip(), name="shared")
    x = layers.LipResidual()([x, shared(shared(x))])
    x = layers.ScaledGlobalL2NormPooling2D()(x)
    x = layers.MaxMin()(layers.SpectralDense(4, k_coef_lip=0.5, name="half")(x))
    model = Model(inputs, layers.FrobeniusDense(4, disjoint_neurons=False)(x), name="functional")
    robustness = metrics.CategoricalProvableAvgRobustness(lip_const=1.0)
    model.compile(keras.optimizers.SGD(0.05), losses.TauCategoricalCrossentropy(tau=8.0), metrics=[robustness])
    return model


def _plain_keras():
    from lipviz import layers, losses, metrics

    model = keras.Sequential(
        [
            keras.Input((10, 3)),
            layers.SpectralConv1D(6, 3, strides=2, activation=layers.MaxMin()),
            layers.BatchCentering(k_coef_lip=1.5),
            keras.layers.Flatten(),
            layers.SpectralDense(8, "relu", eps_bjorck=None),
            layers.FrobeniusDense(1),
        ],
        name="plain_keras",
    )
    watched = [losses.KR(), losses.HingeMargin(0.4), metrics.BinaryProvableAvgRobustness(lip_const=1.0)]
    model.compile("adam", losses.HKR(alpha=2.0, min_margin=0.4), metrics=watched)
    return model


def _float64():
    from lipviz import Model, layers, losses

    kind = {"dtype": "float64"}
    inputs = keras.Input((6, 6, 2), dtype="float64")
    x = layers.SpectralConv2DTranspose(3, 3, strides=2, k_coef_lip=0.8, **kind)(inputs)
    x = layers.ScaledGlobalAveragePooling2D(k_coef_lip=1.5, **kind)(x)
    x = layers.SpectralDense(6, layers.GroupSort(3, **kind), k_coef_lip=3.0, **kind)(x)
    x = layers.PReLUlip(**kind)(x)
    x = layers.FrobeniusDense(2, disjoint_neurons=False, k_coef_lip=0.6, **kind)(x)
    model = Model(inputs, x, name="float64")
    model.compile(keras.optimizers.SGD(0.05), losses.SoftHKRMulticlassLoss(alpha=0.8, min_margin=0.5))
    return model


def _mixed_bfloat16():
    from lipviz import layers, losses

    kind = {"dtype": "mixed_bfloat16"}
    model = keras.Sequential(
        [
            keras.Input((4, 4, 4)),
            layers.InvertibleUpSampling(2, **kind),
            layers.PadConv2D(4, 3, padding="circular", kernel_initializer="orthogonal", **kind),
            layers.InvertibleDownSampling(2, **kind),
            layers.SpectralConv2D(8, 3, activation=layers.GroupSort2(**kind), **kind),
            layers.ScaledGlobalL2NormPooling2D(**kind),
            layers.SpectralDense(4, **kind),
        ],
        name="mixed_bfloat16",
    )
    model.compile(keras.optimizers.SGD(0.05), losses.LseHKRMulticlassLoss(alpha=0.8, min_margin=0.5))
    return model


MODELS = {
    "sequential": _sequential,
    "functional": _functional,
    "plain_keras": _plain_keras,
    "float64": _float64,
    "mixed_bfloat16": _mixed_bfloat16,
}
