"""The explorer that the tests of a file share: that of its class `EXPLORER`, or a small one, as it opens."""

import pytest

from tests.explorers.small import Small


@pytest.fixture(scope="module")
def shared(request):
    """One explorer for all tests of a file."""
    explorer = getattr(request.module, "EXPLORER", Small)()
    yield explorer
    explorer.close()


@pytest.fixture
def explorer(shared, request):
    """The explorer that they share, as it opens; or before any training in the state `UNTRAINED` of the file."""
    shared.reset()
    state = getattr(request.module, "UNTRAINED", None)
    if state is not None:
        shared._set(state)
        shared._forget()
        shared.refresh()
        assert shared.error is None
    return shared
