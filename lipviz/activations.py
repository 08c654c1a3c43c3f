"""The activation layers under the reference's module name."""

from lipviz.layers.activations import BetaAbs, FullSort, GroupSort, GroupSort2, Householder, MaxMin, PReLUlip

__all__ = ["BetaAbs", "FullSort", "GroupSort", "GroupSort2", "Householder", "MaxMin", "PReLUlip"]
