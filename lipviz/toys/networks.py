"""Small networks for comparing activations: they are built, and trained on all samples at once."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import keras
import numpy as np

import lipviz.model
from lipviz import _moved, layers
from lipviz import normalizers as nm
from lipviz.certification.scores import class_numbers
from lipviz.initializers import SpectralInitializer
from lipviz.losses import TauBinaryCrossentropy, TauCategoricalCrossentropy
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

# Names of activations in the course → classes of layers.
ACTIVATIONS = {
    "relu": keras.layers.ReLU,
    "maxmin": layers.MaxMin,
    "groupsort2": layers.GroupSort2,
    "fullsort": layers.FullSort,
    "householder": layers.Householder,
    "prelulip": layers.PReLUlip,
}
_PAIRED = ("maxmin", "groupsort2", "householder")  # these need an even number of channels
# Range of the initial biases. With biases of 0, the kinks of all neurons would lie at the origin.
_BIAS = 0.5


# --- networks ---


def toy_network(
    activation: str = "groupsort2",
    width: int = 16,
    depth: int = 2,
    *,
    inputs: int = 2,
    outputs: int = 1,
    k: float = 1.0,
    constrained: bool = True,
    seed: int = 0,
) -> keras.Model:
    """Build a small network of dense layers of equal width, one activation after each but the last.

    Args:
        activation: One of `ACTIVATIONS`: "relu", "maxmin", "groupsort2", "fullsort", "householder", "prelulip".
        width: Number of channels after each activation; MaxMin doubles channels, so the layers before it have half as
            many units. Even for "maxmin", "groupsort2" and "householder".
        depth: Number of hidden layers, at least 1.
        inputs: Number of inputs.
        outputs: Number of outputs.
        k: Lipschitz constant of the whole network, where it is constrained.
        constrained: Whether the layers are `SpectralDense` in a `lipviz.Sequential`; else plain `Dense` ones.
        seed: Seed of all weights.

    Returns:
        A built model.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_name("activation", activation, ACTIVATIONS)
    for name, value in (("width", width), ("depth", depth), ("inputs", inputs), ("outputs", outputs)):
        _check_at_least_one(name, value)
    if activation in _PAIRED and width % 2:
        raise ValueError(f"`width` must be even for '{activation}', which pairs channels. Received: width={width}")
    k, seed = nm.check_positive("k", k), check_weight_seed(seed)
    units = width // 2 if activation == "maxmin" else width
    stack, before = [keras.layers.Input((inputs,))], inputs
    for place in range(depth):
        stack += [_dense(before, units, constrained, seed + place, _BIAS), ACTIVATIONS[activation]()]
        before = width
    stack.append(_dense(before, outputs, constrained, seed + depth, 0.0))
    if not constrained:
        return keras.Sequential(stack)
    model = lipviz.model.Sequential(stack, k_coef_lip=k)
    _seed_power_iterations(model, seed)
    return model


def check_weight_seed(seed: int) -> int:
    """Return a seed of weights as an int; ValueError unless it is one, from 0 to 2³¹ − 1, as initializers take."""
    count = nm.check_count("seed", seed)
    nm.check_seed("seed", count, most=2**31 - 1)
    return count


def _seed_power_iterations(model, seed):
    """Start all power iterations from vectors of this seed, since layers draw them from Keras's global seed."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.ConstrainedKernel):
            layer.parametrization.u.assign(rng.standard_normal(layer.parametrization.u.shape))
    lipviz.model.refresh(model)


def _dense(inputs, units, constrained, seed, bias):
    # Another seed, so that biases do not depend on the kernel.
    start = keras.initializers.RandomUniform(-bias, bias, seed=seed + 1000)
    if not constrained:
        return keras.layers.Dense(units, kernel_initializer=keras.initializers.HeNormal(seed), bias_initializer=start)
    kernel = SpectralInitializer(base_initializer=keras.initializers.Orthogonal(seed=seed))
    # Björck has nothing to do on a kernel with one singular value, and takes time to compile.
    needless: dict[str, Any] = {"eps_bjorck": None} if min(inputs, units) == 1 else {}
    return layers.SpectralDense(units, kernel_initializer=kernel, bias_initializer=start, **needless)


def toy_classifier(
    x: ArrayLike,
    y: ArrayLike,
    activation: str = "groupsort2",
    width: int = 16,
    depth: int = 2,
    *,
    k: float = 1.0,
    constrained: bool = True,
    loss: keras.losses.Loss | None = None,
    tau: float = 10.0,
    steps: int = 300,
    learning_rate: float = 0.02,
    seed: int = 0,
) -> keras.Model:
    """Build and train a small classifier: a few hundred full-batch steps of Adam.

    Args:
        x: Samples of shape (n, d), at least one.
        y: Labels: class numbers of shape (n,) or (n, 1), or one-hot rows of shape (n, C). Two classes make a network
            with one logit, whose sign decides.
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        k: See `toy_network`.
        constrained: See `toy_network`.
        loss: Keras loss of one-hot labels, or of labels 0 and 1 of shape (n, 1); by default the crossentropy with
            inverse temperature τ (`TauCategoricalCrossentropy`, or `TauBinaryCrossentropy`).
        tau: Inverse temperature of the default loss, positive.
        steps: Number of steps.
        learning_rate: Learning rate of the first step; it falls to 0 along a cosine.
        seed: Seed of all weights.

    Returns:
        The trained and compiled model. Its `wbar` are up to date.

    Raises:
        TypeError: If `x` or `y` does not hold real numbers.
        ValueError: If an argument is out of range, `x` or `y` is not finite or of another shape, or training diverged.
    """
    x = as_float64(x, "The samples")
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"Expected samples of shape (n, d), at least one. Received shape: {x.shape}")
    targets = class_targets(y, len(x))
    count = targets.shape[1]
    model = toy_network(
        activation, width, depth, inputs=x.shape[1], outputs=count, k=k, constrained=constrained, seed=seed
    )
    if loss is None:
        loss = TauBinaryCrossentropy(tau) if count == 1 else TauCategoricalCrossentropy(tau)
    for _ in training(model, x, targets, loss, steps, steps, learning_rate):
        pass
    return model


def class_targets(y: ArrayLike, samples: int) -> Array:
    """Labels as a loss takes them: 0 and 1 of shape (n, 1) for two classes, one-hot rows for more."""
    y = as_float64(y, "The labels")
    one_hot = y.ndim == 2 and y.shape[1] > 1
    largest = int(y.max(initial=0))
    classes = y.shape[1] if one_hot else largest + 1 if largest > 1 else 1
    numbers = class_numbers(y, samples, classes)
    return numbers[:, None].astype(np.float32) if classes == 1 else np.eye(classes, dtype=np.float32)[numbers]


# --- training ---


def training(
    model: keras.Model,
    x: ArrayLike,
    y: ArrayLike,
    loss: keras.losses.Loss,
    steps: int,
    every: int,
    learning_rate: float = 0.01,
) -> Iterator[Array]:
    """Train on all samples at once with Adam, by one compiled step, and yield the losses every few steps.

    Args:
        model: Built Keras model; it is compiled again.
        x: Samples of shape (n, ...).
        y: What the loss takes as labels.
        loss: Keras loss.
        steps: Number of steps.
        every: Number of steps between two results; there is one after the last step, too.
        learning_rate: Learning rate of the first step; it falls to 0 along a cosine.

    Returns:
        An iterator of the losses so far, arrays of shape (steps so far,). Each loss is computed before its step. When a
        result comes, the model has the weights after these steps, and its `wbar` are up to date.

    Raises:
        ValueError: If an argument is out of range (raised at once); or training diverged (raised during the iteration).
    """
    steps, every = _check_at_least_one("steps", steps), _check_at_least_one("every", every)
    rate = keras.optimizers.schedules.CosineDecay(nm.check_positive("learning_rate", learning_rate), steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    return _trained(model, x, y, steps, every)


def _trained(model, x, y, steps, every):
    losses: list[float] = []
    for _ in full_batches(model, x, y, steps, every, losses):
        lipviz.model.refresh(model)
        yield np.array(losses)


def full_batches(
    model: keras.Model,
    x: ArrayLike,
    y: ArrayLike,
    steps: int,
    every: int,
    losses: list[float],
    watched: list[float] | None = None,
    rates: Callable[[int], float] | None = None,
    weights: ArrayLike | None = None,
) -> Iterator[int]:
    """Train a compiled model on all samples at once, one step after the other, and yield every few steps.

    Args:
        model: Compiled Keras model.
        x: Samples of shape (n, ...).
        y: What the loss takes as labels.
        steps: Number of steps of the whole training, earlier ones included.
        every: Number of steps between two results; there is one after the last step, too.
        losses: List of the losses so far, one for each step; new ones are appended.
        watched: List to which the values of the metrics are appended; None drops them.
        rates: Function from the number of steps so far to the learning rate of the next step; None does not set it.
        weights: Weight of each sample, of shape (n,), or None.

    Yields:
        Number of steps so far.

    Raises:
        ValueError: If training diverged.
    """
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    weights = None if weights is None else np.asarray(weights, np.float32)
    while (step := len(losses)) < steps:
        if rates is not None:
            model.optimizer.learning_rate = rates(step)
        loss, *metrics = np.ravel(model.train_on_batch(x, y, weights)).tolist()
        losses.append(loss)
        if watched is not None:
            watched += metrics
        if not np.isfinite(loss):
            raise ValueError(f"Training diverged at step {step + 1}: the loss is {loss}. Lower the `learning_rate`.")
        if (step + 1) % every == 0 or step + 1 == steps:
            yield step + 1


# --- checks ---


def check_name(name: str, value: object, known: Collection[str]) -> None:
    """Raise ValueError unless an argument is one of the names that are known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}. Received: {value!r}")


def _check_at_least_one(name, value):
    if nm.check_count(name, value) < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {name}={value!r}")
    return int(value)


def __getattr__(name):
    return _moved.name_of(__name__, name)
