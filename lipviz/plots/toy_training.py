"""Plot of the loss of a small network on the plane while it learns, and alternative texts of its training."""

import numpy as np
from matplotlib.axes import Axes

from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.toys.training import BoundaryTraining, WassersteinTraining


@without_update
def plot_toy_loss(data: BoundaryTraining, *, ax: Axes | None = None) -> Axes:
    """Draw the loss of a training against its steps.

    Args:
        data: `BoundaryTraining` of `lipviz.toys.training`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    steps = np.arange(len(data.losses))
    look = style.role("constrained", markersize=4.5, linewidth=1.6)
    marks = style.spread_markers(max(1, len(steps)), 0)
    largest = float(np.max(data.losses, initial=0.0))
    smallest = float(np.min(data.losses, initial=0.0))
    top = style.round_number(largest) if largest > 0 else 1.0
    labels = {"title": "Loss", "xlabel": "training steps", "ylabel": "loss (no unit)"}
    with style.drawing(ax, **labels, setup=(style.whole_ticks,)) as ax:
        style.line(ax, "loss", steps, data.losses, markevery=marks, **look)
        note(ax, "hint", "" if len(data.losses) else "not trained yet", 0.5, 0.5, ha="center", va="center")
        # The limits are those of the whole training, so that they stay while the line grows.
        style.x_limits(ax, -0.02 * data.steps, 1.02 * data.steps)
        style.y_limits(ax, 0.0 if smallest >= 0 else -style.round_number(-smallest), top)
        style.make_room_above(ax)  # the title is as high as that of the field beside it
    return ax


@alt_text.register
def _(data: BoundaryTraining):
    words = f"After {len(data.losses)} of {data.steps} steps: {alt_text(data.field)}"
    if len(data.losses):
        first, last = (style.number(data.losses[place]) for place in (0, -1))
        words += f" Right, the loss went from {first} to {last}."
    return words


@alt_text.register
def _(data: WassersteinTraining):
    step = int(data.training.steps[-1])
    return f"After {step} of {data.steps} steps. Left: {alt_text(data.potential)} Right: {alt_text(data.training)}"
