"""Asking for a prediction: the guess opens what was measured. In a notebook as a form, elsewhere as folded text."""

import html
from typing import Any

from lipviz import _extras
from lipviz.course import progress
from lipviz.course.answers import AnswerFormatError, describe
from lipviz.course.guesses import Prediction
from lipviz.course.result import Result, Status, to_html

_TEXT_ONLY = "text/plain"


class Asked:
    """A prediction that a lesson asks for. It shows a form in a notebook; `commit` does the same in code.

    The lesson goes on without a guess. A page without a kernel shows the answer folded.

    Args:
        prediction: What is asked.
        truth: What is true, as the kind of the prediction takes it; None for the registered truth.
        reveal: What to show after the guess: a text, a picture or any object that a notebook shows, or a list of them.

    Attributes:
        prediction: The `Prediction`.
        truth: What is true.
        reveal: A tuple of what is shown after the guess.
    """

    def __init__(self, prediction: Prediction, truth: Any = None, reveal: Any = None):
        self.prediction = prediction
        self.truth = prediction.checked(truth)
        several = isinstance(reveal, list | tuple)
        self.reveal: tuple[Any, ...] = tuple(reveal) if several else () if reveal is None else (reveal,)

    @property
    def guess(self) -> Any:
        """The guess that was committed, also in an earlier session; None before that."""
        kept = progress.record(self.prediction.id).get("guess")
        try:
            return None if kept is None else self.prediction.kind.read(kept)
        except AnswerFormatError:  # of a version that asked for something else
            return None

    def commit(self, guess: Any) -> Result:
        """Keeps a guess, and replies to it. A guess of another kind, or none, is not kept.

        Args:
            guess: A number, a key or a list of numbers, as the question asks.

        Returns:
            The reply, which compares the guess with the truth, and says why it is so.
        """
        kind = self.prediction.kind
        if guess is None or guess is Ellipsis:
            message = f"Put your guess in place of {describe(guess)}: {kind.expects}."
            return Result(self.prediction.id, Status.UNREADABLE, message)
        try:
            value = kind.read(guess)
        except AnswerFormatError as error:
            return Result(self.prediction.id, Status.UNREADABLE, str(error))
        progress.note(self.prediction.id, guess=value)
        return self.reply(value)

    def reply(self, guess: Any) -> Result:
        """The reply to a guess that was read, without keeping it."""
        close, words = self.prediction.kind.compare(guess, self.truth)
        status = Status.CLOSE if close else Status.FAR
        return Result(self.prediction.id, status, f"{words}\n\n{self.prediction.explanation}")

    @property
    def folded(self) -> str:
        """HTML of a page without a kernel: the answer, folded, below a line that asks to guess first."""
        shown = "".join(map(_as_html, self.reveal))
        answer = to_html(f"*{self.prediction.kind.show(self.truth)}*\n\n{self.prediction.explanation}")
        return (
            f"<details><summary>Guess first, then open the answer: {html.escape(self.prediction.kind.expects)}."
            f"</summary>{answer}{shown}</details>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {_TEXT_ONLY: repr(self), "text/html": self.folded}
        if not _extras.missing("lipviz.explorers"):
            from lipviz.explorers.shell.prediction import form

            bundle |= form(self)._repr_mimebundle_()
            bundle[_TEXT_ONLY] = repr(self)
        return bundle

    def __repr__(self):
        if self.guess is None:
            how = f'course.predict("{self.prediction.id}").commit(...)' if not self.reveal else ".commit(...)"
            return f"{self.prediction!r}\nCommit your guess by `{how}`."
        return f"{self.prediction!r}\n{self.reply(self.guess)!r}"


def _as_html(shown):
    """HTML of what is revealed."""
    if isinstance(shown, str):
        return f"<pre>{html.escape(shown)}</pre>"
    to_page = getattr(shown, "_repr_html_", None)
    page = to_page() if to_page is not None else None
    return page if page is not None else f"<pre>{html.escape(repr(shown))}</pre>"
