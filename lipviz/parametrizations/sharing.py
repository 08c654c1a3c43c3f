"""The constraint as a function of a kernel, for inference, which parametrizations alike share in a graph."""

import weakref

import keras

from lipviz import normalizers as nm
from lipviz.parametrizations.contexts import numerics

_PACKAGE = __name__.rpartition(".")[0]


class Constrained:
    """The constrained kernel of a parametrization as a function of a kernel, for inference."""

    def __init__(self, parametrization, is_xla):
        self._parametrization, self._is_xla = parametrization, is_xla
        self._alike = None

    def __call__(self, kernel):
        """Differentiable."""
        with numerics(self._is_xla):
            return self._parametrization.constrain(kernel)[0]

    def value(self, kernel):
        """Without a gradient. In a graph of TensorFlow it is one operation, which parametrizations alike share."""
        if not nm.builds_graph():
            with numerics(self._is_xla):
                return self._parametrization.constrain_values(kernel)[0]
        if self._alike is None:
            self._alike = _Alike.of(self._parametrization, self._is_xla)
        return self._alike.call(kernel, *(variable[...] for variable in _read_by_constrain(self._parametrization)))


_found = weakref.WeakValueDictionary()  # from settings to an `_Alike`, which those who use it keep alive


class _Alike:
    """What parametrizations with the same settings do to kernels of one shape, as one function of TensorFlow.

    A model of many layers alike then builds one graph of the constraint, rather than one for each.
    """

    def __init__(self, parametrization, is_xla):
        self._parametrization, self._is_xla = parametrization, is_xla
        self.call = nm.as_one_call(self._run)

    @classmethod
    def of(cls, parametrization, is_xla):
        """The one for a parametrization. Subclasses from elsewhere share none: their state is not known."""
        kind, settings = type(parametrization), parametrization.settings()
        is_known = kind.__module__.startswith(f"{_PACKAGE}.")
        key = (kind, repr(settings), parametrization.wbar.shape, is_xla, None if is_known else id(parametrization))
        alike = _found.get(key)
        if alike is None:
            alike = _found[key] = cls(parametrization, is_xla)
        return alike

    def _run(self, kernel, *state):
        mapping = zip(_read_by_constrain(self._parametrization), state, strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)), numerics(self._is_xla):
            return self._parametrization.constrain_values(kernel)[0]


def _read_by_constrain(parametrization):
    """The variables that decide, beside the kernel, what it is constrained to."""
    return [parametrization.k, *(getattr(parametrization, name) for name in parametrization.state)]
