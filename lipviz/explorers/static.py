"""Pictures of all explorers, with their words, for places without a kernel.

python -m lipviz.explorers.static FOLDER [NAME ...]

Writes NAME.png for each explorer, after its work if it has any, and a page `index.md` that shows the pictures. With
names, it changes neither the pictures nor the sections of other explorers.
"""

import argparse
import os
import re
import textwrap
import typing
from collections.abc import Sequence
from pathlib import Path

from lipviz.explorers.shell.registry import Entry, entries, find

if typing.TYPE_CHECKING:
    from lipviz.explorers.shell.base import Explorer

_WORK_TIMEOUT = 600  # seconds for the work of an explorer
_COUNTS = (
    "No",
    "One",
    "Two",
    "Three",
    "Four",
    "Five",
    "Six",
    "Seven",
    "Eight",
    "Nine",
    "Ten",
    "Eleven",
    "Twelve",
    "Thirteen",
)

_PAGE = """\
# Explorers

{count} explorers show, with sliders and menus, what a constraint does. In a notebook,
`from lipviz.explorers import gallery; gallery()` opens all of them. `lipviz app` opens them as a web page without a
notebook. Below is a picture of each. All of its controls work where Python runs.

The [playground](../playground.md) needs no Python: two networks learn the points that you draw.
"""


def shown(entry: Entry) -> "Explorer":
    """An explorer as it is shown first: built, and its work done if it has any.

    Args:
        entry: One of `lipviz.explorers.entries()`.

    Returns:
        The explorer. The caller closes it.

    Raises:
        TimeoutError: If its work takes longer than ten minutes.
        ValueError: If it shows an error.
    """
    explorer = entry.load()()
    if explorer.has_work and explorer.work_state == "idle":
        explorer.start()
    if explorer.has_work and not explorer.wait(_WORK_TIMEOUT):
        raise TimeoutError(f"The work of the explorer '{entry.name}' takes longer than {_WORK_TIMEOUT} seconds.")
    if explorer.error is not None:
        raise ValueError(f"The explorer '{entry.name}' shows an error: {explorer.error}")
    return explorer


def write(folder: str | os.PathLike[str], names: Sequence[str] = ()) -> None:
    """Write the pictures, and the page that shows them.

    Args:
        folder: Folder of the files; it is made if it does not exist.
        names: Short names of explorers; all by default. With names, an existing page gets the new sections of these
            explorers, and no page is made.

    Raises:
        ValueError: If a name is unknown.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page, sections = folder / "index.md", {}
    for entry in [find(name) for name in names] or entries():
        explorer = shown(entry)
        try:
            picture, statement = explorer.static(), explorer.statement(explorer.data)
        finally:
            explorer.close()
        (folder / f"{entry.name}.png").write_bytes(picture.png)
        sections[entry.title] = _section(entry, picture, statement)
    if names and not page.exists():
        return
    if names:
        sections = _sections_of(page.read_text(encoding="utf-8")) | sections
    ordered = [sections[entry.title] for entry in entries() if entry.title in sections]
    page.write_text("\n".join([_introduction(len(ordered)), *ordered]), encoding="utf-8")


def _sections_of(page):
    """The sections of a page by their titles."""
    parts = re.split(r"\n(?=## )", page)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part for part in parts}


def _introduction(count):
    words = _COUNTS[count] if count < len(_COUNTS) else str(count)
    return _PAGE.format(count=words)


def _section(entry, picture, statement):
    alt = textwrap.indent(textwrap.fill(picture.alt, 118, break_long_words=False, break_on_hyphens=False), "  ")
    words = textwrap.fill(f"{entry.sentence} `lipviz.explorers.{entry.class_name}`", 120, break_on_hyphens=False)
    return (
        f"## {entry.title}\n\n{words}\n\n```{{figure}} {entry.name}.png\n---\nwidth: {picture.width}px\n"
        f"alt: >-\n{alt}\n---\n{statement}\n```\n"
    )


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("names", metavar="NAME", nargs="*", help="explorers; all by default")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.names)


if __name__ == "__main__":
    main()
