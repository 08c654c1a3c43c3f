"""What a layer does to its kernel: normalization, then Björck's iteration."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import keras
import numpy as np

from lipviz import measure, operators
from lipviz import normalizers as nm
from lipviz.explorers.digits import digits_kernels
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, literal, picture_of
from lipviz.explorers.shell.controls import choice, log_slider, slider
from lipviz.explorers.shell.extending import extended
from lipviz.explorers.shell.motion import step_slider
from lipviz.explorers.shell.result_cache import ResultCache
from lipviz.measure import BjorckConvergence, BjorckMap, BjorckMoment
from lipviz.operators.weights import SPECTRA
from lipviz.plots import (
    alt_text,
    plot_bjorck_circle,
    plot_bjorck_cobweb,
    plot_bjorck_convergence,
    plot_bjorck_map,
    plot_singular_values,
)
from lipviz.plots.style import number
from lipviz.types import ArrayLike

_SETTINGS = ("eps_spectral", "maxiter_spectral", "eps_bjorck", "beta_bjorck", "maxiter_bjorck")
_DIGITS = {"first": "64 × 64", "second": "64 × 32", "last": "32 × 10"}
_VIEWS = [
    ("spectrum, and convergence", "convergence"),
    ("motion: circle to circle", "motion"),
    ("spectrum, and iterations", "map"),
]
_MOST_ITERATIONS = 50


@dataclasses.dataclass(frozen=True, eq=False)
class _Moving(BjorckConvergence):
    """The steps of a layer, and one moment of them."""

    moment: BjorckMoment = dataclasses.field(kw_only=True)


@dataclasses.dataclass(frozen=True, eq=False)
class _Mapped(BjorckConvergence):
    """The steps of a layer, and the iterations that any layer needs."""

    map: BjorckMap = dataclasses.field(kw_only=True)


class BjorckExplorer(Explorer):
    """Move the settings of a `SpectralDense` layer, and see what they do to the singular values of a kernel.

    Args:
        kernel: Your own kernels, in addition to those that the explorer offers: an array of two axes or more, or a
            built layer or model, whose raw kernels are used. They are shown first.

    A kernel that cannot be used (NaN, no matrix, a model that is not built) gives a message in the explorer.
    """

    title = "Björck explorer: from any kernel to an orthogonal one"
    help_text = (
        "A layer divides its kernel by an upper bound of its largest singular value, then repeats "
        "W ← (1 + β) W − β W WᵀW. Choose a kernel and move the settings, by mouse or by arrow keys."
    )
    panels = 2
    essentials = ("view", "step", "smallest", "maxiter_bjorck")

    def __init__(self, kernel: ArrayLike | keras.Layer | None = None):
        self._own = {} if kernel is None else _own_kernels(kernel)
        self._measured = ResultCache(self._measure)
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        return {
            "Kernel": {
                "kernel": choice("Kernel", self._kernel_options(), "Where the kernel comes from"),
                "rows": slider("Rows", 64, 1, 128, 1, "Inputs of the layer"),
                "columns": slider("Columns", 64, 1, 128, 1, "Units of the layer"),
                "spectrum": choice(
                    "Spectrum", [(kind, kind) for kind in SPECTRA], "How the singular values are distributed"
                ),
                "smallest": log_slider("Smallest singular value", 0.1, -4, 0, "Of the random kernel; the largest is 1"),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives another kernel and start vector"),
            },
            "Normalization": {
                "eps_spectral": log_slider(
                    "Power tolerance",
                    nm.DEFAULT_EPS_SPECTRAL,
                    -7,
                    0,
                    "The power iteration stops when a step is shorter (eps_spectral)",
                ),
                "maxiter_spectral": slider(
                    "Power iterations", nm.DEFAULT_MAXITER_SPECTRAL, 0, 50, 1, "Largest number (maxiter_spectral)"
                ),
            },
            "Björck": {
                "eps_bjorck": log_slider(
                    "Björck tolerance",
                    nm.DEFAULT_EPS_BJORCK,
                    -7,
                    0,
                    "The iteration stops when a step is shorter (eps_bjorck)",
                ),
                "beta_bjorck": slider(
                    "Björck step size β", nm.DEFAULT_BETA_BJORCK, 0.01, 0.5, 0.01, "Of each iteration (beta_bjorck)"
                ),
                "maxiter_bjorck": slider(
                    "Björck iterations",
                    nm.DEFAULT_MAXITER_BJORCK,
                    0,
                    _MOST_ITERATIONS,
                    1,
                    "Largest number (maxiter_bjorck)",
                ),
            },
            "Picture": {
                "view": choice("Picture", _VIEWS, "What the picture shows"),
                "step": step_slider(
                    "Step",
                    1 + _MOST_ITERATIONS,
                    0.1,
                    "0 is a circle, 1 the kernel's image, then iterations",
                    _last_step,
                ),
            },
        }

    def _kernel_options(self):
        own = [(f"yours: {name} ({' × '.join(map(str, k.shape))})", f"yours: {name}") for name, k in _good(self._own)]
        own += [("yours", "yours")] if isinstance(self._own, Exception) else []
        digits = [(f"digits, {name} layer ({shape})", f"digits: {name}") for name, shape in _DIGITS.items()]
        return [
            *own,
            ("random, chosen spectrum", "random"),
            ("initial (Glorot uniform)", "initialized"),
            *digits,
        ]

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = {
            "random": set(),
            "initialized": {"spectrum", "smallest"},
        }.get(state["kernel"], {"rows", "columns", "spectrum", "smallest"})
        return set(state) - unused - ({"step"} if state["view"] != "motion" else set())

    def compute(self, view: str, step: float, **state: Any) -> BjorckConvergence:
        data = self._measured(*state.items())
        if view == "motion":
            moment = measure.bjorck_moment(data.normalized, step, data.beta_bjorck, data.iterations)
            return extended(_Moving, data, moment=moment)
        return extended(_Mapped, data, map=_map()) if view == "map" else data

    def _measure(self, *entries):
        state = dict(entries)
        names = ("kernel", "rows", "columns", "smallest", "spectrum", "seed")
        settings = {name: value for name, value in state.items() if name not in names}
        matrix = self._kernel(*(state[name] for name in names))
        return measure.bjorck_convergence(matrix, **settings, seed=state["seed"], repeats=1)

    def _kernel(self, source, rows, columns, smallest, spectrum, seed):
        if source == "random":
            return _random(rows, columns, smallest, spectrum, seed)
        if source == "initialized":
            return np.asarray(keras.initializers.GlorotUniform(seed=seed)((rows, columns)))
        if source.startswith("digits: "):
            return digits_kernels(self.progress)[source.removeprefix("digits: ")]
        if isinstance(self._own, Exception):
            raise self._own
        return self._own[source.removeprefix("yours: ")]

    def draw(self, data: BjorckConvergence, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        if isinstance(data, _Moving):
            plot_bjorck_circle(data.moment, ax=left)
            plot_bjorck_cobweb(data.moment, ax=right)
            return
        plot_singular_values(data, ax=left)
        if isinstance(data, _Mapped):
            plot_bjorck_map(data.map, ax=right, place=(data.beta_bjorck, data.normalized[-1]))
        else:
            plot_bjorck_convergence(data, ax=right)

    def alt_text(self, data: BjorckConvergence) -> str:
        if isinstance(data, _Moving):
            return alt_text(data.moment)
        return _map_in_words(data) if isinstance(data, _Mapped) else alt_text(data)

    def statement(self, data: BjorckConvergence) -> str:
        if isinstance(data, _Moving):
            return _moment_in_words(data.moment)
        if isinstance(data, _Mapped):
            return (
                f"The mark is at β = {number(data.beta_bjorck)} and σmin = {number(data.normalized[-1])} of the "
                f"normalized kernel, which is its slowest singular value. {_end_in_words(data)}"
            )
        return f"{_bound_in_words(data)} {_end_in_words(data)}"

    def numbers(self, data: BjorckConvergence) -> list[tuple[str, str]]:
        return [
            *(_of_moment(data.moment) if isinstance(data, _Moving) else []),
            ("largest singular value of the raw kernel", number(data.raw[0], 7)),
            ("upper bound that it was divided by", number(data.sigma_bound, 7)),
            ("largest singular value of the result", f"{data.constrained[0]:.7f}"),
            ("smallest singular value of the result", f"{data.constrained[-1]:.7f}"),
            ("‖I − WᵀW‖ before Björck", number(data.errors[0])),
            ("‖I − WᵀW‖ of the result", number(data.orthogonality_error)),
            ("Björck iterations", f"{data.iterations} of {data.maxiter_bjorck}"),
            ("time of the computation, in NumPy", f"{1e3 * data.seconds:.1f} ms"),
        ]

    def code_lines(self, data: BjorckConvergence, state: Mapping[str, Any]) -> list[str]:
        settings = {name: state[name] for name in _SETTINGS}
        digits = state["kernel"].startswith("digits: ")
        return [
            *(["from lipviz.explorers.digits import digits_kernels"] if digits else []),
            f"matrix = {self._kernel_code(**state)}",
            call("result = measure.bjorck_convergence", "matrix", **settings, seed=state["seed"]),
            *_picture_code(data),
        ]

    def _kernel_code(self, kernel, rows, columns, spectrum, smallest, seed, **_settings):
        if kernel == "random":
            return call(
                "operators.random_kernel", str(rows), str(columns), smallest=smallest, spectrum=spectrum, seed=seed
            )
        if kernel == "initialized":
            return f"np.asarray(keras.initializers.GlorotUniform(seed={seed})(({rows}, {columns})))"
        if kernel.startswith("digits: "):
            return f"digits_kernels()[{literal(kernel.removeprefix('digits: '))}]"
        return f"operators.kernels(kernel)[{literal(kernel.removeprefix('yours: '))}]"


@functools.lru_cache(maxsize=8)
def _random(rows, columns, smallest, spectrum, seed):
    return operators.random_kernel(rows, columns, smallest, spectrum, seed)


@functools.cache
def _map():
    """The iterations over β and σ, as far as layers allow both."""
    return measure.bjorck_iterations_map(np.linspace(0.01, 0.5, 50), np.geomspace(1e-4, 1, 60))


def _last_step(data):
    return 1 + data.iterations if isinstance(data, _Moving) else None


def _own_kernels(target):
    """Kernels by name, or the error that says why there are none."""
    try:
        return operators.kernels(target)
    except (ValueError, TypeError) as error:
        return error


def _good(own):
    return [] if isinstance(own, Exception) else own.items()


def _bound_in_words(data):
    return (
        "Every singular value of what the layer uses is at most 1, so the layer is 1-Lipschitz: measured "
        f"σmax = {data.constrained[0]:.7f} (float64 SVD)."
    )


def _end_in_words(data):
    if data.iterations == 0:
        return "Björck was left out: the kernel is normalized only."
    step = f"the last step moved the kernel by {number(data.increments[-1])}"
    if data.converged:
        return (
            f"Björck stopped after {data.iterations} of {data.maxiter_bjorck} iterations because {step} < eps_bjorck."
        )
    return f"Björck used all its {data.iterations} iterations, and {step} ≥ eps_bjorck: it has not converged."


def _picture_code(data):
    spectrum = "plots.plot_singular_values(result, ax={ax})"
    if isinstance(data, _Moving):
        arguments = ("result.normalized", literal(data.moment.step), "result.beta_bjorck", "result.iterations")
        panels = [f"plots.plot_bjorck_{kind}(moment, ax={{ax}})" for kind in ("circle", "cobweb")]
        return [call("moment = measure.bjorck_moment", *arguments), *picture_of(panels, "plots.alt_text(moment)")]
    if isinstance(data, _Mapped):
        place = "place=(result.beta_bjorck, result.normalized[-1])"
        return [
            "counts = measure.bjorck_iterations_map(np.linspace(0.01, 0.5, 50), np.geomspace(1e-4, 1, 60))",
            *picture_of([spectrum, f"plots.plot_bjorck_map(counts, ax={{ax}}, {place})"], "plots.alt_text(counts)"),
        ]
    return picture_of([spectrum, "plots.plot_bjorck_convergence(result, ax={ax})"])


def _map_in_words(data):
    low, high = (number(data.normalized[place]) for place in (-1, 0))
    return (
        f"Two panels. Left, singular values of a kernel of shape {data.shape[0]} × {data.shape[1]}: normalized from "
        f"{high} down to {low}, after Björck down to {number(data.constrained[-1], 6)}. Right, a mark at "
        f"β = {number(data.beta_bjorck)} and σ = {low}. {alt_text(data.map)}"
    )


def _moment_in_words(moment):
    if moment.step < 1:
        return "A unit circle, on its way to its image: the normalized kernel shortens every direction by its σ."
    low, first = number(moment.now.min()), number(moment.path[0].min())
    words = f"The kernel's image of the circle is an ellipse: it shortens one direction to {first}."
    if moment.step == 1:
        return f"{words} Björck's iteration makes it a circle again."
    count = "iteration" if moment.iteration == 1 else "iterations"
    return (
        f"{words} After {number(moment.iteration)} {count} it is {low}: each singular value climbs the curve on its "
        f"own, and ‖I − WᵀW‖ is {number(moment.error)}."
    )


def _of_moment(moment):
    return [
        ("largest singular value at this step", f"{moment.now.max():.7f}"),
        ("smallest singular value at this step", f"{moment.now.min():.7f}"),
        ("‖I − WᵀW‖ at this step", number(moment.error)),
    ]
