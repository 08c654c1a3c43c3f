"""Predictions: readers commit a guess, which opens what was measured, and a text that answers the guess."""

import html
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from lipviz.course.answers import AnswerFormatError, Choice, describe, read_array, read_number
from lipviz.course.result import to_html, to_markdown

_Ranges = tuple[tuple[float, float, str], ...]


class Guess(Protocol):
    """A kind of guess.

    Attributes:
        form: How a notebook asks for it: "number", "choice" or "curve".
    """

    form: ClassVar[str]

    @property
    def expects(self) -> str:
        """The expected guess in words, to be read after "expected"."""

    def read(self, guess: Any) -> Any:
        """The guess as JSON has it: a number, a key or a list of numbers.

        Raises:
            AnswerFormatError: If the guess is not of this kind.
        """

    def compare(self, guess: Any, truth: Any) -> tuple[bool, str]:
        """Whether a guess that was read is close to the truth, and what to say about it."""

    def show(self, value: Any) -> str:
        """A guess, or the truth, as text."""


def between(lowest: float, highest: float) -> str:
    """Both ends of a range as people write them: "1 to 1,000,000"."""
    return f"{lowest:,.10g} to {highest:,.10g}"


@dataclass(frozen=True)
class Amount:
    """A number to guess.

    A guess is close if it differs from the truth by at most `within`, or by at most the factor `ratio`.

    Attributes:
        lowest: Least number that is accepted.
        highest: Largest number that is accepted.
        within: Difference that is still close; 0 for the number itself.
        ratio: Factor that is still close, larger than 1; None compares differences only.
        unit: Unit behind the number, such as ``" %"``, or "".
        replies: Triples (from, to, text): what to say to a guess between two numbers that is not close.
    """

    form: ClassVar[str] = "number"
    lowest: float
    highest: float
    within: float = 0.0
    ratio: float | None = None
    unit: str = ""
    replies: _Ranges = ()

    @property
    def expects(self) -> str:
        """The word "number", its range and its unit."""
        return f"a number from {between(self.lowest, self.highest)}{self.unit}"

    def read(self, guess: Any) -> float:
        """The guess as a float."""
        value = read_number(guess, self.expects)
        if not self.lowest <= value <= self.highest:
            raise AnswerFormatError(f"Expected {self.expects}; received {describe(guess)}.")
        return value

    def compare(self, guess: float, truth: float) -> tuple[bool, str]:
        """Compares with the truth, and gives the reply to the range in which the guess lies."""
        close = abs(guess - truth) <= self.within * (1 + 1e-9)
        if self.ratio is not None and min(guess, truth) > 0:
            close = close or max(guess / truth, truth / guess) <= self.ratio
        words = f"You said {self.show(guess)}. It is {self.show(truth)}."
        if close:
            return True, words
        if min(guess, truth) > 0 and max(guess / truth, truth / guess) >= 2:
            more = max(guess / truth, truth / guess)
            words += f" Your guess is {more:.3g} times too {'large' if guess > truth else 'small'}."
        reply = next((text for low, high, text in self.replies if low <= guess <= high), "")
        return False, f"{words} {reply}".strip()

    def show(self, value: float) -> str:
        """Three significant digits, in figures as people write them, and the unit."""
        return f"{float(f'{float(value):.3g}'):,.10g}{self.unit}"


@dataclass(frozen=True)
class Option:
    """One of several options to choose.

    Attributes:
        options: Text of each option by its key.
        replies: What to say to a wrong key.
    """

    form: ClassVar[str] = "choice"
    options: Mapping[str, str]
    replies: Mapping[str, str] = field(default_factory=dict)

    @property
    def expects(self) -> str:
        """The keys and their texts."""
        return Choice(self.options).expects

    def read(self, guess: Any) -> str:
        """The key."""
        return Choice(self.options).read(guess)

    def compare(self, guess: str, truth: str) -> tuple[bool, str]:
        """Whether it is the key, and the reply to this key."""
        if guess == truth:
            return True, f"You chose: {self.show(guess)}."
        return False, f"You chose: {self.show(guess)}. It is: {self.show(truth)}. {self.replies.get(guess, '')}".strip()

    def show(self, value: str) -> str:
        """The text of the key."""
        return self.options[value]


@dataclass(frozen=True)
class Curve:
    """A curve to draw: a value at each of a few places.

    Attributes:
        places: Text of each place, in order.
        lowest: Lower end of the values.
        highest: Upper end of the values.
        within: Largest difference at any place that is still close.
        x: What the places are, such as ``"layers passed"``.
        replies: Pairs (name of a shape, text), see `shape_of`: what to say to a curve of this shape that is not close.
    """

    form: ClassVar[str] = "curve"
    places: tuple[str, ...]
    lowest: float
    highest: float
    within: float
    x: str = ""
    replies: Mapping[str, str] = field(default_factory=dict)

    @property
    def expects(self) -> str:
        """How many values, and their range."""
        return f"{len(self.places)} numbers from {between(self.lowest, self.highest)}, at {', '.join(self.places)}"

    def read(self, guess: Any) -> list[float]:
        """The guess as a list of floats."""
        values = read_array(guess, self.expects)
        if values.shape != (len(self.places),) or values.min() < self.lowest or values.max() > self.highest:
            raise AnswerFormatError(f"Expected {self.expects}; received {describe(guess)}.")
        return [float(value) for value in values]

    def compare(self, guess: list[float], truth: Any) -> tuple[bool, str]:
        """Where the curves are farthest apart, and the reply to the shape of the guess."""
        truth = [float(value) for value in truth]
        gaps = [abs(one - other) for one, other in zip(guess, truth, strict=True)]
        worst = max(range(len(gaps)), key=gaps.__getitem__)
        if gaps[worst] <= self.within:
            return True, "Your curve is close to the true one everywhere."
        words = (
            f"Your curve is farthest from the true one at {self.places[worst]}: you said {guess[worst]:.3g}, and it is "
            f"{truth[worst]:.3g}."
        )
        return False, f"{words} {self.replies.get(shape_of(guess), '')}".strip()

    def show(self, value: Any) -> str:
        """A value at each place."""
        return ", ".join(f"{float(v):.3g} at {place}" for v, place in zip(value, self.places, strict=True))


def shape_of(values: list[float]) -> str:
    """The shape of a curve in a word: "flat", "rising", "falling" or "other"; a tenth of its height is flat."""
    slack = 0.1 * max(max(map(abs, values)), 1e-12)
    steps = [after - before for before, after in itertools.pairwise(values)]
    if max(values) - min(values) <= slack:
        return "flat"
    if all(step >= 0 for step in steps):
        return "rising"
    return "falling" if all(step <= 0 for step in steps) else "other"


@dataclass(frozen=True, repr=False)
class Prediction:
    """A question that readers answer before they see.

    Attributes:
        id: Lesson and name, such as ``"constants.pairs"``.
        question: The question in plain text, as of an `Exercise`.
        kind: Kind of guess.
        explanation: Why it is so.
        truth: What is true; None where the lesson measures it, and hands it to `predict`.
    """

    id: str
    question: str
    kind: Guess
    explanation: str
    truth: Any = None

    def __post_init__(self):
        lesson, dot, name = self.id.partition(".")
        if not (lesson and dot and name):
            raise ValueError(f'id: expected "lesson.name", received {self.id!r}.')

    @property
    def lesson(self) -> str:
        """First part of the id."""
        return self.id.partition(".")[0]

    def checked(self, truth: Any) -> Any:
        """What is true, as `Guess.compare` takes it.

        Args:
            truth: What the lesson measured; None for the registered truth.

        Raises:
            ValueError: If there is none, or it is not of this kind.
        """
        truth = self.truth if truth is None else truth
        if truth is None:
            raise ValueError(f"truth of {self.id}: expected {self.kind.expects}, received None.")
        if isinstance(self.kind, Option) and truth not in self.kind.options:
            raise ValueError(f"truth of {self.id}: expected {self.kind.expects}, received {truth!r}.")
        if isinstance(self.kind, Amount) and not math.isfinite(float(truth)):
            raise ValueError(f"truth of {self.id}: expected a finite number, received {truth!r}.")
        return truth

    def to_markdown(self) -> str:
        """The question as lessons hold it in a Markdown cell; the form below it says what is expected."""
        return to_markdown(self.question)

    def __repr__(self):
        return f"Prediction {self.id}\n{self.question}\nExpected: {self.kind.expects}."

    def _repr_html_(self):
        heading = f"<p><strong>Predict</strong> <small>{html.escape(self.id)}</small></p>"
        return f"<div>{heading}{to_html(self.question)}{to_html(f'Expected: {self.kind.expects}.')}</div>"
