"""Attacks: search for a small change of an input, in the l2 norm, that changes the decision of a network.

If an attack finds such a change, this proves that the decision can change within that distance. If it finds none, this
proves nothing. A certified radius is the counterpart: no attack can succeed within it.

The attacks are those of the Adversarial Robustness Toolbox (ART). ART gets the scores of a network and their gradients
as float64 arrays of NumPy, so that the attacks are the same on every backend. The float64 copy of the network decides
whether an attack has succeeded, whatever dtype ART computes in. Each change is shortened to a point where the decision
changes, and measured there.

References:
    Madry et al. (2018), Towards deep learning models resistant to adversarial attacks ("pgd").
    Moosavi-Dezfooli, Fawzi and Frossard (2016), DeepFool ("deepfool").
    Chen, Jordan and Wainwright (2020), HopSkipJumpAttack ("hopskipjump").
"""

import contextlib
import dataclasses
import functools
import logging
import warnings
from typing import Literal

import keras
import numpy as np

from lipviz import _extras
from lipviz import normalizers as nm
from lipviz.certification.results import check_epsilons
from lipviz.certification.scores import checked, class_numbers, decisions, logits
from lipviz.operators.autodiff import Pullback, padded
from lipviz.operators.precision import check_varies, float64_scope
from lipviz.operators.samples import along
from lipviz.types import Array, ArrayLike

# Number of steps of each method, by default.
STEPS = {"pgd": 40, "deepfool": 15, "hopskipjump": 20}
_ROWS = 512  # gradients at a time
_HALVINGS = 20


# --- results ---


@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """What an attack on n samples found.

    Attributes:
        inputs: The changed samples, of shape (n, ...), float64. Where the attack succeeded, the changed sample lies on
            the line from the sample to the point that the attack found: where the decision becomes wrong, to 1e-6 of
            the length of this line.
        success: Whether the decision there is wrong, of shape (n,): it differs from the label or, without labels, from
            the decision at the sample. A sample that was misclassified already counts as a success, unchanged.
        distances: l2 norm of each change, of shape (n,), float64; 0 for a sample that was misclassified already.
        before: Predicted class of each sample, of shape (n,).
        after: Predicted class of each changed sample, of shape (n,).
        method: Name of the attack.
        epsilon: Largest norm that a change was allowed, of shape (n,); infinite where there was no limit.
    """

    inputs: Array = dataclasses.field(repr=False)
    success: Array = dataclasses.field(repr=False)
    distances: Array = dataclasses.field(repr=False)
    before: Array = dataclasses.field(repr=False)
    after: Array = dataclasses.field(repr=False)
    method: str
    epsilon: Array = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.success)

    @property
    def success_rate(self) -> float:
        """Share of the samples with a wrong decision."""
        return float(self.success.mean())

    @property
    def found(self) -> Array:
        """Norm of each successful change, infinite where there is none, of shape (n,)."""
        return np.where(self.success, self.distances, np.inf)

    def accuracy_at(self, epsilons: ArrayLike) -> Array:
        """Share of samples for which this attack found no successful change of norm up to ε: of shape (m,).

        It is an upper bound of the accuracy under the best attack, for every ε that this attack was allowed.

        Args:
            epsilons: Finite numbers of at least 0: one, or an array of shape (m,).
        """
        return (self.found > check_epsilons(epsilons)[:, None]).mean(axis=1)


# --- measurement ---


def attack(
    model: keras.Model,
    x: ArrayLike,
    y: ArrayLike | None = None,
    epsilon: ArrayLike | None = None,
    method: Literal["pgd", "deepfool", "hopskipjump"] = "pgd",
    steps: int | None = None,
    starts: int = 1,
    seed: int | None = 0,
) -> Attack:
    """Attack a classifier in the l2 norm.

    * "pgd" maximizes the difference of the largest wrong logit and the right one inside the ball of radius ε. Its steps
      have the length 2.5 ε / steps along the gradient, and are projected back onto the ball. It is the strongest test
      of a given ε.
    * "deepfool" has no ball. Each step goes to the decision boundary of the linearized network. It searches for a small
      change, and computes a gradient per class and step.
    * "hopskipjump" uses decisions only, so that it does not depend on gradients, which may mislead. It is slow: up to a
      thousand evaluations a step for each sample.

    Args:
        model: Built Keras classifier, see `certified_radius`.
        x: Samples of shape (n, ...), at least one, in the model's units. The attack may leave the range of the data.
        y: Labels, see `certified_radius`; if they are given, misclassified samples count as successes.
        epsilon: Largest l2 norm of a change, positive: a number, or one for each sample, (n,). "pgd" needs it. For the
            others, larger changes do not count as successes, and None sets no limit.
        method: "pgd", "deepfool" or "hopskipjump".
        steps: Number of steps at most, at least 1; None takes 40, 15 or 20.
        starts: "pgd" only: with 1, the attack starts at the samples; with more, at that many random points of the ball.
        seed: Seed of the attack's random numbers; None draws anew in every call. NumPy's global generator is restored
            afterwards.

    Returns:
        An `Attack`.

    Raises:
        ImportError: If the Adversarial Robustness Toolbox is not installed.
        TypeError: See `certified_radius`.
        ValueError: See `certified_radius`; or if an argument is out of range, or the model's input is of whole numbers.
    """
    steps, starts = _check_settings(method, steps, starts)
    seed = nm.check_seed("seed", seed, most=2**32 - 1)  # as NumPy's global generator takes
    _toolbox()  # raises ImportError before anything is computed
    network, x = checked(model, x)
    check_varies(model)
    limits = _check_limits(epsilon, len(x), method)
    scores = logits(network, x)
    before = decisions(scores)
    right = before if y is None else class_numbers(y, len(x), scores.shape[1])
    todo = np.flatnonzero(before == right)
    inputs = x.copy()
    with _quiet(seed):
        search = _SEARCHES[method](network, len(todo), steps, starts, scores.shape[1])
        for start in range(0, len(todo), search.batch):
            rows = todo[start : start + search.batch]
            changes = _within(search.changes(x[rows], right[rows], limits[rows]), limits[rows])
            inputs[rows] = _cut_back(network, x[rows], changes, right[rows])
    after = decisions(logits(network, inputs))
    distances = np.linalg.norm((inputs - x).reshape(len(x), -1), axis=1)
    success = (after != right) & (distances <= limits)
    return Attack(inputs, success, distances, before, after, method, limits)


def _check_settings(method, steps, starts):
    if method not in STEPS:
        raise ValueError(f"`method` must be one of {', '.join(map(repr, STEPS))}. Received: {method!r}")
    steps = STEPS[method] if steps is None else nm.check_count("steps", steps)
    starts = nm.check_count("starts", starts)
    for name, value in (("steps", steps), ("starts", starts)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {value!r}")
    return steps, starts


def _check_limits(epsilon, count, method):
    """Largest norm of each change, (n,)."""
    if epsilon is None:
        if method == "pgd":
            raise ValueError("The method 'pgd' stays within a ball and needs its radius. Received: epsilon=None")
        return np.full(count, np.inf)
    limits = check_epsilons(epsilon, "epsilon")
    if len(limits) not in (1, count) or (limits == 0).any():
        raise ValueError(
            f"`epsilon` must be positive, one number or one for each of {count} samples. Received: {epsilon!r}"
        )
    return np.broadcast_to(limits, count).copy()


def _within(changes, limits):
    """Changes, shortened where they exceed their limit only by the float32 rounding of ART."""
    norms = np.linalg.norm(changes.reshape(len(changes), -1), axis=1)
    beyond = (norms > limits) & (norms <= limits * (1 + 1e-5))
    factors = np.where(beyond, limits / np.where(norms > 0, norms, 1) * (1 - 1e-12), 1.0)
    return changes * along(factors, changes)


def _cut_back(network, x, changes, right):
    """The changed inputs, each successful change shortened to a point where the decision changes."""
    ends = x + changes
    (wrong,) = np.nonzero(decisions(logits(network, ends)) != right)
    if not wrong.size:
        return ends
    x, changes, right = x[wrong], changes[wrong], right[wrong]
    low, high = np.zeros(len(wrong)), np.ones(len(wrong))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_wrong = decisions(logits(network, x + along(middle, x) * changes)) != right
        low, high = np.where(is_wrong, low, middle), np.where(is_wrong, middle, high)
    ends[wrong] = x + along(high, x) * changes
    return ends


# --- the network as ART sees it ---


class _Scores:
    """Scores of the classes and their gradients, in NumPy, as functions of the points.

    Args:
        network: Float64 network.
        outputs: Its number of outputs. One output f counts as two classes, with the scores −f/2 and f/2.
        rows: Number of gradients at a time.
    """

    def __init__(self, network, outputs, rows):
        self.network = network
        self.outputs = outputs
        self.rows = rows
        self._pullback = None

    def values(self, points):
        """Scores of the classes, of shape (n, classes)."""
        scores = logits(self.network, points)
        return np.hstack([-scores / 2, scores / 2]) if self.outputs == 1 else scores

    def gradients(self, points, covectors):
        """Gradient of covector_i · scores at point i, with the shape of the points."""
        if self.outputs == 1:
            covectors = (covectors[:, 1:] - covectors[:, :1]) / 2
        parts = [
            self._padded(points[i : i + self.rows], covectors[i : i + self.rows])
            for i in range(0, len(points), self.rows)
        ]
        return np.concatenate(parts)

    def _padded(self, points, covectors):
        """Gradients of a fixed number of rows, so that one compiled function serves all."""
        (points, count), (covectors, _) = padded(points, self.rows), padded(covectors, self.rows)
        with float64_scope():
            if self._pullback is None:
                self._pullback = Pullback(self.network, points.shape, self.outputs, often=True)
            return self._pullback.gradients(points, covectors)[:count]


@functools.cache
def _toolbox():
    """ART's attacks and the class of classifiers that they take.

    Raises:
        ImportError: If ART is not installed.
    """
    _extras.need("lipviz.certification.attack")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optional packages that are missing
        from art.attacks import evasion
        from art.estimators import BaseEstimator, LossGradientsMixin
        from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin

    class Classifier(ClassGradientsMixin, LossGradientsMixin, ClassifierMixin, BaseEstimator):
        """The scores at the inputs ``origin + unit · z`` as a function of z, which ART takes for the input."""

        def __init__(self, scores, origin, unit, shape):
            super().__init__(model=None, clip_values=None)
            self.scores, self.origin, self.unit = scores, origin, unit
            self._input_shape = shape
            self.nb_classes = max(scores.outputs, 2)

        @property
        def input_shape(self):
            return self._input_shape

        def fit(self, x, y, **kwargs):
            raise NotImplementedError

        def _points(self, z):
            return self.origin + self.unit * np.asarray(z, np.float64)

        def predict(self, x, batch_size=None, **kwargs):
            return self.scores.values(self._points(x))

        def loss_gradient(self, x, y, **kwargs):
            """Gradient of the largest other score minus the score of the class that y, one-hot, says."""
            points = self._points(x)
            rivals = np.where(np.asarray(y) > 0, -np.inf, self.scores.values(points)).argmax(axis=1)
            covectors = np.eye(self.nb_classes)[rivals] - y
            return (self.unit * self.scores.gradients(points, covectors)).astype(np.float32)

        def class_gradient(self, x, label=None, **kwargs):
            """Gradients of all scores, of shape (n, classes, ...)."""
            points, count = self._points(x), self.nb_classes
            covectors = np.tile(np.eye(count), (len(points), 1))
            gradients = self.scores.gradients(np.repeat(points, count, axis=0), covectors)
            return self.unit * gradients.reshape(len(points), count, *points.shape[1:])

    return evasion, Classifier


class _Search:
    """A method of ART on one network.

    Args:
        network: Float64 network.
        count: Number of samples.
        steps: Number of steps.
        starts: Number of starts.
        outputs: Number of outputs of the network.

    Attributes:
        batch: Number of samples at a time.
    """

    most = 128  # samples at a time
    per_class = False  # whether it takes a gradient for each class

    def __init__(self, network, count, steps, starts, outputs):
        self.evasion, self.classifier = _toolbox()
        self.steps, self.starts = steps, starts
        self.classes = max(outputs, 2)
        self.batch = max(1, min(count, self.most))
        self.scores = _Scores(network, outputs, self.batch * (self.classes if self.per_class else 1))

    def changes(self, x, right, limits):
        """The changes that the method finds for samples of these classes, with the shape of the samples."""
        raise NotImplementedError

    def view(self, origin, unit, x):
        return self.classifier(self.scores, origin, unit, x.shape[1:])


class _Pgd(_Search):
    most = _ROWS

    def changes(self, x, right, limits):
        # z is the change in units of ε, as ART takes one ε for all samples. Its float32 rounds z, not the samples.
        unit = along(limits, x)
        method = self.evasion.ProjectedGradientDescent(
            self.view(x, unit, x),
            norm=2,
            eps=1.0,
            eps_step=2.5 / self.steps,
            max_iter=self.steps,
            num_random_init=0 if self.starts == 1 else self.starts,
            batch_size=len(x),
            verbose=False,
        )
        found = method.generate(np.zeros(x.shape, np.float32), np.eye(self.classes)[right])
        return unit * found.astype(np.float64)


class _DeepFool(_Search):
    most = 64
    per_class = True

    def changes(self, x, right, limits):
        method = self.evasion.DeepFool(
            self.view(x, 1.0, x),
            max_iter=self.steps,
            epsilon=0.02,
            nb_grads=self.classes,
            batch_size=len(x),
            verbose=False,
        )
        return method.generate(np.zeros(x.shape, np.float32)).astype(np.float64)


class _HopSkipJump(_Search):
    def changes(self, x, right, limits):
        method = self.evasion.HopSkipJump(
            self.view(0.0, 1.0, x), norm=2, max_iter=self.steps, max_eval=1000, init_eval=50, verbose=False
        )
        return method.generate(x.astype(np.float32), np.eye(self.classes)[right]).astype(np.float64) - x


_SEARCHES = {"pgd": _Pgd, "deepfool": _DeepFool, "hopskipjump": _HopSkipJump}


@contextlib.contextmanager
def _quiet(seed):
    """Seed NumPy's global generator, which ART draws from, and restore it; keep ART's messages out of the log."""
    state, level = np.random.get_state(), logging.getLogger("art").level  # noqa: NPY002
    logging.getLogger("art").setLevel(logging.ERROR)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        logging.getLogger("art").setLevel(level)
