"""Which data sets there are: the names of their classes, and whether they can be loaded here."""

import difflib

from lipviz import _extras
from lipviz.data.availabilities import Availability
from lipviz.data.real_images import fashion_availability

_CLASS_NAMES = {
    "two_moons": ("upper moon", "lower moon"),
    "circles": ("outer circle", "inner circle"),
    "squares": ("black", "white square"),
    "cylinder_bell_funnel": ("cylinder", "bell", "funnel"),
    "digits": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
}


def class_names(name: str) -> tuple[str, ...]:
    """Names of the classes of a data set, in the order of its labels.

    Args:
        name: Name of the function of this module that loads the data set, such as "fashion_mnist".

    Raises:
        TypeError: If the name is not a string.
        ValueError: If the name is unknown, or the classes of this set have no names (Gaussians).
    """
    if not isinstance(name, str):
        raise TypeError(f"name: expected the name of a data set, received {name!r}.")
    if name in _CLASS_NAMES:
        return _CLASS_NAMES[name]
    close = difflib.get_close_matches(name, _CLASS_NAMES, n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"name: expected one of {', '.join(_CLASS_NAMES)}, received {name!r}.{suggestion}")


def availability() -> tuple[Availability, ...]:
    """List which data sets can be loaded here. Nothing is loaded or downloaded, and no large package is imported."""
    sklearn = _extras.is_here("sklearn")
    hint = "" if sklearn else f"`{_extras.command('lab')}`"
    return (
        Availability("two_moons", sklearn, "scikit-learn", hint),
        Availability("circles", sklearn, "scikit-learn", hint),
        Availability("gaussians", True, "generated"),
        Availability("squares", True, "generated"),
        Availability("cylinder_bell_funnel", True, "generated"),
        Availability("digits", sklearn, "scikit-learn", hint),
        fashion_availability(),
    )
