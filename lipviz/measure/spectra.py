"""Singular values of kernels, by SVD in float64: of the raw kernel, and of the kernel that a layer uses."""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.layers import ConstrainedKernel
from lipviz.operators.weights import as_float64_matrix, layers_with_kernel, raw_kernel
from lipviz.parametrizations import SpectralParametrization
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike, Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class LayerSpectrum:
    """Singular values of one kernel, descending, in float64.

    Attributes:
        name: Name of the layer.
        shape: Shape of the kernel; (outputs, inputs) of an operator.
        raw: Singular values of the raw kernel, of shape (min(rows, columns),).
        normalized: Singular values of the kernel before Björck, times k: the raw kernel divided by the layer's bound of
            its norm. None where the layer has no such step.
        constrained: Singular values of the constrained kernel that inference uses. None for a layer without a
            constraint.
        k: The layer's Lipschitz factor; 1 without a constraint.
        view: What was decomposed. "matrix": a kernel with two axes. "reshaped kernel": a kernel with more axes, such as
            that of a convolution, as a matrix of shape (product of the other axes, out), not the operator on images.
            "operator": the linear map of the layer on a whole input, see `operator_spectra`.
    """

    name: str
    shape: tuple[int, ...]
    raw: np.ndarray = dataclasses.field(repr=False)
    normalized: np.ndarray | None = dataclasses.field(repr=False)
    constrained: np.ndarray | None = dataclasses.field(repr=False)
    k: float
    view: str

    @property
    def used(self) -> Array:
        """Singular values of the kernel that inference uses."""
        return self.raw if self.constrained is None else self.constrained

    @property
    def largest(self) -> float:
        """Largest singular value of the kernel that inference uses."""
        return float(self.used[0])

    @property
    def smallest(self) -> float:
        """Smallest singular value of the kernel that inference uses."""
        return float(self.used[-1])

    @property
    def orthogonality_error(self) -> float:
        """‖I − WᵀW/k²‖_F of the kernel that inference uses; W Wᵀ for a wide one."""
        return float(np.linalg.norm(1 - (self.used / self.k) ** 2))

    @property
    def orthogonality_error_spectral(self) -> float:
        """The same in the spectral norm: the largest ``|1 − σ²/k²|``."""
        return float(np.abs(1 - (self.used / self.k) ** 2).max())


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkSpectrum:
    """Spectra of all layers of a model that have a kernel. It is a sequence, and layers are found by name, too.

    Attributes:
        name: Name of the model.
        layers: Tuple of `LayerSpectrum`.
    """

    name: str
    layers: tuple[LayerSpectrum, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[LayerSpectrum]:
        return iter(self.layers)

    def __getitem__(self, key: int | str) -> LayerSpectrum:
        """The spectrum of a layer, by position or by name. A KeyError lists the names."""
        if not isinstance(key, str):
            return self.layers[key]
        by_name = {layer.name: layer for layer in self.layers}
        if key not in by_name:
            raise KeyError(f"No layer {key!r}. There are: {', '.join(by_name)}")
        return by_name[key]

    @property
    def largest(self) -> float:
        """Largest σ/k of all layers: at most 1 where every constraint holds."""
        return max(layer.largest / layer.k for layer in self.layers)


def singular_values(target: keras.Layer | ArrayLike) -> LayerSpectrum | NetworkSpectrum:
    """Decompose the kernel of a layer, all kernels of a model, or a matrix.

    What inference uses now is measured, and nothing is changed. The kernel of a convolution
    is decomposed as a reshaped matrix, see `LayerSpectrum.view`; `operator_spectra` decomposes the convolution.

    Args:
        target: Built Keras layer (of lipviz or plain), built model (nested ones included), or 2-D array.

    Returns:
        A `LayerSpectrum`; for a model, or a layer that wraps several with a kernel, a `NetworkSpectrum`.

    Raises:
        TypeError: If it does not hold real numbers.
        ValueError: If it is not built, has no kernel, is no matrix, or holds NaN or Inf (with the layer's name).
    """
    if isinstance(target, keras.layers.Layer):
        spectra = tuple(_of_layer(name, layer) for name, layer in layers_with_kernel(target).items())
        return (
            spectra[0]
            if len(spectra) == 1 and not isinstance(target, keras.Model)
            else NetworkSpectrum(target.name, spectra)
        )
    array = as_float64(target, "The matrix")
    if array.ndim != 2:
        raise ValueError(f"Expected a layer, a model or a 2-D array. Received an array of shape: {array.shape}")
    return LayerSpectrum("matrix", array.shape, spectrum(array, "The matrix"), None, None, 1.0, "matrix")


def spectrum(kernel: ArrayLike, owner: str) -> Array:
    """Singular values of a kernel as a matrix, descending, float64.

    Args:
        kernel: Array, tensor or variable of shape (..., out).
        owner: Words that name it in an error.

    Raises:
        TypeError: If it does not hold real numbers.
        ValueError: If it is no kernel, or holds NaN or Inf.
    """
    values = np.linalg.svd(as_float64_matrix(kernel, owner), compute_uv=False)
    values.flags.writeable = False
    return values


def layer_spectrum(layer: keras.Layer, kernel: Tensor, owner: str) -> Array:
    """`spectrum` of a kernel of a layer: of all matrices that its constraint acts on, where it has one."""
    if not isinstance(layer, ConstrainedKernel):
        return spectrum(kernel, owner)
    matrices = layer.parametrization.as_matrices(as_float64_matrix(kernel, owner).reshape(kernel.shape))
    values = np.sort(np.linalg.svd(matrices, compute_uv=False), axis=None)[::-1]
    values.flags.writeable = False
    return values


def _of_layer(name, layer):
    kernel: Tensor = raw_kernel(layer)
    shape = tuple(kernel.shape)
    bound = isinstance(layer, ConstrainedKernel)
    return LayerSpectrum(
        name=name,
        shape=shape,
        raw=layer_spectrum(layer, kernel, f"The kernel of '{name}'"),
        normalized=_normalized(name, layer) if bound else None,
        constrained=layer_spectrum(layer, layer.used_kernel(), f"The constrained kernel of '{name}'")
        if bound
        else None,
        k=layer.k_coef_lip if bound else 1.0,
        view="matrix" if len(shape) == 2 else "reshaped kernel",
    )


def _normalized(name, layer):
    """Singular values of the kernel after the layer's first step, before Björck."""
    normalized = normalized_matrix(layer)
    if normalized is None:
        return None
    return layer.k_coef_lip * spectrum(normalized, f"The normalized kernel of '{name}'")


def normalized_matrix(layer: keras.Layer) -> Array | None:
    """Kernel of a constrained layer after its first step, the normalization: before Björck, and without k.

    Args:
        layer: Built constrained layer.

    Returns:
        An array of shape (product of the other axes, out), in the dtype of `wbar`; None where there is no such step.
    """
    p = layer.parametrization
    if not isinstance(p, SpectralParametrization):
        return None
    w = ops.convert_to_numpy(nm.as_matrix(ops.cast(ops.convert_to_tensor(layer.raw_kernel), p.variable_dtype)))
    squarings = nm.bound_squarings(p.eps_bjorck, p.beta_bjorck, p.maxiter_bjorck)
    u = ops.convert_to_numpy(p.u)
    with nm.in_numpy():
        normalized = nm.sound_normalization(w, u, p.eps_spectral, p.maxiter_spectral, squarings)[0]
    return normalized.T if w.shape[0] < w.shape[1] else normalized
