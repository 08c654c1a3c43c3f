"""What holds for a while, for all that computes within: which numerics run, and what is known of what they run on."""

import contextlib
import contextvars
import dataclasses
from contextlib import AbstractContextManager
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class Settings:
    """The one object that decides. Who computes reads `present()`; who decides opens `within(...)`.

    Attributes:
        in_numpy: Iterations and bounds take NumPy arrays, not tensors of the backend.
        by_eigenvalues: Björck's iteration may be run by eigenvalues, where these are fast.
        of_values: What is constrained is a value, no symbol of a trace, and nothing is differentiated.
        unfilled: Layers are built with kernels of zeros, and nothing is orthogonalized.
        current: Ids of the parametrizations whose `wbar` is taken without a comparison.
        holds_vector: No gradient flows through the vector of a power iteration. For the whole process, in every thread:
            a choice of `set_stop_grad_spectral`, and no field.
    """

    in_numpy: bool = False
    by_eigenvalues: bool = True
    of_values: bool = False
    unfilled: bool = False
    current: frozenset = frozenset()
    holds_vector: ClassVar[bool] = True

    def traced(self) -> tuple[bool, ...]:
        """What of it a compiled constraint depends on, as a tuple."""
        return self.in_numpy, self.by_eigenvalues, self.holds_vector


_present = contextvars.ContextVar("lipviz_settings", default=Settings())  # noqa: B039 - frozen


def present() -> Settings:
    """The `Settings` that hold where this is called."""
    return _present.get()


def within(**changes: Any) -> AbstractContextManager[None]:
    """Within this context, some of the `Settings` are others.

    Args:
        **changes: Fields of `Settings` with their values.
    """
    return _within(changes)


@contextlib.contextmanager
def _within(changes):
    token = _present.set(dataclasses.replace(_present.get(), **changes))
    try:
        yield
    finally:
        _present.reset(token)
