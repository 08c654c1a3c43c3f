"""Toy sets whose geometry is known, and time series that a formula describes."""

import math

import numpy as np

from lipviz import _extras
from lipviz.data.checks import check_integer, check_real
from lipviz.data.splits import Split, generator, size_of_test, sklearn_seed, split


def two_moons(n: int = 1000, noise: float = 0.05, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """Two interleaved half circles of radius 1 in the plane, by ``sklearn.datasets.make_moons``.

    Args:
        n: Number of points, training and test together.
        noise: Standard deviation of the Gaussian noise on each coordinate, in units of the radius.
        test_fraction: Share of the points that is held back for testing, between 0 and 1.
        seed: Seed of the noise and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, 2) and labels 0 and 1 (see
        `class_names`).

    Raises:
        ImportError: If scikit-learn is not installed.
        TypeError: If ``n`` or ``seed`` is not an integer, or another argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have both classes.
    """
    n_test = size_of_test(n, test_fraction, classes=2)
    check_real("noise", noise, lambda v: v >= 0, "a number >= 0")
    rng = generator(seed)
    _extras.need("lipviz.data.two_moons")
    from sklearn.datasets import make_moons

    x, y = make_moons(n, noise=noise, random_state=sklearn_seed(rng))
    return split(x, y, n_test, rng)


def circles(
    n: int = 1000, noise: float = 0.05, factor: float = 0.5, test_fraction: float = 0.2, seed: int = 0
) -> Split:
    """Two concentric circles in the plane, the outer one of radius 1, by ``sklearn.datasets.make_circles``.

    Without noise the classes lie exactly ``1 - factor`` apart.

    Args:
        n: Number of points, training and test together.
        noise: Standard deviation of the Gaussian noise on each coordinate, in units of the outer radius.
        factor: Radius of the inner circle, between 0 and 1.
        test_fraction: Share of the points that is held back for testing, between 0 and 1.
        seed: Seed of the noise and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, 2) and labels 0 (outer) and 1
        (inner).

    Raises:
        ImportError: If scikit-learn is not installed.
        TypeError: If ``n`` or ``seed`` is not an integer, or another argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have both classes.
    """
    n_test = size_of_test(n, test_fraction, classes=2)
    check_real("noise", noise, lambda v: v >= 0, "a number >= 0")
    check_real("factor", factor, lambda v: 0 < v < 1, "a number between 0 and 1, both excluded")
    rng = generator(seed)
    _extras.need("lipviz.data.circles")
    from sklearn.datasets import make_circles

    x, y = make_circles(n, noise=noise, factor=factor, random_state=sklearn_seed(rng))
    return split(x, y, n_test, rng)


def gaussians(
    n: int = 1000,
    classes: int = 2,
    distance: float = 4.0,
    std: float = 1.0,
    dimension: int = 2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Isotropic Gaussian clouds, neighbouring centers ``distance`` apart.

    The centers are the corners of a regular polygon in the first two coordinates, around the origin (on a
    line if ``dimension`` is 1). Two clouds have their centers at ``±distance / 2`` on the first axis. As one
    is a translation of the other, the Wasserstein-1 distance between their distributions is exactly ``distance``, and
    the error of the best classifier is Φ(-distance / (2 std)), with Φ the distribution function of a standard
    Gaussian.

    Args:
        n: Number of points, training and test together; class sizes differ by at most one.
        classes: Number of clouds, at least 2.
        distance: Distance between neighbouring centers, positive.
        std: Standard deviation of each coordinate within a cloud, positive.
        dimension: Number of coordinates, at least 1.
        test_fraction: Share of the points that is held back for testing, between 0 and 1.
        seed: Seed of the clouds and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, dimension), labels 0 … classes - 1.

    Raises:
        TypeError: If a count or ``seed`` is not an integer, or another argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have every class.
    """
    check_integer("classes", classes, at_least=2)
    check_integer("dimension", dimension, at_least=1)
    check_real("distance", distance, lambda v: v > 0, "a number > 0")
    check_real("std", std, lambda v: v > 0, "a number > 0")
    n_test = size_of_test(n, test_fraction, classes)
    rng = generator(seed)
    y = np.arange(n) % classes
    x = _centers(classes, distance, dimension)[y] + std * rng.standard_normal((n, dimension))
    return split(x, y, n_test, rng)


def squares(
    n: int = 1000,
    size: int = 64,
    side: int = 35,
    value: float = 1.0,
    random_position: bool = False,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Images that are all black (class 0) or show one bright square on black (class 1).

    The Wasserstein-1 distance between the classes, for the Euclidean distance between images, is exactly
    ``value * side``: 35 by default. All black images are the same, so there is only one transport plan. It moves
    every image with a square to the black one, and the distance of the two is ``sqrt(side² · value²)``, wherever
    the square is.

    Args:
        n: Number of images, training and test together; class sizes differ by at most one.
        size: Height and width of the images in pixels.
        side: Side of the square in pixels, from 1 to ``size``.
        value: Brightness of the square, in ]0, 1].
        random_position: False centers every square, so that all images of a class are the same (the setting
            of the published example); True draws a position for each.
        test_fraction: Share of the images that is held back for testing, between 0 and 1.
        seed: Seed of the positions and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, size, size, 1).

    Raises:
        TypeError: If a count, a size or ``seed`` is not an integer, ``random_position`` is not a bool, or another
            argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have both classes.
    """
    n_test = size_of_test(n, test_fraction, classes=2)
    check_integer("size", size, at_least=1)
    check_integer("side", side, at_least=1, at_most=size)
    check_real("value", value, lambda v: 0 < v <= 1, "a number in ]0, 1]")
    if not isinstance(random_position, bool):
        raise TypeError(f"random_position: expected True or False, received {random_position!r}.")
    rng = generator(seed)
    y = np.arange(n) % 2
    x = np.zeros((n, size, size, 1), np.float32)
    free = size - side
    for image in x[1::2]:  # A view, where x[y == 1] would be a copy.
        top, left = rng.integers(free + 1, size=2) if random_position else (free // 2, free // 2)
        image[top : top + side, left : left + side] = value
    return split(x, y, n_test, rng)


def cylinder_bell_funnel(
    n: int = 900, length: int = 128, noise: float = 1.0, test_fraction: float = 0.2, seed: int = 0
) -> Split:
    """Time series of three shapes in noise: a plateau (cylinder), a rise (bell) and a fall (funnel), by Saito (1994).

    With χ = 1 for a ≤ t ≤ b and 0 elsewhere, and t = 1 … length, the series are::

        cylinder: (6 + η) χ(t) + ε(t)
        bell:     (6 + η) χ(t) (t - a) / (b - a) + ε(t)
        funnel:   (6 + η) χ(t) (b - t) / (b - a) + ε(t)

    η and all ε(t) are standard Gaussians, ε times `noise`. At the length 128, a is a whole number from 16 to 32, and
    b - a one from 32 to 96, each with the same probability; at other lengths, these are in proportion.

    Reference: Saito (1994), Local feature extraction and its applications using a library of bases, section 5.3.

    Args:
        n: Number of series, training and test together; class sizes differ by at most one.
        length: Number of steps, at least 16.
        noise: Standard deviation of the noise at each step.
        test_fraction: Share of the series that is held back for testing, between 0 and 1.
        seed: Seed of the series and of the split.

    Returns:
        ``(x_train, y_train), (x_test, y_test)`` with ``x`` of shape (n, length, 1), labels 0 (cylinder), 1 (bell) and
        2 (funnel).

    Raises:
        TypeError: If a count or ``seed`` is not an integer, or another argument is not a number.
        ValueError: If an argument is out of range, or ``n`` is too small for both parts to have every class.
    """
    check_integer("length", length, at_least=16)
    check_real("noise", noise, lambda v: v >= 0, "a number >= 0")
    n_test = size_of_test(n, test_fraction, classes=3)
    rng = generator(seed)
    y = np.arange(n) % 3
    begin = rng.integers(length // 8, length // 4, size=(n, 1), endpoint=True)
    width = rng.integers(length // 4, 3 * length // 4, size=(n, 1), endpoint=True)
    height = 6 + rng.standard_normal((n, 1))
    steps = np.arange(1, length + 1)
    share = (steps - begin) / width  # from 0 to 1 within the shape
    shapes = np.select([y[:, None] == 0, y[:, None] == 1], [np.ones_like(share), share], 1 - share)
    x = height * np.where((share >= 0) & (share <= 1), shapes, 0.0) + noise * rng.standard_normal((n, length))
    return split(x[..., np.newaxis], y, n_test, rng)


def _centers(classes: int, distance: float, dimension: int) -> np.ndarray:
    """Centers (classes, dimension) around the origin, neighbours ``distance`` apart."""
    centers = np.zeros((classes, dimension))
    if dimension == 1:
        centers[:, 0] = distance * (np.arange(classes) - (classes - 1) / 2)
        return centers
    angle = math.pi + 2 * math.pi * np.arange(classes) / classes
    radius = distance / (2 * math.sin(math.pi / classes))
    centers[:, 0], centers[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return centers
