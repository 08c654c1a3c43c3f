"""Which explorers there are: a list that costs nothing, as each is imported when it is asked for."""

import dataclasses
import importlib
import importlib.util


@dataclasses.dataclass(frozen=True)
class Entry:
    """One explorer.

    Attributes:
        name: Short name, that of its module.
        class_name: Name of its class.
        title: What it is called in a list.
        sentence: What can be done with it.
    """

    name: str
    class_name: str
    title: str
    sentence: str

    @property
    def is_here(self):
        """Whether its module exists."""
        return importlib.util.find_spec(f"lipviz.explorers.{self.name}") is not None

    def load(self):
        """Its class."""
        return getattr(importlib.import_module(f"lipviz.explorers.{self.name}"), self.class_name)


_ENTRIES = (
    Entry("bjorck", "BjorckExplorer", "Björck", "From any kernel to an orthogonal one, and what each setting does."),
    Entry("layers", "LayerExplorer", "Layers", "Any layer, its arguments, and the exact spectrum of what it does."),
    Entry("activations", "ActivationExplorer", "Activations", "Shapes of activations, and how sorting keeps norms."),
    Entry("gradients", "GradientDepthExplorer", "Depth", "What is left of a gradient after 2 to 50 layers."),
    Entry("boundaries", "BoundaryExplorer", "Boundaries", "Watch a small network learn where two classes part."),
    Entry(
        "convolutions",
        "ConvolutionExplorer",
        "Convolutions",
        "The norm of a convolution: exact, from above, and where it lies.",
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
    Entry("tradeoff", "TradeoffExplorer", "Trade-off", "Accuracy against robustness, as the loss decides."),
)


def entries():
    """The explorers that exist, in the order in which they are shown: a list of `Entry`."""
    return [entry for entry in _ENTRIES if entry.is_here]


def find(name):
    """The explorer of a short name or the name of a class, whatever the case of its letters.

    Raises:
        ValueError: If there is none; the message lists the names.
    """
    for entry in entries():
        if str(name).lower() in (entry.name, entry.class_name.lower()):
            return entry
    raise ValueError(f"Expected one of {', '.join(entry.name for entry in entries())}. Received: {name!r}")
