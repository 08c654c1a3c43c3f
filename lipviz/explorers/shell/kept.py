"""What stays of an explorer without its kernel: its last picture, its state, and a button that brings it back.

A page keeps the widgets of a kernel that has ended. They do nothing any more, so a bar with the button takes the place
of the controls. A notebook that is opened later has no widgets, but only what is saved in it: next to the widget a cell
displays the picture as HTML, which is hidden as long as the widget is there, and is updated when the reader pauses.
"""

import html
import io
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
from IPython import display
from PIL import Image

from lipviz.explorers.shell import links
from lipviz.plots import Picture

_PAUSE = 1.0  # seconds without a new picture, after which the last one is kept
THREAD = "lipviz-keeper"

# Only JupyterLab and Jupyter Notebook can run a cell from its output. Commands belong to the cell that has the focus.
# They do nothing while a kernel connects, so the button waits for it, but not for one that is not there at all.
_BRING_BACK = """
const cell = this.closest('.jp-CodeCell');
if (!cell) {
    location.reload();
    return;
}
const place = cell.closest('.jp-NotebookPanel'), sign = '.jp-Notebook-ExecutionIndicator';
const run = () => {
    cell.dataset.lipvizState = this.closest('[data-lipviz-state]').dataset.lipvizState;
    this.disabled = false;
    this.focus();
    for (const command of ['notebook:run-all-above', 'notebook:run-cell']) {
        const link = document.createElement('a');
        link.dataset.commandlinkerCommand = command;
        this.parentElement.append(link);
        link.click();
        link.remove();
    }
};
const wait = (tries, unknown) => {
    const status = (place?.querySelector(sign) ?? document.querySelector(sign))?.dataset.status;
    const comes = /^(connecting|initializing|starting|restarting|autorestarting)$/.test(status);
    if (!tries || (status === 'unknown' ? !unknown : !comes)) {
        run();
        return;
    }
    this.disabled = true;
    this.textContent = 'Waiting for the kernel …';
    setTimeout(wait, 250, tries - 1, unknown - (status === 'unknown'));
};
wait(240, 20);"""
# The cell remembers the state over the run. The explorer that appears in it takes it over, once. "{}" tells the kernel
# only that there is a page.
_ARRIVE = """
const arrive = tries => {
    const box = this.closest('.lipviz-explorer, .lipviz-gallery'), cell = this.closest('.jp-CodeCell');
    const input = box?.querySelector(':scope > .lipviz-return input');
    if (!input || (!cell && tries > 80)) {
        if (tries) requestAnimationFrame(() => arrive(tries - 1));
        return;
    }
    const state = cell?.dataset.lipvizState ?? '{}';
    if (state === '{}' && input.value) return;
    delete cell?.dataset.lipvizState;
    input.value = state;
    for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind, {bubbles: true}));
};
arrive(100);"""
# The address of a page of its own holds the state, so that a reload shows it again.
_ADDRESS = """
const here = new window.URL(location);
here.searchParams.set('state', this.closest('.widget-html').querySelector('[data-lipviz-state]').dataset.lipvizState);
history.replaceState(history.state, '', here);"""
_DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="  # the smallest possible image

CSS = """<style>
.lipviz-ended { display: none; }
.jupyter-widgets-disconnected > .widget-html .lipviz-ended { display: block; }
.lipviz-gallery .lipviz-explorer .lipviz-ended { display: none; }
:is(.lipviz-explorer, .lipviz-gallery).jupyter-widgets-disconnected::before,
:is(.lipviz-explorer, .lipviz-gallery) .jupyter-widgets-disconnected::before { content: none !important; }
.lipviz-explorer.jupyter-widgets-disconnected :is(.widget-slider, .widget-dropdown, .widget-checkbox, .widget-button,
    .widget-hprogress, .widget-text, .lipviz-essentials, .lipviz-groups, .lipviz-toolbar),
.lipviz-gallery.jupyter-widgets-disconnected :is(.lipviz-help, .lipviz-back) { display: none; }
.lipviz-gallery.jupyter-widgets-disconnected .lipviz-cards { opacity: .6; pointer-events: none; }
</style>"""
# In a notebook that is opened later, the widget is missing, and JupyterLab says so above the picture. Other pages show
# the picture without a bar: nothing could run there.
_MISSING = """<style>
.lipviz-later { display: none; }
.jp-CodeCell .lipviz-later { display: block; }
.jp-OutputArea-child:not(:has(.lipviz-explorer, .lipviz-gallery)):has(+ .jp-OutputArea-child .lipviz-kept) {
    display: none; }
</style>"""


def _bar(words, shown):
    what = "Run this cell again, and those above it"
    return (
        f'<p class="lipviz-bar{"" if shown else " lipviz-later"}"><button type="button" class="jupyter-button" '
        f'style="width: auto" title="{what}" onclick="{html.escape(_BRING_BACK)}">Bring it back</button> '
        f"{html.escape(words)}</p>"
    )


def ended(state: str, has_address: bool) -> str:
    """HTML of the bar that an explorer shows when its kernel has ended.

    Args:
        state: Present state, as JSON.
        has_address: Whether the address of the page holds the state.
    """
    return (
        f'{CSS}<div class="lipviz-ended" data-lipviz-state="{html.escape(state)}">'
        f"{_bar('The kernel has ended. This is the last picture.', True)}</div>"
        f"{_run(_ARRIVE)}{_run(_ADDRESS) if has_address else ''}"
    )


def picture(key: str, state: str, images: str) -> str:
    """HTML of the last picture, for a notebook that is opened later, and for pages without widgets.

    Args:
        key: What tells the explorer from others; see `hidden`.
        state: State of the picture, as JSON.
        images: HTML of the picture.
    """
    return (
        f'{_MISSING}<div class="lipviz-kept lipviz-kept-{key}" data-lipviz-state="{html.escape(state)}">'
        f"{_bar('The explorer needs a kernel. This is its last picture.', False)}{images}</div>"
    )


def hidden(key: str) -> str:
    """Style sheet that hides the kept picture of an explorer, as long as it is on the page itself."""
    return f"<style>.lipviz-kept-{key} {{ display: none; }}</style>"


def _run(script):
    """An image without a picture that runs a script when it has loaded."""
    # JupyterLab would give it the name "Image".
    hide = 'alt="" role="presentation" aria-hidden="true" width="1" height="1" style="position: absolute"'
    return f'<img src="{_DOT}" {hide} onload="{html.escape(script)}">'


def joined(panels: Sequence[Picture]) -> Picture:
    """Panels side by side as one picture, which has the words of the first."""
    images = [Image.open(io.BytesIO(panel.png)).convert("RGB") for panel in panels]
    whole = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    for i, image in enumerate(images):
        whole.paste(image, (sum(before.width for before in images[:i]), 0))
    stream = io.BytesIO()
    whole.save(stream, "png")
    return Picture(stream.getvalue(), panels[0].alt, sum(panel.width for panel in panels))


class Pause:
    """Calls a function in a thread when it was not asked for a while. So what is asked for often is done once.

    Args:
        act: Function of no arguments.
        seconds: How long this while is.
    """

    def __init__(self, act: Callable[[], object], seconds: float):
        self._act, self._seconds = act, seconds
        self._lock = threading.Lock()
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Call the function later."""
        with self._lock:
            self._due = time.monotonic() + self._seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()

    def _run(self):
        while (left := self._due - time.monotonic()) > 0:
            time.sleep(left)
        with self._lock:
            self._thread = None
        self._act()


class Kept:
    """What an explorer, or a gallery, leaves on a page and in a notebook.

    Args:
        owner: The `Explorer` or `Gallery`. It has a `widget`, and what an `Explorer` has as `shown_picture`,
            `shown_state` and `restore`.

    Attributes:
        widgets: The bar, and a text that pages set: the state to begin with, as JSON, or "{}".
        has_address: Whether the address of the page holds the state.
        then: Function of no arguments that is called whenever something is kept; None calls none.
        arrived: Function of no arguments that is called when the first page has come, and has set its state.
    """

    def __init__(self, owner: Any):
        self._owner, self._key = owner, owner.widget.model_id
        self._bar = widgets.HTML()
        self._text = widgets.Text(layout=widgets.Layout(display="none"))
        self._text.add_class("lipviz-return")
        self._text.observe(self._arrived, names="value")
        self._pause = Pause(self._keep, _PAUSE)
        self._is_displayed = self.has_address = False
        self.then: Callable[[], object] | None = None
        self.arrived: Callable[[], object] | None = None
        self.widgets = (self._bar, self._text)

    def ask(self) -> None:
        """Keep what is shown, when no other picture comes for a while. Without a page there is nothing to keep."""
        if self.has_page and not self._is_closed():
            self._pause.ask()

    @property
    def has_page(self) -> bool:
        """Whether a page has come."""
        return bool(self._text.value)

    def _is_closed(self):
        return self._text.comm is None

    def _arrived(self, change):
        if change["new"] not in ("", "{}"):
            self._owner.restore(change["new"])
        if self.arrived is not None:
            self.arrived()
        self.ask()

    def update_bar(self) -> None:
        """Set the bar for the present state."""
        self._bar.value = ended(self._owner.shown_state, self.has_address) + hidden(self._key)

    def _keep(self):
        if self._is_closed():
            return
        self.update_bar()
        if self._is_displayed:
            self._publish(update=True)
        if self.then is not None:
            self.then()

    def display(self, bundle: Mapping[str, Any]) -> None:
        """Display the widget, and next to it the picture."""
        # Places without widgets show no text for this one, as the picture follows.
        display.publish_display_data({**bundle, "text/html": ""})
        if links.own_address() is None:  # a page of Voilà is never opened without its kernel
            self._publish(update=False)
            self._is_displayed = True

    def _publish(self, update):
        markup = picture(self._key, self._owner.shown_state, self._owner.shown_picture)
        content = {"text/html": markup, "text/plain": ""}
        display.publish_display_data(content, transient={"display_id": self._key}, update=update)
