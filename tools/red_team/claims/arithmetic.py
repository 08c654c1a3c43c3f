"""A network that computes in float32 or half precision decides alike within its radius; its errors are bounded."""

import numpy as np
from hypothesis import strategies as st

from tools.red_team import drawing, kit
from tools.red_team.claims import radius
from tools.red_team.claims.bound import parts_of, runs, snapper
from tools.red_team.recipes import LAYERS, pick

NAME = "arithmetic"
# Steps whose rounding is mostly not known, which would make most models refusals.
_REFUSED = (
    "LayerNorm",
    "GroupNorm",
    "RMSNorm",
    "UnitNorm",
    "SpectralNorm",
    "Masking",
    "BROConv",
    "Distributed",
    "Softmax",
)
USABLE = [name for name in LAYERS if not any(part in name for part in _REFUSED)]
SCALING = ("K.Rescaling", "K.Normalization")
SHARE = 1 - 1e-9  # of a radius, at which points are


def draw(data, refused):
    """A case: plan, model, and settings."""
    plan, model = drawing.model(data, refused, names=USABLE, ends=True, one_input=True, first=SCALING)
    settings = {
        "weights": drawing.weights(data),
        "dtype": pick(data, "float32", "float32", "float16", "bfloat16"),
        "seed": data(st.integers(0, 999)),
    }
    return plan, model, settings


def check(script, settings):
    """Attack the radii of a classifier in an arithmetic, and the errors of its logits."""
    plan, dtype = script.plan, settings["dtype"]
    runs(script)
    rng = np.random.default_rng(settings["seed"])
    scale = 10.0 ** rng.uniform(-2, 1.5)
    snap = snapper(plan)
    points = snap(scale * rng.standard_normal((4, sum(parts_of(plan)))))
    script.run(f"x = np.reshape({points.tolist()!r}, {(4, *plan.shapes[0])})")
    script.run(f"found = certification.certified_radius(model, x, arithmetic={dtype!r})")
    script.run(f"network = deployed(model, {dtype!r})")
    found = script["found"]
    script.tally.bound(bool((found.radii > 0).any()))
    with script.naming("rounding errors above their bound"):
        for length in (0.0, 0.1 * scale):
            ends = np.reshape(moved(points, length, snap, rng), (4, *plan.shapes[0]))
            script.run(f"assert excess(model, {dtype!r}, x, np.array({ends.tolist()!r})) <= 0")
    function = rows_of(plan, script["network"])
    outputs = function(points)
    for row, (point, size, chosen) in enumerate(zip(points, found.radii, found.predicted, strict=True)):
        if size > 0:
            target = radius.Target(function, snap, point, outputs[row], int(chosen), float(size), row)
            attack(script, target, rng)


def moved(points, length, snap, rng):
    """Points at a distance from others, or nearer where they are whole numbers."""
    directions = rng.standard_normal(points.shape)
    ends = points + length * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return snap(ends)


def rows_of(plan, network):
    """A function of rows, which the network gets in its own dtype."""
    shape, dtype = plan.shapes[0], plan.dtypes[0]

    def function(rows):
        return kit.run(network, [rows.reshape(-1, *shape).astype(dtype if "float" not in dtype else "float32")])

    return function


def attack(script, target, rng):
    """Look for a change inside of the radius that flips the decision, and around it number by number."""
    middle = radius.middle_of(script["network"])
    inside = min(target.radius, 1e30) * SHARE
    ends = radius.candidates(target, inside, middle, rng)
    ends = target.snap(np.concatenate([target.point[None], ends, neighbours(ends, rng)]))
    ends = ends[np.linalg.norm(ends - target.point, axis=1) <= inside]
    found = radius.flips(target.function(ends), target.chosen, middle)
    if found.any():
        end = ends[found.argmax()]
        distance = float(np.linalg.norm(end - target.point))
        script.fail(
            "radius in an arithmetic",
            f"certified radius {target.radius:.9g}, the decision changes at {distance:.9g}",
            f"end = np.reshape({end.tolist()!r}, {(1, *script.plan.shapes[0])})",
            f"radius, chosen = found.radii[{target.row}], int(found.predicted[{target.row}])",
            f"scores = run(network, [end.astype({script.plan.dtypes[0]!r})])[0]",
            f"flips = (scores[0] > {middle}) != chosen if len(scores) == 1 else max(scores) > scores[chosen]",
            f"distance = np.linalg.norm(end - x[{target.row}])",
            "assert not (flips and distance < radius), (scores, chosen, distance, radius)",
        )


def neighbours(ends, rng):
    """Points whose entries are some numbers of float32 further, each in a direction of its own."""
    near = np.repeat(ends, 2, axis=0).astype(np.float32)
    return near + rng.integers(-2, 3, near.shape) * np.spacing(np.abs(near)).astype(np.float64)
