"""Makes other seeds of the seeds that a lesson sets: its science must not hang on a draw.

A kernel runs this file before a lesson where `LIPVIZ_SEED` is set, see `tests.notebook_plugin`. Seed n of
`keras.utils.set_random_seed`, `numpy.random.default_rng` and Keras's initializers, lipviz's own calls included, acts
as n + LIPVIZ_SEED then: other weights, other batches, other data sets.
"""

import os
from functools import wraps

import keras
import numpy as np


def shifted(function, by):
    """A function of a seed, whose seed is another one where it is a number."""

    @wraps(function)
    def call(seed=None):
        return function(seed + by if isinstance(seed, int) else seed)

    return call


def shifted_initializer(function, by):
    """The same for a method."""

    @wraps(function)
    def call(self, seed=None):
        return function(self, seed + by if isinstance(seed, int) else seed)

    return call


if __name__ == "__main__":
    _by = int(os.environ["LIPVIZ_SEED"])
    keras.utils.set_random_seed = shifted(keras.utils.set_random_seed, _by)
    np.random.default_rng = shifted(np.random.default_rng, _by)
    _initializer = keras.initializers.Orthogonal.__mro__[1]  # of all that draw
    _initializer.__init__ = shifted_initializer(_initializer.__init__, _by)
