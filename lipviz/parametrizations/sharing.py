"""The constraint as a function of a kernel. In graphs of TensorFlow, equal parametrizations share it."""

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
    """The constraint of a parametrization. In graphs of TensorFlow, equal parametrizations share one function."""

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
    """Whether only settings and state determine the result: no class of others, no method set on an instance."""
    own = vars(parametrization)
    kind = type(parametrization)
    return kind.__module__.startswith(f"{_PACKAGE}.") and not {"constrain", "normalize", "normalize_to"} & own.keys()


class _Shared:
    """The constraint of all parametrizations with the same settings, for kernels of one shape, in TensorFlow.

    A model of many equal layers then builds one graph of the constraint and one of its gradient, not one per layer. It
    runs on a parametrization of its own, with tensors in the place of variables, so that it keeps no layer alive.

    Attributes:
        value: From a kernel and the other variables that are read to the constrained kernel; one operation.
        with_state: From the same to the tuple (constrained kernel, values of the new state), differentiable.
    """

    def __init__(self, like: keras.Layer) -> None:
        self._parametrization = blank = type(like)(**like.arguments(), name="shared")
        for name in ("coef_lip", "operator_norm", "wbar_shape", "dtype_policy"):
            setattr(blank, name, getattr(like, name))
        self.value = nm.as_one_call(lambda *arguments: self._run(*arguments)[0])
        self.with_state = nm.as_one_trace(self._run)
        self._is_seen = False

    @classmethod
    def of(cls, parametrization: keras.Layer) -> "_Shared | None":
        """The one for a parametrization and the present `Settings`; None if it cannot be shared."""
        if not _is_known(parametrization):
            return None
        kind = type(parametrization)
        code = kind, kind.constrain, kind.normalize, kind.normalize_to
        key = code, repr(parametrization.settings()), tuple(parametrization.wbar.shape), present().traced()
        shared = _found.pop(key, None) or cls(parametrization)
        _found[key] = shared
        while len(_found) > _KEPT:
            _found.popitem(last=False)
        return shared

    def is_seen_again(self) -> bool:
        """Whether this is not the first call. For one layer, making a function takes longer than its operations."""
        is_seen, self._is_seen = self._is_seen, True
        return is_seen

    def _run(self, kernel, k, *values):
        blank = self._parametrization
        for name, value in zip(("k", *blank.state), (k, *values), strict=True):
            setattr(blank, name, value)
        wbar, state = blank.constrain(kernel)
        return wbar, *(state[name] for name in blank.state)


# From everything that a constraint depends on to its `_Shared`, the oldest first.
_found: collections.OrderedDict[Any, _Shared] = collections.OrderedDict()


def _read_by_constrain(parametrization):
    """The variables besides the kernel that the constraint reads."""
    return [parametrization.k, *(getattr(parametrization, name) for name in parametrization.state)]
