"""Losses for Lipschitz-constrained networks: Kantorovich-Rubinstein, hinge, mixtures, scaled cross-entropies.

Each loss is a pure function with one value per sample, and a thin `keras.Loss` around it. For all of them:

* Labels are (batch, 1), (batch,) or one-hot (batch, C), in {0, 1} or {-1, 1}, of any dtype. A label above 0 is
  positive. Shapes that do not fit raise a `ValueError` and are not broadcast.
* A function computes in float64 for float64 predictions and in float32 for all others; a class in
  `keras.config.floatx()`, as every Keras loss.
* The numbers that a class takes (`alpha`, `min_margin`, `tau`, ...) are Keras variables. `loss.alpha.assign(3.0)`
  changes a training step that is already compiled. `get_config`, and so a saved model, has the present value.
  On JAX a compiled step reads only the variables that the model tracks: `lipviz.Sequential` and `lipviz.Model` track
  those of their losses, a plain `keras.Model` does not. On JAX, a callback that assigns in the middle of an epoch
  must read `self.model` first, as for any other state: this brings the variables up to date.

References:
    Serrurier et al. (2021), Achieving robustness in classification using optimal transport with hinge regularization.
    Béthune et al. (2022), Pay attention to your loss: understanding misconceptions about 1-Lipschitz neural networks.
    Prach and Lampert (2022), Almost-orthogonal layers for efficient general-purpose Lipschitz networks, for the offset.
    Hu et al. (2023), Unlocking deterministic robustness certification on ImageNet, for EMMA.
    Lai et al. (2025), Enhancing certified robustness via block reflector orthogonal layers and logit annealing loss.
    Serrurier et al. (2024), for the two losses with a soft maximum over the other classes.
"""

from lipviz.losses.cross_entropies import (
    TauBinaryCrossentropy,
    TauCategoricalCrossentropy,
    TauSparseCategoricalCrossentropy,
    tau_binary_crossentropy,
    tau_categorical_crossentropy,
    tau_sparse_categorical_crossentropy,
)
from lipviz.losses.margins import (
    HKR,
    KR,
    CategoricalHinge,
    HingeMargin,
    MulticlassHinge,
    MulticlassHKR,
    MulticlassKR,
    MultiMargin,
    categorical_hinge,
    hinge_margin,
    hkr,
    kr,
    multi_margin,
    multiclass_hinge,
    multiclass_hkr,
    multiclass_kr,
    process_labels_for_multi_gpu,
)
from lipviz.losses.offsets import (
    EMMACategoricalCrossentropy,
    LogitAnnealing,
    OffsetCategoricalCrossentropy,
    emma_categorical_crossentropy,
    logit_annealing,
    offset_categorical_crossentropy,
)
from lipviz.losses.soft_maximum import (
    LseHKRMulticlassLoss,
    SoftHKRMulticlassLoss,
    lse_hkr_multiclass,
    soft_hkr_multiclass,
)

__all__ = [
    "HKR",
    "KR",
    "CategoricalHinge",
    "EMMACategoricalCrossentropy",
    "HingeMargin",
    "LogitAnnealing",
    "LseHKRMulticlassLoss",
    "MultiMargin",
    "MulticlassHKR",
    "MulticlassHinge",
    "MulticlassKR",
    "OffsetCategoricalCrossentropy",
    "SoftHKRMulticlassLoss",
    "TauBinaryCrossentropy",
    "TauCategoricalCrossentropy",
    "TauSparseCategoricalCrossentropy",
    "categorical_hinge",
    "emma_categorical_crossentropy",
    "hinge_margin",
    "hkr",
    "kr",
    "logit_annealing",
    "lse_hkr_multiclass",
    "multi_margin",
    "multiclass_hinge",
    "multiclass_hkr",
    "multiclass_kr",
    "offset_categorical_crossentropy",
    "process_labels_for_multi_gpu",
    "soft_hkr_multiclass",
    "tau_binary_crossentropy",
    "tau_categorical_crossentropy",
    "tau_sparse_categorical_crossentropy",
]
