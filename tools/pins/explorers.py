"""Words and numbers of all explorers, at 24 states each, without a figure.

The first state is the explorer's own (with a smaller network where it has one that trains). In some more each number
stands at one of its ends, then follow draws; a choice goes through all that it offers. The state stands beside what it
gives, and `controls` holds what there is to choose, so that a change of either shows. A state that is refused gives the
words of its error.

Not pinned:

- times;
- what a training ends at: a step of Adam divides each gradient by its own size, and so makes a rounding of a small one
  as large as a step. `boundaries`, `playground` and `wasserstein` are measured before their first step; of `bjorck`
  kernels that were trained on digits are left out; `certificates` certifies a network whose weights are drawn, and
  attacks nothing; `tradeoff` shows the table that lipviz comes with;
- networks of other sizes and seeds in `boundaries`, `playground` and `wasserstein`: to build one takes seconds;
- other backends than TensorFlow, whose random numbers the networks of some explorers start from.
"""

import re
import zlib

import ipywidgets as widgets

from tools.pins import draws, rounding

FILE = "explorers.json"
STATES = 24
_AT_ENDS = {"": 8, "certificates": 2, "fooled": 2, "kinds": 4}  # of the states; more of few controls would be the same
# Choices that are left out, since a training comes before them.
_LEFT_OUT = {
    "layers": {"layer": ("AO", "Cayley", "BRO", "SLL")},  # later ones, so that the states stay
    "bjorck": {"kernel": ("digits: ",)},
}
# Each other network, and each other seed of one, takes a second to build: a constrained one and a plain one serve all.
_FIXED = {
    "boundaries": {
        "activation": ("groupsort2", "relu"),
        "width": (8, 8),
        "depth": (1, 1),
        "constrained": (True, False),
        "k": (2.0, 2.0),
        "seed": (0, 0),
    },
    "wasserstein": {"activation": ("groupsort2", "fullsort"), "width": (8, 8), "depth": (1, 1), "seed": (0, 0)},
    "playground": {
        "activation": ("groupsort2", "relu"),
        "width": (8, 8),
        "depth": (1, 1),
        "k": (1.0, 1.0),
        "loss": ("crossentropy", "hkr"),
        "seed": (0, 0),
    },
}
_FIRST = 16  # states with the first of them
_NUMBERED = re.compile(r"'(\w+?)_\d+'")  # Keras numbers the names of layers by the order in which they are made
_TIME = re.compile(r"\d+\.\d+ ms")


def present():
    """{"name of an explorer, number of a state": {"state": …, "alt": …, "statement": …, "numbers": …}}."""
    from lipviz.explorers import entries

    found = {}
    for entry in entries():
        explorer = _undrawn(entry)
        controls = explorer.controls
        found[f"{entry.name}, controls"] = {name: _offered(control) for name, control in controls.items()}
        for number, state in enumerate(_states(entry.name, explorer)):
            found[f"{entry.name}, state {number}"] = _shown(explorer, state)
        explorer.close()
    return found


def _undrawn(entry):
    """An explorer that computes when it is asked to, draws nothing, and starts no work."""
    kind = type(entry.class_name, (entry.load(),), {"refresh": _nothing, "start": _nothing})
    return kind(*_digits_classifier()) if entry.name == "certificates" else kind()


def _nothing(self, *_):
    """What an explorer does here on its own."""


def _digits_classifier():
    """A network of drawn weights, and digits."""
    import keras

    from lipviz import Sequential, data, layers

    _, (x, y) = data.digits()
    x = x.reshape(len(x), -1)[:60]
    hidden = [keras.Input((64,)), layers.SpectralDense(16, layers.GroupSort2())]
    model = Sequential([*hidden, layers.FrobeniusDense(10)], name="drawn")
    draws.set_weights(model, "digits")
    return model, x, y[:60]


def _shown(explorer, state):
    # Set without a reaction: what is shown depends on the controls where `compute` reads them.
    explorer.state = state
    explorer.forget()
    entry = {"state": _plain(explorer.state)}
    try:
        data = explorer.compute(**explorer.state)
    except ValueError as error:
        return entry | {"error": _words(error)}
    numbers = {name: _TIME.sub("… ms", value) for name, value in explorer.numbers(data)}
    return entry | {"alt": explorer.alt_text(data), "statement": explorer.statement(data), "numbers": numbers}


def _words(error):
    """The message of lipviz's own errors; what Keras says is its own affair."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    if not trace.tb_frame.f_globals["__name__"].startswith("lipviz"):
        return "refused by a library"
    return _NUMBERED.sub(r"'\1'", str(error))


def _plain(state):
    """Values as JSON reads them again; powers of ten differ in their last bit."""
    return {name: float(f"{v:.10g}") if isinstance(v, float) else v for name, v in state.items()}


# --- states ---


def _offered(control):
    """What a control offers, and its value at the beginning."""
    if hasattr(control, "options"):
        return {"offers": [[text, value] for text, value in control.options], "default": control.value}
    if isinstance(control, widgets.Checkbox):
        return {"offers": [False, True], "default": control.value}
    if isinstance(control, widgets.Text):
        return {"offers": "text", "default": control.value}
    ends = {"from": control.min, "to": control.max, "step": control.step}
    return ends | {"is log": isinstance(control, widgets.FloatLogSlider), "default": control.value}


def _states(name, explorer):
    columns = {control: _column(name, control, widget) for control, widget in explorer.controls.items()}
    return [{control: values[i] for control, values in columns.items()} for i in range(STATES)]


def _column(explorer, name, control):
    """The values of a control in all states. They depend on the control alone, so that a new one moves no other."""
    shift = zlib.crc32(f"{explorer} {name}".encode())
    if name in _FIXED.get(explorer, {}):
        first, second = _FIXED[explorer][name]
        return [first] * _FIRST + [second] * (STATES - _FIRST)
    if isinstance(control, widgets.Text):
        return [control.value] * STATES
    if hasattr(control, "options") or isinstance(control, widgets.Checkbox):
        offers = [value for _, value in control.options] if hasattr(control, "options") else [False, True]
        left_out = _LEFT_OUT.get(explorer, {}).get(name, ())
        offers = [value for value in offers if not str(value).startswith(left_out or "\0")]
        return [control.value, *(offers[(i + shift) % len(offers)] for i in range(1, STATES))]
    at_ends = _AT_ENDS.get(explorer, _AT_ENDS[""])
    ends = [*(draws.uniform(f"{explorer} {name} ends", (at_ends - 2,)) > 0).astype(int), 0, 1]
    shares = [*ends, *draws.uniform(f"{explorer} {name}", (STATES - 1 - at_ends,), 0.0)]
    return [control.value, *(_at(control, share) for share in shares)]


def _at(control, share):
    """The value of a slider at a share of its way."""
    steps = round((control.max - control.min) / control.step)
    place = control.min + control.step * round(steps * share)
    if isinstance(control, widgets.FloatLogSlider):
        return float(f"{control.base**place:.10g}")
    return int(place) if isinstance(control, widgets.IntSlider) else round(place, 10)


# --- tolerance ---

# Dtype of the computation, matrix products, and length of their sums.
COMPUTED = {
    "fooled": ("float64", 4, 784),
    "cone": ("float64", 1, 1),
    "bjorck": ("float32", 4, 128),
    "layers": ("float32", 12, 100),
    "kinds": ("float32", 28, 144),
    "activations": ("float32", 4, 8),
    "gradients": ("float64", 50, 128),
    "boundaries": ("float32", 16, 64),
    "playground": ("float32", 16, 64),
    "convolutions": ("float64", 16, 256),
    "wasserstein": ("float32", 16, 64),
    "certificates": ("float32", 12, 64),
    "tradeoff": ("float64", 4, 360),
}


def tolerance(name, key):
    """That of the explorer's products; for numbers that are zero but for rounding, of terms of size 1."""
    if key in ("state", "error") or name.endswith("controls"):
        return rounding.of_products("float64", 4, 1)
    return rounding.of_products(*COMPUTED[name.split(",")[0]], size=1.0)
