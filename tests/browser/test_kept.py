"""An explorer without its kernel, in JupyterLab: its last picture stays, and a button brings it back as it was."""

import nbformat
import pytest

from tests.browser.explorer_page import ExplorerPage
from tests.browser.lab import PATIENCE, SECOND, LabSession, expect

pytestmark = pytest.mark.browser

NOTEBOOK = "51_kept.ipynb"
CELLS = ("from lipviz.explorers import BjorckExplorer", "BjorckExplorer()", "1 + 1")
SLIDER = "smallest"
# JupyterLab's broken links, one before each widget.
ICONS = """box => [box, ...box.querySelectorAll('.jupyter-widgets-disconnected')]
    .map(element => getComputedStyle(element, '::before').content)"""


@pytest.fixture(scope="module")
def lab(browser, course, lab_server, tmp_path_factory):
    """JupyterLab with a notebook whose outputs are saved, unlike those of a lesson."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    course.mkdir(exist_ok=True)
    nbformat.write(notebook, course / NOTEBOOK)
    failure = tmp_path_factory.mktemp("kept") / "failure.png"
    with LabSession.visit(lab_server.address, browser, on_failure=failure) as lab:
        lab.go(f"/lab/workspaces/kept/tree/{NOTEBOOK}")  # no window of another test is opened again
        lab.wait_for_notebook(NOTEBOOK)
        lab.run_all()
        yield lab


def wait_for_state(lab, place, value):
    """Wait until the state that is kept at a place of the page has a value of the slider, to three digits."""
    lab.page.wait_for_function(
        "([place, name, value]) => JSON.parse(document.querySelector(place)?.dataset.lipvizState ?? '{}')[name]"
        "?.toPrecision(3) === value",
        arg=[place, SLIDER, f"{float(value):.3g}"],
        timeout=PATIENCE * SECOND,
    )


def value(explorer):
    return explorer.box.locator(f".lipviz-control-{SLIDER} .widget-readout").inner_text()


def test_a_restarted_kernel_leaves_the_picture_and_the_way_back(lab):
    explorer = ExplorerPage(lab.page)
    first = value(explorer)
    assert lab.page.locator(".lipviz-kept").bounding_box() is None  # hidden as long as the explorer is there
    explorer.focus("Smallest singular value")
    assert explorer.move("ArrowLeft") is not None
    moved, sources = value(explorer), explorer.sources()
    assert moved != first
    wait_for_state(lab, ".lipviz-ended", moved)
    wait_for_state(lab, ".lipviz-kept", moved)
    lab.page.evaluate("() => { window.jupyterapp.commands.execute('kernelmenu:restart'); }")
    lab.page.locator(".jp-Dialog button.jp-mod-accept").click()

    button = explorer.box.get_by_role("button", name="Bring it back")
    expect(button).to_be_visible()
    assert explorer.sources() == sources
    assert explorer.box.locator(":is(.widget-slider, .widget-button):visible").count() == 0
    assert set(explorer.box.evaluate(ICONS)) == {"none"}

    button.press("Enter")  # while the kernel restarts
    expect(button).to_be_hidden()
    readout = explorer.box.locator(f".lipviz-control-{SLIDER} .widget-readout")
    expect(readout).to_be_visible()
    expect(readout).to_have_text(moved)
    assert lab.errors() == []


@pytest.mark.nightly
def test_a_notebook_that_is_opened_later_shows_the_last_picture_and_the_way_back(lab):
    moved = value(ExplorerPage(lab.page))
    wait_for_state(lab, ".lipviz-kept", moved)
    lab.page.evaluate("() => window.jupyterapp.commands.execute('kernelmenu:shutdown')")
    lab.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.sessionContext.session")
    lab.save()
    lab.page.reload()
    kept = lab.page.locator(".lipviz-kept")
    expect(kept.get_by_role("img", name="eps_bjorck")).to_be_visible()
    wait_for_state(lab, ".lipviz-kept", moved)
    assert lab.notebook.get_by_text("model not found").locator("visible=true").count() == 0
    # JupyterLab runs no cell before its kernel is there: the button waits for it.
    kept.get_by_role("button", name="Bring it back").click()
    explorer = ExplorerPage(lab.page)
    wait_for_state(lab, ".lipviz-ended", moved)
    expect(kept).to_be_hidden()
    assert value(explorer) == moved
    assert explorer.alerts() == []
    assert lab.errors() == []
