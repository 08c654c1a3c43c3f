"""What all tests of the course share."""

import pytest

from lipviz import course


@pytest.fixture(autouse=True)
def fresh():
    """Every test begins, and leaves the others, with no hint shown and no answer given."""
    course.reset()
    yield
    course.reset()
