"""Arguments that plots still accept for one release."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def without_update(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let a function accept the argument `update` of version 0.1, which has no effect any more, and warn of it.

    Args:
        function: Function without the argument.

    Returns:
        The function that accepts it; its signature does not show it.
    """

    @functools.wraps(function)
    def accepting(*args: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        if "update" in named:
            del named["update"]
            warnings.warn(
                f"`{function.__name__}` needs no `update`: it finds out what is on the Axes. The next release will not "
                "accept the argument.",
                DeprecationWarning,
                stacklevel=2,
            )
        return function(*args, **named)

    accepting.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # which `inspect` reads
    return accepting
