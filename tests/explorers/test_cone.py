"""The explorer of a cone on a graph."""

import pytest

from lipviz.explorers import ConeExplorer
from tests.explorers.test_base import tell

EXPLORER = ConeExplorer


def test_it_says_whether_the_graph_enters_the_cone(explorer):
    assert "stays outside of the cone at this point" in explorer.statement(explorer.data)
    explorer.state = {"k": 1.0}
    words = explorer.statement(explorer.data)
    assert words.startswith("The graph enters the cone: the secant to x = -0.24 has the steepness 2.12")
    assert words.endswith("So f is not 1-Lipschitz.")
    assert dict(explorer.numbers(explorer.data))["steepest secant through it"] == "2.1195"


@pytest.mark.parametrize(("function", "constant"), [("waves", 2.5), ("absolute", 1.0), ("step", 4.0), ("root", None)])
def test_where_the_cone_meets_the_graph_depends_on_its_constant(function, constant, explorer):
    explorer.state = {"function": function, "place": 0.0, "k": 8.0 if constant is None else constant}
    assert explorer.error is None
    assert explorer.data.is_outside == (constant is not None)
    if constant is not None:
        explorer.state = {"k": constant - 0.1}
        assert not explorer.data.is_outside


def test_a_drag_of_the_picture_moves_the_point_and_keeps_where_it_ends(explorer):
    (grip,) = explorer._image.grips
    assert (grip["panel"], grip["name"], grip["low"], grip["high"]) == (0, "place", -2, 2)
    box = explorer.figure.axes[0].get_position()
    assert (grip["left"], grip["right"]) == pytest.approx((box.x0, box.x1))
    tell(explorer, name="place", position=-1.2, number=1)
    assert (explorer.data.place, explorer.state["place"]) == (-1.2, 0.5)
    tell(explorer, name="place", position=-1.2)
    assert (explorer.data.place, explorer.state["place"]) == (-1.2, -1.2)
    tell(explorer, name="place", position=7.0, number=2)
    tell(explorer, name="place", position=-1.2)  # back where it was: the picture is that of the state
    assert (explorer.data.place, explorer.state["place"]) == (-1.2, -1.2)
    tell(explorer, name="place", position=9.0)
    assert explorer.state["place"] == 2.0


def test_panels_without_a_slider_of_their_axis_are_no_handles(explorer):
    assert explorer.grips == {0: "place"}
    explorer.controls["place"].disabled = True
    tell(explorer, name="place", position=1.0)
    assert explorer.state["place"] == 0.5
