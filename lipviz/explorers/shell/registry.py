"""The list of explorers. An explorer is imported only when it is asked for, so the list itself takes no time."""

import dataclasses
import importlib
import importlib.util
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
        sentence: What a reader can do with it.
        kind: Its class, if it is not one of lipviz's own; see `register`.
    """

    name: str
    class_name: str
    title: str
    sentence: str
    kind: "type[Explorer] | None" = dataclasses.field(default=None, repr=False)

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
    Entry("bjorck", "BjorckExplorer", "Björck", "From any kernel to an orthogonal one, and what each setting does."),
    Entry("layers", "LayerExplorer", "Layers", "Any layer, its arguments, and the exact spectrum of what it does."),
    Entry("activations", "ActivationExplorer", "Activations", "Shapes of activations, and how sorting keeps norms."),
    Entry("gradients", "GradientDepthExplorer", "Depth", "What is left of a gradient after 2 to 50 layers."),
    Entry("boundaries", "BoundaryExplorer", "Boundaries", "Watch a small network learn the boundary between classes."),
    Entry(
        "convolutions",
        "ConvolutionExplorer",
        "Convolutions",
        "The norm of a convolution: exact, bounded from above, and underestimated.",
    ),
    Entry(
        "wasserstein",
        "WassersteinExplorer",
        "Wasserstein",
        "Watch a 1-Lipschitz network measure how far two clouds are apart.",
    ),
    Entry(
        "certificates",
        "CertificateExplorer",
        "Certificates",
        "Pick an image, read off its certified radius, and attack it.",
    ),
    Entry("tradeoff", "TradeoffExplorer", "Trade-off", "How the loss trades accuracy for robustness."),
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
    _REGISTERED[name] = Entry(name, kind.__name__, title, sentence, kind)
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
