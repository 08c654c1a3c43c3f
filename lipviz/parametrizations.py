"""Raw kernel -> constrained kernel: the one place where a constraint lives.

A parametrization is a Keras layer that a constrained layer holds as an attribute, so Keras saves its state with
the model. It owns `wbar`, the constrained kernel that inference uses, `k`, the Lipschitz factor, and whatever
state its own normalization keeps.
"""

import contextlib
import contextvars
import hashlib
import inspect
import weakref

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm


def check_finite(value, owner):
    """Return `value` as a NumPy array, or None where it is a symbol of a trace.

    Args:
        value: Tensor, variable or array.
        owner: Words that name it in the error.

    Raises:
        ValueError: If it holds NaN or Inf.
    """
    try:
        # What is an array already stays as it is: JAX would make float32 of float64.
        array = value if isinstance(value, np.ndarray) else ops.convert_to_numpy(ops.convert_to_tensor(value))
    except Exception:  # every backend has an error of its own for a symbolic tensor
        return None
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{owner} must be finite. Received: {bad} of {np.size(array)} entries are NaN or Inf.")
    return array


_PROOF = "made of"  # name in a file, beside the numbers of the weights
_is_unfilled = contextvars.ContextVar("lipviz_builds_unfilled", default=False)
_is_eager = contextvars.ContextVar("lipviz_constrains_values", default=False)


@contextlib.contextmanager
def unfilled():
    """Within this context, constrained layers are built with kernels of zeros, and nothing is orthogonalized.

    For copies whose weights are all assigned next: orthogonalizing what is overwritten takes most of their time.
    """
    token = _is_unfilled.set(True)
    try:
        yield
    finally:
        _is_unfilled.reset(token)


_known = contextvars.ContextVar("lipviz_knows_current", default=frozenset())


@contextlib.contextmanager
def known_current(parametrizations):
    """Within this context, inference takes the `wbar` of some parametrizations without a comparison.

    For many calls in a row, or a function that is compiled for them, whoever compared the kernels before and knows that
    nobody changes them meanwhile.

    Args:
        parametrizations: Those whose `wbar` belongs to their layer's kernel.
    """
    token = _known.set(frozenset(map(id, parametrizations)))
    try:
        yield
    finally:
        _known.reset(token)


def are_known_current(parametrizations):
    """Whether `known_current` says so of all of them, and there are any."""
    known = _known.get()
    return bool(known) and all(id(parametrization) in known for parametrization in parametrizations)


def kernel_initializer(initializer):
    """The initializer that a free kernel is built with: zeros within `unfilled`, else the one that was given."""
    return "zeros" if _is_unfilled.get() else initializer


class _Factor(keras.Variable):
    """The variable of a factor that has its home elsewhere: whatever is assigned, it takes the value from there.

    Keras's ways to load weights assign every variable. On JAX, so does the end of a step, whose buffers are new.
    """

    def __init__(self, home, **kwargs):
        self._home = home
        super().__init__(lambda shape, dtype: ops.convert_to_tensor(home(), dtype), shape=(), **kwargs)

    def assign(self, value):
        return super().assign(self._home())

    def _restore_from_tensors(self, restored_tensors):
        """What `tf.train.Checkpoint` calls instead of `assign`."""
        return self.assign(restored_tensors)


class _Origin(keras.Variable):
    """The kernel that another variable was made of. A checkpoint of TensorFlow does not prove that it is the one."""

    def _restore_from_tensors(self, restored_tensors):
        super()._restore_from_tensors(restored_tensors)
        return self.assign(ops.full(self.shape, -np.inf, self.dtype))


class _Derived(keras.Variable):
    """A variable that is made of a kernel. Assigned from outside, it belongs to no kernel that is known."""

    def __init__(self, forget, *args, **kwargs):
        self._forget = forget
        super().__init__(*args, **kwargs)

    def assign(self, value):
        assigned = super().assign(value)
        self._forget()
        return assigned

    def store(self, value):
        """Assign, by the one who says which kernel the value belongs to."""
        super().assign(value)


class Parametrization(keras.layers.Layer):
    """Base of all parametrizations; a subclass implements `normalize`, and `exact_norm` where it differs.

    Every argument of a subclass's constructor is kept as an attribute of the same name.

    `wbar` is stored by training, loading, saving and `refresh`, together with the kernel that it was made of, `origin`.
    Inference compares the two kernels, entry by entry. Where they differ it constrains the present one for itself, and
    stores nothing: no way to assign a kernel can leave it with a `wbar` of another.

    Args:
        k_coef_lip: Factor that multiplies the normalized kernel. Positive. This is its home. The variable `k` follows
            it, so that `set_klip_factor` reaches a training step that is already compiled; no weights change it.

    Attributes:
        wbar: Variable, the constrained kernel in the kernel's own shape, at least float32.
        origin: Variable, the kernel that `wbar` was made of; −Inf where that is not known. It is no weight:
            `get_weights` and files do without it.
        k: Scalar variable.
        coef_lip: Factor that the shape of the layer's input asks for, on top of k.
        operator_norm: What bounds the norm of the layer's whole operator where that is divided by it, such as a
            `lipviz.convolution_norms.ConvolutionNorm`; None where `coef_lip` says all. Set before `attach`.
        has_taken_over: Whether `wbar` came from another layer, see `take_over`.
        state: Names of the variables that `normalize` keeps from step to step, each with what it is.
        warm_start: Those of them that `normalize` starts from.
    """

    state = {}  # noqa: RUF012 - replaced by subclasses, never changed
    warm_start = ()
    coef_lip = 1.0
    operator_norm = None
    has_taken_over = False

    def __init__(self, k_coef_lip=1.0, **kwargs):
        super().__init__(**kwargs)
        self.k_coef_lip = nm.check_positive("k_coef_lip", k_coef_lip)

    @classmethod
    def argument_names(cls):
        """Names of the constructor's own arguments, those of a Keras layer left out."""
        parameters = [
            p
            for c in cls.__mro__
            if issubclass(c, Parametrization)
            for p in inspect.signature(c.__init__).parameters.values()
        ]
        named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
        return tuple(dict.fromkeys(named))

    def arguments(self):
        """The constructor's own arguments with their present values, as a dict."""
        return {name: getattr(self, name) for name in self.argument_names()}

    def get_config(self):
        return {**super().get_config(), **self.arguments()}

    # --- for subclasses ---

    def add_state(self, kernel):
        """Create the variables that `normalize` keeps from step to step; none by default.

        Args:
            kernel: Variable of the layer that is constrained.
        """

    def normalize(self, kernel):
        """Map a kernel to one that is 1-Lipschitz.

        Args:
            kernel: Tensor of the kernel's shape, in the dtype of `wbar`.

        Returns:
            The tuple (normalized kernel, dict from the name of a state variable to its new value).
        """
        raise TypeError(f"{type(self).__name__} must implement `normalize(kernel)`")

    def exact_norm(self, wbar):
        """Norm that must not exceed k·coef_lip, in float64 NumPy: the largest singular value unless overridden.

        Args:
            wbar: Array of the kernel's shape.

        Returns:
            A float.
        """
        w = np.asarray(wbar, np.float64).reshape(-1, wbar.shape[-1])
        gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))

    # --- the mechanism ---

    def attach(self, kernel, coef_lip=1.0):
        """Create the state for a kernel; `wbar` is right from here on.

        Initial values are functions of the kernel's: Keras evaluates them at once in eager mode, and together
        with the kernel's own where a model is built inside a trace.

        Args:
            kernel: Variable of the layer that is constrained.
            coef_lip: Factor multiplied onto the normalized kernel, on top of k.
        """
        self.coef_lip = coef_lip
        dtype = "float64" if kernel.dtype == "float64" else "float32"
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self._raw = lambda: kernel  # a closure, which Keras does not track: the kernel is the layer's weight
        self.k = self._variable(_Factor, lambda: self.k_coef_lip, name="k")
        self.add_state(kernel)
        wbar = self._initially(kernel, lambda: self._constrain_values(kernel)[0])
        self.wbar = self._variable(_Derived, self.forget, wbar, shape=kernel.shape, name="wbar")
        separate = self._initially(kernel, lambda: self._separate(kernel))
        self.origin = self._variable(_Origin, separate, shape=kernel.shape, name="origin")
        self._constrained, self._constrained_by_xla = _Constrained(self, is_xla=False), _Constrained(self, is_xla=True)
        self.built = True

    @staticmethod
    def _initially(kernel, value):
        """An initializer for a value that is derived from a kernel.

        Within a trace there is no kernel yet: Keras asks for shapes there, and asks again when the trace is over.
        """

        def initializer(shape, dtype):
            waits = _is_unfilled.get() or check_finite(kernel, "The initial kernel") is None
            return ops.zeros(shape, dtype) if waits else value()

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
        """A weight of a class of its own, which `add_weight` cannot make."""
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
    def weights(self):
        return [weight for weight in super().weights if weight is not getattr(self, "origin", None)]

    def _wide(self, kernel):
        """A kernel as a tensor in the dtype of `wbar`, which holds it exactly."""
        return ops.cast(ops.convert_to_tensor(kernel), self.variable_dtype)

    def _separate(self, kernel):
        """The value of a kernel variable as a tensor that shares no memory with it: JAX donates both to a step."""
        return ops.convert_to_tensor(copied(kernel).astype(self.variable_dtype))

    def constrain(self, kernel):
        """Constrained kernel and new state for a raw kernel; assigns nothing.

        Args:
            kernel: Tensor or variable of the kernel's shape.

        Returns:
            The tuple (k-Lipschitz kernel, dict of new state).
        """
        normalized, state = self.normalize(self._wide(kernel))
        if self.operator_norm is not None:
            normalized = self.operator_norm.unit(normalized)
        k = ops.convert_to_tensor(self.k)
        return normalized * (k if self.coef_lip == 1 else k * self.coef_lip), state

    def _constrain_values(self, kernel):
        """`constrain`, where the kernel is a value and no symbol of a trace, and nothing is differentiated."""
        token = _is_eager.set(True)
        try:
            return self.constrain(kernel)
        finally:
            _is_eager.reset(token)

    def call(self, kernel, training=None):
        """Constrained kernel of the layer: computed and stored in training, what `used` gives otherwise.

        A kernel that holds NaN gives NaN here, and leaves the stored state as it was.
        """
        if not training:
            return self.used(kernel, self._is_compiled_by_xla())
        with _numerics(self._is_compiled_by_xla()):
            wbar, state = self.constrain(kernel)
        finite = ops.isfinite(ops.sum(wbar))

        def kept(value, variable):
            return ops.where(finite, ops.stop_gradient(value), ops.convert_to_tensor(variable))

        values = {name: kept(value, getattr(self, name)) for name, value in state.items()}
        self._store(kept(wbar, self.wbar), values, kept(self._wide(kernel), self.origin))
        return wbar

    def used(self, kernel, is_xla=False):
        """Constrained kernel that inference uses: `wbar` where that belongs to a kernel, computed otherwise.

        Nothing is assigned. Its gradient is that of the constraint, computed where it is asked for.

        Args:
            kernel: Tensor or variable of the kernel's shape.
            is_xla: Whether TensorFlow's XLA compiles the result, which has no fast eigenvalues.

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

    def used_now(self):
        """`used` of the layer's own kernel, where that has a value: eagerly, and in NumPy where that is faster."""
        if self.is_current_now():
            return ops.convert_to_tensor(self.wbar)
        return self._constrain_values(self._raw())[0]

    def is_current_now(self):
        """`is_current` of the layer's own kernel as a bool, where variables have values."""
        return copied(self._raw()).astype(self.variable_dtype).tobytes() == copied(self.origin).tobytes()

    def take_over(self, other):
        """Store the constrained kernel that another layer's inference uses, as that of the own kernel.

        Args:
            other: Parametrization of a layer with the same kernel, perhaps in another dtype.
        """
        self.wbar.store(np.array(ops.convert_to_numpy(other.used_now()), self.variable_dtype))
        self.origin.assign(self._separate(self._raw()))
        self.has_taken_over = True

    def is_current(self, kernel):
        """Whether `wbar` was made of a kernel, of these very bits: a boolean tensor."""
        bits = "uint64" if self.variable_dtype == "float64" else "uint32"
        origin = ops.view(ops.convert_to_tensor(self.origin), bits)
        return ops.equal(ops.max(ops.bitwise_xor(ops.view(self._wide(kernel), bits), origin)), 0)

    def forget(self):
        """Take `wbar` for that of no kernel, until one is stored again."""
        if hasattr(self, "origin"):
            self.origin.assign(ops.full(self.origin.shape, -np.inf, self.origin.dtype))

    def _store(self, wbar, state, origin):
        """Assign `wbar`, further state by name, and the kernel that both were made of."""
        for name, value in state.items():
            getattr(self, name).assign(value)
        self.wbar.store(wbar)
        self.origin.assign(origin)

    def _is_compiled_by_xla(self):
        """Within a call: whether TensorFlow's XLA compiles the model that runs this layer."""
        outermost = self._get_call_context().entry_layer
        return keras.backend.backend() == "tensorflow" and getattr(outermost, "jit_compile", False) is True

    def compute_output_shape(self, kernel_shape):
        return kernel_shape

    def refresh(self, kernel):
        """Recompute `wbar` from the present kernel, eagerly, and hold its exact norm against k.

        What the next training step starts from (`warm_start`) stays as it is: refreshing twice changes nothing.

        Args:
            kernel: Variable of the layer that is constrained.

        Raises:
            ValueError: If the kernel holds NaN or Inf; nothing is changed then.
        """
        check_finite(kernel, f"The kernel of '{kernel.path}'")
        wbar, state = self._constrain_values(kernel)
        state = {name: value for name, value in state.items() if name not in self.warm_start}
        self._store(self._within_bound(ops.convert_to_numpy(wbar)), state, copied(kernel))

    # --- files ---

    def save_own_variables(self, store):
        """Save all weights, with a `wbar` that belongs to the kernel unless that holds NaN, and a proof of it."""
        if self._is_finite() and not self.is_current_now():
            self.refresh(self._raw())
        for i, weight in enumerate(self.weights):
            store[f"{i}"] = copied(weight)
        store[_PROOF] = self._proof()

    def load_own_variables(self, store):
        """Load all weights, after the layer's kernel. A `wbar` not made of it by these settings is made anew."""
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
        """Whether the loaded `wbar` can be taken: as the file proves, or, of version 0.1, if it holds the same k."""
        if _PROOF in store.keys():  # noqa: SIM118
            return np.array_equal(store[_PROOF], self._proof())
        same_k = np.isclose(np.asarray(store["0"], np.float64), self.k_coef_lip, rtol=1e-6)  # it was kept in float32
        return bool(same_k) and self._excess(copied(self.wbar)) <= 1 + 1e-6

    def settings(self):
        """All but k that decides which kernel another becomes, as a tuple with a `repr`."""
        arguments = {name: value for name, value in self.arguments().items() if name != "k_coef_lip"}
        return arguments, self.coef_lip, self.operator_norm, self.variable_dtype

    def _proof(self):
        """A digest of the kernel, `wbar` and all that decides which kernel makes which, as an array of 16 bytes."""
        digest = hashlib.blake2b(repr((type(self).__name__, self.k_coef_lip, self.settings())).encode(), digest_size=16)
        for values in (self._raw(), self.wbar):
            digest.update(np.asarray(copied(values), np.float64).tobytes())
        return np.frombuffer(digest.digest(), np.uint8)

    def _within_bound(self, wbar):
        """Rescale where rounding beat the margin, as on hardware that multiplies at reduced precision."""
        excess = self._excess(wbar)
        return wbar if excess <= 1 else wbar / (excess * (1 + nm.rounding_margin((1,), wbar.dtype)))

    def _excess(self, wbar):
        """Norm of a constrained kernel, or of its operator, over what it may be."""
        norm = self.exact_norm(wbar) if self.operator_norm is None else self.operator_norm.exact(wbar)
        return norm / (self.k_coef_lip * self.coef_lip)

    def set_klip_factor(self, klip_factor):
        """Change k; the caller refreshes `wbar`, which belongs to no kernel until then."""
        self.k_coef_lip = nm.check_positive("k_coef_lip", klip_factor)
        if self.built:
            self.k.assign(self.k_coef_lip)
            self.forget()


def copied(variable):
    """Value of a variable in memory of its own: assigning a tensor would share the buffer, which JAX may reuse.

    Args:
        variable: Keras variable, with a value.

    Returns:
        An array of its dtype.
    """
    value = variable.value
    return np.array(value.numpy() if hasattr(value, "numpy") else value, copy=True)


class _Constrained:
    """The constrained kernel of a parametrization as a function of a kernel, for inference."""

    def __init__(self, parametrization, is_xla):
        self._parametrization, self._is_xla = parametrization, is_xla
        self._alike = None

    def __call__(self, kernel):
        """Differentiable."""
        with _numerics(self._is_xla):
            return self._parametrization.constrain(kernel)[0]

    def value(self, kernel):
        """Without a gradient. In a graph of TensorFlow it is one operation, which parametrizations alike share."""
        if not nm.builds_graph():
            with _numerics(self._is_xla):
                return self._parametrization._constrain_values(kernel)[0]
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
        is_known = kind.__module__ == __name__
        key = (kind, repr(settings), parametrization.wbar.shape, is_xla, None if is_known else id(parametrization))
        alike = _found.get(key)
        if alike is None:
            alike = _found[key] = cls(parametrization, is_xla)
        return alike

    def _run(self, kernel, *state):
        mapping = zip(_read_by_constrain(self._parametrization), state, strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)), _numerics(self._is_xla):
            return self._parametrization._constrain_values(kernel)[0]


def _read_by_constrain(parametrization):
    """The variables that decide, beside the kernel, what it is constrained to."""
    return [parametrization.k, *(getattr(parametrization, name) for name in parametrization.state)]


def _numerics(is_xla):
    """The context for what TensorFlow's XLA compiles, which has no fast eigenvalues, or for all else."""
    return nm.without_eigenvalues() if is_xla else contextlib.nullcontext()


@keras.saving.register_keras_serializable("lipviz")
class SpectralParametrization(Parametrization):
    """All singular values at most k, and equal to k where Björck converges (see `sound_orthogonalization`).

    Args:
        k_coef_lip: Largest singular value allowed.
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck; None skips Björck: the kernel is divided by a bound of its norm.
        beta_bjorck: Step size of Björck in ]0, 0.5]; None skips Björck.
        maxiter_spectral: Largest number of power iterations a step.
        maxiter_bjorck: Largest number of Björck iterations a step.

    Attributes:
        u: Variable of shape (1, out), the right singular vector that the power iteration follows.
        sig: Variable of shape (1, 1), its estimate of the raw kernel's largest singular value.

    Raises:
        ValueError: If an argument is out of range.
    """

    state = {  # noqa: RUF012
        "u": "The vector that the power iteration follows, a variable of shape (1, out).",
        "sig": "The power iteration's estimate of the free kernel's σ1, a variable of shape (1, 1).",
    }
    warm_start = ("u",)

    def __init__(
        self,
        k_coef_lip=1.0,
        eps_spectral=nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck=nm.DEFAULT_EPS_BJORCK,
        beta_bjorck=nm.DEFAULT_BETA_BJORCK,
        maxiter_spectral=nm.DEFAULT_MAXITER_SPECTRAL,
        maxiter_bjorck=nm.DEFAULT_MAXITER_BJORCK,
        **kwargs,
    ):
        super().__init__(k_coef_lip, **kwargs)
        self.eps_spectral = nm.check_positive("eps_spectral", eps_spectral)
        self.eps_bjorck = None if eps_bjorck is None else nm.check_positive("eps_bjorck", eps_bjorck)
        self.beta_bjorck = nm.check_beta(beta_bjorck)
        self.maxiter_spectral = nm.check_count("maxiter_spectral", maxiter_spectral)
        self.maxiter_bjorck = nm.check_count("maxiter_bjorck", maxiter_bjorck)

    def add_state(self, kernel):
        self.u = self._add("u", (1, kernel.shape[-1]), keras.initializers.RandomNormal(stddev=1.0))
        self.sig = self._add("sig", (1, 1), self._initially(kernel, lambda: self._constrain_values(kernel)[1]["sig"]))

    def normalize(self, kernel):
        orthogonalize = nm.sound_orthogonalization_of_values if _is_eager.get() else nm.sound_orthogonalization
        w, u, sig = orthogonalize(
            nm.as_matrix(kernel),
            ops.convert_to_tensor(self.u),
            self.eps_spectral,
            self.eps_bjorck,
            self.beta_bjorck,
            self.maxiter_spectral,
            self.maxiter_bjorck,
        )
        return ops.reshape(w, kernel.shape), {"u": u, "sig": sig}


@keras.saving.register_keras_serializable("lipviz")
class FrobeniusParametrization(Parametrization):
    """The kernel divided by its Frobenius norm, which is at least its largest singular value; zero stays zero."""

    axis = None

    def normalize(self, kernel):
        w, _ = nm.unit_scaled(nm.as_matrix(kernel), self.axis)
        # What is scaled has an entry of magnitude 1: the floor acts on zeros only.
        norm = ops.sqrt(ops.maximum(ops.sum(ops.square(w), axis=self.axis, keepdims=True), 0.25))
        margin = 1 - nm.rounding_margin(w.shape, self.variable_dtype)
        return ops.reshape(w * (margin / norm), kernel.shape), {}


@keras.saving.register_keras_serializable("lipviz")
class DisjointFrobeniusParametrization(FrobeniusParametrization):
    """Each column, or the whole kernel, divided by its Euclidean norm; a zero column stays zero.

    Args:
        disjoint_neurons: True divides each column by its own norm: every output is k-Lipschitz on its own, the
            layer as a whole anywhere in [k, k√units]. False divides by the Frobenius norm of the whole, so that
            the layer is k-Lipschitz.
        k_coef_lip: Factor that multiplies the result.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, disjoint_neurons=True, k_coef_lip=1.0, **kwargs):
        super().__init__(k_coef_lip, **kwargs)
        if not isinstance(disjoint_neurons, bool):
            raise ValueError(f"`disjoint_neurons` must be True or False. Received: {disjoint_neurons!r}")
        self.disjoint_neurons = disjoint_neurons

    @property
    def axis(self):
        """Axis of the norms: 0 for columns, None for the whole."""
        return 0 if self.disjoint_neurons else None

    def exact_norm(self, wbar):
        if not self.disjoint_neurons:
            return super().exact_norm(wbar)
        return float(np.linalg.norm(np.asarray(wbar, np.float64).reshape(-1, wbar.shape[-1]), axis=0).max())
