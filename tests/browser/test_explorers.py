"""All explorers in a real browser: each once in JupyterLab, by the gallery; see `test_layout` for other windows."""

import re

import pytest

from lipviz import explorers
from tests.browser import axe
from tests.browser.explorer_page import SMALL, distance, ink, opened
from tests.browser.lab import PATIENCE, expect

pytestmark = pytest.mark.browser

MOVES = 200


_HAS_BEGUN = "() => parseFloat(document.querySelector('.lipviz-explorer .progress-bar')?.style.width) > 0"


@pytest.fixture
def window(lab):
    """The window of the notebook, which gets its size back."""
    size = lab.page.viewport_size
    yield
    lab.page.set_viewport_size(size)


# By day one explorer of each kind of control that a page brings: sliders, a canvas, points and lines that are dragged,
# a strip of images, buttons for long work. Their controls come from one place, and all are looked at every night.
BY_DAY = {"fooled", "cone", "bjorck", "boundaries", "playground", "certificates"}


@pytest.mark.parametrize(
    "entry",
    [pytest.param(each, marks=[pytest.mark.nightly] * (each.name not in BY_DAY)) for each in explorers.entries()],
    ids=lambda entry: entry.name,
)
def test_each_explorer_opens_fits_into_a_small_window_and_answers_to_a_key(lab, window, entry):
    explorer = opened(lab.page, entry)
    assert explorer.cut_labels() == []
    explorer.assert_seen_together([SMALL])
    assert axe.findings(lab.page, ".lipviz-explorer") == {}  # by day; test_layout looks at night
    if entry.load().has_work and not entry.load().restarts:
        explorer.record()  # its sliders are the settings of what Start begins
        explorer.button("Start").press("Enter")
        lab.page.wait_for_function("() => window.lipvizFrames.length > 1", timeout=1000 * PATIENCE)
    else:
        # The first picture of a training follows its compilation. A slider may stand at its end, or change nothing of
        # this picture, and the next one is tried soon; but a machine may be busy, and then all have more time.
        times = (60,) if entry.load().restarts else (1, 8)
        assert any(
            explorer.focus(label) or explorer.move("ArrowRight", seconds) or explorer.move("ArrowLeft", seconds)
            for seconds in (*times, PATIENCE / 5)
            for label in explorer.sliders()
        ), f"no slider of {explorer.sliders()} moves the picture"
    for panel, name in entry.load().grips.items():
        assert_a_panel_is_the_handle_of_a_slider(lab, explorer, panel, name)
    assert explorer.alerts() == []
    assert lab.errors() == []
    assert lab.dialogs() == []


def assert_a_panel_is_the_handle_of_a_slider(lab, explorer, panel, name):
    """The picture follows the mouse, and where it is let go the slider keeps its place, and goes on by keys."""
    image = explorer.box.locator(".lipviz-picture img").nth(panel)
    box, mouse = image.bounding_box(), lab.page.mouse
    readout = explorer.box.locator(f".lipviz-control-{name} .widget-readout")
    values = []
    for place in (0.4, 0.8):
        mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        before = explorer.sources()
        mouse.down()
        mouse.move(box["x"] + place * box["width"], box["y"] + 0.5 * box["height"], steps=3)
        explorer.wait_for_picture(before)
        mouse.up()
        expect(explorer.box.locator(f".lipviz-control-{name} .noUi-handle")).to_be_focused()
        lab.page.wait_for_timeout(500)
        lab.wait_idle()
        values.append(float(readout.inner_text().replace("−", "-")))
    assert values[0] < values[1]
    assert explorer.move("ArrowLeft") is not None
    assert values[0] < float(readout.inner_text().replace("−", "-")) < values[1]


@pytest.mark.nightly
def test_many_fast_moves_leave_no_corrupt_frame(lab):
    explorer = opened(lab.page, explorers.find("bjorck"))
    explorer.focus("Smallest singular value")
    explorer.move("End", 5)
    explorer.record()
    for _ in range(MOVES // 50):
        for key in ["ArrowLeft"] * 30 + ["ArrowRight"] * 20:
            lab.page.keyboard.press(key)
    explorer.wait_still(lab.wait_idle)
    frames = explorer.recorded()
    assert len(frames) > 5
    inks = [[ink(source) for source in frame] for frame in frames]
    assert all(len(frame) == 2 for frame in inks)
    for panel in zip(*inks, strict=True):
        assert max(panel) < 1.5 * min(panel)  # none is blank, none is drawn upon another
    # The last frame is the picture of the last state: it comes again when we go away and back.
    last = explorer.sources()
    assert explorer.move("ArrowRight") is not None
    away = distance(explorer.sources(), last)
    assert explorer.move("ArrowLeft") is not None
    assert distance(explorer.sources(), last) < 0.1 * away
    assert explorer.alerts() == []


def assert_it_is_the_picture_of_its_value(explorer, name):
    """The same value, reached by the keyboard, has the same picture."""
    picture, readout = explorer.sources(), explorer.box.locator(f".lipviz-control-{name} .widget-readout")
    value = readout.inner_text()
    explorer.focus_control(name)
    assert explorer.move("ArrowRight") is not None
    away = distance(explorer.sources(), picture)
    assert explorer.move("ArrowLeft") is not None
    assert readout.inner_text() == value
    assert distance(explorer.sources(), picture) < 0.1 * away


@pytest.mark.parametrize(
    "end",
    [
        pytest.param((0.35, 0), id="on its track", marks=pytest.mark.nightly),
        pytest.param((-1, -1000), id="out of the window"),
    ],
)
def test_the_picture_follows_a_slider_that_is_dragged(lab, end):
    explorer = opened(lab.page, explorers.find("bjorck"))
    explorer.record()
    explorer.drag("smallest", (0.3, 0.9, 0.2, 0.6))
    assert explorer.box.locator(".noUi-active").count() == 1  # it is still held
    assert len(explorer.recorded()) > 3
    # Faster than pictures can come, to a place where the last one shall stay.
    track = explorer.box.locator(".lipviz-control-smallest .noUi-base").bounding_box()
    for place in (0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1, end[0]):
        lab.page.mouse.move(track["x"] + place * track["width"], track["y"])
    lab.page.mouse.move(track["x"] + end[0] * track["width"], track["y"] + end[1])
    lab.page.mouse.up()
    explorer.wait_still(lab.wait_idle)
    assert explorer.box.locator(".noUi-active").count() == 0
    assert_it_is_the_picture_of_its_value(explorer, "smallest")
    assert explorer.alerts() == []
    assert lab.errors() == []


def test_points_on_a_canvas_are_chosen_moved_taken_back_and_read_from_a_file(lab):
    explorer = opened(lab.page, explorers.find("playground"))
    explorer.button("Reset").first.press("Enter")  # the training begins by itself
    canvas = explorer.box.locator("[data-kind=constrained] canvas[tabindex]")
    said = explorer.box.locator(".lipviz-canvas [role=status]")
    kind = explorer.box.locator(".lipviz-control-data option:checked")
    assert canvas.get_attribute("data-lm-suppress-shortcuts") == "true"  # else B would insert a cell in command mode
    canvas.press("n")
    expect(said).to_have_text(re.compile(r"^Point 1 of 80, .*constrained network (right|wrong), radius \d"))
    before = said.inner_text()
    canvas.press("ArrowRight")
    expect(said).not_to_have_text(before)
    expect(kind).to_have_text("your own")
    explorer.box.get_by_role("button", name="Undo").click()
    expect(kind).to_have_text("two moons")

    box = canvas.bounding_box()
    x, y = (float(one) for one in re.search(r"at (\S+), (\S+):", before).groups())
    lab.page.mouse.move(box["x"] + box["width"] * (x + 2) / 4, box["y"] + box["height"] * (2 - y) / 4)
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1, steps=4)
    reading = explorer.box.locator("[data-kind=constrained] .reading")
    expect(reading).to_have_text(re.compile(r"^Score .*Certified radius \d"))
    lab.page.mouse.up()
    expect(kind).to_have_text("your own")

    menu = explorer.box.get_by_role("combobox", name="challenge", exact=True)
    menu.select_option(label="2. An unseen step")
    task = explorer.box.locator(".lipviz-challenge")
    expect(task).to_contain_text("Choose a point and move it.")
    explorer.button("Pause").press("Enter")  # it begins to learn, from the points of the challenge
    canvas.press("n")
    canvas.press("ArrowRight")
    expect(task).to_contain_text(re.compile("before it moved|still decides|0.050 long|Try another|Done"))
    menu.select_option(label="No challenge")
    expect(task).to_have_count(0)

    file = explorer.box.locator(".lipviz-canvas input[type=file]")
    for content, words in ((b"0,0,1\n1,nan,2", "Row 2: expected two finite numbers"), (b"0,0,1\n" * 200_000, "1 MB")):
        file.set_input_files({"name": "points.csv", "mimeType": "text/csv", "buffer": content})
        expect(explorer.box.get_by_text(words)).to_be_visible(timeout=1000 * PATIENCE)
    assert lab.errors() == []


def test_an_image_is_picked_from_its_strip_by_the_mouse_and_by_keys(lab):
    explorer = opened(lab.page, explorers.find("certificates"))
    tiles = explorer.box.locator(".lipviz-tiles [role=radio]")
    words = explorer.box.locator(".lipviz-tiles .words")
    picture = explorer.box.locator(".lipviz-picture img").first

    def assert_it_is_picked(number):
        expect(picture).to_have_attribute("alt", re.compile(f"^Three panels for image {number}: "))
        expect(explorer.box.locator(".lipviz-tiles [aria-checked=true]")).to_have_count(1)
        expect(tiles.nth(number)).to_have_attribute("aria-checked", "true")
        expect(words).to_have_text(re.compile(rf"^Image {number}: true class \d, predicted class \d.* radius \d"))
        expect(tiles.nth(number)).to_have_accessible_name(words.inner_text())

    tiles.nth(3).click()
    assert_it_is_picked(3)
    tiles.nth(6).hover()
    expect(words).to_have_text(re.compile("^Image 6: "))
    lab.page.keyboard.press("ArrowRight")
    lab.page.mouse.move(1, 1)
    assert_it_is_picked(4)
    expect(tiles.nth(4)).to_be_focused()
    lab.page.keyboard.press("End")
    last = tiles.count() - 1
    assert_it_is_picked(last)
    expect(tiles.nth(last)).to_be_in_viewport()
    explorer.box.locator(".lipviz-icon").first.click()
    assert_it_is_picked(last - 1)
    assert lab.errors() == []


def test_a_training_shows_itself_and_is_stopped(lab):
    explorer = opened(lab.page, explorers.find("boundaries"))
    button = {name: explorer.button(name) for name in ("Start", "Pause", "Stop")}
    bar = explorer.box.locator(".progress-bar")
    lab.page.wait_for_function(_HAS_BEGUN, timeout=1000 * PATIENCE)  # by itself
    explorer.button("Reset").press("Enter")
    expect(button["Start"]).to_be_visible()
    lab.wait_idle()
    explorer.record()
    button["Start"].press("Enter")
    lab.page.wait_for_function("() => window.lipvizFrames.length > 2", timeout=1000 * PATIENCE)
    button["Pause"].press("Enter")
    expect(explorer.button("Continue")).to_be_visible()
    explorer.wait_still(lab.wait_idle)
    assert 0 < float(bar.evaluate("bar => parseFloat(bar.style.width)")) < 100
    button["Stop"].press("Enter")
    expect(button["Start"]).to_be_visible()
    with lab.page.expect_download() as download:
        explorer.button("CSV").press("Enter")
    assert download.value.suggested_filename == "boundary-explorer.csv"
    assert download.value.path().read_text().startswith("x0,x1,class")
    assert explorer.alerts() == []
    assert lab.errors() == []


def test_a_process_plays_pauses_and_is_scrubbed_by_keyboard(lab):
    explorer = opened(lab.page, explorers.find("bjorck"))
    choice = explorer.box.locator(".widget-dropdown", has=lab.page.get_by_text("Picture", exact=True))
    choice.locator("select").select_option(label="motion: circle to circle")
    slider = explorer.box.locator(".widget-slider", has=lab.page.get_by_text("Step", exact=True))
    readout = slider.locator(".widget-readout")
    expect(readout).to_have_text("0.00")
    explorer.record()
    explorer.wait_still(lab.wait_idle)
    assert readout.inner_text() == "0.00"  # nothing plays by itself
    explorer.button("Play").press("Enter")
    lab.page.wait_for_function(f"() => parseFloat({_READOUT}) >= 0.5", timeout=1000 * PATIENCE)
    explorer.button("Pause").press("Enter")
    expect(explorer.button("Play")).to_be_visible(timeout=1000 * PATIENCE)
    explorer.wait_still(lab.wait_idle)
    assert lab.page.evaluate("() => window.lipvizFrames.length") > 2
    paused = float(readout.inner_text())
    assert 0.5 <= paused < 11
    explorer.focus("Step")
    assert explorer.move("ArrowLeft") is not None
    assert float(readout.inner_text()) == pytest.approx(paused - 0.1)
    lab.page.keyboard.press("End")
    expect(readout).to_have_text("11.00", timeout=1000 * PATIENCE)  # ten iterations, after the kernel
    explorer.button("Play").press("Enter")  # from the beginning again
    lab.page.wait_for_function(f"() => parseFloat({_READOUT}) < 11", timeout=1000 * PATIENCE)
    explorer.button("Reset").press("Enter")
    expect(slider).to_be_hidden(timeout=1000 * PATIENCE)
    assert explorer.alerts() == []
    assert lab.errors() == []


_READOUT = """[...document.querySelectorAll('.lipviz-explorer .widget-slider')]
    .find(slider => slider.offsetParent && slider.querySelector('.widget-label').textContent === 'Step')
    .querySelector('.widget-readout').textContent"""
