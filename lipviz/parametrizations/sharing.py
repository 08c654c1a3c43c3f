"""The constraint as a function of a kernel, which parametrizations alike share in the graphs of TensorFlow."""

import collections
import functools
from typing import Any

import keras

from lipviz import normalizers as nm
from lipviz.normalizers.settings import present
from lipviz.parametrizations.contexts import numerics
from lipviz.types import Tensor

_PACKAGE = __name__.rpartition(".")[0]
_KEPT = 32  # of one to three megabytes each; none holds a weight of a layer


class Constrained:
    """What a parametrization makes of a kernel. The graphs of TensorFlow have one function for all that are alike."""

    def __init__(self, parametrization: keras.Layer, is_xla: bool) -> None:
        self._parametrization, self._is_xla = parametrization, is_xla

    def __call__(self, kernel: Tensor) -> Tensor:
        """The constrained kernel, differentiable."""
        return self.with_state(kernel)[0]

    def with_state(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The tuple (constrained kernel, dict of new state), differentiable."""
        with numerics(self._is_xla):
            shared = _Shared.of(self._parametrization) if nm.builds_graph() else None
            if shared is None or not shared.is_seen_again():
                return self._parametrization.constrain(kernel)
            wbar, *values = shared.with_state(kernel, *_read_by_constrain(self._parametrization))
            return wbar, dict(zip(self._parametrization.state, values, strict=True))

    def value(self, kernel: Tensor) -> Tensor:
        """The constrained kernel without a gradient; in a graph of TensorFlow it is one operation."""
        with numerics(self._is_xla):
            if not nm.builds_graph():
                return self._parametrization.constrain_values(kernel)[0]
            shared = _Shared.of(self._parametrization)
            call = self._by_own_call if shared is None else shared.value
            return call(kernel, *_read_by_constrain(self._parametrization))

    @functools.cached_property
    def _by_own_call(self):
        variables = _read_by_constrain(self._parametrization)

        def run(kernel, *values):
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping), numerics(self._is_xla):
                return self._parametrization.constrain_values(kernel)[0]

        return nm.as_one_call(run)


def _is_known(parametrization):
    """Whether nothing decides but settings and state: no class from elsewhere, and no method of an instance."""
    own = vars(parametrization)
    kind = type(parametrization)
    return kind.__module__.startswith(f"{_PACKAGE}.") and not {"constrain", "normalize"} & own.keys()


class _Shared:
    """What parametrizations with the same settings do to kernels of one shape, as functions of TensorFlow.

    A model of many layers alike then builds one graph of the constraint, and one of its gradient, rather than one for
    each. It runs on a parametrization of its own, which has tensors in the place of variables: it keeps no layer alive.

    Attributes:
        value: From a kernel and the variables that decide to the constrained kernel; one operation.
        with_state: From the same to the tuple (constrained kernel, values of the new state), differentiable.
    """

    def __init__(self, like: keras.Layer) -> None:
        self._parametrization = blank = type(like)(**like.arguments(), name="shared")
        blank.coef_lip, blank.operator_norm, blank.dtype_policy = like.coef_lip, like.operator_norm, like.dtype_policy
        self.value = nm.as_one_call(lambda *arguments: self._run(*arguments)[0])
        self.with_state = nm.as_one_trace(self._run)
        self._is_seen = False

    @classmethod
    def of(cls, parametrization: keras.Layer) -> "_Shared | None":
        """The one for a parametrization and the `Settings` that hold; None where others may not have the same."""
        if not _is_known(parametrization):
            return None
        kind = type(parametrization)
        code = kind, kind.constrain, kind.normalize
        key = code, repr(parametrization.settings()), tuple(parametrization.wbar.shape), present().traced()
        shared = _found.pop(key, None) or cls(parametrization)
        _found[key] = shared
        while len(_found) > _KEPT:
            _found.popitem(last=False)
        return shared

    def is_seen_again(self) -> bool:
        """Whether this is not the first call: a function for one layer takes longer to make than its operations."""
        is_seen, self._is_seen = self._is_seen, True
        return is_seen

    def _run(self, kernel, k, *values):
        blank = self._parametrization
        for name, value in zip(("k", *blank.state), (k, *values), strict=True):
            setattr(blank, name, value)
        wbar, state = blank.constrain(kernel)
        return wbar, *(state[name] for name in blank.state)


_found: collections.OrderedDict[Any, _Shared] = (
    collections.OrderedDict()
)  # from all that a constraint depends on to a `_Shared`, the oldest first


def _read_by_constrain(parametrization):
    """The variables that decide, beside the kernel, what it is constrained to."""
    return [parametrization.k, *(getattr(parametrization, name) for name in parametrization.state)]
