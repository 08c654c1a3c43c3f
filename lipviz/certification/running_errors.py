"""Bounds of the rounding errors of a network in the arithmetic in which it is computed, sample by sample.

A step computes its terms with relative errors of at most γ, for every order of summation. So what it returns differs
from the exact result for the same input by at most γ · (sum of the magnitudes of its terms). These magnitudes are
known from the exact hidden values h(x) at the sample, from how far h can change in the ball, and from the errors so
far. For a layer W h + b, they are at most |W| (|h(x)| + change + error) + |b|.

A step that copies or compares numbers is exact. If it sets small numbers to 0, the next step that computes has the same
error, which is counted there.

Errors are followed in two ways, and the smaller bound counts. Entry by entry, an error e becomes |W| e. In l2, an
error of norm s becomes one of norm ‖W‖ s. What grows with the ball is only known in l2.

All bounds are computed in float64 with about nine digits more than those of float32, and are rounded up by 1e-6.

References:
    Higham (2002), Accuracy and stability of numerical algorithms, chapters 3 and 4.
    Jia and Rinard (2021), Exploiting verified neural networks via floating point numerical error.
"""

import math
from typing import Any

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification.arithmetic import Arithmetic
from lipviz.certification.computation import Computation
from lipviz.certification.forms import Affine, Pointwise, Sorting, Splitting
from lipviz.certification.running import UnknownRoundingError, entered
from lipviz.certification.running_functions import ordering, pointwise, reflected
from lipviz.certification.running_poolings import averaged, averaged_globally, largest, norm_pooling, scaled_average
from lipviz.certification.running_sums import (
    added,
    by_fourier,
    centered,
    moved,
    normalized,
    products,
    reduced,
    scaled,
    without_means,
)
from lipviz.certification.step_forms import COPYING
from lipviz.operators.linear import (
    AVERAGES,
    CONVOLUTIONS,
    DEPTHWISE,
    GLOBAL_AVERAGES,
    SEPARABLE,
    TRANSPOSED,
    is_plain,
)
from lipviz.operators.magnitudes import UnknownEntriesError
from lipviz.rules.algebra import computes_as
from lipviz.rules.registry import layer_bounds
from lipviz.types import Array

_ENTRIES = 2**20  # of the values of a node that are computed at once


class Steps:
    """The steps of a network, with the numbers that all samples share.

    Args:
        computed: The `computation` of the network whose weights are those that are used.
        arithmetic: How products are added up. What each layer computes in is read from the layer.

    Raises:
        UnknownRoundingError: If layers round in ways that have no bound here; the message names them.
    """

    def __init__(self, computed: Computation, arithmetic: Arithmetic):
        self.nodes = computed.nodes
        needed = _needed(computed)
        found = [
            _step_or_why(node, self.nodes, arithmetic) if number in needed else None
            for number, node in enumerate(self.nodes)
        ]
        unknown = [why for why in found if isinstance(why, str)]
        if unknown:
            raise UnknownRoundingError(
                f"The rounding of these layers is not known: {'; '.join(dict.fromkeys(unknown))}. Expected dense and "
                "convolutional layers, normalizations by running statistics, poolings, layers that scale, move or add "
                "entries, and elementwise activations of Keras or lipviz."
            )
        self.steps: list[Any] = found
        self.rows = max(1, _ENTRIES // max(node.size for node in self.nodes))  # samples at a time

    def has_form(self, number: int) -> bool:
        """Whether the exact values of a node are those of its form, with the same numbers, or its form is not known.

        Some layers, and slopes other than 0 and 1, are read from the layer before it rounds its numbers.
        """
        form, op = self.nodes[number].form, self.nodes[number].op
        if isinstance(form, Affine):
            return _builder(op) not in _OF_ANY_FORM
        return not isinstance(form, Pointwise) or form.sides is None or form.name == "relu"

    def run(self, x: Array, radii: Array | None = None) -> list[Any]:
        """Values of all nodes that the outputs need, and bounds of their errors.

        Args:
            x: Samples of shape (n, ...), float64.
            radii: Radii of the balls around each sample, (n, K), finite. None computes only values.

        Returns:
            A list of `Running`, one for each node; None for a node that is not needed.
        """
        states: list[Any] = []
        with np.errstate(all="ignore"):  # errors may be infinite, and then NaN: neither is below a margin
            for node, step in zip(self.nodes, self.steps, strict=True):
                taken = [states[source] for source in node.sources]
                if step is entered:
                    states.append(entered(x.reshape(len(x), -1), radii, node.dtype))
                else:
                    states.append(None if step is None else step(*taken))
        return states


def _needed(computed):
    """Numbers of the nodes that the outputs depend on."""
    needed = set(computed.outputs)
    for number in range(len(computed.nodes) - 1, -1, -1):
        if number in needed:
            needed |= set(computed.nodes[number].sources)
    return needed


def _step_or_why(node, nodes, arithmetic):
    """The function from the `Running` of its sources to that of a node, or why there is none."""
    sources = [nodes[number] for number in node.sources]
    try:
        if not sources:
            return entered
        return _step(node, sources, arithmetic)
    except (UnknownRoundingError, UnknownEntriesError) as error:
        return f"'{node.name}' ({node.kind}: {error})"


def _step(node, sources, arithmetic):
    if isinstance(node.form, Pointwise):
        return pointwise(node)
    if isinstance(node.form, Sorting | Splitting):
        return ordering(node)
    build = _builder(node.op)
    if build is None or not (build in _OF_ANY_FORM or isinstance(node.form, Affine)):
        why = next((why for kinds, why in _REFUSED if isinstance(node.op, kinds)), getattr(node.form, "why", ""))
        raise UnknownRoundingError(why or "no bound of its rounding")
    if build in _OF_ANY_FORM:
        bound = next(iter(layer_bounds(node.op, sources[0].shape, 2)))[1]
        if bound.upper == math.inf:
            raise UnknownRoundingError(bound.method)
    return build(node, sources, arithmetic)


def _builder(op):
    if not isinstance(op, keras.layers.Layer):
        return _OPERATIONS.get(type(op).__name__) if type(op).__module__.startswith("keras.") else None
    for kinds, build in _LAYERS:
        if is_plain(op, kinds) or any(isinstance(op, kind) and computes_as(op, kind) for kind in kinds):
            return build
    return None


_COPYING = (
    *COPYING,
    keras.layers.Concatenate,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
)


_LARGEST = (
    *(keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D),
    *(keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D),
)


_LAYERS = (
    ((lip.BROConv2D,), by_fourier),
    ((keras.layers.Dense, lip.PadConv2D, *CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE), products),
    ((keras.layers.BatchNormalization,), normalized),
    ((keras.layers.Rescaling, keras.layers.Normalization), scaled),
    ((lip.InvertibleDownSampling, lip.InvertibleUpSampling, lip.SpatialShift), scaled),
    ((lip.LayerCentering,), without_means),
    ((lip.Householder,), reflected),
    (AVERAGES, averaged),
    (GLOBAL_AVERAGES, averaged_globally),
    ((lip.BatchCentering, lip.BatchLipNorm), centered),
    ((lip.ScaledAveragePooling2D, lip.ScaledGlobalAveragePooling2D), scaled_average),
    ((lip.ScaledL2NormPooling2D, lip.ScaledGlobalL2NormPooling2D), norm_pooling),
    (_LARGEST, largest),
    ((keras.layers.Add, keras.layers.Subtract, keras.layers.Average, lip.LipResidual), added),
    (_COPYING, moved),
)


_REFUSED = (
    (
        (keras.layers.LayerNormalization, keras.layers.GroupNormalization),
        "a backend may compute its variance as a difference of squares, which can lose all digits",
    ),
    (keras.layers.TimeDistributed, "it calls what it wraps step by step: expected a layer that takes all steps"),
)
# These read the layer, and not the form of the step.
_OF_ANY_FORM = (scaled_average, norm_pooling, largest, reflected)


_OPERATIONS = {
    **dict.fromkeys(
        (
            *("Reshape", "Ravel", "Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Flip", "Roll", "Copy"),
            *("Concatenate", "Stack", "GetItem", "Split", "Pad"),
        ),
        moved,
    ),
    **dict.fromkeys(("Multiply", "Divide", "TrueDivide", "Negative"), scaled),
    **dict.fromkeys(("Sum", "Mean"), reduced),
    **dict.fromkeys(("Add", "Subtract"), added),
}
