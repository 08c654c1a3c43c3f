"""Lipschitz-constrained layers for Keras 3."""

from lipviz.layers.activations import FullSort, GroupSort, GroupSort2, MaxMin
from lipviz.layers.base_layer import Condensable, ConstrainedKernel, LipschitzLayer
from lipviz.layers.convolutional import FrobeniusConv2D, SpectralConv1D, SpectralConv2D, SpectralConv2DTranspose
from lipviz.layers.dense import FrobeniusDense, SpectralDense

__all__ = [
    "Condensable",
    "ConstrainedKernel",
    "FrobeniusConv2D",
    "FrobeniusDense",
    "FullSort",
    "GroupSort",
    "GroupSort2",
    "LipschitzLayer",
    "MaxMin",
    "SpectralConv1D",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
]
