"""The norm of a convolution, and what methods claim about it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import keras
import numpy as np

from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, literal, picture_of
from lipviz.explorers.shell.controls import choice, slider
from lipviz.explorers.shell.extending import extended
from lipviz.explorers.shell.motion import step_slider
from lipviz.explorers.shell.result_cache import ResultCache
from lipviz.measure.claims import (
    KERNEL_KINDS,
    SPECTRUM_SIDE,
    ConvolutionClaims,
    convolution_claims,
    sample_kernel,
)
from lipviz.measure.convolution_motion import PowerMoment, convolution_power
from lipviz.operators import Convolution, linear_operator
from lipviz.plots import alt_text
from lipviz.plots.convolution_motion import plot_convolution_power, plot_worst_image
from lipviz.plots.convolutions import plot_convolution_claims, plot_convolution_gains, plot_convolution_spectrum
from lipviz.plots.style import number
from lipviz.rules.used import as_float64
from lipviz.types import ArrayLike

_KINDS = ("random", *(kind for kind in KERNEL_KINDS if kind != "random"))
# On an image of 5 × 5, no frequency of a plain FFT meets the peak of a checkerboard, so that its claim is too small.
_KIND, _IMAGE = "checkerboard", 5
_IMAGES = (3, 32)
_STRIDES = (1, 4)
_ITERATIONS = 40


@dataclasses.dataclass(frozen=True, eq=False)
class _Named(ConvolutionClaims):
    """Claims, and the name of the kernel that they are about."""

    name: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class _Moving(_Named):
    """Claims, and the image that the convolution stretches most, as far as it has been found."""

    moment: PowerMoment = dataclasses.field(kw_only=True)


class ConvolutionExplorer(Explorer):
    """Choose a kernel and how it moves over an image, and compare the norm with what methods claim about it.

    Args:
        convolution: Your own convolution, in addition to those that the explorer offers: a built `Conv2D`, of Keras or
            of lipviz, with the kernel that it uses in inference; or a kernel of shape (height, width, in, out). It is
            shown first.

    What cannot be used gives a message in the explorer.
    """

    title = "Convolution explorer: whose bound holds?"
    help_text = (
        "To make a convolution 1-Lipschitz, its kernel is divided by its norm, or by what a method claims to be its "
        "norm. The bars show the norm after that. Choose a kernel, and how it moves over an image."
    )
    panels = 2
    essentials = ("kernel", "image", "view", "step")

    def __init__(self, convolution: keras.Layer | ArrayLike | None = None):
        self._own: Any = None if convolution is None else _own_operator(convolution)
        self._is_layer = isinstance(convolution, keras.layers.Layer)
        self._measured = ResultCache(self._measure)
        self._powers = ResultCache(self._power, 16)
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        own, has_own = self._own, isinstance(self._own, Convolution)
        image, stride, padding = _IMAGE, 1, "same"
        if has_own:
            image, stride, padding = min(max(own.sizes[0], _IMAGES[0]), _IMAGES[1]), own.strides[0], own.padding
        yours = [] if own is None else [("yours" + (f" {own.kernel.shape}" if has_own else ""), "yours")]
        return {
            "Kernel": {
                "kernel": choice(
                    "Kernel",
                    [*yours, *((kind, kind) for kind in _KINDS)],
                    "What the image is convolved with",
                    "yours" if yours else _KIND,
                ),
                "size": slider("Kernel size", 3, 1, 7, 1, "Height and width of the kernel, in pixels"),
                "channels": slider("Input channels", 1, 1, 4, 1, "Of the image"),
                "filters": slider("Output channels", 16, 1, 16, 1, "Of the result"),
                "orthogonal": choice(
                    "Kernel's matrix",
                    [("orthogonal, as after Björck", True), ("as it is", False)],
                    "Whether all its singular values are made equal first",
                ),
                "seed": slider("Seed", 0, 0, 20, 1, "Of the kernels 'random' and 'smooth'"),
            },
            "Geometry": {
                "image": slider("Image size", image, *_IMAGES, 1, "Height and width of the image, in pixels"),
                "stride": slider("Stride", min(stride, _STRIDES[1]), *_STRIDES, 1, "Pixels between patches (strides)"),
                "padding": choice(
                    "Padding", [("same (zeros)", "same"), ("valid (none)", "valid")], "At the border (padding)", padding
                ),
                "view": choice(
                    "Picture",
                    [
                        ("claims, and gains", "gains"),
                        ("claims, and spectrum", "spectrum"),
                        ("motion: the worst image", "motion"),
                    ],
                    "What the picture shows",
                ),
                "step": step_slider("Power iteration", _ITERATIONS, 1, "From noise on", _last_step),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = set()
        if state["kernel"] == "yours":
            unused = {"size", "channels", "filters", "orthogonal", "seed"}
        elif state["kernel"] not in ("random", "smooth"):
            unused = {"seed"}
        return set(state) - unused - ({"step"} if state["view"] != "motion" else set())

    def measured(self, kernel: str, seed: int, view: str, step: int, **state: Any) -> ConvolutionClaims:
        chosen = self._chosen(kernel, seed, **state)
        if view == "motion":
            self._powers(*chosen)
        return self._measured(*chosen, view == "spectrum")

    def _chosen(self, kernel, seed, size, channels, filters, orthogonal, image, stride, padding):
        """What the convolution depends on."""
        seed = seed if kernel in ("random", "smooth") else 0
        return (kernel, size, channels, filters, orthogonal, seed), image, stride, padding

    def compute(self, kernel: str, view: str, step: int, **state: Any) -> _Named:
        data = self.measured(kernel=kernel, view=view, step=step, **state)
        if view == "spectrum" and data.spectrum is None:
            raise ValueError(
                f"All singular values are shown up to {SPECTRUM_SIDE} of them: choose a smaller image or fewer "
                "channels, or the gain over frequencies."
            )
        name = "Your kernel" if kernel == "yours" else f"The kernel '{kernel}'"
        if view == "motion":
            power = self._powers(*self._chosen(kernel, **state))
            return extended(_Moving, data, name=name, moment=power.at(step))
        return extended(_Named, data, name=name)

    def _measure(self, kernel, image, stride, padding, spectrum):
        return convolution_claims(self._kernel(*kernel), image, stride, padding, spectrum)

    def _power(self, kernel, image, stride, padding):
        return convolution_power(self._kernel(*kernel), image, stride, padding, _ITERATIONS)

    def _kernel(self, kind, size, channels, filters, orthogonal, seed):
        if kind != "yours":
            return sample_kernel(kind, size, channels, filters, orthogonal, seed)
        if isinstance(self._own, Exception):
            raise self._own
        return self._own.kernel

    def draw(self, data: _Named, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        if isinstance(data, _Moving):
            plot_worst_image(data.moment, ax=left)
            plot_convolution_power(data.moment, data, ax=right)
            return
        plot_convolution_claims(data, ax=left)
        plot = plot_convolution_spectrum if state["view"] == "spectrum" else plot_convolution_gains
        plot(data, ax=right)

    def alt_text(self, data: _Named) -> str:
        return alt_text(data.moment) if isinstance(data, _Moving) else alt_text(data)

    def statement(self, data: _Named) -> str:
        if data.norm == 0:
            return f"{data.name} is zero, and so is its convolution."
        if isinstance(data, _Moving):
            return _moment_in_words(data)
        (height, width), (rows, columns) = data.image, data.kernel_size
        lies = [name for name, lie in zip(data.methods, data.is_below_norm, strict=True) if lie]
        after = dict(zip(data.methods, data.after, strict=True))
        words = (
            f"{data.name}, {rows} × {columns} on {height} × {width}: after division by lipviz's Fourier bound the "
            f"norm is {after[data.methods[1]]:.3f}, after counting patches {after[data.methods[0]]:.3f}. The aim is "
            "at most 1."
        )
        if not lies:
            return f"{words} No claim is too small here, but only these two are bounds for every kernel."
        return (
            words
            + " "
            + " ".join(
                f"The {name} promises 1, but the norm is {after[name]:.3f}: {_percent(after[name])} too large."
                for name in lies
            )
        )

    def numbers(self, data: _Named) -> list[tuple[str, str]]:
        claims = zip(data.methods, data.claims, strict=True)
        return [
            *([("gain of the present image", number(data.moment.gain, 7))] if isinstance(data, _Moving) else []),
            ("norm of the convolution", number(data.norm, 7)),
            ("norm of the kernel's matrix", number(data.kernel_norm, 7)),
            *((f"claimed by {name}", number(claim, 7)) for name, claim in claims),
            ("largest gain without a border", number(data.gains.max(), 7)),
        ]

    def table(self, data: _Named) -> tuple[list[str], list[list[Any]]]:
        columns = ["method", "claim", "norm after division by it", "is a bound for every kernel", "lies"]
        values = (
            data.methods,
            data.claims.tolist(),
            data.after.tolist(),
            data.is_proved.tolist(),
            data.is_below_norm.tolist(),
        )
        return columns, [list(row) for row in zip(*values, strict=True)]

    def code_lines(self, data: _Named, state: Mapping[str, Any]) -> list[str]:
        geometry = {"image": state["image"], "strides": state["stride"], "padding": state["padding"]}
        spectrum = state["view"] == "spectrum"
        made = [
            f"array = {self._kernel_code(**state)}",
            call("result = measure.convolution_claims", "array", **geometry, spectrum=spectrum),
        ]
        if isinstance(data, _Moving):
            panels = [
                "plots.plot_worst_image(moment, ax={ax})",
                "plots.plot_convolution_power(moment, result, ax={ax})",
            ]
            power = call("power = measure.convolution_power", "array", **geometry, iterations=_ITERATIONS)
            return [
                *made,
                power,
                f"moment = power.at({data.moment.step})",
                *picture_of(panels, "plots.alt_text(moment)"),
            ]
        kinds = ("claims", "spectrum" if spectrum else "gains")
        return [*made, *picture_of([f"plots.plot_convolution_{kind}(result, ax={{ax}})" for kind in kinds])]

    def _kernel_code(self, kernel, size, channels, filters, orthogonal, seed, **_geometry):
        if kernel == "yours":
            return "operators.linear_operator(convolution).kernel" if self._is_layer else "convolution"
        return call(
            "measure.sample_kernel",
            literal(kernel),
            size=size,
            channels=channels,
            filters=filters,
            orthogonal=orthogonal,
            seed=seed if kernel in ("random", "smooth") else 0,
        )


def _last_step(data):
    return data.moment.power.iterations if isinstance(data, _Moving) else None


def _moment_in_words(data):
    moment = data.moment
    words = (
        f"After {moment.step} steps the image is stretched by {moment.gain:.4f}: the norm is at least that. It is "
        f"{data.norm:.4f}."
    )
    passed = [
        f"the claim {claim:.4f} of the {name}"
        for name, claim in zip(data.methods, data.claims, strict=True)
        if claim < moment.gain * (1 - 1e-9)
    ]
    if passed:
        return f"{words} So the image disproves {' and '.join(passed)}."
    low, high = moment.power.coverage.min(), moment.power.coverage.max()
    return f"{words} {low} to {high} patches see a pixel." if low < high else words


def _percent(after):
    return f"{number(100 * (after - 1), 2)} %"


def _own_operator(target):
    """The convolution of a layer or a kernel, or the error that says why there is none."""
    try:
        if not isinstance(target, keras.layers.Layer):
            kernel = as_float64(target, "The kernel").copy()  # the reader may change the original
            if kernel.ndim != 4 or kernel.size == 0:
                raise ValueError(
                    "Expected a built Conv2D, or a kernel of shape (height, width, in, out). "
                    f"Received shape: {kernel.shape}"
                )
            return Convolution(kernel, tuple(np.maximum(kernel.shape[:2], 8)), padding="same")
        operator = linear_operator(target)
        if not isinstance(operator, Convolution) or len(operator.sizes) != 2:
            raise ValueError(f"Expected a 2-D convolution. Received: {type(target).__name__} '{target.name}'")
        if operator.groups != 1 or set(operator.dilations) != {1} or operator.padding not in ("same", "valid"):
            raise ValueError(
                "Expected a convolution of one group, without dilation, with padding 'same' or 'valid'. "
                f"Received: {type(target).__name__} '{target.name}'"
            )
        return operator
    except (ValueError, TypeError) as error:
        return error
