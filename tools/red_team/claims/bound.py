"""No pair of inputs beats the certified bound, in l1, l2 or l∞; what is said to be attained is."""

import math

import keras
import numpy as np
from hypothesis import strategies as st

from lipviz.certification.graph import Trace, input_flows
from lipviz.keras_internals import KerasFunctional, graph_calls, inner_layers
from tools.red_team import attacks, drawing, kit
from tools.red_team.faults import FaultError, UnusableError
from tools.red_team.recipes import yes

NAME = "bound"
COARSE = ("MaxPooling3D", "AveragePooling3D", "UpSampling2D", "UpSampling1D")  # which TensorFlow computes in float32


def draw(data, refused):
    """A case: plan, model, and settings."""
    plan, model = drawing.model(data, refused)
    return (
        plan,
        model,
        {
            "weights": drawing.weights(data),
            "search": yes(data) and yes(data) and yes(data),
            "method": data(st.sampled_from(("auto", "tight"))),
            "seed": data(st.integers(0, 999)),
        },
    )


def check(script, settings):
    """Attack the bounds of a model."""
    plan, model = script.plan, script["model"]
    rng = np.random.default_rng(settings["seed"])
    known = list(plan.shapes)
    shapes = tuple(known) if len(known) > 1 else known[0]
    runs(script)
    method = settings.get("method", "auto")
    bounds = {}
    for norm in attacks.NORMS:
        given = "'inf'" if norm == math.inf else norm
        certificates = [certified(script, f"lipviz.certify(model, norm={given}, method={method!r}, search=False)")]
        together(script, certificates[0], given)
        if any(None in tensor.shape[1:] for tensor in model.inputs):
            certificates.append(
                certified(script, f"lipviz.certify(model, {shapes}, norm={given}, method={method!r}, search=False)")
            )
        attained(script, certificates[-1])
        bounds[norm] = min(certificate.upper_bound for certificate in certificates)
        script.tally.bound(math.isfinite(bounds[norm]))
        lowest = certificates[-1]
    if settings["search"] and len(model.inputs) == 1:
        script.run("found = lipviz.certify(model, search=True)")
        script.run("assert 0 <= found.lower_bound <= found.upper_bound")
    if not any(math.isfinite(bound) for bound in bounds.values()):
        return
    for x, y, norm, ratio in beaten(script, bounds, rng):
        lines = evidence(script, x, y, norm, method)
        script.fail(
            f"bound {kinds(lowest)}",
            f"certified {bounds[norm]:.9g} in l{norm}, a pair is stretched by {ratio:.9g}",
            *lines,
        )


def together(script, certificate, norm):
    """Several steps together have no larger bound than their product, and each stretch gains."""
    lines = [
        f"certificates = [lipviz.certify(model, norm={norm}, method=m, search=False) "
        f"for m in ('product', {certificate.origin.method!r})]",
        "assert certificates[1].upper_bound <= certificates[0].upper_bound * (1 + 1e-12)",
        "assert all(0 <= stretch.upper < stretch.product for stretch in certificates[1].stretches)",
    ]
    with script.naming("several steps together"):
        script.run(*lines)


def kinds(certificate):
    return ", ".join(sorted({row.kind for row in certificate.layers}))


def runs(script):
    """The model must run at all: layers are made for floating-point numbers, and often fail on others."""
    try:
        script.run(f"run(model, {samples_text(script.plan)})")
    except FaultError as fault:
        if any("float" not in dtype for dtype in script.plan.dtypes):
            raise UnusableError(fault.kind) from fault
        raise


def samples_text(plan, count=2):
    return (
        "["
        + ", ".join(
            f"np.ones({(count, *shape)}, {dtype!r})" for shape, dtype in zip(plan.shapes, plan.dtypes, strict=True)
        )
        + "]"
    )


def certified(script, expression):
    """A certificate, whose own words do not contradict each other."""
    certificate = script.value(expression)
    name = script.lines[-1].split(" = ")[0]
    for row in certificate.layers:
        if not 0 <= row.lower <= row.upper:
            line = f"assert all(0 <= row.lower <= row.upper for row in {name}.layers)"
            script.fail("lower above upper", f"'{row.name}': lower {row.lower}, upper {row.upper}", line)
    with script.naming("lower above upper"):
        script.run(f"assert 0 <= {name}.lower_bound <= {name}.upper_bound")
    script.run(f"str({name}), {name}.to_json()")
    return certificate


def attained(script, certificate):
    """Of a linear step of one input, the lower bound is compared with the norm of its matrix.

    A step of several inputs is said to stretch changes of all of them together, which the model may not allow: it may
    subtract a value from itself.
    """
    (shape, *others), steps = script.plan.shapes, certificate.layers
    is_alone = len(steps) == 1 and not others and script.plan.dtypes[0] == "float32" and math.prod(shape) <= 48
    if not is_alone or merges(script["model"]) or kit.half(script["model"]) or not 0 < steps[0].lower < math.inf:
        return
    matrix = kit.matrix_of(kit.twin(script["make"], script["model"]), shape)
    room = 1 + (1e-4 if is_coarse(script.plan) else 1e-6)
    if matrix is not None and steps[0].lower > np.linalg.norm(matrix, certificate.norm) * room:
        order = "math.inf" if certificate.norm == math.inf else certificate.norm
        script.fail(
            "lower bound too large",
            f"'{steps[0].name}' is said to stretch by {steps[0].lower:.9g} in l{certificate.norm}, and does not",
            f"certificate = lipviz.certify(model, {shape}, norm={order}, search=False)",
            f"matrix = matrix_of(twin(make, model), {shape})",
            f"assert certificate.layers[0].lower <= np.linalg.norm(matrix, {order}) * (1 + 1e-4)",
        )


def merges(model):
    """Whether a step in a model has several inputs."""
    parts = [part for part in (model, *inner_layers(model)) if isinstance(part, KerasFunctional)]
    return any(len(call.inputs) > 1 for part in parts for call in graph_calls(part))


def is_coarse(plan):
    """Whether a backend computes some of a model in float32, whatever it is asked for."""
    return keras.backend.backend() == "jax" or any(name in " ".join(plan.lines) for name in COARSE)


def parts_of(plan):
    """Sizes of the inputs, as one vector."""
    return [math.prod(shape) for shape in plan.shapes]


def snapper(plan):
    """Function that makes rows what the inputs can be."""
    sizes = parts_of(plan)

    def snap(rows):
        columns = []
        for part, dtype in zip(np.split(rows, np.cumsum(sizes)[:-1], axis=1), plan.dtypes, strict=True):
            if dtype == "bool":
                part = (part > 0).astype(np.float64)
            elif "int" in dtype:
                low = 0 if dtype == "uint8" else -100
                part = np.clip(np.round(part), low, 100)
            columns.append(part)
        return np.concatenate(columns, axis=1)

    return snap


def function_of(plan, model):
    """A function of rows, all inputs side by side."""
    sizes = parts_of(plan)

    def function(rows):
        parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        given = [
            part.reshape(-1, *shape).astype(dtype if dtype != "float32" else "float64")
            for part, shape, dtype in zip(parts, plan.shapes, plan.dtypes, strict=True)
        ]
        return kit.run(model, given)

    return function


def twins(script):
    """The model in float64; in half precision twice, with weights as stored and rounded; and that dtype, or None."""
    model = script["model"]
    rounded = kit.half(model)
    others = [kit.twin(script["make"], model)]
    if rounded:
        others.append(kit.twin(script["make"], model, rounded))
    return others, rounded


def beaten(script, bounds, rng):
    """Pairs that beat a bound by more than rounding: yields (x, y, norm, ratio)."""
    plan = script.plan
    others, rounded = twins(script)
    functions = [function_of(plan, other) for other in others]
    coarse = is_coarse(plan)
    depth = 2 + len(inner_layers(others[0]))
    room = (1 + 2.0**-6) ** depth if rounded else 1 + (1e-4 if coarse else 1e-9)
    best = attacks.search(functions[0], sum(parts_of(plan)), snapper(plan), rng, coarse)
    for norm, (ratio, x, y) in best.items():
        bound = bounds[norm]
        if not math.isfinite(bound) or ratio <= bound * room:
            continue
        ratios = [certain(function, x, y, norm, 1e-6 if coarse else 0.0) for function in functions]
        if min(ratios) <= bound * room:
            continue
        noise = max(rounding(other, plan, x, y, norm) for other in others) / np.linalg.norm(x - y, norm)
        if min(ratios) > bound * room + noise:
            yield x, y, norm, min(ratios)


def certain(function, x, y, norm, unit):
    """Ratio of a pair, less what a rounding of the outputs by `unit` makes of it."""
    values = function(np.stack([x, y]))
    stretched = np.linalg.norm(values[0] - values[1], norm) - unit * np.abs(values).sum()
    return stretched / np.linalg.norm(x - y, norm)


def rounding(model, plan, x, y, norm):
    """What rounding of hidden values may add to f(x) − f(y), as lipviz derives it; infinite where it cannot."""
    try:
        inputs = input_flows(model, list(plan.shapes), rounds=True)
        outputs = Trace(2, rounds=True).follow(model, inputs)
    except Exception:  # an operation that does not run on zeros, say: nothing is known then
        return math.inf
    flows = keras.tree.flatten(outputs)
    constant, slope = np.sum([flow.gains[-2:] for flow in flows], axis=0)
    off = 2 * constant + slope * (np.linalg.norm(x) + np.linalg.norm(y))
    return off * math.sqrt(sum(flow.size or 1 for flow in flows) if norm == 1 else 1)


def evidence(script, x, y, norm, method):
    """Lines that show a pair."""
    parts = []
    for row in (x, y):
        values = np.split(row, np.cumsum(parts_of(script.plan))[:-1])
        parts.append(
            [
                f"np.reshape({value.tolist()!r}, {(1, *shape)}).astype({dtype.replace('float32', 'float64')!r})"
                for value, shape, dtype in zip(values, script.plan.shapes, script.plan.dtypes, strict=True)
            ]
        )
    shapes = script.plan.shapes if len(script.plan.shapes) > 1 else script.plan.shapes[0]
    order = "math.inf" if norm == math.inf else norm
    return [
        "x, y = " + ", ".join(f"[{', '.join(part)}]" for part in parts),
        "double = twin(make, model)  # in float64, with the same weights",
        f"stretched = np.linalg.norm((run(double, x) - run(double, y))[0], {order})",
        f"distance = np.linalg.norm(np.concatenate([np.ravel(a * 1.0 - b * 1.0) for a, b in zip(x, y)]), {order})",
        f"bound = lipviz.certify(model, {shapes!r}, norm={order}, method={method!r}, search=False).upper_bound",
        'assert stretched <= bound * distance * (1 + 1e-6), f"{stretched / distance} is above {bound}"',
    ]
