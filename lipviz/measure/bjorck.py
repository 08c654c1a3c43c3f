"""Björck's iteration step by step, as the layers run it."""

import dataclasses
import time
from typing import Literal

import numpy as np

from lipviz import normalizers as nm
from lipviz.measure.spectra import spectrum
from lipviz.operators.weights import as_float64_matrix
from lipviz.types import ArrayLike


@dataclasses.dataclass(frozen=True, eq=False)
class BjorckConvergence:
    """What a layer makes of a kernel, step by step. Norms and singular values are taken in float64.

    Attributes:
        shape: (rows, columns) of the kernel.
        dtype: Dtype that the layer computes in.
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck.
        beta_bjorck: Step size of Björck.
        maxiter_spectral: Largest number of power iterations.
        maxiter_bjorck: Largest number of Björck iterations.
        raw: Singular values of the kernel, descending, of shape (min(shape),).
        normalized: Of the kernel over the bound of its largest singular value.
        constrained: Of the result, after Björck and the margin for rounding.
        sigma_bound: Upper bound of the kernel's largest singular value that it was divided by.
        sigma_estimate: The power iteration's estimate of it, from below.
        errors: ‖I − WᵀW‖_F of the smaller Gram matrix after 0, 1, … iterations, of shape (iterations + 1,).
        increments: ‖W_t − W_{t−1}‖_F, which eps_bjorck is compared with, of shape (iterations,).
        seconds: Time of the computation in NumPy, the median of the repeats.
    """

    shape: tuple[int, int]
    dtype: str
    eps_spectral: float
    eps_bjorck: float
    beta_bjorck: float
    maxiter_spectral: int
    maxiter_bjorck: int
    raw: np.ndarray = dataclasses.field(repr=False)
    normalized: np.ndarray = dataclasses.field(repr=False)
    constrained: np.ndarray = dataclasses.field(repr=False)
    sigma_bound: float
    sigma_estimate: float
    errors: np.ndarray = dataclasses.field(repr=False)
    increments: np.ndarray = dataclasses.field(repr=False)
    seconds: float

    @property
    def iterations(self) -> int:
        """Number of Björck iterations that were run."""
        return len(self.increments)

    @property
    def converged(self) -> bool:
        """Whether the last step was below eps_bjorck."""
        return bool(self.iterations and self.increments[-1] < self.eps_bjorck)

    @property
    def orthogonality_error(self) -> float:
        """‖I − WᵀW‖_F of the result, the margin for rounding included."""
        return float(np.linalg.norm(1 - self.constrained**2))


def bjorck_convergence(
    kernel: ArrayLike,
    *,
    eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
    eps_bjorck: float = nm.DEFAULT_EPS_BJORCK,
    beta_bjorck: float = nm.DEFAULT_BETA_BJORCK,
    maxiter_spectral: int = nm.DEFAULT_MAXITER_SPECTRAL,
    maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
    dtype: Literal["float32", "float64"] = "float32",
    seed: int = 0,
    repeats: int = 3,
) -> BjorckConvergence:
    """Run what `SpectralDense` does to a kernel, and record every step.

    The steps are made one by one, as products with the kernel, after a power iteration: by the layers' own code, run in
    NumPy (`lipviz.normalizers.in_numpy`). On a CPU the layers arrive at the same by way of eigenvalues, and divide by
    σ1 itself: see `lipviz.normalizers.sound_orthogonalization`. Where the power iteration has not converged, that can
    take an iteration less.

    Args:
        kernel: Array of shape (..., out), decomposed as the matrix (product of the others, out).
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Björck stops when a step is shorter than this.
        beta_bjorck: Step size of Björck, in ]0, 0.5].
        maxiter_spectral: Largest number of power iterations.
        maxiter_bjorck: Largest number of Björck iterations.
        dtype: "float32", as the layers by default, or "float64".
        seed: Seed of the power iteration's start vector.
        repeats: Number of runs that the time is taken from.

    Returns:
        A `BjorckConvergence`.

    Raises:
        TypeError: If the kernel does not hold real numbers.
        ValueError: If an argument is out of range, or the kernel is no matrix or holds NaN or Inf.
    """
    settings = {
        "eps_spectral": nm.check_positive("eps_spectral", eps_spectral),
        "eps_bjorck": nm.check_positive("eps_bjorck", eps_bjorck),
        "beta_bjorck": nm.check_beta(beta_bjorck),
        "maxiter_spectral": nm.check_count("maxiter_spectral", maxiter_spectral),
        "maxiter_bjorck": nm.check_count("maxiter_bjorck", maxiter_bjorck),
    }
    if beta_bjorck is None:
        raise ValueError("`beta_bjorck` must lie in ]0, 0.5]: None would skip Björck. Received: None")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"`dtype` must be 'float32' or 'float64'. Received: {dtype!r}")
    if nm.check_count("repeats", repeats) < 1:
        raise ValueError(f"`repeats` must be at least 1. Received: {repeats!r}")
    matrix = as_float64_matrix(kernel, "The kernel")
    with np.errstate(over="ignore"):
        cast = matrix.astype(dtype)
    if not np.isfinite(cast).all():
        raise ValueError(f"The kernel must fit into {dtype}. Received entries up to {np.abs(matrix).max():.3g}")
    start = np.random.default_rng(nm.check_seed("seed", seed)).standard_normal((1, matrix.shape[1])).astype(dtype)

    with nm.in_numpy():
        runs = [_run(cast, start, settings) for _ in range(repeats)]
    iterates, increments, estimate, bound = runs[0][0]
    margin = 1 - nm.rounding_margin(matrix.shape, dtype)
    return BjorckConvergence(
        shape=matrix.shape,
        dtype=dtype,
        **settings,
        raw=spectrum(matrix, "The kernel"),
        normalized=spectrum(iterates[0], "The normalized kernel"),
        constrained=spectrum(iterates[-1] * np.asarray(margin, dtype), "The constrained kernel"),
        sigma_bound=bound,
        sigma_estimate=estimate,
        errors=np.array([_distance_to_orthogonal(w) for w in iterates]),
        increments=np.array(increments),
        seconds=float(np.median([seconds for _, seconds in runs])),
    )


def _run(kernel, start, settings):
    """One run: the iterates as arrays (tall), the increments, the estimate and the bound of σ1; and its seconds.

    It stops where `sound_orthogonalization` freezes.
    """
    s = settings
    began = time.perf_counter()
    squarings = nm.bound_squarings(s["eps_bjorck"], s["beta_bjorck"], s["maxiter_bjorck"])
    w, _, estimate, bound = nm.sound_normalization(kernel, start, s["eps_spectral"], s["maxiter_spectral"], squarings)
    increments: list[float] = []
    iterates = [w]
    while len(increments) < s["maxiter_bjorck"] and (not increments or increments[-1] >= s["eps_bjorck"]):
        increment = s["beta_bjorck"] * nm.bjorck_direction(w)
        w = w + increment
        increments.append(float(np.sqrt(np.sum(np.square(increment)))))
        iterates.append(w)
    return (iterates, increments, float(estimate[0, 0]), float(bound[0, 0])), time.perf_counter() - began


def _distance_to_orthogonal(tall):
    tall = tall.astype(np.float64)
    return float(np.linalg.norm(np.eye(tall.shape[1]) - tall.T @ tall))
