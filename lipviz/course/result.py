"""Replies of an exercise, as text and as plain HTML."""

import enum
import html
import re
from dataclasses import dataclass

_STRESSED = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]*[^\s*])\*(?![\w*])")  # not the product of two names


class Status(enum.Enum):
    """Kind of reply: a symbol and words, so that nothing depends on colour, and a colour beside them.

    The colours are of the Okabe-Ito palette, which colour-blind readers tell apart.
    """

    RIGHT = ("✓", "Right", "#009E73")
    WRONG = ("✗", "Not yet", "#D55E00")
    UNREADABLE = ("?", "No answer yet", "#0072B2")
    HINT = ("→", "Hint", "#0072B2")
    SOLUTION = ("=", "Solution", "#0072B2")
    CLOSE = ("≈", "Close", "#009E73")
    FAR = ("≠", "Compare", "#0072B2")

    def __init__(self, symbol: str, words: str, color: str) -> None:
        self.symbol = symbol
        self.words = words
        self.color = color


@dataclass(frozen=True, repr=False)
class Result:
    """Reply to an answer or a guess, or to the request for a hint or a solution.

    It is true exactly when an answer was right, so a lesson can say ``assert course.check(...)``.

    Attributes:
        exercise: Id of the exercise or the prediction.
        status: Kind of reply.
        message: What to know now; paragraphs are separated by empty lines, code stands between backticks, and
            emphasized text between asterisks.
        code: Program text that goes with the message, empty if none.
    """

    exercise: str
    status: Status
    message: str
    code: str = ""

    @property
    def correct(self) -> bool:
        """True if an answer was given and is right."""
        return self.status is Status.RIGHT

    def __bool__(self):
        return self.correct

    def __repr__(self):
        heading = f"{self.status.symbol} {self.status.words} [{self.exercise}]"
        return "\n".join(part for part in (heading, self.message, self.code) if part)

    def to_html(self) -> str:
        """The reply as HTML, as notebooks show it."""
        code = f"<pre>{html.escape(self.code)}</pre>" if self.code else ""
        heading = (
            f'<p><strong><span aria-hidden="true">{self.status.symbol}</span> {self.status.words}</strong> '
            f"<small>{html.escape(self.exercise)}</small></p>"
        )
        style = f"border-left: 4px solid {self.status.color}; padding: 0.1em 1em"
        return f'<div role="status" style="{style}">{heading}{to_html(self.message)}{code}</div>'

    def _repr_html_(self):
        return self.to_html()


def to_markdown(text: str) -> str:
    """The same text as Markdown: what would have a meaning there, and has none here, is escaped outside of code."""
    pieces = re.split(r"(`[^`]+`)", text)  # text and code alternate
    for place in range(0, len(pieces), 2):
        parts = re.split(r"((?<![\w*])\*(?=[^\s*])[^*]*[^\s*]\*(?![\w*]))", pieces[place])  # plain, stressed, …
        parts[::2] = [re.sub(r"(?<!\w)_|_(?!\w)|[*$<\\]", lambda found: "\\" + found[0], part) for part in parts[::2]]
        pieces[place] = "".join(parts)
    return "".join(pieces)


def to_html(text: str) -> str:
    """Paragraphs of plain text as escaped HTML: code between backticks, and *emphasized* text between asterisks."""
    pieces = re.split(r"`([^`]+)`", html.escape(text))  # text and code alternate
    pieces[::2] = [_STRESSED.sub(r"<em>\1</em>", piece) for piece in pieces[::2]]
    pieces[1::2] = [f"<code>{piece}</code>" for piece in pieces[1::2]]
    return "".join(f"<p>{paragraph}</p>" for paragraph in "".join(pieces).split("\n\n"))
