"""What the tests in a browser share: a Chromium, or a stated reason why there is none."""

import importlib.util
import os

import pytest

from tests.browser.lab import find_chromium, launched, serve


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
def lab_server(course):
    """One JupyterLab on the course, for all tests that leave its settings alone."""
    with serve(course, "--LabApp.expose_app_in_browser=True", home=course.parent) as server:
        yield server
