"""Context managers for all parametrizations: how they are built, how they compute, and what is known about them.

They change the `Settings` of `lipviz.normalizers`.
"""

import contextlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import keras

from lipviz import normalizers as nm
from lipviz.normalizers.settings import present, within


def unfilled() -> AbstractContextManager[None]:
    """Within this context, constrained layers are built with kernels of zeros, and nothing is orthogonalized.

    Use it for copies whose weights are all assigned next. It saves most of their time, which is that of orthogonalizing
    kernels that are overwritten.
    """
    return within(unfilled=True)


def is_unfilled() -> bool:
    """Whether `unfilled` holds."""
    return present().unfilled


def kernel_initializer(initializer: Any) -> Any:
    """The initializer of a raw kernel: zeros within `unfilled`, otherwise the given one."""
    return "zeros" if is_unfilled() else initializer


def constraining_values() -> AbstractContextManager[None]:
    """Within this context, kernels are values, not symbols of a trace, and nothing is differentiated."""
    return within(of_values=True)


def known_current(parametrizations: Iterable[keras.Layer]) -> AbstractContextManager[None]:
    """Within this context, inference uses the `wbar` of some parametrizations without comparing kernels.

    Use it for many calls in a row, or for a function that is compiled for them, if the kernels were compared before and
    do not change meanwhile.

    Args:
        parametrizations: Those whose `wbar` belongs to their layer's kernel.
    """
    return within(current=frozenset(map(id, parametrizations)))


def are_known_current(parametrizations: Iterable[keras.Layer]) -> bool:
    """Whether all of them are among those of `known_current`, and there are any."""
    known = present().current
    return bool(known) and all(id(parametrization) in known for parametrization in parametrizations)


def numerics(is_xla: bool) -> AbstractContextManager[None]:
    """Context manager for computations. TensorFlow's XLA computes eigenvalues slowly, so it uses none."""
    return nm.without_eigenvalues() if is_xla else contextlib.nullcontext()
