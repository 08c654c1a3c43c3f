"""The norm of `wbar`, and of the layer's whole operator, never exceeds `k_coef_lip`, whatever is done to a model."""

from hypothesis import strategies as st

from tools.red_team import drawing
from tools.red_team.drawing import CONSTRAINED
from tools.red_team.recipes import pick, some

NAME = "k"
NAMES = (
    *CONSTRAINED,
    *CONSTRAINED,
    "K.Flatten",
    "K.ReLU",
    "lip.GroupSort2",
    "lip.PReLUlip",
    "lip.ScaledAveragePooling2D",
)
DEEDS = {
    "assign": "assigned(layers[{i}], {scale}, {seed})",
    "training": "run_training(model, {seed})",
    "set_klip_factor": "layers[{i}].set_klip_factor({k})",
    "k_coef_lip": "layers[{i}].k_coef_lip = {k}",
    "set_weights of a model": "model.set_weights(changed_k(make, dtype, {k}, {seed}).get_weights())",
    "load_weights": "reloaded(model, changed_k(make, dtype, {k}, {seed}))",
    "set_weights of a layer": "layers[{i}].set_weights(other_layers(make, dtype, {k}, {seed})[{i}].get_weights())",
    "another stack": "another_stack(model, {k})",
    "refresh": "lipviz.model.refresh(model)",
    "condense": "layers[{i}].condense()",
    "save": "model = saved(model); layers = constrained(model)",
    "fill": "fill(model, {seed}, ({exponent},))",
    "frozen": "model.trainable = False; run_training(model, {seed}); model.trainable = True",
}


def draw(data, refused):
    """A case: plan, model, and settings."""
    plan, model = drawing.model(data, refused, names=NAMES, one_input=True)
    deeds = [deed(data) for _ in range(some(data, 4))]
    return plan, model, {"weights": drawing.weights(data), "deeds": deeds}


def check(script, settings):
    """Do things to a model, and measure its operators after each."""
    script.run("layers = constrained(model)", f"dtype = {script.plan.dtype!r}")
    if not script["layers"]:
        return
    with script.naming("norm above k when built"):
        script.run("assert_k(model)")
    for name, text in settings["deeds"]:
        count = len(script["layers"])
        for i in range(3):
            text = text.replace(f"[{i}]", f"[{i % count}]")
        with script.naming(f"norm above k after {name}" if "another" not in name else "k changed by another stack"):
            script.run(text, "assert_k(model)")


def deed(data):
    """The tuple (name, source) of something that is done to a model."""
    name = pick(data, *DEEDS)
    drawn = {
        "i": data(st.integers(0, 2)),
        "scale": pick(data, 1.0, 1e-3, 1e6, 0.0),
        "seed": data(st.integers(0, 9)),
        "k": pick(data, 1.0, 5.0, 0.2, 1e3, 1e-4),
        "exponent": pick(data, 0.0, -8.0, 8.0),
    }
    return name, DEEDS[name].format(**drawn)
