"""The choices of a recipe: a frozen dataclass that says what was chosen and why, and that trains."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import keras
import numpy as np

from lipviz import certification, metrics
from lipviz import normalizers as nm
from lipviz.certification.upper_bounds import check_method
from lipviz.model import Sequential
from lipviz.optimizers import Muon
from lipviz.recipes import fitting, networks, objectives
from lipviz.recipes.results import Report, Result
from lipviz.recipes.samples import Samples, check_seed
from lipviz.types import ArrayLike

SCHEDULES = ("cosine", "constant")
OPTIMIZERS = ("muon", "adam")
_HELD_BACK = 0.1


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a classifier with certificates is built, trained and measured. `choose` makes one for a data set.

    Change it by `dataclasses.replace(recipe, layer="AOLConv2D")`. What depends on a changed field follows: the settings
    of the loss are those for the radius, except for `loss_arguments`.

    Attributes:
        input_shape: Shape of one sample: (features,), (length, channels) or (height, width, channels).
        classes: Number of classes, at least 2.
        radius: l2 norm of the changes that decisions should withstand, in the units of the input.
        epochs: Number of passes through the training samples.
        batch_size: Number of samples in a step.
        layer: Name of a convolution or a dense layer of `lipviz.layers`, which gives the network its kind. A
            convolution brings dense layers of its kind, where there are any; a dense layer comes with `SpectralConv2D`.
        layer_arguments: Further arguments of this layer.
        last: The last layer: "FrobeniusDense", each of whose outputs is 1-Lipschitz, or "SpectralDense", all of whose
            outputs are 1-Lipschitz together.
        width: Factor of the numbers of filters and units.
        loss: Name in `LOSSES`.
        loss_arguments: Settings of the loss that differ from those for the radius.
        optimizer: "muon", see `lipviz.optimizers`, or "adam".
        learning_rate: Learning rate; its peak, with the schedule "cosine".
        schedule: "cosine": rises for a tenth of the steps, then falls along a cosine to 0. Or "constant".
        shift: Each training image is moved by at most this number of pixels, with zeros at the border. 0 for rows.
        method: How `certify` bounds constants, see there.
        seed: Seed of the network, of the order of the samples and of the shifts.
        reasons: For fields that `choose` has set, the value and why.

    Raises:
        TypeError: If a number is none.
        ValueError: If a field is out of its range; the message says what is possible.
    """

    input_shape: tuple[int, ...]
    classes: int
    radius: float
    epochs: int
    batch_size: int = 256
    layer: str = "SpectralConv2D"
    layer_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    last: str = "FrobeniusDense"
    width: int = 1
    loss: str = "offset"
    loss_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optimizer: str = "muon"
    learning_rate: float = 2e-2
    schedule: str = "cosine"
    shift: int = 0
    method: Literal["auto", "product", "tight"] = "auto"
    seed: int = 0
    reasons: Mapping[str, tuple[Any, str]] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    flip: ClassVar[bool] = False  # whether every second image is mirrored; `DeepRecipe` may

    def __post_init__(self):
        shape = self.input_shape
        is_sizes = isinstance(shape, tuple) and all(isinstance(size, int) and size > 0 for size in shape)
        if not is_sizes or len(shape) not in (1, 2, 3):
            raise ValueError(
                "`input_shape` must be (features,), (length, channels) or (height, width, channels). "
                f"Received: {shape!r}"
            )
        least = {"classes": 2, "epochs": 1, "batch_size": 1, "width": 1, "shift": 0}
        for name, smallest in least.items():
            if nm.check_count(name, getattr(self, name)) < smallest:
                raise ValueError(f"`{name}` must be at least {smallest}. Received: {name}={getattr(self, name)}")
        for name in ("radius", "learning_rate"):
            nm.check_positive(name, getattr(self, name))
        if self.shift and (not self.is_of_images or self.shift >= min(shape[:2])):
            raise ValueError(
                f"`shift` must be 0 for rows and series, and smaller than an image. Received: shift={self.shift}"
            )
        objectives.check_name("layer", self.layer, networks.possible(shape))
        objectives.check_name("last", self.last, networks.LAST)
        objectives.check_name("loss", self.loss, objectives.LOSSES)
        objectives.check_name("optimizer", self.optimizer, OPTIMIZERS)
        objectives.check_name("schedule", self.schedule, SCHEDULES)
        check_method(self.method)
        check_seed(self.seed)
        self.make_loss()  # refuses settings that do not fit

    @property
    def is_of_images(self) -> bool:
        """Whether samples are images, and not rows or series."""
        return len(self.input_shape) == 3

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Sizes of changes that are reported: a quarter, a half, one and two times the radius."""
        return tuple(factor * self.radius for factor in (0.25, 0.5, 1.0, 2.0))

    def make_loss(self) -> keras.Loss:
        """The loss, for one-hot labels."""
        return objectives.make_loss(self.loss, self.radius, self.loss_arguments)

    def build(self) -> Sequential:
        """The network, not trained and not compiled. Sets the seed of Keras, NumPy and Python."""
        keras.utils.set_random_seed(self.seed)
        return networks.build_network(
            self.input_shape, self.classes, self.layer, self.layer_arguments, self.last, self.width
        )

    def compiled(self, samples: int) -> Sequential:
        """The network, compiled for one-hot labels, with certified accuracies as metrics.

        Args:
            samples: Number of training samples, from which the length of the schedule follows.
        """
        model = self.build()
        steps = self.epochs * -(-samples // self.batch_size)
        # Cheap bounds, which hold for k = 1. Those of the report are larger: they are made for each pair of classes.
        shares = metrics.provable_robust_accuracies(self.epsilons[:2], disjoint_neurons=self.last == "FrobeniusDense")
        right = keras.metrics.CategoricalAccuracy("accuracy")
        model.compile(self._optimizer(steps), self.make_loss(), metrics=[right, *shares])
        return model

    def _optimizer(self, steps):
        rate = fitting.learning_rate(self.schedule, self.learning_rate, steps)
        return Muon(rate, [networks.LOGITS]) if self.optimizer == "muon" else keras.optimizers.Adam(rate)

    def train(
        self,
        x: ArrayLike,
        y: ArrayLike,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        verbose: Any = "auto",
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> Result:
        """Trains the network, and measures it once, after the training. Ctrl-C ends the training early.

        Args:
            x: Training samples, see `choose`.
            y: Their labels, see `choose`.
            validation_data: (x, y) to measure on, which no choice depends on. With None, a random tenth of the training
                samples is held back for it.
            verbose: As in `keras.Model.fit`.
            callbacks: Further callbacks of Keras.

        Returns:
            A `Result`: the model and a `Report`. The same seed gives the same model on the same machine.

        Raises:
            TypeError: If something does not hold real numbers.
            ValueError: If samples do not fit the recipe, or weights are not finite after the training.
        """
        samples = self._fitting("x", Samples.of(x, y))
        if validation_data is None:
            samples, held_back = samples.split(_HELD_BACK, self.seed)
        else:
            held_back = self._fitting("validation_data", self._pair(validation_data))
        model = self.compiled(len(samples))
        progress = fitting.fit(
            model,
            samples,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shift=self.shift,
            flip=self.flip,
            seed=self.seed,
            verbose=verbose,
            callbacks=callbacks or [],
        )
        return Result(model, self._report(model, held_back, len(samples), progress))

    def _report(self, model, held_back, trained, progress):
        weights = model.get_weights()
        if not all(np.isfinite(weight).all() for weight in weights):
            raise ValueError(
                "The training diverged: weights are not finite. Try a smaller learning rate. "
                f"Received: learning_rate={self.learning_rate:g}"
            )
        return Report(
            recipe=self,
            radii=certification.certified_radius(model, held_back.x, held_back.labels, method=self.method),
            certificate=certification.certify(model, search=False, method=self.method),
            trained=trained,
            epochs=progress.steps / -(-trained // self.batch_size),
            seconds=progress.seconds,
            processor_seconds=progress.processor_seconds,
            interrupted=progress.interrupted,
        )

    @staticmethod
    def _pair(data):
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise ValueError(f"`validation_data` must be a pair (x, y). Received: {type(data).__name__}")
        return Samples.of(*data)

    def _fitting(self, name, samples):
        if samples.shape != self.input_shape or samples.classes > self.classes:
            raise ValueError(
                f"`{name}` must hold samples of shape {self.input_shape}, in at most {self.classes} classes. Received: "
                f"shape {samples.shape}, {samples.classes} classes"
            )
        return dataclasses.replace(samples, classes=self.classes)

    # --- words ---

    def describe(self) -> str:
        """All choices, one in a line, each with its reason."""
        rows = [(name, value, self._why(name)) for name, value in self._values().items()]
        wide = max(len(name) for name, _, _ in rows), max(len(value) for _, value, _ in rows)
        kind = {1: "rows", 2: "series", 3: "images"}[len(self.input_shape)]
        head = f"Recipe for {kind} of {'×'.join(map(str, self.input_shape))} in {self.classes} classes"
        return "\n".join([head, *(f"  {a:<{wide[0]}}  {b:<{wide[1]}}  {why}".rstrip() for a, b, why in rows)])

    __str__ = describe

    def _values(self):
        settings = objectives.LOSSES[self.loss].settings(self.radius) | dict(self.loss_arguments)
        rise_and_fall = "rises, then falls to 0" if self.schedule == "cosine" else "constant"
        return {
            "radius": f"{self.radius:.4g}",
            **self._network(),
            "loss": _call(self.loss, settings),
            "epochs": str(self.epochs),
            "batch_size": str(self.batch_size),
            "optimizer": self.optimizer,
            "learning_rate": f"{self.learning_rate:g}, {rise_and_fall}",
            **({"shift": f"{self.shift} px" if self.shift else "none"} if self.is_of_images else {}),
            "method": self.method,
            "seed": str(self.seed),
        }

    def _network(self):
        return {
            "layer": _call(self.layer, self.layer_arguments),
            **networks.words(self.input_shape, self.classes, self.layer, self.last, self.width),
        }

    def _why(self, name):
        value, words = self.reasons.get(name, (None, ""))
        if words and value != getattr(self, name):
            words = "changed"
        always = objectives.LOSSES[self.loss].words if name == "loss" else ""
        return "; ".join(filter(None, (f"asks for {always}" if always else "", words)))


def _call(name, arguments):
    words = (
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value!r}" for key, value in arguments.items()
    )
    return f"{name}({', '.join(words)})" if arguments else name
