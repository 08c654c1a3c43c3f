"""Sentences that a lesson prints, in lines that fit into a notebook."""

import re
import textwrap

_ROOM = 24  # characters that a column must have for words that go on in the next line

WIDTH = 100  # characters; a line of JupyterLab holds about as many


def say(text: str, width: int = WIDTH) -> None:
    """Print sentences in lines of whole words.

    JupyterLab breaks a printed line that is too long anywhere, also in the middle of a word.

    Args:
        text: What to print. Each of its lines begins a new line. The last column of a row that is too long goes on
            under itself.
        width: Most characters in a line, at least 1. A longer word has a line of its own.

    Raises:
        TypeError: If `text` is not a string.
        ValueError: If `width` is below 1.
    """
    if not isinstance(text, str):
        raise TypeError(f"text: expected a string, received {text!r}.")
    if width < 1:
        raise ValueError(f"width: expected at least 1, received {width!r}.")
    for line in text.splitlines():
        under = _column(line)
        indent = " " * under if under <= width - _ROOM else ""
        print(textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


def _column(line):
    """Where the last column of a row begins: after the last two spaces or more. 0 for a sentence."""
    gaps = list(re.finditer(r" {2,}", line.rstrip()))
    return gaps[-1].end() if gaps else 0
