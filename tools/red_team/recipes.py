"""How to draw each layer of one input and each operation, as source: simple ones first, where hypothesis shrinks to.

A recipe is a function of (draw, shape) that returns source text, or None where it does not suit the shape.
"""

from hypothesis import strategies as st

LAYERS = {}  # from name to (recipe, ranks of a sample)
OPERATIONS = {}
ANY = (1, 2, 3, 4)


def recipe(*names, ranks=ANY, table=LAYERS):
    """Enter a function of (draw, shape, name) under one or more names."""

    def enter(function):
        table.update((name, (function, ranks)) for name in names)
        return function

    return enter


# --- what is drawn again and again ---


def pick(draw, *options):
    return draw(st.sampled_from(options))


def some(draw, largest=3):
    return draw(st.integers(1, largest))


def yes(draw):
    return draw(st.booleans())


def factor(draw):
    return pick(draw, 1.0, 2.0, 0.5, 0.3, 7.0, 1e-3, 1e3)


def several(draw, rank, largest=3):
    return tuple(some(draw, largest) for _ in range(rank))


def arguments(**given):
    """Source of arguments; those that are None are left out."""
    return ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)


ACTIVATIONS = (
    "relu",
    "tanh",
    "softmax",
    "gelu",
    "sigmoid",
    "leaky_relu",
    "elu",
    "selu",
    "silu",
    "softplus",
    "softsign",
)
ODD = ("hard_silu", "mish", "hard_sigmoid", "celu", "log_softmax", "soft_shrink", "squareplus", "sparse_plus")
LAYER_ACTIVATIONS = ("lip.GroupSort2()", "lip.PReLUlip()", "K.LeakyReLU(0.3)", "K.PReLU()")


def activation(draw, name):
    """An activation as a layer's argument; mostly none."""
    kind = draw(st.integers(0, 5))
    if kind < 3:
        return None
    # Keras's layers believe that no activation changes a shape.
    layers = (*LAYER_ACTIVATIONS, "lip.MaxMin()") if name.startswith("lip.") else LAYER_ACTIVATIONS
    return repr(pick(draw, *ACTIVATIONS, *ODD)) if kind < 5 else pick(draw, *layers)


def bias(draw):
    return None if yes(draw) else False


def dtype(draw):
    """Rarely a dtype of its own."""
    return "other" if draw(st.integers(0, 15)) == 15 else None


def rank_of(name):
    return int(next(letter for letter in name if letter.isdigit()))


# --- dense layers and convolutions ---


@recipe("K.Dense", "lip.SpectralDense", "lip.FrobeniusDense", "lip.AOLDense", "lip.CayleyDense", "lip.BRODense")
def dense(draw, shape, name):
    own = {}
    if name == "lip.SpectralDense":
        own = {"k_coef_lip": factor(draw), "eps_bjorck": pick(draw, "1e-3", "None")}
    if name in ("lip.AOLDense", "lip.CayleyDense", "lip.BRODense"):
        own = {"k_coef_lip": factor(draw)}
    if name == "lip.FrobeniusDense":
        own = {"k_coef_lip": factor(draw), "disjoint_neurons": yes(draw)}
    given = arguments(activation=activation(draw, name), use_bias=bias(draw), dtype=dtype(draw), **own)
    return f"{name}({some(draw, 4)}, {given})"


def geometry(draw, name, strided=True):
    rank = rank_of(name)
    dilated = yes(draw) and yes(draw)
    stride = several(draw, rank, 2) if strided else (some(draw, 2),) * rank
    return {
        "kernel_size": several(draw, rank),
        "strides": None if dilated else stride,
        "dilation_rate": several(draw, rank, 2) if dilated else None,
        "padding": repr(pick(draw, "valid", "same")),
        "use_bias": bias(draw),
        "activation": activation(draw, name),
    }


def convolution(draw, shape, name):
    is_even = shape[-1] is not None and shape[-1] % 2 == 0
    groups = 2 if is_even and draw(st.integers(0, 7)) == 7 else 1  # which TensorFlow compiles
    return f"{name}({groups * some(draw, 2)}, {arguments(groups=groups, **geometry(draw, name))})"


def depthwise(draw, shape, name):
    first = f"{some(draw)}, " if "Separable" in name else ""
    return f"{name}({first}{arguments(depth_multiplier=some(draw, 2), **geometry(draw, name, strided=False))})"


def transposed(draw, shape, name):
    given = geometry(draw, name) | {"dilation_rate": None}
    return f"{name}({some(draw)}, {arguments(**given)})"


def up_and_down(draw, shape, name):
    """Poolings, padding, cropping, up-sampling of every rank."""
    rank = rank_of(name)
    if "Pooling" in name:
        strides = several(draw, rank) if yes(draw) else None
        return f"{name}({several(draw, rank)}, {arguments(strides=strides, padding=repr(pick(draw, 'valid', 'same')))})"
    if "UpSampling" in name:
        size = some(draw) if rank == 1 else several(draw, rank, 2)
        more = f", interpolation={pick(draw, 'nearest', 'bilinear', 'bicubic')!r}" if rank == 2 else ""
        return f"{name}({size}{more})"
    pads = tuple((draw(st.integers(0, 1)), draw(st.integers(0, 2))) for _ in range(rank))
    return f"{name}({pads[0] if rank == 1 else pads})"


def whole(draw, shape, name):
    """Global poolings."""
    data_format = pick(draw, "channels_last", "channels_first")
    return f"{name}(data_format={data_format!r}, keepdims={yes(draw)})"


for _rank in (1, 2, 3):
    _ranks = (_rank + 1,)
    recipe(f"K.Conv{_rank}D", ranks=_ranks)(convolution)
    recipe(f"K.Conv{_rank}DTranspose", ranks=_ranks)(transposed)
    recipe(f"K.GlobalAveragePooling{_rank}D", f"K.GlobalMaxPooling{_rank}D", ranks=_ranks)(whole)
    recipe(
        *(f"K.{name}{_rank}D" for name in ("MaxPooling", "AveragePooling", "UpSampling", "ZeroPadding", "Cropping")),
        ranks=_ranks,
    )(up_and_down)
    if _rank < 3:
        recipe(f"K.DepthwiseConv{_rank}D", f"K.SeparableConv{_rank}D", ranks=_ranks)(depthwise)


@recipe("lip.SpectralConv2D", "lip.FrobeniusConv2D", "lip.AOLConv2D", "lip.SpectralConv2DTranspose", ranks=(3,))
@recipe("lip.SpectralConv1D", ranks=(2,))
def constrained_convolution(draw, shape, name):
    rank = rank_of(name)
    size = several(draw, rank)
    bound = "'tight'" if name in ("lip.SpectralConv2D", "lip.SpectralConv1D") and yes(draw) else None
    given = arguments(
        strides=several(draw, rank, 2) if yes(draw) else None,
        padding=repr(pick(draw, "same", "valid")),
        k_coef_lip=factor(draw),
        bound=bound,
        activation=activation(draw, name),
        use_bias=bias(draw),
    )
    return f"{name}({some(draw)}, {size if rank > 1 else size[0]}, {given})"


@recipe("lip.AOCConv2D", ranks=(3,))
def orthogonal(draw, shape, name):
    groups = 2 if shape[-1] is not None and shape[-1] % 2 == 0 and yes(draw) else 1
    given = arguments(
        groups=groups,
        strides=some(draw, 2),
        padding=repr(pick(draw, "same", "valid", "circular")),
        k_coef_lip=factor(draw),
        activation=activation(draw, name),
        use_bias=bias(draw),
    )
    return f"{name}({groups * some(draw, 2)}, {some(draw)}, {given})"


@recipe("lip.AOCConv2DTranspose", ranks=(3,))
def orthogonal_transposed(draw, shape, name):
    given = arguments(
        strides=some(draw, 2),
        padding=repr(pick(draw, "same", "valid")),
        k_coef_lip=factor(draw),
        activation=activation(draw, name),
        use_bias=bias(draw),
    )
    return f"{name}({some(draw)}, {some(draw)}, {given})"


@recipe("lip.BROConv2D", ranks=(3,))
def reflecting(draw, shape, name):
    given = arguments(
        rank_reflector=pick(draw, None, 1),
        k_coef_lip=factor(draw),
        activation=activation(draw, name),
        use_bias=bias(draw),
    )
    return f"{name}({some(draw)}, {several(draw, 2)}, {given})"


@recipe("lip.SLLDense")
@recipe("lip.SLLConv2D", ranks=(3,))
def block(draw, shape, name):
    size = f"{several(draw, 2)}, " if name == "lip.SLLConv2D" else ""
    given = arguments(
        activation=repr(pick(draw, "relu", "tanh", "softplus")), use_bias=bias(draw), k_coef_lip=factor(draw)
    )
    return f"{name}({some(draw)}, {size}{given})"


@recipe("lip.SpectralDepthwiseConv2D", ranks=(3,))
def constrained_depthwise(draw, shape, name):
    given = geometry(draw, name, strided=False) | {"k_coef_lip": factor(draw), "depth_multiplier": some(draw)}
    bound = "'tight'" if yes(draw) else None
    return f"{name}({arguments(**given, bound=bound, eps_bjorck=pick(draw, '1e-3', 'None'))})"


@recipe("lip.PadConv2D", ranks=(3,))
def padded(draw, shape, name):
    padding = pick(draw, "same", "valid", "circular", "reflect", "symmetric")
    return f"{name}({some(draw)}, {some(draw)}, {arguments(padding=repr(padding), strides=some(draw, 2))})"


# --- lipviz's own without a kernel ---


@recipe("lip.ScaledAveragePooling2D", "lip.ScaledL2NormPooling2D", ranks=(3,))
@recipe("lip.InvertibleDownSampling", "lip.InvertibleUpSampling", ranks=(3,))
def scaled_pooling(draw, shape, name):
    return f"{name}({some(draw)}, k_coef_lip={factor(draw)})"


@recipe("lip.ScaledGlobalAveragePooling2D", "lip.ScaledGlobalL2NormPooling2D", ranks=(3,))
@recipe("lip.GroupSort2", "lip.FullSort", "lip.MaxMin", "lip.Householder")
@recipe("lip.BatchLipNorm", "lip.BatchCentering", "lip.LayerCentering", ranks=(1, 2, 3))
def of_one_factor(draw, shape, name):
    return f"{name}({arguments(k_coef_lip=factor(draw), data_format=pick(draw, None, repr('channels_first')))})"


@recipe("lip.BetaAbs")
def beta_abs(draw, shape, name):
    return f"{name}({arguments(beta=pick(draw, 0.5, 0.3, 1.0), k_coef_lip=factor(draw))})"


@recipe("lip.SpatialShift", ranks=(3,))
def shift(draw, shape, name):
    given = arguments(
        share=pick(draw, 0.25, 0.2), padding=repr(pick(draw, "circular", "same")), k_coef_lip=factor(draw)
    )
    return f"{name}({some(draw, 2)}, {given})"


@recipe("lip.GroupSort")
def group_sort(draw, shape, name):
    return f"{name}(n={pick(draw, 'None', 2, 3)}, k_coef_lip={factor(draw)})"


@recipe("K.PReLU", "lip.PReLUlip")
def prelu(draw, shape, name):
    shared = pick(draw, None, [1], list(range(1, len(shape) + 1)))
    return f"{name}({arguments(shared_axes=shared, k_coef_lip=factor(draw) if 'lip' in name else None)})"


# --- activations ---


@recipe("K.Activation")
def activation_layer(draw, shape, name):
    return f"{name}({pick(draw, *ACTIVATIONS, *ODD, 'relu6', 'tanh_shrink', 'sparsemax', 'log_sigmoid', 'linear')!r})"


@recipe("K.ReLU")
def relu(draw, shape, name):
    given = arguments(
        max_value=pick(draw, None, 6.0, 0.0, 0.5),
        negative_slope=pick(draw, None, 0.3, 2.7),
        threshold=pick(draw, None, 0.5, -1.0),
    )
    return f"{name}({given})"


@recipe("K.LeakyReLU", "K.ELU")
def leaky(draw, shape, name):
    return f"{name}({pick(draw, 0.3, 1.0, 2.7, 0.0, 30.0)})"


@recipe("K.Softmax")
def softmax(draw, shape, name):
    return f"{name}(axis={pick(draw, -1, 1, -len(shape), list(range(1, len(shape) + 1)))})"


# --- normalizations ---


@recipe("K.BatchNormalization")
def batch_normalization(draw, shape, name):
    axis, epsilon = pick(draw, -1, 1), pick(draw, 1e-3, 1e-7, 0.0, 1.0)
    return f"{name}({arguments(axis=axis, epsilon=epsilon, scale=bias(draw), center=bias(draw))})"


@recipe("K.LayerNormalization")
def layer_normalization(draw, shape, name):
    axis = pick(draw, -1, 1, list(range(1, len(shape) + 1)), -len(shape))
    return f"{name}({arguments(axis=axis, epsilon=pick(draw, 1e-3, 1.0, 1e-7), scale=bias(draw))})"


@recipe("K.Normalization")
def normalization(draw, shape, name):
    exponent = pick(draw, 0.0, -6.0, 6.0, -3.0, 3.0)
    size = shape[-1] or 1
    mean = [pick(draw, 0.0, 1.0, -30.0)] * size
    variance = [10.0 ** (exponent * (i % 2)) for i in range(size)]
    return f"{name}({arguments(mean=mean, variance=variance, invert=True if yes(draw) and yes(draw) else None)})"


@recipe("K.Rescaling")
def rescaling(draw, shape, name):
    scale = pick(draw, 0.3, 1.0, -2.0, 1e3, 1e-4, [1.0, 1.0, 1.0], [3.0, -4.0], [[2.0], [1.0]])
    return f"{name}({scale}, offset={pick(draw, 0.0, 5.0, [1.0, 2.0, 3.0])})"


# --- copying, dropping and moving entries ---


@recipe("K.Flatten", "K.Identity", "K.ActivityRegularization")
@recipe("K.Masking", ranks=(2,))
def plain(draw, shape, name):
    return f"{name}()"


@recipe("K.Dropout", "K.AlphaDropout", "K.GaussianDropout", "K.GaussianNoise")
@recipe("K.SpatialDropout1D", ranks=(2,))
@recipe("K.SpatialDropout2D", ranks=(3,))
@recipe("K.SpatialDropout3D", ranks=(4,))
def dropping(draw, shape, name):
    return f"{name}(0.5)"


@recipe("K.Reshape")
def reshape(draw, shape, name):
    if None in shape:
        return f"{name}((-1, {shape[-1]}))" if shape[-1] else None
    size = 1
    for n in shape:
        size *= n
    return f"{name}({pick(draw, (-1,), (size, 1), (1, size), (size // 2, 2))})"


@recipe("K.Permute")
def permute(draw, shape, name):
    return f"{name}({tuple(draw(st.permutations(range(1, len(shape) + 1))))})"


@recipe("K.RepeatVector", ranks=(1,))
def repeat(draw, shape, name):
    return f"{name}({some(draw)})"


@recipe("K.TimeDistributed", ranks=(2, 3))
def time_distributed(draw, shape, name):
    inner = pick(draw, "K.Dense(2)", "lip.SpectralDense(2)", "K.LayerNormalization()", "K.ReLU()", "K.PReLU()")
    return f"{name}({inner})"


@recipe("K.SpectralNormalization")
def spectral_normalization(draw, shape, name):
    return f"{name}(K.Dense({some(draw)}))"


@recipe("K.UnitNormalization")
def without_a_rule(draw, shape, name):
    return f"{name}()"


# --- operations: source with {x}, and {y} for a second value ---


def forms(name, *texts):
    """Operations without arguments to draw."""
    OPERATIONS.update({f"{name} {i}" if len(texts) > 1 else name: text for i, text in enumerate(texts)})


_NAMES = """
relu tanh sigmoid softplus softsign silu gelu selu hard_sigmoid hard_silu log_sigmoid relu6 absolute sin cos arctan copy
stop_gradient hard_tanh tanh_shrink elu leaky_relu soft_shrink squareplus
"""
for _name in _NAMES.split():
    forms(_name, f"ops.{_name}({{x}})")
forms("negative", "-{x}")
forms("add", "{x} + {y}", "{x} + 3.0", "3.0 - {x}", "{x} - {y}", "{x} + {x}")
forms("multiply", "{x} * -3.3", "{x} / 0.1", "{x} * {y}", "1.0 / {x}", "{x} * [3.0, -4.0]", "{x} / {y}")
forms("clip", "ops.clip({x}, -1.0, 0.5)")
forms("extremum", "ops.maximum({x}, {y})", "ops.minimum({x}, 0.5)", "ops.maximum({x}, -{x})")
forms("softmax", "ops.softmax({x})", "ops.softmax({x}, axis=1)")
forms("cast", "ops.cast({x}, other)", 'ops.cast({x}, "int32")', "ops.cast({x}, floats)")
forms("select", "{x}[:, :2]", "{x}[..., 0]", "{x}[..., :1]", "{x}[:, ::-1]", "{x}[:, 1:]", "{x}[:, None]")
forms("split", "ops.split({x}, 2, axis=-1)[0]", "ops.split({x}, 2, axis=1)[1]")
forms("pad", "ops.pad({x}, [(0, 0), (1, 1)])", "ops.pad({x}, [(0, 0), (1, 0), (0, 2)], constant_values=2.0)")
forms("sum", "ops.sum({x}, axis=1)", "ops.sum({x}, axis=-1, keepdims=True)", "ops.mean({x}, axis=(1, 2))")
forms("mean", "ops.mean({x}, axis=-1)", "ops.max({x}, axis=1)", "ops.min({x}, axis=-1, keepdims=True)")
forms("move", "ops.transpose({x}, (0, 2, 1))", "ops.swapaxes({x}, 1, -1)", "ops.moveaxis({x}, 1, -1)")
forms("axes", "ops.expand_dims({x}, -1)", "ops.squeeze(ops.expand_dims({x}, 1), 1)", "ops.flip({x}, axis=1)")
forms("roll", "ops.roll({x}, 1, axis=-1)", "ops.flip({x})", "ops.roll({x}, 1)")
forms("join", "ops.concatenate([{x}, {y}], axis=-1)", "ops.stack([{x}, {y}], axis=1)", "ops.stack([{x}, {x}], axis=-1)")
forms("reshape", "ops.reshape({x}, (-1, 2))", "ops.reshape({x}, (ops.shape({x})[0], -1))", "ops.reshape({x}, (-1, 4))")
forms("square", "{x} ** 2", "ops.exp({x})", "ops.sign({x})", "ops.round({x})", "ops.sqrt({x})")

MERGES = (
    "K.Add()([{x}, {y}])",
    "K.Concatenate()([{x}, {y}])",
    "K.Average()([{x}, {y}])",
    "K.Subtract()([{x}, {y}])",
    "K.Maximum()([{x}, {y}])",
    "K.Minimum()([{x}, {y}])",
    "lip.LipResidual()([{x}, {y}])",
    "lip.LipResidual(k_coef_lip=3.0)([{x}, {y}])",
    "K.Concatenate(axis=1)([{x}, {y}])",
    "K.Add()([{x}, {y}, {x}])",
    "K.Multiply()([{x}, {y}])",
    "K.Dot(axes=-1)([{x}, {y}])",
)
