"""The kinds of answer that an exercise can ask for: a number, a choice, an array, a function.

A kind knows what it expects in words, says what is wrong with an answer, and shows a solution. It compares
with the solution that the exercise holds, so that the right answer is written down once.
"""

import ast
import decimal
import inspect
import math
import numbers
import reprlib
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

_MAX_NAMES = 3
_FEWEST_DIGITS = 2  # of a number that counts as the solution, rounded
_IN_PER_CENT = "This is a hundred times the answer. Expected a number between 0 and 1; received per cent."
_AS_A_SHARE = "This is a hundredth of the answer. If per cent are asked for, multiply by 100."
_SIGN = "The size is right, and the sign is not."
_CUT_OFF = "These are the first digits of the answer, cut off. Round the last one, or give more digits."
_NEAR = (5, 0.01)  # tolerances, and share of the answer, of a number that was probably rounded on the way
_MAX_KEPT = 4000  # characters of an answer that is kept


class AnswerFormatError(ValueError):
    """The answer is not of the kind that was asked for, so it is neither right nor wrong."""


class Answer(Protocol):
    """A kind of answer."""

    @property
    def expects(self) -> str:
        """The expected answer in words, to be read after "expected"."""

    def fault(self, answer: Any, solution: Any) -> str | None:
        """Says what is wrong with an answer: None if nothing, "" if there is nothing particular to say.

        Raises:
            AnswerFormatError: If the answer is not of this kind.
        """

    def show(self, solution: Any) -> str:
        """The solution as text."""


@dataclass(frozen=True)
class Number:
    """A number, right within an absolute tolerance.

    Attributes:
        tolerance: Largest accepted absolute difference from the solution; 0 for numbers that are counted.
        mistakes: Known wrong answers, each with a comment.
    """

    tolerance: float
    mistakes: Mapping[float, str] = field(default_factory=dict)

    @property
    def expects(self) -> str:
        """The word "number" and the tolerance."""
        return f"a number, exact to ±{self.tolerance:g}" if self.tolerance else "a whole number"

    def fault(self, answer: Any, solution: Any) -> str | None:
        """None within the tolerance, else the comment on this mistake, or ""."""
        value = self._read(answer)
        if abs(value - solution) <= self.tolerance:
            return None
        known = (word for wrong, word in self.mistakes.items() if abs(value - wrong) <= self.tolerance)
        comment = next(known, None)
        if comment is None and self._is_rounding(value, solution):
            return None
        rounded = (word for wrong, word in self.mistakes.items() if self._has_digits(value, wrong))
        return comment or next(rounded, "")

    def nearly(self, answer: Any, solution: Any) -> str:
        """What to say of an answer that is wrong in its form only: its units, sign or digits; "" for all others.

        Such an answer needs no hint.
        """
        value = self._read(answer)
        if not self.tolerance:
            return ""
        if words := self._in_other_units(value, solution):
            return words
        if abs(value + solution) <= self.tolerance or self._is_rounding(-value, solution):
            return _SIGN
        if self._has_digits(value, solution, cut_off=True):
            return _CUT_OFF
        if abs(value - solution) <= min(_NEAR[0] * self.tolerance, _NEAR[1] * abs(solution)):
            return f"Very near, but not within ±{self.tolerance:g}. Was a number rounded on the way?"
        return ""

    def _read(self, answer):
        """The answer as a float, which is whole where a whole number is asked for."""
        value = read_number(answer, self.expects)
        if not self.tolerance and not value.is_integer():
            raise AnswerFormatError(f"Expected {self.expects}; received {describe(answer)}.")
        return value

    def _in_other_units(self, value, solution):
        """What to say of an answer in per cent where a share is expected, or of a share in the place of per cent."""
        if not 0 < solution <= 100:
            return ""
        factor, words = (100, _IN_PER_CENT) if solution <= 1 else (0.01, _AS_A_SHARE)
        own = round(value / factor, 12)
        return words if abs(own - solution) <= self.tolerance or self._is_rounding(own, solution) else ""

    def remark(self, answer: Any, solution: Any) -> str:
        """What to say beside the explanation of a right answer: more digits, if it was rounded; else ""."""
        if abs(read_number(answer, self.expects) - solution) <= self.tolerance:
            return ""
        return f"Right idea, and right to the digits that you gave. With more digits: {self.show(solution)}."

    def _is_rounding(self, value, solution):
        """Whether a number is the solution, rounded to two digits or more, and no known mistake rounded alike."""
        return self._has_digits(value, solution) and not any(self._has_digits(value, m) for m in self.mistakes)

    def _has_digits(self, value, exact, cut_off=False):
        """Whether a number is another one, rounded to two digits or more, or cut off after them."""
        digits, exponent = _digits(value)
        if not self.tolerance or len(digits) < _FEWEST_DIGITS:
            return False
        unit = decimal.Decimal(1).scaleb(exponent)
        down = decimal.Decimal(f"{exact:.12g}").quantize(unit, rounding=decimal.ROUND_DOWN)
        return float(down) == value if cut_off else round(exact, -exponent) == value

    def show(self, solution: Any) -> str:
        """Six significant digits."""
        return f"{solution:.6g}"


@dataclass(frozen=True)
class Choice:
    """One of several options, given by its key or its text; upper and lower case are the same.

    Attributes:
        options: Text of each option by its key, such as ``{"a": "it grows", "b": "it shrinks"}``.
        mistakes: Comments on some of the wrong keys.
    """

    options: Mapping[str, str]
    mistakes: Mapping[str, str] = field(default_factory=dict)

    @property
    def expects(self) -> str:
        """The keys and their texts."""
        return "one of " + ", ".join(f'"{key}" ({text})' for key, text in self.options.items())

    def read(self, answer: Any) -> str:
        """The key of an answer: as ``"b"``, ``"B"``, ``"b)"`` or ``"(b)."``, or as the text of the option.

        Raises:
            AnswerFormatError: If it is no key.
        """
        typed = answer.strip().strip("().:").strip().casefold() if isinstance(answer, str) else None
        keys = (key for key, text in self.options.items() if typed in (key, text.strip("().:").casefold()))
        key = next(keys, None)
        if key is None:
            raise AnswerFormatError(f"Expected {self.expects}; received {describe(answer)}.")
        return key

    def fault(self, answer: Any, solution: Any) -> str | None:
        """None for the key of the solution, else the comment on this key, or ""."""
        key = self.read(answer)
        return None if key == solution else self.mistakes.get(key, "")

    def show(self, solution: Any) -> str:
        """The key and its text."""
        return f'"{solution}": {self.options[solution]}'


@dataclass(frozen=True)
class Array:
    """An array of real numbers with the shape of the solution, right within an absolute tolerance per entry.

    Attributes:
        tolerance: Largest accepted absolute difference of an entry.
    """

    tolerance: float

    @property
    def expects(self) -> str:
        """The word "array" and the tolerance."""
        return f"an array of numbers, each exact to ±{self.tolerance:g}"

    def fault(self, answer: Any, solution: Any) -> str | None:
        """None if every entry is within the tolerance, else how many are not."""
        value, solution = read_array(answer, self.expects), np.asarray(solution)
        if value.shape != solution.shape:
            raise AnswerFormatError(
                f"Expected {self.expects}, of shape {solution.shape}; received one of shape {value.shape}."
            )
        off = np.abs(value - solution) > self.tolerance
        return f"{np.count_nonzero(off)} of {off.size} entries are off." if off.any() else None

    def show(self, solution: Any) -> str:
        """As NumPy prints it."""
        return repr(np.asarray(solution))


@dataclass(frozen=True)
class Case:
    """Arguments on which a function is tried.

    Attributes:
        name: Description of the arguments, to be read after "on".
        arguments: The positional arguments; arrays among them are passed as copies.
    """

    name: str
    arguments: tuple


@dataclass(frozen=True)
class Function:
    """A function that returns an array, tried on several cases.

    Attributes:
        signature: How it is called, such as ``"scale(w, k)"``.
        cases: Cases on which it is tried, the easiest first: the first case that fails explains a wrong answer.
        judge: Takes the returned array and the arguments of a case and says what is wrong, "" if nothing.
    """

    signature: str
    cases: tuple[Case, ...]
    judge: Callable[..., str]

    @property
    def expects(self) -> str:
        """The signature."""
        return f"a function that is called as `{self.signature}`"

    def fault(self, answer: Any, solution: Any) -> str | None:
        """None if every case passes, else what went wrong on the first that fails, and which others fail."""
        if not callable(answer):
            raise AnswerFormatError(
                f"Expected {self.expects}; received {describe(answer)}. Pass the function itself, "
                "without parentheses after its name."
            )
        faults = {case.name: fault for case in self.cases if (fault := self._try(answer, case))}
        if not faults:
            return None
        passed = len(self.cases) - len(faults)
        (name, fault), *others = faults.items()
        report = f"Your function passes {passed} of {len(self.cases)} tests. On {name}: {fault}"
        if others:
            more = "; …" if len(others) > _MAX_NAMES else ""
            report += f" It also fails on {'; '.join(name for name, _ in others[:_MAX_NAMES])}{more}."
        return report

    def show(self, solution: Any) -> str:
        """The source of the solution."""
        return _without_types(textwrap.dedent(inspect.getsource(solution)).strip())

    def _try(self, function, case) -> str:
        """Runs the reader's function on one case. Says what went wrong, "" if nothing."""
        arguments = [np.copy(a) if isinstance(a, np.ndarray) else a for a in case.arguments]
        try:
            with np.errstate(all="ignore"):  # The report names the fault; warnings would only distract.
                returned = function(*arguments)
        except NotImplementedError as error:
            raise AnswerFormatError(f"Expected {self.expects}; yours is not written yet.") from error
        except Exception as error:  # The reader's program may fail in any way.
            return f"it raised `{type(error).__name__}: {error}`."
        if returned is None or returned is Ellipsis:
            raise AnswerFormatError(
                f"Expected {self.expects} and returns an array; yours returned {describe(returned)}. "
                "Is its body written, and does it end with `return`?"
            )
        try:
            returned = read_array(returned, "an array of finite numbers")
        except AnswerFormatError as error:
            return f"its result cannot be judged. {error}"
        if not all(np.array_equal(a, b) for a, b in zip(arguments, case.arguments, strict=True)):
            return "it changed its argument in place; compute a new array instead."
        return self.judge(returned, *case.arguments)


def _without_types(source: str) -> str:
    """The source of a function without annotations, which readers do not write; other sources as they are."""
    try:
        function = ast.parse(source).body[0]
    except SyntaxError:  # part of a statement, as of a lambda
        return source
    if not isinstance(function, ast.FunctionDef) or function.body[0].lineno == function.lineno:
        return source
    for node in ast.walk(function.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    lines, first = source.splitlines(), function.body[0].lineno - 1
    while lines[first - 1].lstrip().startswith("#"):
        first -= 1
    header = f"def {function.name}({ast.unparse(function.args)}):"
    return "\n".join((*lines[: function.lineno - 1], header, *lines[first:]))


def describe(answer: Any) -> str:
    """A short description of any object, also of one that cannot be printed."""
    if answer is None or answer is Ellipsis:
        return "`None`" if answer is None else "`...`"
    try:
        one_line = " ".join(reprlib.repr(answer).split())
        return f"`{one_line}` ({type(answer).__name__})"
    except Exception:  # The reader's own __repr__ may fail.
        return f"an object of type {type(answer).__name__}"


def written(answer: Any) -> str:
    """An answer as text that can be kept, and typed again: a function as its source, all else as Python prints it."""
    try:
        text = textwrap.dedent(inspect.getsource(answer)).strip() if callable(answer) else repr(answer)
    except Exception:  # a function without a source, or the reader's own __repr__
        text = f"an object of type {type(answer).__name__}"
    return text if len(text) <= _MAX_KEPT else text[:_MAX_KEPT] + " …"


def _digits(value):
    """Significant digits of a float as it is typed, and the power of ten of the last: 0.69 gives ("69", -2)."""
    _, digits, exponent = decimal.Decimal(repr(float(value))).normalize().as_tuple()
    return digits, exponent


def read_number(answer: Any, expects: str) -> float:
    """The answer as a float; accepts Python and NumPy numbers, and arrays and tensors of one number."""
    if callable(answer):
        raise AnswerFormatError(f"Expected {expects}; received a function. Call it, with its arguments in parentheses.")
    if isinstance(answer, str):
        raise AnswerFormatError(f"Expected {expects}; received the text {describe(answer)}. Leave out the quotes.")
    if isinstance(answer, tuple) and len(answer) == 2 and all(type(part) is int for part in answer):
        point = ".".join(map(str, answer))
        raise AnswerFormatError(f"Expected {expects}; received two numbers. Python writes decimals so: {point}.")
    if isinstance(answer, numbers.Real | decimal.Decimal) and not isinstance(answer, bool):
        try:
            value = float(answer)
        except OverflowError:
            value = math.inf
        if math.isfinite(value):
            return value
        raise AnswerFormatError(f"Expected {expects}; received {describe(answer)}, which is not finite.")
    array = read_array(answer, expects)
    if array.size != 1:
        raise AnswerFormatError(f"Expected {expects}; received {array.size} numbers.")
    return float(array.item())


def read_array(answer: Any, expects: str) -> np.ndarray:
    """The answer as an array of finite real numbers."""
    try:
        value = np.asarray(answer)
    except Exception as error:  # Ragged lists, and objects with an __array__ of their own.
        raise AnswerFormatError(f"Expected {expects}; received {describe(answer)}.") from error
    if value.dtype.kind not in "iuf":
        raise AnswerFormatError(f"Expected {expects}; received {describe(answer)}.")
    if not np.isfinite(value).all():
        raise AnswerFormatError(f"Expected {expects}; received NaN or infinity in {describe(answer)}.")
    return value
