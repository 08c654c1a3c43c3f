"""The documentation: built without a warning, complete, and read in a browser that cannot reach the internet."""

import functools
import html.parser
import http.server
import importlib
import json
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import jupytext
import pytest
from PIL import Image
from sphinx.errors import ExtensionError
from sphinx.util.inventory import InventoryFile

import lipviz
from tests.browser import axe, keyboard
from tests.browser.lab import PATIENCE, SECOND

pytestmark = [pytest.mark.site, pytest.mark.notebook]

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
PHONE, DESKTOP = 390, 1280
LONGEST = 4  # of the pages of modules
# Pages of each kind: a long lesson, wide tables, a slider over pictures, and what the theme writes. At night, axe looks
# at all pages, in both themes.
LOOKED_AT = {"lessons/08_certify_fashion.html", "layers.html", "explorers/index.html", "search.html"}
# Sliders of the test's site, by the page that shows them. `tools.nightly` makes all of them.
SLIDERS = {"explorers/index.html": "bjorck", "lessons/02_orthogonalize_a_kernel.html": "02_orthogonalize_a_kernel"}


@pytest.fixture(scope="session")
def site(request, tmp_path_factory, forks, run_program):
    """The folder of the built site. What a lesson's page shows are the outputs of this very test run.

    Sphinx's own pages of source code are made with `--nightly` only.
    """
    folder = tmp_path_factory.mktemp("site")
    arguments = ["-q", "-W", "--keep-going", "-D", "lessons_run=0", "-D", f"frames_made={','.join(SLIDERS.values())}"]
    arguments += [] if request.config.option.nightly else ["-t", "without_sources"]
    arguments += [str(ROOT / "docs"), str(folder)]
    before = {path.name for path in (ROOT / "docs").iterdir()}
    # As `python -m sphinx`, with the kernel of the guide beside those of the lessons.
    program = f"import sys\nfrom sphinx.cmd.build import main\nsys.exit(main({arguments!r}))"
    done = run_program(program if forks is None else forks.prelude + program)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (ROOT / "docs").iterdir()} - before <= {"_build", "lessons"}
    return folder


def extension(name):
    """A Sphinx extension of the site, as a module."""
    folder = str(ROOT / "docs" / "_ext")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


class Elements(html.parser.HTMLParser):
    """Every start tag of a page, as (name, attributes)."""

    def __init__(self, path):
        super().__init__()
        self.found = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="session")
def pages(site):
    """The elements of every page that somebody wrote, by its path."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts and "_modules" not in path.parts]
    return {path: Elements(path).found for path in paths}


def test_every_lesson_is_a_page_with_figures_and_a_notebook_to_download(site, pages):
    assert LESSONS
    for lesson in LESSONS:
        elements = pages[site / "lessons" / f"{lesson.stem}.html"]
        sources = [attrs["src"] for tag, attrs in elements if tag == "img"]
        assert 0 < max(len(source) for source in sources if source.startswith("data:image/")) < 400_000
        assert ("a", {"href": f"../notebooks/{lesson.stem}.ipynb", "download": None}) in elements
        download = jupytext.read(site / "notebooks" / f"{lesson.stem}.ipynb")
        pairs = list(zip(download.cells, jupytext.read(lesson).cells, strict=True))
        changed = [got.source for got, cell in pairs if got.source != cell.source]
        assert len(changed) == 2, changed  # the links to other lessons, which lie elsewhere on a reader's disk
        assert all("lessons/index.html)" in source and ".py)" not in source for source in changed)
        assert not any(cell.get("outputs") for cell in download.cells)


def test_a_lesson_that_was_not_run_is_an_error_where_it_may_not_be_run(tmp_path):
    executed = extension("lessons").executed
    with pytest.raises(ExtensionError, match=f"{LESSONS[0].name} has not been run as it is now: python -m pytest"):
        executed(LESSONS[0], tmp_path, run=False)


def is_hidden(attrs):
    """Whether an image leaves its words to another, or is none for readers."""
    is_panel = "_frames/" in attrs["src"] or attrs.get("decoding") == "sync"  # the first one has the words of all
    is_dot = attrs.get("width") == "1"  # it carries a script
    return attrs.get("alt") == "" and (is_panel or is_dot)


def test_every_image_has_words(pages):
    images = [(path.name, attrs) for path, elements in pages.items() for tag, attrs in elements if tag == "img"]
    assert len(images) > 5
    images = [image for image in images if not is_hidden(image[1])]
    # A file's name is what Sphinx puts where there are no words.
    assert [i for i in images if len(i[1].get("alt") or "") < 20 or i[1]["alt"].endswith((".png", ".svg"))] == []


def test_every_local_link_leads_somewhere(site, pages):
    anchors = {path: {attrs["id"] for _, attrs in elements if "id" in attrs} for path, elements in pages.items()}
    broken = []
    for path, elements in pages.items():
        for tag, attrs in elements:
            link = urlsplit(attrs.get("href" if tag == "a" else "src") or "")
            if link.scheme or not (link.path or link.fragment):
                continue
            target = (path.parent / link.path).resolve() if link.path else path
            if not target.exists() or (link.fragment and link.fragment not in anchors.get(target, {link.fragment})):
                broken.append((path.relative_to(site), link.geturl()))
    assert broken == []


@pytest.mark.parametrize("name", [name for name in lipviz._SUBMODULES if name != "activations"])
def test_everything_public_is_described(site, name):
    module = importlib.import_module(f"lipviz.{name}")
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    names = {name for kind in ("py:class", "py:function", "py:exception") for name in inventory.get(kind, ())}
    public = getattr(module, "__all__", None) or [
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    described_names = {f"lipviz.{name}.{key}" for key in public if callable(getattr(module, key))}
    assert described_names
    assert described_names - names == set()


def test_constructors_show_their_arguments(site):
    page = (site / "api" / "modules" / "lipviz.layers.html").read_text(encoding="utf-8")
    assert "maxiter_bjorck" in page.split('id="lipviz.layers.SpectralDense"')[1].split("</dt>")[0]
    assert " object at 0x" not in page


def kind_and_size(path):
    with Image.open(path) as image:
        return image.format, image.size


@pytest.mark.parametrize("path", SLIDERS)
def test_a_slider_has_pictures_and_words_for_each_of_its_values(site, path):
    page = site / path
    (text,) = re.findall(r'<script type="application/json">(.+?)</script>', page.read_text(encoding="utf-8"))
    frames = json.loads(text)
    assert len(frames) >= 8
    assert all(len(frame["alt"]) > 80 and len(frame["statement"]) > 40 and frame["value"] for frame in frames)
    for place in zip(*(frame["panels"] for frame in frames), strict=True):
        ((kind, size),) = {kind_and_size(page.parent / source) for source in place}
        assert kind == "WEBP"
        assert min(size) >= 500
    assert len({tuple(frame["panels"]) for frame in frames}) == len(frames)  # each value shows something else


def test_a_page_with_all_pictures_of_its_slider_is_light(site):
    weights = extension("frames").weights(site)
    assert set(weights) == set(SLIDERS)
    assert max(weights.values()) < 2_000_000


# --- in a browser ---


@pytest.fixture(scope="session")
def served(site):
    """The site's address on this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def visits(request, browser, site, served, pages):
    """What a browser saw of every page; without `--nightly`, of the modules' pages only of the longest.

    Sphinx makes all of them from docstrings in the same way.
    """
    names = sorted((path.relative_to(site).as_posix() for path in pages), key=lambda name: (site / name).stat().st_size)
    modules = [name for name in names if name.startswith("api/modules/")]
    left_out = set() if request.config.option.nightly else set(modules[:-LONGEST])
    page = browser.new_page()  # one for all: a new one takes Chromium half as long as what it shows
    page.set_default_timeout(PATIENCE * SECOND)
    themes = ("light", "dark") if request.config.option.nightly else ("light",)
    looked_at = set(names) if request.config.option.nightly else LOOKED_AT
    seen = {
        name: _visit(page, served, name, themes if name in looked_at else ()) for name in names if name not in left_out
    }
    page.close()
    return seen


def _visit(page, served, name, themes):
    outside, errors = [], []
    listeners = {
        "request": lambda request: request.url.startswith((f"{served}/", "data:")) or outside.append(request.url),
        "console": lambda message: message.type == "error" and errors.append(message.text),
        "pageerror": lambda error: errors.append(str(error)),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.set_viewport_size({"width": DESKTOP, "height": 900})
    page.goto(f"{served}/{name}")
    page.wait_for_function("() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")
    found = page.evaluate(
        """() => ({
            formulas: document.querySelectorAll('mjx-container').length,
            raw: [...document.querySelectorAll('.math')].filter(math => !math.querySelector('mjx-container')).length,
            failed: [...document.querySelectorAll('mjx-merror')].map(error => error.textContent),
            missing: [...document.images].filter(image => !image.complete || !image.naturalWidth).map(i => i.src),
            widgets: document.querySelectorAll('script[type*=widget-view]').length,
        })"""
    )
    faults = {}
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        faults |= {f"{rule}, {theme}": places for rule, places in axe.findings(page).items()}
    widths = {}
    for window in (DESKTOP, PHONE):
        page.set_viewport_size({"width": window, "height": 900})
        widths[window] = page.evaluate("document.documentElement.scrollWidth")
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return SimpleNamespace(outside=outside, errors=errors, widths=widths, faults=faults, **found)


@pytest.mark.browser
def test_nothing_is_fetched_from_elsewhere(visits):
    assert {name: visit.outside for name, visit in visits.items() if visit.outside} == {}
    assert {name: visit.errors for name, visit in visits.items() if visit.errors} == {}


@pytest.mark.browser
def test_formulas_and_images_are_there(visits):
    for name, visit in visits.items():
        assert (visit.raw, visit.failed, visit.missing, visit.widgets) == (0, [], [], 0), name
    for page in ("lessons/00_take_the_tour.html", "architecture.html"):
        assert visits[page].formulas >= 2


@pytest.mark.browser
def test_no_page_is_wider_than_the_window(visits):
    too_wide = {name: v.widths for name, v in visits.items() if any(w > window for window, w in v.widths.items())}
    assert too_wide == {}


@pytest.mark.browser
def test_no_page_shuts_readers_out(visits):
    assert {name: visit.faults for name, visit in visits.items() if visit.faults} == {}


@pytest.mark.browser
@pytest.mark.parametrize(
    "name", ["index.html", pytest.param("lessons/02_orthogonalize_a_kernel.html", marks=pytest.mark.nightly)]
)
def test_who_zooms_and_uses_no_mouse_always_sees_the_focus_and_stops_the_film(browser, served, name):
    page = browser.new_page(viewport={"width": 640, "height": 450}, reduced_motion="reduce")  # zoomed by two
    page.goto(f"{served}/{name}")
    stops = keyboard.walk(page)
    assert len(stops) > 30
    assert keyboard.lost(stops) == []
    if name == "index.html":
        film = page.locator("a.film img")
        button = page.get_by_role("button", name="film")
        for words, shown in (
            ("▶ Play", "playground-still"),
            ("❚❚ Pause", "playground"),
            ("▶ Play", "playground-still"),
        ):
            assert button.inner_text() == f"{words} the film"
            assert film.evaluate("film => film.currentSrc").endswith(f"/{shown}.webp")
            button.press("Enter")
            page.wait_for_function(f"() => !document.querySelector('a.film img').currentSrc.endsWith('/{shown}.webp')")
    page.close()


@pytest.fixture
def reader(browser, served):
    """A page of the site that somebody reads, and works with by keyboard."""
    page = browser.new_page(viewport={"width": PHONE, "height": 844})
    page.set_default_timeout(PATIENCE * SECOND)
    yield page
    page.close()


def seen(page, name):
    """What a slider shows: addresses of its pictures, and its words."""
    figure = page.locator(f"#frames-{name}")
    images, slider = figure.locator(".frames-panels img"), figure.get_by_role("slider")
    return {
        "pictures": [image.get_attribute("src") for image in images.all()],
        "alt": images.first.get_attribute("alt"),
        "value": slider.get_attribute("aria-valuetext"),
        "readout": figure.locator(".frames-value").inner_text(),
        "statement": figure.locator("[aria-live]").inner_text(),
    }


@pytest.mark.browser
def test_the_playground_is_as_high_as_what_it_shows_and_has_the_theme_of_the_site(reader, served):
    reader.goto(f"{served}/playground.html")
    inside = "document.getElementById('playground-frame').contentWindow"
    reader.wait_for_function(f"() => {inside}.lipvizPlayground?.frames > 0")
    # On a phone, one network stands above the other: higher than the window, and no scroll bar of its own.
    reader.wait_for_function(f"() => {inside}.innerHeight > 1500")
    document = f"{inside}.document.documentElement"
    assert reader.evaluate(f"{document}.scrollHeight - {inside}.innerHeight") <= 0
    reader.evaluate("document.body.dataset.theme = 'dark'")
    reader.wait_for_function(f"() => {document}.dataset.theme === 'dark'")


@pytest.mark.browser
def test_keys_and_a_finger_move_a_slider(reader, served):
    """Picture, readout, value and both texts change together."""
    (path, name) = next(iter(SLIDERS.items()))
    reader.goto(f"{served}/{path}")
    slider = reader.get_by_role("slider", name="Step")
    first = seen(reader, name)
    shown = [first]
    for key in ("ArrowRight", "End", "Home"):
        slider.press(key)
        shown.append(seen(reader, name))
    assert [state["readout"] for state in shown] == ["unit circle", "on its way", "iteration 10", "unit circle"]
    assert all(state["value"] == state["readout"] for state in shown)
    assert shown[3] == first
    for part, count in (("pictures", 3), ("alt", 3), ("statement", 2)):
        assert len({str(state[part]) for state in shown}) == count, part
    box = slider.bounding_box()
    slider.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert seen(reader, name)["readout"] in ("iteration 1", "iteration 2", "iteration 3")
    reader.wait_for_function("() => [...document.images].every(image => image.complete && image.naturalWidth)")


@pytest.mark.browser
def test_without_javascript_the_first_picture_and_its_words_are_seen(browser, served):
    page = browser.new_page(java_script_enabled=False)
    (path, name) = next(iter(SLIDERS.items()))
    page.goto(f"{served}/{path}")
    figure = page.locator(f"#frames-{name}")
    assert not figure.locator(".frames-control").is_visible()
    assert figure.locator("img").first.is_visible()
    assert figure.locator(".frames-statement").inner_text().startswith("A unit circle")
    assert "Without JavaScript" in figure.inner_text()
    page.close()
