"""Certified radii of a network as it is deployed, from bounds of its rounding errors in balls of several radii."""

import numpy as np

from lipviz.certification.deployed import Deployed
from lipviz.certification.scores import decisions, gaps_of
from lipviz.rules.bound import root_of_squares
from lipviz.types import Array

# Balls for which errors are bounded, relative to the radius without errors. A radius is certified within one of them.
_BALLS = np.array([1, 0.999, 0.99, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.03, 0.01])
_LARGEST_BALL = 1e3  # relative to the sample, where no change can change the decision


def radii_of_part(
    deployed: Deployed, x: Array, bounds: Array, labels: Array | None, local: bool
) -> tuple[Array, Array, Array, Array]:
    """Certified radii of some samples.

    Args:
        deployed: The network.
        x: The samples, one of the `batches` of the network, float64.
        bounds: Lipschitz constants of the differences of logits, of shape (C, C).
        labels: Class numbers of shape (n,); None does not compare.
        local: Whether balls grow, see `Deployed.near`.

    Returns:
        The tuple (radii, predictions, margins, whether a number may overflow at the sample itself), each of shape (n,).
    """
    scores = deployed.scores(x)
    predicted = decisions(scores)
    gaps, constants = gaps_of(scores, predicted, bounds)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.where(gaps > 0, gaps / constants, 0.0).min(axis=1)
    balls = _balls(x, largest)
    errors, overflows = deployed.errors(x, balls, predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = (gaps * (1 - 1e-9) - deployed.least)[:, :, None] - errors
        radii = np.where(left > 0, left / constants[:, :, None], 0.0).min(axis=1) * (1 - 1e-9)
    radii = np.where(overflows, 0.0, np.minimum(radii, balls)).max(axis=1)
    if local:
        wanted = (radii > 0) & (True if labels is None else predicted == labels)
        radii = np.maximum(radii, _grown_radii(deployed, x, predicted, gaps, constants, wanted))
    return radii, predicted, gaps.min(axis=1), np.asarray(overflows.all(axis=1))


def _balls(x, largest):
    """Radii of balls for which errors are bounded, (n, K)."""
    sizes = root_of_squares(x.reshape(len(x), -1), axis=1)
    return np.minimum(largest, _LARGEST_BALL * (1 + sizes))[:, None] * _BALLS


def _grown_radii(deployed, x, predicted, gaps, constants, wanted):
    """Radii of a deployed network by balls that grow: 0 where they prove nothing.

    The balls of the exact function grow until the margin is used up, and once more with the margin that is left by the
    errors in one of the balls. That is the ball which promises most, if a radius shrinks no more than its margin.
    """
    near, none, rows = deployed.near(x), np.zeros_like(constants), np.arange(len(x))
    gaps = gaps * (1 - 1e-9) - deployed.least
    largest = near.grown(_of_gaps(gaps, constants), predicted, gaps, none, constants, wanted)
    balls = _balls(x, largest)
    errors, overflows = deployed.errors(x, balls, predicted)
    left = gaps[:, :, None] - errors
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(left > 0, np.where(np.isinf(gaps)[:, :, None], 1.0, left / gaps[:, :, None]), 0.0).min(axis=1)
    promised = np.where(overflows, 0.0, np.minimum(balls, shares * largest[:, None]))
    best = promised.argmax(axis=1)
    left, wanted = left[rows, :, best], wanted & (promised[rows, best] > 0)
    radii = near.grown(_of_gaps(left, constants), predicted, left, none, constants, wanted)
    return np.where(wanted, np.minimum(radii, balls[rows, best]), 0.0)


def _of_gaps(gaps, constants):
    """Radii by constants that hold everywhere, (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gaps > 0, gaps / constants, 0.0).min(axis=1) * (1 - 1e-9)
