"""Real lessons in a real browser: opened by a click, run, and their explorer moved by keyboard."""

import json

import pytest

from tests.browser import axe, keyboard
from tests.browser.lab import LabSession, expect

pytestmark = pytest.mark.browser

LESSON = "02_orthogonalize_a_kernel.py"


def test_the_bjorck_explorer_of_a_lesson_moves_by_keyboard(browser, course, lab_server, tmp_path):
    with LabSession.visit(lab_server.address, browser, on_failure=tmp_path / "failure.png") as lab:
        lab.go("/lab/workspaces/lesson")  # no window of another test is opened again
        lab.open_by_click(LESSON)
        assert not lab.looks_changed()
        laid_out = (course / LESSON).read_bytes()
        lab.run_all()
        assert lab.errors() == []
        _predict_by_keyboard(lab, course)
        explorer = lab.notebook.locator(".lipviz-explorer")
        expect(explorer).to_contain_text("at most 1, so the layer is 1-Lipschitz")

        explorer.get_by_role("button", name="More settings").press("Enter")
        for label, key, final in (
            ("Björck step size β", "Home", "0.01"),
            ("Björck step size β", "ArrowRight", "0.02"),
            ("Björck iterations", "End", "50"),
            ("Björck step size β", "End", "0.50"),
        ):
            before = lab.figures()
            slider = lab.slider(label)
            slider.press(key)
            expect(slider.readout).to_have_text(final)
            lab.wait_for_new_figure(before)
        expect(explorer).to_contain_text("of 50 iterations because the last step moved the kernel by")
        assert axe.findings(lab.page, ".lipviz-explorer") == {}
        explorer.scroll_into_view_if_needed()

        lab.screenshot(tmp_path / "lesson.png")
        lab.save()
        assert lab.errors() == []
        assert lab.dialogs() == []
    assert (course / LESSON).read_bytes() == laid_out


@pytest.mark.nightly
def test_the_tab_key_leads_through_the_lesson_and_out_again(browser, course, lab_server, tmp_path):
    with LabSession.visit(lab_server.address, browser, on_failure=tmp_path / "failure.png") as lab:
        lab.go("/lab/workspaces/walk")
        lab.open_by_click(LESSON)
        lab.run_all()
        lab.page.keyboard.press("Escape")
        keyboard.walk(lab.page)  # from the last cell to the end of the page
        stops = [stop for stop in keyboard.walk(lab.page) if stop.is_own]
        assert len(stops) >= 11  # the explorer, and predictions to which no guess was committed before
        assert keyboard.lost(stops) == []


def _predict_by_keyboard(lab, course):
    """Commit two guesses, which open the answers, and are kept in the folder of the course."""
    choice, number = (lab.notebook.locator(".lipviz-prediction").nth(place) for place in (0, 1))
    expect(choice).not_to_contain_text("100 steps: estimate")
    choice.locator("input[type=radio]").first.focus()
    lab.page.keyboard.press("Space")
    choice.get_by_role("button", name="Commit my guess").press("Enter")
    expect(choice).to_contain_text("You chose: below 1. It is: above 1. It would be below 1 if")
    expect(choice).to_contain_text("100 steps: estimate")
    number.locator("input[type=text]").focus()
    lab.page.keyboard.type("0,2")
    lab.page.keyboard.press("Tab")
    lab.page.keyboard.press("Enter")
    expect(number).to_contain_text("You said 0.2.")
    kept = json.loads((course / ".lipviz" / "progress.json").read_text(encoding="utf-8"))["done"]
    assert (kept["bjorck.estimate"]["guess"], kept["bjorck.short"]["guess"]) == ("below", 0.2)
