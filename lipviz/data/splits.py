"""Order, split and subsets of samples, so that every prefix has the classes in the proportions of the whole."""

import numpy as np

from lipviz.data.checks import check_integer, check_real

Samples = tuple[np.ndarray, np.ndarray]
Split = tuple[Samples, Samples]


def generator(seed: int) -> np.random.Generator:
    """The generator of a seed, a whole number from 0 on."""
    check_integer("seed", seed, at_least=0)
    return np.random.default_rng(int(seed))


def sklearn_seed(rng: np.random.Generator) -> int:
    """Seed for scikit-learn, which takes no Generator."""
    return int(rng.integers(2**32))


def size_of_test(n: int, test_fraction: float, classes: int) -> int:
    """Number of test samples out of n, checked so that every class can be in both parts of the split."""
    check_integer("n", n, at_least=2 * classes)
    check_real("test_fraction", test_fraction, lambda v: 0 < v < 1, "a number between 0 and 1, both excluded")
    n_test = round(n * test_fraction)
    if not classes <= n_test <= n - classes:
        raise ValueError(
            f"n and test_fraction: expected at least {classes} training and {classes} test samples, one for "
            f"each class, received n={n} and test_fraction={test_fraction}: {n - n_test} and {n_test}."
        )
    return n_test


def check_subset_sizes(n_train: int | None, n_test: int | None) -> None:
    """Check the counts before any file is read."""
    for name, n in (("n_train", n_train), ("n_test", n_test)):
        if n is not None:
            check_integer(name, n, at_least=1)


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of the samples in which every prefix holds the classes in their proportions.

    The samples of each class get equally spaced numbers in ]0, 1[, in random order, and all samples are sorted by
    these numbers. So prefixes can serve as test sets and subsets of any size, and the larger ones contain the
    smaller ones.
    """
    shuffled = rng.permutation(len(y))
    place = np.empty(len(y))
    for label in np.unique(y):
        members = shuffled[y[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def split(x: np.ndarray, y: np.ndarray, n_test: int, rng: np.random.Generator) -> Split:
    """Training and test samples in float32 and int32: the first ``n_test`` of a stratified order are for the test."""
    x, y = x.astype(np.float32), y.astype(np.int32)
    order = stratified_order(y, rng)
    test, train = order[:n_test], order[n_test:]
    return (x[train], y[train]), (x[test], y[test])


def split_of_classes(y: np.ndarray, test_fraction: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places of the samples for training and for the test, both in a stratified order.

    Each class gives its share to the test, rounded, but at least one sample, and keeps at least one.

    Args:
        y: Class numbers of shape (n,), at least two of each class.
        test_fraction: Share for the test.
        rng: Generator.
    """
    order = stratified_order(y, rng)
    is_test = np.zeros(len(y), bool)
    for label in np.unique(y):
        members = order[y[order] == label]
        is_test[members[: min(max(1, round(test_fraction * len(members))), len(members) - 1)]] = True
    return order[~is_test[order]], order[is_test[order]]


def head(x: np.ndarray, y: np.ndarray, n: int | None, name: str) -> Samples:
    """The first n samples; all with None."""
    if n is None:
        return x, y
    check_integer(name, n, at_least=1, at_most=len(y))
    return x[:n], y[:n]
