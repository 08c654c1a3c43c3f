"""What explorers that train small networks share: controls, points of the plane, and how often they draw."""

from typing import Any

import ipywidgets as widgets
import numpy as np

from lipviz import data
from lipviz.explorers.shell.controls import choice, slider
from lipviz.toys import ACTIVATIONS
from lipviz.types import Array

ACTIVATION_NAMES = {
    "groupsort2": "GroupSort2",
    "maxmin": "MaxMin",
    "fullsort": "FullSort",
    "householder": "Householder",
    "prelulip": "PReLUlip",
    "relu": "ReLU",
}
TOY_SETS = [("two moons", "moons"), ("circles", "circles"), ("two Gaussians", "gaussians")]  # for a choice
KEPT_TRAINERS = 3  # the last used ones: to make one takes seconds
POINTS = 250  # four fifths for training, the rest for testing


_PICTURES = 30  # of a whole training


def between_pictures(steps: int) -> int:
    """Number of training steps between two pictures: a picture takes as long as several steps."""
    return max(5, -(-steps // _PICTURES))


def activation_choice() -> widgets.Dropdown:
    """The control of the activation."""
    options = [(title, name) for name, title in ACTIVATION_NAMES.items() if name in ACTIVATIONS]
    return choice("Activation", options, "Activation after each hidden layer")


def width_slider() -> widgets.IntSlider:
    """The control of the width; even, since some activations pair channels."""
    return slider("Width", 16, 2, 64, 2, "Channels of each hidden layer")


def labelled_points(kind: str, noise: float, seed: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Training and test points of a toy, ((x, y), (x, y)).

    Args:
        kind: "moons", "circles" or "gaussians".
        noise: How far points scatter, in the units of the plane.
        seed: Seed of the points.
    """
    if kind == "moons":
        return data.two_moons(POINTS, noise=noise, seed=seed)
    if kind == "circles":
        return data.circles(POINTS, noise=noise, seed=seed)
    return data.gaussians(POINTS, distance=2.0, std=gaussian_std(noise), seed=seed)


def gaussian_std(noise: float) -> float:
    """Standard deviation of the two normal clouds that belongs to a noise."""
    return max(noise, 0.02) * 2


def clouds(kind: str, distance: float, noise: float, seed: int, count: int = 150) -> tuple[Array, Array]:
    """Two clouds of the plane, of shape (count, 2) each.

    Args:
        kind: "squares": points of two unit squares whose centers lie `distance` apart; "gaussians": two normal clouds;
            "moons": two half circles, moved apart by `distance`; "shifted": a cloud, and the same moved by `distance`.
        distance: Distance, see `kind`.
        noise: How far points scatter, for all but squares.
        seed: Seed of the points.
        count: Number of points of a cloud.
    """
    rng = np.random.default_rng(seed)
    move = np.array([distance, 0.0]) / 2
    if kind == "squares":
        return rng.uniform(-0.5, 0.5, (count, 2)) + move, rng.uniform(-0.5, 0.5, (count, 2)) - move
    if kind == "gaussians":
        return noise * rng.standard_normal((count, 2)) + move, noise * rng.standard_normal((count, 2)) - move
    if kind == "moons":
        angles = np.pi * rng.random((2, count))
        upper, lower = (np.column_stack([np.cos(a), np.sin(a)]) for a in angles)
        up = np.array([0.0, distance]) / 2
        scatter = 0.5 * noise * rng.standard_normal((2, count, 2))
        return upper - [0.5, 0.25] + up + scatter[0], -lower + [0.5, 0.25] - up + scatter[1]
    cloud = rng.uniform(-1, 1, (count, 2)) * [0.3, 1.0] + 0.5 * noise * rng.standard_normal((count, 2))
    return cloud + move, cloud - move


# --- as code ---


def bounds_of(field: Any) -> list[tuple[float, float]]:
    """The part of the plane that a field shows, as its `bounds` are given."""
    return [(float(axis[0]), float(axis[-1])) for axis in (field.x0, field.x1)]


def training_code(samples: str, done: int, steps: int) -> list[str]:
    """Lines that train a `trainer` up to a step; none before the first.

    Args:
        samples: Code of the samples and the labels.
        done: Number of steps so far.
        steps: Number of steps of the whole training.
    """
    if not done:
        return []
    return [f"next(trainer.pieces({samples}, steps={steps}, every={done}))  # {done} of {steps} steps"]
