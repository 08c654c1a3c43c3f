"""Settings of the computations within a context: which numerics run, and what is known about their arguments."""

import contextlib
import contextvars
import dataclasses
from contextlib import AbstractContextManager
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings. Computations read them by `present()`, and the context manager `within(...)` changes them.

    Attributes:
        in_numpy: Whether iterations and bounds take NumPy arrays, not tensors of the backend.
        by_eigenvalues: Whether Björck's iteration may use eigenvalues, where these are fast.
        of_values: Whether kernels to constrain are values, not symbols of a trace, and nothing is differentiated.
        unfilled: Whether layers are built with kernels of zeros, without orthogonalizing them.
        current: Ids of the parametrizations whose `wbar` is used without comparing kernels.
        holds_vector: Whether no gradient flows through the vector of a power iteration. It is not a field, but holds
            for the whole process, in every thread; `set_stop_grad_spectral` sets it.
    """

    in_numpy: bool = False
    by_eigenvalues: bool = True
    of_values: bool = False
    unfilled: bool = False
    current: frozenset = frozenset()
    holds_vector: ClassVar[bool] = True

    def traced(self) -> tuple[bool, ...]:
        """The settings that a compiled constraint depends on, as a tuple."""
        return self.in_numpy, self.by_eigenvalues, self.holds_vector


_present = contextvars.ContextVar("lipviz_settings", default=Settings())  # noqa: B039 - frozen


def present() -> Settings:
    """The `Settings` that hold where this is called."""
    return _present.get()


def within(**changes: Any) -> AbstractContextManager[None]:
    """Context manager that changes some of the `Settings`.

    Args:
        **changes: Fields of `Settings` with their new values.
    """
    return _within(changes)


@contextlib.contextmanager
def _within(changes):
    token = _present.set(dataclasses.replace(_present.get(), **changes))
    try:
        yield
    finally:
        _present.reset(token)
