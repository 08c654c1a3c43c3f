"""Convergence of Björck's iteration."""

import numpy as np

from lipviz.plots import style

_SOLID = {"linewidth": 1.6, "markersize": 4.5}
_ERROR = {"color": style.BLUE, "marker": "o", "label": "‖I − WᵀW‖", **_SOLID}
_STEP = {"color": style.VERMILLION, "marker": "s", "linestyle": "--", "label": "length of a step", **_SOLID}
_LIMITS = {"color": style.BLACK, "linestyle": "-.", "linewidth": 1.0, "label": "eps, maxiter"}

# Below lies the rounding of the layer's own arithmetic. A frame that stays lets pictures be compared.
_FLOOR = {"float32": 1e-8, "float64": 1e-16}


def plot_bjorck_convergence(data, *, ax=None, update=False):
    """Draw ‖I − WᵀW‖ after each iteration, the length of each step, and where the iteration has to stop.

    Args:
        data: `BjorckConvergence` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        update: Move the lines of an earlier call on the same Axes: fast.

    Returns:
        The Axes.
    """
    if not update:
        ax = style.prepared(ax, title="Björck's iteration", xlabel="iteration", ylabel="Frobenius norm (no unit)")
        style.whole_ticks(ax)
    floor = _FLOOR[data.dtype]
    style.log_scale(ax, [data.errors, data.increments, [data.eps_bjorck]], bottom=floor, update=update)
    end = style.round_number(max(data.maxiter_bjorck, 5))
    ax.set_xlim(-0.03 * end, 1.03 * end)

    steps = np.arange(data.iterations + 1)
    # It stops below eps_bjorck, at the latest at maxiter_bjorck.
    limits = [0, data.maxiter_bjorck, data.maxiter_bjorck], [data.eps_bjorck, data.eps_bjorck, ax.get_ylim()[1]]
    style.line(ax, "limits", *limits, update=update, **_LIMITS)
    marks = style.spread_markers(len(steps), 0, most=26)
    style.line(ax, "error", steps, data.errors, update=update, markevery=marks, **_ERROR)
    style.line(ax, "increment", steps[1:], data.increments, update=update, markevery=marks, **_STEP)
    if not update:
        style.legend(ax)
    return ax
