"""What the tests in a browser share: a Chromium, or a stated reason why there is none."""

import importlib.util
import os
import sys

import pytest

from tests.browser.explorer_page import LESSON, write_lesson
from tests.browser.lab import (
    LabSession,
    clean_environment,
    find_chromium,
    forked,
    free_port,
    launched,
    serve,
    started,
)


@pytest.fixture(scope="session")
def chromium():
    """The path of Chromium. Without one the test is skipped, unless LIPVIZ_REQUIRE_BROWSER is set to 1."""
    path = find_chromium()
    if path is None:
        reason = "no Chromium found: install it, or set LIPVIZ_CHROMIUM to its path"
    elif importlib.util.find_spec("playwright") is None:
        reason = 'playwright is not installed: pip install -e ".[dev]"'
    else:
        return path
    if os.environ.get("LIPVIZ_REQUIRE_BROWSER") == "1":
        pytest.fail(f"LIPVIZ_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="package")
def browser(chromium):
    """One Chromium for all tests of this folder. Each opens pages as a reader who is new there.

    It is closed before other tests begin: as long as it is open, they could not run an event loop of their own.
    """
    with launched(chromium) as browser:
        yield browser


@pytest.fixture(scope="package")
def course(tmp_path_factory):
    """The folder of a course, in a reader's home. Tests of this folder may add a lesson of their own."""
    return tmp_path_factory.mktemp("home") / "course"


@pytest.fixture(scope="package")
def lab_server(course, forks):
    """One JupyterLab on the course, for all tests that leave its settings alone."""
    with serve(course, "--LabApp.expose_app_in_browser=True", home=course.parent, forks=forks) as server:
        yield server


# All explorers, of which that of certificates would train for 150 steps first. What a page shows needs none of them.
_GALLERY = """
from lipviz import explorers
from lipviz.explorers import certificates

certificates._STEPS = 2
explorers.gallery()
"""


@pytest.fixture(scope="package")
def lab(browser, course, lab_server, tmp_path_factory):
    """JupyterLab with the gallery in a notebook, one page and one kernel for all tests that leave both as they are."""
    write_lesson(course, _GALLERY.strip())
    failure = tmp_path_factory.mktemp("gallery") / "failure.png"
    with LabSession.visit(lab_server.address, browser, on_failure=failure) as lab:
        lab.go("/lab")
        lab.open_by_click(LESSON)
        lab.run_all()
        yield lab


# The page of one explorer has all of them, so that one kernel is enough for those who look at each.
_APP = """
import sys
from lipviz.command import app

code = app.page_code
app.page_code = lambda name: {code!r} if name == {gallery!r} else code(name)
app.open_app({opened!r}, port={port}, browser=False)
"""
GALLERY, OPENED = "layers", "bjorck"


@pytest.fixture(scope="package")
def app_server(forks, tmp_path_factory):
    """One `lipviz app bjorck`, for tests that need many pages or kernels; the page GALLERY is the gallery."""
    home = tmp_path_factory.mktemp("app")
    program = _APP.format(gallery=GALLERY, code=_GALLERY.strip(), opened=OPENED, port=free_port())
    options = {
        "announces": r" is at (\S+)\n",
        "output": home / "app.log",
        "environment": clean_environment(home),
    }
    starting = (
        started([sys.executable, "-c", program], **options) if forks is None else forked(forks, program, **options)
    )
    with starting as server:
        yield server
