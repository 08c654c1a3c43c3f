"""Read lessons as a student does: in JupyterLab, in a real browser, with full settings and every exercise answered.

python -m tools.read_lessons [--pictures FOLDER] [NN ...]

Runs each lesson from top to bottom, with the solutions in the places of the answers. Prints how long that took, how
much time of a CPU core its kernel used, what the exercises replied, and every error; with --pictures it writes pictures
of all that was on the page. The exit status is 1 where a lesson shows an error or a dialog, or a solution is not
accepted.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from lipviz.command.teaching.key import answered
from tests.browser.lab import LabSession, find_chromium, serve

LESSONS = Path(__file__).parents[1] / "notebooks"
MINUTES = 15
SCREEN = 820  # CSS pixels of the notebook that are on the page at a time


def pictures(lab, folder, name):
    """Scroll through the notebook, and write a picture of each screen."""
    folder.mkdir(parents=True, exist_ok=True)
    outer = lab.notebook.locator(".jp-WindowedPanel-outer")
    outer.evaluate("element => element.scrollTo(0, 0)")
    for number in range(80):
        lab.page.wait_for_timeout(300)
        lab.screenshot(folder / f"{name[:2]}_{number:02d}.png")
        before = outer.evaluate("element => element.scrollTop")
        outer.evaluate(f"element => element.scrollBy(0, {SCREEN})")
        if outer.evaluate("element => element.scrollTop") <= before + 1:
            return


def read(lab, name, folder):
    """Open and run a lesson; returns seconds, those of CPU, the numbers of right answers and exercises, and faults."""
    lab.open_by_click(name)
    exercises = len(re.findall(r"^course\.check\(", (LESSONS / name).read_text(encoding="utf-8"), flags=re.MULTILINE))
    began = time.perf_counter()
    lab.run_all(timeout=60 * MINUTES)
    seconds = time.perf_counter() - began
    cpu = lab.page.evaluate(
        """async () => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const asked = { code: '', user_expressions: { cpu: '__import__("time").process_time()' } };
            const reply = await kernel.requestExecute({ ...asked, store_history: false }).done;
            return Number(reply.content.user_expressions.cpu.data['text/plain']);
        }"""
    )
    right = lab.page.evaluate(
        """() => [...window.jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code'
            && JSON.stringify(cell.outputs.toJSON()).includes('✓ Right')).length"""
    )
    wrong = [*lab.errors(), *lab.dialogs()]
    if folder:
        pictures(lab, folder, name)
    lab.page.evaluate(
        """async () => {
            const panel = window.jupyterapp.shell.currentWidget;
            await panel.sessionContext.shutdown();
            panel.dispose();
        }"""
    )
    return seconds, cpu, right, exercises, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", metavar="NN", nargs="*", help="numbers of lessons; all by default")
    parser.add_argument("--pictures", type=Path, help="write pictures of each lesson into this folder")
    arguments = parser.parse_args()
    names = [path.name for path in sorted(LESSONS.glob("[0-9][0-9]_*.py"))]
    names = [name for name in names if not arguments.numbers or name[:2] in arguments.numbers]
    faults = 0
    with tempfile.TemporaryDirectory() as home:
        course = Path(home, "course")
        shutil.copytree(LESSONS, course)
        for name in names:
            (course / name).write_text(answered((course / name).read_text(encoding="utf-8")), encoding="utf-8")
        with (
            serve(course, "--LabApp.expose_app_in_browser=True", home=Path(home)) as server,
            LabSession.open(server.address, find_chromium(), on_failure=Path("failure.png")) as lab,
        ):
            lab.go("/lab")
            print(f"{'lesson':<32}{'seconds':>8}{'of CPU':>8}   exercises")
            for name in names:
                seconds, cpu, right, exercises, wrong = read(lab, name, arguments.pictures)
                row = f"{name:<32}{seconds:8.0f}{cpu:8.0f}   {right} of {exercises} right"
                print(row, *wrong, sep="\n" * bool(wrong))
                sys.stdout.flush()
                faults += bool(wrong) or right < exercises
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
