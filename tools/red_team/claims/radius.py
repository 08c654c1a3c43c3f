"""No change inside of a certified radius changes the decision; the certified accuracy is never above the accuracy."""

import dataclasses

import keras
import numpy as np
from hypothesis import strategies as st

from lipviz.keras_internals import graph_calls
from tools.red_team import attacks, drawing, kit
from tools.red_team.claims.bound import function_of, parts_of, runs, snapper

NAME = "radius"


def draw(data, refused):
    """A case: plan, model, and settings."""
    plan, model = drawing.model(data, refused, ends=True, one_input=True)
    return plan, model, {"weights": drawing.weights(data), "seed": data(st.integers(0, 999))}


def check(script, settings):
    """Attack the radii of a classifier."""
    plan, model = script.plan, script["model"]
    runs(script)
    rng = np.random.default_rng(settings["seed"])
    scale = 10.0 ** rng.uniform(-2, 1.5)
    snap = snapper(plan)
    points = snap(scale * rng.standard_normal((4, sum(parts_of(plan)))))
    script.run(f"x = np.reshape({points.tolist()!r}, {(4, *plan.shapes[0])})")
    script.run("found = certification.certified_radius(model, x)")
    found = script["found"]
    script.tally.bound(bool((found.radii > 0).any()))
    function = function_of(plan, kit.twin(script["make"], model))
    outputs = function(points)
    accuracy(script, outputs, rng)
    for row, (point, radius, chosen) in enumerate(zip(points, found.radii, found.predicted, strict=True)):
        if radius > 0:
            attack(script, Target(function, snap, point, outputs[row], int(chosen), float(radius), row), rng)


@dataclasses.dataclass(frozen=True)
class Target:
    """A sample with a radius.

    Attributes:
        function: The model, see `function_of`.
        snap: See `snapper`.
        point: The sample.
        scores: What the model makes of it.
        chosen: Class that it is said to decide for.
        radius: Its radius.
        row: Its number.
    """

    function: object
    snap: object
    point: np.ndarray
    scores: np.ndarray
    chosen: int
    radius: float
    row: int


def flips(scores, chosen, middle):
    """Rows of scores that decide for another class, ties left out."""
    if scores.shape[1] == 1:
        return (scores[:, 0] < middle) if chosen else (scores[:, 0] > middle)
    rivals = np.delete(scores, chosen, axis=1).max(axis=1)
    return rivals > scores[:, chosen]


def maker(tensor, model):
    """The layer or operation that returns a symbolic tensor of a functional model."""
    return next(call.operation for call in graph_calls(model) if any(x is tensor for x in call.outputs))


def middle_of(model):
    """The number that divides the two classes of one output: ½ behind a sigmoid, which is looked through."""
    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1] if isinstance(last, keras.Sequential) else maker(last.outputs[0], last)
    return 0.5 if getattr(last, "activation", None) is keras.activations.sigmoid else 0.0


def accuracy(script, outputs, rng):
    """Compare the certified accuracy with the accuracy."""
    classes = outputs.shape[1]
    labels = rng.integers(0, max(classes, 2), len(outputs))
    script.run(f"y = np.array({labels.tolist()})")
    script.run("certified = certification.certified_accuracy(model, x, y, [0.0, 0.1])")
    middle = middle_of(script["model"])
    # Classes that tie are all right: a sigmoid may have rounded them to 1.
    hits = [not flips(outputs[i : i + 1], label, middle)[0] for i, label in enumerate(labels)]
    right = float(np.mean(hits))
    largest = script["certified"].certified.max()
    if largest > right:
        script.fail(
            "certified accuracy",
            f"certified {largest}, accuracy {right}",
            f"assert certified.certified.max() <= {right}",
        )


def attack(script, target, rng):
    """Look for a change inside of the radius that flips the decision."""
    middle = middle_of(script["model"])
    inside = target.radius * (1 - 1e-9)
    ends = target.snap(candidates(target, inside, middle, rng))
    ends = np.concatenate([target.point[None], ends[np.linalg.norm(ends - target.point, axis=1) <= inside]])
    found = flips(target.function(ends), target.chosen, middle)
    if found.any():
        end = ends[found.argmax()]
        distance = float(np.linalg.norm(end - target.point))
        script.fail(
            "radius",
            f"certified radius {target.radius:.9g}, the decision changes at {distance:.9g}",
            f"end = np.reshape({end.tolist()!r}, {(1, *script.plan.shapes[0])})",
            f"radius, chosen = found.radii[{target.row}], int(found.predicted[{target.row}])",
            "scores = run(twin(make, model), [end])[0]",
            f"flips = (scores[0] > {middle}) != chosen if len(scores) == 1 else max(scores) > scores[chosen]",
            f"distance = np.linalg.norm(end - x[{target.row}])",
            "assert not (flips and distance < radius), (scores, chosen, distance, radius)",
        )


def candidates(target, inside, middle, rng):
    """Points within a distance: at random, and uphill, towards each other class, in several steps."""
    size = len(target.point)
    directions = list(rng.standard_normal((24, size)))
    here = target.point
    for _ in range(3):
        slopes, moved = attacks.jacobian(target.function, here, 1e-3 * inside, rng)
        uphill = np.zeros((max(len(target.scores) - 1, 1), size))
        if len(target.scores) == 1:
            uphill[:, moved] = slopes * (1 - 2 * target.chosen)
        else:
            uphill[:, moved] = np.delete(slopes, target.chosen, axis=0) - slopes[target.chosen]
        uphill = uphill[np.isfinite(uphill).all(axis=1) & uphill.any(axis=1)]
        if not len(uphill):
            break
        directions += list(uphill)
        here = inside_of(target.point, here + inside * uphill[0] / np.linalg.norm(uphill[0]), inside)
        directions.append(here - target.point)
    directions = np.array([direction for direction in directions if np.linalg.norm(direction) > 0])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.concatenate([target.point + length * inside * directions for length in (1.0, 0.5, 0.01)])


def inside_of(center, end, radius):
    """A point moved into the ball around a center."""
    away = end - center
    return center + away * min(1.0, radius / max(np.linalg.norm(away), 1e-300))
