"""The linear maps of layers as operators in float64, their singular values, and Jacobians of networks.

A `LinearOperator` of SciPy stands for a matrix of shape (outputs, inputs), both flattened as Keras does. It is written
in NumPy from the kernel that inference uses and the geometry of the layer, apart from what the backend computes, so
that either can be held against the other.
"""

import contextlib
import functools
import math

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla
from keras import ops
from scipy.special import expit

from lipviz import normalizers as nm
from lipviz.layers import ConstrainedKernel
from lipviz.layers.unconstrained import PadConv2D
from lipviz.operators.precision import check_varies, float64_copy, float64_scope, outputs, settled
from lipviz.rules.algebra import computes_as, constrained_class, is_linear_otherwise
from lipviz.rules.used import (
    HALF,
    as_computed,
    as_float64,
    batch_normalization_factors,
    known_input_shape,
    named,
    rounded,
    to_numpy,
)

# The smaller side up to which singular values come from an explicit matrix: four seconds on one core.
EXPLICIT_SIDE = 2048
_EXPLICIT_SIZE = 2**25  # entries, 256 MiB
_TOLERANCE = 1e-8  # of the iterative method, relative to σ1²
_COLUMNS = 256  # applied to at a time
_PATCH_ENTRIES = 2**21  # of all patches laid out at once, 16 MiB
_ROWS = 4096  # outputs whose gradients are taken one by one, per sample
_GRADIENTS = 2**22  # entries of gradients at a time

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
AVERAGES = (keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D)
GLOBAL_AVERAGES = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)
_IDENTITIES = (keras.layers.Reshape, keras.layers.Identity)


# --- operators ---


class Convolution(sla.LinearOperator):
    """A convolution as Keras computes it, without bias, matrix-free. With no spatial axis it is a matrix.

    Args:
        kernel: Array of shape ``(*kernel size, in / groups, out)``.
        sizes: Spatial sizes of the input, one per axis.
        strides: Strides, one per axis; all 1 by default.
        padding: "valid", "same" or "causal", with zeros.
        dilations: Distance of neighbouring entries of a patch, one per axis; all 1 by default.
        groups: Number of groups that channels are split into.
        channels_first: Whether images are flattened with their channels first.

    Attributes:
        input_shape: Shape of an input, without the batch.
        output_shape: Shape of an output, without the batch.

    Raises:
        ValueError: If shapes do not fit, or the output is empty.
    """

    def __init__(self, kernel, sizes=(), strides=None, padding="valid", dilations=None, groups=1, channels_first=False):
        self.kernel = np.asarray(kernel, np.float64)
        self.sizes = tuple(sizes)
        self.strides = (1,) * len(self.sizes) if strides is None else tuple(strides)
        self.padding = padding
        self.dilations = (1,) * len(self.sizes) if dilations is None else tuple(dilations)
        self.groups = groups
        self.channels_first = channels_first
        *reach, channels, filters = self.kernel.shape
        if len(reach) != len(self.sizes) or filters % groups:
            raise ValueError(
                "Expected a kernel of shape (*kernel size, in / groups, out), with as many axes as there are sizes. "
                f"Received: kernel of shape {self.kernel.shape}, sizes {self.sizes}, groups {groups}"
            )
        axes = zip(self.sizes, reach, self.strides, self.dilations, strict=True)
        axes = [_count_and_before(n, (k - 1) * d + 1, s, padding) for n, k, s, d in axes]
        self.counts, self.before = tuple(c for c, _ in axes), tuple(b for _, b in axes)
        if min(self.counts, default=1) < 1:
            raise ValueError(f"An input of sizes {self.sizes} is smaller than the kernel {self.kernel.shape}.")
        self.input_shape = self._flat((*self.sizes, channels * groups))
        self.output_shape = self._flat((*self.counts, filters))
        super().__init__(np.dtype(np.float64), (math.prod(self.output_shape), math.prod(self.input_shape)))

    def _flat(self, shape):
        return (shape[-1], *shape[:-1]) if self.channels_first else shape

    def _images(self, columns, shape):
        """Columns of shape (entries, n) as images (n, *sizes, channels)."""
        images = columns.T.reshape(-1, *shape)
        return np.moveaxis(images, 1, -1) if self.channels_first else images

    def _columns(self, images):
        images = np.moveaxis(images, -1, 1) if self.channels_first else images
        return images.reshape(len(images), -1).T

    @functools.cached_property
    def _taps(self):
        """For each entry of a patch: its index, and the outputs and inputs that it connects, as slices."""
        found = []
        for tap in np.ndindex(*self.kernel.shape[:-2]):
            axes = zip(self.sizes, self.counts, self.strides, self.dilations, self.before, tap, strict=True)
            pairs = [_connected(n, c, s, t * d - b) for n, c, s, d, b, t in axes]
            if None not in pairs:
                found.append((tap, (slice(None), *(o for o, _ in pairs)), (slice(None), *(i for _, i in pairs))))
        return found

    @functools.cached_property
    def _stacked(self):
        """The matrices of those taps, of shape (taps, in, out)."""
        return np.array([self.kernel[tap] for tap, _, _ in self._taps])

    def _fits(self, images):
        """Whether all patches are laid out at once, and multiplied in one call in the place of one for each tap."""
        entries = len(images) * math.prod(self.counts) * len(self._taps) * self.kernel.shape[-2]
        return self.groups == 1 and len(self._taps) > 1 and entries <= _PATCH_ENTRIES

    def _product(self, x, matrix):
        """Images of shape (..., channels) times a matrix, or group by group."""
        if self.groups == 1:
            return x @ matrix
        x = x.reshape(*x.shape[:-1], self.groups, -1)
        return np.einsum("...gi,igo->...go", x, matrix.reshape(len(matrix), self.groups, -1)).reshape(*x.shape[:-2], -1)

    def _adjoint_product(self, y, matrix):
        if self.groups == 1:
            return y @ matrix.T
        y = y.reshape(*y.shape[:-1], self.groups, -1)
        return np.einsum("...go,igo->...gi", y, matrix.reshape(len(matrix), self.groups, -1)).reshape(*y.shape[:-2], -1)

    def _matmat(self, columns):
        x = self._images(columns, self.input_shape)
        if self._fits(x):
            patches = np.zeros((len(x), *self.counts, len(self._taps), x.shape[-1]))
            for number, (_, out, into) in enumerate(self._taps):
                patches[(*out, number)] = x[into]
            matrix = self._stacked.reshape(-1, self.kernel.shape[-1])
            y = patches.reshape(-1, len(matrix)) @ matrix
            return self._columns(y.reshape(len(x), *self.counts, -1))
        y = np.zeros((len(x), *self.counts, self.kernel.shape[-1]))
        for tap, out, into in self._taps:
            y[out] += self._product(x[into], self.kernel[tap])
        return self._columns(y)

    def _rmatmat(self, columns):
        y = self._images(columns, self.output_shape)
        x = np.zeros((len(y), *self.sizes, self.kernel.shape[-2] * self.groups))
        if self._fits(y):
            patches = y.reshape(-1, y.shape[-1]) @ self._stacked.transpose(0, 2, 1)
            for (_, out, into), patch in zip(self._taps, patches.reshape(-1, *y.shape[:-1], x.shape[-1]), strict=True):
                x[into] += patch[out]
            return self._columns(x)
        for tap, out, into in self._taps:
            x[into] += self._adjoint_product(y[out], self.kernel[tap])
        return self._columns(x)

    def _matvec(self, x):
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _rmatvec(self, y):
        return self._rmatmat(y.reshape(-1, 1))[:, 0]

    def blocks(self):
        """Operators of which this one is the direct sum, each kind once: its singular values are all of theirs.

        Returns:
            A list of `Convolution`: groups apart, and one image of one pixel where pixels do not meet.
        """
        parts = np.split(self.kernel, self.groups, axis=-1)
        parts = list({part.tobytes(): part for part in parts}.values())
        if math.prod(self.kernel.shape[:-2]) == 1 and set(self.strides) <= {1}:
            return [Convolution(part.reshape(part.shape[-2:])) for part in parts]
        return [Convolution(part, self.sizes, self.strides, self.padding, self.dilations) for part in parts]


def _count_and_before(size, reach, stride, padding):
    """Number of patches along an axis, and of zeros before the first entry."""
    if padding == "same":
        count = -(-size // stride)
        return count, max((count - 1) * stride + reach - size, 0) // 2
    if padding == "causal":
        return (size - 1) // stride + 1, reach - 1
    if padding == "valid":
        return (size - reach) // stride + 1, 0
    raise ValueError(f"`padding` must be 'valid', 'same' or 'causal'. Received: {padding!r}")


def _connected(size, count, stride, offset):
    """Slices of the outputs o and of the inputs o·stride + offset, where both exist; None where they nowhere do."""
    first = max(0, -(offset // stride))
    last = min(count - 1, (size - 1 - offset) // stride)
    if last < first:
        return None
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)


def _diagonal(values):
    """A diagonal matrix as an operator."""
    return sla.LinearOperator(
        (len(values), len(values)),
        matvec=lambda x: values * x.reshape(-1),
        rmatvec=lambda x: values * x.reshape(-1),
        matmat=lambda x: values[:, None] * x,
        rmatmat=lambda x: values[:, None] * x,
        dtype=np.float64,
    )


# --- layers ---


def input_shape(layer):
    """Shape of the input that a layer was built for, without the batch.

    Args:
        layer: Built Keras layer.

    Returns:
        A tuple of ints.

    Raises:
        ValueError: If it is not built, has several inputs, or a size is not known.
    """
    if not layer.built:
        raise ValueError(f"{named(layer)} must be built before it is measured: call it on data, or `build` it.")
    shape = known_input_shape(layer)
    if shape is None or not all(length is None or isinstance(length, int | np.integer) for length in shape):
        raise ValueError(
            f"{named(layer)} must have one input of a known shape: expected a layer that was built by `build`, or is "
            f"part of a Sequential or functional model. Received: {shape}"
        )
    if None in shape[1:]:
        raise ValueError(
            f"The singular values of {named(layer)} depend on the size of its input, which is not known. "
            f"Expected a layer built for a fixed size. Received the input shape: {tuple(shape)}"
        )
    return tuple(shape[1:])


def used_kernel(layer, name="kernel"):
    """The kernel that inference uses, in float64: the constrained one where there is one, rounded where less is used.

    Args:
        layer: Built Keras layer.
        name: The attribute that holds the kernel.

    Raises:
        ValueError: If it holds NaN or Inf, or is quantized.
    """
    if getattr(layer, "quantization_mode", None) is not None:
        raise ValueError(f"{named(layer)} is quantized: expected a kernel of floating-point numbers.")
    kernel = getattr(layer, name)
    if isinstance(layer, ConstrainedKernel):
        with float64_scope() if layer.variable_dtype == "float64" else contextlib.nullcontext():
            kernel = layer.used_kernel()
    return as_computed(layer, kernel, f"The {name.replace('_', ' ')} of {named(layer)}")


def residual_shares(layer):
    """What a `LipResidual` multiplies its two inputs by: k·sigmoid(alpha) and k·sigmoid(−alpha), a pair of floats.

    In half precision each is what rounding makes of it, and of two neighbours that are equally near the larger one.

    Raises:
        ValueError: If the weight holds NaN or Inf.
    """
    alpha = float(as_float64(layer.alpha, f"The weight of '{layer.name}'"))
    # 1 − sigmoid(40) is 0 by rounding, and sigmoid(−40) = 4e-18 is not.
    shares = [layer.k_coef_lip * float(expit(x)) for x in (alpha, -alpha)]
    if layer.compute_dtype in HALF:
        shares = [float(rounded(share * (1 + 1e-6), layer.compute_dtype)) for share in shares]
    return tuple(shares)


def linear_operator(layer, shape=None):
    """The linear part of a layer at inference: without bias and activation.

    Args:
        layer: Built Keras layer with one input, of lipviz or not: dense, convolutional (transposed, depthwise and
            separable ones too), average pooling, batch normalization, flattening, or with a `linear(inputs, kernel)`.
        shape: Shape of its input, without the batch; that which it was built for by default.

    Returns:
        A SciPy `LinearOperator` of shape (outputs, inputs), float64. It holds a copy of the weights.

    Raises:
        TypeError: If the layer's type is not known to be linear.
        ValueError: If the layer is not built for a known size, or its weights are not finite.
    """
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(f"Expected a Keras layer. Received: {type(layer).__name__}")
    shape = input_shape(layer) if shape is None else tuple(shape)
    for kinds, build in _OPERATORS:
        if is_plain(layer, kinds):
            return build(layer, shape)
    if isinstance(layer, ConstrainedKernel) and is_linear_otherwise(layer):
        return _probed(layer, shape)
    raise NotLinearError(f"{named(layer)} is not known to be linear.")


def is_plain(layer, kinds):
    """Whether a layer computes what one of some Keras classes does, apart from which kernel it uses."""
    if isinstance(layer, ConstrainedKernel):
        ours = constrained_class(layer)
        return ours is not None and issubclass(ours, kinds)
    return any(isinstance(layer, kind) and computes_as(layer, kind) for kind in kinds)


def operator_blocks(layer, shape=None):
    """Operators whose singular values, all together, are those of a layer's linear part; see `linear_operator`.

    They are cheaper than the whole: the matrix of a dense layer whatever its other axes, one channel of a pooling or of
    a depthwise convolution, the convolution whose adjoint a transposed one is.
    """
    shape = input_shape(layer) if shape is None else tuple(shape)
    operator = linear_operator(layer, shape)
    if is_plain(layer, TRANSPOSED):
        operator = operator.T
    elif is_plain(layer, AVERAGES):
        operator = _average(layer, (*_spatial(layer, shape), 1), channels_first=False)
    return operator.blocks() if isinstance(operator, Convolution) else [operator]


def _channels_first(layer):
    return getattr(layer, "data_format", "channels_last") == "channels_first"


def _spatial(layer, shape):
    return shape[1:] if _channels_first(layer) else shape[:-1]


def geometry(layer, shape):
    """Arguments of `Convolution` for a convolutional layer of Keras, but for kernel and groups."""
    return {
        "sizes": _spatial(layer, shape),
        "strides": layer.strides,
        "padding": layer.padding,
        "dilations": layer.dilation_rate,
        "channels_first": _channels_first(layer),
    }


def _dense(layer, shape):
    kernel = used_kernel(layer)
    return Convolution(kernel.reshape((1,) * (len(shape) - 1) + kernel.shape), shape[:-1])


def _convolution(layer, shape):
    return Convolution(used_kernel(layer), **geometry(layer, shape), groups=layer.groups)


def _padded_convolution(layer, shape):
    """A convolution without padding after one that copies entries to where they are padded."""
    if layer.pads is None:
        return _convolution(layer, shape)
    first, sizes = _channels_first(layer), _spatial(layer, shape)
    mode = {"circular": "wrap"}.get(layer.padding, layer.padding)
    places = np.arange(1, math.prod(shape) + 1).reshape(shape)  # 0 is what "constant" adds
    pads = [(p, p) for p in layer.pads]
    places = np.pad(places, [(0, 0), *pads] if first else [*pads, (0, 0)], mode=mode).reshape(-1)
    (rows,) = np.nonzero(places)
    copies = scipy.sparse.csr_array(
        (np.ones(len(rows)), (rows, places[rows] - 1)), shape=(len(places), math.prod(shape))
    )
    arguments = geometry(layer, shape) | {
        "sizes": [n + 2 * p for n, p in zip(sizes, layer.pads, strict=True)],
        "padding": "valid",
    }
    return Convolution(used_kernel(layer), **arguments, groups=layer.groups) @ sla.aslinearoperator(copies)


def _transposed(layer, shape):
    """A transposed convolution: the adjoint of the convolution that reads its output."""
    if getattr(layer, "output_padding", None) is not None:
        raise ValueError(f"{named(layer)}: expected output_padding=None. Received: {layer.output_padding}")
    arguments = geometry(layer, shape)
    arguments["sizes"] = _spatial(layer, layer.compute_output_shape((1, *shape))[1:])
    return Convolution(used_kernel(layer), **arguments).T


def per_channel(kernel):
    """The kernel (*size, in, multiplier) of a depthwise convolution as one of a grouped convolution."""
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


def _depthwise(layer, shape):
    kernel = used_kernel(layer)
    return Convolution(per_channel(kernel), **geometry(layer, shape), groups=kernel.shape[-2])


def _separable(layer, shape):
    depthwise, pointwise = (used_kernel(layer, name) for name in ("depthwise_kernel", "pointwise_kernel"))
    first = Convolution(per_channel(depthwise), **geometry(layer, shape), groups=depthwise.shape[-2])
    return Convolution(pointwise, first.counts, channels_first=first.channels_first) @ first


def _average(layer, shape, channels_first=None):
    """Average pooling: each window over the number of its entries that are no padding."""
    first = _channels_first(layer) if channels_first is None else channels_first
    sizes, channels = (shape[1:], shape[0]) if first else (shape[:-1], shape[-1])
    pool = tuple(layer.pool_size)
    weight = 1 / math.prod(pool) if layer.padding == "valid" else 1.0
    kernel = np.full((*pool, 1, channels), weight)
    sums = Convolution(kernel, sizes, layer.strides, layer.padding, groups=channels, channels_first=first)
    return sums if layer.padding == "valid" else _diagonal(1 / (sums @ np.ones(sums.shape[1]))) @ sums


def _global_average(layer, shape):
    sizes = _spatial(layer, shape)
    channels = math.prod(shape) // math.prod(sizes)
    kernel = np.full((*sizes, 1, channels), 1 / math.prod(sizes))
    return Convolution(kernel, sizes, groups=channels, channels_first=_channels_first(layer))


def _batch_normalization(layer, shape):
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - len(shape)  # counted from the end: there is no batch
    factors = batch_normalization_factors(layer).reshape((-1,) + (1,) * (-axis - 1))
    return _diagonal(np.broadcast_to(factors, shape).reshape(-1))


def _identity(layer, shape):
    return _diagonal(np.ones(math.prod(shape)))


def _flatten(layer, shape):
    """Channels first are flattened as if they were last."""
    if not _channels_first(layer) or len(shape) < 2:
        return _identity(layer, shape)
    order = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).reshape(-1)
    places = np.arange(len(order))
    return sla.aslinearoperator(scipy.sparse.csr_array((np.ones(len(order)), (places, order))))


def _probed(layer, shape):
    """A constrained layer of someone else's: its `linear` applied to every unit vector."""
    size = math.prod(shape)
    if size > 4 * EXPLICIT_SIDE:
        raise ValueError(f"{named(layer)} has too many inputs, {size}, to be probed one by one.")
    kernel = used_kernel(layer)
    columns = []
    with float64_scope():
        for start in range(0, size, _COLUMNS):
            units = np.eye(min(_COLUMNS, size - start), size, start).reshape(-1, *shape)
            images = layer.linear(ops.convert_to_tensor(units), ops.convert_to_tensor(kernel))
            columns.append(to_numpy(ops.convert_to_numpy(images)).reshape(len(units), -1).T)
    matrix = np.concatenate(columns, axis=1)
    _check_linear(layer, kernel, shape, matrix)
    return sla.aslinearoperator(matrix)


def _check_linear(layer, kernel, shape, matrix):
    """Raise NotLinearError if the `linear` of a layer is not the matrix of its unit vectors, at inputs of any size."""
    x = np.random.default_rng(0).standard_normal((7, *shape)) * 10.0 ** np.arange(-3, 4).reshape(-1, *[1] * len(shape))
    with float64_scope():
        images = layer.linear(ops.convert_to_tensor(x), ops.convert_to_tensor(kernel))
        images = to_numpy(ops.convert_to_numpy(images)).reshape(len(x), -1)
    x = x.reshape(len(x), -1)
    allowed = 1e-6 * np.linalg.norm(matrix) * np.linalg.norm(x, axis=1)
    if not (np.linalg.norm(images - x @ matrix.T, axis=1) <= allowed).all():
        raise NotLinearError(f"The `linear` of {named(layer)} is not linear.")


class NotLinearError(TypeError):
    """A layer is not known to be linear, or is not."""


_OPERATORS = (
    ((keras.layers.Dense,), _dense),
    ((PadConv2D,), _padded_convolution),
    (TRANSPOSED, _transposed),
    (CONVOLUTIONS, _convolution),
    (DEPTHWISE, _depthwise),
    (SEPARABLE, _separable),
    (AVERAGES, _average),
    (GLOBAL_AVERAGES, _global_average),
    ((keras.layers.BatchNormalization,), _batch_normalization),
    ((keras.layers.Flatten,), _flatten),
    (_IDENTITIES, _identity),
)


# --- singular values ---


def explicit_matrix(operator):
    """The matrix of an operator, float64, of shape (outputs, inputs); as large as that is."""
    rows, columns = operator.shape
    if rows < columns:
        return explicit_matrix(operator.T).T
    units = (np.eye(columns, min(_COLUMNS, columns - i), -i) for i in range(0, columns, _COLUMNS))
    return np.concatenate([operator @ block for block in units], axis=1)


def extreme_singular_values(operator, explicit_side=EXPLICIT_SIDE):
    """Smallest and largest singular value of an operator, among the min(outputs, inputs) that it has.

    * From an explicit matrix, by SVD in float64, where its smaller side is at most `explicit_side`: errors are about
      1e-15·σ1. Where the matrix itself would not fit (more than 2^25 entries) from the smaller Gram matrix: 1e-15·σ1²
      in the squares.
    * Else matrix-free, by Lanczos' method (ARPACK) on the smaller Gram matrix, until the residual is below 1e-8·σ1²:
      then the square of either is known to that, the largest from below, the smallest from above. A σ of 0 may read as
      1e-4·σ1. This is a measurement, not a proof.

    Args:
        operator: SciPy `LinearOperator`, or a matrix.
        explicit_side: Largest smaller side for an explicit matrix.

    Returns:
        The tuple (smallest, largest) of floats.

    Raises:
        scipy.sparse.linalg.ArpackNoConvergence: If the iteration does not arrive.
    """
    operator = sla.aslinearoperator(operator)
    side = min(operator.shape)
    if side <= max(explicit_side, 2):  # Lanczos' method needs three dimensions
        if math.prod(operator.shape) <= _EXPLICIT_SIZE:
            values = np.linalg.svd(explicit_matrix(operator), compute_uv=False)
            return float(values[-1]), float(values[0])
        squares = np.linalg.eigvalsh(explicit_matrix(_gram(operator)))
    else:
        squares = _extreme_eigenvalues(_gram(operator))
    return float(np.sqrt(max(squares[0], 0.0))), float(np.sqrt(max(squares[-1], 0.0)))


def _gram(operator):
    """The smaller of A Aᵀ and Aᵀ A."""
    return operator @ operator.T if operator.shape[0] < operator.shape[1] else operator.T @ operator


def _extreme_eigenvalues(gram):
    """Smallest and largest eigenvalue of a large positive semi-definite operator, to 1e-8 of the largest."""
    side = gram.shape[0]
    settings = {
        "k": 1,
        "which": "LA",
        "return_eigenvectors": False,
        "tol": _TOLERANCE,
        "v0": np.random.default_rng(0).standard_normal(side),
        "ncv": min(48, side),
    }
    if not np.any(gram @ settings["v0"]):
        return 0.0, 0.0
    largest = float(sla.eigsh(gram, **settings)[0])
    # Turned over, so that the tolerance is one of the largest, not of a smallest that may be 0.
    turned = sla.LinearOperator(
        gram.shape, matvec=lambda x: largest * x.reshape(-1) - gram @ x.reshape(-1), dtype=float
    )
    if np.linalg.norm(turned @ settings["v0"]) <= _TOLERANCE * largest * np.linalg.norm(settings["v0"]):
        return largest, largest
    return largest - float(sla.eigsh(turned, **settings)[0]), largest


# --- networks ---


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
