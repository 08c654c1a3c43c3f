"""One explorer on a page, in JupyterLab's notebook or in Voilà, driven by its keyboard and watched frame by frame."""

import base64
import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.browser.lab import PATIENCE, expect

HEADER = Path(__file__).with_name("scratch_lesson.py").read_text(encoding="utf-8").split("# %%")[0]
LESSON = "50_explorers.py"
SECOND = 1000  # playwright counts in milliseconds
# Images, or what a canvas has drawn since it was made.
PANELS = ".lipviz-picture img, .lipviz-canvas[data-frame] .figure > canvas"
_DRAWN = ".lipviz-picture img, .lipviz-canvas"
_SETTLING = 80  # quarters of a second for a page that changes its size
SMALL = (1024, 700)  # the smallest window with a notebook, in CSS pixels


def write_lesson(folder, code):
    """Write a lesson of one cell."""
    folder.mkdir(exist_ok=True)
    (folder / LESSON).write_text(f"{HEADER}# %%\n{code}\n", encoding="utf-8")


class ExplorerPage:
    """The explorer that is open.

    Args:
        page: The playwright page.
    """

    def __init__(self, page):
        self.page = page
        self.box = page.locator(".lipviz-explorer:visible")
        expect(self.box.locator(PANELS).first).to_be_visible(timeout=PATIENCE * SECOND)

    @property
    def title(self):
        return self.box.locator("h4").inner_text()

    def button(self, text):
        """A button by its text; its accessible name begins with the glyph of its icon."""
        return self.box.locator("button", has_text=text)

    def sources(self):
        """All panels of the picture, as data URLs; of a canvas, the number of times that it was drawn."""
        return self.box.locator(_DRAWN).evaluate_all("panels => panels.map(panel => panel.src ?? panel.dataset.frame)")

    def alerts(self):
        return self.box.locator(".lipviz-alert").all_inner_texts()

    def sliders(self):
        """Labels of the sliders that can be moved and are shown."""
        return self.box.locator(".widget-slider:not(:has([disabled])):visible").evaluate_all(
            "sliders => sliders.map(slider => slider.querySelector('.widget-label').textContent)"
        )

    def cut_labels(self):
        """Labels that are wider than their place, and end in dots."""
        return self.box.locator(".widget-label:visible").evaluate_all(
            "labels => labels.filter(label => label.scrollWidth > label.clientWidth).map(label => label.textContent)"
        )

    def show_all_controls(self):
        """Open what the button "More settings" hides."""
        button = self.button("More settings")
        if button.count():
            button.press("Enter")
            expect(self.button("Fewer settings")).to_be_visible()

    def apart(self):
        """Labels of the controls that, when they have the focus, are not in the window together with the picture.

        What another element covers, or what has been scrolled away, is not in the window. A page that has just been
        opened or resized has time to settle.
        """
        for _ in range(_SETTLING):
            labels = self.page.evaluate(_APART)
            if not labels:
                break
            self.page.wait_for_timeout(SECOND / 4)
        return labels

    def assert_seen_together(self, sizes):
        """In windows of these sizes, each control that has the focus is seen together with the picture.

        It opens what the button "More settings" hides, and leaves the window as the last one.
        """
        for width, height in sizes:
            self.page.set_viewport_size({"width": width, "height": height})
            assert self.apart() == [], f"at first, in a window of {width} × {height}"
        self.show_all_controls()
        for width, height in sizes:
            self.page.set_viewport_size({"width": width, "height": height})
            assert self.apart() == [], f"with all controls shown, in a window of {width} × {height}"
            assert self.cut_labels() == []

    def focus(self, label):
        """Focus the handle of a slider."""
        slider = self.box.locator(".widget-slider", has=self.page.get_by_text(label, exact=True))
        slider.locator(".noUi-handle").focus()

    def focus_control(self, name):
        """Focus the handle of a slider, by the name of the control."""
        self.box.locator(f".lipviz-control-{name} .noUi-handle").focus()

    def grasp(self, name):
        """Press the mouse on the handle of a slider, by the name of the control.

        Returns:
            Left end and width of its track, and the height of the mouse, in pixels of the window.
        """
        slider = self.box.locator(f".lipviz-control-{name}")
        slider.locator(".noUi-handle").wait_for(state="attached", timeout=PATIENCE * SECOND)
        if not slider.is_visible():
            self.button("More settings").click()
            expect(slider).to_be_visible()
        # Not `scroll_into_view_if_needed`, which knows nothing of the picture that stays in the window.
        slider.locator(".noUi-handle").focus()
        track, handle = self._settled_boxes(slider)
        y = handle["y"] + handle["height"] / 2
        self.page.mouse.move(handle["x"] + handle["width"] / 2, y)
        self.page.mouse.down()
        return track["x"], track["width"], y

    def _settled_boxes(self, slider):
        """Boxes of the track and of the handle, as soon as they stay where they are: a page is laid out by and by."""
        end, before, boxes = time.monotonic() + PATIENCE, None, [None]
        while boxes != before or None in boxes:
            assert time.monotonic() < end, f"the slider does not come to rest: {boxes}"
            self.page.wait_for_timeout(SECOND / 10)
            before, boxes = boxes, [slider.locator(f".noUi-{part}").bounding_box() for part in ("base", "handle")]
        return boxes

    def drag(self, name, places):
        """Drag a slider to places of its track, from 0 to 1, and hold it there. Each must have another picture.

        Returns:
            The picture before, and that of each place: a list of lists of data URLs.
        """
        left, width, y = self.grasp(name)
        pictures = [self.sources()]
        for place in places:
            self.page.mouse.move(left + place * width, y, steps=5)
            self.wait_for_picture(pictures[-1])
            pictures.append(self.sources())
        return pictures

    def wait_for_picture(self, before):
        """Wait until the picture is another one than `before`, a value of `sources`."""
        end = time.monotonic() + PATIENCE
        while self.sources() == before:
            assert time.monotonic() < end, "no new picture came"
            self.page.wait_for_timeout(SECOND / 20)

    def move(self, key, seconds=PATIENCE):
        """Press a key on the slider that has the focus, and wait for the new picture.

        Returns:
            Milliseconds from the key to the frame that shows the new picture, with its images decoded, its readout
            and its results; None where no new picture came.
        """
        self.page.evaluate(_WATCH, SECOND * seconds)
        self.page.keyboard.press(key)
        return self.page.evaluate("() => window.lipvizMoved")

    def record(self):
        """Keep every picture that comes from now on."""
        self.page.evaluate(_RECORD)

    def recorded(self):
        """The pictures since `record`: a list of lists of data URLs."""
        return self.page.evaluate("() => window.lipvizFrames")

    def wait_still(self, idle, seconds=2):
        """Wait until no picture has come for a while, nor is one being made.

        Args:
            idle: A function that waits until the kernel is idle.
            seconds: How long this while is.
        """
        count = -1
        while count != (count := len(self.recorded())):
            self.page.wait_for_timeout(SECOND * seconds)
            idle()


def opened(page, entry):
    """Open an explorer by the Enter key on its button in the gallery. The one that was open, even the same, is gone."""
    page.evaluate(_MARK_AS_OLD)
    page.get_by_role("button", name=entry.title, exact=True).locator("visible=true").press("Enter")
    expect(page.locator(".lipviz-explorer[data-old]")).to_have_count(0, timeout=PATIENCE * SECOND)
    expect(page.locator(".lipviz-explorer h4")).to_have_text(entry.load().title, timeout=PATIENCE * SECOND)
    return ExplorerPage(page)


def ink(source):
    """Number of dark pixels of a picture."""
    return int((_pixels(source) < 160).sum())


def distance(sources, others):
    """Mean difference of the pixels of pictures, in levels of grey of 255.

    The bytes of one picture may differ: a palette of 256 colours is made anew where its frame changed.
    """
    pairs = zip(sources, others, strict=True)
    return float(np.mean([np.abs(_pixels(a) - _pixels(b)).mean() for a, b in pairs]))


def _pixels(source):
    image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    return np.asarray(image.convert("L")).astype(float)


_MARK_AS_OLD = "() => document.querySelectorAll('.lipviz-explorer').forEach(box => { box.dataset.old = 'yes'; })"

# With every change of the page, from the key on: are there new images, and does the slider say its new value? The table
# that belongs to the picture is sent before it, where it changed at all. Then, with the images decoded, the next frame
# shows them. To look at every frame instead would keep a core busy.
_WATCH = """limit => {
    const box = [...document.querySelectorAll('.lipviz-explorer')].find(box => box.offsetParent);
    const images = () => [...box.querySelectorAll('.lipviz-picture img, .lipviz-canvas')];
    const sources = () => images().map(image => image.src ?? image.dataset.frame).join();
    const slider = document.activeElement.closest('.widget-slider');
    const readout = () => slider.querySelector('.widget-readout').textContent;
    const before = sources(), said = readout();
    window.lipvizMoved = new Promise(resolve => {
        document.addEventListener('keydown', () => {
            const start = performance.now();
            const isComplete = () => readout() !== said && images().length && sources() !== before;
            const end = async () => {
                observer.disconnect();
                clearTimeout(timer);
                await Promise.all(images().map(image => image.decode?.()));
                requestAnimationFrame(() => resolve(performance.now() - start));
            };
            const observer = new MutationObserver(() => isComplete() && end());
            observer.observe(box, {subtree: true, childList: true, characterData: true,
                attributeFilter: ['src', 'data-frame']});
            const timer = setTimeout(() => { observer.disconnect(); resolve(null); }, limit);
        }, {once: true, capture: true});
    });
}"""

# The points lie in the middle and near the corners of the first panel, and on the line through the middle of a control.
_APART = """async () => {
    const settled = () => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    await settled();
    const box = [...document.querySelectorAll('.lipviz-explorer')].find(box => box.offsetParent);
    const panel = box.querySelector('.lipviz-picture img, .lipviz-canvas .figure > canvas');
    const shows = (element, shares) => {
        const {left, top, width, height} = element.getBoundingClientRect();
        const at = ([x, y]) => document.elementFromPoint(left + x * width, top + y * height);
        return shares.every(share => element.contains(at(share)));
    };
    const corners = [[.02, .02], [.98, .02], [.02, .98], [.98, .98], [.5, .5]];
    const kinds = '.noUi-handle, select, input[type=checkbox], [role=radio][tabindex="0"]';
    const controls = [...box.querySelectorAll(kinds)]
        .filter(control => control.offsetParent && !control.disabled && !control.closest('[disabled]'));
    const apart = [];
    for (const control of controls) {
        const whole = control.closest('.widget-inline-hbox') ?? control;
        control.focus();
        await settled();
        if (!(shows(whole, [[.01, .5], [.5, .5], [.99, .5]]) && shows(panel, corners)))
            apart.push(whole.textContent.trim());
    }
    return apart;
}"""

_RECORD = """() => {
    const box = [...document.querySelectorAll('.lipviz-explorer')].find(box => box.offsetParent);
    window.lipvizFrames = [];
    const look = () => {
        const sources = [...box.querySelectorAll('.lipviz-picture img')].map(image => image.src);
        if (sources.join() !== (window.lipvizFrames.at(-1) ?? []).join()) window.lipvizFrames.push(sources);
    };
    new MutationObserver(look).observe(box, {subtree: true, childList: true, attributeFilter: ['src']});
}"""
