"""The explorer of fooled images."""

import io

import numpy as np
import pytest
from PIL import Image

from lipviz.explorers import FooledExplorer
from lipviz.explorers.frames import frames, of_control

EXPLORER = FooledExplorer


def test_it_opens_where_only_the_ordinary_network_errs(explorer):
    assert explorer.error is None
    assert [explorer.data.is_fooled(place) for place in (0, 1)] == [True, False]
    words = explorer.statement(explorer.data)
    assert words.startswith("The ordinary network takes the ")
    assert "it must be: no change shorter than" in words
    assert explorer.alt_text(explorer.data).startswith("Three pictures of no. 0. Left: ")


@pytest.mark.parametrize("image", range(5))
def test_what_it_says_follows_the_strength(image, explorer):
    explorer.state = {"image": image, "strength": 0.0}
    _, constrained = explorer.data.networks
    assert explorer.statement(explorer.data).startswith("The ordinary network still decides rightly. ")
    assert {value for name, value in explorer.numbers(explorer.data) if "fooled from" in name} == {"more than 0"}
    for strength, words in (
        (constrained.radius - 0.06, "and it must be"),
        (constrained.fooled_at + 0.06, "Now the 1-Lipschitz network errs, too"),
    ):
        explorer.state = {"strength": round(20 * strength) / 20}
        assert explorer.error is None
        assert words in explorer.statement(explorer.data)
    numbers = dict(explorer.numbers(explorer.data))
    assert float(numbers["1-Lipschitz: certified radius"]) > float(numbers["ordinary: fooled from length"])


def test_between_radius_and_attack_it_promises_nothing(explorer):
    for image in range(5):
        explorer.state = {"image": image}
        constrained = explorer.data.networks[1]
        between = round(20 * (constrained.radius + constrained.fooled_at) / 2) / 20
        if constrained.radius < between < constrained.fooled_at:
            explorer.state = {"strength": between}
            assert "beyond that, it may err" in explorer.statement(explorer.data)
            return
    pytest.fail("no image has room between its radius and the attack")


def test_grey_levels_are_shown_as_they_are(explorer):
    """A palette of few colours would add changes of its own, and tint them."""
    (frame,) = frames(explorer, of_control(explorer, "strength", [0.3]))
    for panels in (explorer._live.panels(""), frame.panels):
        for panel in panels:
            with Image.open(io.BytesIO(panel.png)) as shown:
                pixels = np.asarray(shown.convert("RGB"), int)
            inside = pixels[len(pixels) // 4 : len(pixels) // 2, 30 : pixels.shape[1] // 4]
            assert np.ptp(inside, axis=-1).max() == 0
            assert len(np.unique(inside)) > 10
