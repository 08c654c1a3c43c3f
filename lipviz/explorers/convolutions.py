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
from lipviz.explorers.shell.prefetching import ResultCache
from lipviz.measure.claims import (
    KERNEL_KINDS,
    SPECTRUM_SIDE,
    ConvolutionClaims,
    convolution_claims,
    sample_kernel,
)
from lipviz.operators import Convolution, linear_operator
from lipviz.plots import alt_text
from lipviz.plots.convolutions import plot_convolution_claims, plot_convolution_gains, plot_convolution_spectrum
from lipviz.plots.style import number
from lipviz.rules.used import as_float64
from lipviz.types import ArrayLike

_KINDS = ("random", *(kind for kind in KERNEL_KINDS if kind != "random"))
_IMAGES = (3, 32)
_STRIDES = (1, 4)


@dataclasses.dataclass(frozen=True, eq=False)
class _Named(ConvolutionClaims):
    """Claims, and the name of the kernel that they are about."""

    name: str = ""


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
    essentials = ("kernel", "size", "image", "stride")

    def __init__(self, convolution: keras.Layer | ArrayLike | None = None):
        self._own: Any = None if convolution is None else _own_operator(convolution)
        self._is_layer = isinstance(convolution, keras.layers.Layer)
        self._measured = ResultCache(self._measure)
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        own, has_own = self._own, isinstance(self._own, Convolution)
        image, stride, padding = 8, 1, "same"
        if has_own:
            image, stride, padding = min(max(own.sizes[0], _IMAGES[0]), _IMAGES[1]), own.strides[0], own.padding
        yours = [] if own is None else [("yours" + (f" {own.kernel.shape}" if has_own else ""), "yours")]
        return {
            "Kernel": {
                "kernel": choice(
                    "Kernel", [*yours, *((kind, kind) for kind in _KINDS)], "What the image is convolved with"
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
                    "Right panel",
                    [("gain over frequencies", "gains"), ("all singular values", "spectrum")],
                    "What the right panel shows",
                ),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = set()
        if state["kernel"] == "yours":
            unused = {"size", "channels", "filters", "orthogonal", "seed"}
        elif state["kernel"] not in ("random", "smooth"):
            unused = {"seed"}
        return set(state) - unused

    def measured(
        self,
        kernel: str,
        size: int,
        channels: int,
        filters: int,
        orthogonal: bool,
        seed: int,
        image: int,
        stride: int,
        padding: str,
        view: str,
    ) -> ConvolutionClaims:
        seed = seed if kernel in ("random", "smooth") else 0
        return self._measured(kernel, size, channels, filters, orthogonal, seed, image, stride, padding, view)

    def compute(self, kernel: str, view: str, **state: Any) -> _Named:
        data = self.measured(kernel=kernel, view=view, **state)
        if view == "spectrum" and data.spectrum is None:
            raise ValueError(
                f"All singular values are shown up to {SPECTRUM_SIDE} of them: choose a smaller image or fewer "
                "channels, or the gain over frequencies."
            )
        return extended(_Named, data, name="Your kernel" if kernel == "yours" else f"The kernel '{kernel}'")

    def _measure(self, kind, size, channels, filters, orthogonal, seed, image, stride, padding, view):
        if kind != "yours":
            kernel = sample_kernel(kind, size, channels, filters, orthogonal, seed)
        elif isinstance(self._own, Exception):
            raise self._own
        else:
            kernel = self._own.kernel
        return convolution_claims(kernel, image, stride, padding, spectrum=view == "spectrum")

    def draw(self, data: _Named, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        plot_convolution_claims(data, ax=left)
        plot = plot_convolution_spectrum if state["view"] == "spectrum" else plot_convolution_gains
        plot(data, ax=right)

    def alt_text(self, data: _Named) -> str:
        return alt_text(data)

    def statement(self, data: _Named) -> str:
        if data.norm == 0:
            return f"{data.name} is zero, and so is its convolution."
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
        right = "spectrum" if state["view"] == "spectrum" else "gains"
        geometry = {"image": state["image"], "strides": state["stride"], "padding": state["padding"]}
        panels = [f"plots.plot_convolution_{kind}(result, ax={{ax}})" for kind in ("claims", right)]
        return [
            f"array = {self._kernel_code(**state)}",
            call("result = measure.convolution_claims", "array", **geometry, spectrum=right == "spectrum"),
            *picture_of(panels),
        ]

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
