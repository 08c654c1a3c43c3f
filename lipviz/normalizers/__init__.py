"""Pure numerics on kernels: power iteration, Björck orthogonalization, RKO and sound spectral bounds.

There are two families. `spectral_normalization`, `bjorck_normalization` and `reshaped_kernel_orthogonalization` follow
the formulas of the reference library exactly. These formulas guarantee no bound: a power iteration estimates σ1 from
*below*, so the norm of the result may exceed 1. `sound_orthogonalization` is what the layers use. It divides by an
upper bound of σ1 instead, so that its result is at most 1-Lipschitz for every finite kernel.

Everything is written in `keras.ops`. Loops have a static number of steps, and change nothing after they have converged,
because JAX cannot differentiate a `while` loop in reverse mode. Within `in_numpy` the same code runs on NumPy arrays.

References:
    Björck and Bowie (1971), An iterative algorithm for computing the best estimate of an orthogonal matrix.
    Anil, Lucas and Grosse (2019), Sorting out Lipschitz function approximation.
    Miyato et al. (2018), Spectral normalization for generative adversarial networks.
    Delattre et al. (2023), Efficient bound of Lipschitz constant for convolutional layers by Gram iteration.
"""

from lipviz.normalizers._operations import in_numpy
from lipviz.normalizers.backends import as_one_call, as_one_trace, builds_graph, with_gradient_of
from lipviz.normalizers.bounds import (
    bound_squarings,
    deflated_bound,
    floating,
    rounding_margin,
    schatten_bound,
    unit_scaled,
)
from lipviz.normalizers.checks import (
    DEFAULT_BETA_BJORCK,
    DEFAULT_EPS_BJORCK,
    DEFAULT_EPS_SPECTRAL,
    DEFAULT_MAXITER_BJORCK,
    DEFAULT_MAXITER_SPECTRAL,
    as_number,
    check_beta,
    check_count,
    check_factor,
    check_flag,
    check_orthogonalization,
    check_positive,
    check_seed,
)
from lipviz.normalizers.circular import Circle, circular_reflector
from lipviz.normalizers.convolution import get_conv_operators, spectral_normalization_conv
from lipviz.normalizers.depthwise import channel_matrices, channelwise_orthogonalization
from lipviz.normalizers.eigenvalues import decomposing_pays, without_eigenvalues
from lipviz.normalizers.gram import GramIteration
from lipviz.normalizers.iterations import (
    as_matrix,
    bjorck_direction,
    bjorck_normalization,
    bjorck_step,
    l2_normalize,
    reshaped_kernel_orthogonalization,
    set_stop_grad_spectral,
    spectral_normalization,
)
from lipviz.normalizers.orthogonal import (
    block_reflector,
    cayley,
    orthogonal_convolution,
    orthogonal_parameters,
)
from lipviz.normalizers.patches import image_size, patch_coverage, patches_along, shared_patches
from lipviz.normalizers.rescaling import AlmostOrthogonal, almost_orthogonal, autocorrelation_sums
from lipviz.normalizers.sound import (
    sound_normalization,
    sound_orthogonalization,
    sound_orthogonalization_of_values,
)

__all__ = [
    "DEFAULT_BETA_BJORCK",
    "DEFAULT_EPS_BJORCK",
    "DEFAULT_EPS_SPECTRAL",
    "DEFAULT_MAXITER_BJORCK",
    "DEFAULT_MAXITER_SPECTRAL",
    "AlmostOrthogonal",
    "Circle",
    "GramIteration",
    "almost_orthogonal",
    "as_matrix",
    "as_number",
    "as_one_call",
    "as_one_trace",
    "autocorrelation_sums",
    "bjorck_direction",
    "bjorck_normalization",
    "bjorck_step",
    "block_reflector",
    "bound_squarings",
    "builds_graph",
    "cayley",
    "channel_matrices",
    "channelwise_orthogonalization",
    "check_beta",
    "check_count",
    "check_factor",
    "check_flag",
    "check_orthogonalization",
    "check_positive",
    "check_seed",
    "circular_reflector",
    "decomposing_pays",
    "deflated_bound",
    "floating",
    "get_conv_operators",
    "image_size",
    "in_numpy",
    "l2_normalize",
    "orthogonal_convolution",
    "orthogonal_parameters",
    "patch_coverage",
    "patches_along",
    "reshaped_kernel_orthogonalization",
    "rounding_margin",
    "schatten_bound",
    "set_stop_grad_spectral",
    "shared_patches",
    "sound_normalization",
    "sound_orthogonalization",
    "sound_orthogonalization_of_values",
    "spectral_normalization",
    "spectral_normalization_conv",
    "unit_scaled",
    "with_gradient_of",
    "without_eigenvalues",
]
