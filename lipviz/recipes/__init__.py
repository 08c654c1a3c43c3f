"""Recipes: networks and trainings with certificates, for a data set."""

from lipviz.recipes.liresnet import Cost, LiResNet

__all__ = ["Cost", "LiResNet"]
