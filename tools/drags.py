"""How many pictures an explorer shows a second while a slider is dragged, in a real browser.

python -m tools.drags [--in lab|app] [--seconds 5] [NAME ...]

The mouse holds the handle of a slider and moves it up and down its track, 60 times a second, once each way in 0.75 s.
Counted are the frames that show another picture than the frame before.

Beside it stands what the processors did for each picture, in milliseconds, by kernel, server and browser: unlike the
number of pictures a second, this hardly depends on what else the machine does. The exit status is 1 where an explorer
shows fewer pictures than it should on two quiet cores.
"""

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from lipviz import explorers
from tests.browser.explorer_page import LESSON, ExplorerPage, write_lesson
from tests.browser.lab import (
    LIPVIZ,
    LabSession,
    clean_environment,
    expect,
    find_chromium,
    free_port,
    launched,
    serve,
    started,
)
from tools.redraw_times import MOVES

RATE, PERIOD = 60, 1.5  # mouse moves a second; seconds of a way up and down
# The control of each explorer that is dragged. Each of its values must give another picture, or too few are counted.
CONTROLS = {name: control for name, (control, _) in MOVES.items()} | {"certificates": "epsilon"}
BOXES = {"tradeoff": "by_radius"}  # a box that is clicked first, since the slider is greyed out else
LIMITS = dict.fromkeys(("cone", "bjorck", "layers", "activations", "gradients"), 20) | dict.fromkeys(
    ("convolutions", "certificates", "tradeoff"), 12
)


def processes(server):
    """The processes of the kernels, the server and the browser."""
    kernels = [child for child in psutil.Process(server.process.pid).children(recursive=True) if is_kernel(child)]
    everyone = psutil.Process().children(recursive=True)
    browser = [one for one in everyone if "chrom" in one.name()]
    return {"kernel": kernels, "server": [psutil.Process(server.process.pid)], "browser": browser}


def is_kernel(process):
    return any("ipykernel" in word for word in process.cmdline())


def used(groups):
    """Seconds of processor time that each group of processes has taken so far."""
    return {name: sum(sum(one.cpu_times()[:2]) for one in group) for name, group in groups.items()}


def drag(explorer, name, seconds):
    """Drag a slider up and down, and return the times of the new pictures in milliseconds."""
    mouse = explorer.page.mouse
    left, width, y = explorer.grasp(name)
    explorer.page.evaluate(_RECORD)
    start, place = time.perf_counter(), 0.5
    for i in itertools.count(1):
        late = start + i / RATE - time.perf_counter()
        time.sleep(max(late, 0))
        now = time.perf_counter() - start
        if now > seconds:
            break
        place = abs((2 * now / PERIOD + 0.5) % 2 - 1)
        mouse.move(left + place * width, y)
    times = explorer.page.evaluate("() => window.lipvizDrag.times")
    mouse.up()
    return times


def measure(explorer, name, seconds, server):
    groups = processes(server)
    before = used(groups)
    times = np.array(drag(explorer, name, seconds))
    milliseconds = {name: 1000 * (value - before[name]) / max(len(times), 1) for name, value in used(groups).items()}
    explorer.page.wait_for_timeout(1000)
    return len(times) / seconds, np.diff(times), milliseconds


def report(name, rate, gaps, milliseconds, alerts):
    limit = LIMITS.get(name, 0)
    median, p95 = np.percentile(gaps, [50, 95]) if len(gaps) else (np.nan, np.nan)
    note = "; ".join([f"below {limit}"] * (rate < limit) + alerts)
    parts = "".join(f"{milliseconds[part]:>9.1f}" for part in ("kernel", "server", "browser"))
    print(f"{name:<14}{rate:>8.1f}{median:>11.0f}{p95:>8.0f}{parts}   {note}", flush=True)
    return not note


@contextlib.contextmanager
def in_lab(entry):
    """An explorer in a notebook of JupyterLab."""
    with tempfile.TemporaryDirectory() as home:
        course = Path(home, "course")
        write_lesson(course, f"from lipviz import explorers\n\nexplorers.{entry.class_name}()")
        with (
            serve(course, "--LabApp.expose_app_in_browser=True", home=Path(home)) as server,
            LabSession.open(server.address, find_chromium(), on_failure=Path(home, "failure.png")) as lab,
        ):
            lab.go("/lab")
            lab.open_by_click(LESSON)
            lab.run_all()
            yield ExplorerPage(lab.page), server


@contextlib.contextmanager
def in_app(entry):
    """An explorer as a page of its own."""
    command = [LIPVIZ, "app", entry.name, "--no-browser", f"--port={free_port()}"]
    with tempfile.TemporaryDirectory() as home, launched(find_chromium()) as browser:
        log = Path(home, "app.log")
        with started(
            command, announces=r" is at (\S+)\n", output=log, environment=clean_environment(Path(home))
        ) as server:
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.goto(server.address)
            yield ExplorerPage(page), server


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="*", default=list(LIMITS), help="explorers")
    parser.add_argument("--in", dest="place", choices=("lab", "app"), default="lab")
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    print(f"{'explorer':<14}{'a second':>8}{'median ms':>11}{'p95 ms':>8}{'kernel':>9}{'server':>9}{'browser':>9}")
    passed = []
    for name in arguments.names:
        entry = explorers.find(name)
        with {"lab": in_lab, "app": in_app}[arguments.place](entry) as (explorer, server):
            if entry.load().has_work and not entry.load().restarts:
                expect(explorer.button("Stop")).to_be_disabled()  # the work that it begins by itself
            if entry.load().works_at_once:
                expect(explorer.box).to_contain_text("done 100 %")
            explorer.page.wait_for_timeout(2000)
            if name in BOXES:
                explorer.box.locator(f".lipviz-control-{BOXES[name]} input").click()
            measure(explorer, CONTROLS[name], 2, server)  # the first pictures may compile something
            found = measure(explorer, CONTROLS[name], arguments.seconds, server)
            passed.append(report(name, *found, explorer.alerts()))
    return 0 if all(passed) else 1


# The times of the frames that are the first with other pictures than before. It looks only where a source changed: a
# look at each frame would cost as much as a small picture.
_RECORD = """() => {
    const box = [...document.querySelectorAll('.lipviz-explorer')].find(box => box.offsetParent);
    const record = window.lipvizDrag = {times: []};
    let waits = false;
    const observer = new MutationObserver(() => {
        if (window.lipvizDrag !== record) return observer.disconnect();
        if (waits) return;
        waits = true;
        requestAnimationFrame(now => {
            waits = false;
            record.times.push(now);
        });
    });
    observer.observe(box.querySelector('.lipviz-picture'), {subtree: true, attributeFilter: ['src']});
}"""

if __name__ == "__main__":
    sys.exit(main())
