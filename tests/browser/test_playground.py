"""The playground in a browser: by mouse, by touch and by keyboard, without a server that computes anything."""

import re
import threading

import pytest

from lipviz.command import playground
from tests.browser import axe
from tests.browser.lab import PATIENCE, SECOND, expect, knock

pytestmark = pytest.mark.browser

MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def address():
    """The address of the playground, served as `lipviz playground` does."""
    with playground.make_server(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield playground.address(server)
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(browser, address):
    """Function that opens the playground, with a part of an address; no page may ask for anything elsewhere."""
    pages, outside, errors = [], [], []

    def opened(fragment="", **settings):
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **settings})
        pages.append(page)
        page.set_default_timeout(PATIENCE * SECOND)
        page.on("request", lambda request: request.url.startswith((address, "data:")) or outside.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
        page.goto(f"{address}index.html{fragment}")
        page.wait_for_function("() => window.lipvizPlayground?.frames > 0")
        return page

    yield opened
    for page in pages:
        page.close()
    assert (outside, errors) == ([], [])


def test_the_server_hands_out_nothing_but_the_page(address):
    assert knock(address, "/index.html") == 200
    for path in (
        "/../__init__.py",
        "/..%2f__init__.py",
        "/%2e%2e/__init__.py",
        "//etc/passwd",
        "/page.js/../../__init__.py",
    ):
        assert knock(address, path) == 404
    assert knock(address, "/index.html", method="POST") == 501


def points(page):
    return page.evaluate("lipvizPlayground.playground.points")


def at(page, place, kind="constrained"):
    """Where a place of the plane is on the page."""
    box = page.locator(f"[data-kind={kind}] > canvas").bounding_box()
    return box["x"] + box["width"] * (place["x"] + 2) / 4, box["y"] + box["height"] * (2 - place["y"]) / 4


def fact(page, name, kind="constrained"):
    return page.locator(f"[data-kind={kind}] [data-fact={name}]")


def test_all_files_together_are_small():
    assert sum(path.stat().st_size for path in playground.FOLDER.rglob("*") if path.is_file()) <= MOST_BYTES


def test_both_networks_learn_and_the_address_follows(visit):
    page = visit()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => lipvizPlayground.playground.steps > 20")
    page.get_by_role("button", name="Pause").click()
    expect(fact(page, "bound")).to_have_text("1")
    assert page.locator("output.steps").inner_text() == f"{page.evaluate('lipvizPlayground.playground.steps')} steps"
    page.get_by_label("activation").select_option("maxmin")
    expect(page).to_have_url(re.compile("#activation=maxmin$"))
    expect(page.locator("output.steps")).to_have_text("0 steps")
    page.get_by_role("slider", name="Lipschitz k").press("ArrowRight")
    expect(page).to_have_url(re.compile("#activation=maxmin&k=2$"))
    expect(fact(page, "bound")).to_have_text("2")


def test_a_dragged_point_and_its_disc_follow_the_mouse(visit):
    page = visit()
    before = points(page)
    radius = fact(page, "mean").inner_text()
    page.mouse.move(*at(page, before[3]))
    page.mouse.down()
    page.mouse.move(*at(page, {"x": 1.5, "y": 1.5}), steps=3)
    page.mouse.up()
    after = points(page)
    assert after[3] == pytest.approx({"x": 1.5, "y": 1.5, "label": 0}, abs=0.02)
    assert after[:3] + after[4:] == before[:3] + before[4:]
    expect(fact(page, "mean")).not_to_have_text(radius)
    expect(page).to_have_url(re.compile("#data=own&points="))
    page.get_by_role("button", name="Undo").click()
    assert points(page) == before
    expect(page).to_have_url(re.compile("index.html#?$"))


def test_points_are_added_erased_and_read(visit):
    page = visit("#data=own&points=0.0.0_1000.0.1")
    page.get_by_text("add ■").click()
    page.mouse.click(*at(page, {"x": -1, "y": -1}, "ordinary"))
    assert points(page)[2] == pytest.approx({"x": -1, "y": -1, "label": 1}, abs=0.02)
    page.get_by_text("erase", exact=True).click()
    page.mouse.click(*at(page, {"x": 1, "y": 0}))
    assert [point["label"] for point in points(page)] == [0, 1]
    page.mouse.move(*at(page, {"x": 1.2, "y": 1.2}))
    expect(page.locator("[data-kind=constrained] .reading")).to_have_text(re.compile(r"^Score .*Certified radius \d"))
    page.get_by_role("button", name="Reset points").click()
    assert len(points(page)) == 2
    assert points(page)[1] == {"x": 1, "y": 0, "label": 1}


def test_a_point_stays_under_the_mouse_that_takes_it_at_its_edge(visit):
    page = visit("#data=own&points=0.0.0_1000.0.1")
    x, y = at(page, {"x": 0, "y": 0})
    page.mouse.move(x + 6, y)
    page.mouse.down()
    page.mouse.move(x + 6, y + 1)
    page.mouse.up()
    assert points(page)[0]["x"] == pytest.approx(0, abs=1e-9)


def test_points_are_drawn_and_wiped_away_and_each_is_one_change(visit):
    page = visit("#data=own&points=0.0.0_1000.0.1")

    def stroke(tool):
        page.get_by_text(tool, exact=True).click()
        page.mouse.move(*at(page, {"x": -1.5, "y": 1}))
        page.mouse.down()
        page.mouse.move(*at(page, {"x": 1.5, "y": 1}), steps=60)
        page.mouse.up()
        return len(points(page))

    assert 10 < stroke("add ■") < 40
    assert stroke("erase") == 2
    page.get_by_role("button", name="Undo").click()
    assert len(points(page)) > 10
    page.get_by_role("button", name="Undo").click()
    assert len(points(page)) == 2


def test_a_sentence_about_the_address_goes_with_the_next_change(visit):
    page = visit("#width=0")
    problem = page.locator(".problems")
    expect(problem).to_have_text(re.compile("“width”"))
    page.get_by_label("activation").select_option("relu")
    expect(problem).to_have_text("")


def test_everything_works_by_keyboard_and_is_announced(visit):
    page = visit("#data=own&points=0.0.0_1000.0.1")
    page.locator("[data-kind=constrained] > canvas").focus()
    said = page.locator("p[role=status]")
    page.keyboard.press("n")
    expect(said).to_have_text(re.compile(r"^Point 1 of 2, a circle at 0\.00, 0\.00: ordinary network \w+, radius"))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowRight")
    expect(said).to_have_text(re.compile("^Point 1 of 2, a circle at 0.01, 0.05"))
    page.keyboard.press("b")
    expect(said).to_have_text(re.compile("^Point 3 of 3, a square at 0.11, 0.05"))
    page.keyboard.press("Delete")
    expect(said).to_have_text("Erased. 2 points are left.")
    for _ in range(4):
        page.keyboard.press("u")
    assert points(page)[0] == {"x": 0, "y": 0, "label": 0}


def test_by_touch_on_a_phone(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert axe.findings(page) == {}
    page.get_by_text("add ●").tap()
    page.touchscreen.tap(*at(page, {"x": -1.7, "y": 1.7}, "ordinary"))
    assert points(page)[-1] == pytest.approx({"x": -1.7, "y": 1.7, "label": 0}, abs=0.03)


def test_a_finger_on_a_point_drags_it_and_one_beside_it_scrolls_the_page(visit):
    page = visit("#data=own&points=0.0.0_1000.0.1", viewport={"width": 390, "height": 844}, has_touch=True)
    finger = page.context.new_cdp_session(page)

    def swipe(start, end):
        """Draws a finger over the page, from a place to another; both are in its pixels."""
        path = [[a + share * (b - a) for a, b in zip(start, end, strict=True)] for share in (0, 0.25, 0.5, 0.75, 1)]
        for kind, (x, y) in zip(["touchStart"] + 4 * ["touchMove"], path, strict=True):
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe(at(page, {"x": 0, "y": 0}, "ordinary"), at(page, {"x": 0.5, "y": 1.5}, "ordinary"))
    assert page.evaluate("scrollY") == 0
    assert points(page)[0] == pytest.approx({"x": 0.5, "y": 1.5, "label": 0}, abs=0.03)
    before = points(page)
    swipe(at(page, {"x": -1.5, "y": -1}, "ordinary"), at(page, {"x": -1.5, "y": 1}, "ordinary"))
    page.wait_for_function("() => scrollY > 50")
    assert points(page) == before


def test_nonsense_in_the_address_is_a_sentence_and_no_script(visit):
    page = visit("#width=0&tau=<img src=x onerror=alert(1)>&data=own&points=<script>alert(1)</script>")
    problems = page.get_by_role("alert").inner_text()
    assert "“width”" in problems
    assert "alert" not in page.content().replace('role="alert"', "")
    assert page.evaluate("lipvizPlayground.playground.settings.width") == 16


def test_code_and_embedding_can_be_taken_away(visit):
    page = visit("#k=2", color_scheme="dark")
    page.get_by_role("button", name="Copy as code").click()
    assert "k_coef_lip=2" in page.locator("textarea").input_value()
    assert axe.findings(page) == {}
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Embed").click()
    line = page.locator("textarea").input_value()
    assert line.startswith(f'<iframe src="{page.url}" ')
    assert "\n" not in line


def test_neurons_are_seen_large_by_mouse_and_by_keyboard(visit):
    page = visit("#width=4&depth=1")
    neurons = page.locator("[data-kind=constrained] canvas.neurons")
    words = page.locator("[data-kind=constrained] details .about")
    large = "document.querySelector('[data-kind=constrained] > canvas').toDataURL()"
    page.wait_for_function("() => lipvizPlayground.frames > 3 || lipvizPlayground.changed()")  # its size is found
    before = page.evaluate(large)
    box = neurons.bounding_box()
    neurons.hover(position={"x": box["width"] / 2, "y": 15})
    expect(words).to_have_text(re.compile("^Neuron 1 of 4 in hidden layer 1"))
    page.wait_for_function(f"before => {large} !== before", arg=before)
    page.mouse.move(1, 1)
    expect(words).to_have_text(re.compile("^Lines are weights"))
    page.wait_for_function(f"before => {large} === before", arg=before)
    neurons.focus()
    page.keyboard.press("ArrowLeft")
    expect(words).to_have_text(re.compile("^Neuron 1 of 4 in hidden layer 1"))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    expect(words).to_have_text("Input 2, from −2.00 to 2.00.")
    expect(page.locator("p[role=status]")).to_have_text("Input 2, from −2.00 to 2.00.")
    page.keyboard.press("Escape")
    expect(words).to_have_text(re.compile("^Lines are weights"))
    page.locator("[data-kind=constrained] summary").click()
    expect(neurons).to_be_hidden()


def test_a_challenge_is_done_when_the_engine_says_so(visit):
    page = visit()
    page.get_by_label("challenge").select_option("relu")
    verdict = page.locator(".verdict")
    expect(verdict).to_have_text(re.compile("^The loss of the constrained network is"))
    page.get_by_label("activation").select_option("groupsort2")
    page.evaluate("for (let i = 0; i < 150; i++) lipvizPlayground.playground.step(); lipvizPlayground.changed()")
    expect(verdict).to_have_text(re.compile("^✓ Done. "))
    expect(page.locator("p[role=status]")).to_have_text(re.compile("^Challenge done. "))
