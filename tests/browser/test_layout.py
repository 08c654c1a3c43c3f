"""In small windows, and at night in larger ones, each control is seen together with the picture that it changes.

In the run, `test_explorers` looks at the notebook: there each explorer is open anyway. In a window as small as that of
a page of 200 %, keys alone lead to every control, and each is seen.
"""

import pytest

from lipviz import explorers
from tests.browser import axe, keyboard
from tests.browser.conftest import GALLERY, OPENED
from tests.browser.explorer_page import SMALL, opened
from tests.browser.lab import PATIENCE, SECOND, expect

pytestmark = pytest.mark.browser

LAPTOP, PHONE = (1280, 800), (390, 844)  # CSS pixels
ZOOMED = (640, 360)  # of a window of 1280 × 720 on a page of 200 %


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
        page.set_default_timeout(SECOND * PATIENCE)
        page.goto(app_server.address.replace(f"/{OPENED}?", f"/{GALLERY}?"))
        yield page


# In the run a phone, where the most must give way, has the explorers with a canvas and with a strip of images. All
# explorers are looked at in all windows every night.
BY_DAY = {"playground", "certificates"}
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


# One has sliders that are greyed out, the other a table of long lines.
ZOOMED_BY_DAY = ("layers", "kinds")
_BEGIN = """() => {
    document.addEventListener('focusin', ({target}) => { target.dataset.reached = 'yes'; });
    document.querySelector('.lipviz-cards .lipviz-card:last-child button').focus();
}"""
# Of radio buttons, the keys come to the one that is chosen.
_LEFT = """() => [...document.querySelectorAll(
        '.lipviz-explorer :is(button, select, input, [tabindex], a[href]):not(:disabled, [type=radio], [data-reached])'
    )].filter(one => one.tabIndex >= 0 && one.getClientRects().length)
    .map(one => `${one.tagName} ${one.ariaLabel ?? one.textContent}`)"""


@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, marks=[pytest.mark.nightly] * (e.name not in ZOOMED_BY_DAY)) for e in explorers.entries()],
    ids=lambda entry: entry.name,
)
def test_keys_lead_to_each_control_on_a_page_of_200_percent_which_is_no_wider_than_its_window(app, entry):
    explorer = opened(app, entry)
    if entry.load().has_work:
        explorer.button("Reset").first.press("Enter")
        expect(explorer.button("Stop")).to_be_disabled()
    explorer.show_all_controls()
    app.emulate_media(reduced_motion="reduce")
    app.set_viewport_size(dict(zip(("width", "height"), ZOOMED, strict=True)))
    app.evaluate(_BEGIN)
    stops = keyboard.walk(app)
    assert keyboard.lost([stop for stop in stops if stop.is_own]) == []
    assert app.evaluate(_LEFT) == []
    assert app.evaluate("document.documentElement.scrollWidth") <= ZOOMED[0]
    app.emulate_media(reduced_motion="no-preference")
