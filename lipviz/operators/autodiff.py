"""Gradients and Jacobians of networks in float64, by automatic differentiation on every backend."""

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.operators.precision import check_varies, float64_copy, float64_scope, outputs, settled
from lipviz.operators.weights import as_float64, to_numpy

_ROWS = 4096  # outputs whose gradients are taken one by one, per sample
_GRADIENTS = 2**22  # entries of gradients at a time


class _Pullback(keras.Model):
    """Gradients of u·f(x) with respect to x on every backend: offsets of x are the weights of a model that is trained.

    Args:
        network: Model in float64.
        points: Shape of the points, (rows, ...).
        size: Number of outputs of the network.
        often: Whether it will be asked so often that compiling pays.
    """

    def __init__(self, network, points, size, often=False):
        check_varies(network)
        super().__init__(name="pullback", dtype="float64")
        self.network = network
        self.network.trainable = False
        self.points = self._weight("points", points)
        self.covectors = self._weight("covectors", (points[0], size))
        self.offsets = self._weight("offsets", points, trainable=True)
        # A step of length 1 downhill from 0: where the offsets arrive at is the gradient, with its sign changed.
        jax = keras.backend.backend() == "jax"
        self.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=jax, run_eagerly=not (jax or often))

    def _weight(self, name, shape, trainable=False):
        return self.add_weight(name=name, shape=shape, initializer="zeros", dtype="float64", trainable=trainable)

    def call(self, inputs):
        points = ops.convert_to_tensor(self.points) + ops.convert_to_tensor(self.offsets)
        with settled(self.network):
            values = ops.reshape(self.network(points, training=False), self.covectors.shape)
        self.add_loss(ops.sum(values * ops.convert_to_tensor(self.covectors)))
        return inputs

    def gradients(self, points, covectors):
        """The rows u_iᵀ J(x_i), with the shape of the points."""
        self.points.assign(points)
        self.covectors.assign(covectors)
        self.offsets.assign(np.zeros(points.shape))
        self.train_on_batch(np.zeros((1, 1)))
        return -to_numpy(self.offsets)


def jacobian_norms(model, x, eps=1e-4, seed=None):
    """Largest singular value of a network's Jacobian at each sample: how much it stretches there at most.

    The Jacobian is taken by automatic differentiation of a `float64_copy` at inference, one gradient per output, and
    decomposed by SVD. At a kink it is that of the branch that the backend takes. Networks of more than 4096 outputs get
    a power iteration instead, see `eps`, whose results are lower bounds.

    Args:
        model: Built Keras model with one input and one output, see `float64_copy`.
        x: Samples of shape (n, ...), in the model's units.
        eps: Only for networks of more than 4096 outputs: length of the step along which the change of the output is
            taken in each iteration, ‖f(x + eps·d) − f(x − eps·d)‖ / 2 eps.
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
    if size > _ROWS:
        return _power_norms(network, x, size, eps, np.random.default_rng(seed))
    covectors = np.eye(size)
    group = max(1, min(len(x), _GRADIENTS // (size * (x[0].size + size))))
    norms = []
    with float64_scope():
        pullback = _Pullback(network, (group * size, *x.shape[1:]), size)
        for start in range(0, len(x), group):
            points = x[start : start + group]
            points = np.concatenate([points, np.repeat(points[:1], group - len(points), axis=0)])  # one shape for all
            rows = pullback.gradients(np.repeat(points, size, axis=0), np.tile(covectors, (group, 1)))
            norms.append(np.linalg.norm(rows.reshape(group, size, -1), 2, axis=(1, 2)))
    return np.concatenate(norms)[: len(x)]


def _power_norms(network, x, size, eps, rng, steps=30):
    """Lower bounds of the norms of the Jacobians: the largest of ‖J d‖ along a power iteration on JᵀJ."""
    norms = np.zeros(len(x))
    group = max(1, min(len(x), _GRADIENTS // (x[0].size + size)))
    with float64_scope():
        pullbacks = {}
        for start in range(0, len(x), group):
            points = x[start : start + group]
            if len(points) not in pullbacks:
                pullbacks[len(points)] = _Pullback(network, points.shape, size, often=True)
            directions = rng.standard_normal(points.shape)
            for _ in range(steps):
                lengths = np.sqrt(np.sum(directions**2, axis=tuple(range(1, x.ndim)), keepdims=True))
                directions = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
                change = outputs(network, points + eps * directions) - outputs(network, points - eps * directions)
                found = np.linalg.norm(change, axis=1) / (2 * eps)
                if not found.any():  # nowhere does the network change
                    break
                norms[start : start + group] = np.maximum(norms[start : start + group], found)
                directions = pullbacks[len(points)].gradients(points, change)
    return norms
