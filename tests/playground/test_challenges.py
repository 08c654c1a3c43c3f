"""The challenges of the notebook's playground are those of the page without a server."""

import json

from lipviz.explorers.shell.canvas import challenges
from tests.playground.node import HERE, node, printed

# The circles of `lipviz.data` scatter more at the same noise, since their picture is scaled.
_DIFFER = "noise"


def test_names_settings_and_goals_are_the_same():
    page = json.loads(printed(node(), HERE / "challenges.js"))
    assert page["goals"] == [challenges.DISC_GOAL, challenges.FOOL_GOAL, challenges.RELU_GOAL]
    assert list(page["challenges"]) == list(challenges.CHALLENGES)
    for key, challenge in challenges.CHALLENGES.items():
        there = page["challenges"][key]
        assert (there["name"], there["title"]) == (challenge.name, challenge.title)
        assert _without(there["presets"]) == _without(challenge.presets)


def _without(presets):
    return {name: value for name, value in presets.items() if name != _DIFFER}
