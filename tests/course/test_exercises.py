import decimal
import fractions
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipviz import course
from lipviz.course import bjorck, tour
from lipviz.course.registry import _exercises

IDS = [one.id for one in course.exercises()]
NUMBERS = [one.id for one in course.exercises() if isinstance(one.kind, course.Number)]
FUNCTIONS = [one.id for one in course.exercises() if isinstance(one.kind, course.Function)]


@pytest.fixture
def registered():
    """Registers an exercise for one test and takes it away again."""
    names = []

    def add(kind, solution, hints=("Look.", "Look closer."), name="test.one"):
        course.register(course.Exercise(name, "What is it?", kind, hints, solution, "So it is."))
        names.append(name)
        return name

    yield add
    for name in names:
        course.reset(name)
        del _exercises[name]


# Every exercise


@pytest.mark.parametrize("name", IDS)
def test_the_solution_is_right_and_explained(name):
    one = course.exercise(name)
    result = course.check(name, one.solution)
    assert result.correct
    assert bool(result)
    assert result.message == one.explanation
    assert repr(result).startswith("✓ Right")


@pytest.mark.parametrize("name", IDS)
def test_an_exercise_is_complete_and_keeps_its_solution_to_itself(name):
    one = course.exercise(name)
    assert len(one.hints) == 3
    assert one.question.endswith((".", "?"))
    assert len(one.explanation) > 80
    shown = repr(one) + one._repr_html_()
    assert one.kind.show(one.solution) not in shown
    assert all(hint not in shown for hint in one.hints)


def test_both_lessons_have_exercises():
    assert [one.id for one in course.exercises("tour")] == ["tour.compose", "tour.radius", "tour.scale"]
    assert [one.id for one in course.exercises("bjorck")] == [
        "bjorck.step",
        "bjorck.iterations",
        "bjorck.diverge",
        "bjorck.write",
    ]


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no words")

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no numbers")


MALFORMED = [
    ...,
    None,
    "1.5",
    "",
    True,
    float("nan"),
    float("inf"),
    10**400,
    1j,
    [],
    [1, 2],
    [[1], [2, 3]],
    {},
    np.array([1.0, np.nan]),
    np.array(["a"]),
    object(),
    Unprintable(),
]


@pytest.mark.covered_by_day
@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("answer", MALFORMED, ids=lambda a: f"{type(a).__name__}")
def test_a_malformed_answer_is_met_with_what_is_expected_and_costs_no_hint(name, answer):
    result = course.check(name, answer)
    assert result.status is course.Status.UNREADABLE
    assert not result
    assert course.exercise(name).kind.expects in result.message
    assert "Hint 1 of" in course.hint(name).message
    result._repr_html_()


@pytest.mark.parametrize("name", NUMBERS)
def test_a_function_in_place_of_a_number(name):
    assert "Call it" in course.check(name, math.sqrt).message


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_in_place_of_a_function(name):
    assert "Pass the function itself" in course.check(name, 3.0).message


def unwritten(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("function", [lambda *a: None, lambda *a: ..., unwritten], ids=["None", "dots", "raises"])
def test_an_unwritten_function_costs_no_hint(name, function):
    assert course.check(name, function).status is course.Status.UNREADABLE
    assert "Hint 1 of" in course.hint(name).message


@pytest.mark.parametrize("name", NUMBERS)
def test_every_form_of_a_number_is_read(name):
    value = course.exercise(name).solution
    for answer in (float(value), np.float64(value), np.array(value), np.array([[value]]), [value]):
        assert course.check(name, answer)


def test_decimals_are_written_with_a_point(registered):
    name = registered(course.Number(1e-6), 0.6875)
    for answer in (decimal.Decimal("0.6875"), fractions.Fraction(11, 16)):
        assert course.check(name, answer)
    result = course.check(name, (0, 6875))
    assert result.status is course.Status.UNREADABLE
    assert "Python writes decimals so: 0.6875" in result.message


@pytest.mark.parametrize("name", NUMBERS)
def test_the_tolerance_is_kept(name):
    one = course.exercise(name)
    for sign in (-1, 1):
        assert course.check(name, one.solution + sign * 0.9 * one.kind.tolerance)
        assert not course.check(name, one.solution + sign * max(1.1 * one.kind.tolerance, 1))
        assert not course.check(name, one.solution + sign * (1.1 * one.kind.tolerance or 1e-6))


@pytest.mark.parametrize(
    ("solution", "answer", "is_right"),
    [
        (0.6875, 0.69, True),
        (0.6875, np.float32(0.69), False),  # 0.6899999976: more digits, and other ones
        (0.6875, 0.688, True),
        (0.6875, 0.7, False),  # one digit
        (0.6875, 0.68, False),
        (0.6875, 0.687, False),
        (-0.6875, -0.69, True),
        (1234.4, 1200, True),
        (1234.4, 1000, False),
        (0.98995, 1.0, False),  # the 0 behind the point says nothing
        (0.98995, 0.99, True),
        (2.0, 2.04, False),
    ],
)
def test_a_rounded_number_is_right_and_gets_more_digits(solution, answer, is_right, registered):
    name = registered(course.Number(1e-6, {0.5: "Half of it."}), solution)
    result = course.check(name, answer)
    assert result.correct == is_right
    assert result.message.startswith("Right idea, and right to the digits") == is_right
    if is_right:
        assert f"With more digits: {solution:.6g}." in result.message


def test_a_number_that_a_known_mistake_rounds_to_is_not_taken(registered):
    name = registered(course.Number(1e-4, {0.6912: "You forgot a term."}), 0.6875)
    assert not course.check(name, 0.69)
    assert course.check(name, 0.688)
    assert course.check(name, 0.6912).message.startswith("You forgot a term.")
    counted = registered(course.Number(0, {1: "One."}), 123, name="test.two")
    assert not course.check(counted, 120)


@pytest.mark.parametrize(
    ("solution", "answer", "words"),
    [
        (0.7071, 70.71, "a hundred times"),
        (0.7071, 71, "a hundred times"),
        (0.7071, 72, ""),
        (1.0, 100, "a hundred times"),
        (97.3, 0.973, "a hundredth"),
        (97.3, 0.97, "a hundredth"),
        (97.3, 0.98, ""),
        (250.0, 2.5, ""),  # no share
        (-0.5, -50, ""),
        (0.0, 0.5, ""),
    ],
)
def test_per_cent_and_shares_are_told_apart(solution, answer, words, registered):
    result = course.check(registered(course.Number(1e-4), solution), answer)
    assert not result.correct
    assert ("hundred" in result.message) == bool(words)
    assert words in result.message
    counted = registered(course.Number(0), 1, name="test.two")
    assert "hundred" not in course.check(counted, 100).message


@pytest.mark.parametrize(
    ("solution", "answer", "words"),
    [
        (0.98995, -0.98995, "the sign is not"),
        (0.98995, -0.99, "the sign is not"),
        (0.98995, 0.98, "cut off"),
        (-1.3999999999999997, -1.3, ""),  # -1.4, in float64
        (155.0, 150, "cut off"),
        (0.6875, 0.69214, "Very near"),
        (0.6875, 0.6932, ""),
        (0.0, 0.002, ""),
    ],
)
def test_a_number_of_another_form_costs_no_hint(solution, answer, words, registered):
    name = registered(course.Number(1e-3, {0.3: "No."}), solution)
    result = course.check(name, answer)
    assert result.status is course.Status.WRONG
    assert words in result.message
    assert ("Hint" in result.message) == (not words)


def test_a_known_mistake_is_known_when_it_is_rounded(registered):
    name = registered(course.Number(1e-3, {math.sqrt(0.5): "Both rows."}), 0.5)
    assert course.check(name, 0.71).message.startswith("Both rows.")
    assert not course.check(name, 0.7).message.startswith("Both rows.")  # one digit


def test_a_whole_number_is_asked_for_by_name(registered):
    name = registered(course.Number(0, {19: "One short."}), 20)
    assert course.check(name, 19.93).status is course.Status.UNREADABLE
    assert course.check(name, 20.0)


@pytest.mark.parametrize(
    "answer", ["b", " B ", "b)", "(b)", "b.", "L lies between 0.93 and 1.2", "l lies between 0.93 and 1.2."]
)
def test_an_option_is_named_by_its_key_or_its_text(answer):
    assert course.check("constants.follows", answer)


@pytest.mark.parametrize("name", NUMBERS)
def test_known_mistakes_are_told_apart_from_the_solution(name):
    one = course.exercise(name)
    assert one.kind.mistakes
    for wrong, word in one.kind.mistakes.items():
        assert course.check(name, wrong).message.startswith(word)


# The values, by another way than the exercises compute them


def test_the_numbers():
    expected = {
        "tour.compose": 1.5,
        "tour.radius": 0.98995,
        "bjorck.step": 0.6875,
        "bjorck.iterations": 9,
        "bjorck.diverge": 1.7320508,
    }
    assert set(expected) == {name for name in NUMBERS if name.startswith(("tour.", "bjorck."))}
    for name, value in expected.items():
        assert course.exercise(name).solution == pytest.approx(value, abs=1e-5)


def test_the_radius_is_reached_and_not_beaten():
    """The steepest 1-Lipschitz map of two logits changes its class at the radius, and no sooner."""
    radius = course.exercise("tour.radius").solution

    def difference(r):
        logits = np.array([2.1, 0.7]) + r * np.array([-1, 1]) / math.sqrt(2)
        return logits[0] - logits[1]

    assert difference(radius) == pytest.approx(0)
    assert difference(0.999 * radius) > 0


def limit(s, steps=200):
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            s = bjorck.step(np.float64(s))
    return s


@given(st.floats(1e-3, math.sqrt(3) - 1e-3))
def test_below_the_square_root_of_3_the_iteration_converges_to_1(start):
    assert limit(start) == pytest.approx(1)


def test_what_the_explanation_of_divergence_claims():
    below = np.linspace(1.733, 2.23, 400)
    assert bjorck.step(math.sqrt(3)) == pytest.approx(0, abs=1e-12)
    assert (bjorck.step(below) < 0).all()
    assert limit(1.74) == pytest.approx(-1)
    assert {round(float(limit(s))) for s in below} == {-1, 1}
    assert bjorck.step(math.sqrt(5)) == pytest.approx(-math.sqrt(5))
    assert not np.isfinite(limit(2.24))


def test_the_path_of_the_slow_singular_value():
    path = bjorck.path_to_one(0.1, 1e-3)
    assert len(path) == 10
    assert abs(1 - path[-2]) >= 1e-3 > abs(1 - path[-1])
    assert len(bjorck.path_to_one(1.0, 1e-3)) == 1


def test_the_long_cases_of_bjorck_end_at_the_polar_factor():
    from scipy.linalg import polar

    long = [c.arguments for c in course.exercise("bjorck.write").kind.cases if c.arguments[2] > 10]
    assert {w.shape[0] > w.shape[1] for w, *_ in long} == {True, False}
    for w, beta, iterations in long:
        assert np.linalg.norm(w, ord=2) == pytest.approx(1)
        np.testing.assert_allclose(bjorck.bjorck(w, beta, iterations), polar(w)[0], atol=1e-8)


# Wrong functions, and what is said about them


def broken(w, *rest):
    raise KeyError("w")


def in_place(w, k):
    w *= k / np.linalg.norm(w, ord=2)
    return w


def gram_iteration(w, beta, iterations):
    for _ in range(iterations):
        w = (1 + beta) * w - beta * w.T @ w @ w
    return w


def polar_at_once(w, beta, iterations):
    u, _, vt = np.linalg.svd(w, full_matrices=False)
    return u @ vt


def wrong_sign(w, beta, iterations):
    for _ in range(iterations):
        w = (1 + beta) * w + beta * w @ w.T @ w
    return w


def one_step_too_many(w, beta, iterations):
    return bjorck.bjorck(w, beta, iterations + 1)


WRONG_FUNCTIONS = [
    ("tour.scale", lambda w, k: w * k / np.linalg.norm(w), ["passes 1 of 6", "square", "Frobenius"]),
    ("tour.scale", lambda w, k: w * k / max(1, np.linalg.norm(w, ord=2)), ["passes 5 of 6", "tiny entries"]),
    ("tour.scale", lambda w, k: k * polar_at_once(w, 0, 0), ["the direction changed"]),
    ("tour.scale", lambda w, k: -tour.scale(w, k), ["passes 0 of 6", "the direction changed"]),
    ("tour.scale", lambda w, k: tour.scale(w, k).ravel(), ["passes 0 of 6", "shape is (16,), expected (4, 4)"]),
    ("tour.scale", lambda w, k: tour.scale(w, k).astype("float32"), ["float32, expected float64"]),
    ("tour.scale", lambda w, k: w, ["the spectral norm is", "expected 1."]),
    ("tour.scale", lambda w, k: w * np.nan, ["NaN or infinity"]),
    ("tour.scale", lambda w, k: "done", ["cannot be judged", "'done'"]),
    ("tour.scale", lambda w: w, ["TypeError", "positional argument"]),
    ("tour.scale", broken, ["KeyError: 'w'", "passes 0 of 6"]),
    ("tour.scale", in_place, ["in place"]),
    ("bjorck.write", gram_iteration, ["passes 1 of 6", "fails on a tall matrix (6×3), beta = 0.2, one step; a tall"]),
    ("bjorck.write", polar_at_once, ["beta = 0.5, one step: the singular values"]),
    ("bjorck.write", wrong_sign, ["passes 1 of 6", "the singular values"]),
    ("bjorck.write", one_step_too_many, ["passes 3 of 6", "beta = 0.5, no step"]),
    ("bjorck.write", lambda w, beta, iterations: bjorck.bjorck(w[::-1], beta, iterations), ["singular vectors"]),
]


@pytest.mark.parametrize(("name", "function", "words"), WRONG_FUNCTIONS)
def test_a_wrong_function_is_told_where_and_why_it_fails(name, function, words):
    result = course.check(name, function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message
    assert "Hint 1 of 3" in result.message


def test_another_right_function_is_right():
    def scale(w, k):
        return k * w / np.linalg.svd(w)[1][0]

    def iterate(w, beta, iterations):
        for _ in range(iterations):
            w = w + beta * (w - w @ (w.T @ w))
        return w

    assert course.check("tour.scale", scale)
    assert course.check("bjorck.write", iterate)


def test_the_cases_survive_a_function_that_changes_its_argument():
    course.check("tour.scale", in_place)
    assert course.check("tour.scale", tour.scale)


# Hints and solutions


def wrong_answer(one):
    """An answer of the right kind that is wrong."""
    if isinstance(one.kind, course.Function):
        return lambda *arguments: np.zeros(1)
    if isinstance(one.kind, course.Choice):
        return next(key for key in one.kind.options if key != one.solution)
    return np.asarray(one.solution) + 1e6


@pytest.mark.parametrize("name", IDS)
def test_hints_escalate_and_the_solution_comes_last(name):
    one = course.exercise(name)
    wrong = wrong_answer(one)
    for number, hint in enumerate(one.hints, start=1):
        withheld = course.solution(name)
        assert withheld.status is course.Status.HINT
        assert f"{len(one.hints) - number + 1} more hint" in withheld.message
        result = course.check(name, wrong)
        assert f"Hint {number} of 3: {hint}" in result.message
        assert ("course.solution" in result.message) == (number == 3)
    assert one.hints[-1] in course.check(name, wrong).message
    shown = course.solution(name)
    assert shown.status is course.Status.SOLUTION
    assert (shown.message, shown.code) == (one.explanation, one.kind.show(one.solution))


def test_a_solved_exercise_shows_its_solution():
    assert course.check("tour.scale", tour.scale)
    shown = course.solution("tour.scale").code
    assert shown.startswith("def scale(w, k):")
    space = {"np": np}
    exec(shown, space)
    assert course.check("tour.scale", space["scale"])


def test_a_shown_function_has_no_annotations_that_readers_would_not_write():
    def solved(*x: float, axis: int = 0) -> float:
        # One comment.
        return sum(x) + axis

    shown = [one.kind.show(one.solution) for one in course.exercises() if isinstance(one.kind, course.Function)]
    headers = [text.splitlines()[0] for text in shown]
    assert len(headers) == 15
    assert all(header.startswith("def ") and ": " not in header for header in headers)
    kind = course.Function("solved(*x)", (), str)
    assert kind.show(solved) == "def solved(*x, axis=0):\n    # One comment.\n    return sum(x) + axis"
    assert "lambda" in kind.show(lambda x: x)


def test_hints_can_be_asked_for():
    hints = course.exercise("tour.compose").hints
    assert [hint in course.hint("tour.compose").message for hint in (*hints, hints[-1])] == [True] * 4
    assert course.solution("tour.compose").status is course.Status.SOLUTION


def test_reset_starts_one_exercise_again():
    for name in ("tour.compose", "tour.radius"):
        course.hint(name)
        course.hint(name)
    course.reset("tour.compose")
    assert "Hint 1 of" in course.hint("tour.compose").message
    assert "Hint 3 of" in course.hint("tour.radius").message
    course.check("tour.compose", 1.5)
    course.reset()
    assert course.solution("tour.compose").status is course.Status.HINT


# Choices and arrays


def test_a_choice(registered):
    kind = course.Choice({"a": "it grows", "b": "it shrinks", "c": "it stays"}, {"b": "Look at the sign."})
    name = registered(kind, "a")
    assert course.check(name, " A ")
    assert course.check(name, "b").message.startswith("Look at the sign.\n\nHint 1 of 2")
    assert course.check(name, "c").message.startswith("Hint 2 of 2")
    for answer in ("d", 1, None, ["a"]):
        result = course.check(name, answer)
        assert result.status is course.Status.UNREADABLE
        assert '"b" (it shrinks)' in result.message
    assert course.solution(name).code == '"a": it grows'


def test_an_array(registered):
    name = registered(course.Array(tolerance=1e-6), [[1, 2], [3, 4]])
    assert course.check(name, [[1, 2], [3, 4]])
    assert course.check(name, np.array([[1, 2], [3, 4.0000005]]))
    assert course.check(name, [[1, 2], [4, 3]]).message.startswith("2 of 4 entries are off.")
    for answer, word in (([1, 2], "shape (2,)"), ("x", "'x'"), ([[1, 2], [3, math.nan]], "NaN")):
        result = course.check(name, answer)
        assert result.status is course.Status.UNREADABLE
        assert word in result.message
    assert course.solution(name).code == "array([[1, 2],\n       [3, 4]])"


# Errors of the author or a typing reader


@pytest.mark.parametrize("ask", [course.exercise, course.hint, course.solution, lambda n: course.check(n, 1)])
def test_an_unknown_id_names_its_neighbours(ask):
    with pytest.raises(ValueError, match=r"'tour\.compos'\. Did you mean tour\.compose"):
        ask("tour.compos")
    with pytest.raises(ValueError, match=r"'xyz'\. There are tour\.compose, "):
        ask("xyz")
    with pytest.raises(TypeError, match="received 3"):
        ask(3)


def test_an_unknown_lesson():
    with pytest.raises(ValueError, match=r"expected one of activations, bjorck, .*, wasserstein, received 'torus'"):
        course.exercises("torus")


def test_a_faulty_declaration():
    one = course.exercise("tour.compose")
    with pytest.raises(ValueError, match=r"received 'tour\.compose'"):
        course.register(one)
    for name in ("compose", "tour.", ".compose", ""):
        with pytest.raises(ValueError, match=r'expected "lesson.name"'):
            course.Exercise(name, one.question, one.kind, one.hints, one.solution, one.explanation)
    for hints in ((), "only one"):
        with pytest.raises(ValueError, match=r"hints of x\.y: expected a tuple"):
            course.Exercise("x.y", one.question, one.kind, hints, one.solution, one.explanation)


# What is shown


def test_the_html_is_escaped_and_announced():
    result = course.Result("a.b", course.Status.WRONG, "if `a < b` & so\n\n<script>", code="x = '<'")
    shown = result._repr_html_()
    assert shown.startswith('<div role="status"')
    assert "<code>a &lt; b</code> &amp; so</p><p>&lt;script&gt;</p>" in shown
    assert "<pre>x = &#x27;&lt;&#x27;</pre>" in shown
    assert repr(result) == "✗ Not yet [a.b]\nif `a < b` & so\n\n<script>\nx = '<'"


def test_statuses_differ_in_symbol_and_words():
    assert len({status.symbol for status in course.Status}) == len(course.Status)
    assert len({status.words for status in course.Status}) == len(course.Status)
    assert [status for status in course.Status if course.Result("a.b", status, "").correct] == [course.Status.RIGHT]
