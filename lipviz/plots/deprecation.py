"""Arguments that plots take for one release more."""

import functools
import inspect
import warnings


def without_update(function):
    """Let a function take the argument `update` that it had in version 0.1, which does nothing any more, and warn.

    Args:
        function: Function without the argument.

    Returns:
        The function that takes it; its signature does not show it.
    """

    @functools.wraps(function)
    def accepting(*args, **named):
        if "update" in named:
            del named["update"]
            warnings.warn(
                f"`{function.__name__}` needs no `update`: it finds out what is on the Axes. The argument will go with "
                "the next release.",
                DeprecationWarning,
                stacklevel=2,
            )
        return function(*args, **named)

    accepting.__signature__ = inspect.signature(function)
    return accepting
