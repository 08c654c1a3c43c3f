"""What a layer does to its kernel: normalization, then Björck's iteration."""

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
from lipviz.measure import BjorckConvergence
from lipviz.operators.weights import SPECTRA
from lipviz.plots import alt_text, plot_bjorck_convergence, plot_singular_values
from lipviz.plots.style import number
from lipviz.types import ArrayLike

_SETTINGS = ("eps_spectral", "maxiter_spectral", "eps_bjorck", "beta_bjorck", "maxiter_bjorck")
_DIGITS = {"first": "64 × 64", "second": "64 × 32", "last": "32 × 10"}


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

    def __init__(self, kernel: ArrayLike | keras.Layer | None = None):
        self._own = {} if kernel is None else _own_kernels(kernel)
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        return {
            "Kernel": {
                "kernel": choice("kernel", self._kernel_options(), "Where the kernel comes from"),
                "rows": slider("rows", 64, 1, 128, 1, "Inputs of the layer"),
                "columns": slider("columns", 64, 1, 128, 1, "Units of the layer"),
                "spectrum": choice(
                    "spectrum", [(kind, kind) for kind in SPECTRA], "How the singular values are distributed"
                ),
                "smallest": log_slider("smallest σ", 0.1, -4, 0, "Smallest singular value; the largest is 1"),
                "seed": slider("seed", 0, 0, 20, 1, "Another seed gives another kernel and start vector"),
            },
            "Normalization": {
                "eps_spectral": log_slider(
                    "eps_spectral", nm.DEFAULT_EPS_SPECTRAL, -7, 0, "The power iteration stops when a step is shorter"
                ),
                "maxiter_spectral": slider(
                    "maxiter_spectral", nm.DEFAULT_MAXITER_SPECTRAL, 0, 50, 1, "Largest number of power iterations"
                ),
            },
            "Björck": {
                "eps_bjorck": log_slider(
                    "eps_bjorck", nm.DEFAULT_EPS_BJORCK, -7, 0, "The iteration stops when a step is shorter"
                ),
                "beta_bjorck": slider(
                    "beta_bjorck", nm.DEFAULT_BETA_BJORCK, 0.01, 0.5, 0.01, "Step size β of the iteration"
                ),
                "maxiter_bjorck": slider(
                    "maxiter_bjorck", nm.DEFAULT_MAXITER_BJORCK, 0, 50, 1, "Largest number of iterations"
                ),
            },
        }

    def _kernel_options(self):
        own = [(f"yours: {name} ({' × '.join(map(str, k.shape))})", f"yours: {name}") for name, k in _good(self._own)]
        own += [("yours", "yours")] if isinstance(self._own, Exception) else []
        digits = [(f"trained on digits, {name} layer ({shape})", f"digits: {name}") for name, shape in _DIGITS.items()]
        return [
            *own,
            ("random, with a chosen spectrum", "random"),
            ("freshly initialized (Glorot uniform)", "initialized"),
            *digits,
        ]

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = {
            "random": set(),
            "initialized": {"spectrum", "smallest"},
        }.get(state["kernel"], {"rows", "columns", "spectrum", "smallest"})
        return set(state) - unused

    def compute(
        self, kernel: str, rows: int, columns: int, spectrum: str, smallest: float, seed: int, **settings: Any
    ) -> BjorckConvergence:
        matrix = self._kernel(kernel, rows, columns, spectrum, smallest, seed)
        return measure.bjorck_convergence(matrix, **settings, seed=seed, repeats=1)

    def _kernel(self, source, rows, columns, spectrum, smallest, seed):
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
        plot_singular_values(data, ax=left)
        plot_bjorck_convergence(data, ax=right)

    def alt_text(self, data: BjorckConvergence) -> str:
        return alt_text(data)

    def statement(self, data: BjorckConvergence) -> str:
        return f"{_bound_in_words(data)} {_end_in_words(data)}"

    def numbers(self, data: BjorckConvergence) -> list[tuple[str, str]]:
        return [
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
            *picture_of(
                ["plots.plot_singular_values(result, ax={ax})", "plots.plot_bjorck_convergence(result, ax={ax})"]
            ),
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
