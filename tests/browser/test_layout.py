"""In small windows, and at night in larger ones, each control is seen together with the picture that it changes.

In the run, `test_explorers` looks at the notebook: there each explorer is open anyway.
"""

import pytest

from lipviz import explorers
from tests.browser import axe
from tests.browser.conftest import GALLERY, OPENED
from tests.browser.explorer_page import SMALL, opened
from tests.browser.lab import PATIENCE

pytestmark = pytest.mark.browser

LAPTOP, PHONE = (1280, 800), (390, 844)  # CSS pixels


@pytest.fixture
def notebook(lab):
    """JupyterLab, with its sidebars as they are at first, and the gallery in a notebook."""
    size = lab.page.viewport_size
    yield lab.page
    lab.page.set_viewport_size(size)


@pytest.fixture(scope="module")
def app(browser, app_server):
    """The gallery in a page of `lipviz app`."""
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(app_server.address.replace(f"/{OPENED}?", f"/{GALLERY}?"))
        yield page


# In the run a phone, where the most must give way, has the explorers with the most controls, a canvas, and a strip of
# images. All explorers are looked at in all windows every night.
BY_DAY = {"layers", "playground", "certificates"}
PLACES = {"phone": ("app", [PHONE]), "notebook": ("notebook", [LAPTOP, SMALL]), "app": ("app", [LAPTOP, SMALL, PHONE])}
CASES = [
    pytest.param(
        entry,
        *PLACES[place],
        id=f"{place}-{entry.name}",
        marks=() if place == "phone" and entry.name in BY_DAY else pytest.mark.nightly,
    )
    for place in PLACES
    for entry in explorers.entries()
]


@pytest.mark.parametrize(("entry", "place", "sizes"), CASES)
def test_the_control_in_hand_and_the_picture_are_both_in_the_window(request, entry, place, sizes):
    explorer = opened(request.getfixturevalue(place), entry)
    explorer.assert_seen_together(sizes)
    assert axe.findings(explorer.page) == {}
