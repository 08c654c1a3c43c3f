"""Numbers for weights and samples: uniform ones, which every computer draws to the last bit."""

import zlib

import numpy as np


def uniform(name, shape, low=-1.0, high=1.0):
    """A float64 array that depends on its name and shape alone.

    Args:
        name: Text; another name, another array.
        shape: Its shape.
        low: Lower end.
        high: Upper end.
    """
    draws = np.random.default_rng(zlib.crc32(name.encode())).random(shape)
    return low + (high - low) * draws


def set_weights(model, name):
    """Give a model weights that depend on the name alone, and derive what lipviz's layers derive from theirs.

    Args:
        model: Built Keras model.
        name: Text.
    """
    import lipviz

    derived = ("k", "wbar", "sig")
    seen = {}
    for weight in model.weights:
        kind = weight.name
        if kind in derived or "seed" in kind:
            continue
        seen[kind] = seen.get(kind, 0) + 1
        low, high = (0.5, 2.0) if "variance" in kind else (-1.0, 1.0)
        weight.assign(uniform(f"{name}: {kind} {seen[kind]}", weight.shape, low, high).astype(weight.dtype))
    lipviz.model.refresh(model)
