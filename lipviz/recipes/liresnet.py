"""A deep certified network for images of CIFAR-10's kind: linear residual convolutions (LiResNet), and what it costs.

The network, for images whose sides are multiples of 8 (others are padded with zeros):

    stem      convolution 5×5 with stride 2, GroupSort2
    blocks    `depth` times: convolution x + W·x of 3×3, GroupSort2
    neck      convolution 4×4 with stride 4, one dense layer, GroupSort2
    units     `dense_depth` times: dense layer x + W·x, GroupSort2
    head      one unit per class, each with a kernel of norm 1

A block is linear before its sort. So its kernel I + W is constrained as one kernel, and the block is 1-Lipschitz (see
`lipviz.initializers.IdentityInitializer`). With a nonlinear branch, only the sum of both constants would be proved.

References:
    Hu et al. (2023), Unlocking deterministic robustness certification on ImageNet, arXiv 2301.12549, for the network
    and EMMA, the loss. The paper divides by estimates of norms in training; here every step has proved bounds.
    Hu et al. (2024), A recipe for improved certifiable robustness, arXiv 2310.02513, for the dense blocks.
    Singla, Singla and Feizi (2022), for the normalization of the last layer's rows.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras

from lipviz import layers
from lipviz import normalizers as nm
from lipviz.initializers import IdentityInitializer
from lipviz.model import Sequential
from lipviz.normalizers.fourier import FourierBound
from lipviz.recipes.networks import LOGITS

BLOCKS = {"SpectralConv2D": {"bound": "tight", "eps_bjorck": None}, "AOLConv2D": {}}
"""The convolutions that can be residual blocks, with their arguments."""

_STEM, _BLOCK, _NECK = (5, 2), (3, 1), (4, 4)  # taps and stride of each convolution
# Squarings of Gram matrices in the bound of a convolution: of small images, and of large ones at most frequencies.
_SQUARINGS, _FIRST_SQUARINGS = 9, 5
_COPIES = 6  # of each kernel: raw, constrained, and its origin; the gradient; two of Adam


@dataclasses.dataclass(frozen=True)
class LiResNet:
    """The sizes of a LiResNet: builds the network, and says on paper what a training costs.

    The default is a smaller relative of the network for CIFAR-10 in the second paper, which is about
    `LiResNet(width=512, units=2048, dense_depth=8)`.

    Attributes:
        width: Number of channels of each block, even.
        depth: Number of residual convolutions.
        units: Number of units of the dense layers, even.
        dense_depth: Number of residual dense layers.
        block: Class of the residual convolutions. "SpectralConv2D" has a tight bound, whose cost grows with the third
            power of the width: see `estimate`. "AOLConv2D" costs much less, and its norms are smaller.

    Raises:
        TypeError: If a number is none.
        ValueError: If a size is out of range, odd where it must be even, or the block is unknown.
    """

    width: int = 128
    depth: int = 12
    units: int = 1024
    dense_depth: int = 2
    block: str = "SpectralConv2D"

    def __post_init__(self):
        _check_counts(self, width=2, depth=0, units=2, dense_depth=0)
        for name in ("width", "units"):  # GroupSort2 sorts pairs
            if getattr(self, name) % 2:
                raise ValueError(f"`{name}` must be even, for GroupSort2. Received: {name}={getattr(self, name)}")
        if self.block not in BLOCKS:
            raise ValueError(f"`block` must be one of {', '.join(BLOCKS)}. Received: block={self.block!r}")

    def build(self, input_shape: Sequence[int], classes: int) -> Sequential:
        """The network, not compiled. Up to its head it is 1-Lipschitz, and so is each of its outputs.

        It is made within the distribution that is active, such as the scope of a `tf.distribute.MirroredStrategy`, or
        the one that `keras.distribution.set_distribution` has set.

        Args:
            input_shape: (height, width, channels) of an image.
            classes: Number of classes, at least 2.

        Raises:
            TypeError: If a number is none.
            ValueError: If a number is too small, or the shape has not three sizes.
        """
        images = _Images(input_shape, classes)
        parts: list[Any] = [keras.Input(images.shape)]
        if any(map(any, images.missing)):
            parts.append(keras.layers.ZeroPadding2D(images.missing))
        parts += [_convolution(self.width, *_STEM, bound="tight"), layers.GroupSort2()]
        for _ in range(self.depth):
            parts += [self._residual(), layers.GroupSort2()]
        parts += [_convolution(self.width, *_NECK, padding="valid"), keras.layers.Flatten()]
        parts += [layers.SpectralDense(self.units), layers.GroupSort2()]
        for _ in range(self.dense_depth):
            parts += [layers.SpectralDense(self.units, kernel_initializer=IdentityInitializer()), layers.GroupSort2()]
        return Sequential([*parts, layers.FrobeniusDense(images.classes, name=LOGITS)])

    def _residual(self):
        kind = getattr(layers, self.block)
        return kind(self.width, _BLOCK[0], kernel_initializer=IdentityInitializer(), **BLOCKS[self.block])

    def estimate(
        self,
        input_shape: Sequence[int] = (32, 32, 3),
        classes: int = 10,
        samples: int = 50_000,
        batch_size: int = 256,
    ) -> "Cost":
        """What an epoch costs, on paper: nothing is built. The defaults are those of CIFAR-10.

        Args:
            input_shape: See `build`.
            classes: See `build`.
            samples: Number of training samples.
            batch_size: Number of samples in a step.

        Returns:
            A `Cost`.

        Raises:
            TypeError: See `build`.
            ValueError: If a number is too small, or the shape has not three sizes.
        """
        images = _Images(input_shape, classes)
        kernels = list(self._kernels(images))
        return Cost(
            parameters=sum(entries for entries, _ in kernels),
            multiply_adds=sum(entries * places for entries, places in kernels),
            constraint_multiply_adds=self._constraints(images),
            activations=self._activations(images),
            samples=samples,
            batch_size=batch_size,
        )

    def _behind_neck(self, images):
        return images.pixels // _NECK[1] ** 2 * self.width

    def _kernels(self, images):
        """Of each kernel the number of entries, and the number of places where it is applied to an image."""
        yield _STEM[0] ** 2 * images.shape[2] * self.width, images.pixels
        yield from [(_BLOCK[0] ** 2 * self.width**2, images.pixels)] * self.depth
        yield _NECK[0] ** 2 * self.width**2, images.pixels // _NECK[1] ** 2
        yield self._behind_neck(images) * self.units, 1
        yield from [(self.units**2, 1)] * self.dense_depth
        yield self.units * images.classes, 1

    def _activations(self, images):
        """Numbers of an image that the backward pass reads: inputs of all kernels and sorts, and the logits."""
        sorts = (1 + self.depth) * images.pixels * self.width + (1 + self.dense_depth) * self.units
        return math.prod(images.shape) + 2 * sorts + self._behind_neck(images) + images.classes

    def _constraints(self, images):
        """Multiply-adds of all constraints of a step."""
        width, channels = self.width, images.shape[2]
        if self.block == "SpectralConv2D":
            block = _fourier(_BLOCK, images.sides, width, width)
        else:  # the products of the kernel with itself, moved to (2·3 − 1)² places, and their gradient
            block = 3 * (2 * _BLOCK[0] - 1) ** 2 * _BLOCK[0] ** 2 * width**3
        matrices = [
            (_STEM[0] ** 2 * channels, width),
            (_NECK[0] ** 2 * width, width),
            (self._behind_neck(images), self.units),
            *[(self.units, self.units)] * self.dense_depth,
        ]
        stem = _fourier(_STEM, [_STEM[1] * side for side in images.sides], channels, width)
        return stem + self.depth * block + sum(_orthogonalization(*matrix) for matrix in matrices)


class _Images:
    """The images of a network: what is checked, and the sizes that follow.

    Attributes:
        shape: (height, width, channels).
        classes: Number of classes.
        sides: Height and width behind the stem.
        pixels: Their product.
        missing: Pairs (before, after) of zeros that are added along each axis.
    """

    def __init__(self, input_shape, classes):
        if not isinstance(input_shape, tuple | list) or len(input_shape) != 3:
            raise ValueError(f"`input_shape` must be (height, width, channels). Received: {input_shape!r}")
        self.shape, self.classes = tuple(input_shape), classes
        for name, value, least in (("classes", classes, 2), *(("input_shape", size, 1) for size in input_shape)):
            _check_count(name, value, least)
        cell = _STEM[1] * _NECK[1]
        self.sides = tuple(cell * -(-side // cell) // _STEM[1] for side in self.shape[:2])
        self.pixels = math.prod(self.sides)
        lacks = [_STEM[1] * inner - side for inner, side in zip(self.sides, self.shape, strict=False)]
        self.missing = [(lack // 2, lack - lack // 2) for lack in lacks]


def _check_count(name, value, least):
    if nm.check_count(name, value) < least:
        raise ValueError(f"`{name}` must be at least {least}. Received: {name}={value}")


def _check_counts(owner, **least):
    for name, smallest in least.items():
        _check_count(name, getattr(owner, name), smallest)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a training costs, counted on paper in float32. One multiply-add is two floating-point operations.

    Attributes:
        parameters: Number of entries of all kernels.
        multiply_adds: Multiply-adds of one image, forward.
        constraint_multiply_adds: Those of the constraints of one step, with their gradients. They do not depend on the
            batch size.
        activations: Numbers per image that are kept for the backward pass.
        samples: Number of training samples.
        batch_size: Number of samples in a step.

    Raises:
        ValueError: If there are no samples, or the batch is empty.
    """

    parameters: int
    multiply_adds: int
    constraint_multiply_adds: int
    activations: int
    samples: int
    batch_size: int

    def __post_init__(self):
        _check_counts(self, samples=1, batch_size=1)

    @property
    def steps(self) -> int:
        """Number of steps of an epoch."""
        return -(-self.samples // self.batch_size)

    @property
    def step_multiply_adds(self) -> int:
        """Multiply-adds of a step: the gradients of inputs and kernels cost as much as the forward pass each."""
        return 3 * self.batch_size * self.multiply_adds + self.constraint_multiply_adds

    @property
    def memory_bytes(self) -> int:
        """Bytes of a step: six numbers for each parameter, and the activations. Workspaces come on top."""
        return 4 * (_COPIES * self.parameters + self.batch_size * self.activations)

    def epoch_seconds(self, multiply_adds_per_second: float) -> float:
        """Seconds of an epoch on a machine that makes so many multiply-adds per second in this network.

        Raises:
            ValueError: If the number is not positive.
        """
        rate = nm.check_positive("multiply_adds_per_second", multiply_adds_per_second)
        return self.steps * self.step_multiply_adds / rate

    def __str__(self):
        share = self.constraint_multiply_adds / self.step_multiply_adds
        return (
            f"{_number(self.parameters / 1e6)} million parameters. A step of {self.batch_size} images: "
            f"{_number(self.step_multiply_adds / 1e9)} billion multiply-adds, {share:.0%} of them for constraints, "
            f"{self.memory_bytes / 2**30:.2g} GiB. An epoch: {self.steps} steps."
        )


def _number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _convolution(width, taps, stride, **arguments):
    return layers.SpectralConv2D(width, taps, strides=stride, **arguments)


def _fourier(convolution, sides, inputs, outputs):
    """Multiply-adds of the bound of a convolution: symbols with their gradient, and squarings of Gram matrices."""
    taps, stride = convolution
    bound = FourierBound((taps, taps), tuple(sides), (stride, stride), "same")
    side = min(stride**2 * inputs, outputs)
    frequencies = sum(math.prod(map(len, grid)) for grid in bound.grids)
    symbols = 3 * 2 * taps**2 * inputs * outputs
    squarings = (4 + 3 * (_SQUARINGS if bound.is_section else _FIRST_SQUARINGS)) * side**3
    outputs_of_image = math.prod(bound.counts)
    section = (_SQUARINGS * outputs_of_image + 2 * frequencies) * outputs_of_image**2 if bound.is_section else 0
    return frequencies * (symbols + squarings) + section


def _orthogonalization(rows, columns):
    """Multiply-adds of Björck by eigenvalues: eight products with the kernel, and a decomposition worth 21 products."""
    small = min(rows, columns)
    return 8 * rows * columns * small + 27 * small**3
