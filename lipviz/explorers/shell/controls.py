"""Controls with a label, a help text and a readout of their true value, that wait until the reader lets go."""

import math

import ipywidgets as widgets
import traitlets

_LABEL_WIDTH = "156px"  # of the longest: inverse temperature τ
_DECIMALS = 7  # to which pages round the places of a slider


def slider(label, value, lowest, highest, step, help_text):
    """A slider over numbers; whole ones where `step` is.

    Args:
        label: Text tied to the control.
        value: At the beginning.
        lowest: Lower end.
        highest: Upper end.
        step: Distance of neighbouring values.
        help_text: Tooltip.
    """
    kind = widgets.IntSlider if isinstance(step, int) else widgets.FloatSlider
    return kind(value=value, min=lowest, max=highest, step=step, **_common(label, help_text))


def log_slider(label, value, lowest, highest, help_text):
    """A slider over powers of ten, ten steps each; `lowest` and `highest` are exponents.

    See `slider` for the other arguments.
    """
    return widgets.FloatLogSlider(
        value=value, base=10, min=lowest, max=highest, step=0.1, readout_format=".2e", **_common(label, help_text)
    )


def choice(label, options, help_text, value=None):
    """A drop-down list; `options` are (text, value) pairs, the first is chosen where `value` is None. See `slider`."""
    common = _common(label, help_text)
    del common["continuous_update"]
    chosen = {} if value is None else {"value": value}
    return widgets.Dropdown(options=options, **chosen, **common)


def toggle(label, value, help_text):
    """A box to tick, for True and False. See `slider` for the arguments."""
    common = _common(label, help_text)
    del common["continuous_update"]
    return widgets.Checkbox(value=value, **common)


def _common(label, help_text):
    return {
        "description": label,
        "tooltip": help_text,
        "continuous_update": False,
        "style": {"description_width": _LABEL_WIDTH},
        "layout": widgets.Layout(width="calc(100% - 6px)"),
    }


def accepts(control, value):
    """Set a control, and say whether it took the value as it is; a list, as of JSON, may stand for a tuple."""
    value = tuple(value) if isinstance(value, list) and isinstance(control.value, tuple) else value
    try:
        control.value = value
    except traitlets.TraitError:
        return False
    return control.value == value


def is_set_by_page(control):
    """Whether a page, and no code, is setting a control just now: asked while its observers are called.

    ipywidgets has no public name for that. `Widget.set_state`, which takes in what a page sends, notes the values in
    this private attribute for as long as it sets them, to send none of them back.
    """
    return bool(getattr(control, "_property_lock", None))


def next_value(control, before):
    """The value that a slider gets next if it goes on as it went; None at its end, and of other controls."""
    if not isinstance(control, widgets.IntSlider | widgets.FloatSlider | widgets.FloatLogSlider):
        return None
    is_log = isinstance(control, widgets.FloatLogSlider)
    place = math.log(control.value, control.base) if is_log else control.value
    place = round(place + math.copysign(control.step, control.value - before), _DECIMALS)
    if not control.min <= place <= control.max:
        return None
    return control.base**place if is_log else type(control.value)(place)


def range_of(control):
    """What a control takes, in words."""
    if isinstance(control, widgets.Checkbox):
        return "True or False"
    if isinstance(control, widgets.Dropdown):
        return "one of " + ", ".join(repr(value) for _, value in control.options)
    lowest, highest = control.min, control.max
    if isinstance(control, widgets.FloatLogSlider):
        lowest, highest = control.base**lowest, control.base**highest
    return f"{lowest:g} to {highest:g}"
