"""Pure numerics on kernels: power iteration, Björck orthogonalization, RKO and a sound spectral bound.

Two families live here. `spectral_normalization`, `bjorck_normalization` and `reshaped_kernel_orthogonalization`
follow the reference's formulas to the letter, with what those formulas cannot promise: a power iteration
estimates σ1 from *below*, so the result may exceed 1. `sound_orthogonalization` is what the layers use: it
divides by an upper bound of σ1 instead, so that its result is at most 1-Lipschitz for every finite kernel.

Everything is written in `keras.ops` with loops of a static count that freeze once they have converged, because
a `while` loop cannot be differentiated in reverse on JAX.

References:
    Björck and Bowie (1971), An iterative algorithm for computing the best estimate of an orthogonal matrix.
    Anil, Lucas and Grosse (2019), Sorting out Lipschitz function approximation.
    Miyato et al. (2018), Spectral normalization for generative adversarial networks.
    Delattre et al. (2023), Efficient bound of Lipschitz constant for convolutional layers by Gram iteration.
"""

import math

import numpy as np
from keras import ops
from keras import random as keras_random
from keras.backend import standardize_dtype

DEFAULT_BETA_BJORCK = 0.5
DEFAULT_EPS_SPECTRAL = 1e-3
DEFAULT_EPS_BJORCK = 1e-3
DEFAULT_MAXITER_BJORCK = 15
DEFAULT_MAXITER_SPECTRAL = 10

_stop_grad_spectral = True


def set_stop_grad_spectral(value):
    """Choose whether gradients flow through the vector of the power iteration.

    Args:
        value: True (the state at import) holds the vector constant, so that dσ/dW = v uᵀ as in Miyato et al.
            False differentiates the iterations too.

    Raises:
        TypeError: If `value` is not a bool.
    """
    global _stop_grad_spectral
    if not isinstance(value, bool):
        raise TypeError(f"set_stop_grad_spectral expects True or False. Received: {value!r}")
    _stop_grad_spectral = value


# --- checks ---


def check_positive(name, value):
    """Return `value` as a float if it is a positive, finite number, else raise ValueError."""
    if isinstance(value, bool) or not np.isscalar(value) or not np.isreal(value) or not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be a positive finite number. Received: {name}={value!r}")
    return float(value)


def check_count(name, value):
    """Return `value` as an int if it is a whole number of at least 0, else raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0. Received: {name}={value!r}")
    return int(value)


def check_beta(value):
    """Return β as a float if it lies in ]0, 0.5] (or None, which skips Björck), else raise ValueError.

    Beyond 0.5 the map s → (1+β)s − βs³ rises above 1 inside [0, 1] and iterates are no longer 1-Lipschitz.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not np.isscalar(value) or not np.isreal(value) or not 0 < value <= 0.5:
        raise ValueError(f"`beta` of Björck must lie in ]0, 0.5]. Received: {value!r}")
    return float(value)


def _check_matrix(name, value):
    shape = tuple(value.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"`{name}` must be a 2-D matrix with at least one entry. Received shape: {shape}")


# --- shared pieces ---


def _norm(x):
    """Frobenius norm, with a finite gradient at zero (the offset is far below the rounding of float32)."""
    return ops.sqrt(ops.sum(ops.square(x)) + 1e-30)


def l2_normalize(x, axis=None, epsilon=1e-12):
    """Divide `x` by max(‖x‖, √epsilon).

    Args:
        x: Tensor of any shape.
        axis: Axis (or axes) of the norm; None means all of them.
        epsilon: Lower bound on the squared norm.

    Returns:
        A tensor with the shape of `x`.
    """
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), epsilon))


def _iterate(direction, state, step, eps, maxiter):
    """Repeat x ← x + step·direction(x) until the increment's norm is below eps, at most `maxiter` times.

    The count is static. From convergence on increments are multiplied by zero: the state, and the gradient through
    it, pass unchanged, while NaN stays NaN.
    """
    for iteration in range(maxiter):
        increment = step * direction(state)
        state = state + increment
        if iteration < maxiter - 1:
            moved = ops.stop_gradient(ops.sum(ops.square(increment))) >= eps * eps
            step = step * ops.cast(moved, state.dtype)
    return state


def bjorck_direction(w):
    """W − W Wᵀ W: where a step of Björck's iteration moves a matrix of shape (rows, columns), before the factor β."""
    if w.shape[0] < w.shape[1]:  # the smaller of the two Gram matrices
        return w - ops.matmul(ops.matmul(w, ops.transpose(w)), w)
    return w - ops.matmul(w, ops.matmul(ops.transpose(w), w))


def bjorck_step(w, beta=DEFAULT_BETA_BJORCK):
    """One step of Björck's iteration, (1+β)W − β W Wᵀ W; every singular value s becomes (1+β)s − βs³.

    Args:
        w: Matrix of shape (rows, columns).
        beta: Step size β in ]0, 0.5].

    Returns:
        A matrix with the shape of `w`.
    """
    return w + beta * bjorck_direction(w)


# --- the reference's formulas, to the letter ---


def bjorck_normalization(w, eps=DEFAULT_EPS_BJORCK, beta=DEFAULT_BETA_BJORCK, maxiter=DEFAULT_MAXITER_BJORCK):
    """Push all singular values of a matrix towards 1 (Björck and Bowie 1971; Anil et al. 2019, eq. 3).

    Args:
        w: Matrix of shape (rows, columns) whose largest singular value is about 1; from √((2+β)/β) on
            (√5 at β = 0.5) the iteration diverges.
        eps: Stops when ‖W_t − W_{t−1}‖_F < eps. This bounds the last increment, not the distance to
            orthogonality: a singular value below eps/β hardly moves.
        beta: Step size β in ]0, 0.5].
        maxiter: Largest number of iterations.

    Returns:
        A matrix with the shape of `w`.

    Raises:
        ValueError: If an argument is out of range or `w` is not a matrix.
    """
    check_positive("eps", eps)
    if check_beta(beta) is None:
        raise ValueError("`beta` of Björck must lie in ]0, 0.5]. Received: None")
    check_count("maxiter", maxiter)
    w = ops.convert_to_tensor(w)
    _check_matrix("w", w)
    return _iterate(bjorck_direction, w, beta, eps, maxiter)


def _power_iteration(step, u, eps, maxiter):
    if _stop_grad_spectral:
        u = ops.stop_gradient(u)
    u = _iterate(lambda x: step(x) - x, u, 1.0, eps, maxiter)
    return ops.stop_gradient(u) if _stop_grad_spectral else u


def spectral_normalization(kernel, u, eps=DEFAULT_EPS_SPECTRAL, maxiter=DEFAULT_MAXITER_SPECTRAL):
    """Divide a matrix by an estimate of its largest singular value (Miyato et al. 2018, alg. 1).

    The estimate never exceeds σ1, so that the result may exceed 1 while the power iteration has not converged;
    `eps` in the denominator keeps kernels whose norm is of the order of eps from reaching 1.

    Args:
        kernel: Matrix of shape (in, out).
        u: Start vector of shape (1, out); None draws one.
        eps: The iteration stops when ‖u_t − u_{t−1}‖ < eps; also added to σ.
        maxiter: Largest number of iterations.

    Returns:
        The tuple (kernel / (σ + eps), u of shape (1, out), σ of shape (1, 1)).

    Raises:
        ValueError: If an argument is out of range or shapes do not fit.
    """
    check_positive("eps_spectral", eps)
    check_count("maxiter_spectral", maxiter)
    kernel = ops.convert_to_tensor(kernel)
    _check_matrix("kernel", kernel)
    if u is None:
        u = keras_random.normal((1, kernel.shape[-1]), dtype=kernel.dtype)
    u = ops.convert_to_tensor(u)
    if tuple(u.shape) != (1, kernel.shape[-1]):
        raise ValueError(f"`u` must have the shape {(1, kernel.shape[-1])}. Received shape: {tuple(u.shape)}")
    transposed = ops.transpose(kernel)
    u = _power_iteration(
        lambda x: l2_normalize(ops.matmul(l2_normalize(ops.matmul(x, transposed)), kernel)), u, eps, maxiter
    )
    v = ops.matmul(u, transposed)
    v = l2_normalize(ops.stop_gradient(v) if _stop_grad_spectral else v)
    sigma = ops.matmul(ops.matmul(v, kernel), ops.transpose(u))
    return kernel / (sigma + eps), u, sigma


def reshaped_kernel_orthogonalization(
    kernel,
    u,
    adjustment_coef,
    eps_spectral=DEFAULT_EPS_SPECTRAL,
    eps_bjorck=DEFAULT_EPS_BJORCK,
    beta=DEFAULT_BETA_BJORCK,
    maxiter_spectral=DEFAULT_MAXITER_SPECTRAL,
    maxiter_bjorck=DEFAULT_MAXITER_BJORCK,
):
    """Reshape a kernel to a matrix, normalize it, orthogonalize it (RKO; Serrurier et al. 2021, section 4).

    Args:
        kernel: Tensor of shape (..., out), reshaped to (product of the others, out).
        u: Start vector of the power iteration, of shape (1, out), or None.
        adjustment_coef: Factor multiplied onto the result.
        eps_spectral: See `spectral_normalization`.
        eps_bjorck: See `bjorck_normalization`; None skips Björck.
        beta: See `bjorck_normalization`; None skips Björck.
        maxiter_spectral: See `spectral_normalization`.
        maxiter_bjorck: See `bjorck_normalization`.

    Returns:
        The tuple (constrained kernel in the kernel's own shape, u, σ).

    Raises:
        ValueError: If an argument is out of range or shapes do not fit.
    """
    kernel = ops.convert_to_tensor(kernel)
    shape = kernel.shape
    w, u, sigma = spectral_normalization(as_matrix(kernel), u, eps_spectral, maxiter_spectral)
    if eps_bjorck is not None and beta is not None:
        w = bjorck_normalization(w, eps_bjorck, beta, maxiter_bjorck)
    return ops.reshape(w * adjustment_coef, shape), u, sigma


def get_conv_operators(kernel, u_shape, stride=1.0, conv_first=True, pad_func=None):
    """Build a 2-D convolution and its adjoint as functions, channels last.

    Args:
        kernel: Tensor of shape (height, width, in, out).
        u_shape: Shape (batch, height, width, channels) of what the first operator takes, all known.
        stride: Distance of neighbouring patches, one whole number for both axes.
        conv_first: True: the first operator is the convolution, and `u_shape` that of an image. False: it is the
            adjoint, and `u_shape` that of a convolution's output, of an image `stride` times as large.
        pad_func: Function that pads an image, linear; a "valid" convolution follows. None pads with zeros ("same").

    Returns:
        The tuple (linear operator, its adjoint) of functions from tensors to tensors.

    Raises:
        ValueError: If the kernel is not 4-D, `u_shape` does not fit it, or the stride is no positive whole number.
    """
    kernel = ops.convert_to_tensor(kernel)
    if stride != int(stride) or stride < 1:
        raise ValueError(f"`stride` must be a positive whole number. Received: stride={stride!r}")
    stride = int(stride)
    channels = 2 if conv_first else 3
    if len(kernel.shape) != 4 or len(u_shape) != 4 or u_shape[-1] != kernel.shape[channels]:
        raise ValueError(
            f"Expected a kernel of shape (height, width, in, out) and `u_shape` of shape (batch, height, width, "
            f"{'in' if conv_first else 'out'}). Received: {tuple(kernel.shape)} and {tuple(u_shape)}"
        )
    sizes = [n if conv_first else n * stride for n in u_shape[1:3]]
    if pad_func is None:
        pads = [_same_pads(n, k, stride) for n, k in zip(sizes, kernel.shape[:2], strict=True)]

        def pad_func(x):
            return ops.pad(x, [(0, 0), *pads, (0, 0)])

    image = (u_shape[0], *sizes, kernel.shape[2])
    unpad, padded = _adjoint_of_padding(pad_func, image)

    def convolve(x):
        return ops.conv(pad_func(x), kernel, strides=stride, padding="valid", data_format="channels_last")

    def adjoint(y):
        x = ops.conv_transpose(y, kernel, strides=stride, padding="valid", data_format="channels_last")
        # What no patch reaches at the far end is missing, what the last stride adds is too much.
        missing = [(0, max(n - m, 0)) for n, m in zip(padded, x.shape[1:3], strict=True)]
        return unpad(ops.pad(x, [(0, 0), *missing, (0, 0)])[:, : padded[0], : padded[1]])

    return (convolve, adjoint) if conv_first else (adjoint, convolve)


def _same_pads(size, kernel_size, stride):
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def _adjoint_of_padding(pad_func, shape):
    """The adjoint of a padding that copies pixels or writes zeros, as a function; and the padded sizes."""
    batch, height, width, channels = shape
    # Pad the numbers of the pixels, from 1 on: what comes out tells where each entry was copied from, 0 from nowhere.
    numbers = ops.reshape(ops.arange(1, height * width + 1, dtype="float32"), (1, height, width, 1))
    origins = np.rint(ops.convert_to_numpy(pad_func(numbers))).astype("int32")[0, :, :, 0]

    def unpad(x):
        rows = ops.reshape(ops.transpose(x, (1, 2, 0, 3)), (origins.size, batch * channels))
        sums = ops.segment_sum(rows, ops.convert_to_tensor(origins.ravel()), num_segments=height * width + 1)[1:]
        return ops.transpose(ops.reshape(sums, (height, width, batch, channels)), (2, 0, 1, 3))

    return unpad, origins.shape


def spectral_normalization_conv(
    kernel,
    u,
    stride=1.0,
    conv_first=True,
    pad_func=None,
    eps=DEFAULT_EPS_SPECTRAL,
    maxiter=DEFAULT_MAXITER_SPECTRAL,
):
    """Divide a convolution's kernel by an estimate of the norm of the whole convolution, by power iteration.

    Like `spectral_normalization` it estimates from below, and for images of the size of `u` only.

    Args:
        kernel: Tensor of shape (height, width, in, out).
        u: Start, a 4-D tensor; see `get_conv_operators`.
        stride: See `get_conv_operators`.
        conv_first: See `get_conv_operators`.
        pad_func: See `get_conv_operators`.
        eps: The iteration stops when ‖u_t − u_{t−1}‖ < eps; also added to σ. Negative: nothing is done, and σ is 1.
        maxiter: Largest number of iterations.

    Returns:
        The tuple (kernel / (σ + eps), u with its own shape, σ).

    Raises:
        ValueError: If an argument is out of range or shapes do not fit.
    """
    kernel, u = ops.convert_to_tensor(kernel), ops.convert_to_tensor(u)
    if eps < 0:
        return kernel, u, 1.0
    check_positive("eps_spectral", eps)
    check_count("maxiter_spectral", maxiter)
    linear, adjoint = get_conv_operators(kernel, tuple(u.shape), stride, conv_first, pad_func)
    u = _power_iteration(lambda x: l2_normalize(adjoint(l2_normalize(linear(x)))), u, eps, maxiter)
    image = linear(u)
    v = l2_normalize(ops.stop_gradient(image) if _stop_grad_spectral else image)
    sigma = ops.sum(v * image)
    return kernel / (sigma + eps), u, sigma


# --- what the layers use: sound for every finite kernel ---


def floating(x):
    """Return `x` as a tensor in float64 where it has that dtype, else in float32."""
    x = ops.convert_to_tensor(x)
    return x if standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")


def as_matrix(kernel):
    """Reshape a kernel (..., out) to the matrix (product of the others, out)."""
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def patch_coverage(size, kernel_size, stride, padding, transposed=False):
    """Count how many patches of a convolution share one entry of its input, along one axis, at the most.

    Args:
        size: Length of the axis of the layer's input; None where it is not known, which counts for every size.
        kernel_size: Length of a patch.
        stride: Distance of neighbouring patches.
        padding: "same" or "valid".
        transposed: Whether the layer is a transposed convolution, and the patches lie in its output.

    Returns:
        A positive int that holds for `size` and for everything shorter, at most ceil(kernel_size / stride).
    """
    most = -(-kernel_size // stride)
    found = 1
    for length in range(1, (size or 0) + 1):
        if found == most:
            break
        found = max(found, _covering(length, kernel_size, stride, padding, transposed))
    return most if size is None else found


def _covering(length, kernel_size, stride, padding, transposed):
    """The same for one length, by counting."""
    if transposed:
        patches = length
        length = length * stride + (max(kernel_size - stride, 0) if padding == "valid" else 0)
    elif padding == "same":
        patches = -(-length // stride)
    else:
        patches = max((length - kernel_size) // stride + 1, 0)
    before = max((patches - 1) * stride + kernel_size - length, 0) // 2 if padding == "same" else 0
    starts = np.arange(patches) * stride - before
    entries = np.arange(length)[:, None]
    return int(((starts <= entries) & (entries < starts + kernel_size)).sum(axis=1).max(initial=1))


def rounding_margin(shape, dtype):
    """Relative margin that covers the rounding of a matrix product of this shape.

    Rounding errors of a product of length n grow like √n; measured spectra stay several times below this.

    Args:
        shape: Shape of the matrix.
        dtype: Floating dtype in which the products are computed, as a string.

    Returns:
        A float, 1.9e-6 for a 64 × 64 matrix in float32.
    """
    return (8 + math.sqrt(max(shape))) * float(np.finfo(dtype).eps)


def unit_scaled(w, axis=None):
    """Divide by the largest magnitude along `axis`, so that no product over- or underflows.

    What is zero or denormal keeps its scale. The factor carries no gradient: its users are scale-invariant.

    Returns:
        The tuple (scaled tensor, factor).
    """
    largest = ops.max(ops.abs(w), axis=axis, keepdims=True)
    tiny = float(np.finfo(standardize_dtype(w.dtype)).tiny)
    factor = ops.stop_gradient(ops.where(largest <= tiny, ops.ones_like(largest), largest))
    return w / factor, factor


def _unit(x):
    """x/‖x‖; zero stays zero."""
    return x * ops.rsqrt(ops.sum(ops.square(x)) + 1e-30)


def _start(gram, v):
    """The unit vector of `v`, or a coordinate where `v` is zero or in the null space, which no iteration can leave."""
    v = _unit(v)
    # The longest column's coordinate is in the null space of no Gram matrix but zero.
    coordinate = ops.one_hot(ops.argmax(ops.diagonal(gram)), gram.shape[0], dtype=gram.dtype)[None, :]
    return ops.where(ops.sum(ops.square(ops.matmul(v, gram))) > 1e-12, v, coordinate)


def schatten_bound(gram, squarings):
    """Bound the largest eigenvalue of a symmetric positive semi-definite matrix from above.

    Repeated squaring (Gram iteration, Delattre et al. 2023): with q = 2^squarings,
    λ1(A) ≤ ‖A^q‖_F^(1/q) ≤ rank(A)^(1/2q) λ1(A), sound after every squaring.

    Args:
        gram: Matrix of shape (n, n).
        squarings: Number of squarings.

    Returns:
        A scalar tensor.
    """
    bound = _norm(gram)
    factor, power = bound, 1.0
    while squarings:
        gram = gram / factor
        together = min(squarings, 3)  # from norm 1, three squarings underflow for no n that fits into memory
        for _ in range(together):
            gram = ops.matmul(gram, gram)
        factor = _norm(gram)
        power *= 0.5**together
        bound = bound * factor**power
        squarings -= together
    return bound


def deflated_bound(gram, v, squarings):
    """Bound λ1 of a symmetric positive semi-definite matrix, tight where `v` is its first eigenvector.

    Split the space into v and its complement: A = [[θ, rᵀ], [r, B]], hence λ1(A) ≤ λ1([[θ, ‖r‖], [‖r‖, β]])
    for every β ≥ λ1(B), here Schatten's. It holds for every unit vector (and for v = 0), and equals θ, exact,
    once the power iteration behind `v` has converged and β ≤ θ.

    Args:
        gram: Matrix of shape (n, n).
        v: Unit vector of shape (1, n).
        squarings: See `schatten_bound`.

    Returns:
        The tuple (bound, θ = v A vᵀ) of scalar tensors.
    """
    av = ops.matmul(v, gram)
    theta = ops.sum(av * v)
    rest = av - theta * v
    outer = ops.matmul(ops.transpose(v), rest)
    complement = gram - theta * ops.matmul(ops.transpose(v), v) - outer - ops.transpose(outer)
    beta = schatten_bound(complement, squarings)
    half = (theta - beta) / 2
    return (theta + beta) / 2 + ops.sqrt(half * half + ops.sum(rest * rest) + 1e-30), theta


def bound_squarings(eps_bjorck, beta, maxiter_bjorck):
    """Squarings spent on the bound of σ1: Björck repairs a loose one in an iteration or two.

    Without Björck the bound alone decides how tight the result is.
    """
    return 3 if eps_bjorck is not None and beta is not None and maxiter_bjorck > 5 else 6


def sound_normalization(
    w,
    u,
    eps_spectral=DEFAULT_EPS_SPECTRAL,
    maxiter_spectral=DEFAULT_MAXITER_SPECTRAL,
    squarings=6,
    hold_bound=False,
):
    """Divide a matrix by an upper bound of its largest singular value: the part before Björck.

    Args:
        w: Matrix of shape (rows, columns), tall or wide, float32 or float64.
        u: Start vector of shape (1, columns).
        eps_spectral: Tolerance of the power iteration.
        maxiter_spectral: Largest number of power iterations; with 0 the bound is looser and still sound.
        squarings: See `deflated_bound`; where there are more than 3, `schatten_bound` is taken if that is smaller.
        hold_bound: True lets no gradient flow through the bound.

    Returns:
        The tuple (W over the bound, transposed where it is wide; the vector v that the power iteration on its
        Gram matrix arrived at, of shape (1, min(rows, columns)); estimate of σ1; upper bound of σ1), the last two
        of shape (1, 1). The bound is that of the prescaled matrix times its scale, before the rounding margin.
    """
    kernel, scale = unit_scaled(w)
    wide = kernel.shape[0] < kernel.shape[1]
    tall = ops.transpose(kernel) if wide else kernel
    held = ops.stop_gradient(tall) if hold_bound else tall
    gram = ops.matmul(ops.transpose(held), held)

    v = _start(gram, ops.matmul(u, held) if wide else u)
    v = _power_iteration(lambda x: _unit(ops.matmul(x, gram)), v, eps_spectral, maxiter_spectral)

    bound, theta = deflated_bound(gram, v, squarings)
    if squarings > 3:  # no Björck mends a loose one: a vector that is still on its way costs up to 13 %, this n^(1/256)
        bound = ops.minimum(bound, schatten_bound(gram, squarings))
    # At least one entry of a scaled kernel is 1, hence σ1 ≥ 1: the floor acts on zero (or denormal) kernels only.
    sigma_bound = ops.sqrt(ops.maximum(bound, 0.25))
    margin = 1 - rounding_margin(kernel.shape, standardize_dtype(tall.dtype))
    scale = ops.reshape(scale, (1, 1))
    return tall * (margin / sigma_bound), v, ops.sqrt(ops.maximum(theta, 0.0)) * scale, sigma_bound * scale


def sound_orthogonalization(
    w,
    u,
    eps_spectral=DEFAULT_EPS_SPECTRAL,
    eps_bjorck=DEFAULT_EPS_BJORCK,
    beta=DEFAULT_BETA_BJORCK,
    maxiter_spectral=DEFAULT_MAXITER_SPECTRAL,
    maxiter_bjorck=DEFAULT_MAXITER_BJORCK,
):
    """Orthogonalize a matrix such that no singular value exceeds 1, whatever the arguments and the kernel.

    1. Prescale by the largest magnitude (no overflow, no dependence on the kernel's scale).
    2. Power iteration on the Gram matrix from `u`: at most `maxiter_spectral` steps, until a step < eps_spectral.
    3. Divide by `deflated_bound`, an upper bound of σ1, so that all singular values lie in [0, 1].
    4. Björck. For β ≤ 0.5 it maps [0, 1] into itself: every iterate is sound, convergence only tightens it.
    5. Shrink by `rounding_margin`.

    With Björck, the gradient is that of its iterations, with the divisor and the number of iterations held constant:
    where they have converged, the gradient of the polar factor of W, which no divisor changes. Without Björck it is
    that of W over the bound, with the vector of the power iteration held constant (`set_stop_grad_spectral(False)`
    lets it through the vector).

    Args:
        w: Matrix of shape (rows, columns), tall or wide, float32 or float64.
        u: Start vector of shape (1, columns).
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck; None skips it: the result is then W divided by a bound of σ1.
        beta: Step size of Björck; None skips it.
        maxiter_spectral: Largest number of power iterations; with 0 the bound is looser and still sound.
        maxiter_bjorck: Largest number of Björck iterations.

    Returns:
        The tuple (matrix with singular values in [0, 1], u of shape (1, columns), estimate of σ1 of shape (1, 1)).
        A zero matrix stays zero.
    """
    wide = w.shape[0] < w.shape[1]
    squarings = bound_squarings(eps_bjorck, beta, maxiter_bjorck)
    orthogonal = eps_bjorck is not None and beta is not None
    tall, v, sigma, _ = sound_normalization(w, u, eps_spectral, maxiter_spectral, squarings, hold_bound=orthogonal)
    if orthogonal:
        margin = 1 - rounding_margin(tall.shape, standardize_dtype(tall.dtype))
        tall = margin * _iterate(bjorck_direction, tall, beta, eps_bjorck, maxiter_bjorck)
    u = _unit(ops.matmul(v, ops.transpose(tall))) if wide else v  # back to the columns' side
    return (ops.transpose(tall) if wide else tall), ops.stop_gradient(u), ops.stop_gradient(sigma)
