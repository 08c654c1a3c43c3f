"""Write the pages for lecturers, `docs/teaching`, from the teaching plans and the exercises.

    python -m tools.teaching            writes them
    python -m tools.teaching --check    only says which are out of date

The plans are in `lipviz/command/teaching/plans`. What a checker recognizes is in `lipviz.course`. `index.md` is written
by hand.
"""

import argparse
import sys
from pathlib import Path

from lipviz.command import lab
from lipviz.command.teaching import plans

PAGES = Path(__file__).resolve().parents[1] / "docs" / "teaching"


def up_to_date():
    """The text that each page should have, by its path."""
    lessons = lab.lessons()
    pages = {PAGES / f"{lesson.path.stem}.md": plans.page(lesson) for lesson in lessons}
    return {**pages, PAGES / "sessions.md": plans.sessions_page(lessons)}


def main():
    """Write what is out of date, or (`--check`) name it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    stale = {path: t for path, t in up_to_date().items() if not path.exists() or path.read_text(encoding="utf-8") != t}
    for path, text in stale.items():
        print(f"{'out of date' if check else 'written'}: {path.name}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
