"""LipSDP-Neuron of small networks by an interior-point method, to compare the semidefinite bounds of lipviz with.

Its variables are the square of the constant and a multiplier for each neuron, so that its time grows with the sixth
power of the widths. The result is only as sound as the solver (Clarabel) is exact.

Reference: Fazlyab, Robey, Hassani, Morari and Pappas (2019), Efficient and accurate estimation of Lipschitz constants
for deep neural networks.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from lipviz.types import Array


def lipsdp(matrices: Sequence[Array], low: float = 0.0, high: float = 1.0) -> float:
    """The Lipschitz constant in l2 of x → W_l φ(W_{l−1} … φ(W_1 x)), by LipSDP-Neuron.

    Args:
        matrices: W_1, …, W_l, each of shape (outputs, inputs), float64.
        low: Smallest slope of φ.
        high: Largest slope of φ.

    Raises:
        ImportError: If Clarabel is not installed.
    """
    import clarabel

    sizes = [w.shape[1] for w in matrices]
    total = sum(sizes)
    rest = np.zeros((total, total))
    rest[total - sizes[-1] :, total - sizes[-1] :] = -matrices[-1].T @ matrices[-1]
    terms = list(_terms(matrices[:-1], sizes, low, high))
    columns, rows = np.tril_indices(total)  # the upper triangle, column by column
    weights = np.where(rows == columns, 1, np.sqrt(2))
    linear = np.stack([-term[rows, columns] * weights for term in terms], axis=1)
    linear = scipy.sparse.csc_matrix(np.concatenate([linear, -np.eye(len(terms))[1:]]))
    constant = np.concatenate([rest[rows, columns] * weights, np.zeros(len(terms) - 1)])
    cones = [clarabel.PSDTriangleConeT(int(total)), clarabel.NonnegativeConeT(len(terms) - 1)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    nothing, cost = scipy.sparse.csc_matrix((len(terms), len(terms))), np.eye(len(terms))[0]
    solved = clarabel.DefaultSolver(nothing, cost, linear, constant, cones, settings).solve()
    return float(np.sqrt(solved.x[0]))


def _terms(matrices, sizes, low, high):
    """The matrices of the quadratic forms: the squared norm of the input, then one for each neuron."""
    starts = np.cumsum([0, *sizes])
    total = starts[-1]
    yield np.diag((np.arange(total) < sizes[0]).astype(float))
    for number, w in enumerate(matrices):
        for row, weights in enumerate(w):
            z, v = np.zeros(total), np.zeros(total)
            z[starts[number] : starts[number + 1]] = weights
            v[starts[number + 1] + row] = 1
            mixed = np.outer(v, z) + np.outer(z, v)
            yield 2 * np.outer(v, v) + 2 * low * high * np.outer(z, z) - (low + high) * mixed
