"""Exercises of lesson 11: KR on small batches and on several devices, and certificates of rounded scores."""

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise
from lipviz.types import ArrayLike

_POSITIVE, _NEGATIVE = 2.5, -1.5
_WHOLE = _POSITIVE - _NEGATIVE
# Half of the batches have both classes. In the others the mean of the missing class counts as 0.
_PAIRS = 0.5 * _WHOLE + 0.25 * _POSITIVE + 0.25 * -_NEGATIVE

_LOGITS = (1.3, 0.9)
_ERROR = 0.03
_MARGIN = _LOGITS[0] - _LOGITS[1]
_RADIUS = (_MARGIN - 2 * _ERROR) / np.sqrt(2)

# The batch of the lesson.
_LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
_OUTPUTS = np.array([3.0, 2, 1, -1, -2, 0, -1, -1, -1, 0, -2, -1])
_DEVICES = 3


def split_kr(labels: ArrayLike, outputs: ArrayLike, devices: int) -> float:
    """Mean over devices of KR on their part of a batch, where the mean of a class without samples counts as 0.

    Args:
        labels: Array of shape (n,), positive above 0.
        outputs: Array of shape (n,).
        devices: Number of parts of equal size.
    """
    values = []
    for y, f in zip(np.split(np.asarray(labels), devices), np.split(np.asarray(outputs), devices), strict=True):
        values.append(sum(sign * f[side].mean() for sign, side in ((1, y > 0), (-1, y <= 0)) if side.any()))
    return float(np.mean(values))


PAIRS = Exercise(
    id="training.pairs",
    question=(
        f"Predict: a network scores every positive sample with {_POSITIVE:g} and every negative one with "
        f"{_NEGATIVE:g}, so KR of all samples is {_WHOLE:g}. Both classes are equally frequent. You draw batches of "
        "two samples, independently, and compute KR of each, where the mean of a class that is not there counts as 0. "
        "What is the mean of KR over very many such batches?"
    ),
    kind=Number(
        tolerance=0.005,
        mistakes={
            _WHOLE: "That is KR of all samples. Which batches of two give it, and which do not?",
            0.5 * _WHOLE: "Batches of one class do not give 0: the mean of the class that is there remains.",
            0.5 * _WHOLE + 0.25 * _POSITIVE + 0.25 * _NEGATIVE: (
                "Mind the sign: KR *subtracts* the mean of the negative samples."
            ),
        },
    ),
    hints=(
        "There are four kinds of batches, equally frequent: ++, +-, -+ and --.",
        f"A batch with both classes gives {_WHOLE:g}. Two positive samples give the mean {_POSITIVE:g}, minus 0.",
        f"Two negative samples give 0 - ({_NEGATIVE:g}). Average {_WHOLE:g}, {_WHOLE:g}, {_POSITIVE:g} and "
        f"{-_NEGATIVE:g}.",
    ),
    solution=_PAIRS,
    explanation=(
        f"({_WHOLE:g} + {_WHOLE:g} + {_POSITIVE:g} + {-_NEGATIVE:g}) / 4 = {_PAIRS:g}, three quarters of {_WHOLE:g}. "
        "With more batches the mean gets closer to that, not to KR of all samples: it is a bias, not noise.\n\n"
        "The share is three quarters for any two scores. But a batch of one class depends on where zero is: add 100 to "
        "every score, and KR of all samples stays, while single batches jump to about +100 or -100."
    ),
)

ROUNDING = Exercise(
    id="training.rounding",
    question=(
        "A 1-Lipschitz network (l2 norm, all outputs together) with several classes is served in bfloat16. For an "
        f"image, exact arithmetic gives the largest logit {_LOGITS[0]} and the runner-up {_LOGITS[1]}. In bfloat16 "
        f"each logit is off by up to {_ERROR}, at every image. Within which radius does the network *that is "
        "served* surely give this class?"
    ),
    kind=Number(
        tolerance=0.002,
        mistakes={
            _MARGIN / np.sqrt(2): "That certifies exact arithmetic. What the served network compares is rounded.",
            (_MARGIN - _ERROR) / np.sqrt(2): "Both logits are rounded: one may lose as much as the other gains.",
            _MARGIN - 2 * _ERROR: (
                "That is the margin that is left. The difference of two logits falls by up to √2 for each unit of "
                "change."
            ),
            (_MARGIN - 4 * _ERROR) / np.sqrt(2): (
                "The margin that is given is exact, so the rounding counts only once: at the changed image."
            ),
        },
    ),
    hints=(
        "Follow the exact difference of the two logits: it begins at the margin and falls by at most √2 r. How large "
        "must it still be, so that rounding cannot change its sign?",
        f"At the changed image the winner may be rounded down by {_ERROR}, the runner-up up by {_ERROR}.",
        f"Solve {_LOGITS[0]} - {_LOGITS[1]} - √2 r = 2 · {_ERROR} for r.",
    ),
    solution=_RADIUS,
    explanation=(
        f"({_MARGIN:g} - 2 · {_ERROR}) / √2 = {_RADIUS:.4f}. `certified_radius(..., logit_error=E)` does this for each "
        "image.\n\n"
        f"Without the subtraction the claim would be {_MARGIN / np.sqrt(2):.4f}, and a change just below that could "
        "flip the rounded network. A margin below 2 E certifies nothing at all."
    ),
)

DEVICES = Exercise(
    id="training.devices",
    question=(
        f"Change `DEVICES = 4` in the lesson to {_DEVICES} and run that cell again. What does it print as KR for "
        f"{_DEVICES} devices, where the labels are not weighted first?"
    ),
    kind=Number(
        tolerance=0.002,
        mistakes={
            split_kr(_LABELS, _OUTPUTS, 1): "That is KR of the whole batch: what it should be.",
            split_kr(_LABELS, _OUTPUTS, 4): "That is for four devices. Change the first line of the cell, and run it.",
            split_kr(_LABELS, _OUTPUTS, 2): "That is for two devices.",
        },
    ),
    hints=(
        "The cell begins with `DEVICES = 4`. Change it, run it, and read the second number.",
        "By hand: each device gets 4 of the 12 samples, in their order. All positive ones are on the first device.",
        "The first device has 2 - (-1) = 3. Each of the two others has only negative samples, with a mean of -1, and "
        "so 0 - (-1) = 1. Take the mean of the three.",
    ),
    solution=split_kr(_LABELS, _OUTPUTS, _DEVICES),
    explanation=(
        f"(3 + 1 + 1) / 3 = {split_kr(_LABELS, _OUTPUTS, _DEVICES):.4f}, where the whole batch has 3. Devices without "
        "a positive sample count its mean as 0, and their losses have the same weight as the others'.\n\n"
        "The result depends on how the batch happens to be split: 2 for two devices, 1.25 for four. With labels "
        "weighted before the split, KR is a plain mean over samples, and a mean does not care where its parts are "
        "computed."
    ),
)


def weigh(labels: np.ndarray) -> np.ndarray:
    """Returns n / (number of positives) for positive labels, and -n / (number of the others) for the others."""
    positive = labels > 0
    size, count = len(labels), positive.sum()
    return np.where(positive, size / max(count, 1), -size / max(size - count, 1))


def _judge_weigh(result: np.ndarray, labels: np.ndarray) -> str:
    """Compares with the weights, and recognizes known mistakes."""
    right = weigh(labels)
    if result.shape != labels.shape:
        return f"the shape is {result.shape}, expected {labels.shape}: a weight for each label."
    if np.allclose(result, right, rtol=1e-6):
        return ""
    if np.allclose(result * len(labels), right, rtol=1e-6):
        return "the weights are those of a sum; for a *mean* over the batch each has to be n times as large."
    if np.allclose(np.abs(result), np.abs(right), rtol=1e-6):
        return "the sizes are right, but not the signs: the other class is subtracted."
    return f"expected {np.round(right, 4).tolist()}, received {np.round(result, 4).tolist()}."


WEIGH = Exercise(
    id="training.weigh",
    question=(
        "Write `weigh(labels)` in NumPy: what `process_labels_for_multi_gpu` does for one output. It takes an array of "
        "n labels, positive where they are above 0 (they come as 0 and 1, or -1 and 1), and returns n weights such "
        "that, for any scores f of these n samples, np.mean(weights * f) is the mean of f over the positive samples "
        "minus its mean over the others. All samples of a class have the same weight. A class without samples counts "
        "as 0, and must not make the result NaN or infinite."
    ),
    kind=Function(
        signature="weigh(labels)",
        cases=(
            Case("two of each", (np.array([1.0, 1, 0, 0]),)),
            Case("three of twelve", (_LABELS.astype(float),)),
            Case("labels -1 and 1", (np.array([-1.0, 1, 1, 1, -1]),)),
            Case("no positive label", (np.zeros(3),)),
            Case("positive labels alone", (np.ones(4),)),
        ),
        judge=_judge_weigh,
    ),
    hints=(
        "The mean over the positive samples is the sum of their scores over their number. What must each weight be, if "
        "NumPy's mean then divides by n?",
        "Positive labels get n over the number of positive labels, the others minus n over the number of the others.",
        "`positive = labels > 0` and `np.where(positive, n / max(positive.sum(), 1), ...)`: the max keeps an empty "
        "class from a division by 0.",
    ),
    solution=weigh,
    explanation=(
        "With these weights KR is a mean over samples like any other loss. Means can be split among devices and taken "
        "over small batches, and they stay the same on average.\n\n"
        "The weights of a whole training set work as well as those of a batch, as long as batches are drawn at random: "
        "a single batch may then be off, but the mean over batches is KR of the whole set."
    ),
)

EXERCISES = (PAIRS, DEVICES, ROUNDING, WEIGH)

MEANS = Prediction(
    id="training.means",
    question=("What is the mean of KR over all these batches of two, in per cent of KR of all images together?"),
    kind=Amount(
        lowest=0,
        highest=200,
        within=6,
        unit=" %",
        replies=(
            (94, 106, "You expected that small batches only add noise. But half of all pairs hold one class only."),
            (45, 55, "Pairs of one class do not count 0: the mean of their own class remains."),
        ),
    ),
    explanation=(
        "With batches of 2, about a quarter of KR is *missing*, because half of all pairs hold one class only. With 16 "
        "samples or more such batches are rare. With rare classes, or with ten classes, batches have to be larger."
    ),
)

RATE = Prediction(
    id="training.rate",
    question="What are the norms of the gradients after two epochs at a thousand times the learning rate?",
    kind=Option(
        options={
            "both": "both networks have gradients that vanish or explode",
            "ordinary": "only those of the ordinary network vanish or explode",
            "neither": "both networks have gradients of about length 1",
        },
        replies={
            "both": "The constraint holds at every step, however long the step is.",
            "neither": "Nothing limits the weights of the ordinary network.",
        },
    ),
    explanation=(
        "At such a rate the gradients of the ordinary network vanish, so that it cannot learn any more, or they become "
        "very large. The Lipschitz network loses some accuracy, but its singular values are all still 1, and it still "
        "passes on every gradient."
    ),
    truth="ordinary",
)

PREDICTIONS = (MEANS, RATE)
