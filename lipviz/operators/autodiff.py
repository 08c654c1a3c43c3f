"""Gradients and Jacobians of networks in float64, by automatic differentiation on every backend."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.operators.precision import check_varies, float64_copy, float64_scope, outputs, settled
from lipviz.rules.used import as_float64, to_numpy
from lipviz.types import Array, ArrayLike, Shape, Tensor

ROWS = 4096  # most outputs for which there is one gradient per output and sample
GRADIENTS = 2**22  # entries of gradients that are computed at a time


class Gradients(keras.Model):
    """Gradients of a number with respect to arrays, on every backend.

    An offset is added to each array. The offsets are the weights of this model, and the number is its loss. A step of
    gradient descent of length 1, from offsets of 0, sets each offset to minus its gradient.

    Args:
        network: Model in float64, which is made untrainable.
        given: Shapes of the arrays that the number depends on.
        offsets: Shapes of the offsets.
        often: Whether gradients are computed so often that compiling pays.
    """

    def __init__(self, network: keras.Model, given: Sequence[Shape], offsets: Sequence[Shape], often: bool = False):
        super().__init__(name="gradients", dtype="float64")
        self.network = network
        self.network.trainable = False
        self.given = [self._weight(f"given_{i}", shape) for i, shape in enumerate(given)]
        self.offsets = [self._weight(f"offset_{i}", shape, trainable=True) for i, shape in enumerate(offsets)]
        jax = keras.backend.backend() == "jax"
        self.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=jax, run_eagerly=not (jax or often))

    def _weight(self, name, shape, trainable=False):
        return self.add_weight(name=name, shape=shape, initializer="zeros", dtype="float64", trainable=trainable)

    def value(self, given: list[Tensor], offsets: list[Tensor]) -> Tensor:
        """The number, a scalar tensor, for the given arrays and their offsets, two lists of tensors."""
        raise NotImplementedError

    def call(self, inputs: Tensor) -> Tensor:
        given, offsets = ([ops.convert_to_tensor(x) for x in arrays] for arrays in (self.given, self.offsets))
        with settled(self.network):
            self.add_loss(self.value(given, offsets))
        return inputs

    def at(self, *given: ArrayLike) -> list[Array]:
        """Gradients with respect to all offsets, at offsets of 0, for the given arrays: a list of float64 arrays."""
        for variable, array in zip(self.given, given, strict=True):
            variable.assign(array)
        for offset in self.offsets:
            offset.assign(np.zeros(offset.shape))
        self.train_on_batch(np.zeros((1, 1)))
        return [-to_numpy(offset) for offset in self.offsets]


class Pullback(Gradients):
    """Gradients of u·f(x) with respect to x.

    Args:
        network: Model in float64.
        points: Shape of the points, (rows, ...).
        size: Number of outputs of the network.
        often: Whether gradients are computed so often that compiling pays.
    """

    def __init__(self, network: keras.Model, points: Shape, size: int, often: bool = False):
        check_varies(network)
        super().__init__(network, [points, (points[0], size)], [points], often)

    def value(self, given: list[Tensor], offsets: list[Tensor]) -> Tensor:
        points, covectors = given
        values = ops.reshape(self.network(points + offsets[0], training=False), covectors.shape)
        return ops.sum(values * covectors)

    def gradients(self, points: Array, covectors: Array) -> Array:
        """The rows u_iᵀ J(x_i), with the shape of the points."""
        return self.at(points, covectors)[0]


class Jacobians:
    """Products of fixed covectors with a network's Jacobians, a group of samples at a time.

    Args:
        network: Model in float64.
        x: Samples of shape (n, ...), float64.
        covectors: Array of shape (m, number of outputs).
        often: See `Pullback`.
    """

    def __init__(self, network: keras.Model, x: Array, covectors: Array, often: bool = False):
        self._x = x
        (count, size), entries = covectors.shape, x[0].size
        self._group = max(1, min(len(x), GRADIENTS // (count * (entries + size))))
        self._covectors = np.tile(covectors, (self._group, 1))
        with float64_scope():
            self._pullback = Pullback(network, (self._group * count, *x.shape[1:]), size, often)

    def groups(self) -> Iterator[Array]:
        """Yields float64 arrays of shape (samples, m, inputs)."""
        count = len(self._covectors) // self._group
        for start in range(0, len(self._x), self._group):
            points, real = padded(self._x[start : start + self._group], self._group)
            with float64_scope():
                rows = self._pullback.gradients(np.repeat(points, count, axis=0), self._covectors)
            yield rows.reshape(self._group, count, -1)[:real]


def padded(rows: Array, count: int) -> tuple[Array, int]:
    """Rows, filled up to a count with copies of the first, and how many are real. So all groups have one shape."""
    return np.concatenate([rows, np.repeat(rows[:1], count - len(rows), axis=0)]), len(rows)


def jacobian_norms(model: keras.Model, x: ArrayLike, eps: float = 1e-4, seed: int | None = None) -> Array:
    """Largest singular value of a network's Jacobian at each sample: how much it stretches there at most.

    The Jacobian is taken by automatic differentiation of a `float64_copy` at inference, one gradient per output, and
    decomposed by SVD. At a kink, it is the Jacobian of the branch that the backend differentiates. Networks of more
    than 4096 outputs get a power iteration instead, see `eps`; its results are lower bounds.

    Args:
        model: Built Keras model with one input and one output, see `float64_copy`.
        x: Samples of shape (n, ...), in the model's units.
        eps: Only for networks of more than 4096 outputs: length of the step in the finite difference of each
            iteration, ‖f(x + eps·d) − f(x − eps·d)‖ / 2 eps.
        seed: Only for these: seed of the first directions d.

    Returns:
        A float64 array of shape (n,).

    Raises:
        TypeError: If `model` is no Keras model, or `x` does not hold real numbers.
        ValueError: If the model is not built, or its input is of whole numbers; if an argument is out of range, or `x`
            is empty or holds NaN or Inf.
    """
    x = as_float64(x, "The samples")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"Expected samples of shape (n, ...), at least one. Received shape: {x.shape}")
    eps, seed = nm.check_positive("eps", eps), nm.check_seed("seed", seed)
    network = float64_copy(model)
    check_varies(model)
    size = outputs(network, x[:1]).shape[1]
    if size > ROWS:
        return _power_norms(network, x, size, eps, np.random.default_rng(seed))
    groups = Jacobians(network, x, np.eye(size)).groups()
    return np.concatenate([np.linalg.norm(rows, 2, axis=(1, 2)) for rows in groups])


def _power_norms(network, x, size, eps, rng, steps=30):
    """Lower bounds of the norms of the Jacobians: the largest of ‖J d‖ along a power iteration on JᵀJ."""
    norms = np.zeros(len(x))
    group = max(1, min(len(x), GRADIENTS // (x[0].size + size)))
    with float64_scope():
        pullbacks = {}
        for start in range(0, len(x), group):
            points = x[start : start + group]
            if len(points) not in pullbacks:
                pullbacks[len(points)] = Pullback(network, points.shape, size, often=True)
            directions = rng.standard_normal(points.shape)
            for _ in range(steps):
                lengths = np.sqrt(np.sum(directions**2, axis=tuple(range(1, x.ndim)), keepdims=True))
                directions = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
                change = outputs(network, points + eps * directions) - outputs(network, points - eps * directions)
                found = np.linalg.norm(change, axis=1) / (2 * eps)
                if not found.any():  # the network changes nowhere
                    break
                norms[start : start + group] = np.maximum(norms[start : start + group], found)
                directions = pullbacks[len(points)].gradients(points, change)
    return norms
