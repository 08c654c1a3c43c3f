"""Lipschitz-constrained layers for Keras 3."""

from lipviz.layers.activations import FullSort, GroupSort, GroupSort2, MaxMin
from lipviz.layers.base_layer import Condensable, ConstrainedKernel, LipschitzLayer
from lipviz.layers.dense import FrobeniusDense, SpectralDense

__all__ = [
    "Condensable",
    "ConstrainedKernel",
    "FrobeniusDense",
    "FullSort",
    "GroupSort",
    "GroupSort2",
    "LipschitzLayer",
    "MaxMin",
    "SpectralDense",
]
