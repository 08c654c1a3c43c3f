"""How long an explorer takes from a key to its new picture, in a real browser.

python -m tools.latency [--moves 40] [--pause 250] [--pictures FOLDER] [--show] [NAME ...]

JupyterLab shows the gallery, and opens the explorers one after the other; work that begins by itself is waited for,
and boxes are clicked whose slider is greyed out at first. On each of their sliders in turn, arrow keys are pressed:
two towards the end that is farther away, one back, and so on. Between a new picture and the next key is a pause, as a
reader needs to look at it; with `--pause 0` keys come one upon the other. A move ends with the frame that shows the
new picture (all images decoded) and the slider's new value; results are sent before the picture. Moves that change no
picture are counted apart. A slider whose first three did not is left alone from then on, and where the last value
could not be used, Reset is pressed, as otherwise no move after it would change anything.

The first row is a slider that only changes an image of one pixel: what Jupyter, the browser and the machine take at
that time, whoever computes. The exit status is 1 where the 95th percentile of an explorer whose sliders do not train
exceeds 150 ms.
"""

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lipviz import explorers
from tests.browser.explorer_page import LESSON, ExplorerPage, write_lesson
from tests.browser.lab import LabSession, expect, find_chromium, serve

LIMIT = 150  # milliseconds
FEW = 6  # moves of an explorer that trains, as each begins a training
PAUSE = 250  # milliseconds
PATIENCE = 120_000  # milliseconds for the work that an explorer begins by itself
WIDTHS = {"wide": 1400, "narrow": 640}  # CSS pixels of the window
# A slider and an image of one pixel, marked as an explorer is.
BARE = """import base64, io
import ipywidgets as widgets
from PIL import Image

def picture(value):
    stream = io.BytesIO()
    Image.new("RGB", (1, 1), (value, 0, 0)).save(stream, "png")
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<div class="lipviz-picture"><img src="data:image/png;base64,{data}" alt=""></div>'

slider = widgets.IntSlider(50, 0, 100, description="bare", continuous_update=False)
image = widgets.HTML(picture(50))
slider.observe(lambda change: setattr(image, "value", picture(change["new"])), names="value")
box = widgets.VBox([slider, image])
box.add_class("lipviz-explorer")
box
"""
# Where the slider that has the focus stands, from 0 to 1.
_PLACE = """() => {
    const [low, value, high] = ['min', 'now', 'max'].map(
        name => Number(document.activeElement.getAttribute(`aria-value${name}`)));
    return (value - low) / (high - low);
}"""
KEYS = {True: ("ArrowRight", "ArrowRight", "ArrowLeft"), False: ("ArrowLeft", "ArrowLeft", "ArrowRight")}


def measure(explorer, moves, trains, pause=PAUSE, show=False):
    """Milliseconds of each move that changed the picture, and the number of moves that did not."""
    took, still, labels, goes_up = [], 0, explorer.sliders(), {}
    while labels and len(took) < moves and still <= 2 * moves:
        for label in list(labels):
            explorer.focus(label)
            place = explorer.page.evaluate(_PLACE)
            if label not in goes_up or place in (0, 1):
                goes_up[label] = place < 0.5
            keys = itertools.cycle(KEYS[goes_up[label]])
            explorer.move(next(keys), 5)  # the first one may compile something
            new = []
            for key in itertools.islice(keys, 6):
                explorer.page.wait_for_timeout(pause)
                new.append(explorer.move(key, 5 if trains else 2))
                if new == [None] * 3:
                    break
            changed = [milliseconds for milliseconds in new if milliseconds is not None]
            took, still = took + changed, still + len(new) - len(changed)
            if show:
                print(f"  {label}: {', '.join('-' if ms is None else f'{ms:.0f}' for ms in new)}", flush=True)
            if not changed:
                labels.remove(label)
            if explorer.alerts():
                explorer.button("Reset").click()
                explorer.page.wait_for_timeout(2000)
            if len(took) >= moves:
                break
    return took, still


def opened(lab, entry):
    """An explorer, opened by its button in the gallery, and the milliseconds until its first picture was there."""
    start = time.perf_counter()
    lab.notebook.get_by_role("button", name=entry.title, exact=True).click()
    lab.page.get_by_text(entry.load().title, exact=True).wait_for()
    explorer = ExplorerPage(lab.page)
    milliseconds = 1000 * (time.perf_counter() - start)
    if entry.load().has_work and not entry.load().restarts:
        expect(explorer.button("Stop")).to_be_disabled(timeout=PATIENCE)
    if entry.load().works_at_once:
        expect(explorer.box).to_contain_text("done 100 %", timeout=PATIENCE)
    for box in explorer.box.get_by_role("checkbox").all():
        box.click()
        lab.page.wait_for_timeout(1000)
    return explorer, milliseconds


def take_pictures(explorer, name, folder):
    """Write a picture of the explorer in a wide and a narrow window."""
    for kind, width in WIDTHS.items():
        explorer.page.set_viewport_size({"width": width, "height": 1300})
        explorer.page.wait_for_timeout(500)
        explorer.box.screenshot(path=folder / f"explorer_{name}_{kind}.png")
    explorer.page.set_viewport_size({"width": WIDTHS["wide"], "height": 1000})


def report(name, note, opening, took, still):
    """One row of the table. A note says why there is no limit."""
    median, p95 = np.percentile(took, [50, 95]) if took else (np.nan, np.nan)
    is_good = bool(note) or p95 <= LIMIT
    note = note if is_good else f"above {LIMIT} ms"
    print(f"{name:<14}{opening:>10.0f}{len(took):>8}{still:>12}{median:>12.0f}{p95:>10.0f}   {note}", flush=True)
    return is_good


@contextlib.contextmanager
def notebook(code):
    """JupyterLab with a notebook of one cell, which has run."""
    with tempfile.TemporaryDirectory() as home:
        course = Path(home, "course")
        write_lesson(course, code)
        with (
            serve(course, "--LabApp.expose_app_in_browser=True", home=Path(home)) as server,
            LabSession.open(server.address, find_chromium(), on_failure=Path(home, "failure.png")) as lab,
        ):
            lab.go("/lab")
            lab.open_by_click(LESSON)
            lab.run_all()
            yield lab


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="explorers; all by default")
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--pause", type=int, default=PAUSE, help="milliseconds between a picture and the next key")
    parser.add_argument("--pictures", type=Path, help="also write a picture of each explorer into this folder")
    parser.add_argument("--show", action="store_true", help="also show the moves of each slider")
    arguments = parser.parse_args()
    entries = [explorers.find(name) for name in arguments.names] or explorers.entries()
    print(f"{'explorer':<14}{'opens ms':>10}{'moves':>8}{'no change':>12}{'median ms':>12}{'p95 ms':>10}")
    with notebook(BARE) as lab:
        report("(bare)", "no work", np.nan, *measure(ExplorerPage(lab.page), arguments.moves, False, arguments.pause))
    passed = []
    with notebook("from lipviz import explorers\n\ngallery = explorers.gallery()\ngallery") as lab:
        for entry in entries:
            explorer, opening = opened(lab, entry)
            if arguments.pictures:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
                take_pictures(explorer, entry.name, arguments.pictures)
            trains = bool(entry.load().restarts)
            found = measure(explorer, FEW if trains else arguments.moves, trains, arguments.pause, arguments.show)
            passed.append(report(entry.name, "trains" if trains else "", opening, *found))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
