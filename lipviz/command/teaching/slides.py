"""Slides of a lesson: how its cells become slides.

A heading begins a slide: `#` and `##` one to the right, `###` one below. A slide that is full goes on below. Code is
folded. The answer to a prediction, and an explorer's picture, have slides of their own. Questions of exercises are
shown, and their answers are not. The speaker notes come from the teaching plan.
"""

import html
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import latex2mathml.converter
from nbconvert.filters import highlight, markdown2html
from nbformat import NotebookNode

from lipviz import course
from lipviz.command.teaching.key import CHECK, answer_code
from lipviz.course import result

LINES, CHARACTERS = 14, 84  # of a slide of 1280 × 720 pixels, and of a line on it
_FIGURE = 10  # lines that a figure takes
_LEFT_OUT = {"launch", "way", "remove-cell"}  # tags of cells that are about the notebook
_HEADING = re.compile(r"^(#{1,6}) +(.+)$")
_LESSON_LINK = re.compile(r"\[([^\]]+)\]\((?:index|\d\d_\w+)\.py\)")
_FORMULA = re.compile(r"(```.*?```|`[^`]*`)|\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$]+?)(?<!\s)\$", re.DOTALL)
_ASKED = re.compile(r"<details><summary>.*?</summary>(.*)</details>", re.DOTALL)
_FOLDED = "<details><summary>Code</summary>"
_ANSWER = '<div class="answer">'
_FIGURES = re.compile(r"<figure\b.*?</figure>", re.DOTALL)
_PICTURE = re.compile(r"<img [^>]*>")


@dataclass
class Slide:
    """One slide.

    Attributes:
        title: Its heading, in Markdown.
        column: Whether it stands to the right of the slides before it, and not below them.
        blocks: Pieces of HTML.
        notes: What only the speaker sees, in plain text.
        lines: How many lines the blocks take, about.
    """

    title: str
    column: bool = False
    blocks: list[str] = field(default_factory=list)
    notes: str = ""
    lines: float = 0.0


class _Deck:
    """Slides in the making: blocks go onto the last slide while there is room."""

    def __init__(self, notes: Mapping[str, str]):
        self.slides: list[Slide] = []
        self.notes = notes
        self.section = ""  # the last heading that began a column
        self.is_closed = True  # nothing more goes onto the last slide

    def begin(self, title: str, *, column: bool = False) -> Slide:
        """Begins a slide; one that has nothing but a heading makes way for it."""
        said = [self.notes.get(title, "")]
        if self.slides and not self.slides[-1].blocks:
            before = self.slides.pop()
            column = column or before.column
            said.insert(0, before.notes)
        self.slides.append(Slide(title, column or not self.slides, notes="\n".join(filter(None, said))))
        self.section = title if column else self.section
        self.is_closed = False
        return self.slides[-1]

    def add(self, block: str, lines: float) -> None:
        """Adds a block to the last slide, or to a new one that goes on below it."""
        if self.is_closed:
            self.begin(self.section)
        slide = self.slides[-1]
        if slide.blocks and slide.lines + lines > LINES:
            self.slides.append(slide := Slide(slide.title))
        slide.blocks.append(block)
        slide.lines += lines

    def fold(self, code: str) -> None:
        """Adds folded code to the last slide, which has room for one more line."""
        if self.is_closed:
            self.begin(self.section)
        self.slides[-1].blocks.append(code)


def slides_of(notebook: NotebookNode, notes: Mapping[str, str] | None = None, *, key: bool = False) -> list[Slide]:
    """Makes the slides of a lesson.

    Args:
        notebook: The lesson, with the outputs of a run if they are to be shown.
        notes: What the speaker notes say, by heading.
        key: Whether the speaker notes hold the answers to the exercises.
    """
    deck = _Deck(notes or {})
    for cell in notebook.cells:
        if _LEFT_OUT & set(cell.metadata.get("tags", ())):
            continue
        if cell.cell_type == "markdown":
            _add_markdown(deck, cell, key)
        elif cell.cell_type == "code" and not CHECK.search(cell.source):
            _add_code(deck, cell)
    return [slide for slide in deck.slides if not all(block.startswith(_FOLDED) for block in slide.blocks)]


# --- text ---


def _add_markdown(deck, cell, key):
    asked = cell.metadata.get("question")
    if asked:
        _add_question(deck, cell.source, asked, key)
        return
    for block in _blocks(cell.source):
        heading = _HEADING.match(block)
        if heading:
            deck.begin(heading[2], column=len(heading[1]) < 3)
        else:
            deck.add(rendered(block), _height(block))


def _add_question(deck, text, name, key):
    """A prediction has a slide for itself, an exercise the one of its heading. The answer is on neither."""
    prediction = text.startswith("**Predict.**")
    text = text.removeprefix("**Predict.**").strip()
    if prediction:
        deck.begin("Predict")
        text += f"\n\n{_guess(course.prediction(name).kind)}"  # in the lesson, a form asks for it
    deck.add(f'<div class="question">{rendered(text)}</div>', _height(text))
    deck.is_closed = True
    if key and not prediction:
        slide = deck.slides[-1]
        slide.notes = "\n".join(filter(None, (slide.notes, f"Answer: {answer_code(course.exercise(name))}")))


def _guess(kind):
    """What to guess, in Markdown."""
    if isinstance(kind, course.Option):
        return "\n".join(f"* {result.to_markdown(option)}" for option in kind.options.values())
    return f"Your guess: {result.to_markdown(kind.expects)}."


def _blocks(text):
    """The paragraphs, lists, tables and headings of a Markdown text.

    Formulas and code stay whole, and a formula stays with the sentence before it.
    """
    blocks: list[str] = []
    for part in re.split(r"\n{2,}", text.strip()):
        is_open = blocks and (blocks[-1].count("$$") % 2 or blocks[-1].count("```") % 2)
        if is_open or (blocks and part.startswith("$$") and not _HEADING.match(blocks[-1])):
            blocks[-1] += f"\n\n{part}"
            continue
        first, _, rest = part.partition("\n")
        blocks += filter(None, (first, rest)) if _HEADING.match(first) else [part]
    return blocks


def _height(text):
    """How many lines a piece of Markdown takes, about."""
    if text.startswith("|"):
        return 1.3 * len(text.splitlines())
    if "\n\n" in text:
        return sum(map(_height, text.split("\n\n")))
    if text.startswith("$$"):
        return 2.6
    entries = re.split(r"\n(?=\s*(?:[*-]|\d+\.) )", text)
    plain = (re.sub(r"\]\([^)]*\)|[*`\[]", "", entry) for entry in entries)
    return sum(math.ceil(len(" ".join(entry.split())) / CHARACTERS) for entry in plain) + 0.6


def rendered(text: str) -> str:
    """Markdown as HTML, with formulas as MathML; a link to another lesson becomes its text."""
    formulas: list[str] = []

    def keep(found):
        if found[1]:
            return found[0]
        source, display = (found[2], "block") if found[2] else (found[3], "inline")
        formulas.append(latex2mathml.converter.convert(" ".join(source.split()), display=display))
        return f"MATHML{len(formulas) - 1}END"

    page = markdown2html(_FORMULA.sub(keep, _LESSON_LINK.sub(r"\1", text)))
    return re.sub(r"MATHML(\d+)END", lambda found: formulas[int(found[1])], page)


# --- code and outputs ---


def _add_code(deck, cell):
    code = f"{_FOLDED}{highlight.Highlight2HTML()(cell.source)}</details>"
    shown = [block for output in joined(cell.outputs) for block in _shown(output)]
    is_answer = any(block.startswith(_ANSWER) for block, _ in shown)
    if is_answer:
        deck.begin("Answer")
    for block, lines in shown:
        deck.add(block + code, lines + bool(code))
        code = ""
    if code:
        deck.fold(code)
    deck.is_closed = deck.is_closed or is_answer


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Outputs, with what was printed in several pieces in one."""
    together: list[NotebookNode] = []
    for is_stream, group in itertools.groupby(outputs, lambda one: one.output_type == "stream"):
        pieces = list(group)
        if is_stream:
            text = "".join(piece.text for piece in pieces if piece.name == "stdout")
            together.append(NotebookNode(output_type="stream", name="stdout", text=text))
        else:
            together += pieces
    return together


def _shown(output):
    """What slides show of an output: pairs of HTML, and the lines that it takes."""
    if output.output_type == "stream":
        return _printed(output.text)
    data = output.get("data", {})
    page = data.get("text/html", "")
    asked = _ASKED.search(page)
    if asked:  # its figures have slides of their own
        words = _FIGURES.sub("", asked[1])
        return [(f"{_ANSWER}{words}</div>", _lines_of_html(words)), *map(_figure, _FIGURES.findall(asked[1]))]
    if _PICTURE.search(page):
        return [_figure(page)]
    if page.strip():
        return [(f'<div class="output">{page}</div>', _lines_of_html(page))]
    widget = "application/vnd.jupyter.widget-view+json" in data
    return [] if widget else _printed(data.get("text/plain", ""))


def _figure(page):
    """A picture with its words, in the size of a slide."""
    found = _PICTURE.search(page)
    if found is None:
        return page, _lines_of_html(page)
    caption = re.search(r"<figcaption>.*?</figcaption>", page, re.DOTALL)
    picture = re.sub(r' style="[^"]*"', "", found[0])
    return f"<figure>{picture}{caption[0] if caption else ''}</figure>", _FIGURE + bool(caption)


def _printed(text):
    lines = len(text.splitlines())
    return [(f"<pre>{html.escape(text.rstrip())}</pre>", 0.75 * lines + 0.5)] if text.strip() else []


def _lines_of_html(page):
    """How many lines a piece of HTML takes, about."""
    rows = len(re.findall(r"<tr|<p>|<li|<br", page)) + page.count("\n") * ("<pre" in page)
    return rows + len(re.sub(r"<[^>]*>", "", page)) / CHARACTERS
