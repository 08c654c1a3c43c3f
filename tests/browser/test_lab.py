"""The course in a real browser: `lipviz lab`, a click on a lesson, its widgets moved by keyboard."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.browser.lab import LabSession, expect, serve

pytestmark = pytest.mark.browser

SCRATCH = Path(__file__).with_name("scratch_lesson.py")


@pytest.fixture(scope="module")
def contrary_reader(tmp_path_factory):
    """A home whose Jupyter settings say the opposite of what the lessons need, and a dark theme."""
    home = tmp_path_factory.mktemp("home")
    settings = home / ".jupyter/lab/user-settings/@jupyterlab"
    contents = {
        settings / "docmanager-extension/plugin.jupyterlab-settings": {"defaultViewers": {"python": "Editor"}},
        settings / "apputils-extension/kernels-settings.jupyterlab-settings": {"commsOverSubshells": "perComm"},
        settings / "apputils-extension/themes.jupyterlab-settings": {"theme": "JupyterLab Dark"},
        home / ".jupyter/labconfig/default_setting_overrides.json": {
            "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"python": "Editor"}}
        },
        home / ".jupyter/jupyter_server_config.json": {"ServerApp": {"ip": "0.0.0.0", "root_dir": "/"}},
        home / ".local/share/jupyter/kernels/python3/kernel.json": {
            "argv": ["/bin/false"],
            "display_name": "Another Python",
            "language": "python",
        },
    }
    for path, value in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    return home


@pytest.fixture(scope="module")
def course(contrary_reader):
    """The folder of two lessons, the first of which fails."""
    course = contrary_reader / "course"
    course.mkdir()
    shutil.copyfile(SCRATCH, course / "50_slider.py")
    header = SCRATCH.read_text().split("# %%")[0]
    (course / "00_broken.py").write_text(
        f"{header}# %%\nimport ipywidgets as widgets\n\nout = widgets.Output()\nwith out:\n"
        "    raise ValueError('in a widget')\nout\n\n# %%\nraise ValueError('in a cell')\n"
    )
    return course


@pytest.fixture(scope="module")
def settings(contrary_reader):
    """The reader's settings as they were before JupyterLab started."""
    return contents(contrary_reader / ".jupyter")


@pytest.fixture(scope="module")
def server(contrary_reader, course, settings):
    """JupyterLab on this course."""
    with serve(course, "--LabApp.expose_app_in_browser=True", home=contrary_reader) as server:
        yield server


@pytest.fixture(scope="module")
def lab(browser, server, tmp_path_factory):
    """The course as it opens: with its map."""
    failure = tmp_path_factory.mktemp("course") / "failure.png"
    with LabSession.visit(server.address, browser, on_failure=failure) as lab:
        lab.go()
        lab.wait_for_notebook("index.py")
        yield lab


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_map_opens_by_itself_and_a_click_opens_a_lesson_whose_slider_moves_its_figure(
    lab, contrary_reader, course, settings
):
    lab.open_by_click("50_slider.py")
    lab.run_all()
    assert lab.errors() == []
    expect(lab.notebook.get_by_text(sys.prefix, exact=True)).to_be_visible()

    before = lab.figures()
    assert len(before) == 1
    slider = lab.slider("height")
    slider.press("ArrowRight", times=3)
    expect(slider.readout).to_have_text("0.80")
    expect(lab.notebook.get_by_text("The height is 0.8.", exact=True)).to_be_visible()
    lab.wait_for_new_figure(before)

    before = lab.figures()
    slider.press("End")
    expect(slider.readout).to_have_text("1.00")
    expect(lab.notebook.get_by_text("The height is 1.0.", exact=True)).to_be_visible()
    lab.wait_for_new_figure(before)

    lab.save()
    assert lab.errors() == []
    assert lab.dialogs() == []
    assert lab.comms_over_subshells() == "disabled"
    assert lab.page.evaluate("document.body.dataset.jpThemeName") == "JupyterLab Dark"

    # Running and saving leaves the lesson as it was, so that the next version of the course can replace it.
    assert (course / "50_slider.py").read_bytes() == SCRATCH.read_bytes()
    assert contents(contrary_reader / ".jupyter") == settings


def test_no_error_on_the_page_escapes_us(lab):
    lab.open_by_click("00_broken.py")
    lab.run_all()
    errors = lab.errors()
    assert any("ValueError: in a cell" in error for error in errors)
    assert any("ValueError: in a widget" in error for error in errors)
    # Our own watch for dialogs sees one, too.
    assert lab.dialogs() == []
    lab.page.evaluate("() => { window.jupyterapp.commands.execute('kernelmenu:restart'); }")
    lab.page.locator(".jp-Dialog").wait_for()
    assert len(lab.dialogs()) == 1
