"""The activation layers under the reference's module name."""

from lipviz.layers.activations import FullSort, GroupSort, GroupSort2, Householder, MaxMin, PReLUlip

__all__ = ["FullSort", "GroupSort", "GroupSort2", "Householder", "MaxMin", "PReLUlip"]
