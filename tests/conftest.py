"""What all tests share: seeds, and how hypothesis behaves."""

import hypothesis
import pytest

# Timings on a busy machine say nothing, and a test that failed must fail again.
hypothesis.settings.register_profile("lipviz", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lipviz")


@pytest.fixture(autouse=True)
def _seeds(request):
    """Seeds Python, NumPy and the backend before each test that may use Keras."""
    if request.node.get_closest_marker("browser") is None:
        import keras

        keras.utils.set_random_seed(0)
