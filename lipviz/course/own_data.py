"""Questions of lesson 14: the units of a radius, the scaling that belongs to a model, and how to read a report."""

import numpy as np

from lipviz.course.answers import Case, Choice, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise

_RADIUS, _SCALE = 0.5, 310.0

ALONE = Exercise(
    id="own.alone",
    question=(
        f"Predict: all features were standardized. A sample has the certified radius {_RADIUS}. The standard deviation "
        f"of proline is {_SCALE:g} mg/l. By how many mg/l may proline change, if nothing else changes, before the "
        "decision can change?"
    ),
    kind=Number(
        tolerance=0.1,
        mistakes={
            _RADIUS: "That is the length of the scaled change, in standard deviations. How many mg/l is that?",
            _RADIUS / _SCALE: "A scaled number is the raw one, divided by the standard deviation. Now the other way.",
            _SCALE: "That is a whole standard deviation. The radius is half of one.",
        },
    ),
    hints=(
        "What does the network see if proline grows by one standard deviation?",
        f"A raw change δ becomes δ / {_SCALE:g}. Nothing else changes, so that this is the length of the change.",
        f"Solve δ / {_SCALE:g} = {_RADIUS}.",
    ),
    solution=_RADIUS * _SCALE,
    explanation=(
        f"{_RADIUS} · {_SCALE:g} = {_RADIUS * _SCALE:g} mg/l. `scaling.alone(radius)` computes that for all features. "
        "It is the answer for one feature *alone*. If several change at once, each may change less."
    ),
)


def length(change: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the l2 norm of each raw change (n, features) as the network sees it: after scaling."""
    return np.sqrt(np.sum((change / scale) ** 2, axis=1))


def _judge_length(result: np.ndarray, change: np.ndarray, scale: np.ndarray) -> str:
    """Says what is wrong with the lengths of scaled changes."""
    expected = length(change, scale)
    if result.shape != expected.shape:
        return f"the shape is {result.shape}, expected {expected.shape}: one length for each change."
    if np.allclose(result, expected, rtol=1e-6):
        return ""
    others = {
        "Divide by the scale, as the network does.": np.sqrt(np.sum((change * scale) ** 2, axis=1)),
        "Scale the changes first: these are lengths of raw ones.": np.sqrt(np.sum(change**2, axis=1)),
        "These are sums of magnitudes. In the l2 norm, squares add up.": np.sum(np.abs(change / scale), axis=1),
        "Take the root of the sum of squares.": expected**2,
    }
    for words, wrong in others.items():
        if np.allclose(result, wrong, rtol=1e-6):
            return words
    return f"it returned {result[0]:.4g} for the first change, expected {expected[0]:.4g}."


LENGTH = Exercise(
    id="own.length",
    question=(
        "Build the test of a change: write a function `length(change, scale)`. `change` has the shape (n, features) "
        "and holds raw changes. `scale` has the shape (features,) and holds the standard deviations. The function "
        "returns the length of each change as the network sees it, of shape (n,). If it is below the certified radius, "
        "the decision stays."
    ),
    kind=Function(
        signature="length(change, scale)",
        cases=(
            Case("one feature that changes", (np.array([[0.0, 155.0]]), np.array([0.8, 310.0]))),
            Case("two features that change at once", (np.array([[0.4, 155.0], [-0.8, 0.0]]), np.array([0.8, 310.0]))),
            Case("features in tiny units", (np.array([[3e-4, -4.0, 0.0]]), np.array([1e-4, 1.0, 9.0]))),
        ),
        judge=_judge_length,
    ),
    hints=(
        "Each feature is divided by its own scale: `change / scale` does that for all of them at once.",
        "Then take the l2 norm of each row: the root of the sum of its squares.",
        "`np.linalg.norm(change / scale, axis=1)`",
    ),
    solution=length,
    explanation=(
        "In raw units, the changes that are safe form an ellipsoid: long in the direction of features that vary much. "
        "A change that moves two features by half a standard deviation each has the length √(½² + ½²) ≈ 0.71, which "
        "is more than ½."
    ),
)

CLAIM = Exercise(
    id="own.claim",
    question=(
        "A report says: 40 test samples, accuracy 100 %, certified accuracy 90 % at ε = 0.5, accuracy under attack "
        "97.5 % at ε = 0.5, features standardized, radii hold in float32. Which claim does it prove?"
    ),
    kind=Choice(
        options={
            "a": "9 of 10 future samples keep their decision under changes of half a standard deviation",
            "b": "36 of these samples stay correct under every change of a scaled length up to 0.5",
            "c": "39 of these samples stay correct under every change of a scaled length up to 0.5",
            "d": "for 36 of these samples, each feature may change by half a standard deviation at the same time",
        },
        mistakes={
            "a": "It is proved for these samples. For others it is an estimate, and from 40 samples a rough one.",
            "c": "The attack did not find a change for them. Is that a proof?",
            "d": "13 features that change by 0.5 each make a change of the length 0.5 · √13 ≈ 1.8.",
        },
    ),
    hints=(
        "What is proved, and what was only tried?",
        "The certified accuracy is the share that is proved, among the samples that were measured.",
        "90 % of 40 samples. And the length is one of all features together.",
    ),
    solution="b",
    explanation=(
        "Proved is what is certified, for the samples of the report, in the norm and the units of the report. The "
        "attack shows how much room is left: between 36 and 39 of the 40 samples withstand every such change."
    ),
)

EXERCISES = (ALONE, LENGTH, CLAIM)

ALIEN = Prediction(
    id="own.alien",
    question=(
        "The network is right for nearly all test wines. A colleague measures new wines, all of the class Barolo, and "
        "standardizes them with *their own* means and standard deviations, as `load` would do with a new file. Which "
        "share of them does the network classify correctly?"
    ),
    kind=Amount(
        lowest=0,
        highest=100,
        within=15,
        unit=" %",
        replies=((60, 100, "You expected that the same wines get the same answer. The network sees other numbers."),),
    ),
    explanation=(
        "What makes these wines Barolo is that they differ from the others: their means do. Their own means take "
        "exactly this away. So the scaling of the training belongs to the model, as its weights do. `with_scaling` "
        "makes it the first layer, and `lipviz report` takes raw numbers."
    ),
)

RAW = Prediction(
    id="own.raw",
    question=(
        "The constant of the network is about 1.4. The model that takes raw numbers begins with the division by the "
        "standard deviations, and decides in the same way. One of its features has a standard deviation of about "
        "0.13. How large is the constant that is proved for the whole model?"
    ),
    kind=Amount(
        lowest=0,
        highest=1000,
        ratio=2,
        replies=(
            (0, 2.5, "The first layer is not 1-Lipschitz: where it divides by a small number, it stretches."),
            (100, 1000, "No direction is stretched by more than 1 / 0.13 by the first layer."),
        ),
    ),
    explanation=(
        "A change of this feature is multiplied by 1/0.13 ≈ 8, and a change of proline is divided by 310. A radius in "
        "the l2 norm of raw numbers must hold for the most sensitive unit, and says hardly anything about the others: "
        "milligrams and shades of colour are added up. The same classifier, the same proof, and a useless number. That "
        "is why reports measure behind the scaling."
    ),
)

SERIES = Prediction(
    id="own.series",
    question=(
        "The classes are a plateau, a rise and a fall, hidden in noise. What does the network need most in order to "
        "keep its decision under a change of length ε, wherever in the series it is made?"
    ),
    kind=Option(
        options={
            "length": "longer series: a change of one step is then a smaller part",
            "distance": "series of different classes that lie far apart in the l2 norm",
            "depth": "more layers",
        },
        replies={
            "length": "A change of length ε is as long in a long series as in a short one.",
            "depth": "More layers help to learn, but cannot move the samples apart.",
        },
    ),
    explanation=(
        "No classifier can have a radius of more than half the distance to the nearest sample of another class. The "
        "recipe reads this distance from the data, and asks for a tenth of it."
    ),
    truth="distance",
)

PREDICTIONS = (ALIEN, RAW, SERIES)
