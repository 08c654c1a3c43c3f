"""The parts of the `lipviz` command for lecturers: their arguments, and what runs them.

This module imports only the standard library, so that the command answers at once.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lipviz import _extras

LESSON = "a number, such as 8, or a name, such as 08_certify_fashion; default: all lessons"


def add_commands(commands: Any) -> None:
    """Adds `lipviz slides` and `lipviz assignment` to the subcommands of a parser."""
    slides = commands.add_parser(
        "slides",
        help="for lecturers: make slides of lessons, for a browser without internet",
        description="Run lessons, and write the slides of each to one HTML file. The file needs no internet. The "
        "speaker notes hold the teaching plan. No file is replaced.",
        allow_abbrev=False,
    )
    slides.add_argument("lessons", metavar="LESSON", nargs="*", help=LESSON)
    slides.add_argument(
        "--folder", type=Path, default=Path("lipviz-slides"), help="where the files go; default: %(default)s"
    )
    how = slides.add_mutually_exclusive_group()
    how.add_argument("--quick", dest="outputs", action="store_const", const="quick", help="run short trainings")
    how.add_argument(
        "--no-run", dest="outputs", action="store_const", const="none", help="do not run the lessons: no results"
    )
    slides.add_argument("--key", action="store_true", help="write the answers to exercises into the speaker notes")
    slides.set_defaults(run=_slides, outputs="full")

    assignment = commands.add_parser(
        "assignment",
        help="for lecturers: make assignments for nbgrader or otter-grader from exercises",
        description="Write the exercises of lessons to FOLDER, as source notebooks of nbgrader or of Otter Assign. "
        "They hold the answers. The tool makes the version of the students from them, without the answers.",
        allow_abbrev=False,
    )
    assignment.add_argument("--for", dest="tool", choices=("nbgrader", "otter"), required=True, help="the tool")
    assignment.add_argument("lessons", metavar="LESSON", nargs="+", help=LESSON.partition(";")[0])
    assignment.add_argument("folder", metavar="FOLDER", type=Path, help="a new or an empty folder")
    assignment.set_defaults(run=_assignment)


def print_key(names: Sequence[str]) -> int:
    """Prints the key to the exercises of some lessons; returns the exit status."""
    from lipviz.command import lab
    from lipviz.command.import_messages import without_import_messages

    lessons = lab.find_lessons(names)
    with without_import_messages():
        from lipviz.command.teaching import key
    print(key.key(lessons), end="")
    return 0


def _slides(arguments):
    _extras.need("lipviz slides")
    from lipviz.command import lab
    from lipviz.command.import_messages import without_import_messages

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    lessons = lab.find_lessons(arguments.lessons)  # before the imports, which take seconds
    with without_import_messages():
        from lipviz.command.teaching import making_slides
    making_slides.write(lessons, arguments.folder, outputs=arguments.outputs, key=arguments.key, tell=_tell)
    return 0


def _assignment(arguments):
    _extras.need("lipviz assignment")
    from lipviz.command import lab
    from lipviz.command.import_messages import without_import_messages

    lessons = lab.find_lessons(arguments.lessons)
    if str(arguments.folder).isdecimal():
        raise lab.LabError(f"expected a folder after the lessons, received {str(arguments.folder)!r}")
    with without_import_messages():
        from lipviz.command.teaching import assignment
    paths = assignment.write(arguments.tool, lessons, arguments.folder)
    print(*(f"{path} is written" for path in paths), *assignment.next_steps(arguments.tool, paths), sep="\n")
    return 0


def _tell(line):
    print(line, flush=True)
