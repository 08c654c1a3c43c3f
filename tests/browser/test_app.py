"""`lipviz app` in a real browser: the cards, one explorer, both themes, and addresses that lead nowhere."""

import re
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from lipviz import explorers
from tests.browser import axe
from tests.browser.explorer_page import ExplorerPage, distance
from tests.browser.lab import LIPVIZ, PATIENCE, SECOND, clean_environment, expect, free_port, knock, started

pytestmark = pytest.mark.browser

SIZES = ((1280, 800), (1024, 700), (390, 844))


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A running `lipviz app bjorck`, which ends without a word about an error."""
    home = tmp_path_factory.mktemp("app")
    command = [LIPVIZ, "app", "bjorck", "--no-browser", f"--port={free_port()}"]
    output = home / "app.log"
    with started(command, announces=r" is at (\S+)\n", output=output, environment=clean_environment(home)) as server:
        yield server
    assert server.process.returncode == 0
    assert "Traceback" not in output.read_text()


@pytest.fixture(scope="module")
def home(app):
    """The address of the first page, with the token."""
    return app.address.replace("/bjorck?", "/?")


@pytest.fixture(scope="module")
def page(browser, home):
    """The first page as a new reader opens it, whose system prefers a dark theme."""
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE * SECOND)
    page.outside, page.errors = [], []
    page.on("request", lambda request: urlsplit(request.url).netloc in ("", netloc) or page.outside.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    netloc = urlsplit(home).netloc
    page.goto(home)
    yield page
    context.close()


def wait_for_theme(page, name):
    """Wait until a theme is shown: the browser tells the page in its next frame. The page is really light or dark."""
    light = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    page.wait_for_function(
        f"name => document.documentElement.dataset.theme === name && ({light} < 382) === (name === 'dark')",
        arg=name,
    )


def test_nobody_gets_in_without_the_token(home):
    bare = home.partition("?")[0]
    assert bare.startswith("http://127.0.0.1:")
    for path in ("", "bjorck", "nothing"):
        with urllib.request.urlopen(bare + path) as answer:
            assert "/login" in answer.url
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{bare}api/kernels/00000000-0000-0000-0000-000000000000")


def test_a_card_has_a_picture_a_title_and_a_sentence(page):
    assert page.title() == "lipviz explorers"
    for entry in explorers.entries():
        link = page.get_by_role("link", name=entry.title, exact=True)
        expect(link).to_have_accessible_description(entry.sentence)
        assert link.get_attribute("href") == f"./{entry.name}"
    images = page.locator(".lipviz-card img").evaluate_all("images => images.map(i => [i.alt, i.naturalWidth])")
    assert images == [[entry.shows, 480] for entry in explorers.entries()]
    assert axe.findings(page) == {}


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_window_is_too_narrow(page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    last = page.locator(".lipviz-card").nth(2 if width > 600 else 1)
    box = last.bounding_box()
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= height  # a whole row of cards is in view


def test_the_keys_lead_through_the_cards_and_the_focus_is_seen(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    page.locator("#lipviz-theme").focus()
    for entry in explorers.entries():
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "[document.activeElement.textContent,"
            " getComputedStyle(document.activeElement.closest('.lipviz-card')).outlineStyle]"
        )
        assert focus == [entry.title, "solid"]


def test_the_theme_is_the_systems_until_it_is_chosen(page):
    switch = page.get_by_role("button", name="Dark theme")
    wait_for_theme(page, "dark")
    expect(switch).to_have_attribute("aria-pressed", "true")
    page.emulate_media(color_scheme="light")
    wait_for_theme(page, "light")
    page.emulate_media(color_scheme="dark")
    switch.press("Enter")
    wait_for_theme(page, "light")
    page.reload()
    wait_for_theme(page, "light")
    switch.press("Enter")
    wait_for_theme(page, "dark")


def test_an_address_that_leads_nowhere_says_so_and_leads_back(page, home):
    bare = home.partition("?")[0]
    for path in ("no<b>thing", "a/b/c"):
        assert page.goto(bare + path).status == 404
        assert path in page.locator("main").inner_text()
        assert page.get_by_role("link", name="Björck", exact=True).evaluate("link => link.href") == f"{bare}bjorck"
        page.get_by_role("link", name="all explorers", exact=True).press("Enter")
        page.wait_for_url(bare)


def test_an_explorer_opens_at_its_own_address(page, home, tmp_path):
    bare = home.partition("?")[0]
    page.goto(bare)
    link = page.get_by_role("link", name="Björck", exact=True)
    link.evaluate("link => { link.href += '?state={\"seed\":7}'; }")
    link.press("Enter")  # its kernel was started while the cards were shown, and knows the address all the same
    expect(page.locator("#loading")).to_contain_text("Opening Björck")
    assert axe.findings(page) == {}
    assert page.url.startswith(f"{bare}bjorck?state=")
    assert page.title() == "lipviz: Björck"
    explorer = ExplorerPage(page)
    expect(page.locator("#loading")).to_have_count(0)
    expect(page.locator(".lipviz-explorer .widget-readout").get_by_text("7", exact=True)).to_have_count(1)
    explorer.focus(explorer.sliders()[0])
    assert explorer.move("ArrowRight") or explorer.move("ArrowLeft")
    # The address follows, so that a reload shows the same.
    page.wait_for_function("() => JSON.parse(new window.URL(location).searchParams.get('state')).rows")
    assert explorer.alerts() == []
    assert "from lipviz" not in page.inner_text("body")
    assert page.locator(".jp-InputArea").count() == 0
    wait_for_theme(page, "dark")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    explorer.show_all_controls()
    assert axe.findings(page) == {}
    page.screenshot(path=tmp_path / "app.png", full_page=True)
    assert page.get_by_role("link", name="All explorers").evaluate("link => link.href") == bare
    assert page.outside == []
    assert page.errors == []


def test_no_other_page_reaches_the_kernel(page, home):
    # The page of the test before is still open, with its kernel; its reader is logged in.
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in page.context.cookies())
    kernel = re.search(r'"kernelId": *"([-0-9a-f]{36})"', page.content()).group(1)
    channels = f"/api/kernels/{kernel}/channels"
    assert knock(home, f"{channels}?", cookies=cookies) == 400  # let in, but it wants a websocket
    assert knock(home, channels, cookies=cookies, origin="http://other.example") == 403
    assert knock(home, "/api/kernels", cookies=cookies, method="POST") == 403  # without the secret of the page
    assert knock(home, f"/voila/api/shutdown/{kernel}", cookies=cookies, origin="http://a.b", method="POST") == 404
    for file in ("bjorck.ipynb", "../bjorck.ipynb", "etc/passwd"):
        assert knock(home, f"/voila/files/{file}", cookies=cookies) == 403


@pytest.mark.nightly
def test_a_reader_drags_while_another_closes_the_page_with_a_slider_in_the_hand(browser, app_server):
    readers = []
    for _ in range(2):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * SECOND)
        page.goto(app_server.address)
        readers.append(ExplorerPage(page))
    one, other = readers
    one.drag("smallest", (0.3, 0.7))
    before = other.sources()
    one.page.close()
    assert other.sources() == before
    *_, last = other.drag("smallest", (0.7, 0.3))
    assert distance(last, before) > 0
    other.page.mouse.up()
    assert other.alerts() == []
    other.page.close()
