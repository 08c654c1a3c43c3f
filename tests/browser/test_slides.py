"""Slides in a browser: they fit, their code unfolds, and the page asks for nothing but itself."""

import pytest

from lipviz.command.teaching.slide_page import page
from lipviz.command.teaching.slides import slides_of
from tests.browser.lab import PATIENCE, SECOND
from tests.teaching.test_slides import lesson

pytestmark = pytest.mark.browser

OF_SLIDE = """() => {
    const slide = Reveal.getCurrentSlide(), text = slide.querySelector('p, li, pre, figure');
    return {title: slide.querySelector('h2')?.textContent, height: slide.scrollHeight, width: slide.scrollWidth,
            size: text ? parseFloat(getComputedStyle(text).fontSize) : null,
            shown: slide.getBoundingClientRect().height > 0};
}"""

# Of each page the room between its edges and what it shows: left, right and below.
ON_PAPER = """() => [...document.querySelectorAll('.pdf-page')].map(page => {
    const edge = page.getBoundingClientRect();
    const shown = [...page.querySelectorAll('section :is(h2, p, li, pre, figure, summary)')]
        .filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect()).filter(box => box.width);
    return [Math.min(...shown.map(box => box.left - edge.left)), Math.min(...shown.map(box => edge.right - box.right)),
            Math.min(...shown.map(box => edge.bottom - box.bottom))];
})"""


def test_every_slide_fits_and_nothing_is_loaded(browser, tmp_path):
    slides = slides_of(lesson(), {"First": "5 minutes."})
    file = tmp_path / "slides.html"
    file.write_text(page("A lesson", slides), encoding="utf-8")
    requests, errors = [], []
    tab = browser.new_page(viewport={"width": 1280, "height": 720})
    try:
        tab.set_default_timeout(PATIENCE * SECOND)
        tab.on("request", lambda request: request.url.startswith("data:") or requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
        tab.goto(file.as_uri())
        tab.wait_for_function("() => window.Reveal?.isReady()")
        seen = []
        for _ in slides:
            seen.append(tab.evaluate(OF_SLIDE))
            tab.keyboard.press("Space")
        assert [one["title"] for one in seen] == [slide.title for slide in slides]
        for one in seen:
            assert one["shown"]
            assert one["height"] <= 720, one
            assert one["width"] <= 1280, one
            assert one["size"] is None or one["size"] >= 18, one
        assert tab.evaluate("() => [...document.images].every(image => image.alt && image.naturalWidth)")
        assert tab.evaluate("() => document.querySelector('math').getBoundingClientRect().width >= 0")
        assert tab.evaluate("() => document.querySelector('aside.notes').textContent") == "5 minutes."
        tab.evaluate("() => Reveal.slide(1, 0)")
        folded = tab.locator("section.present section.present details")
        folded.locator("summary").click()
        assert folded.locator(".highlight").is_visible()
        tab.goto(f"{file.as_uri()}?print-pdf")
        tab.wait_for_function("() => window.Reveal?.isReady() && document.querySelector('.pdf-page')")
        printed = tab.evaluate(ON_PAPER)
        assert len(printed) == len(slides)
        for left, right, below in printed:
            assert left >= 50, "text at the edge of the paper"
            assert right >= 50
            assert below >= 0
    finally:
        tab.close()
    assert requests == [file.as_uri(), f"{file.as_uri()}?print-pdf"]
    assert errors == []
