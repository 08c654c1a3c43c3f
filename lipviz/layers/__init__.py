"""Lipschitz-constrained layers for Keras 3."""

from lipviz.layers.activations import BetaAbs, FullSort, GroupSort, GroupSort2, Householder, MaxMin, PReLUlip
from lipviz.layers.base_layer import Condensable, ConstrainedKernel, LipschitzLayer
from lipviz.layers.blocks import SLLConv2D, SLLDense
from lipviz.layers.circular import BROConv2D
from lipviz.layers.convolutional import FrobeniusConv2D, SpectralConv1D, SpectralConv2D, SpectralConv2DTranspose
from lipviz.layers.dense import FrobeniusDense, SpectralDense
from lipviz.layers.depthwise import SpectralDepthwiseConv2D
from lipviz.layers.normalization import BatchCentering, BatchLipNorm, LayerCentering
from lipviz.layers.orthogonal import BRODense, CayleyDense
from lipviz.layers.orthogonal_convolution import AOCConv2D, AOCConv2DTranspose
from lipviz.layers.pooling import (
    InvertibleDownSampling,
    InvertibleUpSampling,
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    ScaledGlobalL2NormPooling2D,
    ScaledL2NormPooling2D,
)
from lipviz.layers.rescaled import AOLConv2D, AOLDense
from lipviz.layers.residual import LipResidual
from lipviz.layers.shifting import SpatialShift
from lipviz.layers.unconstrained import PadConv2D

__all__ = [
    "AOCConv2D",
    "AOCConv2DTranspose",
    "AOLConv2D",
    "AOLDense",
    "BROConv2D",
    "BRODense",
    "BatchCentering",
    "BatchLipNorm",
    "BetaAbs",
    "CayleyDense",
    "Condensable",
    "ConstrainedKernel",
    "FrobeniusConv2D",
    "FrobeniusDense",
    "FullSort",
    "GroupSort",
    "GroupSort2",
    "Householder",
    "InvertibleDownSampling",
    "InvertibleUpSampling",
    "LayerCentering",
    "LipResidual",
    "LipschitzLayer",
    "MaxMin",
    "PReLUlip",
    "PadConv2D",
    "SLLConv2D",
    "SLLDense",
    "ScaledAveragePooling2D",
    "ScaledGlobalAveragePooling2D",
    "ScaledGlobalL2NormPooling2D",
    "ScaledL2NormPooling2D",
    "SpatialShift",
    "SpectralConv1D",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
    "SpectralDepthwiseConv2D",
]
