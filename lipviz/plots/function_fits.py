"""Plot of networks that are fitted to a function of one variable."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.toys.function_fits import FunctionFit

_TARGET: dict[str, Any] = {"color": style.BLACK, "linestyle": "--", "linewidth": 1.4, "zorder": 4}


@without_update
def plot_function_fit(data: FunctionFit | Sequence[FunctionFit], *, ax: Axes | None = None) -> Axes:
    """Draw the outputs of networks fitted to a function of one variable, and the function itself, dashed.

    Args:
        data: `FunctionFit` of `lipviz.toys`, or a list of them with the same target.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no fit, or they have different targets.
    """
    fits = [data] if isinstance(data, FunctionFit) else list(data)
    if not fits:
        raise ValueError("Expected one fit or more. Received: an empty list")
    first = fits[0]
    if any(fit.x.shape != first.x.shape or np.any(fit.target != first.target) for fit in fits):
        raise ValueError(f"Expected fits of one target. Received: {[fit.target_name for fit in fits]}")
    title = f"Fit of {_title(first.target_name)}"
    with style.drawing(
        ax, title=title, xlabel="input x (no unit)", ylabel="output (no unit)", setup=(_few_ticks,)
    ) as ax:
        style.line(ax, "target", first.x, first.target, label="target", **_TARGET)
        for order, fit in enumerate(fits):
            label, look = _look(fit, order)
            look |= {"label": label, "linewidth": 1.6, "markersize": 4.5}
            marks = style.spread_markers(len(fit.x), order, most=9)
            style.line(ax, f"fit {order}", fit.x, fit.prediction, markevery=marks, **look)
        _frame(ax, fits)
        # A legend of one row holds three entries. With more, it goes where it hides least.
        if len(fits) <= 2:
            style.legend(ax)
        else:
            style.inner_legend(ax, "upper center", ncols=2)
    return ax


def _few_ticks(ax):
    ax.locator_params(axis="x", nbins=6)


def _title(name):
    return {"abs": "|x|", "sawtooth": "a sawtooth"}.get(name, f"'{name}'")


def _look(fit, order):
    label, look = style.ACTIVATIONS[fit.activation]
    return (label, {**look}) if fit.constrained else (f"{label}, free", {**look, "linestyle": ":"})


def _frame(ax, fits):
    """Set limits that depend on the target only, so that they stay while networks learn."""
    x, target = fits[0].x, fits[0].target
    span = float(np.ptp(target)) or 1.0
    pad = 0.03 * (x[-1] - x[0])
    style.x_limits(ax, x[0] - pad, x[-1] + pad)
    # Room above the lines for a legend of many entries.
    style.y_limits(ax, target.min() - 0.25 * span, target.max() + (0.25 if len(fits) <= 2 else 0.75) * span)


@alt_text.register
def _(data: FunctionFit):
    kind = f"{style.number(data.k)}-Lipschitz" if data.constrained else "unconstrained"
    return (
        f"Fit of {_title(data.target_name)} by a {kind} network of {style.ACTIVATIONS[data.activation][0]} after "
        f"{len(data.losses)} steps: root mean squared error {style.number(data.error)}, largest error "
        f"{style.number(data.largest_error)}, steepest slope {style.number(data.slope)}."
    )
