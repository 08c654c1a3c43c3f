"""What holds for a while, for all parametrizations: how they are built, how they compute, what is known of them.

All of it is part of one object, the `Settings` of `lipviz.normalizers`.
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

    For copies whose weights are all assigned next: orthogonalizing what is overwritten takes most of their time.
    """
    return within(unfilled=True)


def is_unfilled() -> bool:
    """Whether `unfilled` holds."""
    return present().unfilled


def kernel_initializer(initializer: Any) -> Any:
    """The initializer that a raw kernel is built with: zeros within `unfilled`, else the one that was given."""
    return "zeros" if is_unfilled() else initializer


def constraining_values() -> AbstractContextManager[None]:
    """Within this context, what is constrained is a value, no symbol of a trace, and nothing is differentiated."""
    return within(of_values=True)


def known_current(parametrizations: Iterable[keras.Layer]) -> AbstractContextManager[None]:
    """Within this context, inference takes the `wbar` of some parametrizations without a comparison.

    For many calls in a row, or a function that is compiled for them, whoever compared the kernels before and knows that
    nobody changes them meanwhile.

    Args:
        parametrizations: Those whose `wbar` belongs to their layer's kernel.
    """
    return within(current=frozenset(map(id, parametrizations)))


def are_known_current(parametrizations: Iterable[keras.Layer]) -> bool:
    """Whether `known_current` says so of all of them, and there are any."""
    known = present().current
    return bool(known) and all(id(parametrization) in known for parametrization in parametrizations)


def numerics(is_xla: bool) -> AbstractContextManager[None]:
    """The context for what TensorFlow's XLA compiles, which has no fast eigenvalues, or for all else."""
    return nm.without_eigenvalues() if is_xla else contextlib.nullcontext()
