"""Defaults and checks of the arguments that many functions share."""

import math

import numpy as np

DEFAULT_BETA_BJORCK = 0.5
DEFAULT_EPS_SPECTRAL = 1e-3
DEFAULT_EPS_BJORCK = 1e-3
DEFAULT_MAXITER_BJORCK = 15
DEFAULT_MAXITER_SPECTRAL = 10


def check_positive(name, value):
    """Return `value` as a float if it is a positive, finite number, else raise ValueError."""
    if isinstance(value, bool) or not np.isscalar(value) or not np.isreal(value) or not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be a positive finite number. Received: {name}={value!r}")
    return float(value)


def check_count(name, value):
    """Return `value` as an int if it is a whole number of at least 0, else raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0. Received: {name}={value!r}")
    return int(value)


def check_beta(value):
    """Return β as a float if it lies in ]0, 0.5] (or None, which skips Björck), else raise ValueError.

    Beyond 0.5 the map s → (1+β)s − βs³ rises above 1 inside [0, 1] and iterates are no longer 1-Lipschitz.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not np.isscalar(value) or not np.isreal(value) or not 0 < value <= 0.5:
        raise ValueError(f"`beta` of Björck must lie in ]0, 0.5]. Received: {value!r}")
    return float(value)


def check_matrix(name, value):
    """Raise ValueError unless `value` has two axes and an entry."""
    shape = tuple(value.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"`{name}` must be a 2-D matrix with at least one entry. Received shape: {shape}")
