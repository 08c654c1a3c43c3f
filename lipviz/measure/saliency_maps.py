"""Gradients of a network's logits with respect to its inputs (saliency maps), and adversarial examples."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.attacks import Attack
from lipviz.certification.results import CertifiedRadii
from lipviz.certification.scores import checked, decisions, logits
from lipviz.operators.autodiff import GRADIENTS, Pullback
from lipviz.operators.precision import check_varies, float64_scope
from lipviz.rules.used import as_float64, to_numpy
from lipviz.types import Array, ArrayLike

_PAIRS = 6  # by default


# --- results ---


@dataclasses.dataclass(frozen=True, eq=False)
class Saliency:
    """Gradient of a score with respect to each of n inputs.

    Attributes:
        inputs: The samples, of shape (n, ...), float64.
        maps: Gradients, with the shape of the inputs, in units of the score per unit of the input: positive where a
            larger entry makes the score larger.
        norms: l2 norm of each gradient, of shape (n,). It is at most the Lipschitz constant of the score.
        classes: Class of the score, of shape (n,).
        rivals: Class whose score is subtracted, of shape (n,); None for the gradient of one logit by itself.
        class_names: Name of each class; None where they have numbers only.
    """

    inputs: np.ndarray = dataclasses.field(repr=False)
    maps: np.ndarray = dataclasses.field(repr=False)
    norms: np.ndarray
    classes: np.ndarray
    rivals: np.ndarray | None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def name(self, number: int) -> str:
        """The name of a class, or its number where it has none."""
        return _name(self.class_names, number)


@dataclasses.dataclass(frozen=True, eq=False)
class AdversarialPairs:
    """Samples and their adversarial examples.

    Attributes:
        indices: Which samples of the attack they are, of shape (m,).
        inputs: The samples, of shape (m, ...), float64.
        attacked: The changed samples, with the same shape.
        before: Predicted class of each sample, of shape (m,).
        after: Predicted class of each changed sample, of shape (m,).
        success: Whether the prediction for the changed sample is wrong, of shape (m,).
        distances: l2 norm of each change, of shape (m,), in the units of the input.
        radii: Certified radius of each sample, of shape (m,): no attack succeeds within it. None where not known.
        class_names: Name of each class; None where they have numbers only.
    """

    indices: np.ndarray
    inputs: np.ndarray = dataclasses.field(repr=False)
    attacked: np.ndarray = dataclasses.field(repr=False)
    before: np.ndarray
    after: np.ndarray
    success: np.ndarray
    distances: np.ndarray
    radii: np.ndarray | None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, number: int) -> str:
        """The name of a class, or its number where it has none."""
        return _name(self.class_names, number)

    @property
    def changes(self) -> Array:
        """What the attack added to each sample, with the shape of the samples."""
        return self.attacked - self.inputs


# --- measurements ---


def saliency(
    model: keras.Model,
    x: ArrayLike,
    output: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Saliency:
    """Gradient of a network's score with respect to its inputs, by automatic differentiation in float64.

    The gradient of a 1-Lipschitz network whose layers keep norms is the direction of the shortest change of the
    decision, and shows shapes. The gradient of a plain network looks like noise (Serrurier et al. 2023). At a kink it
    is the gradient of the branch that the backend takes.

    Args:
        model: Built Keras classifier, of lipviz or plain, with one input and one output of shape (batch, C). A softmax
            or sigmoid at the end is left out.
        x: Samples of shape (n, ...), at least one, in the model's units.
        output: Number of the logit, or one for each sample, (n,). By default the margin of the decision: the logit of
            the predicted class minus that of the runner-up, or the magnitude of a single logit.
        class_names: Names of the classes, in the order of their numbers.

    Returns:
        A `Saliency`.

    Raises:
        TypeError: If `model` is no Keras model, `x` does not hold real numbers, or `class_names` no strings.
        ValueError: If the model is not built or its input is of whole numbers, `x` is empty, not finite or of another
            shape than the model's input, or there is no such logit.
    """
    network, samples = checked(model, x)
    check_varies(model)
    scores = logits(network, samples)
    if not np.isfinite(scores).all():
        raise ValueError(f"Expected finite logits. Received NaN or Inf from '{model.name}'")
    rows, count = np.arange(len(samples)), scores.shape[1]
    covectors = np.zeros(scores.shape)
    if output is not None:
        classes, rivals = _chosen(output, len(samples), count), None
        covectors[rows, classes] = 1.0
    elif count == 1:
        classes = decisions(scores)
        rivals = 1 - classes
        covectors[:, 0] = np.where(classes == 1, 1.0, -1.0)
    else:
        classes = decisions(scores)
        others = scores.copy()
        others[rows, classes] = -np.inf
        rivals = others.argmax(axis=1)
        covectors[rows, classes], covectors[rows, rivals] = 1.0, -1.0
    maps = input_gradients(network, samples, covectors)
    norms = np.linalg.norm(maps.reshape(len(maps), -1), axis=1)
    return Saliency(samples, maps, norms, classes, rivals, _names(class_names))


def input_gradients(network: keras.Model, points: Array, covectors: Array) -> Array:
    """Gradient of covector_i · f(x) at each point x_i.

    Args:
        network: Model in float64, such as a `float64_copy`; it is made untrainable.
        points: Array of shape (n, ...), float64.
        covectors: Array of shape (n, number of outputs), float64.

    Returns:
        A float64 array with the shape of the points.
    """
    group = max(1, GRADIENTS // (points[0].size + covectors.shape[1]))
    parts, pullbacks = [], {}
    with float64_scope():
        for start in range(0, len(points), group):
            part, covector = points[start : start + group], covectors[start : start + group]
            if part.shape not in pullbacks:  # at most two shapes
                pullbacks[part.shape] = Pullback(network, part.shape, covectors.shape[1])
            parts.append(pullbacks[part.shape].gradients(part, covector))
    return np.concatenate(parts)


def adversarial_pairs(
    attack: Attack,
    x: ArrayLike,
    radii: CertifiedRadii | None = None,
    indices: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
) -> AdversarialPairs:
    """Pair samples with their adversarial examples, certified radii and the distances that the attack found.

    Args:
        attack: `Attack` on n samples.
        x: The samples that were attacked, of shape (n, ...).
        radii: `CertifiedRadii` of the same samples, optional.
        indices: Which samples, whole numbers of shape (m,). By default the first six whose decision the attack
            changed, or the first six of all where it changed none.
        class_names: Names of the classes, in the order of their numbers.

    Returns:
        An `AdversarialPairs`.

    Raises:
        TypeError: If `x` does not hold real numbers, or `class_names` no strings.
        ValueError: If the samples do not belong to the attack or to the radii, or an index is out of range.
    """
    x = as_float64(x, "The samples")
    if x.shape != attack.inputs.shape:
        raise ValueError(f"Expected the {len(attack)} samples of the attack. Received shape: {x.shape}")
    if radii is not None and len(radii) != len(attack):
        raise ValueError(f"Expected the radii of the same {len(attack)} samples. Received: {len(radii)}")
    if indices is None:
        (found,) = np.nonzero(attack.success & (attack.distances > 0))
        chosen = (found if found.size else np.arange(len(attack)))[:_PAIRS]
    else:
        chosen = _whole(indices, len(attack), "indices")
    return AdversarialPairs(
        indices=chosen,
        inputs=x[chosen],
        attacked=attack.inputs[chosen],
        before=attack.before[chosen],
        after=attack.after[chosen],
        success=attack.success[chosen],
        distances=attack.distances[chosen],
        radii=None if radii is None else radii.radii[chosen],
        class_names=_names(class_names),
    )


# --- names of classes ---


def _names(class_names):
    """Names as a tuple of strings."""
    if class_names is None:
        return None
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"`class_names` must be a sequence of strings. Received: {class_names!r}")
    return tuple(class_names)


def _name(class_names, number):
    has_name = class_names is not None and 0 <= number < len(class_names)
    return class_names[number] if has_name else str(number)


# --- checks ---


def _whole(values, end, name):
    """Whole numbers from 0 up to an end, of shape (m,)."""
    array = np.atleast_1d(to_numpy(values))
    fits = array.dtype.kind in "iu" and array.ndim == 1 and array.size and (array >= 0).all() and (array < end).all()
    if not fits:
        raise ValueError(f"`{name}` must hold whole numbers from 0 to {end - 1}. Received: {values!r}")
    return array.astype(np.int64)


def _chosen(output, samples, count):
    if not np.ndim(output):
        nm.check_count("output", output)
    chosen = _whole(output, count, "output")
    if len(chosen) not in (1, samples):
        raise ValueError(f"`output` must be one number, or one for each of {samples} samples. Received: {output!r}")
    return np.broadcast_to(chosen, samples).copy()
