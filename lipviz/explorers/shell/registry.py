"""The list of explorers. An explorer is imported only when it is asked for, so the list itself takes no time."""

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lipviz.explorers.shell.links import name_of

if TYPE_CHECKING:
    from lipviz.explorers.shell.base import Explorer


@dataclasses.dataclass(frozen=True)
class Entry:
    """One explorer.

    Attributes:
        name: Short name, that of its module.
        class_name: Name of its class.
        title: Its name in a list.
        sentence: Why a reader would open it.
        shows: What its thumbnail shows, for readers who do not see it.
        panel: Index of the panel of its picture that is the thumbnail.
        part: Left, bottom, right and top edge of the part of this panel that the thumbnail shows, from 0 to 1.
        kind: Its class, if it is not one of lipviz's own; see `register`.
    """

    name: str
    class_name: str
    title: str
    sentence: str
    shows: str
    panel: int = 0
    part: tuple[float, float, float, float] = (0, 0, 1, 1)
    kind: "type[Explorer] | None" = dataclasses.field(default=None, repr=False)

    @property
    def thumbnail(self) -> Path:
        """Path of its thumbnail, a small WebP image; `python -m tools.thumbnails` makes it."""
        return Path(__file__).with_name("thumbnails") / f"{self.name}.webp"

    @property
    def is_here(self) -> bool:
        """Whether its module exists."""
        return self.kind is not None or importlib.util.find_spec(f"lipviz.explorers.{self.name}") is not None

    def load(self) -> "type[Explorer]":
        """Import the explorer, and return its class."""
        if self.kind is not None:
            return self.kind
        return getattr(importlib.import_module(f"lipviz.explorers.{self.name}"), self.class_name)


_ENTRIES = (
    Entry(
        "fooled",
        "FooledExplorer",
        "Fooled",
        "Change an image so little that you hardly see it, and watch an ordinary network err.",
        "The image of a piece of clothing, slightly changed, and a wrong decision below it.",
        panel=1,
    ),
    Entry(
        "cone",
        "ConeExplorer",
        "Cone",
        "Drag a cone along a graph, and find the Lipschitz constant that keeps the graph outside of it.",
        "A wavy graph, and a grey double cone at one of its points, into which it does not reach.",
    ),
    Entry(
        "bjorck",
        "BjorckExplorer",
        "Björck",
        "See an iteration make any kernel orthogonal, and which settings take fewer steps.",
        "Three curves of singular values: two fall, the one after Björck is flat at 1.",
    ),
    Entry(
        "layers",
        "LayerExplorer",
        "Layers",
        "Check for any layer and its arguments how much it can stretch an input.",
        "A histogram of the gains of random inputs, left of the line of the certified bound.",
        panel=1,
        part=(0.3, 0, 0.8, 0.4),
    ),
    Entry(
        "kinds",
        "LayerKindExplorer",
        "Kinds of layers",
        "Choose a kind of layer by what it keeps, what networks of it reach, and what a step costs.",
        "Rows of points, one for each kind of layer: singular values at 1, or spread out below it.",
    ),
    Entry(
        "activations",
        "ActivationExplorer",
        "Activations",
        "Find out why sorting keeps the norm of a gradient, and ReLU does not.",
        "Four outputs of an activation along a line of inputs, with kinks where they swap.",
    ),
    Entry(
        "gradients",
        "GradientDepthExplorer",
        "Depth",
        "Compare what 2 to 50 layers leave of a gradient, with one activation and another.",
        "The norm of a gradient over depth: with ReLU it falls by orders of magnitude, with GroupSort2 it stays 1.",
    ),
    Entry(
        "boundaries",
        "BoundaryExplorer",
        "Boundaries",
        "Watch a small network learn the boundary between two classes, with and without a constraint.",
        "Two moons of points, and the boundary between them on the colours of the two classes.",
    ),
    Entry(
        "playground",
        "Playground",
        "Playground",
        "Drag, draw and erase points, and watch two networks and their certified discs follow.",
        "Points of two classes, each in a disc, on the colours of a constrained network, with its boundary.",
        panel=1,
    ),
    Entry(
        "convolutions",
        "ConvolutionExplorer",
        "Convolutions",
        "Find the kernels for which the usual estimate of a convolution's norm is too small.",
        "Bars of a norm after division by what four methods claim, with a line at 1.",
    ),
    Entry(
        "wasserstein",
        "WassersteinExplorer",
        "Wasserstein",
        "Watch a 1-Lipschitz network measure how far two clouds of points are apart.",
        "Two clouds of points joined by lines, on the colours of the function that tells them apart.",
    ),
    Entry(
        "certificates",
        "CertificateExplorer",
        "Certificates",
        "Pick an image, read off which changes cannot alter its class, and attack it beyond that.",
        "The image of a digit, and next to it the gradient of the decision.",
    ),
    Entry(
        "tradeoff",
        "TradeoffExplorer",
        "Trade-off",
        "Choose how much accuracy to give for robustness, by the loss and its parameters.",
        "Points of many trained networks, accuracy over certified radius, and the frontier above them.",
    ),
)
_REGISTERED: "dict[str, Entry]" = {}  # by name
_Kind = TypeVar("_Kind", bound="type[Explorer]")


def register(kind: _Kind) -> _Kind:
    """Add an explorer of your own to `entries()`, and so to the gallery, in this process. A decorator of its class.

    Its short name is that of the class in lower case, without "Explorer" at the end. The first sentence of its
    `help_text` says in the list what it is good for. A class of the same name replaces an older one.

    Args:
        kind: Subclass of `Explorer`, which is made without arguments.

    Returns:
        The class.

    Raises:
        ValueError: If an explorer of lipviz has this name.
    """
    name, title = name_of(kind), kind.__name__.removesuffix("Explorer")
    if name in (entry.name for entry in _ENTRIES):
        raise ValueError(f"Expected a name that is not lipviz's own. Received: {kind.__name__}")
    sentence = kind.help_text.partition(". ")[0].removesuffix(".") + "."
    _REGISTERED[name] = Entry(name, kind.__name__, title, sentence, "", kind=kind)
    return kind


def entries() -> list[Entry]:
    """The explorers that exist, in the order in which they are shown: a list of `Entry`. Registered ones come last."""
    return [entry for entry in (*_ENTRIES, *_REGISTERED.values()) if entry.is_here]


def find(name: str) -> Entry:
    """The entry of an explorer, by its short name or the name of its class, in upper or lower case.

    Raises:
        ValueError: If there is none; the message lists the names.
    """
    for entry in entries():
        if str(name).lower() in (entry.name, entry.class_name.lower()):
            return entry
    raise ValueError(f"Expected one of {', '.join(entry.name for entry in entries())}. Received: {name!r}")
