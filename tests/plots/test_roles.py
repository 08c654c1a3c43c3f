"""What a mark stands for looks the same in all plots."""

import itertools

import pytest

from lipviz.plots import style
from lipviz.plots.bjorck import _ERROR, _LIMITS
from lipviz.plots.certification import _FOUND, _TOGETHER, _UPPER
from lipviz.plots.certified_image import _CERTIFIED, _DISTANCES, _EPSILON
from lipviz.plots.robustness import _CERTIFIED as _ACCURACY
from lipviz.plots.robustness import _EMPIRICAL
from lipviz.plots.spectra import STAGES


def test_roles_differ_in_colour_or_marker():
    for one, other in itertools.combinations(style.ROLES.values(), 2):
        assert (one["color"], one["marker"]) != (other["color"], other["marker"])
    markers = [look["marker"] for name, look in style.ROLES.items() if name != "chosen"]
    assert len(set(markers)) == len(markers)  # the chosen one and the normalized kernel share no plot


@pytest.mark.parametrize(
    ("role", "looks"),
    [
        ("certified", [_UPPER, _TOGETHER, _CERTIFIED, _DISTANCES, _ACCURACY]),
        ("attack", [_EMPIRICAL, _FOUND]),
        ("constrained", [_ERROR, STAGES[2][2]]),
        ("limit", [_EPSILON, _LIMITS]),
    ],
)
def test_plots_take_their_looks_from_the_table(role, looks):
    for look in looks:
        assert (look["color"], look["marker"]) == (style.ROLES[role]["color"], style.ROLES[role]["marker"])


def test_an_activation_keeps_its_look_in_any_order():
    relu, groupsort = (
        (look["color"], look["marker"]) for _, look in map(style.ACTIVATIONS.get, ("relu", "groupsort2"))
    )
    assert style.series_looks(["ReLU", "GroupSort2"]) == [relu, groupsort]
    assert style.series_looks(["groupsort2", "relu"]) == [groupsort, relu]
    for names in (["tanh", "ReLU", "a"], ["relu", "prelulip", "elu", "abs", "GroupSort2"], ["ReLU", "ReLU"]):
        colors, markers = zip(*style.series_looks(names), strict=True)
        assert len(set(colors)) == len(set(markers)) == len(names)
    assert style.series_looks(list("abcde")) == list(zip(style.PALETTE, style.MARKERS, strict=False))


def test_further_words_take_precedence():
    assert style.role("limit", linestyle="--", label="ε") == {**style.ROLES["limit"], "linestyle": "--", "label": "ε"}
    with pytest.raises(KeyError):
        style.role("unheard of")
