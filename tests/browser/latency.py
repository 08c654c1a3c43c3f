"""How long an explorer takes from a key to its new picture, in a real browser.

python -m tests.browser.latency [--moves 40] [--pictures FOLDER] [NAME ...]

JupyterLab shows the explorers, one after the other. On each of their sliders in turn, arrow keys are pressed; a move
ends with the frame that shows the new picture (all images decoded), the slider's new value and the new results. Moves
that change no picture are counted apart. The exit status is 1 where the 95th percentile of an explorer that does not
train exceeds 150 ms.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

from lipviz import explorers
from tests.browser.explorer_page import LESSON, ExplorerPage, write_lesson
from tests.browser.lab import LabSession, find_chromium, serve

LIMIT = 150  # milliseconds
FEW = 6  # moves of an explorer that trains, as each begins a training
WIDTHS = {"wide": 1400, "narrow": 640}  # CSS pixels of the window


def measure(explorer, moves):
    """Milliseconds of each move that changed the picture, and the number of moves that did not."""
    took, still = [], 0
    keys = itertools.cycle(["ArrowRight", "ArrowRight", "ArrowLeft"])
    for label in itertools.cycle(explorer.sliders()):
        explorer.focus(label)
        explorer.move("ArrowRight", 5)  # the first one may compile something
        for key in itertools.islice(keys, 6):
            milliseconds = explorer.move(key, 2)
            still += milliseconds is None
            took += [] if milliseconds is None else [milliseconds]
        if len(took) >= moves or still > 2 * moves:
            return took, still


def take_pictures(explorer, name, folder):
    """Write a picture of the explorer in a wide and a narrow window."""
    for kind, width in WIDTHS.items():
        explorer.page.set_viewport_size({"width": width, "height": 1300})
        explorer.page.wait_for_timeout(500)
        explorer.box.screenshot(path=folder / f"explorer_{name}_{kind}.png")
    explorer.page.set_viewport_size({"width": WIDTHS["wide"], "height": 1000})


def report(name, trains, took, still):
    """One row of the table."""
    median, p95 = np.percentile(took, [50, 95]) if took else (np.nan, np.nan)
    note = "trains" if trains else "" if p95 <= LIMIT else f"above {LIMIT} ms"
    print(f"{name:<14}{len(took):>6}{still:>12}{median:>12.0f}{p95:>10.0f}   {note}", flush=True)
    return trains or p95 <= LIMIT


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="explorers; all by default")
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--pictures", type=Path, help="also write a picture of each explorer into this folder")
    arguments = parser.parse_args()
    entries = [explorers.find(name) for name in arguments.names] or explorers.entries()
    with tempfile.TemporaryDirectory() as home:
        course = Path(home, "course")
        write_lesson(course, "from lipviz import explorers\n\ngallery = explorers.gallery()\ngallery")
        with (
            serve(course, "--LabApp.expose_app_in_browser=True", home=Path(home)) as server,
            LabSession.open(server.address, find_chromium(), on_failure=Path(home, "failure.png")) as lab,
        ):
            lab.go("/lab")
            lab.open_by_click(LESSON)
            lab.run_all()
            print(f"{'explorer':<14}{'moves':>6}{'no change':>12}{'median ms':>12}{'p95 ms':>10}")
            passed = []
            for entry in entries:
                lab.notebook.get_by_role("button", name=entry.title, exact=True).click()
                lab.page.get_by_text(entry.load().title, exact=True).wait_for()
                explorer = ExplorerPage(lab.page)
                if arguments.pictures:
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    take_pictures(explorer, entry.name, arguments.pictures)
                trains = entry.load().has_work
                moves = FEW if trains else arguments.moves
                passed.append(report(entry.name, trains, *measure(explorer, moves)))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
