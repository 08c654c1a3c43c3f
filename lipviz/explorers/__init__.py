"""Explorers: controls that drive a measurement and its picture. The only part of lipviz that needs ipywidgets."""

from lipviz.explorers._base import Explorer
from lipviz.explorers.bjorck import BjorckExplorer

__all__ = ["BjorckExplorer", "Explorer"]
