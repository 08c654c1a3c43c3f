"""Exercises of lesson 08: what a certificate leaves, which constant it needs, what the parameter of a loss does."""

import json
import math
from pathlib import Path

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise

_IMAGES, _RIGHT, _DOUBTFUL, _ATTACKED = 1000, 880, 340, 700
_CERTIFIED = _RIGHT - _DOUBTFUL

LEFT = Exercise(
    id="certificates.left",
    question=(
        f"Of {_IMAGES} test images a network classifies {_RIGHT} correctly. For {_DOUBTFUL} of these the certified "
        "radius is at most 0.5, for the others it is larger. Under an attack with changes of size up to 0.5, "
        f"{_ATTACKED} images are still classified correctly. In the worst case that these numbers allow, how many "
        "images does a better attack of that size leave correctly classified?"
    ),
    kind=Number(
        tolerance=0,
        mistakes={
            _ATTACKED: "That is what this one attack left. Another attack may find what this one missed.",
            _RIGHT: "That is without any change of the images.",
            0: "Some images are certified: no attack of that size can change their class.",
            _ATTACKED - _CERTIFIED: "Nothing is known about these images. What becomes of the certified ones?",
            _ATTACKED - _DOUBTFUL: "Some of the doubtful images are among those that the attack broke already.",
        },
    ),
    hints=(
        "Sort the images into those that were wrong anyway, those that the attack broke, and the rest.",
        "An attack that fails proves nothing. Which images are safe from every attack?",
        "Only the certified ones are safe for certain. In the worst case all others fall.",
    ),
    solution=_CERTIFIED,
    explanation=(
        "The certified images stay right under every change up to 0.5, so no attack leaves fewer. The "
        f"{_ATTACKED} of the attack bound the truth from above; the {_ATTACKED - _CERTIFIED} images between the two "
        "are undecided. Better attacks lower the upper number, better certificates raise the lower one."
    ),
)

_FIRST, _SECOND, _MARGIN = np.array([1.0, 0.0]), np.array([0.6, 0.8]), 0.5
_BETWEEN = float(np.linalg.norm(_FIRST - _SECOND))

PAIR = Exercise(
    id="certificates.pair",
    question=(
        "The last layer of a classifier has the directions w₁ = (1, 0) and w₂ = (0.6, 0.8), each of length 1, and what "
        f"comes before it is 1-Lipschitz. For one image, logit 1 leads logit 2, the runner-up, by {_MARGIN}. Up to "
        "which Euclidean distance is it certain that logit 2 does not overtake logit 1?"
    ),
    kind=Number(
        tolerance=0.005,
        mistakes={
            _MARGIN / math.sqrt(2): (
                "That is the rule with √2, which holds for every pair of orthogonal directions. These two are closer "
                "to each other, so that you can promise more."
            ),
            _MARGIN / 2: "That is the rule for two directions that point away from each other, the worst case.",
            _MARGIN: "That would be right if the difference of the two logits were 1-Lipschitz.",
            _MARGIN * _BETWEEN: "Divide: a difference that can change faster allows a smaller radius.",
        },
    ),
    hints=(
        "The difference of the two logits is a scalar product with one vector. Which one?",
        "It is (w₁ - w₂) · z with the features z, and z moves by no more than the image does.",
        "How long is w₁ - w₂ = (0.4, -0.8)? That is the constant of the difference; divide the margin by it.",
    ),
    solution=_MARGIN / _BETWEEN,
    explanation=(
        f"‖w₁ - w₂‖ = ‖(0.4, -0.8)‖ = {_BETWEEN:.4f}, and {_MARGIN} / {_BETWEEN:.4f} = {_MARGIN / _BETWEEN:.4f}. The "
        f"rule with √2 certifies {_MARGIN / math.sqrt(2):.4f} only. Two directions that point apart are the opposite "
        "case: the constant is then up to 2, and the rule with √2 would promise too much."
    ),
)

_FIRST_TAU, _TAU = 1.0, 100.0


def _mean_radius(tau):
    """Mean certified radius of the run that the explorer chooses at that τ: the last of equal ones."""
    path = Path(__file__).parents[1] / "toys" / "tradeoff_digits.json"
    runs = json.loads(path.read_text(encoding="utf-8"))
    return [run["mean_radius"] for run in runs if (run["loss"], run["loss_parameter"]) == ("crossentropy", tau)][-1]


TAU = Exercise(
    id="certificates.tau",
    question=(
        f"Set the explorer to the loss `crossentropy` and the inverse temperature τ = {_TAU:g}, by the sliders or by "
        f'`explorer.state = {{"loss": "crossentropy", "tau": {_TAU}}}`. What is the mean certified radius of the run '
        "that it chooses, to two digits after the point? Read it off, or ask for "
        "`explorer.data.runs[explorer.data.chosen].mean_radius`."
    ),
    kind=Number(
        tolerance=0.0051,
        mistakes={
            round(_mean_radius(_FIRST_TAU), 2): "That is the run with τ = 1, where the explorer begins. Move τ to 100.",
            _TAU: "That is τ. Which mean certified radius does the run with that τ have?",
        },
    ),
    hints=(
        "`explorer.reset()` brings the explorer back to where it began; then set loss and τ.",
        "The chosen run has a ring in the left picture; the mean certified radius is its place on the lower axis.",
        "Run the line of the question, then print `explorer.data.runs[explorer.data.chosen].mean_radius`.",
    ),
    solution=_mean_radius(_TAU),
    explanation=(
        f"With τ = 100 the mean certified radius is {_mean_radius(_TAU):.2f}, with τ = 1 it is "
        f"{_mean_radius(_FIRST_TAU):.2f}: once the margin of an image is a few hundredths, a cross-entropy with "
        "such a τ is nearly 0, and does not ask for more margin."
    ),
)


def share(logits: np.ndarray, labels: np.ndarray, k: float, epsilon: float) -> float:
    """Share of the samples that are certainly right under every change up to epsilon, by the rule with √2."""
    rows = np.arange(len(logits))
    others = np.array(logits, dtype=float)
    others[rows, labels] = -np.inf
    margin = logits[rows, labels] - others.max(axis=1)
    return np.mean(margin / (np.sqrt(2) * k) > epsilon)


def _of_all(logits, k, epsilon):
    """The same if images that are classified wrongly counted as well."""
    ordered = np.sort(logits, axis=1)
    return np.mean((ordered[:, -1] - ordered[:, -2]) / (np.sqrt(2) * k) > epsilon)


def _judge_share(result: np.ndarray, logits, labels, k, epsilon) -> str:
    """Says what is wrong with a certified accuracy."""
    if result.shape != ():
        return f"the result has shape {result.shape}, expected one number."
    value, right = float(result), float(share(logits, labels, k, epsilon))
    if math.isclose(value, right, abs_tol=1e-9):
        return ""
    words = f"the result is {value:g}, expected {right:g}"
    if math.isclose(value, share(logits, labels, k / np.sqrt(2), epsilon), abs_tol=1e-9):
        return f"{words}: the margin was not divided by √2 · k."
    if math.isclose(value, _of_all(logits, k, epsilon), abs_tol=1e-9):
        return f"{words}: images that are wrong were counted, too."
    return f"{words}."


def _share_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((200, 10))
    labels = np.where(rng.random(200) < 0.7, logits.argmax(axis=1), rng.integers(10, size=200))
    tied = np.zeros((4, 3))
    tied[:2, 0] = 1.0
    return (
        Case("one image that is right by 2, epsilon = 1", (np.array([[3.0, 1.0]]), np.array([0]), 1.0, 1.0)),
        Case("the same image, epsilon = 1.5", (np.array([[3.0, 1.0]]), np.array([0]), 1.0, 1.5)),
        Case("one image that is wrong by far", (np.array([[0.0, 9.0, 1.0]]), np.array([0]), 1.0, 0.1)),
        Case("200 images, epsilon = 0", (logits, labels, 1.0, 0.0)),
        Case("200 images, k = 2, epsilon = 0.2", (logits, labels, 2.0, 0.2)),
        Case("images with ties, epsilon = 0", (tied, np.array([0, 1, 0, 2]), 1.0, 0.0)),
    )


SHARE = Exercise(
    id="certificates.share",
    question=(
        "Write `share(logits, labels, k, epsilon)`: the certified accuracy of a k-Lipschitz classifier at the size "
        "epsilon, by the rule with √2. `logits` is an array of shape (n, C), `labels` holds n class numbers. An image "
        "counts if it is classified correctly and its radius, the margin over √2 · k, is larger than epsilon. Return "
        "one number between 0 and 1, exact to 1e-9."
    ),
    kind=Function(signature="share(logits, labels, k, epsilon)", cases=_share_cases(), judge=_judge_share),
    hints=(
        "For each image you need its right logit, and the largest of all the others.",
        "Put -infinity in the place of the right logit before you take the maximum. The margin is then negative where "
        "the image is classified wrongly.",
        "`margin = logits[rows, labels] - others.max(axis=1)` with `rows = np.arange(len(logits))`; count where "
        "`margin / (np.sqrt(2) * k) > epsilon`.",
    ),
    solution=share,
    explanation=(
        "A margin of the right class against the best other one is negative exactly where the decision is wrong, so "
        "that one comparison asks both questions. Ties count as wrong: there the smallest change may decide. "
        "`lipviz.certified_radius(...).accuracy_at(epsilon)` does the same with a constant for each pair of classes."
    ),
)

EXERCISES = (PAIR, LEFT, TAU, SHARE)

HALF = Prediction(
    id="certificates.half",
    question=(
        "Which share of the test images, in per cent, is certainly right under *every* change up to 0.5? Compare with "
        "the accuracy, and with the distance to the nearest image of another class."
    ),
    kind=Amount(
        lowest=0,
        highest=100,
        within=7,
        unit=" %",
        replies=(
            (0, 30, "You were too careful: 0.5 is small compared with the distance between two classes."),
            (85, 100, "So many cannot be certain: some images lie near a boundary, and some are misclassified."),
        ),
    ),
    explanation=(
        "Certified accuracy starts at the accuracy and can only fall. The training decides how fast it falls: its "
        "parameter τ says how much large margins count."
    ),
)

CROSS = Prediction(
    id="certificates.cross",
    question=(
        "Which of the three has the highest accuracy, and which has the largest share of images that are certainly "
        "right under every change up to 1?"
    ),
    kind=Option(
        options={
            "large": "the largest τ has both",
            "small": "the smallest τ has both",
            "cross": "the largest τ has the highest accuracy, the smallest τ the largest share",
            "other": "the smallest τ has the highest accuracy, the largest τ the largest share",
        },
        replies={
            "large": "A higher accuracy comes from images near the boundary, and these have small radii.",
            "small": "Wide margins cost something: with a limited slope, not all images can have them.",
            "other": "It is the other way round: a small τ favours wide margins.",
        },
    ),
    explanation=(
        "The network with the *lowest* accuracy has the largest certified radii. The test accuracy does not show that. "
        "No setting is best everywhere."
    ),
    truth="cross",
)

PREDICTIONS = (HALF, CROSS)
