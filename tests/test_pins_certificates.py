"""Certificates of all cases of the citizenship test, and of the files of version 0.1, as `tests/pins` holds them."""

import pytest

from tests.pins_support import assert_unchanged
from tools.pins import certificates


@pytest.mark.slow
def test_certificates():
    assert_unchanged(certificates)
