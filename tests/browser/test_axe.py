"""The look for faults sees one: other tests of this folder find none by it."""

import pytest

from tests import npm
from tests.browser import axe

pytestmark = pytest.mark.browser

_FAULTY = """<!doctype html><html lang="en"><title>x</title><main><h1>x</h1><div id="inside">
<button></button><p style="color: #999; background: #fff">pale</p></div><img src="data:,"></main></html>"""


def test_axe_sees_faults_where_it_looks(browser):
    npm.need(axe.AXE, "looks for faults of pages")
    page = browser.new_page()
    page.set_content(_FAULTY)
    assert set(axe.findings(page, "#inside")) == {"button-name", "color-contrast"}
    assert set(axe.findings(page)) == {"button-name", "color-contrast", "image-alt"}
    page.close()
