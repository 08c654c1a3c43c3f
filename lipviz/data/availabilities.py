"""Whether a data set can be loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Availability:
    """Whether a data set can be loaded here and now.

    Attributes:
        name: Name of the function in this module that loads it.
        available: True if it can be loaded without the network.
        source: Where it comes from: "generated", "scikit-learn" or a folder. If it is not available, where it
            would come from.
        hint: What to do if it is not available; empty if it is.
    """

    name: str
    available: bool
    source: str
    hint: str = ""
