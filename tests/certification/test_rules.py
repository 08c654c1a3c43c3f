"""Every rule, held against float64 Jacobians of its layer or operation, over the arguments that this may have.

`RECIPES` and `OPERATIONS` say how to draw each one. What has a rule and no recipe fails, and so does a layer of Keras,
or an operation of `keras.ops`, that has neither a rule nor a line in `unknown_layers.txt` or `unknown_operations.txt`.
Some of these are not Lipschitz (products of values, powers, rounding), some nobody needed yet. Whoever writes a rule
takes the line away; whoever updates Keras and finds a new name writes a rule or adds a line.
"""

import importlib
import inspect
import math
import pkgutil
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from keras import ops
from keras.src import ops as their_ops
from keras.src.activations import activations as their_activations
from keras.src.ops import numpy as their_numpy

import lipviz
from lipviz import certification
from lipviz import layers as lip
from lipviz.certification import merging
from lipviz.operators.precision import float64_scope
from lipviz.parametrizations import SpectralParametrization
from lipviz.rules import registry
from lipviz.rules.registry import find_rule, layer_bound
from tests.support import examples

K = keras.layers
NORMS = (1, 2, math.inf)
JAX = keras.backend.backend() == "jax"  # where Keras computes some functions in float32
# What TensorFlow computes in float32 on CPUs, whatever it is asked for.
IN_FLOAT32 = (K.MaxPooling3D, K.AveragePooling3D, K.UpSampling2D)

# What takes half a second or more.
SLOW = (
    K.Dense,
    K.Conv1D,
    K.Conv2D,
    K.LeakyReLU,
    lip.SpectralDense,
    lip.FrobeniusDense,
    lip.SpectralConv1D,
    lip.SpectralConv2D,
    lip.SpectralConv2DTranspose,
    lip.FrobeniusConv2D,
    lip.AOLDense,
    lip.AOLConv2D,
    lip.AOCConv2D,
    lip.CayleyDense,
    lip.BRODense,
    lip.SLLDense,
    lip.SLLConv2D,
)

ints = st.integers
booleans = st.booleans()
slopes = st.sampled_from([0.0, 0.3, 1.1, 2.7])  # which no dtype holds exactly
factors = st.sampled_from([0.7, 1.0, 3.3])
ACTIVATIONS = st.sampled_from([None, "relu", "tanh", "gelu", "softmax", "leaky_relu"])


def shapes(least=1, most=3, largest=4):
    return st.lists(ints(1, largest), min_size=least, max_size=most).map(tuple)


def windows(rank, largest):
    return st.lists(ints(1, largest), min_size=rank, max_size=rank).map(tuple)


# --- Jacobians ---


def assert_bounded(function, shape, bounds, seed, dtype="float64", count=2):
    """No pair along the worst direction of a Jacobian beats the bounds {norm: upper} of a function of a batch.

    Jacobians are central differences at random points, near 0 and far from it. What is asserted is said of pairs, so
    that neither kinks nor truncation matter; rounding moves a ratio by that of the two values over the distance.
    """
    rng = np.random.default_rng(seed)
    size = math.prod(shape)
    step, unit = (1e-2, 2.0**-23) if dtype == "float32" or JAX else (1e-6, 2.0**-52)

    def values(points):
        with float64_scope():
            found = function(points.reshape(-1, *shape).astype(dtype))
            return np.asarray(ops.convert_to_numpy(found), np.float64).reshape(len(points), -1)

    for scale in 10.0 ** rng.uniform(-3, 1.5, count):
        point = scale * rng.standard_normal(size)
        change = values(np.concatenate([point + step * np.eye(size), point - step * np.eye(size)])).reshape(2, size, -1)
        directions = steepest((change[0] - change[1]).T)
        ends = np.concatenate([point + step * directions, point - step * directions]).astype(dtype).astype(np.float64)
        images = values(ends)
        for row, norm in enumerate(NORMS):
            distance = np.linalg.norm(ends[row] - ends[row + 3], norm)
            stretched = np.linalg.norm(images[row] - images[row + 3], norm)
            sizes = np.linalg.norm(images[row], norm) + np.linalg.norm(images[row + 3], norm) + bounds[norm] * scale
            room = 8 * size * unit * (sizes + bounds[norm] * np.linalg.norm(point, norm))
            assert stretched <= bounds[norm] * distance * (1 + 1e-9) + room, norm


def assert_singular_values(layer, shape, seed):
    """Those of a Jacobian at a random point, by central differences, are within what the rule of a layer states."""
    stated = layer_bound(layer, shape, 2).singular_values
    if stated is None or JAX or layer.compute_dtype != "float64":
        return
    point, step = np.random.default_rng(seed).standard_normal(math.prod(shape)), 1e-6
    moves = step * np.eye(len(point))
    images = layer(np.concatenate([point + moves, point - moves]).reshape(-1, *shape), **inference(layer))
    images = np.asarray(ops.convert_to_numpy(images), np.float64).reshape(2, len(point), -1)
    values = np.linalg.svd((images[0] - images[1]).T / (2 * step), compute_uv=False)
    room = 1e-6 * (1 + stated[1])
    assert stated[0] - room <= values[-1] <= values[0] <= stated[1] + room


def steepest(jacobian):
    """Directions that a matrix stretches most in l1, l2 and l∞: a column, a singular vector, the signs of a row."""
    column = np.eye(jacobian.shape[1])[np.abs(jacobian).sum(axis=0).argmax()]
    signs = np.sign(jacobian[np.abs(jacobian).sum(axis=1).argmax()])
    return np.stack([column, np.linalg.svd(jacobian)[2][0], np.where(signs == 0, 1.0, signs)])


# --- layers of one input ---

RECIPES = {}


def recipe(*classes):
    """Enter a function of (draw, class) that returns a layer and the shape of its input."""

    def enter(function):
        RECIPES.update(dict.fromkeys(classes, function))
        return function

    return enter


@recipe(K.Dense, lip.SpectralDense, lip.FrobeniusDense, lip.AOLDense, lip.CayleyDense, lip.BRODense)
def _dense(draw, cls):
    return cls(draw(ints(1, 4)), activation=draw(ACTIVATIONS), use_bias=draw(booleans)), draw(shapes())


def _geometry(draw, rank, paddings=("valid", "same")):
    dilated = draw(booleans)
    return {
        "kernel_size": draw(windows(rank, 3)),
        "strides": 1 if dilated else draw(windows(rank, 3)),
        "dilation_rate": draw(windows(rank, 2)) if dilated else 1,
        "padding": draw(st.sampled_from(paddings)),
    }


def _image(draw, rank, channels=3):
    return (*draw(windows(rank, 6 if rank < 3 else 3)), draw(ints(1, channels)))


def _rank(cls):
    return int(next(c for c in cls.__name__ if c.isdigit()))


@recipe(K.Conv1D, K.Conv2D, K.Conv3D)
def _convolution(draw, cls):
    rank = _rank(cls)
    groups = draw(ints(1, 2)) if rank < 3 else 1
    image = (*_image(draw, rank)[:-1], groups * draw(ints(1, 2)))
    paddings = ("valid", "same", "causal") if rank == 1 else ("valid", "same")
    return cls(groups * draw(ints(1, 2)), groups=groups, **_geometry(draw, rank, paddings)), image


@recipe(K.Conv1DTranspose, K.Conv2DTranspose, K.Conv3DTranspose)
def _transposed(draw, cls):
    arguments = _geometry(draw, _rank(cls))
    arguments["dilation_rate"] = 1  # which TensorFlow does not compute on CPUs
    return cls(draw(ints(1, 3)), activation=draw(ACTIVATIONS), **arguments), _image(draw, _rank(cls))


@recipe(K.DepthwiseConv1D, K.DepthwiseConv2D)
def _depthwise(draw, cls):
    arguments = _geometry(draw, _rank(cls))
    if isinstance(arguments["strides"], tuple):
        arguments["strides"] = arguments["strides"][0]  # TensorFlow wants equal ones
    return cls(depth_multiplier=draw(ints(1, 2)), **arguments), _image(draw, _rank(cls))


@recipe(lip.SpectralDepthwiseConv2D)
def _constrained_depthwise(draw, cls):
    arguments = _geometry(draw, 2) | {"bound": draw(st.sampled_from(["coverage", "tight"]))}
    if isinstance(arguments["strides"], tuple):
        arguments["strides"] = arguments["strides"][0]
    return cls(depth_multiplier=draw(ints(1, 2)), k_coef_lip=draw(factors), **arguments), _image(draw, 2)


@recipe(K.SeparableConv1D, K.SeparableConv2D)
def _separable(draw, cls):
    arguments = _geometry(draw, _rank(cls))
    if isinstance(arguments["strides"], tuple):
        arguments["strides"] = arguments["strides"][0]
    image = _image(draw, _rank(cls))
    return cls(draw(ints(1, 4)), depth_multiplier=draw(ints(1, 2)), **arguments), image


@recipe(lip.PadConv2D, lip.SpectralConv2D, lip.FrobeniusConv2D, lip.AOLConv2D)
@recipe(lip.SpectralConv2DTranspose, lip.SpectralConv1D)
def _padded(draw, cls):
    arguments = {"padding": "same"}
    if cls is lip.PadConv2D:
        arguments["padding"] = draw(st.sampled_from(["valid", "same", "circular", "reflect"]))
    if cls not in (lip.PadConv2D, lip.SpectralConv2DTranspose):
        arguments["strides"] = draw(ints(1, 2))
    return cls(draw(ints(1, 3)), draw(ints(1, 3)), **arguments), _image(draw, _rank(cls))


@recipe(lip.AOCConv2D)
def _orthogonal(draw, cls):
    size, groups = draw(ints(1, 3)), draw(ints(1, 2))
    padding = draw(st.sampled_from(["valid", "same", *(["circular"] if size % 2 else [])]))
    strides = 1 if padding == "circular" else draw(ints(1, size))
    image = (*_image(draw, 2)[:-1], groups * draw(ints(1, 2)))
    return cls(groups * draw(ints(1, 2)), size, strides, padding, groups=groups, k_coef_lip=draw(factors)), image


@recipe(lip.AOCConv2DTranspose)
def _orthogonal_transposed(draw, cls):
    size = draw(ints(1, 3))
    arguments = {"padding": draw(st.sampled_from(["valid", "same"])), "k_coef_lip": draw(factors)}
    return cls(draw(ints(1, 3)), size, draw(ints(1, size)), **arguments), _image(draw, 2)


@recipe(lip.BROConv2D)
def _reflecting(draw, cls):
    return cls(draw(ints(1, 3)), draw(windows(2, 3)), k_coef_lip=draw(factors)), _image(draw, 2)


@recipe(lip.SLLDense, lip.SLLConv2D)
def _block(draw, cls):
    arguments = {"activation": draw(st.sampled_from(["relu", "tanh", "elu"])), "k_coef_lip": draw(factors)}
    if cls is lip.SLLDense:
        return cls(draw(ints(1, 4)), use_bias=draw(booleans), **arguments), draw(shapes())
    return cls(draw(ints(1, 3)), draw(windows(2, 3)), **arguments), _image(draw, 2)


class Tokens(lip.ConstrainedKernel, K.EinsumDense):
    vanilla_class = K.EinsumDense
    parametrization_class = SpectralParametrization

    def linear(self, inputs, kernel):
        return ops.einsum("bpf,pq->bqf", inputs, kernel)


@recipe(lip.ConstrainedKernel)
def _tokens(draw, cls):
    return Tokens("bpf,pq->bqf", output_shape=(draw(ints(1, 4)), None)), draw(shapes(2, 2))


@recipe(
    K.MaxPooling1D,
    K.MaxPooling2D,
    K.MaxPooling3D,
    K.AveragePooling1D,
    K.AveragePooling2D,
    K.AveragePooling3D,
)
def _pooling(draw, cls):
    rank = _rank(cls)
    arguments = {"pool_size": draw(windows(rank, 3)), "padding": draw(st.sampled_from(["valid", "same"]))}
    return cls(strides=draw(st.none() | windows(rank, 3)), **arguments), _image(draw, rank, 2)


@recipe(
    K.GlobalAveragePooling1D,
    K.GlobalAveragePooling2D,
    K.GlobalAveragePooling3D,
    K.GlobalMaxPooling1D,
    K.GlobalMaxPooling2D,
    K.GlobalMaxPooling3D,
)
def _global_pooling(draw, cls):
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    return cls(data_format=data_format, keepdims=draw(booleans)), _image(draw, _rank(cls), 3)


@recipe(lip.ScaledAveragePooling2D, lip.ScaledL2NormPooling2D)
def _scaled_pooling(draw, cls):
    return cls(draw(ints(1, 3)), k_coef_lip=draw(factors)), _image(draw, 2)


@recipe(lip.ScaledGlobalAveragePooling2D, lip.ScaledGlobalL2NormPooling2D)
def _scaled_global(draw, cls):
    return cls(k_coef_lip=draw(factors)), _image(draw, 2)


@recipe(lip.InvertibleDownSampling, lip.InvertibleUpSampling)
def _resampling(draw, cls):
    size = draw(ints(1, 2))
    return cls(size, k_coef_lip=draw(factors)), (2 * draw(ints(1, 2)), 2 * draw(ints(1, 2)), 4)


@recipe(K.InputLayer)
def _input(draw, cls):
    return K.Identity(), draw(shapes())  # an input layer is never called


@recipe(
    K.Flatten,
    K.Identity,
    K.ActivityRegularization,
    K.Dropout,
    K.AlphaDropout,
    K.GaussianDropout,
    K.GaussianNoise,
)
def _as_it_is(draw, cls):
    rates = {K.ActivityRegularization: {"l1": 0.1}, K.Flatten: {"data_format": draw(st.none())}, K.Identity: {}}
    return cls(**rates.get(cls, {("stddev" if cls is K.GaussianNoise else "rate"): 0.5})), draw(shapes())


@recipe(K.SpatialDropout1D, K.SpatialDropout2D, K.SpatialDropout3D)
def _spatial_dropout(draw, cls):
    return cls(0.5), _image(draw, _rank(cls))


@recipe(K.Reshape)
def _reshape(draw, cls):
    a, b = draw(ints(1, 4)), draw(ints(1, 4))
    return cls(draw(st.sampled_from([(b, a), (-1,), (a * b, 1)]))), (a, b)


@recipe(K.Permute)
def _permute(draw, cls):
    shape = draw(shapes())
    return cls(draw(st.permutations(range(1, len(shape) + 1)))), shape


@recipe(K.ZeroPadding1D, K.ZeroPadding2D, K.ZeroPadding3D)
def _zero_padding(draw, cls):
    rank = _rank(cls)
    pads = tuple((draw(ints(0, 2)), draw(ints(0, 2))) for _ in range(rank))
    return cls(pads[0] if rank == 1 else pads), _image(draw, rank)


@recipe(K.Cropping1D, K.Cropping2D, K.Cropping3D)
def _cropping(draw, cls):
    rank = _rank(cls)
    cut = tuple((draw(ints(0, 1)), draw(ints(0, 1))) for _ in range(rank))
    return cls(cut[0] if rank == 1 else cut), (*(3 for _ in range(rank)), draw(ints(1, 2)))


@recipe(K.UpSampling1D, K.UpSampling2D, K.UpSampling3D)
def _up_sampling(draw, cls):
    rank = _rank(cls)
    size = draw(ints(1, 3)) if rank == 1 else draw(windows(rank, 3))
    more = {"interpolation": draw(st.sampled_from(["nearest", "bilinear", "bicubic"]))} if rank == 2 else {}
    return cls(size, **more), _image(draw, rank, 2)


@recipe(K.RepeatVector)
def _repeat(draw, cls):
    return cls(draw(ints(1, 4))), draw(shapes(1, 1))


@recipe(K.Masking)
def _masking(draw, cls):
    return cls(draw(st.sampled_from([0.0, 1.0]))), draw(shapes(2, 2))


@recipe(K.TimeDistributed)
def _time_distributed(draw, cls):
    inner = draw(st.sampled_from([K.Dense, K.LayerNormalization, K.PReLU]))
    layer = inner(3, activation="selu", dtype="float64") if inner is K.Dense else inner(dtype="float64")
    return cls(layer), draw(shapes(2, 2))


@recipe(K.SpectralNormalization)
def _spectral_normalization(draw, cls):
    return cls(K.Dense(draw(ints(1, 4)), activation=draw(ACTIVATIONS), dtype="float64")), draw(shapes(1, 2))


@recipe(K.Activation)
def _activation(draw, cls):
    known = ["relu", "tanh", "softmax", "log_softmax", "silu", "gelu", "selu", "hard_silu", "celu"]
    return cls(draw(st.sampled_from(known))), draw(shapes())


@recipe(K.ReLU)
def _relu(draw, cls):
    limits = draw(st.sampled_from([None, 0.0, 0.5, 6.0]))
    return cls(max_value=limits, negative_slope=draw(slopes), threshold=draw(st.sampled_from([0.0, 0.5]))), draw(
        shapes()
    )


@recipe(K.LeakyReLU, K.ELU)
def _leaky(draw, cls):
    return cls(draw(slopes)), draw(shapes())


@recipe(K.PReLU, lip.PReLUlip)
def _prelu(draw, cls):
    more = {"k_coef_lip": draw(factors)} if cls is lip.PReLUlip else {}
    shape = draw(shapes(1, 3))
    shared = draw(st.sampled_from([None, [1], list(range(1, len(shape) + 1))]))
    return cls(alpha_initializer=keras.initializers.RandomNormal(stddev=2.0, seed=0), shared_axes=shared, **more), shape


@recipe(K.Softmax)
def _softmax(draw, cls):
    shape = draw(shapes())
    axis = draw(ints(-len(shape) - 1, len(shape)))
    several = draw(booleans) and len(shape) > 1
    return cls([1, 2] if several else axis), shape


@recipe(lip.SpatialShift)
def _shift(draw, cls):
    arguments = {"padding": draw(st.sampled_from(["circular", "same"])), "k_coef_lip": draw(factors)}
    return cls(draw(ints(1, 2)), draw(st.sampled_from([0.25, 0.1, 0.0])), **arguments), _image(draw, 2, 6)


@recipe(lip.GroupSort, lip.MaxMin, lip.BetaAbs, lip.Householder)
def _sorting(draw, cls):
    more = {"n": draw(st.sampled_from([None, 2]))} if cls is lip.GroupSort else {}
    more |= {"beta": draw(st.sampled_from([0.0, 0.3, 1.0]))} if cls is lip.BetaAbs else {}
    return cls(k_coef_lip=draw(factors), **more), (*draw(shapes(0, 2)), 4)


@recipe(K.BatchNormalization)
def _batch_normalization(draw, cls):
    shape = draw(shapes())
    return cls(axis=draw(st.sampled_from([-1, 1])), scale=draw(booleans), epsilon=draw(factors)), shape


@recipe(K.LayerNormalization)
def _layer_normalization(draw, cls):
    shape = draw(shapes())
    axis = draw(ints(1, len(shape)) | st.sampled_from([-1, list(range(1, len(shape) + 1))]))
    return cls(
        axis=axis, scale=draw(booleans), center=draw(booleans), epsilon=draw(st.sampled_from([1e-3, 0.5]))
    ), shape


@recipe(K.Normalization)
def _normalization(draw, cls):
    shape = draw(shapes())
    values = np.exp(np.random.default_rng(draw(ints(0, 9))).uniform(-3, 3, shape[-1]))
    return cls(mean=values.tolist(), variance=(values**2).tolist(), invert=draw(booleans)), shape


@recipe(K.Rescaling)
def _rescaling(draw, cls):
    scale = draw(st.sampled_from([0.3, -2.0, [1.0, 1.0, 1.0], [3.0, -4.0, 0.1], [[2.0], [1.0]]]))
    offset = draw(st.sampled_from([0.0, 5.0, [1.0, 2.0, 3.0]]))
    return cls(scale, offset=offset), draw(st.sampled_from([(1,), (3,), (2, 3), (2, 1), (1, 1), (4, 1, 1)]))


@recipe(lip.BatchLipNorm, lip.BatchCentering, lip.LayerCentering)
def _centering(draw, cls):
    return cls(k_coef_lip=draw(factors)), _image(draw, 2)


def built(layer, shape, seed):
    """The layer, built, with random weights; None where Keras refuses the shape."""
    rng = np.random.default_rng(seed)
    try:
        with float64_scope():
            layer.build((None, *shape))
            after = layer.compute_output_shape((1, *shape))
    except ValueError:
        return None
    if 0 in after or min(size for size in after if size is not None) < 0:
        return None
    for weight in layer.weights:
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.1, 2.0, weight.shape))
        elif weight.name not in ("u", "sig", "wbar", "count"):
            weight.assign(10.0 ** rng.uniform(-2, 1) * rng.standard_normal(weight.shape))
    if hasattr(layer, "refresh"):
        layer.refresh()
    return layer


def in_dtype(layer, dtype):
    """The layer in a dtype, made anew; what a wrapper holds has it already."""
    if isinstance(layer, K.TimeDistributed | K.SpectralNormalization):
        return type(layer)(layer.layer, dtype=dtype)
    return type(layer).from_config(layer.get_config() | {"dtype": dtype})


def unknown_sizes(shape):
    """The shape with None for all but the channels."""
    return (*(None for _ in shape[:-1]), shape[-1])


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")  # of length 1
@pytest.mark.parametrize(
    "cls", [pytest.param(cls, marks=[pytest.mark.slow] * (cls in SLOW), id=cls.__name__) for cls in RECIPES]
)
def test_no_jacobian_of_a_layer_beats_its_rule(cls):
    finite = []
    dtype = "float32" if cls in IN_FLOAT32 else "float64"

    @given(st.data())
    @settings(max_examples=examples(3))
    def search(data):
        layer, shape = RECIPES[cls](data.draw, cls)
        seed = data.draw(ints(0, 99))
        layer = built(in_dtype(layer, dtype), shape, seed)
        if layer is None:
            reject()
        bounds = {norm: layer_bound(layer, shape, norm).upper for norm in NORMS}
        finite.append(bounds[2] < math.inf)
        if not finite[-1]:
            return
        assert_singular_values(layer, shape, seed)
        found = find_rule(layer)
        if found.fixed:  # what it says does not hang on what is built
            anew = type(layer).from_config(layer.get_config())
            assert all(found.bound(anew, shape, norm, False).upper == bounds[norm] for norm in NORMS)
        if len(shape) > 2:  # what holds for every size holds here
            anywhere = {norm: layer_bound(layer, unknown_sizes(shape), norm).upper for norm in NORMS}
            bounds = {norm: min(bounds[norm], anywhere[norm]) for norm in NORMS}
        assert_bounded(lambda x: layer(x, **inference(layer)), shape, bounds, seed, dtype)

    search()
    assert any(finite) or JAX  # where examples are few


def inference(layer):
    """Arguments with which a layer is called at inference."""
    return {"training": False} if "training" in inspect.signature(layer.call).parameters else {}


# --- layers of several inputs ---

MERGED = {
    "two": [(2, 3), (2, 3)],
    "three": [(2,), (2,), (2,)],
    "broadcast": [(2, 3), (2, 1)],
    "other axis": [(1, 3), (2, 3)],
}


@pytest.mark.covered_by_day
@pytest.mark.parametrize("case", MERGED)
@pytest.mark.parametrize("cls", merging.MERGES, ids=lambda cls: cls.__name__)
def test_no_jacobian_of_a_merge_beats_its_rule(cls, case):
    given_shapes = MERGED[case]
    takes_two = cls in (K.Subtract, lip.LipResidual)
    if (takes_two and len(given_shapes) > 2) or (cls in (K.Concatenate, lip.LipResidual) and "two" != case != "three"):
        return
    sizes = [math.prod(shape) for shape in given_shapes]
    x = keras.Input((sum(sizes),), dtype="float64")
    starts = np.cumsum([0, *sizes])
    parts = [K.Reshape(shape, dtype="float64")(x[:, starts[i] : starts[i + 1]]) for i, shape in enumerate(given_shapes)]
    model = keras.Model(x, cls(dtype="float64")(parts))
    for weight in model.weights:
        weight.assign(0.7)
    bounds = {norm: lipviz.certify(model, norm=norm, search=False).upper_bound for norm in NORMS}
    assert bounds[2] < math.inf
    assert_bounded(model, (sum(sizes),), bounds, seed=0)


# --- operations ---

OPERATIONS = {
    "Reshape": lambda x, i: ops.reshape(x, (-1, *[(6, 2), (12,), (2, 3, 2)][i % 3])),
    "Ravel": lambda x, i: ops.ravel(x),
    "Transpose": lambda x, i: ops.transpose(x, [(0, 2, 1), (0, 1, 2), (1, 0, 2)][i % 3]),
    "Swapaxes": lambda x, i: ops.swapaxes(x, *[(1, 2), (-1, 1), (0, 1)][i % 3]),
    "Moveaxis": lambda x, i: ops.moveaxis(x, *[(1, 2), (-1, -2), (1, 0)][i % 3]),
    "ExpandDims": lambda x, i: ops.expand_dims(x, [1, -1, 0][i % 3]),
    "Squeeze": lambda x, i: ops.squeeze(ops.expand_dims(x, 2), 2),
    "Flip": lambda x, i: ops.flip(x, axis=[1, (1, 2), None][i % 3]),
    "Roll": lambda x, i: ops.roll(x, 1, axis=[1, -1, 0][i % 3]),
    "Copy": lambda x, i: ops.copy(x),
    "Absolute": lambda x, i: ops.absolute(x),
    "Abs": lambda x, i: their_numpy.Abs()(x),
    "Negative": lambda x, i: -x,
    "Clip": lambda x, i: ops.clip(x, *[(-1.0, 0.5), (1.0, -1.0), (0.0, np.ones((1, 3)))][i % 3]),
    "Sin": lambda x, i: ops.sin(x),
    "Cos": lambda x, i: ops.cos(x),
    "Arctan": lambda x, i: ops.arctan(x),
    "StopGradient": lambda x, i: ops.stop_gradient(x),
    "SoftShrink": lambda x, i: ops.soft_shrink(x, [0.5, 0.0, -1.0][i % 3]),
    "Squareplus": lambda x, i: ops.squareplus(x, [4, 0.0, -1.0][i % 3]),
    "LeakyRelu": lambda x, i: ops.leaky_relu(x, [0.2, 3.0, -2.0][i % 3]),
    "Elu": lambda x, i: ops.elu(x, [1.0, 3.0, 0.1][i % 3]),
    "ReLU": lambda x, i: keras.activations.relu(x, negative_slope=[0.0, 2.0, 0.0][i % 3], threshold=[0, 0, 1.0][i % 3]),
    "Relu": lambda x, i: ops.relu(x),
    "Relu6": lambda x, i: ops.relu6(x),
    "Sigmoid": lambda x, i: ops.sigmoid(x),
    "Tanh": lambda x, i: ops.tanh(x),
    "Softplus": lambda x, i: ops.softplus(x),
    "Softsign": lambda x, i: ops.softsign(x),
    "Silu": lambda x, i: ops.silu(x),
    "Gelu": lambda x, i: ops.gelu(x, approximate=bool(i % 2)),
    "Mish": lambda x, i: their_activations.Mish()(x),
    "Selu": lambda x, i: ops.selu(x),
    "HardSigmoid": lambda x, i: ops.hard_sigmoid(x),
    "HardSilu": lambda x, i: ops.hard_silu(x),
    "HardTanh": lambda x, i: ops.hard_tanh(x),
    "LogSigmoid": lambda x, i: ops.log_sigmoid(x),
    "TanhShrink": lambda x, i: ops.tanh_shrink(x),
    "Softmax": lambda x, i: ops.softmax(x, axis=[-1, 1, 0][i % 3]),
    "Cast": lambda x, i: ops.cast(x, "float64"),
    "GetItem": lambda x, i: [lambda: x[:, 1:, 0], lambda: x[..., :2], lambda: x[:, ::-1]][i % 3](),
    "Split": lambda x, i: ops.split(x, 2, axis=1)[i % 2],
    "Pad": lambda x, i: ops.pad(x, ((0, 0), (1, i), (0, 2)), constant_values=i),
    "Sum": lambda x, i: ops.sum(x, axis=[1, (1, 2), -1][i % 3], keepdims=bool(i % 2)),
    "Mean": lambda x, i: ops.mean(x, axis=[1, (1, 2), -1][i % 3], keepdims=bool(i % 2)),
    "Max": lambda x, i: ops.max(x, axis=[1, (1, 2), -1][i % 3], initial=[None, 0.5, None][i % 3]),
    "Min": lambda x, i: ops.min(x, axis=[1, (1, 2), -1][i % 3]),
    "Add": lambda x, i: [lambda: x + x[:, :1], lambda: x + 3.0, lambda: x[:, :, :1] + np.ones((1, 5))][i % 3](),
    "Subtract": lambda x, i: [lambda: x - x[:, :1], lambda: 3.0 - x, lambda: x - x][i % 3](),
    "Multiply": lambda x, i: [lambda: x * -3.3, lambda: x[:, :, :1] * np.array([3.0, -4.0]), lambda: x * x][i % 3](),
    "Divide": lambda x, i: ops.divide(*[(x, 0.1), (x, np.array([1.0, 2.0, 0.5])), (1.0, x)][i % 3]),
    "TrueDivide": lambda x, i: ops.true_divide(x, [2.0, 0.1, -1.0][i % 3]),
    "Concatenate": lambda x, i: ops.concatenate([x, 2.0 * x], axis=[1, -1, 0][i % 3]),
    "Stack": lambda x, i: ops.stack([x, x], axis=[1, -1, 2][i % 3]),
    "Maximum": lambda x, i: ops.maximum(x, [0.5, -x, x[:, :1]][i % 3]),
    "Minimum": lambda x, i: ops.minimum(x, [0.5, -x, x[:, :1]][i % 3]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_jacobian_of_an_operation_beats_its_rule(name):
    finite = []

    @given(ints(0, 5), ints(0, 99))
    @settings(max_examples=examples(3))
    def search(variant, seed):
        x = keras.Input((4, 3), dtype="float64")
        model = keras.Model(x, OPERATIONS[name](x, variant))
        assert name in {type(operation).__name__ for operation in model.operations}
        bounds = {norm: lipviz.certify(model, norm=norm, search=False).upper_bound for norm in NORMS}
        finite.append(bounds[2] < math.inf)
        if finite[-1]:
            assert_bounded(model, (4, 3), bounds, seed)

    search()
    assert any(finite) or name == "Ravel" or JAX


# --- nothing is forgotten ---


def names_in(file):
    """The lines of a list beside this file."""
    return set((Path(__file__).parent / file).read_text(encoding="utf-8").splitlines())


def layers_of_keras():
    """Names and classes of all layers that Keras exports."""
    found = {name: getattr(K, name) for name in dir(K)}
    return {name: cls for name, cls in found.items() if inspect.isclass(cls) and issubclass(cls, K.Layer)}


def operations_of_keras():
    """Names of all operations of `keras.ops` and `keras.activations`."""
    names = [found.name for found in pkgutil.iter_modules(their_ops.__path__) if not found.name.endswith("_test")]
    modules = [importlib.import_module(f"keras.src.ops.{name}") for name in names]
    modules.append(their_activations)
    return {
        name
        for module in modules
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, keras.Operation) and cls.__module__ == module.__name__
    }


@pytest.mark.lists
def test_every_layer_of_keras_has_a_rule_or_is_listed_as_unknown():
    ruled = {name for name, cls in layers_of_keras().items() if cls in registry.RULES or cls in merging.MERGES}
    listed = names_in("unknown_layers.txt")
    assert layers_of_keras().keys() - ruled - listed == set(), "no rule: write one, or add it to unknown_layers.txt"
    assert ruled & listed == set(), "it has a rule: take it out of unknown_layers.txt"


@pytest.mark.lists
def test_every_operation_of_keras_has_a_rule_or_is_listed_as_unknown():
    ruled, listed = set(merging.OPERATIONS), names_in("unknown_operations.txt")
    assert operations_of_keras() - ruled - listed == set(), "no rule: write one, or add it to unknown_operations.txt"
    assert ruled & listed == set(), "it has a rule: take it out of unknown_operations.txt"
    assert ruled <= operations_of_keras(), "a rule for what Keras does not have"


@pytest.mark.lists
def test_every_rule_has_a_recipe():
    ours = {cls for cls in registry.RULES if cls.__module__.startswith(("keras.", "lipviz."))}
    ours |= {cls for cls in vars(lip).values() if inspect.isclass(cls) and issubclass(cls, lip.ConstrainedKernel)}
    assert ours <= RECIPES.keys(), "say in this file, by @recipe, how to draw the layer"
    assert set(merging.OPERATIONS) <= OPERATIONS.keys(), "say in OPERATIONS of this file how to call the operation"


def test_what_needs_a_matrix_is_not_fixed():
    """So what `lipviz.Sequential` warns of does not hang on whether these rules have been imported."""
    others = [rule for rule in registry.RULES.values() if not rule.bound.__module__.startswith("lipviz.rules.")]
    assert others
    assert not any(rule.fixed for rule in others)


def test_a_layer_without_a_rule_is_unbounded():
    layer = K.EinsumDense("ab,bc->ac", output_shape=2)
    layer.build((None, 3))
    assert find_rule(layer) is None
    assert certification.certify(layer, (3,), search=False).upper_bound == math.inf
