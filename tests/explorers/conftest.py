"""The explorer that tests take which are about none in particular."""

import pytest

from tests.explorers.small import Small


@pytest.fixture(scope="module")
def shared():
    """One `Small` for all tests of a file."""
    explorer = Small()
    yield explorer
    explorer.close()


@pytest.fixture
def explorer(shared):
    """The explorer that they share, as it opens."""
    shared.reset()
    return shared
