"""A saved, cloned or exported model computes the same and has the same certificate."""

import numpy as np
from hypothesis import strategies as st

from tools.red_team import drawing, kit
from tools.red_team.claims.bound import parts_of, runs, snapper
from tools.red_team.recipes import pick

NAME = "round trip"
COPIES = {
    "vanillaModel": "lipviz.vanillaModel(model)",
    "save": "saved(model)",
    "float64": "operators.float64_copy(model)",
    "clone": "cloned(model)",
}
FROM_KERAS = ("save", "clone")  # copies that Keras makes; all others are made by lipviz


def draw(data, refused):
    """A case: plan, model, and settings."""
    plan, model = drawing.model(data, refused)
    return (
        plan,
        model,
        {"weights": drawing.weights(data), "copy": pick(data, *COPIES), "seed": data(st.integers(0, 999))},
    )


def check(script, settings):
    """Copy a model, and compare."""
    plan = script.plan
    if settings["copy"] == "clone" and "Normalization(mean" in plan.source():
        return  # Keras itself leaves their statistics behind
    if settings["copy"] in FROM_KERAS and kit.forgets_policy(script["model"]):
        return  # Keras itself loads the layer with another policy
    runs(script)
    rng = np.random.default_rng(settings["seed"])
    points = snapper(plan)(3 * rng.standard_normal((3, sum(parts_of(plan)))))
    parts = np.split(points, np.cumsum(parts_of(plan))[:-1], axis=1)
    script.run(
        "inputs = ["
        + ", ".join(
            f"np.reshape({np.round(part, 3).tolist()!r}, {(3, *shape)}).astype({dtype!r})"
            for part, shape, dtype in zip(parts, plan.shapes, plan.dtypes, strict=True)
        )
        + "]"
    )
    script.run("wanted = run(model, inputs)", f"copy = {COPIES[settings['copy']]}", "got = run(copy, inputs)")
    exact = settings["copy"] in FROM_KERAS
    allowed = "close(wanted)" if exact else "carried(make, model, inputs, wanted)"
    with script.naming(f"other outputs: {settings['copy']}"):
        script.run(f"assert_close(wanted, got, {allowed}, {settings['copy']!r})")
    script.run("bounds = [lipviz.certify(one, search=False).upper_bound for one in (model, copy)]")
    half = kit.half(script["model"])
    if settings["copy"] == "float64" and half == "float16":
        return  # which rounds numbers below 6e-5 by any share of them, and the copy has those that it rounds
    room = 1e-2 if half else 1e-5
    with script.naming(f"another certificate: {settings['copy']}"):
        script.run(f"assert bounds[0] == bounds[1] or abs(bounds[0] - bounds[1]) <= {room} * max(bounds), bounds")
