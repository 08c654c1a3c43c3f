"""Depthwise convolutions with a Lipschitz constraint on each channel.

A depthwise convolution filters each channel by itself: channel c has `depth_multiplier` filters of its own, and each of
them makes one output channel from it. Its matrix is a direct sum of one block per channel, up to the order of rows and
columns, so

    ‖depthwise‖ = max over c of ‖conv_c‖, exactly,

and each channel is constrained by itself, so that its norm is at most k. The map of one channel is a convolution as in
`lipviz.layers.convolutional`. Its filters form a matrix W_c of shape (height · width, depth_multiplier) that maps
patches to outputs. With P the largest number of patches that share a pixel, ‖conv_c(x)‖² ≤ ‖W_c‖² P ‖x‖². With
dilation, the patches that P counts have gaps. With `bound="tight"` each channel is divided by a bound of its own
operator instead, from the Fourier transform.

References: Chollet (2017), Xception: deep learning with depthwise separable convolutions; Serrurier et al. (2021),
Achieving robustness in classification using optimal transport with hinge regularization, appendix C, for P; Delattre et
al. (2023), Efficient bound of Lipschitz constant for convolutional layers by Gram iteration, for the Fourier transform.
"""

from typing import Any

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.layers.base_convolution import BOUNDS, ConstrainedConv
from lipviz.layers.base_layer import given
from lipviz.normalizers.depthwise import DepthwiseFourierBound
from lipviz.parametrizations import ChannelwiseSpectralParametrization


@keras.saving.register_keras_serializable("lipviz")
class SpectralDepthwiseConv2D(ConstrainedConv, keras.layers.DepthwiseConv2D):
    """Depthwise 2-D convolution that is k-Lipschitz: the filters of each channel are orthogonalized by themselves.

    What is exact: the layer's norm is the largest of the norms of its channels. Where Björck converges, all singular
    values of the matrix (height · width, depth_multiplier) of each channel are k·coef_lip, as for `SpectralDense`. With
    one filter per channel, the default, the only singular value is the Euclidean norm of the filter, and no iteration
    is needed. A kernel that is zero in a channel stays zero there.

    What is a bound: the norm is at most k, for every input size, stride, dilation, kernel and setting
    (`bound="coverage"`). The norm of a channel is k where patches do not overlap (strides = kernel size), and nearly k
    for a constant filter. Channels with random 3×3 filters on images of 8×8 to 32×32 have norms from 0.45 k to 0.97 k.
    With `bound="tight"` the norm of every channel is nearly k: for the same filters, it is between 0.97 k and k.

    Args:
        kernel_size: One or two positive integers, even ones included.
        strides: One or two positive integers; with TensorFlow, two must be equal.
        padding: "same" (zeros) or "valid".
        depth_multiplier: Number of filters, and outputs, of each channel.
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: One or two positive integers; must be 1 if a stride exceeds 1.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        depthwise_initializer: Initializer of the raw kernel. The scale of each channel does not matter.
        bias_initializer: Initializer of the bias.
        depthwise_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        depthwise_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        eps_bjorck: Tolerance of Björck, or None to skip it: each channel is then divided by a bound of its norm.
        beta_bjorck: Step size of Björck in ]0, 0.5].
        maxiter_bjorck: Largest number of Björck iterations in a training step.
        bound: "coverage". Or "tight": each channel is divided by a bound of the norm of its own convolution, found by
            Fourier transform in every step. The sizes of the image must be known at build, and larger images are
            refused later. The bound costs little if no stride exceeds 1 or `depth_multiplier` is at most 2. Otherwise
            it takes several matrix products for each frequency.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, channels). Output shape: (batch, new height, new width, channels ·
    depth_multiplier). Channels come second with "channels_first". A layer that was built for images smaller than its
    patches refuses larger ones, and so does one with `bound="tight"`.

    Raises:
        ValueError: If an argument is out of range, the initial kernel holds NaN or Inf, or the bound needs a size that
            is not known.

    References: see this module.
    """

    vanilla_class = keras.layers.DepthwiseConv2D
    parametrization_class = ChannelwiseSpectralParametrization
    kernel_prefix = "depthwise"
    _bounds = BOUNDS[:2]
    _dilates = True

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "same",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        k_coef_lip: float = 1.0,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
        *,
        bound: str = "coverage",
        **kwargs: Any,
    ) -> None:
        depth_multiplier = nm.check_count("depth_multiplier", depth_multiplier)
        super().__init__(**given(locals()))
        if max(self.strides) > 1:
            self._refuse("dilation_rate", self.dilation_rate, ((1, 1),))

    def _norm_up_to(self, sizes):
        return DepthwiseFourierBound(self.kernel_size, sizes, self.strides, self.padding, dilations=self.dilation_rate)

    def _patches(self, sizes):
        axes = zip(sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        return [nm.patch_coverage(n, k, s, self.padding, dilation=d) for n, k, s, d in axes]

    def _convolved(self, inputs, kernel):
        return ops.depthwise_conv(
            inputs, kernel, self.strides, self.padding, dilation_rate=self.dilation_rate, data_format="channels_last"
        )
