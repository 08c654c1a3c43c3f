"""What can come of running a line: a refusal, a model that is thrown away, or a fault of lipviz's."""

import traceback
from pathlib import Path

import lipviz

_HOUSE = str(Path(lipviz.__file__).parent)
_OURS = Path(__file__).parent
_OWN = "red team"  # in the kind of a fault of its own
# What `certify` says where its own search beats its own bound.
_CONTRADICTIONS = ("a rule given to register_bound is too small",)
# Methods of lipviz's models that call Keras's of the same name: what fails below is Keras's.
_PASSING = (
    *("fit", "evaluate", "predict", "export", "_make"),
    *("make_train_function", "make_test_function", "make_predict_function"),
)


class UnusableError(Exception):
    """Keras could not build or run what was drawn."""


class RefusedError(Exception):
    """lipviz has refused what was drawn, in a clear ValueError."""


class FaultError(Exception):
    """Something that lipviz claims is not true, or it has crashed.

    Attributes:
        kind: A few words that are the same for the same fault.
        lines: Source that shows it: the last line raises.
    """

    def __init__(self, kind, message, lines=()):
        super().__init__(message)
        self.kind, self.lines = kind, list(lines)

    @property
    def is_own(self):
        """Whether it is the red team itself that has crashed, which says nothing about lipviz."""
        return self.kind.startswith(_OWN)

    def at(self, lines):
        """The same with the lines that show it."""
        return FaultError(self.kind, str(self), lines)


def judged(error):
    """What an exception means: a `RefusedError`, `UnusableError` or `FaultError`, not raised.

    A `ValueError` that lipviz itself raises is a refusal. Whatever else passes through lipviz is a fault, and what does
    not is Keras's. An error of the red team's own is shown as a fault, too.
    """
    frames = traceback.extract_tb(error.__traceback__)
    last = Path(frames[-1].filename)
    is_own_line = last.name == "<string>" and isinstance(error, NameError)  # a name that the kit does not hand out
    if is_own_line or (last.is_relative_to(_OURS) and not isinstance(error, AssertionError)):
        return FaultError(f"{_OWN} ({last.name}, {frames[-1].name})", f"{type(error).__name__}: {error}")
    inside = [frame for frame in frames if frame.filename.startswith(_HOUSE) and frame.name not in _PASSING]
    if isinstance(error, AssertionError) and not inside:
        return FaultError("claim", str(error))
    if not inside:
        return UnusableError(type(error).__name__)
    where = f"{Path(inside[-1].filename).relative_to(_HOUSE)}, {inside[-1].name}"
    if isinstance(error, ValueError) and frames[-1] is inside[-1]:
        if any(words in str(error) for words in _CONTRADICTIONS):
            return FaultError(f"contradiction ({where})", str(error))
        return RefusedError(where)
    first = str(error).strip().split("\n")[0][:200]
    return FaultError(f"{type(error).__name__} ({where})", f"{type(error).__name__} in {where}: {first}")
