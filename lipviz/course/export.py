"""Exercises on exported networks: whose constant counts, what rounding does to it, and how to round soundly."""

import math

import numpy as np

from lipviz.course.answers import Case, Choice, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise
from lipviz.types import ArrayLike

_TOP, _RUNNER_UP, _BOUND = 3.0, 1.6, 1.25
_MARGIN = _TOP - _RUNNER_UP
_BITS = 8  # significant binary digits of bfloat16


def rounded(values: ArrayLike, bits: int = _BITS) -> np.ndarray:
    """Rounds numbers to the nearest with `bits` significant binary digits."""
    mantissas, exponents = np.frexp(values)
    return np.ldexp(np.round(mantissas * 2.0**bits) / 2.0**bits, exponents)


def column_norm(entries: int) -> float:
    """Norm of a column of that many equal entries, of norm 1 before each was rounded to bfloat16."""
    return float(np.linalg.norm(rounded(np.full(entries, 1 / math.sqrt(entries)))))


# The size whose norm rounding makes largest.
_ENTRIES = max(range(2, 65), key=column_norm)
_ENTRY = 1 / math.sqrt(_ENTRIES)

RADIUS = Exercise(
    id="export.radius",
    question=(
        f"An exported model was trained further; its Lipschitz constant is now {_BOUND}. For an image its largest "
        f"logit is {_TOP}, the runner-up {_RUNNER_UP}. What is the largest radius, in Euclidean distance, that these "
        "numbers certify?"
    ),
    kind=Number(
        tolerance=0.002,
        mistakes={
            _MARGIN / math.sqrt(2): "That is the radius for the constant 1, which this file had once.",
            _MARGIN / _BOUND: "Both logits can move at once, one down and the other up: there is a √2 missing.",
            _MARGIN * _BOUND / math.sqrt(2): "The faster the logits can move, the smaller the radius.",
            _MARGIN: "That is the margin. How far must the image move, for the logits to lose it?",
        },
    ),
    hints=(
        "How much can the difference of two logits change, if the image moves by r and the logits by at most "
        f"{_BOUND} r?",
        "The difference of two coordinates changes by at most √2 times the length by which the vector moves.",
        f"Find the r at which √2 · {_BOUND} · r reaches {_TOP} - {_RUNNER_UP}.",
    ),
    solution=_MARGIN / (math.sqrt(2) * _BOUND),
    explanation=(
        f"({_TOP} - {_RUNNER_UP}) / (√2 · {_BOUND}) = {_MARGIN / (math.sqrt(2) * _BOUND):.4f}. Dividing by the old "
        f"constant 1 would promise {_MARGIN / math.sqrt(2):.4f}, a quarter more than can be proved, and the "
        "predictions would not show the error.\n\n"
        "So the constant has to be that of exactly the weights that are used."
    ),
)

BFLOAT16 = Exercise(
    id="export.bfloat16",
    question=(
        f"A kernel is a single column of {_ENTRIES} equal entries 1/√{_ENTRIES}, so its norm, its only singular value, "
        f"is 1. Every entry is rounded to the nearest bfloat16, a number with {_BITS} significant binary digits. What "
        "is the norm then?"
    ),
    kind=Number(
        tolerance=1e-4,
        mistakes={
            1.0: "That is the norm before. All entries are equal, so all are rounded the same way.",
            2 - column_norm(_ENTRIES): "Which way are the entries rounded?",
            1 + 2.0**-_BITS: "That is the worst that rounding to the nearest can do. Compute this case.",
        },
    ),
    hints=(
        "All entries are equal and change by the same factor. What does that do to the norm?",
        f"1/√{_ENTRIES} = {_ENTRY:.6f}. Which numbers k · 2^(-m), with a whole k from 128 to 255, are its neighbours?",
        f'`np.float32(keras.ops.cast({_ENTRY:.6f}, "bfloat16"))` rounds one entry. The norm is that times √{_ENTRIES}.',
    ),
    solution=column_norm(_ENTRIES),
    explanation=(
        f"1/√{_ENTRIES} = {_ENTRY:.6f} is rounded to {float(rounded(_ENTRY)):.6f}; times √{_ENTRIES} this is "
        f"{column_norm(_ENTRIES):.6f}. Rounding to the nearest moves an entry by up to 2^-8 = {2.0**-8:.4f} of itself, "
        "and here all entries go the same way.\n\n"
        "In a large matrix some entries go up and some down, and much of the damage cancels. But singular values that "
        "were all 1 are then spread to both sides of 1, and the largest one counts."
    ),
)

TUNED = Exercise(
    id="export.tuned",
    question=(
        "Change the lesson: load `digits.keras` from `folder`, compile it with `keras.optimizers.Adam(1e-5)`, a "
        "learning rate that is 100 times smaller, and train it on one batch only (`train_on_batch`). Then look at "
        "the largest singular values of its two `Dense` layers, as the lesson does. Where are they?"
    ),
    kind=Choice(
        options={
            "a": "at 1 or below, because the constraint is saved with the file",
            "b": "at 1 or below, because such a small step cannot break it",
            "c": "above 1, by less than 0.01",
            "d": "above 1, by more than 0.1",
        },
        mistakes={
            "a": "Which layers are in the file? Print their types.",
            "b": "Print more digits: `print(largest - 1)`.",
            "d": "That is the learning rate of the lesson, or a whole epoch of it.",
        },
    ),
    hints=(
        "Does anything in a plain `Dense` layer keep a constraint?",
        "Before the step, all singular values are 1 but for a few millionths. Adam moves every entry by about its "
        "learning rate in the first step. How could the largest singular value not go up?",
        "The step is a matrix with entries of about ±1e-5. The norm of a 128×64 matrix of such entries is between 1e-4 "
        "and 1e-3: that is how far a singular value can go.",
    ),
    solution="c",
    explanation=(
        "One step of Adam moves every entry by about its learning rate. Of 64 singular values that are all at 1, some "
        "go up and some go down, and the largest is one that goes up, by some 1e-4 here.\n\n"
        "No learning rate is small enough. What changes is only how soon the damage is seen: the certificate of the "
        "file shows it at once, the accuracy never does."
    ),
)


def shrink(w: np.ndarray) -> np.ndarray:
    """A float16 copy of ``w`` whose spectral norm is at most 1, hardly smaller than it has to be."""
    factor = 1.0
    result = w.astype(np.float16)
    while np.linalg.norm(result.astype(np.float64), ord=2) > 1:
        factor *= 1 - 2.0**-13
        result = (factor * w).astype(np.float16)
    return result


_CLOSE = 0.002
_SLACK = 1e-12  # for the rounding of the norm itself


def _judge_shrink(result: np.ndarray, w: np.ndarray) -> str:
    """Says why ``result`` is not a sound float16 version of ``w``."""
    if result.shape != w.shape:
        return f"the shape is {result.shape}, expected {w.shape}."
    values = result.astype(np.float64)
    if not np.array_equal(values.astype(np.float16).astype(np.float64), values):
        return "some entries are no float16 numbers: round last, after every other operation."
    norm = np.linalg.norm(values, ord=2)
    if norm > 1 + _SLACK:
        return f"the spectral norm is 1 + {norm - 1:.1e} after rounding, expected at most 1."
    far = float(np.abs(values - w).max())
    if far > _CLOSE:
        return f"an entry is {far:.4f} away from that of w, expected at most {_CLOSE}: you gave away too much."
    return ""


def _orthogonal(rows: int, columns: int, seed: int) -> np.ndarray:
    """A matrix with orthonormal columns or rows."""
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((max(rows, columns), min(rows, columns))))[0]
    return q if rows >= columns else q.T


def _shrink_cases() -> tuple[Case, ...]:
    small = 0.5 * _orthogonal(4, 4, seed=0)
    return (
        Case("the identity (3×3)", (np.eye(3),)),
        Case("half an orthogonal matrix (4×4)", (small,)),
        Case("a column of five equal entries (5×1)", (np.full((5, 1), 1 / math.sqrt(5)),)),
        # Rounded towards zero, this one exceeds 1.
        Case("an orthogonal matrix (8×8)", (_orthogonal(8, 8, seed=762),)),
        Case("a tall matrix with orthonormal columns (64×16)", (_orthogonal(64, 16, seed=2),)),
        Case("a wide matrix with orthonormal rows (16×128)", (_orthogonal(16, 128, seed=3),)),
    )


SHRINK = Exercise(
    id="export.shrink",
    question=(
        "Write `shrink(w)`, which takes a float64 matrix of spectral norm at most 1 (but for 1e-15) and returns it "
        "with float16 entries (`.astype(np.float16)`), such that the spectral norm of what is returned, computed in "
        f"float64, is at most 1, and no entry is farther than {_CLOSE} from that of w."
    ),
    kind=Function(signature="shrink(w)", cases=_shrink_cases(), judge=_judge_shrink),
    hints=(
        "Rounding alone makes the norm of an orthogonal matrix exceed 1. What can you do to w *before* rounding it?",
        "Multiply w by a factor slightly below 1, then round. How far below: try, measure the norm of the rounded "
        "matrix in float64, and go on while it exceeds 1.",
        "`while np.linalg.norm(r.astype(np.float64), 2) > 1:` make the factor a little smaller, say by 1 - 2**-13, and "
        "compute `r = (factor * w).astype(np.float16)` again. NumPy has no norm in float16, hence the cast.",
    ),
    solution=shrink,
    explanation=(
        "What counts is the norm of the rounded matrix, so that is what the loop measures; a division *after* rounding "
        "would round again. Rounding every entry towards zero is no way out: with entries of both signs, the norm "
        "may go up all the same.\n\n"
        "Without a loop: rounding to the nearest changes w by at most 2^-11 in relative Frobenius norm, so a factor "
        "of 1 - 2^-11 ‖w‖_F is always enough, and gives away more than is needed."
    ),
)

EXERCISES = (RADIUS, BFLOAT16, TUNED, SHRINK)

TIME = Prediction(
    id="export.time",
    question="How much longer than its export does the constrained network take to predict?",
    kind=Option(
        options={"same": "about as long", "twice": "twice as long", "ten": "ten times as long"},
        replies={
            "twice": "The constraint is not computed in each prediction.",
            "ten": "That would be so if each prediction orthogonalized all kernels. They are stored.",
        },
    ),
    explanation=(
        "Apart from disturbances by other programs, both take the same time. The expensive part, the computation of "
        "`wbar`, belongs to *training*. A prediction checks whether the stored `wbar` belongs to the present kernel. "
        "If it does, the prediction uses it."
    ),
    truth="same",
)

LOST = Prediction(
    id="export.lost",
    question="In exact arithmetic the output is x. What does float32 compute for x = 0.9?",
    kind=Amount(
        lowest=-10,
        highest=10,
        within=1e-6,
        replies=(
            (0.85, 0.95, "That is the exact output."),
            (0.95, 1.05, "Beyond 2²⁴, float32 has only even numbers: 1 is not among the distances."),
            (1.95, 2.05, "The nearest even number to 0.9 is another one."),
        ),
    ),
    explanation=(
        "Beyond 2²⁴, float32 has only even numbers. So 0.9 is lost in the sum, and the output is 0, which is not "
        "positive."
    ),
)

BOUND = Prediction(
    id="export.bound",
    question="What happens to the bound of the Lipschitz constant, which is at most 1 for the file as it is loaded?",
    kind=Option(
        options={"stays": "it stays at 1", "shrinks": "it becomes smaller", "grows": "it becomes larger"},
        replies={
            "stays": "What kept it there was the constraint, and the export has none.",
            "shrinks": "A training makes weights larger where that lowers the loss, unless a constraint prevents it.",
        },
    ),
    explanation=(
        "After a single step the norm of a layer is above 1. All singular values were exactly at the limit, and no "
        "constraint keeps them there."
    ),
    truth="grows",
)

ROUNDED = Prediction(
    id="export.rounded",
    question="After every weight has been rounded, is each dense layer still 1-Lipschitz?",
    kind=Option(
        options={
            "yes": "yes, in both formats",
            "half": "in float16, but not in bfloat16",
            "no": "no, in neither format",
        },
        replies={
            "yes": "Rounding moves each weight up or down, and with them the singular values.",
            "half": "float16 rounds less, but it rounds: some singular value moves up.",
        },
    ),
    explanation=(
        "All singular values of an *orthogonal* matrix are at the limit, so some of them exceed it after the rounding. "
        "The difference is small, and a bound that is computed from the rounded file includes it."
    ),
    truth="no",
)

PREDICTIONS = (TIME, BOUND, ROUNDED, LOST)
