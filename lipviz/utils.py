"""Helpers under the reference's names: the Lipschitz constant seen at samples, and two functions from other rooms."""

from collections.abc import Iterable
from typing import Any

import keras

from lipviz.losses import process_labels_for_multi_gpu
from lipviz.normalizers import l2_normalize
from lipviz.operators.autodiff import jacobian_norms
from lipviz.types import ArrayLike

__all__ = ["evaluate_lip_const", "evaluate_lip_const_gen", "l2_normalize", "process_labels_for_multi_gpu"]


def evaluate_lip_const(model: keras.Model, x: ArrayLike, eps: float = 1e-4, seed: int | None = None) -> float:
    """Largest norm of a model's Jacobian over samples: a lower bound of its Lipschitz constant in the l2 norm.

    The Jacobian at each sample is computed exactly, in float64 and at inference, and decomposed by SVD. The reference
    tries one random direction of length eps per sample instead, which finds less: of a model with one output and n
    inputs about 1/√n of it. Between the samples a model may be steeper: `lipviz.certification.gradient_ascent_ratio`
    searches there, and the product of what `lipviz.compute_layer_sv` finds bounds a chain of layers from above.

    Args:
        model: Built Keras model with one input and one output, of lipviz or not.
        x: Samples of shape (n, ...).
        eps: Length of the steps along which a model of more than 4096 outputs is measured, in the units of `x`; its
            norms come from a power iteration. Without effect for others.
        seed: Seed of that iteration. Without effect for others, whose result is the same for every seed.

    Returns:
        A float.

    Raises:
        TypeError: If it is no Keras model, or `x` does not hold real numbers.
        ValueError: If the model is not built, eps is not positive, or `x` is empty or holds NaN or Inf.
    """
    return float(jacobian_norms(model, x, eps, seed).max())


def evaluate_lip_const_gen(
    model: keras.Model, generator: Iterable[Any], eps: float = 1e-4, seed: int | None = None
) -> float:
    """`evaluate_lip_const` on the first batch of a generator.

    Args:
        model: See `evaluate_lip_const`.
        generator: Iterator or iterable (a generator, a `keras.utils.PyDataset`, a `tf.data.Dataset`) of batches x, or
            of tuples that begin with x, such as (x, y). One batch is taken out of an iterator.
        eps: See `evaluate_lip_const`.
        seed: See `evaluate_lip_const`.

    Returns:
        A float.

    Raises:
        TypeError: If it is no Keras model, or no iterable.
        ValueError: If there is no batch, or as for `evaluate_lip_const`.
    """
    batch = next(iter(generator), None)
    if batch is None:
        raise ValueError("The generator has no batch to evaluate the model on.")
    return evaluate_lip_const(model, batch[0] if isinstance(batch, list | tuple) else batch, eps, seed)
