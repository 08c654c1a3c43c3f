"""The anatomy that all explorers share: controls → compute → draw, with one state, one picture and one message."""

import abc
import contextlib
import html
import threading

import ipywidgets as widgets
import traitlets

from lipviz.plots import LiveFigure, new_figure, picture

_SHARPNESS = 1.5  # image pixels per CSS pixel: crisp enough, at 60 % of the pixels of 2
_LABEL_WIDTH = "118px"

_CSS = """<style>
.lipviz-explorer { max-width: 960px; overflow: visible; }
.lipviz-explorer .widget-html-content { line-height: 1.45; }
.lipviz-explorer .lipviz-groups { display: block; columns: 2 340px; column-gap: 32px; overflow: visible; }
.lipviz-explorer .lipviz-group { break-inside: avoid; margin: 0 0 6px; overflow: visible; }
.lipviz-explorer h4, .lipviz-explorer h5 { margin: 0; font-weight: 600; }
.lipviz-explorer h4 { font-size: 1.15em; }
.lipviz-explorer h5 { font-size: 1em; }
.lipviz-explorer p { margin: 2px 0 4px; }
.lipviz-alert { border-left: 4px solid #B00020; padding: 4px 10px; margin: 4px 0;
    background: rgba(176, 0, 32, .08); color: inherit; }
.lipviz-picture { display: flex; flex-flow: row wrap; align-items: flex-start; }
.lipviz-picture img { flex: 1 1 380px; min-width: 0; max-width: min(460px, 100%) !important; }
.lipviz-results { display: flex; flex-flow: row wrap; gap: 4px 28px; min-height: 190px; }
.lipviz-results > * { flex: 1 1 380px; }
.lipviz-results table { border-collapse: collapse; align-self: flex-start; font-size: .95em; }
.lipviz-results th { text-align: left; font-weight: normal; padding: 1px 16px 1px 0; }
.lipviz-results td { text-align: right; padding: 1px 0; font-variant-numeric: tabular-nums; white-space: nowrap; }
.lipviz-results tr { border-bottom: 1px solid rgba(128, 128, 128, .3); background: none !important; }
</style>"""


class Explorer(abc.ABC):
    """Base of all explorers.

    A subclass says what there is to see, and no more:

    - `title`, `panels` (of its figure) and `help_text` (one sentence);
    - `make_controls()`: {title of a group: {name: ipywidgets control}}; names are those of the state;
    - `compute(**state)`: pure, from the state to a dataclass of `lipviz.measure`; ValueError where a value is bad;
    - `draw(data, update)`: the plots, on `self.figure`;
    - `alt_text(data)`, `statement(data)` and `numbers(data)`: the picture in words, what follows from it in one to
      three sentences, and a list of (name, value) pairs of text.

    Here is the rest: whenever a control changes, compute and draw; show the message of an error in place of a
    traceback; state, reset and display.

    Attributes:
        controls: Dict from name to ipywidgets control.
        figure: `matplotlib.figure.Figure`, as last drawn.
        data: What was last computed without an error, and drawn; None before.
        error: The exception that is shown, or None.
        widget: The ipywidgets box that a notebook displays.
    """

    title = ""
    help_text = ""
    panels = 1

    def __init__(self):
        self.data = self.error = None
        self.figure = new_figure(self.panels, dpi=round(_SHARPNESS * 100))
        self._live = LiveFigure(self.figure)
        self._lock, self._asked, self._is_quiet = threading.RLock(), 0, False

        groups = self.make_controls()
        self.controls = {name: control for group in groups.values() for name, control in group.items()}
        self._defaults = self.state
        self._alert, self._image, self._results = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.widget = self._assembled(groups)
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        self.refresh()

    # --- for subclasses ---

    @abc.abstractmethod
    def make_controls(self):
        """Controls by group, {title: {name: control}}; see `slider`, `log_slider` and `choice`."""

    @abc.abstractmethod
    def compute(self, **state):
        """Measurement for a state. Raises ValueError where a value is bad."""

    @abc.abstractmethod
    def draw(self, data, update):
        """Draw on `self.figure`: everything, or (update) what moved since the last call."""

    @abc.abstractmethod
    def alt_text(self, data):
        """The picture in words."""

    @abc.abstractmethod
    def statement(self, data):
        """What follows, in one to three sentences."""

    def numbers(self, data):
        """Pairs (name, value) of text, for the table."""
        return []

    def enabled(self, state):
        """Names of the controls that matter in a state; all by default. The others are greyed out."""
        return set(self.controls)

    def progress(self, text):
        """Say what takes time, in place of the results."""
        self._results.value = _results_html(text, [])

    # --- state ---

    @property
    def state(self):
        """Values of all controls, as a dict that can be kept, shared and set again.

        Setting takes a part of it, too. A value that cannot be used leaves the state as it was; the explorer shows
        why, and keeps it as `error`.

        Raises:
            ValueError: If a name is unknown.
        """
        return {name: control.value for name, control in self.controls.items()}

    @state.setter
    def state(self, values):
        unknown = sorted(set(values) - set(self.controls))
        if unknown:
            raise ValueError(f"Expected names of {', '.join(self.controls)}. Received: {', '.join(unknown)}")
        before = self.state
        with self._quiet():
            refused = [name for name, value in values.items() if not _accepts(self.controls[name], value)]
            if refused:
                for name, value in before.items():
                    self.controls[name].value = value
        if refused:
            self._show_error(self._why_refused({**before, **values}, refused[0]))
        else:
            self.refresh()

    def reset(self):
        """Return to the state at the beginning."""
        self.state = self._defaults

    def _why_refused(self, state, name):
        """The error of the computation itself where it has one, else that of the control."""
        control = self.controls[name]
        if hasattr(control, "max"):
            try:
                self.compute(**state)
            except (ValueError, TypeError) as error:
                return error
        return ValueError(f"The control `{name}` takes {_range(control)}. Received: {state[name]!r}")

    @contextlib.contextmanager
    def _quiet(self):
        """Change several controls as one."""
        self._is_quiet = True
        try:
            yield
        finally:
            self._is_quiet = False

    # --- react ---

    def _changed(self, _change):
        if not self._is_quiet:
            self.refresh()

    def refresh(self):
        """Compute and draw for the present state; an error is shown, and the last good picture stays.

        Callbacks may come in several threads (JupyterLab's subshells): one at a time draws, and one that waited
        while a newer one came leaves the work to it.
        """
        self._asked += 1
        mine = self._asked
        with self._lock:
            if mine < self._asked:
                return
            try:
                self._respond()
            except Exception as error:  # whatever it is, the reader shall see it here and not miss it in a log
                self._show_error(error)

    def _respond(self):
        state = self.state
        enabled = self.enabled(state)
        for name, control in self.controls.items():
            control.disabled = name not in enabled
        data = self.compute(**state)
        self.draw(data, update=self.data is not None)
        pictures = self._live.panels(self.alt_text(data))
        self.data, self.error = data, None
        with self._image.hold_sync(), self._results.hold_sync(), self._alert.hold_sync():
            self._image.value = _pictures_html(pictures)
            self._results.value = _results_html(self.statement(data), self.numbers(data))
            self._alert.value = ""

    def _show_error(self, error):
        self.error = error
        kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
        stale = "" if self.data is None else "<br>The picture still shows the last values that could be used."
        self._alert.value = (
            f'<div class="lipviz-alert" role="alert"><b>This cannot be shown.</b> '
            f"{html.escape(kind + str(error))}{stale}</div>"
        )
        self._results.value = "" if self.data is None else self._results.value

    # --- display ---

    def _assembled(self, groups):
        reset = widgets.Button(description="Reset", icon="undo", tooltip="Return to the values at the beginning")
        reset.layout.width = "100px"
        reset.on_click(lambda _button: self.reset())
        columns = widgets.Box([*(_group(title, controls.values()) for title, controls in groups.items()), reset])
        columns.add_class("lipviz-groups")
        heading = widgets.HTML(f"{_CSS}<h4>{html.escape(self.title)}</h4><p>{html.escape(self.help_text)}</p>")
        box = widgets.VBox([heading, columns, self._alert, self._image, self._results])
        box.add_class("lipviz-explorer")
        return box

    def static(self):
        """The present picture with its words, for places without a kernel.

        Returns:
            A `lipviz.plots.Picture`.

        Raises:
            ValueError: If there is none, because of an error.
        """
        if self.data is None:
            raise ValueError(f"There is no picture: {self.error}")
        return picture(self.figure, self.alt_text(self.data), sharpness=_SHARPNESS)

    def close(self):
        """Remove the widgets from the page and from memory."""
        for widget in _all_widgets(self.widget):
            widget.close()

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = self.widget._repr_mimebundle_(include=include, exclude=exclude)
        bundle["text/plain"] = repr(self)
        if self.data is not None:  # what pages without widgets, such as GitHub's, show instead
            bundle["text/html"] = self.static().to_html()
        return bundle

    def __repr__(self):
        values = ", ".join(f"{name}={value!r}" for name, value in self.state.items())
        return f"{type(self).__name__}({values})"


# --- controls ---


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


def choice(label, options, help_text):
    """A drop-down list, the first option chosen; `options` are (text, value) pairs. See `slider` for the others."""
    common = _common(label, help_text)
    del common["continuous_update"]
    return widgets.Dropdown(options=options, **common)


def _common(label, help_text):
    return {
        "description": label,
        "tooltip": help_text,
        "continuous_update": False,
        "style": {"description_width": _LABEL_WIDTH},
        "layout": widgets.Layout(width="calc(100% - 6px)"),
    }


def _group(title, controls):
    box = widgets.VBox([widgets.HTML(f"<h5>{html.escape(title)}</h5>"), *controls])
    box.add_class("lipviz-group")
    return box


def _accepts(control, value):
    """Set a control, and say whether it took the value as it is."""
    try:
        control.value = value
    except traitlets.TraitError:
        return False
    return control.value == value


def _range(control):
    if isinstance(control, widgets.Dropdown):
        return "one of " + ", ".join(repr(value) for _, value in control.options)
    lowest, highest = control.min, control.max
    if isinstance(control, widgets.FloatLogSlider):
        lowest, highest = control.base**lowest, control.base**highest
    return f"{lowest:g} to {highest:g}"


def _all_widgets(widget):
    for child in getattr(widget, "children", ()):
        yield from _all_widgets(child)
    yield widget


# --- HTML ---


# ipywidgets ties the label of a slider to nothing, and its handle tells a screen reader the position: for a slider
# over powers of ten, the exponent. The first picture to arrive puts both right, and keeps them so.
_NAME_SLIDERS = """
const box = this.closest('.lipviz-explorer');
if (!box.dataset.named) {
    box.dataset.named = 'yes';
    for (const slider of box.querySelectorAll('.widget-slider')) {
        const handle = slider.querySelector('.noUi-handle'), readout = slider.querySelector('.widget-readout');
        const tell = () => handle.getAttribute('aria-valuetext') === readout.textContent ||
            handle.setAttribute('aria-valuetext', readout.textContent);
        handle.setAttribute('aria-label', slider.querySelector('.widget-label').textContent);
        new MutationObserver(tell).observe(slider, {subtree: true, childList: true, characterData: true,
            attributeFilter: ['aria-valuetext']});
        tell();
    }
}"""


def _pictures_html(pictures):
    images = "".join(picture.to_html() for picture in pictures)
    images = images.replace("<img ", f'<img onload="{html.escape(_NAME_SLIDERS)}" ', 1)
    return f'<div class="lipviz-picture">{images}</div>'


def _results_html(statement, numbers):
    rows = "".join(f"<tr><th scope='row'>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in numbers)
    table = f"<table>{rows}</table>" if rows else ""
    return f'<div class="lipviz-results"><p role="status">{html.escape(statement)}</p>{table}</div>'
