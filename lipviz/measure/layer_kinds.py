"""The kinds of constrained layers, in one table for all comparisons."""

import dataclasses
from typing import Any

import keras

from lipviz import layers
from lipviz.layers.blocks import ResidualBlock

_DENSE, _CONVOLUTION, _TRANSPOSED = ENDS = ("Dense", "Conv2D", "Conv2DTranspose")


@dataclasses.dataclass(frozen=True)
class LayerKind:
    """A kind of constrained layer.

    Attributes:
        layer: Name of its class in `lipviz.layers`, which ends with "Dense", "Conv2D" or "Conv2DTranspose".
        construction: How it makes its kernel, in a few words.
        when: What it is good for, in a few words.
        arguments: Further arguments of the constructor, as pairs (name, value).
        label: Its name where there is little room, as beside a row of a plot.
        padding: Of convolutions, where none is asked for.
    """

    layer: str
    construction: str = dataclasses.field(repr=False)
    when: str = dataclasses.field(repr=False)
    arguments: tuple[tuple[str, Any], ...] = ()
    label: str = dataclasses.field(default="", repr=False)
    padding: str = dataclasses.field(default="same", repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.layer, str) and self.layer.endswith(ENDS)):
            expected = ", ".join(f'"{end}"' for end in ENDS)
            raise ValueError(f"`layer` must be a name that ends with one of {expected}. Received: {self.layer!r}")
        if not hasattr(layers, self.layer):
            raise ValueError(f"`layer` must be the name of a class in lipviz.layers. Received: {self.layer!r}")
        if not self.label:
            short = self.layer.removesuffix(_DENSE).removesuffix(_TRANSPOSED).removesuffix(_CONVOLUTION)
            object.__setattr__(self, "label", f"{short},\ntransposed" if self.is_transposed else short)

    @property
    def is_dense(self) -> bool:
        """Whether it is dense, and not a convolution."""
        return self.layer.endswith(_DENSE)

    @property
    def is_transposed(self) -> bool:
        """Whether it is the adjoint of another kind. Where the image keeps its size, it says nothing new."""
        return self.layer.endswith(_TRANSPOSED)

    @property
    def is_block(self) -> bool:
        """Whether it is a residual block, which has its activation inside and keeps the shape of its input."""
        return issubclass(getattr(layers, self.layer), ResidualBlock)

    @property
    def title(self) -> str:
        """Its class, with the further arguments."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments)
        return f"{self.layer}({given})" if given else self.layer

    def make(self, count: int, kernel_size: int = 3, padding: str | None = None, **arguments: Any) -> keras.Layer:
        """Make a layer of this kind.

        Args:
            count: Number of units or filters; of a residual block, hidden ones.
            kernel_size: Of a convolution.
            padding: Of a convolution; None takes that of the kind.
            **arguments: Further arguments of every kind, such as `kernel_initializer`, `name` and `dtype`.

        Returns:
            A layer that is not built.

        Raises:
            ValueError: If this kind does not take an argument, such as a padding.
        """
        shape: dict[str, Any] = {"units": count}
        if not self.is_dense:
            shape = {"filters": count, "kernel_size": kernel_size, "padding": padding or self.padding}
        return getattr(layers, self.layer)(**shape, **dict(self.arguments), **arguments)

    def make_plain(self, count: int, kernel_size: int = 3, padding: str = "same", **arguments: Any) -> keras.Layer:
        """Make Keras's own layer of the same shape, without a constraint; see `make`."""
        if self.is_dense:
            return keras.layers.Dense(count, **arguments)
        plain = keras.layers.Conv2DTranspose if self.is_transposed else keras.layers.Conv2D
        return plain(count, kernel_size, padding=padding, **arguments)


# `python -m tools.layer_table` measures all of them, and writes docs/layers.md.
LAYER_KINDS = (
    LayerKind(
        "SpectralDense", "Björck's iteration: the nearest orthogonal matrix", "the default: keeps every gradient"
    ),
    LayerKind(
        "SpectralDense",
        "over a bound of the largest singular value",
        "comparisons: what Björck adds",
        (("eps_bjorck", None),),
        "Spectral,\nno Björck",
    ),
    LayerKind(
        "CayleyDense", "Cayley transform: one linear system", "exactly orthogonal at every step; square: rotations"
    ),
    LayerKind(
        "BRODense", "I − 2V(VᵀV + εI)⁻¹Vᵀ, of low rank", "the same, from a quarter of the numbers, for wide layers"
    ),
    LayerKind(
        "AOLDense", "columns over row sums of the Gram matrix", "wide layers where cost matters; lets a norm shrink"
    ),
    LayerKind("FrobeniusDense", "over the Frobenius norm", "a last layer of one unit", (("disjoint_neurons", False),)),
    LayerKind("SLLDense", "x − 2Vσ(Vᵀx + b), V almost orthogonal", "depth: a residual block with its activation"),
    LayerKind("SpectralConv2D", "Björck's iteration, over √(patches per pixel)", "the default, for images of any size"),
    LayerKind(
        "SpectralConv2D",
        "the same, over a bound by Fourier transform",
        "norms near k, fixed sizes",
        (("bound", "tight"),),
        "Spectral,\ntight",
    ),
    LayerKind("SpectralConv2DTranspose", "the adjoint of a `SpectralConv2D`", "larger images: decoders"),
    LayerKind("AOLConv2D", "channels over sums of the autocorrelation", "images of any size, few channels"),
    LayerKind(
        "AOCConv2D", "orthogonal matrix and factors [P, I − P]", "keeps every gradient but at the border; strides"
    ),
    LayerKind("AOCConv2DTranspose", "the adjoint of an `AOCConv2D`", "larger images without a loss"),
    LayerKind(
        "BROConv2D",
        "I − 2V(VᵀV + εI)⁻¹Vᵀ at every frequency",
        "circular images of one size, large neighbourhoods",
        padding="circular",
    ),
    LayerKind("FrobeniusConv2D", "over the Frobenius norm", "comparisons"),
    LayerKind("SLLConv2D", "x − 2Vσ(Vᵀx + b), V almost orthogonal", "depth: a residual block with its activation"),
)
# Those that can take each other's place in a network whose layers keep the shape of their inputs.
DENSE_KINDS = tuple(kind for kind in LAYER_KINDS if kind.is_dense)
CONVOLUTION_KINDS = tuple(kind for kind in LAYER_KINDS if not (kind.is_dense or kind.is_transposed))


def layer_kind(title: str) -> LayerKind:
    """The kind of `LAYER_KINDS` with a title.

    Args:
        title: Such as "AOLDense" or "SpectralConv2D(bound='tight')".

    Returns:
        A `LayerKind`.

    Raises:
        ValueError: If there is none; the message lists the titles.
    """
    for kind in LAYER_KINDS:
        if kind.title == title:
            return kind
    raise ValueError(f"`title` must be one of {', '.join(kind.title for kind in LAYER_KINDS)}. Received: {title!r}")
