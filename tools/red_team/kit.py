"""What the lines of a script use; of these functions a reproducer holds, word for word, those that it needs."""

import math
import tempfile

import keras
import numpy as np
from keras import layers as K  # noqa: F401
from keras import ops

import lipviz
from lipviz import certification, losses, operators  # noqa: F401
from lipviz import layers as lip
from lipviz.certification.arithmetic import Arithmetic
from lipviz.certification.deployed import Deployed
from lipviz.keras_internals import inner_layers
from lipviz.operators.precision import float64_scope

STATE = ("u", "sig", "wbar", "origin", "k", "count", "seed_generator_state", "momentum", "iteration", "learning_rate")


def fill(model, seed, exponents=(0.0,), shapes=("normal",)):
    """Give all weights random values, some of them extreme, and bring every `wbar` up to date.

    Args:
        model: Built model.
        seed: Seed.
        exponents: Powers of ten by which a weight may be multiplied.
        shapes: What a weight may be: "normal", "zero", "rank one", "ones", or "kept" as it was initialized.
    """
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        value = rng.standard_normal(variable.shape)
        scale, shape = 10.0 ** rng.choice(exponents), rng.choice(shapes)
        if "float" not in str(variable.dtype) or (variable.name in STATE and variable.name != "u"):
            continue
        if "variance" in variable.name:
            value = value**2 * scale**2
        elif variable.name == "u" or shape == "kept":
            continue
        elif value.ndim > 1 and shape == "rank one":
            value = scale * value.reshape(-1, value.shape[-1])[:, :1] * np.ones(value.shape[-1])
        else:
            value = scale * {"zero": 0.0, "ones": 1.0}.get(shape, 1.0) * (value if shape != "ones" else 1.0)
        value = np.broadcast_to(np.reshape(value, variable.shape) if np.size(value) > 1 else value, variable.shape)
        variable.assign(value.astype("float32" if variable.dtype == "bfloat16" else variable.dtype))
    lipviz.model.refresh(model)


def twin(make, model, rounded=None):
    """The same model, built by Keras in float64 and given the very state of the first.

    Args:
        make: Function of a dtype that builds the model.
        model: The model.
        rounded: A dtype that weights are rounded to first; optional.
    """
    single = any(
        layer.__class__.__name__ in ("MaxPooling3D", "AveragePooling3D") for layer in (model, *inner_layers(model))
    )
    with float64_scope():
        other = make("float32" if single else "float64")  # TensorFlow pools volumes in no other dtype
        if len(other.variables) < len(model.variables):  # Keras builds activations that are layers when they are called
            run(other, [np.ones([1, *(size or 4 for size in x.shape[1:])], str(x.dtype)) for x in other.inputs])
        names = [[variable.path for variable in one.variables] for one in (model, other)]
        assert len(names[0]) == len(names[1]), f"variables {names[0]} became {names[1]}"
        for ours, theirs in zip(model.variables, other.variables, strict=True):
            value = np.asarray(ours)
            if "float" in value.dtype.name:
                value = value.astype(np.float64)
                if rounded is not None and theirs.name not in STATE[1:]:
                    value = np.asarray(ops.convert_to_numpy(ops.cast(ops.cast(value, rounded), "float64")))
            theirs.assign(value)
        for layer in (other, *inner_layers(other)):
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
    return other


def run(model, inputs):
    """Outputs of a model at inference, one row for each sample, in float64.

    Args:
        model: A model.
        inputs: Arrays, one for each input, in the order of `model.inputs`.
    """
    fed = inputs[0] if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, list(inputs))
    with float64_scope() if model.compute_dtype == "float64" else keras.name_scope("plain"):
        found = [
            ops.convert_to_numpy(ops.cast(leaf, "float32") if "bfloat" in str(leaf.dtype) else leaf)
            for leaf in keras.tree.flatten(model(fed, training=False))
        ]
    return np.concatenate([np.asarray(leaf, np.float64).reshape(len(inputs[0]), -1) for leaf in found], axis=1)


def matrix_of(model, shape):
    """Matrix (outputs, inputs) of a linear model in float64, by differences.

    None of one that is not linear, or whose entries vanish beside the offset that they are added to.
    """
    size = int(np.prod(shape))
    points = np.concatenate([np.zeros((1, size)), np.eye(size), np.linspace(-1, 2, 2 * size).reshape(2, size)])
    points = np.concatenate([points, points[-2:-1] + points[-1:]])
    values = run(model, [points.reshape(-1, *shape)])
    offset = np.abs(values[0]).max(initial=0.0)
    values = values - values[0]
    matrix = values[1 : size + 1].T
    if np.abs(matrix).max(initial=0.0) < 1e-6 * offset:
        return None
    is_linear = np.allclose(values[-3:], points[-3:] @ matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max(initial=0.0))
    return matrix if is_linear else None


def operator_norm(layer):
    """Norm of the linear map of a constrained layer in float64, from its matrix; what `k_coef_lip` promises."""
    shape = [size or 4 for size in layer.get_build_config()["input_shape"][1:]]
    size = int(np.prod(shape))
    with float64_scope():
        kernel = np.asarray(layer.used_kernel()).astype(np.float64)
        units = ops.convert_to_tensor(np.eye(size).reshape(size, *shape))
        matrix = np.asarray(ops.convert_to_numpy(layer.linear(units, ops.convert_to_tensor(kernel))))
    matrix = matrix.reshape(size, -1)
    if isinstance(layer, lip.FrobeniusDense) and layer.disjoint_neurons:
        return float(np.linalg.norm(kernel, axis=0).max())
    return float(np.linalg.norm(matrix, 2))


def assert_k(model):
    """Each constrained layer of a model is held to its k, if its kernel is finite: float16 has no 1e6."""
    for layer in (model, *inner_layers(model)):
        if isinstance(layer, lip.ConstrainedKernel) and layer.is_sound and np.isfinite(np.asarray(layer.kernel)).all():
            norm, k = operator_norm(layer), layer.k_coef_lip
            assert norm <= k * (1 + 1e-9), f"the norm of '{layer.name}' is {norm:.9g}, and its k_coef_lip {k:.9g}"


def state(model):
    """Copies of the values of all variables."""
    return [np.array(variable) for variable in model.variables]


def assert_unmoved(before, model, what):
    """No variable of a model has changed."""
    for variable, old in zip(model.variables, before, strict=True):
        assert np.array_equal(np.asarray(variable), old, equal_nan=True), f"{what} has changed '{variable.path}'"


def assert_close(wanted, got, allowed, what):
    """Two arrays of outputs are the same, but for what is allowed in each."""
    assert wanted.shape == got.shape, f"{what}: outputs of shape {got.shape}, not {wanted.shape}"
    finite = np.isfinite(wanted)
    apart = np.abs(np.where(finite, got, 0.0) - np.where(finite, wanted, 0.0))
    assert (apart <= allowed).all(), f"{what}: outputs differ by {apart.max():.3g}, and rounding explains {allowed:.3g}"


def close(wanted):
    """What the same operations on the same numbers may differ by."""
    return 1e-6 * float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))


def half(model):
    """The half-precision dtype that anything of a model computes in, or None."""
    dtypes = {layer.compute_dtype for layer in (model, *inner_layers(model))} & {"float16", "bfloat16"}
    return "bfloat16" if "bfloat16" in dtypes else next(iter(dtypes), None)


def forgets_policy(model):
    """Whether Keras saves a layer of its own without the dtype policy, as a SpatialDropout1D in mixed precision."""
    own = [layer for layer in inner_layers(model) if type(layer).__module__.startswith("keras.")]
    stated = [(layer.get_config().get("dtype"), layer.dtype_policy.name, layer) for layer in own]
    return any(
        isinstance(dtype, str) and dtype != policy and not isinstance(layer, keras.layers.InputLayer)
        for dtype, policy, layer in stated
    )


def carried(make, model, inputs, wanted):
    """How far rounding may carry the outputs of a copy: as far as roundings of weights and inputs carry its twin."""
    rng = np.random.default_rng(0)
    eps = {None: 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}[half(model)]
    double = twin(make, model)
    base = run(double, inputs)
    most = float(np.abs(base - wanted)[np.isfinite(wanted)].max(initial=0.0))
    variables = [v for v in double.variables if "float" in str(v.dtype)]
    kept = [np.array(v) for v in variables]
    for _ in range(2):
        with float64_scope():
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value * (1 + eps * rng.choice([-1, 1], value.shape)))
        moved = [a if a.dtype.kind != "f" else a * (1 + eps * rng.choice([-1, 1], a.shape)) for a in inputs]
        change = np.abs(run(double, moved) - base)
        most = max(most, float(change[np.isfinite(change)].max(initial=0.0)))
    return 100 * most + 64 * eps * float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))


def saved(model):
    """The model, saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        return keras.models.load_model(f"{folder}/model.keras")


def norms(rows):
    """Norms of flattened rows: {1: ..., 2: ..., inf: ...}."""
    return {norm: np.linalg.norm(rows, norm, axis=1) for norm in (1, 2, math.inf)}


def deployed(model, dtype):
    """The model as a certificate in an arithmetic means it: itself, or a copy that computes in a dtype."""
    return Deployed(model, Arithmetic(dtype), model.inputs[0].shape[1:]).network


def excess(model, dtype, x, ends):
    """By how much errors of logits at points near to samples exceed their bounds; at most 0 where these hold.

    Args:
        model: A classifier.
        dtype: A dtype of `Arithmetic`.
        x: Samples.
        ends: A point near to each.
    """
    certified = Deployed(model, Arithmetic(dtype), x.shape[1:])
    radii = np.linalg.norm((ends - x).reshape(len(x), -1), axis=1)[:, None]
    exact, rows = certified.scores(ends), np.arange(len(x))
    chosen = exact.argmax(axis=1)
    bounds, overflows = certified.errors(x, radii, chosen)
    logits = exact if certified.least else run(certified.network, [ends.astype(str(model.inputs[0].dtype))])
    differences = exact - logits
    errors = np.abs(differences if certified.classes == 1 else differences - differences[rows, chosen][:, None])
    excesses = np.where(overflows, 0.0, errors - bounds[:, :, 0])
    return float(np.where(np.isnan(excesses), np.inf, excesses).max())


# --- what is done to models ---


def constrained(model):
    """The constrained layers of a model, nested ones included."""
    return [layer for layer in (model, *inner_layers(model)) if isinstance(layer, lip.ConstrainedKernel)]


def cloned(model):
    """The model, cloned by Keras and given the same weights."""
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def example(model, seed, count=4):
    """Random samples for a model of one input; unknown sizes are 4."""
    (tensor,) = model.inputs
    shape = [count, *(size or 4 for size in tensor.shape[1:])]
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(str(tensor.dtype))


def run_training(model, seed):
    """A step as of a loop of one's own: a call in training, then new values for what is trained."""
    model(example(model, seed), training=True)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        value = np.asarray(variable, np.float64)
        variable.assign((value + 0.3 * rng.standard_normal(value.shape)).astype(str(variable.dtype)))


def changed_k(make, dtype, k, seed):
    """Another model of the same source, with other weights and another k for each of its layers."""
    other = make(dtype)
    for layer in constrained(other):
        layer.set_klip_factor(k)
    fill(other, seed)
    return other


def other_layers(make, dtype, k, seed):
    """The constrained layers of `changed_k`."""
    return constrained(changed_k(make, dtype, k, seed))


def assigned(layer, scale, seed):
    """Give a layer another kernel, as an optimizer does, which refreshes nothing."""
    layer.kernel.assign(scale * np.random.default_rng(seed).standard_normal(layer.kernel.shape))


def changed_weights(model):
    """Other weights for `set_weights`; the state of a constraint stays what it was."""
    kept = [variable.name in STATE or "float" not in str(variable.dtype) for variable in model.weights]
    return [np.array(v) if keep else np.asarray(v) * 1.5 for v, keep in zip(model.weights, kept, strict=True)]


def reloaded(model, other):
    """Give a model the weights of another one by a file."""
    with tempfile.TemporaryDirectory() as folder:
        other.save_weights(f"{folder}/model.weights.h5")
        model.load_weights(f"{folder}/model.weights.h5")


def with_loaded_weights(model, make, dtype, seed):
    """Give a model the weights of one that was trained, by a file."""
    other = make(dtype)
    fill(other, seed)
    for variable in other.trainable_variables:  # as an optimizer does, which refreshes nothing
        variable.assign(np.asarray(variable) * 0.5)
    reloaded(model, other)


def another_stack(model, k):
    """Put a layer of each stack into a second one: that may refuse, but not change the first behind its back."""
    for stack in [layer for layer in (model, *inner_layers(model)) if isinstance(layer, lipviz.Sequential)]:
        dense = [layer for layer in stack.layers if isinstance(layer, lip.ConstrainedKernel)][:1]
        before = [layer.k_coef_lip for layer in dense]
        try:
            other = lipviz.Sequential(dense, k_coef_lip=k)
        except ValueError:
            continue
        after = [layer.k_coef_lip for layer in dense]
        assert before == after, (
            f"'{other.name}' has changed the k of a layer of '{stack.name}' from {before} to {after}"
        )


def run_outputs(model, x):
    """What a model predicts, as targets."""
    return np.asarray(ops.convert_to_numpy(ops.cast(model(x, training=False), "float32")))


def trained(model, x, seed, use_ema=False, early=False):
    """Fit a model for two steps."""
    keras.utils.set_random_seed(seed)
    model.compile(
        keras.optimizers.SGD(0.05, use_ema=use_ema and bool(model.trainable_variables)), "mse", run_eagerly=True
    )
    callbacks = [keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True)] if early else []
    targets = run_outputs(model, x) + 1.0
    model.fit(x, targets, batch_size=2, epochs=2 if early else 1, callbacks=callbacks, verbose=0)


def allowance(model, x):
    """What two computations of `wbar` may differ by in the outputs: a thousandth of them, and a little."""
    outputs = run(model, [x])
    return (5e-2 if half(model) else 1e-3) * float(np.abs(outputs[np.isfinite(outputs)]).max(initial=0.0)) + 1e-6
