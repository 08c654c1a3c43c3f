"""In windows of three sizes, each control of each explorer is seen together with the picture that it changes."""

import sys

import pytest

from lipviz import explorers
from tests.browser.explorer_page import LESSON, ExplorerPage, write_lesson
from tests.browser.lab import PATIENCE, LabSession, clean_environment, expect, free_port, started

pytestmark = pytest.mark.browser

LAPTOP, SMALL, PHONE = (1280, 800), (1024, 700), (390, 844)  # CSS pixels


@pytest.fixture(scope="module")
def notebook(browser, course, lab_server, tmp_path_factory):
    """JupyterLab, with its sidebars as they are at first, and the gallery in a notebook."""
    write_lesson(course, "from lipviz import explorers\n\nexplorers.gallery()")
    failure = tmp_path_factory.mktemp("layout") / "failure.png"
    with LabSession.visit(lab_server.address, browser, on_failure=failure) as lab:
        lab.go("/lab")
        lab.open_by_click(LESSON)
        lab.run_all()
        yield lab.page


# All explorers in one page of the app, so that one kernel is enough.
APP = """
import sys
from lipviz.command import app

app.page_code = lambda name: "from lipviz import explorers\\n\\nexplorers.gallery()"
app.open_app("bjorck", port=int(sys.argv[1]), browser=False)
"""


@pytest.fixture(scope="module")
def app(browser, tmp_path_factory):
    """The gallery in a page of `lipviz app`."""
    home = tmp_path_factory.mktemp("app")
    command = [sys.executable, "-c", APP, str(free_port())]
    options = {"output": home / "app.log", "environment": clean_environment(home)}
    with started(command, announces=r" is at (\S+)\n", **options) as server, browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(server.address)
        yield page


@pytest.mark.parametrize("entry", explorers.entries(), ids=lambda entry: entry.name)
@pytest.mark.parametrize(("place", "sizes"), [("notebook", (LAPTOP, SMALL)), ("app", (LAPTOP, SMALL, PHONE))])
def test_the_control_in_hand_and_the_picture_are_both_in_the_window(request, entry, place, sizes):
    page = request.getfixturevalue(place)
    page.get_by_role("button", name=entry.title, exact=True).press("Enter")
    expect(page.locator(".lipviz-explorer h4")).to_have_text(entry.load().title)
    explorer = ExplorerPage(page)
    for width, height in sizes:
        page.set_viewport_size({"width": width, "height": height})
        assert explorer.apart() == [], f"at first, in a window of {width} × {height}"
    explorer.show_all_controls()
    for width, height in sizes:
        page.set_viewport_size({"width": width, "height": height})
        assert explorer.apart() == [], f"with all controls shown, in a window of {width} × {height}"
        assert explorer.cut_labels() == []
