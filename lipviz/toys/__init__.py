"""Small networks and small trainings: fits of functions, classifiers of the plane, Wasserstein distances."""

from lipviz import _moved
from lipviz.toys.fashion import AttackedImages, attacked_images, fashion_pair
from lipviz.toys.function_fits import FunctionFit, fit_function, fit_steps
from lipviz.toys.kantorovich_rubinstein import KRTraining, kr_steps, kr_training
from lipviz.toys.kind_runs import (
    KindComparison,
    KindRun,
    compare_kinds,
    kind_costs,
    kind_network,
    kind_run,
    kind_steps,
    kind_table,
)
from lipviz.toys.networks import ACTIVATIONS, toy_classifier, toy_network
from lipviz.toys.tradeoff import Tradeoff, TradeoffRun, tradeoff_run, tradeoff_steps, tradeoff_table

__all__ = [
    "ACTIVATIONS",
    "AttackedImages",
    "FunctionFit",
    "KRTraining",
    "KindComparison",
    "KindRun",
    "Tradeoff",
    "TradeoffRun",
    "attacked_images",
    "compare_kinds",
    "fashion_pair",
    "fit_function",
    "fit_steps",
    "kind_costs",
    "kind_network",
    "kind_run",
    "kind_steps",
    "kind_table",
    "kr_steps",
    "kr_training",
    "toy_classifier",
    "toy_network",
    "tradeoff_run",
    "tradeoff_steps",
    "tradeoff_table",
]


def __getattr__(name):
    return _moved.name_of(__name__, name)
