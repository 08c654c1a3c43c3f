"""Parametrizations map raw kernels to constrained kernels.

A parametrization is a Keras layer that a constrained layer has as an attribute, so Keras saves its state with the
model. It owns `wbar`, the constrained kernel that inference uses, `k`, the Lipschitz factor, and the state of its own
normalization.
"""

from lipviz.parametrizations.base import Parametrization
from lipviz.parametrizations.channelwise import ChannelwiseSpectralParametrization
from lipviz.parametrizations.contexts import are_known_current, kernel_initializer, known_current, unfilled
from lipviz.parametrizations.frobenius import DisjointFrobeniusParametrization, FrobeniusParametrization
from lipviz.parametrizations.orthogonal import (
    BlockReflectorParametrization,
    CayleyParametrization,
    CircularReflectorParametrization,
    OrthogonalConvParametrization,
)
from lipviz.parametrizations.rescaled import AOLParametrization
from lipviz.parametrizations.spectral import SpectralParametrization
from lipviz.parametrizations.variables import check_finite, copied

__all__ = [
    "AOLParametrization",
    "BlockReflectorParametrization",
    "CayleyParametrization",
    "ChannelwiseSpectralParametrization",
    "CircularReflectorParametrization",
    "DisjointFrobeniusParametrization",
    "FrobeniusParametrization",
    "OrthogonalConvParametrization",
    "Parametrization",
    "SpectralParametrization",
    "are_known_current",
    "check_finite",
    "copied",
    "kernel_initializer",
    "known_current",
    "unfilled",
]
