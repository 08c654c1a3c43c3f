"""No pair of points of a ball beats its bound, in l1, l2 or l∞; nothing inside of a local radius flips a decision."""

import math

import numpy as np
from hypothesis import strategies as st

from tools.red_team import attacks, drawing, kit
from tools.red_team.claims import radius
from tools.red_team.claims.bound import certain, function_of, is_coarse, parts_of, rounding, runs, snapper

NAME = "near"


def draw(data, refused):
    """A case: plan, model, and settings."""
    plan, model = drawing.model(data, refused, ends=True, one_input=True)
    return plan, model, {"weights": drawing.weights(data), "seed": data(st.integers(0, 999))}


def check(script, settings):
    """Attack the bounds of a classifier near inputs."""
    plan = script.plan
    runs(script)
    rng = np.random.default_rng(settings["seed"])
    scale = 10.0 ** rng.uniform(-2, 1.5)
    snap = snapper(plan)
    points = snap(scale * rng.standard_normal((3, sum(parts_of(plan)))))
    script.run(f"x = np.reshape({points.tolist()!r}, {(3, *plan.shapes[0])})")
    radii(script, points, snap, rng)
    if all("float" in dtype for dtype in plan.dtypes) and not kit.half(script["model"]):
        balls(script, points, scale * 10.0 ** rng.uniform(-3, 1), rng)


def radii(script, points, snap, rng):
    """Attack local radii, which are no smaller than those of all inputs."""
    script.run("found = certification.certified_radius(model, x, local=True)")
    found = script["found"]
    script.tally.bound(bool((found.radii > 0).any()))
    with script.naming("local radius below the one of all inputs"):
        script.run("assert (found.radii >= certification.certified_radius(model, x).radii).all()")
    function = function_of(script.plan, kit.twin(script["make"], script["model"]))
    outputs = function(points)
    for row, (point, size, chosen) in enumerate(zip(points, found.radii, found.predicted, strict=True)):
        if 0 < size < math.inf:
            target = radius.Target(function, snap, point, outputs[row], int(chosen), float(size), row)
            radius.attack(script, target, rng)


def balls(script, points, size, rng):
    """Attack the bounds in balls of a radius around a point."""
    plan = script.plan
    twin = kit.twin(script["make"], script["model"])
    function, unit = function_of(plan, twin), 1e-6 if is_coarse(plan) else 0.0
    for norm in attacks.NORMS:
        order = "'inf'" if norm == math.inf else norm
        script.run(f"near = lipviz.certify(model, norm={order}, around=x[0], radius={size!r})")
        script.run("assert 0 <= near.lower_bound <= near.upper_bound, (near.lower_bound, near.upper_bound)")
        bound = script["near"].upper_bound
        script.tally.bound(math.isfinite(bound))
        for x, y in pairs(function, points[0], size, norm, rng):
            far = np.linalg.norm(x - y, norm)
            ratio = certain(function, x, y, norm, unit) if far > 0 else 0.0
            if ratio > bound * (1 + 1e-6) and ratio > bound + rounding(twin, plan, x, y, norm) / far:
                beaten(script, x, y, norm, f"bound {bound:.9g} in l{norm} within {size:g}, a pair has {ratio:.9g}")


def beaten(script, x, y, norm, words):
    """Report a pair that beats the bound of its ball."""
    shape, order = (1, *script.plan.shapes[0]), "math.inf" if norm == math.inf else norm
    script.fail(
        "bound in a ball",
        words,
        f"x0, x1 = np.reshape({x.tolist()!r}, {shape}), np.reshape({y.tolist()!r}, {shape})",
        "double = twin(make, model)",
        f"stretched = np.linalg.norm(np.ravel(run(double, [x0]) - run(double, [x1])), {order})",
        f"distance = np.linalg.norm(np.ravel(x0 - x1), {order})",
        "assert stretched <= near.upper_bound * distance * (1 + 1e-6), stretched / distance",
    )


def pairs(function, point, size, norm, rng):
    """Pairs of points of a ball: at random, of opposite directions, close to each other, and along the derivative."""
    slopes, moved = attacks.jacobian(function, point, 1e-3 * size, rng)
    directions = list(rng.standard_normal((8, len(point)))) + list(np.sign(rng.standard_normal((4, len(point)))))
    directions += list(np.eye(len(point))[rng.integers(0, len(point), 4)])
    if np.isfinite(slopes).all():
        along = np.zeros((2, len(point)))
        along[:, moved] = np.linalg.svd(slopes)[2][0], np.sign(slopes[0])
        directions += list(along)
    for direction in directions:
        length = np.linalg.norm(direction, norm)
        step = size * (1 - 1e-9) * direction / (length if length > 0 else 1.0)
        yield point + step, point - step
        yield point + step, point + 0.99 * step
        yield point + 0.5 * step, point
