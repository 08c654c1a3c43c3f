"""The base of all parametrizations: how a constrained kernel is computed, stored, compared and saved."""

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.keras_internals import outermost_layer, with_noted_graph
from lipviz.parametrizations.contexts import are_known_current, constraining_values, is_unfilled
from lipviz.parametrizations.sharing import Constrained
from lipviz.parametrizations.variables import Derived, Factor, Origin, check_finite, copied
from lipviz.types import Array, Shape, Tensor


def _chosen(is_first, first, second):
    """One of two dicts of tensors. A graph of TensorFlow passes it on, where `where` would copy it."""
    if nm.builds_graph():
        return ops.cond(is_first, lambda: first, lambda: second)
    return {name: ops.where(is_first, value, second[name]) for name, value in first.items()}


_PROOF = "made of"  # name in a file, beside the numbers of the weights


class Parametrization(keras.layers.Layer):
    """Base of all parametrizations; a subclass implements `normalize`, and `exact_norm` where it differs.

    Every argument of a subclass's constructor is kept as an attribute of the same name.

    Training, loading, saving and `refresh` store `wbar`, together with `origin`, the kernel that it was computed from.
    Inference compares the layer's kernel with `origin`, entry by entry. If they differ, it constrains the layer's
    kernel and stores nothing. So inference never uses the `wbar` of another kernel, however the kernel was assigned.

    Args:
        k_coef_lip: Factor that multiplies the normalized kernel. Positive. The variable `k` always has this value, so
            that `set_klip_factor` changes a training step that is already compiled. Loading weights does not change it.

    Attributes:
        wbar: Variable, the constrained kernel in the kernel's own shape, at least float32.
        origin: Variable, the kernel that `wbar` was computed from; −Inf if it is not known. It is not a weight:
            `get_weights` and files do without it.
        k: Scalar variable.
        coef_lip: Further factor, beside k, that depends on the shape of the layer's input.
        operator_norm: Bound of the norm of the layer's whole operator, by which the kernel is divided, such as a
            `lipviz.normalizers.fourier.FourierBound`. None if only `coef_lip` is used. Set it before `attach`.
        wbar_shape: Shape of `wbar` where it is not that of the raw kernel; None where it is. Set it before `attach`.
        has_taken_over: Whether `wbar` came from another layer, see `take_over`.
        state: Dict from the names of the variables that `normalize` keeps between steps to their descriptions.
        warm_start: Names of those that `normalize` starts from.
        keeps_constrained: Whether the constraint leaves a constrained kernel as it is, up to its tolerances. Otherwise
            `condense` does not replace the raw kernel, since the constraint of `wbar` would be another kernel.
    """

    state: ClassVar[Mapping[str, str]] = {}
    warm_start: ClassVar[tuple[str, ...]] = ()
    keeps_constrained: ClassVar[bool] = True
    coef_lip: float = 1.0
    operator_norm: Any = None
    wbar_shape: tuple[int, ...] | None = None
    has_taken_over = False

    def __init__(self, k_coef_lip: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k_coef_lip = nm.check_positive("k_coef_lip", k_coef_lip)

    @classmethod
    def argument_names(cls) -> tuple[str, ...]:
        """Names of the constructor's own arguments, without those of every Keras layer."""
        parameters = [
            p
            for c in cls.__mro__
            if issubclass(c, Parametrization)
            for p in inspect.signature(c.__init__).parameters.values()
        ]
        named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
        return tuple(dict.fromkeys(named))

    def arguments(self) -> dict[str, Any]:
        """The constructor's own arguments with their present values, as a dict."""
        return {name: getattr(self, name) for name in self.argument_names()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments()}

    # --- for subclasses ---

    def add_state(self, kernel: keras.Variable) -> None:
        """Create the variables that `normalize` keeps between steps; none by default.

        Args:
            kernel: Variable of the layer that is constrained.
        """

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Map a kernel to one that is 1-Lipschitz.

        Args:
            kernel: Tensor of the kernel's shape, in the dtype of `wbar`.

        Returns:
            The tuple (normalized kernel, dict from the name of a state variable to its new value).
        """
        raise TypeError(f"{type(self).__name__} must implement `normalize(kernel)`")

    def normalize_to(self, kernel: Tensor, factor: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`normalize`, with the kernel multiplied by a factor. Override it where this can be done faster.

        Args:
            kernel: See `normalize`.
            factor: Positive scalar tensor.

        Returns:
            See `normalize`.
        """
        normalized, state = self.normalize(kernel)
        return normalized * factor, state

    def as_matrices(self, kernel: Array) -> Array:
        """The matrices that the constraint acts on: one, of shape (product of the others, out), unless overridden.

        Args:
            kernel: Array of the kernel's shape.

        Returns:
            An array of shape (number of matrices, rows, columns).
        """
        return np.reshape(kernel, (1, -1, kernel.shape[-1]))

    def exact_norm(self, wbar: Array) -> float:
        """The norm that must not exceed k·coef_lip, in float64 NumPy; by default the largest singular value.

        Args:
            wbar: Array of the kernel's shape.

        Returns:
            A float.
        """
        w = np.asarray(wbar, np.float64).reshape(-1, wbar.shape[-1])
        gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))

    # --- the mechanism ---

    def attach(self, kernel: keras.Variable, coef_lip: float = 1.0) -> None:
        """Create the state for a kernel. From then on, `wbar` is valid.

        Initial values are functions of the kernel's initial value. Keras computes them at once in eager mode. If a
        model is built inside a trace, it computes them together with the kernel's own.

        Args:
            kernel: Variable of the layer that is constrained.
            coef_lip: Further factor, beside k, that multiplies the normalized kernel.
        """
        self.coef_lip = coef_lip
        dtype = "float64" if kernel.dtype == "float64" else "float32"
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self._raw = lambda: kernel  # a closure, which Keras does not track: the kernel is the layer's weight
        self.k = self._variable(Factor, lambda: self.k_coef_lip, name="k")
        self._first: Callable[[], Any] | None = functools.cache(lambda: self.constrain_values(kernel))
        self.add_state(kernel)
        wbar = self._initially(kernel, lambda first: first()[0])
        self.wbar = self._variable(Derived, self.forget, wbar, shape=self.wbar_shape or kernel.shape, name="wbar")
        separate = self._initially(kernel, lambda first: self._separate(kernel))
        self.origin = self._variable(Origin, separate, shape=kernel.shape, name="origin")
        self._first = None  # initializers that run at the end of a trace still have it
        self._constrained, self._constrained_by_xla = Constrained(self, is_xla=False), Constrained(self, is_xla=True)
        self.built = True

    def _initially(self, kernel, value):
        """An initializer for a value that is computed from a kernel.

        Within a trace the kernel has no value yet. Keras only needs shapes there, and calls the initializer again after
        the trace.

        Args:
            kernel: Variable of the layer that is constrained.
            value: Function of `first`, a function that returns the result of `constrain` for the initial kernel. All
                initializers of a layer share this one computation.
        """
        first = self._first

        def initializer(shape, dtype):
            waits = is_unfilled() or check_finite(kernel, "The initial kernel") is None
            return ops.zeros(shape, dtype) if waits else value(first)

        return initializer

    def _add(self, name, shape, initializer):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )

    def _variable(self, kind, *args, **kwargs):
        """A weight of another class than `add_weight` creates."""
        with keras.name_scope(self.name, caller=self):
            return kind(
                *args,
                dtype=self.variable_dtype,
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                **kwargs,
            )

    @property
    def weights(self) -> list[keras.Variable]:
        return [weight for weight in super().weights if weight is not getattr(self, "origin", None)]

    def _wide(self, kernel):
        """A kernel as a tensor in the dtype of `wbar`, which represents it exactly."""
        return ops.cast(ops.convert_to_tensor(kernel), self.variable_dtype)

    def _separate(self, kernel):
        """The value of a kernel variable as a tensor that shares no memory with it: JAX donates both to a step."""
        return ops.convert_to_tensor(copied(kernel).astype(self.variable_dtype))

    def constrain(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the constrained kernel and the new state for a raw kernel. Nothing is assigned.

        Args:
            kernel: Tensor or variable of the kernel's shape.

        Returns:
            The tuple (k-Lipschitz kernel, dict of new state).
        """
        k = ops.convert_to_tensor(self.k)
        factor = k if self.coef_lip == 1 else k * self.coef_lip
        if self.operator_norm is None:
            return self.normalize_to(self._wide(kernel), factor)
        normalized, state = self.normalize(self._wide(kernel))
        return self.operator_norm.unit(normalized) * factor, state

    def constrain_values(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`constrain` for a kernel that is a value, not a symbol of a trace. Nothing can be differentiated."""
        with constraining_values():
            return self.constrain(kernel)

    def call(self, kernel: Tensor, training: bool | None = None) -> Tensor:
        """Constrained kernel of the layer: in training computed and stored, otherwise the result of `used`.

        If the kernel holds NaN, the result does too, and the stored state does not change.
        """
        is_xla = self._is_compiled_by_xla()
        if not training:
            return self.used(kernel, is_xla)
        wbar, state = (self._constrained_by_xla if is_xla else self._constrained).with_state(kernel)
        with_noted_graph(wbar)  # that of the step, in which the optimizer registers a gradient, too
        new = {**state, "wbar": wbar, "origin": self._wide(kernel)}
        old = {name: ops.convert_to_tensor(getattr(self, name)) for name in new}
        kept = _chosen(
            ops.isfinite(ops.sum(wbar)), {name: ops.stop_gradient(value) for name, value in new.items()}, old
        )
        self._store(kept.pop("wbar"), kept, kept.pop("origin"))
        return wbar

    def used(self, kernel: Tensor, is_xla: bool = False) -> Tensor:
        """Constrained kernel that inference uses: `wbar` if it belongs to the kernel, otherwise computed.

        Nothing is assigned. The gradient is that of the constraint. It is computed only when needed.

        Args:
            kernel: Tensor or variable of the kernel's shape.
            is_xla: Whether TensorFlow's XLA, which computes eigenvalues slowly, compiles the result.

        Returns:
            A tensor in the dtype of `wbar`.
        """
        if are_known_current([self]):
            return ops.convert_to_tensor(self.wbar)
        kernel = self._wide(kernel)
        constrained = self._constrained_by_xla if is_xla else self._constrained
        value = ops.cond(
            self.is_current(kernel),
            lambda: ops.convert_to_tensor(self.wbar),
            lambda: constrained.value(ops.stop_gradient(kernel)),
        )
        return nm.with_gradient_of(constrained, kernel, value)

    def used_now(self) -> Tensor:
        """`used` for the layer's own kernel, which must have a value: eagerly, or in NumPy if that is faster."""
        if self.is_current_now():
            return ops.convert_to_tensor(self.wbar)
        return self.constrain_values(self._raw())[0]

    def is_current_now(self) -> bool:
        """`is_current` for the layer's own kernel, as a bool; variables must have values."""
        return copied(self._raw()).astype(self.variable_dtype).tobytes() == copied(self.origin).tobytes()

    def take_over(self, other: "Parametrization") -> None:
        """Store the constrained kernel that another layer uses in inference, as that of the own kernel.

        Args:
            other: Parametrization of a layer with the same kernel, perhaps in another dtype.
        """
        self.wbar.store(np.array(ops.convert_to_numpy(other.used_now()), self.variable_dtype))
        self.origin.assign(self._separate(self._raw()))
        self.has_taken_over = True

    def is_current(self, kernel: Tensor) -> Tensor:
        """Whether `wbar` was computed from a kernel with exactly these bits: a boolean tensor."""
        bits = "uint64" if self.variable_dtype == "float64" else "uint32"
        origin = ops.view(ops.convert_to_tensor(self.origin), bits)
        return ops.equal(ops.max(ops.bitwise_xor(ops.view(self._wide(kernel), bits), origin)), 0)

    def forget(self) -> None:
        """Mark `wbar` as that of no kernel, until one is stored again."""
        if hasattr(self, "origin"):
            self.origin.assign(ops.full(self.origin.shape, -np.inf, self.origin.dtype))

    def _store(self, wbar, state, origin):
        """Assign `wbar`, further state by name, and the kernel that both were computed from."""
        for name, value in state.items():
            getattr(self, name).assign(value)
        self.wbar.store(wbar)
        self.origin.assign(origin)

    def _is_compiled_by_xla(self):
        """Within a call: whether TensorFlow's XLA compiles the model that runs this layer."""
        outermost = outermost_layer(self)
        return keras.backend.backend() == "tensorflow" and getattr(outermost, "jit_compile", False) is True

    def compute_output_shape(self, kernel_shape: Shape) -> Shape:
        return self.wbar_shape or kernel_shape

    def refresh(self, kernel: keras.Variable) -> None:
        """Recompute `wbar` from the present kernel, eagerly, and rescale it if its exact norm exceeds the bound.

        The state that the next training step starts from (`warm_start`) stays as it is, so that a second call changes
        nothing.

        Args:
            kernel: Variable of the layer that is constrained.

        Raises:
            ValueError: If the kernel holds NaN or Inf; nothing is changed then.
        """
        check_finite(kernel, f"The kernel of '{kernel.path}'")
        wbar, state = self.constrain_values(kernel)
        state = {name: value for name, value in state.items() if name not in self.warm_start}
        self._store(self._within_bound(ops.convert_to_numpy(wbar)), state, copied(kernel))

    # --- files ---

    def save_own_variables(self, store: Any) -> None:
        """Save all weights, and a proof that `wbar` belongs to the kernel. A kernel that holds NaN is not refreshed."""
        if self._is_finite() and not self.is_current_now():
            self.refresh(self._raw())
        for i, weight in enumerate(self.weights):
            store[f"{i}"] = copied(weight)
        store[_PROOF] = self._proof()

    def load_own_variables(self, store: Any) -> None:
        """Load all weights, after the kernel. A `wbar` that is not of this kernel and these settings is recomputed."""
        weights = self.weights
        saved = [name for name in store.keys() if name != _PROOF]  # noqa: SIM118 - a store of Keras
        if len(saved) != len(weights):
            raise ValueError(
                f"The constraint of '{self._raw().path}' expected {len(weights)} variables. Received: {len(saved)}"
            )
        for i, weight in enumerate(weights):
            weight.assign(store[f"{i}"])
        if not self._is_finite():
            return
        if self._is_of_kernel(store):
            self.origin.assign(copied(self._raw()))
        else:
            self.refresh(self._raw())

    def _is_finite(self):
        return bool(np.isfinite(copied(self._raw()).astype("float64")).all())

    def _is_of_kernel(self, store):
        """Whether the loaded `wbar` can be used: if the file proves it, or, from version 0.1, if it has the same k."""
        if _PROOF in store.keys():  # noqa: SIM118
            return np.array_equal(store[_PROOF], self._proof())
        same_k = np.isclose(np.asarray(store["0"], np.float64), self.k_coef_lip, rtol=1e-6)  # it was kept in float32
        return bool(same_k) and self._excess(copied(self.wbar)) <= 1 + 1e-6

    def settings(self) -> tuple[Any, ...]:
        """All settings but k that determine the constrained kernel of a kernel, as a tuple with a `repr`."""
        arguments = {name: value for name, value in self.arguments().items() if name != "k_coef_lip"}
        return arguments, self.coef_lip, self.operator_norm, self.variable_dtype

    def _proof(self):
        """A digest of the kernel, `wbar` and all settings that determine `wbar`, as an array of 16 bytes."""
        digest = hashlib.blake2b(repr((type(self).__name__, self.k_coef_lip, self.settings())).encode(), digest_size=16)
        for values in (self._raw(), self.wbar):
            digest.update(np.asarray(copied(values), np.float64).tobytes())
        return np.frombuffer(digest.digest(), np.uint8)

    def _within_bound(self, wbar):
        """Rescale if rounding was larger than the margin, as on hardware that multiplies at reduced precision."""
        excess = self._excess(wbar)
        return wbar if excess <= 1 else wbar / (excess * (1 + nm.rounding_margin((1,), wbar.dtype)))

    def _excess(self, wbar):
        """Norm of a constrained kernel, or of its operator, divided by the largest norm allowed."""
        norm = self.exact_norm(wbar) if self.operator_norm is None else self.operator_norm.exact(wbar)
        return norm / (self.k_coef_lip * self.coef_lip)

    def set_klip_factor(self, klip_factor: float) -> None:
        """Change k. The caller must refresh `wbar`, which belongs to no kernel until then."""
        self.k_coef_lip = nm.check_positive("k_coef_lip", klip_factor)
        if self.built:
            self.k.assign(self.k_coef_lip)
            self.forget()
