"""The red team finds faults that are planted, shows them by programs that run, and draws the same models again."""

import dataclasses
import inspect
import os
import re

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers as K

import lipviz
from lipviz import certification
from lipviz import layers as lip
from lipviz.certification import merging
from lipviz.certification.local import Near
from lipviz.parametrizations import SpectralParametrization
from lipviz.rules import registry
from tests.support import convolution_matrix
from tools.red_team import __main__ as command
from tools.red_team import attacks, drawing, hunt, kit, report, shrinking
from tools.red_team.claims import CLAIMS
from tools.red_team.drafts import Draft, Plan
from tools.red_team.faults import FaultError, RefusedError, UnusableError, judged
from tools.red_team.hunt import Hunt, Row
from tools.red_team.recipes import LAYERS, MERGES, OPERATIONS
from tools.red_team.script import Script, reproducer

WEIGHTS = (0, (0.0,), ("normal",))
SETTINGS = {"weights": WEIGHTS, "seed": 0, "search": False}


@pytest.fixture(autouse=True)
def _policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def stack(*layers, shape=(3,)):
    """The plan of a Sequential model."""
    names = [f"l{i}" for i in range(len(layers))]
    lines = tuple(f"{name} = {text}" for name, text in zip(names, layers, strict=True))
    text = f"keras.Sequential([keras.Input({shape}, dtype=floats), {', '.join(names)}])"
    return Plan(lines, text, "float32", (shape,), ("float32",))


def check(claim, plan, **settings):
    """Check a claim on a model; returns the fault, or None."""
    script = Script(plan, plan.maker()(plan.dtype), WEIGHTS, Row())
    try:
        CLAIMS[claim].check(script, SETTINGS | settings)
    except FaultError as fault:
        return fault
    return None


def shows(fault):
    """Whether the program of a fault fails where lipviz is as it is now."""
    try:
        exec(reproducer(fault.lines), {})
    except AssertionError:
        return True
    return False


def changed_rule(monkeypatch, lower, upper):
    """Dense layers have these multiples of their constant as bounds."""
    true = registry.RULES[K.Dense]

    def bound(layer, shape, norm, exact):
        constant = true.bound(layer, shape, norm, exact).upper
        return registry.Bound(lower * constant, upper * constant, "changed")

    monkeypatch.setitem(registry.RULES, K.Dense, dataclasses.replace(true, bound=bound))


def halved_rule(monkeypatch):
    changed_rule(monkeypatch, 0.0, 0.5)


def doubled_rule(monkeypatch):
    changed_rule(monkeypatch, 2.0, 2.0)


def jumping_layer(monkeypatch):
    """Where an entry is 0, which a rule of theirs does not know."""
    monkeypatch.setattr(K.LeakyReLU, "call", lambda self, x: x + keras.ops.cast(x == 0, x.dtype))


def doubled_radius(monkeypatch):
    radius = certification.certified_radius

    def doubled(*args, **kwargs):
        found = radius(*args, **kwargs)
        return dataclasses.replace(found, radii=2 * found.radii)

    monkeypatch.setattr(certification, "certified_radius", doubled)


def halved_ball(monkeypatch):
    constants = Near.constants

    def halved(self, radius):
        found = constants(self, radius)
        return dataclasses.replace(found, bound=found.bound / 2)

    monkeypatch.setattr(Near, "constants", halved)


def flattered_accuracy(monkeypatch):
    accuracy = certification.certified_accuracy

    def flattered(*args):
        found = accuracy(*args)
        return dataclasses.replace(found, certified=np.ones_like(found.certified))

    monkeypatch.setattr(certification, "certified_accuracy", flattered)


def moving_statistics(monkeypatch):
    call = K.BatchNormalization.call
    monkeypatch.setattr(
        K.BatchNormalization, "call", lambda self, x, training=None, mask=None: call(self, x, training=True)
    )


def exceeded_k(monkeypatch):
    constrain = SpectralParametrization.constrain
    monkeypatch.setattr(SpectralParametrization, "_within_bound", lambda self, wbar: wbar)
    monkeypatch.setattr(
        SpectralParametrization,
        "constrain",
        lambda self, kernel: (1.1 * constrain(self, kernel)[0], constrain(self, kernel)[1]),
    )


def changed_export(monkeypatch):
    export = lipviz.vanillaModel

    def changed(model):
        copy = export(model)
        copy.weights[-1].assign(copy.weights[-1] + 0.1)
        return copy

    monkeypatch.setattr(lipviz, "vanillaModel", changed)


DENSE = stack("K.Dense(2)")
PLANTED = {
    "a rule times a half": (halved_rule, "bound", DENSE, {}, "bound Dense"),
    "a rule times two, attained": (doubled_rule, "bound", DENSE, {}, "lower bound too large"),
    "a layer that jumps": (jumping_layer, "bound", stack("K.LeakyReLU(0.3)"), {}, "bound LeakyReLU"),
    "a radius times two": (doubled_radius, "radius", DENSE, {}, "radius"),
    "a radius near a sample times two": (doubled_radius, "near", DENSE, {}, "radius"),
    "a bound in a ball times a half": (halved_ball, "near", DENSE, {}, "bound in a ball"),
    "a radius in float32 times two": (
        doubled_radius,
        "arithmetic",
        DENSE,
        {"dtype": "float32"},
        "radius in an arithmetic",
    ),
    "an accuracy of one": (flattered_accuracy, "radius", DENSE, {}, "certified accuracy"),
    "a model that moves a statistic": (
        moving_statistics,
        "inference",
        stack("K.BatchNormalization()"),
        {"deeds": [], "calls": ["model(x, training=False)"]},
        "model(x) moves a variable",
    ),
    "a norm above k": (
        exceeded_k,
        "k",
        stack("lip.SpectralDense(2)"),
        {"deeds": [("refresh", "lipviz.model.refresh(model)")]},
        "norm above k",
    ),
    "an export that differs": (
        changed_export,
        "round trip",
        DENSE,
        {"copy": "vanillaModel"},
        "other outputs: vanillaModel",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_fault_is_found_and_its_program_shows_it(case, monkeypatch):
    plant, claim, plan, settings, kind = PLANTED[case]
    assert check(claim, plan, **settings) is None
    with monkeypatch.context() as patch:
        plant(patch)
        fault = check(claim, plan, **settings)
        assert fault is not None
        assert fault.kind.startswith(kind)
        assert shows(fault)
    assert not shows(fault)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* is not known to be 1-Lipschitz")
def test_a_hunt_finds_a_planted_fault_and_makes_it_small(monkeypatch):
    halved_rule(monkeypatch)
    monkeypatch.setattr(drawing, "LAYERS", {name: LAYERS[name] for name in ("K.Dense", "K.Flatten")})
    told = []
    # No clock decides: it ends with the third model, and shrinks until nothing is left out.
    found = Hunt(5, 3600, ("bound",), models=3, told=told.append, shrinking=600).run()
    assert told == found.found
    assert found.rows["bound"].faults == len(found.found) >= 1
    assert "Dense" in found.found[0].kind
    assert found.found[0].program.count("K.Dense") == 1
    with pytest.raises(AssertionError):
        exec(found.found[0].program, {})
    assert "VIOLATION of bound" in report.summary(found, 1.0)


def drawn(seed, monkeypatch):
    """What a hunt of a few models draws; nothing is checked."""
    for module in CLAIMS.values():
        monkeypatch.setattr(module, "check", lambda script, settings: None)
    return Hunt(seed, 3600, models=2).run().drawn


@pytest.mark.nightly
@pytest.mark.slow
def test_the_same_seed_draws_the_same_models(monkeypatch):
    first = drawn(1, monkeypatch)
    assert len(first) == 2
    assert first == drawn(1, monkeypatch)
    assert first != drawn(2, monkeypatch)


def test_a_model_is_drawn_as_its_source_says():
    draft = Draft("float32")
    start = draft.input((None, 3), (2, 3), "float32")
    hidden = draft.layer("K.Dense(4, activation='relu')", start)
    assert draft.layer("K.Conv2D(1, 1)", hidden) is None  # which Keras refuses
    plan = draft.plan(f"keras.Model({start}, {hidden})")
    assert draft.model.output_shape == plan.maker()("float32").output_shape == (None, None, 4)
    assert plan.maker()("float64").output.dtype == "float64"
    assert "Conv2D" not in plan.source()


@pytest.mark.nightly
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_recipe_is_written_for_any_sizes(data):
    for name, (write, ranks) in LAYERS.items():
        for rank in ranks:
            for open_axis in (None, *range(rank)):
                shape = tuple(None if axis == open_axis else 4 for axis in range(rank))
                text = write(data.draw, shape, name)
                assert text is None or text.startswith(name), (name, shape, text)


def test_sizes_that_are_unknown_before_fit_the_whole_model():
    draft = Draft("float32")
    start = draft.input((None, 3), (2, 3), "float32")
    hidden = draft.layer("K.Conv1D(1, 3)", start)  # Keras takes it, and TensorFlow reads what is not there
    with pytest.raises(UnusableError, match="size"):
        draft.plan(f"keras.Model({start}, {hidden})")


def test_a_model_that_puts_two_samples_into_one_row_is_thrown_away():
    draft = Draft("float32")
    start = draft.input((2, 1), (2, 1), "float32")
    rows = draft.value(f"ops.reshape({start}, (-1, 4))")
    with pytest.raises(UnusableError, match="mixed"):
        draft.plan(f"keras.Model({start}, {rows})")


@pytest.mark.parametrize("step", ["K.Subtract()([x, x])", "ops.subtract(x, x)", "keras.Model(x, x - x)(x)"])
def test_what_a_step_does_to_several_inputs_is_not_held_against_one(step):
    plan = Plan(
        ("x = keras.Input((2, 3), dtype=floats)",), f"keras.Model(x, {step})", "float32", ((2, 3),), ("float32",)
    )
    assert check("bound", plan) is None


@pytest.mark.slow
def test_layers_without_sizes_and_activations_that_are_layers_are_attacked():
    lines = ("x = keras.Input((None, 2), dtype=floats)", "l = K.Dense(2, activation=K.PReLU(shared_axes=[1]))")
    plan = Plan(lines, "keras.Sequential([x, l])", "float32", ((3, 2),), ("float32",))
    assert check("bound", plan) is None


def test_a_reproducer_holds_only_what_it_uses():
    program = reproducer([DENSE.source(), "model = make('float32')", "assert_k(model)"])
    assert "def operator_norm" in program  # which assert_k uses
    assert "def fill" not in program
    exec(program, {})


def raised(function):
    try:
        function()
    except Exception as error:
        return judged(error)
    return None


def test_what_an_exception_means():
    assert isinstance(raised(lambda: lip.SpectralDense(2, k_coef_lip=-1.0)), RefusedError)
    assert isinstance(raised(lambda: K.Dense(-1)), UnusableError)
    assert isinstance(raised(lambda: lip.SpectralDense(2).build(3.5)), RefusedError)
    broken = raised(lambda: lipviz.certify(3))
    assert isinstance(broken, FaultError)  # a TypeError, as for what a user has confused: no model is one
    assert broken.kind == "TypeError (certification/graph.py, check_certifiable)"


def test_a_program_is_made_shorter():
    plan = stack("K.ReLU(negative_slope=0.5)", "K.Dense(2, use_bias=False)", "K.Flatten()")
    lines = [plan.source(), "model = make('float32')", "x = 1", "y = 2", "assert len(model.layers) == 0, y"]
    short = shrinking.shorter(FaultError("claim", "too many layers", lines), 20)
    assert "K.ReLU" not in short.lines[0]
    assert "use_bias" not in short.lines[0]
    assert short.lines[1:] == ["model = make('float32')", "y = 2", "assert len(model.layers) == 0, y"]


def test_what_a_program_does_not_show_is_said():
    fault = FaultError("claim", "seen", [DENSE.source(), "x = 1"])  # it runs without an error
    assert "seen once" in str(shrinking.shorter(fault, 1))


@pytest.mark.lists
def test_every_layer_and_operation_with_a_rule_is_drawn():
    ruled = {cls for cls in (*registry.RULES, *merging.MERGES) if cls.__module__.startswith(("keras.", "lipviz."))}
    ruled |= {cls for cls in vars(lip).values() if inspect.isclass(cls) and issubclass(cls, lip.ConstrainedKernel)}
    text = " ".join([*LAYERS, *MERGES])
    names = {(f"lip.{cls.__name__}" if cls.__module__.startswith("lipviz") else f"K.{cls.__name__}") for cls in ruled}
    missing = {name for name in names if not re.search(rf"{re.escape(name)}\b", text)}
    in_no_model = {"K.InputLayer", "lip.ConstrainedKernel"}  # which stand for themselves
    assert missing == in_no_model, "give the layer a recipe in tools/red_team/recipes.py"
    words = " ".join(OPERATIONS.values()).replace("_", "").lower()
    symbols = {"Add": "+", "Subtract": "-", "Multiply": "*", "TrueDivide": "/", "GetItem": "[", "Negative": "-"}
    same = {"Abs": "absolute", "Divide": "/", "Minimum": "minimum", "ReLU": "relu"}
    unwritten = {n for n in merging.OPERATIONS if symbols.get(n, same.get(n, n.lower())) not in words}
    assert unwritten <= {"Ravel", "Mish"}, "give the operation a line of OPERATIONS in tools/red_team/recipes.py"


# --- attacks ---


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_the_search_attains_the_norm_of_a_matrix(norm):
    matrix = np.random.default_rng(0).standard_normal((4, 6))
    best = attacks.search(lambda rows: rows @ matrix.T, 6, lambda rows: rows, np.random.default_rng(1))
    ratio, x, y = best[norm]
    exact = np.linalg.norm(matrix, norm)
    assert 0.999 * exact <= ratio <= exact * (1 + 1e-9)
    assert np.linalg.norm(matrix @ (x - y), norm) / np.linalg.norm(x - y, norm) == pytest.approx(ratio, rel=1e-6)


def test_rounding_is_not_taken_for_a_fault():
    plan = dataclasses.replace(stack("K.Rescaling(1.0, offset=2.0**40)", "K.Rescaling(1.0, offset=-(2.0**40))"))
    model = plan.maker()("float64")
    x, y = np.zeros(3), np.full(3, 1e-6)
    assert CLAIMS["bound"].rounding(model, plan, x, y, 2) >= 2.0**-12
    assert CLAIMS["bound"].rounding(DENSE.maker()("float64"), DENSE, x, y, 2) < 1e-12
    assert check("bound", plan) is None


def test_inputs_of_whole_numbers_stay_in_their_range():
    plan = dataclasses.replace(DENSE, shapes=((2,), (1,)), dtypes=("uint8", "bool"))
    snapped = CLAIMS["bound"].snapper(plan)(np.array([[-3.0, 2.4, 0.3], [1e9, 7.0, -1.0]]))
    np.testing.assert_array_equal(snapped, [[0, 2, 1], [100, 7, 0]])


def test_the_norm_of_an_operator():
    layer = lip.SpectralConv2D(2, 3, k_coef_lip=3.0)
    layer.build((None, 4, 4, 2))
    exact = np.linalg.norm(convolution_matrix(layer.wbar, (4, 4), (1, 1), "same"), 2)
    assert kit.operator_norm(layer) == pytest.approx(exact, rel=1e-12)
    assert exact <= 3.0


# --- the command ---


def test_arguments(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    chosen = command.parse(["--minutes", "2", "--seed", "7", "--backend", "jax", "--claims", "k", "round trip"])
    assert (chosen.minutes, chosen.seed, chosen.backend, chosen.claims) == (2, 7, "jax", ("k", "round trip"))
    assert os.environ["KERAS_BACKEND"] == "jax"
    assert command.parse([]).claims == tuple(CLAIMS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], "--minutes must be a number above 0. Received: 0"),
        (["--minutes", "nan"], "--minutes must be a number above 0. Received: nan"),
        (["--seed", "-1"], "--seed must be at least 0. Received: -1"),
        (
            ["--claims", "beauty"],
            "--claims must be of 'bound', 'radius', 'near', 'arithmetic', 'round trip', 'k', 'inference'. Received: "
            "beauty",
        ),
        (["--backend", "torch"], "invalid choice: 'torch'"),
    ],
)
def test_wrong_arguments(arguments, words, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    with pytest.raises(SystemExit) as stop:
        command.parse(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def hunted(models, own, *found):
    """A hunt that is over."""
    done = Hunt(0, 0.0, ["bound"])
    done.drawn, done.found, done.rows["bound"].own = [None] * models, list(found), own
    return done


def test_crashes_of_its_own_fail_a_hunt_only_where_there_are_many():
    violation = hunt.Found("bound", "bound Dense", "too small", "assert False", frozenset())
    crash = dataclasses.replace(violation, kind="red team (kit.py, run)", is_own=True)
    assert not hunted(100, 0).has_failed
    assert not hunted(100, 1, crash).has_failed
    assert hunted(99, 1, crash).has_failed
    assert hunted(100, 1, crash, violation).has_failed
    assert report.title(crash) == "FAULT OF THE RED TEAM in bound: red team (kit.py, run)"
    assert judged(own_error()).is_own


def test_a_line_that_uses_an_unknown_name_is_a_fault_of_its_own():
    with pytest.raises(FaultError, match="certify_all") as found:
        Script(DENSE, DENSE.maker()("float32"), WEIGHTS, Row()).run("certify_all(model)")
    assert found.value.is_own


def own_error():
    """An error that the red team's own code raises."""
    try:
        kit.run(None, [])
    except Exception as error:
        return error


@pytest.mark.parametrize("violations", [0, 1])
def test_the_command_prints_its_seed_first_and_a_table(violations, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())

    def run(self):
        for _ in range(violations):
            self.found.append(hunt.Found("bound", "bound Dense", "too small", "assert False", frozenset()))
            self.told(self.found[-1])
        return self

    monkeypatch.setattr(Hunt, "run", run)
    assert command.main(["--seed", "7", "--claims", "bound"]) == violations
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Seed: 7"
    assert any(line.startswith("claim  models  checked  infinite") for line in printed)
    assert ("assert False" in printed) is bool(violations)
    command.main(["--claims", "bound"])
    assert capsys.readouterr().out.splitlines()[0] != "Seed: 7"


def test_what_keras_itself_forgets_is_no_fault_of_lipviz():
    """Keras loads a SpatialDropout1D of a mixed policy with float32; the export, made by lipviz, is still compared."""
    plan = dataclasses.replace(stack("K.SpatialDropout1D(0.5)", shape=(1, 1)), dtype="mixed_float16")
    assert check("round trip", plan, copy="save") is None
    assert check("round trip", plan, copy="vanillaModel") is None
