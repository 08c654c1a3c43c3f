"""What holds for a while, for all parametrizations: how they are built, how they compute, what is known of them."""

import contextlib
import contextvars

from lipviz import normalizers as nm

_unfilled = contextvars.ContextVar("lipviz_builds_unfilled", default=False)
_of_values = contextvars.ContextVar("lipviz_constrains_values", default=False)
_current = contextvars.ContextVar("lipviz_knows_current", default=frozenset())


@contextlib.contextmanager
def _within(variable, value):
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def unfilled():
    """Within this context, constrained layers are built with kernels of zeros, and nothing is orthogonalized.

    For copies whose weights are all assigned next: orthogonalizing what is overwritten takes most of their time.
    """
    return _within(_unfilled, True)


def is_unfilled():
    """Whether `unfilled` holds."""
    return _unfilled.get()


def kernel_initializer(initializer):
    """The initializer that a free kernel is built with: zeros within `unfilled`, else the one that was given."""
    return "zeros" if is_unfilled() else initializer


def constraining_values():
    """Within this context, what is constrained is a value, no symbol of a trace, and nothing is differentiated."""
    return _within(_of_values, True)


def constrains_values():
    """Whether `constraining_values` holds."""
    return _of_values.get()


def known_current(parametrizations):
    """Within this context, inference takes the `wbar` of some parametrizations without a comparison.

    For many calls in a row, or a function that is compiled for them, whoever compared the kernels before and knows that
    nobody changes them meanwhile.

    Args:
        parametrizations: Those whose `wbar` belongs to their layer's kernel.
    """
    return _within(_current, frozenset(map(id, parametrizations)))


def are_known_current(parametrizations):
    """Whether `known_current` says so of all of them, and there are any."""
    known = _current.get()
    return bool(known) and all(id(parametrization) in known for parametrization in parametrizations)


def numerics(is_xla):
    """The context for what TensorFlow's XLA compiles, which has no fast eigenvalues, or for all else."""
    return nm.without_eigenvalues() if is_xla else contextlib.nullcontext()
