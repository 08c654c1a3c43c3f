"""Inference changes no variable, and predicts with a `wbar` that belongs to the kernel, whatever assigned that."""

import keras
from hypothesis import strategies as st

from tools.red_team import drawing
from tools.red_team.claims.bound import runs
from tools.red_team.drawing import CONSTRAINED
from tools.red_team.recipes import LAYERS, pick, some

NAME = "inference"
NAMES = (
    *CONSTRAINED,
    "K.BatchNormalization",
    "lip.BatchLipNorm",
    "lip.BatchCentering",
    "K.SpectralNormalization",
    "K.Dropout",
    *LAYERS,
)
CALLS = (
    "model(x)",
    "model(x, training=False)",
    "model(x)",
    "model.predict(x, verbose=0)",
    "model.evaluate(x, run_outputs(model, x), verbose=0)",
    "model.predict_on_batch(x)",
)
DEEDS = {
    "assigning": "[v.assign(0.5 * np.asarray(v) + 0.1) for v in model.trainable_variables]",
    "training": "run_training(model, {seed})",
    "fit": "trained(model, x, {seed})",
    "fit with averages": "trained(model, x, {seed}, use_ema=True)",
    "EarlyStopping": "trained(model, x, {seed}, early=True)",
    "train_on_batch": "model.train_on_batch(x, run_outputs(model, x) + 1.0)",
    "load_weights": "with_loaded_weights(model, make, dtype, {seed})",
    "set_weights": "model.set_weights(changed_weights(model))",
}


def draw(data, refused):
    """A case: plan, model, and settings."""
    plan, model = drawing.model(data, refused, names=NAMES, one_input=True)
    deeds = []
    for _ in range(some(data, 2)):
        name = pick(data, *DEEDS)
        deeds.append((name, DEEDS[name].format(seed=data(st.integers(0, 9)))))
    return (
        plan,
        model,
        {"weights": drawing.weights(data), "deeds": deeds, "calls": [pick(data, *CALLS) for _ in range(2)]},
    )


def check(script, settings):
    """Change a model, run it at inference, and look at what moved."""
    plan = script.plan
    runs(script)
    script.run(
        f"dtype = {plan.dtype!r}",
        f"x = 3 * np.random.default_rng(0).standard_normal({(4, *plan.shapes[0])})",
        f"x = x.astype({plan.dtypes[0]!r})",
    )
    model = script["model"]
    if not isinstance(model, keras.Sequential) and any(
        isinstance(part, dict | list) for part in (model.input, model.output)
    ):
        return
    if any(
        "evaluate" in text or "train_on" in text
        for text in (*settings["calls"], *(text for _, text in settings["deeds"]))
    ):
        script.run("model.compile('sgd', 'mse', run_eagerly=True)")
    for name, text in [("nothing", "pass"), *settings["deeds"]]:
        script.run(text)
        for call in settings["calls"]:
            with script.naming(f"{call.split('x')[0]}x) moves a variable"):
                script.run("before = state(model)", call, f"assert_unmoved(before, model, {call!r})")
        script.run("first = run(model, [x])", "lipviz.model.refresh(model)", "second = run(model, [x])")
        with script.naming(f"a wbar that is not its kernel's after {name}"):
            script.run("assert_close(second, first, allowance(model, x), 'wbar after refresh')")
