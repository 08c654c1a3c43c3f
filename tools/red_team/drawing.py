"""Draws models, by hypothesis: which steps there are, how they hang together, of which dtypes and sizes."""

import keras
from hypothesis import strategies as st

from tools.red_team.drafts import Draft
from tools.red_team.faults import UnusableError
from tools.red_team.recipes import LAYERS, MERGES, OPERATIONS, pick, some, yes

_KINDS = ("lip.Spectral", "lip.Frobenius", "lip.AO", "lip.Cayley", "lip.BRO", "lip.SLL")
CONSTRAINED = tuple(name for name in LAYERS if name.startswith(_KINDS))
POLICIES = ("float32", "float32", "float32", "float64", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
WHOLE = ("int32", "uint8", "bool", "int8")


def policies(draw):
    """A dtype policy; JAX computes in float64 only where it is told to."""
    usable = [name for name in POLICIES if keras.backend.backend() != "jax" or name != "float64"]
    return pick(draw, *usable)


# --- parts ---


def any_input(draw, draft):
    """An input: mostly a vector or a small image of floats; rarely of unknown sizes, or whole numbers."""
    rank = pick(draw, 1, 3, 2, 4)
    concrete = tuple(some(draw, 4 if rank < 4 else 2) for _ in range(rank))
    stated = concrete
    if rank > 1 and draw(st.integers(0, 5)) == 5:
        stated = tuple(None if yes(draw) else size for size in concrete[:-1]) + concrete[-1:]
    dtype = pick(draw, *WHOLE) if draw(st.integers(0, 23)) == 23 else "float32"
    return draft.input(stated, concrete, dtype)


def fitting(shape, names):
    return [name for name in names if len(shape) in LAYERS[name][1]]


def layer_text(draw, shape, names=None):
    """Source of a layer for values of a shape; None where there is none."""
    usable = fitting(shape, names or LAYERS) or fitting(shape, LAYERS)
    if not usable:
        return None
    name = draw(st.sampled_from(usable))
    return LAYERS[name][0](draw, shape, name)


def chain(draw, draft, start, count, names):
    """Layers one behind the other; returns the last value."""
    value = start
    for _ in range(count):
        text = layer_text(draw, draft.shape(value), names)
        value = (draft.layer(text, value) if text else None) or value
    return value


def inner_stack(draw, draft, value, names):
    """A nested model: a Sequential of Keras's or lipviz's, or a functional one."""
    shape = draft.shape(value)
    lines, values, layers = len(draft.lines), len(draft.values), len(draft.layers)
    start = draft.name("x")
    taken = "floats" if draw(st.integers(0, 15)) < 15 else repr(pick(draw, *WHOLE))  # Keras converts to it
    if not draft.write(f"{start} = keras.Input({shape!r}, dtype={taken})"):
        return None
    end = chain(draw, draft, start, some(draw), names)
    made = [name for name, _ in draft.layers[layers:]]
    kind = pick(draw, "lipviz.Sequential", "keras.Model", "keras.Sequential", "lipviz.Model")
    part = draft.name("part")
    if "Sequential" in kind:
        k = f", k_coef_lip={pick(draw, 1.0, 3.0, 0.2, 100.0)}" if kind == "lipviz.Sequential" else ""
        kept = [line for line in draft.lines[lines:] if not line.startswith("v")][1:]
        draft.forget(lines, values)
        draft.lines.extend(kept)
        del draft.layers[layers:]
        text = f"{kind}([keras.Input({shape!r}, dtype={taken}), {', '.join(made)}]{k})"
    else:
        del draft.values[values:]
        del draft.layers[layers:]
        text = f"{kind}({start}, {end})"
    return draft.value(f"{part}({value})") if draft.write(f"{part} = {text}") else None


def step(draw, draft, names):
    """Add one step behind a value, mostly behind the newest."""
    value = draft.values[-1] if draw(st.integers(0, 3)) < 3 else pick(draw, *draft.values)
    kind = draw(st.integers(0, 11))
    if kind < 6:
        text = layer_text(draw, draft.shape(value), names)
        return text and draft.layer(text, value)
    if kind < 8:
        return draft.value(
            draw(st.sampled_from(list(OPERATIONS.values()))).format(x=value, y=pick(draw, *draft.values))
        )
    if kind < 10:
        shape = draft.shape(value)
        near = [other for other in draft.values if len(draft.shape(other)) == len(shape)]
        return draft.value(pick(draw, *MERGES).format(x=value, y=pick(draw, *near)))
    if kind == 10:
        same = [name for name, shape in draft.layers if shape == draft.shape(value)]
        return draft.value(f"{pick(draw, *same)}({value})") if same else None
    return inner_stack(draw, draft, value, names)


def head(draw, draft):
    """A classifier's end."""
    value = draft.values[-1]
    if len(draft.shape(value)) > 1:
        value = draft.layer("K.Flatten()", value) or value
    last = pick(draw, "K.Dense", "lip.FrobeniusDense", "lip.SpectralDense", "")
    if last:
        ends = pick(draw, None, None, "softmax", "sigmoid")
        value = draft.layer(f"{last}({some(draw, 4)}, activation={ends!r})", value) or value
    if draw(st.integers(0, 7)) == 7:
        draft.layer(pick(draw, "K.Softmax()", "K.Activation('sigmoid')"), value)


# --- models ---


def scaling(draw, draft, value, first):
    """The value behind a layer that scales the input, in half of the cases where there are such layers."""
    text = layer_text(draw, draft.shape(value), first) if first and yes(draw) else None
    return (draft.layer(text, value) if text else None) or value


def graph(draw, draft, names=None, inputs=1, ends=False, steps=4, first=()):
    """A functional model of several steps; returns a `Plan`."""
    for _ in range(inputs):
        any_input(draw, draft)
    scaled = scaling(draw, draft, draft.values[-1], first)
    if scaled not in draft.inputs and yes(draw):  # as `lipviz.recipes.with_scaling` makes a model
        inner_stack(draw, draft, scaled, names)
    for _ in range(some(draw, steps)):
        step(draw, draft, names)
    if ends:
        head(draw, draft)
    single = inputs == 1
    taken = draft.inputs[0] if single else f"[{', '.join(draft.inputs)}]"
    given = draft.values[-1]
    if not ends and draw(st.integers(0, 9)) == 9:
        given = pick(draw, "[{0}, {1}]", "{{'a': {0}, 'b': {1}}}").format(given, pick(draw, *draft.values))
    if draw(st.integers(0, 9)) == 9:
        taken = "{" + ", ".join(f"'{name}': {name}" for name in reversed(draft.inputs)) + "}"
    kind = pick(draw, "keras.Model", "lipviz.Model")
    return draft.plan(f"{kind}({taken}, {given})")


def stack(draw, draft, names=None, ends=False, steps=4, kinds=("lipviz.Sequential", "keras.Sequential"), first=()):
    """A Sequential model; returns a `Plan`."""
    start = any_input(draw, draft)
    chain(draw, draft, scaling(draw, draft, start, first), some(draw, steps), names)
    if ends:
        head(draw, draft)
    layers = [name for name, _ in draft.layers]
    if not layers:
        raise UnusableError("no layer")
    shape = draft.shape(start)
    draft.lines[:] = [line for line in draft.lines if not line.startswith(("v", "x"))]
    kind = pick(draw, *kinds)
    k = f", k_coef_lip={pick(draw, 1.0, 3.0, 0.2, 100.0)}" if kind == "lipviz.Sequential" else ""
    dtype = "floats" if draft.dtypes[0] == "float32" else repr(draft.dtypes[0])
    return draft.plan(f"{kind}([keras.Input({shape!r}, dtype={dtype}), {', '.join(layers)}]{k})")


def model(draw, refused, names=None, ends=False, one_input=False, first=()):
    """Any model; returns the tuple (plan, model). If there are layers `first`, half of the models begin with one."""
    draft = Draft(policies(draw), refused)
    if yes(draw):
        plan = stack(draw, draft, names, ends, first=first)
    else:
        inputs = 2 if not one_input and draw(st.integers(0, 4)) == 4 else 1
        plan = graph(draw, draft, names, inputs, ends, first=first)
    return plan, draft.model


def weights(draw):
    """Arguments of `kit.fill` behind the model."""
    exponents = pick(draw, (0.0,), (0.0, -1.0, 1.0), (-6.0, 0.0, 4.0), (-12.0, 8.0), (-30.0,), (15.0, 0.0))
    shapes = pick(draw, ("normal",), ("normal", "rank one", "zero", "ones"), ("kept",), ("zero",))
    return draw(st.integers(0, 99)), exponents, shapes
