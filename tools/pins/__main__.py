"""The command `python -m tools.pins [NAME ...]`: write the pins anew, and say what changed."""

import argparse
import sys

from tools import pins
from tools.pins import storage


def main(argv=None):
    """Run the command.

    Args:
        argv: Its arguments; None takes the process's own.

    Returns:
        The exit status: 1 where files that are written once are there already, and were asked for.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.pins", description="Write what must not change by accident.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"{', '.join(pins.PARTS)}; all by default")
    names = parser.parse_args(argv).names
    for name in names:
        if name not in pins.PARTS:
            parser.error(f"expected one of {', '.join(pins.PARTS)}, got {name!r}")
    return max([_write(name, name in names) for name in names or pins.PARTS])


def _write(name, is_asked_for):
    part = pins.load(name)
    path = pins.path_of(part)
    is_fixed = hasattr(part, "write_once")
    refused = is_fixed and path.exists()
    if refused:
        where = path.relative_to(storage.FOLDER.parents[1])
        print(f"{where} is there already: it was written once by version 0.1, loads for ever, and is left alone.")
    elif is_fixed:
        part.write_once()
    pinned = storage.read(path) if path.exists() else {}
    present = part.present()
    found = pins.changes(part, pinned, present)
    if not is_fixed:
        # What only rounding moved stays, so that a diff shows what was meant.
        storage.write(path, {key: value if key in found else pinned[key] for key, value in present.items()})
    print(pins.report(part, len(present), found))
    return int(refused and is_asked_for)


if __name__ == "__main__":
    sys.exit(main())
