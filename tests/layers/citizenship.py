"""The cases of the citizenship test: every layer × settings, pairwise, each in a small network."""

import inspect
from collections import OrderedDict

import keras
from allpairspy import AllPairs

from lipviz import Sequential, layers
from lipviz.layers import GroupSort2, Householder, MaxMin, PReLUlip

IMAGE, SERIES, VECTOR = (6, 4, 2), (6, 2), (4,)
CONVOLUTION = {"filters": 4, "kernel_size": 3, "kernel_initializer": "orthogonal"}
DENSE = {"units": 4, "kernel_initializer": "orthogonal"}
QUICK = {"maxiter_bjorck": 2, "maxiter_spectral": 1}

# What each layer needs, and the shape of a sample.
WITH_KERNEL = {
    "SpectralDense": (DENSE | QUICK, VECTOR),
    "FrobeniusDense": (DENSE, VECTOR),
    "SpectralConv1D": (CONVOLUTION | QUICK, SERIES),
    "SpectralConv2D": (CONVOLUTION | QUICK, IMAGE),
    "SpectralConv2DTranspose": (CONVOLUTION | QUICK, IMAGE),
    "FrobeniusConv2D": (CONVOLUTION, IMAGE),
    "SpectralDepthwiseConv2D": ({"kernel_size": 3, "depth_multiplier": 2, "maxiter_bjorck": 2}, IMAGE),
}
# Others, added later. They share the code above and below, so that few combinations are left to try, and the cases of
# the first ones, which are pinned, stay.
OTHERS = {
    "AOLDense": (DENSE, VECTOR),
    "AOLConv2D": (CONVOLUTION, IMAGE),
    "CayleyDense": (DENSE, VECTOR),
    "BRODense": (DENSE, VECTOR),
    "AOCConv2D": (CONVOLUTION, IMAGE),
    "AOCConv2DTranspose": (CONVOLUTION, IMAGE),
    "BROConv2D": (CONVOLUTION, IMAGE),
    "SLLDense": (DENSE, VECTOR),
    "SLLConv2D": (CONVOLUTION, IMAGE),
    "BetaAbs": ({}, IMAGE),
    "SpatialShift": ({}, (4, 3, 5)),
}
BLOCKS = ("SLLDense", "SLLConv2D")
# Of those that have others than zeros and none, or fewer.
PADDINGS = {
    "AOCConv2D": ("same", "valid", "circular"),
    "BROConv2D": ("circular",),
    "SpatialShift": ("same", "circular"),
}
WITHOUT = {
    "GroupSort": ({}, IMAGE),
    "GroupSort2": ({}, IMAGE),
    "FullSort": ({}, VECTOR),
    "MaxMin": ({}, IMAGE),
    "Householder": ({}, IMAGE),
    "PReLUlip": ({}, IMAGE),
    "ScaledAveragePooling2D": ({}, IMAGE),
    "ScaledL2NormPooling2D": ({}, IMAGE),
    "ScaledGlobalAveragePooling2D": ({}, IMAGE),
    "ScaledGlobalL2NormPooling2D": ({}, IMAGE),
    "InvertibleDownSampling": ({"pool_size": 2}, IMAGE),
    "InvertibleUpSampling": ({"pool_size": 2}, (2, 2, 8)),
    "LayerCentering": ({}, IMAGE),
    "BatchCentering": ({}, IMAGE),
    "BatchLipNorm": ({}, IMAGE),
    "PadConv2D": ({"filters": 2, "kernel_size": 3}, IMAGE),
}

# What is combined; a layer without a setting leaves it out.
COMMON = {
    "dtype": [None, "float64", "mixed_bfloat16"],
    "k_coef_lip": [1.0, 0.3, 7.0],
    "data_format": ["channels_last", "channels_first"],
    "how": [{}, {"jit_compile": True}, {"run_eagerly": True}],
}
SETTINGS_WITH_KERNEL = {
    "name": list(WITH_KERNEL),
    "activation": [None, "tanh", GroupSort2, MaxMin, Householder, PReLUlip],
    **COMMON,
    "dtype": [None, "float64", "mixed_bfloat16", "mixed_float16"],
    "use_bias": [True, False],
    "kernel_regularizer": [None, "l2"],
    "eps_bjorck": [1e-3, None],
    "beta_bjorck": [0.5, 0.05],
    "disjoint_neurons": [True, False],
    "strides": [1, 2],
    "padding": ["same", "valid"],
    "bound": ["coverage", "tight"],
}
SETTINGS_OF_OTHERS = {
    "name": list(OTHERS),
    **COMMON,
    "activation": ["tanh", MaxMin, None],
    "use_bias": [True, False],
    "kernel_regularizer": [None, "l2"],
    "strides": [2, 1],
    "padding": ["same", "valid", "circular"],
}
SETTINGS_WITHOUT = {
    "name": list(WITHOUT),
    **COMMON,
    "n": [None, 2],
    "eps_grad_sqrt": [1e-6, 0.0],
}


def pairwise(settings):
    """Combinations of settings in which every pair of two values occurs; on JAX, where all compiles, every fifth."""
    cases = [dict(zip(settings, values, strict=True)) for values in AllPairs(OrderedDict(settings), is_possible)]
    return cases[:: 1 if keras.backend.backend() == "tensorflow" else 5]


def all_cases():
    """What the test runs, in its order: dicts of `network`'s arguments, and `how` the model is compiled."""
    return pairwise(SETTINGS_WITH_KERNEL) + pairwise(SETTINGS_WITHOUT)


def cases_of_others():
    """The cases of `OTHERS`: one of each by day, and all at night."""
    cases = pairwise(SETTINGS_OF_OTHERS)
    first = {case["name"]: case for case in reversed(cases) if not case["how"].get("jit_compile")}
    return list(first.values()), [case for case in cases if case is not first.get(case["name"])]


def is_possible(values):
    """Keras itself cannot add a regularizer in float64 to a loss in float32; some layers have one padding only."""
    words = [value for value in values if isinstance(value, str)]
    name = next((word for word in words if word in OTHERS), None)
    known = PADDINGS.get(name, ("same", "valid"))
    pads_otherwise = name is not None and any(
        word in ("same", "valid", "circular") and word not in known for word in words
    )
    is_block = name in BLOCKS and (MaxMin in values or "valid" in values)
    return not ("float64" in values and "l2" in values) and not (
        pads_otherwise or is_block or (2 in values and name in (*BLOCKS, "BROConv2D"))
    )


def case_id(case):
    return " ".join(getattr(value, "__name__", str(value)) for value in case.values())


def taken(cls, settings):
    """The settings that a layer's constructor takes; what speaks of a kernel has the prefix that the layer says."""
    known = inspect.signature(cls.__init__).parameters
    prefix = getattr(cls, "kernel_prefix", "kernel")
    settings = {key.replace("kernel_", f"{prefix}_"): value for key, value in settings.items()}
    also = {"dtype"} | ({"n"} if cls is layers.GroupSort else set())
    return {key: value for key, value in settings.items() if key in known or key in also}


def sorted_along_channels(activation, data_format, dtype):
    """An activation that is a layer acts on the channels, wherever they are; in float64 where its owner does."""
    if not isinstance(activation, type):
        return activation
    wide = {"dtype": dtype} if dtype == "float64" else {}
    return activation(**wide) if activation is PReLUlip else activation(data_format=data_format, **wide)


def network(name, **settings):
    """A model with that layer, the layer, and the shape of a sample."""
    needed, shape = (WITH_KERNEL | OTHERS | WITHOUT)[name]
    cls = getattr(layers, name)
    arguments = needed | taken(cls, settings)
    data_format = arguments.get("data_format", "channels_last")
    if "activation" in arguments:
        wide = arguments.get("dtype") if name in OTHERS else None  # the others are pinned with float32
        arguments["activation"] = sorted_along_channels(arguments["activation"], data_format, wide)
    if data_format == "channels_first" and len(shape) > 1:
        shape = (shape[-1], *shape[:-1])
    layer = cls(**arguments)
    chain = [keras.Input(shape), layer, keras.layers.Flatten(dtype=layer.dtype_policy)]
    if isinstance(layer, layers.ConstrainedKernel):
        return Sequential(chain, k_coef_lip=layer.k_coef_lip), layer, shape
    # With something to train.
    return keras.Sequential([*chain, keras.layers.Dense(2, dtype=layer.dtype_policy)]), layer, shape
