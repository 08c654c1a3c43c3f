"""The form of a prediction: a control for the guess, a button that commits it, the reply, and what it opens.

The form knows nothing of the course. Whoever asks gives it the kind of guess, and functions that reply.
"""

import html
import re
from collections.abc import Callable
from typing import Any, Protocol

import ipywidgets as widgets

from lipviz.explorers.shell import page, pictures

_LABEL = {"description_width": "auto"}
_PLACES = 100  # positions of a slider of a curve
_SOON = 0.2  # seconds in which a value follows the key that sends it
_FIRST = {"number": "Type a number first", "choice": "Choose one first"}  # a curve has values from the start


class Asking(Protocol):
    """What asks: `lipviz.course` has it."""

    prediction: Any
    reveal: tuple[Any, ...]

    @property
    def guess(self) -> Any:
        """The guess that was committed; None before that."""

    def commit(self, guess: Any) -> Any:
        """Keeps a guess, and returns the reply, which has `to_html`."""

    def reply(self, guess: Any) -> Any:
        """The reply to a guess that was kept."""


class Form:
    """The widgets of one prediction.

    Args:
        asking: What asks.

    Attributes:
        control: Box of the controls of the guess.
        button: Commits the guess.
        answer: HTML of the reply.
        opened: Box of what the guess opens.
        widget: Box of all of them, which a notebook shows.
    """

    def __init__(self, asking: Asking):
        self._asking = asking
        kind = asking.prediction.kind
        self._inputs, self._value = _MAKERS[kind.form](kind)
        wraps = widgets.Layout(flex_flow="row wrap", overflow="visible", width="auto")
        self.control = widgets.Box(self._inputs, layout=wraps)
        self.button = page.button("Commit my guess", "lock", "Keep the guess, and see what is true", self.commit)
        self.answer, self.opened = widgets.HTML(), widgets.Output()
        self.button.layout.align_self = "flex-start"
        if kind.form == "number":
            self._inputs[0].on_msg(self._enter)
        self._heading = widgets.HTML(f"<strong>Predict</strong>: {html.escape(_words(kind))}")
        children = [self._heading, self.control, self.button, self.answer, self.opened]
        self.widget = widgets.VBox(children, layout=widgets.Layout(overflow="visible")).add_class("lipviz-prediction")
        if asking.guess is not None:
            self._open(asking.reply(asking.guess))

    def commit(self) -> None:
        """Commit the guess that the controls hold."""
        if self.button.layout.display == "none":  # committed already
            return
        try:
            guess = self._value()
        except ValueError as error:  # of what was typed
            self.answer.value = page.notice(str(error))
            return
        if guess is None:
            self.answer.value = page.notice(f"{_FIRST[self._asking.prediction.kind.form]}, then commit.")
            return
        reply = self._asking.commit(guess)
        if self._asking.guess is None:
            self.answer.value = reply.to_html()
            return
        self._open(reply)

    def _enter(self, _, content, __):
        """Commit when Enter is pressed. The browser says so before it sends the value that was typed."""
        if content.get("event") == "submit":
            pictures.soon(self.commit, _SOON)

    def _open(self, reply):
        self.answer.value = reply.to_html()
        for widget in (self._heading, self.control, self.button):
            widget.layout.display = "none"
        for shown in self._asking.reveal:
            if isinstance(shown, str):
                self.opened.append_stdout(shown.rstrip("\n") + "\n")
            else:
                self.opened.append_display_data(shown)


def _words(kind):
    """What to do, in words."""
    if kind.form == "choice":
        return "choose one."
    if kind.form == "curve":
        return f"move each slider to your value. The sliders stand for {kind.x}: {', '.join(kind.places)}."
    return f"{kind.expects}."


def form(asking: Asking) -> widgets.Widget:
    """The widget of a prediction."""
    return Form(asking).widget


def _number(kind) -> tuple[list[widgets.Widget], Callable[[], Any]]:
    field = widgets.Text(
        description="My guess",
        placeholder=f"{kind.lowest:,.10g} to {kind.highest:,.10g}{kind.unit}",
        style=_LABEL,
        continuous_update=False,  # see _curve
        layout=widgets.Layout(width="260px"),
    )
    return [field], lambda: as_number(field.value, kind)


def as_number(text: str, kind: Any) -> float | None:
    """The number that was typed, None if nothing was.

    A comma stands before decimals, as in 0,5, or between thousands, as in 10,000: the range that is asked for tells
    which. The sign % turns per cent into a share where a share is asked for.

    Args:
        text: What was typed.
        kind: An `Amount` of the course, with its range and unit.

    Raises:
        ValueError: If it is no number, or could be two.
    """
    unit = kind.unit.strip()
    typed = text.strip().replace("\u2212", "-")
    per_cent = typed.endswith("%")
    typed = typed.removesuffix("%").removesuffix(unit).strip()
    if not typed:
        return None
    readings = {typed.replace(",", ".")}
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", typed):
        readings.add(typed.replace(",", ""))
    factor = 0.01 if per_cent and unit != "%" else 1
    numbers = {factor * value for value in map(_float, readings) if value is not None}
    if not numbers:
        raise ValueError(f"Type a number, such as 0.5 or 1e-3. Received: {text}")
    fitting = [value for value in sorted(numbers) if kind.lowest <= value <= kind.highest]
    if len(fitting) > 1:
        raise ValueError(f"This could be {fitting[0]:.10g} or {fitting[1]:.10g}. Type it without a comma.")
    return fitting[0] if fitting else max(numbers)


def _float(text):
    """The number that a text is; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _choice(kind):
    choice = widgets.RadioButtons(
        options=[(text, key) for key, text in kind.options.items()],
        value=None,
        layout=widgets.Layout(width="auto"),
    )
    return [choice], lambda: choice.value


def _curve(kind):
    step = (kind.highest - kind.lowest) / _PLACES
    middle = kind.lowest + round(_PLACES / 2) * step
    sliders = [
        widgets.FloatSlider(
            value=middle,
            min=kind.lowest,
            max=kind.highest,
            step=step,
            orientation="vertical",
            # While a kernel is busy, values that follow each other wait in the browser, and the click on the button
            # overtakes them. One value alone does not wait.
            continuous_update=False,
            description=place,
            readout_format=".2f" if kind.highest - kind.lowest < 20 else ".0f",
            layout=widgets.Layout(height="180px", width="76px"),
        )
        for place in kind.places
    ]
    return sliders, lambda: [min(max(slider.value, kind.lowest), kind.highest) for slider in sliders]


_MAKERS = {"number": _number, "choice": _choice, "curve": _curve}
