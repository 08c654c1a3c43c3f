"""Plot of the convergence of Björck's iteration."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure import BjorckConvergence
from lipviz.plots import style
from lipviz.plots.deprecation import without_update

_SOLID: dict[str, Any] = {"linewidth": 1.6, "markersize": 4.5}
_ERROR: dict[str, Any] = style.role("constrained", label="‖I − WᵀW‖", **_SOLID)
_STEP: dict[str, Any] = style.role("normalized", label="length of a step", **_SOLID)
_LIMITS: dict[str, Any] = style.role("limit", linewidth=1.0, label="eps, maxiter")

# Smaller values are rounding errors of the layer's own arithmetic. With a fixed frame, pictures can be compared.
_FLOOR = {"float32": 1e-8, "float64": 1e-16}


@without_update
def plot_bjorck_convergence(data: BjorckConvergence, *, ax: Axes | None = None) -> Axes:
    """Draw ‖I − WᵀW‖ after each iteration, the length of each step, and the limits at which the iteration stops.

    Args:
        data: `BjorckConvergence` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    floor = _FLOOR[data.dtype]
    end = style.round_number(max(data.maxiter_bjorck, 5))
    steps = np.arange(data.iterations + 1)
    marks = style.spread_markers(len(steps), 0, most=26)
    labels = {"title": "Björck's iteration", "xlabel": "iteration", "ylabel": "Frobenius norm (no unit)"}
    with style.drawing(ax, **labels, setup=(style.whole_ticks, style.log_y)) as ax:
        style.log_scale(ax, [data.errors, data.increments, [data.eps_bjorck]], bottom=floor)
        style.x_limits(ax, -0.03 * end, 1.03 * end)
        # The iteration stops below eps_bjorck, and at maxiter_bjorck at the latest.
        limits = [0, data.maxiter_bjorck, data.maxiter_bjorck], [data.eps_bjorck, data.eps_bjorck, ax.get_ylim()[1]]
        style.line(ax, "limits", *limits, **_LIMITS)
        style.line(ax, "error", steps, data.errors, markevery=marks, **_ERROR)
        style.line(ax, "increment", steps[1:], data.increments, markevery=marks, **_STEP)
        style.legend(ax)
    return ax
