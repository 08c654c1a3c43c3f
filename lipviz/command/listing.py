"""The parts of the `lipviz` command that list the lessons and what is installed: their arguments, and what runs them.

This module imports only the standard library, so that the command answers at once.
"""

from typing import Any

from lipviz import _extras
from lipviz.command import lecturers


def add_notebooks(commands: Any) -> None:
    """Adds `lipviz notebooks` to the subcommands of a parser."""
    notebooks = commands.add_parser("notebooks", help="list the lessons and their running times", allow_abbrev=False)
    notebooks.add_argument("lessons", metavar="LESSON", nargs="*", help=lecturers.LESSON)
    notebooks.add_argument("--key", action="store_true", help="for lecturers: print the answers to the exercises")
    notebooks.set_defaults(run=_notebooks)


def add_doctor(commands: Any) -> None:
    """Adds `lipviz doctor` to the subcommands of a parser."""
    doctor = commands.add_parser(
        "doctor",
        help="check the installation and the data sets",
        description="Say what is installed, whether there is a GPU, which data sets are available, and what to do "
        "about missing parts. The exit status is 1 if a part that lipviz needs is broken.",
        allow_abbrev=False,
    )
    doctor.add_argument(
        "--lab", action="store_true", help="exit with status 1 also if the course, plots or explorers lack a package"
    )
    doctor.set_defaults(run=_doctor)


def _notebooks(arguments):
    _extras.need("lipviz notebooks")
    from lipviz.command import lab

    if arguments.key:
        return lecturers.print_key(arguments.lessons)
    lessons = lab.find_lessons(arguments.lessons)
    rows = [("file", "title", "minutes on 2 cores")]
    rows += [(lesson.path.name, lesson.title, f"{lesson.minutes:g}") for lesson in lessons]
    _print_table(rows)
    return 0


def _doctor(arguments):
    from lipviz.command import doctor
    from lipviz.command.import_messages import without_import_messages

    with without_import_messages():
        report = doctor.examine()
    for title, findings in report.items():
        print(f"{title}:")
        _print_table([(finding.name, finding.text) for finding in findings], indent="  ")
    found = [finding for findings in report.values() for finding in findings]
    broken = [finding.name for finding in found if finding.broken]
    is_partial = any(finding.missing for finding in found)
    if broken:
        print(f"Broken, and needed: {', '.join(broken)}.")
    elif is_partial:
        print("All that layers, losses, certificates and measurements need is here.")
    else:
        print("All that lipviz needs is here.")
    if is_partial:
        print(f"For the course, plots, explorers and attacks, type: {_extras.command('lab')}")
    return 1 if broken or (is_partial and arguments.lab) else 0


def _print_table(rows, indent=""):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
