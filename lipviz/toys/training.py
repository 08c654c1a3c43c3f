"""Small networks on the plane that train in pieces and restart without a new compilation, for live pictures."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

import lipviz.model
from lipviz import normalizers as nm
from lipviz.certification.scores import class_numbers, decisions
from lipviz.certification.upper_bounds import upper_bound
from lipviz.measure.fields import DecisionField, decision_field, planar, predicted_outputs
from lipviz.measure.transport import PotentialField, potential_field
from lipviz.toys.kantorovich_rubinstein import KRTraining
from lipviz.toys.networks import check_weight_seed, full_batches, toy_network
from lipviz.types import Array, ArrayLike, Tensor


class ToyTrainer:
    """A `toy_network` of points of the plane with Adam and a loss, compiled once.

    It also holds a plain copy of the network, whose `Dense` kernels are the constrained ones. The copy computes the
    same and costs less, so fields and certificates are computed from it.

    Args:
        loss: Keras loss. Its parameters that are variables, such as `alpha` of `HKR`, can be changed by `set_loss`.
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        outputs: Number of outputs.
        k: Lipschitz constant of the whole network, where it is constrained.
        constrained: Whether the layers are constrained.
        learning_rate: Learning rate of the first step; it falls to 0 along a cosine.
        watch: Function of (y_true, y_pred), such as `lipviz.losses.kr`, whose mean is recorded beside the loss.

    Attributes:
        model: The network that learns.
        plain: Its plain copy, up to date after each piece; the network itself where it is not constrained.
        losses: List of the losses so far. Each is computed before its step.
        watched: List of the means of `watch`, computed before the same steps.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        loss: keras.losses.Loss,
        activation: str = "groupsort2",
        width: int = 16,
        depth: int = 2,
        *,
        outputs: int = 1,
        k: float = 1.0,
        constrained: bool = True,
        learning_rate: float = 0.02,
        watch: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {"outputs": outputs, "k": k, "constrained": constrained}
        self._shape = (activation, width, depth)
        self._rate = nm.check_positive("learning_rate", learning_rate)
        self._loss = loss
        self._starts: dict[int, list[Array]] = {}
        self.losses: list[float] = []
        self.watched: list[float] = []
        self.model = self._made(0)
        self.plain = self.model.vanilla_export() if constrained else self.model
        metrics = None if watch is None else [keras.metrics.MeanMetricWrapper(watch, name="watched")]
        self.model.compile(optimizer=keras.optimizers.Adam(self._rate), loss=loss, metrics=metrics)
        self._starts[0] = [ops.convert_to_numpy(weight) for weight in self.model.weights]

    def _made(self, seed):
        return toy_network(*self._shape, **self._settings, seed=seed)

    def set_loss(self, **numbers: float) -> None:
        """Change parameters of the loss that are variables, such as `tau`, `alpha` and `min_margin`.

        Args:
            **numbers: Values by name.
        """
        for name, value in numbers.items():
            getattr(self._loss, name).assign(value)
        # A compiled step on JAX sees only variables that its model lists, and a plain Keras model lists none of a loss.
        if keras.backend.backend() == "jax" and self.model is self.plain:
            self.model.make_train_function(force=True)

    def restart(self, seed: int = 0) -> None:
        """Start the training again, with the initial weights of a seed.

        Args:
            seed: Seed of all weights.

        Raises:
            ValueError: If it is no whole number from 0 to 2³¹ − 1.
        """
        seed = check_weight_seed(seed)
        if seed not in self._starts:
            self._starts[seed] = [ops.convert_to_numpy(weight) for weight in self._made(seed).weights]
        for weight, value in zip(self.model.weights, self._starts[seed], strict=True):
            weight.assign(value)
        for variable in self.model.optimizer.variables:
            variable.assign(ops.zeros(variable.shape, variable.dtype))
        self.losses.clear()  # in place, so that an iteration over `pieces` that has begun starts again, too
        self.watched.clear()
        self._update()

    def pieces(
        self,
        x: ArrayLike,
        targets: ArrayLike,
        steps: int = 300,
        every: int = 10,
        *,
        rate: float | None = None,
        weights: ArrayLike | None = None,
    ) -> Iterator[int]:
        """Train on all samples at once, and yield every few steps; continue where earlier calls have stopped.

        Args:
            x: Samples of shape (n, 2).
            targets: What the loss takes as labels.
            steps: Number of steps of the whole training, earlier calls included.
            every: Number of steps between two results; there is one after the last step, too.
            rate: Learning rate of all steps; None lets that of the trainer fall to 0 along a cosine.
            weights: Weight of each sample in the loss, of shape (n,); None weighs all alike.

        Yields:
            Number of steps so far. `model` and `plain` have the weights after these steps.

        Raises:
            ValueError: If training diverged.
        """

        # The rate is set for each step. A schedule would be compiled, but a restart may change the number of steps.
        def rates(step):
            return self._rate * (1 + np.cos(np.pi * step / steps)) / 2 if rate is None else rate

        for done in full_batches(self.model, x, targets, steps, every, self.losses, self.watched, rates, weights):
            self._update()
            yield done

    def _update(self):
        """Update `wbar` and the plain copy."""
        lipviz.model.refresh(self.model)
        if self.plain is self.model:
            return
        for plain, layer in zip(self.plain.layers, self.model.layers, strict=True):
            weights = [layer.wbar, layer.bias] if hasattr(layer, "wbar") else layer.weights
            for target, weight in zip(plain.weights, weights, strict=True):
                target.assign(ops.copy(weight))  # JAX gives the memory of both to a step, and to a prediction

    @property
    def constant(self) -> float:
        """Upper bound of the Lipschitz constant of the network as it is, in the l2 norm; see `certify`."""
        return upper_bound(self.plain, (2,))


# --- decision boundaries ---


@dataclasses.dataclass(frozen=True, eq=False)
class BoundaryTraining:
    """A classifier of points of the plane at a moment of its training.

    Attributes:
        field: Present `DecisionField`, with the training samples, and with certified radii if they were asked for.
        losses: Loss before each step so far, of shape (steps so far,).
        steps: Number of steps of the whole training.
        constant: Upper bound of the network's Lipschitz constant, certified.
        accuracy: Share of the training samples that are classified correctly.
        test_accuracy: The same for the test samples; None without them.
    """

    field: DecisionField
    losses: np.ndarray = dataclasses.field(repr=False)
    steps: int
    constant: float
    accuracy: float
    test_accuracy: float | None


def boundary_training(
    trainer: ToyTrainer,
    x: ArrayLike,
    y: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    steps: int = 300,
    certified: bool = True,
    resolution: int = 90,
    bounds: ArrayLike | None = None,
    name: str | None = None,
) -> BoundaryTraining:
    """Measure a classifier at a moment of its training.

    Args:
        trainer: `ToyTrainer`.
        x: Training samples of shape (n, 2).
        y: Their class numbers, of shape (n,).
        test: A pair of test samples and their class numbers; None without them.
        steps: Number of steps of the whole training.
        certified: Whether to certify a radius around each training sample.
        resolution: Number of grid points along each axis.
        bounds: Part of the plane, see `decision_field`.
        name: Name for titles.

    Returns:
        A `BoundaryTraining`.

    Raises:
        TypeError: See `decision_field`.
        ValueError: See `decision_field`.
    """
    constant = trainer.constant
    asked = constant if certified else None
    field = decision_field(trainer.plain, bounds, resolution, x, y, constant=asked, name=name)
    tested = None if test is None or not len(np.asarray(test[0])) else _accuracy(trainer.plain, *test)
    losses = np.array(trainer.losses)
    return BoundaryTraining(field, losses, steps, constant, _accuracy(trainer.plain, x, y), tested)


def _accuracy(model, x, y):
    scores = predicted_outputs(model, planar(x, "The samples"))
    return float(np.mean(decisions(scores) == class_numbers(y, len(scores), scores.shape[1])))


# --- the distance between two clouds ---


@dataclasses.dataclass(frozen=True, eq=False)
class WassersteinTraining:
    """A potential between two clouds at a moment of its training.

    Attributes:
        potential: Present `PotentialField`.
        training: `KRTraining` so far; all its estimates are in the precision of training.
        steps: Number of steps of the whole training.
        alpha: Weight of the hinge in the loss (`HKR`).
        min_margin: Margin of the hinge.
        inside: Share of the points whose output does not reach half the margin on their side.
        accuracy: Share of the points whose output has the sign of their cloud: + for the first, − for the second.
    """

    potential: PotentialField
    training: KRTraining
    steps: int
    alpha: float
    min_margin: float
    inside: float
    accuracy: float


def wasserstein_training(
    trainer: ToyTrainer,
    x: ArrayLike,
    y: ArrayLike,
    exact: float,
    *,
    alpha: float,
    min_margin: float,
    steps: int = 300,
    resolution: int = 90,
    bounds: ArrayLike | None = None,
    name: str | None = None,
) -> WassersteinTraining:
    """Measure a potential at a moment of its training.

    Args:
        trainer: `ToyTrainer` with one output that watches `lipviz.losses.kr`.
        x: First cloud, of shape (n, 2), where the potential is to be high.
        y: Second cloud, of shape (m, 2).
        exact: Wasserstein-1 distance of the clouds.
        alpha: Weight of the hinge in the loss.
        min_margin: Margin of the hinge.
        steps: Number of steps of the whole training.
        resolution: Number of grid points along each axis.
        bounds: Part of the plane, see `decision_field`.
        name: Name for titles.

    Returns:
        A `WassersteinTraining`.

    Raises:
        TypeError: See `potential_field`.
        ValueError: See `potential_field`.
    """
    field = potential_field(trainer.plain, x, y, bounds, resolution, name)
    estimates = np.array([*trainer.watched, field.estimate])
    training = KRTraining("estimate", np.arange(len(estimates)), estimates, exact, trainer.constant)
    outputs = predicted_outputs(trainer.plain, np.concatenate([field.x, field.y]))[:, 0]
    on_side = outputs * np.repeat([1, -1], [len(field.x), len(field.y)])
    inside, right = float(np.mean(on_side < min_margin / 2)), float(np.mean(on_side > 0))
    return WassersteinTraining(field, training, steps, alpha, min_margin, inside, right)
