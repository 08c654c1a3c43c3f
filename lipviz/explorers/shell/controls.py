"""Controls with a label, a help text and a readout of their value. They report a value when the reader lets go."""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import traitlets

_LABEL_WIDTH = "160px"  # fits the longest labels: Inverse temperature τ, Smallest singular value
_DECIMALS = 7  # decimals to which pages round the position of a slider


def slider(
    label: str, value: float, lowest: float, highest: float, step: float, help_text: str
) -> widgets.IntSlider | widgets.FloatSlider:
    """A slider over numbers; over whole numbers if `step` is an int.

    Args:
        label: Text beside the control.
        value: Initial value.
        lowest: Lower end.
        highest: Upper end.
        step: Distance of neighbouring values.
        help_text: Tooltip.
    """
    kind = widgets.IntSlider if isinstance(step, int) else widgets.FloatSlider
    return kind(value=value, min=lowest, max=highest, step=step, **_common(label, help_text))


def log_slider(label: str, value: float, lowest: float, highest: float, help_text: str) -> widgets.FloatLogSlider:
    """A slider on a logarithmic scale, with ten steps per power of ten; `lowest` and `highest` are exponents.

    See `slider` for the other arguments.
    """
    return widgets.FloatLogSlider(
        value=value, base=10, min=lowest, max=highest, step=0.1, readout_format=".3", **_common(label, help_text)
    )


def choice(label: str, options: Sequence[tuple[str, Any]], help_text: str, value: Any = None) -> widgets.Dropdown:
    """A drop-down list; `options` are (text, value) pairs, the first is chosen if `value` is None. See `slider`."""
    common = _common(label, help_text)
    del common["continuous_update"]
    chosen = {} if value is None else {"value": value}
    return widgets.Dropdown(options=options, **chosen, **common)


def toggle(label: str, value: bool, help_text: str) -> widgets.Checkbox:
    """A checkbox, for True and False. See `slider` for the arguments."""
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


def accepts(control: widgets.Widget, value: Any) -> bool:
    """Set a control, and return whether it took the value unchanged. A list, as in JSON, may stand for a tuple."""
    value = tuple(value) if isinstance(value, list) and isinstance(control.value, tuple) else value
    try:
        control.value = value
    except traitlets.TraitError:
        return False
    return control.value == value


def value_at(control: widgets.Widget, position: float) -> float:
    """The value of a slider at a position of its handle, which is the exponent on a logarithmic scale."""
    position = min(max(round(position, _DECIMALS), control.min), control.max)
    if isinstance(control, widgets.FloatLogSlider):
        return control.base**position
    return round(position) if isinstance(control, widgets.IntSlider) else position


def range_of(control: widgets.Widget) -> str:
    """The values that a control accepts, in words."""
    if hasattr(control, "range_words"):
        return control.range_words
    if isinstance(control, widgets.Checkbox):
        return "True or False"
    if isinstance(control, widgets.Dropdown):
        return "one of " + ", ".join(repr(value) for _, value in control.options)
    lowest, highest = control.min, control.max
    if isinstance(control, widgets.FloatLogSlider):
        lowest, highest = control.base**lowest, control.base**highest
    return f"{lowest:g} to {highest:g}"
